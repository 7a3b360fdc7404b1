from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from nas.training.measures import LiveStorages
from predictors import Batch, Predictor, Unscorable, fisher, grad_norm, gradsign, grasp, jacov, l2_norm, snip, zico
from predictors.gradients import saved_bytes
from search_spaces.registry import make

SCORES = {
    module.__name__.rpartition(".")[2]: module.score
    for module in (fisher, grad_norm, gradsign, grasp, jacov, l2_norm, snip, zico)
}
every_score = pytest.mark.parametrize("name", SCORES)


def network(dtype: torch.dtype = torch.float64) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, bias=False),
        nn.BatchNorm2d(4),
        make("activation", "group_rational", 4),
        nn.Dropout(0.5),
        nn.Conv2d(4, 3, 3),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(12, 3),
    ).to(dtype)


def batch(n: int = 6, memory: int = 2**30) -> Batch:
    rng = torch.Generator().manual_seed(1)
    inputs = torch.randn(n, 2, 6, 6, generator=rng, dtype=torch.float64)
    return Batch(inputs, torch.randint(3, (n,), generator=rng), memory=memory)


def tiny() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.AvgPool2d(3), nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2), nn.Tanh(), nn.Flatten(), nn.Linear(8, 3)
    ).double()


def undropped() -> nn.Module:
    model = network()
    model[3] = nn.Identity()  # type: ignore[index]
    return model


def by_hand(model: nn.Module, inputs: Tensor, targets: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(cross_entropy(model(inputs), targets), list(model.parameters())))


def of_batch(chunk: slice = slice(None)) -> list[Tensor]:
    return by_hand(undropped(), batch().inputs[chunk], batch().targets[chunk])


def half_memory() -> int:
    return 3 * saved_bytes(network().eval(), batch(), cross_entropy)


def halves() -> list[Tensor]:
    return [(one + other) / 2 for one, other in zip(of_batch(slice(0, 3)), of_batch(slice(3, 6)), strict=True)]


def test_grad_norm_sums_the_norms_of_tensors() -> None:
    wanted = sum(np.sqrt((gradient.numpy() ** 2).sum()) for gradient in of_batch())
    assert grad_norm.score(network(), batch()) == pytest.approx(wanted, rel=1e-12)


def test_grad_norm_in_chunks() -> None:
    wanted = sum(np.sqrt((gradient.numpy() ** 2).sum()) for gradient in halves())
    assert grad_norm.score(network(), batch(memory=half_memory())) == pytest.approx(wanted, rel=1e-12)
    assert grad_norm.score(network(), batch()) != pytest.approx(wanted, rel=1e-3)


def test_snip_sums_weights_times_slopes() -> None:
    wanted = sum((p * g).abs().sum().item() for p, g in zip(network().parameters(), of_batch(), strict=True))
    assert snip.score(network(), batch()) == pytest.approx(wanted, rel=1e-12)


def test_snip_in_chunks() -> None:
    wanted = sum((p * g).abs().sum().item() for p, g in zip(network().parameters(), halves(), strict=True))
    assert snip.score(network(), batch(memory=half_memory())) == pytest.approx(wanted, rel=1e-12)


def curvature(model: nn.Module, chunk: slice = slice(None)) -> Tensor:
    """The Hessian of the loss by all parameters side by side, from torch's own explicit one."""
    shapes = {name: p.shape for name, p in model.named_parameters()}

    def loss(vector: Tensor) -> Tensor:
        parts = vector.split([shape.numel() for shape in shapes.values()])
        named = {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
        return cross_entropy(functional_call(model, named, (batch().inputs[chunk],)), batch().targets[chunk])

    found: Tensor = torch.autograd.functional.hessian(loss, flat(model.parameters()))  # type: ignore[no-untyped-call]
    return found


def slopes(model: nn.Module, chunk: slice = slice(None)) -> Tensor:
    return flat(by_hand(model, batch().inputs[chunk], batch().targets[chunk]))


def flat(tensors: Iterable[Tensor]) -> Tensor:
    return torch.cat([each.detach().flatten() for each in tensors])


def test_grasp_is_that_of_an_explicit_hessian() -> None:
    wanted = -(flat(tiny().parameters()) @ curvature(tiny()) @ slopes(tiny())).item()
    assert abs(wanted) > 1e-3
    assert grasp.score(tiny(), batch()) == pytest.approx(wanted, rel=1e-10)


def test_grasp_in_chunks_has_the_gradient_of_the_whole_batch() -> None:
    parts = [slice(i, i + 2) for i in (0, 2, 4)]  # no chunk has less than two
    flow = torch.stack([slopes(tiny(), part) for part in parts]).mean(0)
    second = torch.stack([curvature(tiny(), part) for part in parts]).mean(0)
    wanted = -(flat(tiny().parameters()) @ second @ flow).item()
    assert grasp.score(tiny(), batch(memory=1)) == pytest.approx(wanted, rel=1e-10)


def test_grasp_of_a_quadratic_by_hand() -> None:
    model = nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(3.0)
    # loss = (w·x)²/2 with x = 2: g = w·x² = 12, H = x² = 4, and -w·H·g = -144.
    assert grasp.score(model, Batch(torch.tensor([[2.0]]), torch.zeros(1)), lambda y, t: y.square().mean() / 2) == -144


def test_fisher_is_the_mean_square_of_single_gradients() -> None:
    wanted = sum(gradient.square().sum().item() for i in range(6) for gradient in of_batch(slice(i, i + 1))) / 6
    for memory in (1, 2**30):
        assert fisher.score(network(), batch(memory=memory)) == pytest.approx(wanted, rel=1e-12)


def test_l2_norm_sums_the_norms_of_tensors() -> None:
    wanted = sum(np.linalg.norm(p.detach().numpy().ravel()) for p in network().parameters())
    assert l2_norm.score(network(), batch()) == pytest.approx(wanted, rel=1e-12)


def zico_by_hand(one: list[Tensor], other: list[Tensor]) -> float:
    """Of two numbers the mean size is (|a|+|b|)/2, the deviation |a-b|/2."""
    total = 0.0
    for a, b in zip(one, other, strict=True):
        ratios = [
            (abs(x) + abs(y)) / abs(x - y)
            for x, y in zip(a.flatten().tolist(), b.flatten().tolist(), strict=True)
            if x != y
        ]
        total += np.log(sum(ratios)) if ratios else 0
    return total


def test_zico_of_two_halves() -> None:
    wanted = zico_by_hand(of_batch(slice(0, 3)), of_batch(slice(3, 6)))
    assert zico.score(network(), batch()) == pytest.approx(wanted, rel=1e-10)


def test_zico_skips_what_does_not_vary() -> None:
    class Shared(nn.Module):
        """The first weight has one gradient for all samples, of which the second has none."""

        def __init__(self) -> None:
            super().__init__()
            self.still, self.moved = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))

        def forward(self, x: Tensor) -> Tensor:
            return self.still.sum() + x @ self.moved

    inputs = torch.tensor([[1.0, 5.0], [3.0, 5.0]])
    # Gradients by `moved` are 1 and 3 in the first place, always 5 in the second: (1+3)/2 / 1 = 2.
    score = zico.score(Shared(), Batch(inputs, torch.zeros(2)), lambda y, t: y.mean())
    assert score == pytest.approx(np.log(2))


def test_jacov_is_that_of_numpy() -> None:
    inputs = batch().inputs.clone().requires_grad_()
    undropped()(inputs).sum().backward()
    assert inputs.grad is not None
    values = np.linalg.eigvals(np.corrcoef(inputs.grad.flatten(1).numpy())).real
    wanted = -np.sum(np.log(values + 1e-5) + 1 / (values + 1e-5))
    assert jacov.score(network(), batch()) == pytest.approx(wanted, rel=1e-9)


def test_jacov_in_chunks_correlates_all_samples() -> None:
    rows = []
    for part in (slice(0, 3), slice(3, 6)):
        inputs = batch().inputs[part].clone().requires_grad_()
        undropped()(inputs).sum().backward()
        assert inputs.grad is not None
        rows.append(inputs.grad.flatten(1).numpy())
    values = np.linalg.eigvalsh(np.corrcoef(np.concatenate(rows)))
    wanted = -np.sum(np.log(values + 1e-5) + 1 / (values + 1e-5))
    frozen = network().eval().requires_grad_(False)
    given = Batch(batch().inputs.requires_grad_(), batch().targets)
    kept = saved_bytes(frozen, given, lambda outputs, targets: outputs.sum())
    assert jacov.score(network(), batch(memory=3 * kept)) == pytest.approx(wanted, rel=1e-9)


def test_jacov_takes_networks_without_trainable_parameters() -> None:
    assert jacov.score(network().requires_grad_(False), batch()) == jacov.score(network(), batch())


@pytest.mark.parametrize("name", [name for name in SCORES if name != "zico"])
def test_the_order_of_samples_does_not_matter(name: str) -> None:
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    shuffled = Batch(batch().inputs[order], batch().targets[order])
    assert SCORES[name](network(), shuffled) == pytest.approx(SCORES[name](network(), batch()), rel=1e-9)


@every_score
@pytest.mark.parametrize("training", [True, False])
def test_the_network_and_the_random_state_are_left_as_they_were(name: str, training: bool) -> None:
    model = network().train(training)
    model[4].bias.requires_grad_(False)  # type: ignore[index]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state, given = torch.get_rng_state(), batch()
    SCORES[name](model, given)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert [n for n, p in model.named_parameters() if not p.requires_grad] == ["4.bias"]
    assert all(module.training == training for module in model.modules())
    assert torch.equal(given.inputs, batch().inputs) and not given.inputs.requires_grad


@every_score
def test_it_is_repeatable(name: str) -> None:
    assert SCORES[name](network(), batch()) == SCORES[name](network(), batch())


@every_score
def test_half_precision_is_worked_out_in_float32(name: str) -> None:
    rounded = network(torch.bfloat16)
    given = Batch(batch().inputs.float(), batch().targets)
    with torch.no_grad():
        assert SCORES[name](rounded, given) == SCORES[name](network(torch.bfloat16).float(), given)


@pytest.mark.parametrize("name", [name for name in SCORES if name not in ("jacov", "grasp")])
def test_frozen_parameters_are_not_counted(name: str) -> None:
    class Split(nn.Module):
        """Two layers side by side, of which only one is trained."""

        def __init__(self, frozen: nn.Module, trained: nn.Module) -> None:
            super().__init__()
            self.frozen, self.trained = frozen.requires_grad_(False), trained

        def forward(self, x: Tensor) -> Tensor:
            mapped: Tensor = self.trained(x)
            other: Tensor = self.frozen(x)
            return mapped + other - other.detach()

    def layer() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(72, 3)).double()

    half = SCORES[name](Split(layer(), layer()), batch())
    whole = SCORES[name](Split(layer(), layer()).requires_grad_(True), batch())
    assert half == pytest.approx(SCORES[name](layer(), batch()), rel=1e-9)
    assert whole == pytest.approx(2 * half, rel=1e-9)


def test_grasp_does_not_count_frozen_parameters() -> None:
    model = tiny()
    model[5].requires_grad_(False)  # type: ignore[index]
    kept = torch.cat([torch.full((p.numel(),), p.requires_grad) for p in model.parameters()])
    wanted = -(flat(tiny().parameters())[kept] @ curvature(tiny())[kept][:, kept] @ slopes(tiny())[kept]).item()
    assert grasp.score(model, batch()) == pytest.approx(wanted, rel=1e-10)


class Once(torch.autograd.Function):
    """x², whose gradient says that it cannot be differentiated again."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.square()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return 2 * x * grad


class Square(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        squared: Tensor = Once.apply(x)  # type: ignore[no-untyped-call]
        return squared


class Constant(nn.Module):
    """A network with a parameter whose output the input does not move."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.ones(3).double())

    def forward(self, x: Tensor) -> Tensor:
        return self.bias + 0 * x.flatten(1)[:, :3]


def spoilt() -> nn.Module:
    model = network()
    model[4].weight.data[0, 0, 0, 0] = torch.nan  # type: ignore[index]
    return model


def frozen() -> nn.Module:
    return network().requires_grad_(False)


@pytest.mark.parametrize(
    ("name", "model", "given", "message"),
    [
        *((name, spoilt(), batch(), "") for name in SCORES),
        *((name, frozen(), batch(), "no trainable parameters") for name in SCORES if name != "jacov"),
        *((name, network(), Batch(batch().inputs[:, :1], batch().targets), "") for name in SCORES if name != "l2_norm"),
        ("grasp", nn.Sequential(network(), Square()), batch(), "differentiate twice"),
        ("zico", network(), batch(1), "2 samples or more, and the batch has 1"),
        ("jacov", network(), batch(1), "2 samples or more, and the batch has 1"),
        ("jacov", Constant(), batch(), "the gradient by some input is the same everywhere"),
    ],
)
def test_what_cannot_be_scored_is_said_in_one_line(name: str, model: nn.Module, given: Batch, message: str) -> None:
    with pytest.raises(Unscorable, match=f"{name} cannot score this network: .*{message}") as caught:
        SCORES[name](model, given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["grad_norm", "grasp", "zico", "jacov"])
def test_the_memory_is_bounded(name: str) -> None:
    """Here the network has nothing that joins samples, so that the score does not depend on the chunks."""

    def wide() -> nn.Module:
        torch.manual_seed(0)
        layers: list[nn.Module] = [nn.Conv2d(2, 16, 3, padding=1)]
        for _ in range(4):
            layers += [nn.Tanh(), nn.Conv2d(16, 16, 3, padding=1)]
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(16 * 36, 3)).double()

    peaks, values = [], []
    small = 2**19 if name == "grasp" else 2**18  # one sample that is differentiated twice keeps more
    for memory in (2**30, small):
        with LiveStorages() as live:
            values.append(SCORES[name](wide(), batch(64, memory)))
        peaks.append(live.peak)
    own = sum(each.nbytes for each in wide().parameters())
    assert values[1] == pytest.approx(values[0], rel=1e-9)
    assert peaks[0] > 1.25 * peaks[1] and peaks[1] < 8 * own + 1.5 * small, (peaks, own)


def test_labels_matter_where_it_is_said() -> None:
    given = Batch(batch().inputs, batch().targets.flip(0))
    changed = {name for name, score in SCORES.items() if score(network(), given) != score(network(), batch())}
    assert changed == {name for name, score in SCORES.items() if isinstance(score, Predictor) and score.labels}
