"""Whole searches, on a small task that a network without a non-linearity cannot learn."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from io import BytesIO
from math import inf, nan
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nas.differentiable.amended import amended_darts
from nas.differentiable.darts import darts
from nas.differentiable.method import Method
from nas.differentiable.rc import Costs, rc_darts
from nas.differentiable.search import Found, collapsed, follow, halve, objective, search, start
from nas.differentiable.settings import SearchError, Settings
from nas.differentiable.sharp import max_w, sharp_darts
from nas.job import Infeasible, Report
from nas.training.loop import State
from search_spaces.decisions import Struct
from search_spaces.mixtures.answers import MIXTURE
from search_spaces.mixtures.relaxation import Cap, relax
from search_spaces.mixtures.strengths import modules, strengths
from search_spaces.registry import choice, make
from search_spaces.space import Signature, Space

torch.set_num_threads(1)


def build(architecture: Any, signature: Signature) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        make("norm", architecture["norm"], 4),
        make("activation", architecture["act"], 4),
        nn.Dropout(0.1),
        nn.AvgPool2d(8),
        nn.Flatten(),
        nn.Linear(4, signature.classes),
    )


TREE = Struct(norm=choice("norm", "batch", "none"), act=choice("activation", "identity", "relu"))
SPACE = Space("stripes", "", TREE, build, mixtures={"act": MIXTURE})
RELAXED = relax(SPACE, lambda path, domain: domain.options[0])
BOTH = relax(SPACE, lambda path, domain: domain.options[0], {"act": MIXTURE, "norm": MIXTURE})


def stripes(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Make waves down or across at random phases; the mean of any linear map of them is the same for both classes."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(0, 2, (count,), generator=generator)
    phase = torch.rand(count, 1, 1, generator=generator) * 2 * torch.pi
    across = torch.cos(torch.pi / 2 * torch.arange(8)[None, None] + phase).expand(count, 8, 8)
    waves = torch.where(targets[:, None, None] == 1, across, across.mT)
    return waves[:, None] + 0.1 * torch.randn(count, 1, 8, 8, generator=generator), targets


@dataclass(frozen=True)
class Stripes:
    name: str = "stripes"
    split_seed: int = 0
    input_shape: tuple[int, int, int] = (1, 8, 8)
    classes: int = 2
    content: str = ""
    blank: float = 0.0
    scale: float = 1.0

    def train(self) -> tuple[Tensor, Tensor]:
        inputs, targets = stripes(257, 0)
        return inputs * self.scale, targets

    def validation(self) -> tuple[Tensor, Tensor]:
        return stripes(64, 1)

    def test(self) -> tuple[Tensor, Tensor]:
        raise AssertionError("the test split was read")


TASK = Stripes()
FEW = Settings(epochs=3, warmup=1, batch=32, rate=0.3, strength_rate=0.05)


def run(
    method: Method,
    settings: Settings = FEW,
    seed: int = 0,
    relaxed: Any = RELAXED,
    state: State | None = None,
    task: Stripes = TASK,
) -> tuple[list[Report], Found, list[State]]:
    kept: list[State] = []

    def keep(state: State) -> None:
        buffer = BytesIO()
        torch.save(vars(state), buffer)
        buffer.seek(0)
        kept.append(State(**torch.load(buffer, weights_only=True)))

    found: list[Found] = []

    def whole() -> Generator[Report, None, None]:
        found.append((yield from search(SPACE, relaxed, task, method, settings, seed, state=state, keep=keep)))

    reports = list(whole())
    return reports, found[0], kept


def measured(reports: list[Report]) -> list[dict[str, float]]:
    return [{name: value for name, value in r.metrics.items() if name != "seconds"} for r in reports]


METHODS = {
    "darts": darts(1),
    "second": darts(2),
    "amended": amended_darts(),
    "rc": rc_darts(Costs(0.0, {"act": {"identity": 0.0, "relu": 1.0}}), 0.9),
    "sharp": sharp_darts(),
}


@pytest.mark.parametrize("name", METHODS)
def test_a_search_ends_at_the_option_that_the_task_needs(name: str) -> None:
    settings = replace(FEW, epochs=12)
    reports, found, _ = run(METHODS[name], settings)
    assert found.architecture == {"norm": "batch", "act": "relu"}
    assert found.probabilities["act"]["relu"] > 0.7
    assert [r.step for r in reports] == list(range(1, 13))


def test_a_bound_keeps_a_search_from_the_option_that_costs_too_much() -> None:
    method = rc_darts(Costs(0.0, {"act": {"identity": 0.0, "relu": 1.0}}), 0.4)
    _, found, _ = run(method, replace(FEW, epochs=6))
    assert found.architecture["act"] == "identity"
    assert found.probabilities["act"]["relu"] == pytest.approx(0.4, abs=1e-3)


def test_reports_have_the_probability_of_each_option_and_their_entropy() -> None:
    reports, found, _ = run(darts(1), relaxed=BOTH)
    assert [sorted(name for name in r.metrics if name.startswith("strength/")) for r in reports] == [
        ["strength/act=identity", "strength/act=relu", "strength/norm=batch", "strength/norm=none"]
    ] * 3
    last = reports[-1].metrics
    shares = torch.tensor([[last["strength/act=identity"], last["strength/act=relu"]]])
    other = torch.tensor([[last["strength/norm=batch"], last["strength/norm=none"]]])
    both = torch.cat([shares, other]).double()
    assert last["entropy"] == pytest.approx(float(-(both * both.log()).sum(1).mean()), rel=1e-5)
    assert found.probabilities["act"]["relu"] == last["strength/act=relu"]
    assert {"train_loss", "val_loss", "val_accuracy", "rate", "seconds"} <= last.keys()


def test_what_is_reported_is_the_validation_split() -> None:
    reports, _, states = run(darts(1))
    network = start(SPACE, RELAXED, TASK, darts(1), FEW, 0, torch.device("cpu")).network.eval()
    network.load_state_dict(states[-1].network)
    inputs, targets = TASK.validation()
    with torch.no_grad():
        logits = network(inputs)
    assert reports[-1].metrics["val_accuracy"] == pytest.approx((logits.argmax(1) == targets).double().mean().item())
    expected = torch.nn.functional.cross_entropy(logits, targets).item()
    assert reports[-1].metrics["val_loss"] == pytest.approx(expected, rel=1e-5)


def test_the_rate_of_the_weights_follows_the_schedule() -> None:
    reports, _, states = run(darts(1), replace(FEW, epochs=4, lowest_rate=0.1))
    # 0.1 + 0.2·(1 + cos(π·t/4))/2
    wanted = [0.3, 0.2707107, 0.2, 0.1292893]
    assert [r.metrics["rate"] for r in reports] == pytest.approx(wanted, rel=1e-6)
    assert [s.optimizer["weights"]["param_groups"][0]["lr"] for s in states] == pytest.approx(wanted, rel=1e-6)


class Sided(nn.Linear):
    """A layer that adds 2.5 to the loss, and draws noise."""

    auxiliary_loss = torch.tensor(2.5)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + torch.randn(len(x), 2)


def test_a_loss_counts_what_layers_add_and_draws_the_same_noise_in_each_call() -> None:
    layer = Sided(3, 2)
    layer.weight.data.zero_()
    layer.bias.data.zero_()
    loss = objective(layer, (torch.ones(4, 3), torch.zeros(4, dtype=torch.long)), 5)
    noise = torch.randn(4, 2, generator=torch.Generator().manual_seed(5))
    wanted = 2.5 + (noise.exp().sum(1).log() - noise[:, 0]).mean().item()
    assert loss().item() == loss().item() == pytest.approx(wanted, rel=1e-6)


def test_a_gradient_is_clipped_to_a_norm() -> None:
    weights = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1))]
    follow(torch.optim.SGD(weights, 1.0), weights, [torch.tensor([2.0, 3.0]), torch.tensor([6.0])], 3.5)
    assert [w.tolist() for w in weights] == [pytest.approx([-1.0, -1.5]), pytest.approx([-3.0])]
    follow(torch.optim.SGD(weights, 1.0), weights, [torch.tensor([2.0, 3.0]), torch.tensor([6.0])])
    assert [w.tolist() for w in weights] == [pytest.approx([-3.0, -4.5]), pytest.approx([-9.0])]


def test_the_gradient_norm_of_the_settings_holds_for_the_weights() -> None:
    quick, clipped = (run(darts(1), replace(FEW, gradient_norm=norm))[2][0].network for norm in (5.0, 1e-9))
    first = start(SPACE, RELAXED, TASK, darts(1), FEW, 0, torch.device("cpu")).network.state_dict()
    torch.testing.assert_close(clipped["6.weight"], first["6.weight"], rtol=1e-3, atol=1e-3)
    assert (quick["6.weight"] - first["6.weight"]).abs().max() > 0.05


def test_the_weights_alone_train_in_the_warm_up() -> None:
    reports, _, states = run(darts(1), replace(FEW, warmup=2))
    shares = [r.metrics["strength/act=relu"] for r in reports]
    assert shares[:2] == [0.5, 0.5] and shares[2] != 0.5
    assert not torch.equal(states[0].network["0.weight"], states[1].network["0.weight"])


@pytest.mark.parametrize("name", METHODS)
def test_the_same_seed_gives_the_same_search_and_another_seed_another(name: str) -> None:
    one, same, other = (run(METHODS[name], seed=seed) for seed in (3, 3, 4))
    assert measured(one[0]) == measured(same[0]) and one[1] == same[1]
    assert measured(one[0]) != measured(other[0])


def test_callers_random_numbers_change_nothing_and_are_left_alone() -> None:
    torch.manual_seed(1)
    one = run(darts(1))
    first = torch.rand(3)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(3), first)
    assert measured(run(darts(1))[0]) == measured(one[0])


@pytest.mark.parametrize("name", ["darts", "second", "sharp"])
def test_a_search_that_goes_on_is_the_uninterrupted_one(name: str) -> None:
    settings = replace(FEW, epochs=4)
    reports, found, states = run(METHODS[name], settings, relaxed=BOTH)
    for state in (states[0], states[2], states[3]):
        again, ended, _ = run(METHODS[name], settings, relaxed=BOTH, state=state)
        assert measured(again) == measured(reports)
        assert ended == found


def test_steps_of_the_strengths_leave_running_averages_alone() -> None:
    still = replace(FEW, epochs=2, warmup=1, strength_rate=1e-12)
    with_steps = run(darts(2), still)[2][1].network
    without = run(Method("none", lambda problem: [torch.zeros_like(a) for a in problem.strengths]), still)[2][1].network
    torch.testing.assert_close(with_steps["1.running_mean"], without["1.running_mean"])
    assert with_steps["1.num_batches_tracked"] == without["1.num_batches_tracked"] == 2 * 4


def test_the_halves_are_disjoint_and_of_one_size() -> None:
    inputs = torch.arange(9.0)[:, None]
    (one, a), (other, b) = halve((inputs, torch.arange(9)), 0)
    assert len(a) == len(b) == 4 and not {*a.tolist()} & {*b.tolist()}
    assert torch.equal(one[:, 0].long(), a) and torch.equal(other[:, 0].long(), b)
    assert halve((inputs, torch.arange(9)), 0)[0][1].tolist() == a.tolist()
    assert halve((inputs, torch.arange(9)), 1)[0][1].tolist() != a.tolist()


def test_a_cap_decides_the_end_of_a_search() -> None:
    cap = Cap(("relu",), most=0)
    assert run(darts(1), replace(FEW, epochs=6, cap=cap))[1].architecture["act"] == "identity"


def test_a_search_stops_early_once_its_cap_is_exceeded_and_again_when_it_goes_on() -> None:
    settings = replace(FEW, epochs=8, cap=Cap(("relu",), most=0), early_stop=True)
    reports, found, states = run(darts(1), settings)
    exceeded = [r.metrics["strength/act=relu"] > 0.5 for r in reports]
    assert len(reports) < 8 and exceeded[-1] and not any(exceeded[1:-1])
    assert run(darts(1), settings, state=states[-1])[0][-1].step == len(reports)
    assert found.architecture["act"] == "identity"


def test_a_search_does_not_stop_before_its_strengths_have_moved() -> None:
    # Strengths start alike, and the first option, identity, is taken for the strongest.
    settings = replace(FEW, epochs=4, warmup=2, cap=Cap(("identity",), most=0), early_stop=True)
    assert len(run(darts(1), settings)[0]) >= 3


def test_a_cap_stops_nothing_unless_asked() -> None:
    network = start(SPACE, RELAXED, TASK, darts(1), FEW, 0, torch.device("cpu")).network
    settings = replace(FEW, cap=Cap(("identity",), most=0))
    assert not collapsed(network, settings)
    assert collapsed(network, replace(settings, early_stop=True))


def test_the_method_weighs_the_options() -> None:
    one = start(SPACE, RELAXED, TASK, sharp_darts(), FEW, 0, torch.device("cpu"))
    assert modules(one.network)["act"].weighting is max_w
    assert len(one.strengths) == 1 and len(one.weights) == 2 + 2 + 2


def test_the_first_weights_come_from_the_seed_alone() -> None:
    one, other = (start(SPACE, RELAXED, TASK, darts(1), FEW, 5, torch.device("cpu")).network for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert strengths(one)["act"].tolist() == [0.0, 0.0]


def test_a_search_without_a_mixture_is_refused() -> None:
    with pytest.raises(SearchError, match="no decision of this architecture of stripes is a mixture"):
        run(darts(1), relaxed={"norm": "batch", "act": "relu"})


def test_a_loss_that_is_not_finite_is_infeasible() -> None:
    with pytest.raises(Infeasible, match="the training loss of epoch 1 is nan"):
        run(darts(1), task=replace(TASK, scale=nan))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs is 0, but 1 or more"),
        ({"epochs": 3, "warmup": 3}, "warmup is 3, but 0 to 2, less than the epochs"),
        ({"batch": 0}, "batch is 0"),
        ({"rate": 0.0, "lowest_rate": 0.0}, "rate is 0, but a number above 0"),
        ({"rate": 0.1, "lowest_rate": 0.2}, "lowest_rate is 0.2, but 0 to the rate 0.1"),
        ({"momentum": 1.5}, "momentum is 1.5"),
        ({"strength_rate": inf}, "strength_rate is inf"),
        ({"weight_decay": nan}, "weight_decay is nan"),
        ({"strength_betas": (0.5, 1.0)}, "strength_betas are"),
        ({"early_stop": True}, "set cap"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SearchError, match=message.replace("(", r"\(")):
        Settings(**settings)
