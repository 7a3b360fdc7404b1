"""The contract of every registered predictor, plug-ins included."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import nas
from predictors import Batch, Predictor, Unscorable
from search_spaces.registry import Entry, entries, make

assert nas  # knows where predictors are registered
PREDICTORS: dict[str, Predictor] = {name: entry.make for name, entry in entries("predictor").items()}  # type: ignore[misc]
COUNTS = {"params", "flops", "latency", "memory"}
TIMED = {"latency"}
# Their docstrings say so: of the order of samples, of chunks that are averaged.
ORDERED = {"zico"}
AVERAGED = {"az_nas", "consensus", "signal_propagation"}
every_predictor = pytest.mark.parametrize("predictor", PREDICTORS.values(), ids=PREDICTORS)


def network(norm: bool = True) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 8, 3, padding=1),
        nn.BatchNorm2d(8) if norm else nn.Identity(),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Sequential(make("layer", "kan_conv2d", 8, 8), make("activation", "group_rational", 8)),
        nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8) if norm else nn.Identity(), nn.ReLU()),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        make("head", "kan_linear", 32, 5),
    )


def batch(n: int = 6, seed: int = 3) -> Batch:
    rng = torch.Generator().manual_seed(1)
    return Batch(torch.randn(n, 2, 6, 6, generator=rng), torch.randint(5, (n,), generator=rng), seed)


def close(found: dict[str, float], wanted: dict[str, float], rel: float) -> None:
    assert found == pytest.approx(wanted, rel=rel, abs=1e-9)


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """See that weights, buffers, gradients, modes, hooks and the random state stay, and gradients on or off."""

    def facts() -> tuple[dict[str, Tensor], list[bool], bool, list[int]]:
        tensors = {name: value.clone() for name, value in model.state_dict().items()}
        tensors |= {f"grad {n}": p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        modes = [m.training for m in model.modules()] + [p.requires_grad for p in model.parameters()]
        hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in model.modules()]
        return tensors | {"rng": torch.get_rng_state()}, modes, torch.is_grad_enabled(), hooks

    before, *others = facts()
    yield
    after, *now = facts()
    assert before.keys() == after.keys() and others == now
    assert all(torch.equal(value, after[name]) for name, value in before.items())


@every_predictor
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_the_network_is_left_bit_for_bit_as_it_was(predictor: Predictor, training: bool) -> None:
    model = network().train(training)
    model[2].train(not training)  # type: ignore[index]
    model[0].bias.requires_grad_(False)  # type: ignore[index]
    for parameter in model[5].parameters():  # type: ignore[index]
        parameter.grad = torch.ones_like(parameter)
    given = batch()
    inputs, targets = given.inputs.clone(), given.targets.clone()
    with torch.set_grad_enabled(training), untouched(model):
        predictor.measure(model, given)
    assert torch.equal(given.inputs, inputs) and torch.equal(given.targets, targets)
    assert given.inputs.grad is None and not given.inputs.requires_grad


@every_predictor
def test_a_score_depends_on_the_network_the_batch_and_its_seed_alone(predictor: Predictor) -> None:
    if predictor.name in TIMED:
        pytest.skip("a time is never the same twice")
    model = network()
    first = predictor.measure(model, batch())
    torch.rand(7)
    with torch.no_grad():
        assert predictor.measure(deepcopy(model).eval(), batch()) == first


@every_predictor
def test_targets_matter_as_it_says(predictor: Predictor) -> None:
    if predictor.name in TIMED:
        pytest.skip("a time is never the same twice")
    other = replace(batch(), targets=(batch().targets + 1) % 5)
    assert (predictor.measure(network(), other) != predictor.measure(network(), batch())) == predictor.labels


@every_predictor
def test_a_network_in_bfloat16_is_scored_in_float32(predictor: Predictor) -> None:
    rounded = network().bfloat16()
    found = predictor.measure(rounded, replace(batch(), inputs=batch().inputs.bfloat16()))
    assert all(type(value) is float and math.isfinite(value) for value in found.values())
    if predictor.name not in TIMED:
        assert found == predictor.measure(deepcopy(rounded).float(), replace(batch(), inputs=batch().inputs.bfloat16()))


@every_predictor
def test_dropout_is_off(predictor: Predictor) -> None:
    if predictor.name in TIMED:
        pytest.skip("a time is never the same twice")
    without = network()
    without[3].p = 0.0  # type: ignore[index]
    assert predictor.measure(network(), batch()) == predictor.measure(without, batch())


@every_predictor
def test_the_order_of_samples_does_not_matter(predictor: Predictor) -> None:
    if predictor.name in TIMED | ORDERED:
        pytest.skip("a time is never the same twice" if predictor.name in TIMED else "its docstring says that it does")
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    mixed = replace(batch(), inputs=batch().inputs[order], targets=batch().targets[order])
    close(predictor.measure(network(), mixed), predictor.measure(network(), batch()), 1e-3)


@every_predictor
def test_little_memory_changes_nothing_without_batch_normalisation(predictor: Predictor) -> None:
    found = predictor.measure(network(norm=False), replace(batch(), memory=1))
    assert all(map(math.isfinite, found.values()))
    assert all(map(math.isfinite, predictor.measure(network(), replace(batch(), memory=1)).values()))
    if predictor.name not in TIMED | AVERAGED:
        close(found, predictor.measure(network(norm=False), batch()), 1e-3)


@every_predictor
def test_it_tells_of_itself(predictor: Predictor) -> None:
    about = str(predictor.__doc__)
    assert about.split("\n")[0].endswith((".", "?")), about.split("\n")[0]
    assert predictor.name in COUNTS or " = " in about or "Σ" in about, "its docstring has no formula"
    assert predictor.cost and predictor.columns and len(set(predictor.columns)) == len(predictor.columns)
    assert all(each.partition(".")[0] == predictor.name for each in predictor.columns)
    assert tuple(predictor.measure(network(), batch())) == predictor.columns
    assert entries("predictor")[predictor.name].paper == predictor.paper


class Spoilt(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.nan


@every_predictor
def test_what_is_not_finite_is_declined_in_one_line(predictor: Predictor) -> None:
    model = network()
    model.insert(6, Spoilt())  # type: ignore[operator]
    for parameter in model[5].parameters():  # type: ignore[index]
        parameter.data.fill_(torch.nan)
    if predictor.name in COUNTS:
        assert all(map(math.isfinite, predictor.measure(model, batch()).values()))
        return
    with pytest.raises(Unscorable, match=f"^{predictor.name} cannot score this network: ") as caught:
        predictor.measure(model, batch())
    assert "\n" not in str(caught.value) and len(str(caught.value)) > 40


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@every_predictor
def test_on_a_gpu(predictor: Predictor) -> None:
    model = network().cuda()
    state = torch.cuda.get_rng_state()
    with untouched(model):
        found = predictor.measure(model, batch())
    assert torch.equal(torch.cuda.get_rng_state(), state)
    assert all(type(value) is float and math.isfinite(value) for value in found.values())
    if predictor.name not in TIMED:
        assert predictor.measure(model, batch()) == pytest.approx(found, rel=1e-3)


CHANNELS, SIDE, CLASSES = 16, 4, 3


def component(kind: str, entry: Entry) -> nn.Module:
    """A small network with one component of the registry, with its defaults."""
    torch.manual_seed(0)
    made: list[nn.Module] = []
    channels, pool = CHANNELS, nn.Flatten()
    first: nn.Module = nn.Sequential(nn.Conv2d(3, CHANNELS, 3, 2, 1), nn.BatchNorm2d(CHANNELS), nn.ReLU())
    last: nn.Module = nn.Linear(CHANNELS * SIDE * SIDE, CLASSES)
    if kind == "activation" or kind == "norm":
        made = [nn.Conv2d(CHANNELS, CHANNELS, 1), entry.make(CHANNELS)]
    elif kind == "basis":
        made = [make("layer", {"kan_conv2d": {"basis": {entry.name: {}}}}, CHANNELS, CHANNELS)]
    elif kind == "layer":
        made = [entry.make(CHANNELS, CHANNELS)]
    elif kind == "wiring":
        body = nn.Sequential(nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1), nn.ReLU())
        made = [entry.make(body, CHANNELS)]
    elif kind == "stem":
        first = entry.make(3, CHANNELS, 2)
    elif kind == "pool":
        pool = entry.make(CHANNELS, (SIDE, SIDE))
        last = nn.Linear(pool.out_features, CLASSES)  # type: ignore[arg-type]
    elif kind == "head":
        last = entry.make(CHANNELS * SIDE * SIDE, CLASSES)
    second = nn.Sequential(nn.Conv2d(channels, channels, 1), nn.ReLU())
    model = nn.Sequential(first, *made, second, pool, last)
    if kind == "sparsity":
        entry.make()(model)
    return model


KINDS = ("activation", "basis", "head", "layer", "norm", "pool", "sparsity", "stem", "wiring")
PAIRS = [(kind, entry) for kind in KINDS for entry in entries(kind).values()]


def attempt(predictor: Predictor, model: nn.Module, given: Batch) -> str | None:
    """Score, and return what is wrong."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            found = predictor.measure(model, given)
        except Unscorable as error:
            if "\n" in str(error):
                return f"a message of several lines: {error}"
            DECLINED.append(str(error))
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        else:
            if not all(map(math.isfinite, found.values())):
                return f"scored {found}"
    return f"warned: {warned[0].message}" if warned else None


DECLINED: list[str] = []


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "entry"), PAIRS, ids=[f"{kind}-{entry.name}" for kind, entry in PAIRS])
def test_every_component_is_scored_or_declined(kind: str, entry: Entry, capfd: pytest.CaptureFixture[str]) -> None:
    rng = torch.Generator().manual_seed(0)
    given = Batch(torch.randn(3, 3, 2 * SIDE, 2 * SIDE, generator=rng), torch.tensor([0, 1, 2]))
    model = component(kind, entry)
    wrong = {name: said for name, each in PREDICTORS.items() if (said := attempt(each, model, given))}
    assert not wrong
    assert not any(capfd.readouterr())
