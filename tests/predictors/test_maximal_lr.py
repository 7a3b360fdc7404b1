import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from predictors import Batch, Unscorable, maximal_lr
from predictors.maximal_lr import HALVINGS, LEAST, MOST

STEP = 2.0 ** (1 / 2**HALVINGS)


def squares(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).square().sum(1).mean() / 2


def network(*norms: nn.Module, dtype: torch.dtype = torch.float64) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 16), *norms, nn.ReLU(), nn.Linear(16, 16), nn.GELU(), nn.Linear(16, 3))
    return model.to(dtype)


def batch(n: int = 12) -> Batch:
    rng = torch.Generator().manual_seed(1)
    inputs = torch.randn(n, 5, generator=rng, dtype=torch.float64)
    return Batch(inputs, torch.randint(3, (n,), generator=rng))


@pytest.mark.parametrize("curvature", [1e-4, 0.3, 7.0, 1e5])
@pytest.mark.parametrize("start", [0.01, 3.0])
def test_of_a_quadratic_it_is_two_divided_by_the_curvature(curvature: float, start: float) -> None:
    """The loss (√λ·w)²/2 of the only weight w."""
    model = nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(model.weight, start)
    given = Batch(torch.full((4, 1), curvature**0.5, dtype=torch.float64), torch.zeros(4, 1, dtype=torch.float64))
    rate = maximal_lr.score(model, given, squares)
    assert 2 / curvature / STEP <= rate * (1 + 1e-9) and rate <= 2 / curvature


def test_of_a_quadratic_of_many_weights_it_is_that_of_the_curvature_along_the_gradient() -> None:
    """2·gᵀg/gᵀHg, with the Hessian H = Σ x·xᵀ/n of a linear layer with one output."""
    x, t = batch().inputs, batch().inputs[:, :1].sin()
    torch.manual_seed(2)
    model = nn.Linear(5, 1, bias=False).double()
    gradient = ((model(x) - t).T @ x / len(x)).detach()[0]
    expected = 2 * gradient @ gradient / (gradient @ (x.T @ x / len(x)) @ gradient)
    rate = maximal_lr.score(model, Batch(x, t), squares)
    assert expected.item() / STEP <= rate * (1 + 1e-9) and rate <= expected.item()


@pytest.mark.parametrize("norm", [False, True])
def test_of_a_network_it_is_where_a_dense_scan_first_finds_no_descent(norm: bool) -> None:
    model = network(*[nn.BatchNorm1d(16)] * norm)
    given = batch()
    named = {name: each.detach() for name, each in model.named_parameters()}
    value = cross_entropy(model(given.inputs), given.targets)
    gradients = dict(zip(named, torch.autograd.grad(value, list(model.parameters())), strict=True))

    def falls(rate: float) -> bool:
        after = {name: each - rate * gradients[name] for name, each in named.items()}
        return bool(cross_entropy(functional_call(model, after, (given.inputs,)), given.targets) < value)

    first = next(rate for rate in (1e-3 * 1.02**i for i in range(1000)) if not falls(rate))
    assert maximal_lr.score(model, given) == pytest.approx(first, rel=0.03)


def test_chunks_change_nothing_without_batch_normalisation() -> None:
    whole, sizes = maximal_lr.score(network(), batch(7)), []

    def watched(outputs: Tensor, targets: Tensor) -> Tensor:
        sizes.append(len(outputs))
        return cross_entropy(outputs, targets)

    assert maximal_lr.score(network(), replace(batch(7), memory=2800), watched) == pytest.approx(whole, rel=1e-6)
    assert set(sizes[2:]) == {3, 4}


def test_a_score_takes_some_25_passes() -> None:
    passes = []

    def counted(outputs: Tensor, targets: Tensor) -> Tensor:
        passes.append((len(outputs), outputs.requires_grad))
        return cross_entropy(outputs, targets)

    maximal_lr.score(network(), batch(), counted)
    assert passes.count((12, True)) == 1 and 20 <= passes.count((12, False)) <= 30
    assert set(passes) == {(1, True), (12, True), (12, False)}  # those of one sample tell the memory they take


def test_a_loss_that_falls_at_every_rate_has_the_largest() -> None:
    """The loss -w is linear: L(0)/|g|² is |w|/1."""
    model = nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(model.weight, -3.0)
    given = Batch(torch.ones(2, 1, dtype=torch.float64), torch.zeros(2))
    assert maximal_lr.score(model, given, lambda y, t: -y.mean()) == 3.0 * 2.0**MOST


def test_frozen_parameters_stay() -> None:
    """With its weight frozen, a linear layer has the curvature 1 of its bias alone."""
    model = nn.Linear(5, 1).double()
    model.weight.requires_grad_(False)
    given = replace(batch(), targets=torch.zeros(12, 1, dtype=torch.float64))
    assert maximal_lr.score(model, given, squares) == pytest.approx(2, rel=STEP - 1)


class Cusp(nn.Module):
    """Grows as fast as its slope says for a step of 1e-9, and then falls as fast."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return 1 + torch.where(self.w > -1e-9, self.w, -self.w) + 0 * x


@pytest.mark.parametrize(
    ("model", "targets", "message"),
    [
        (nn.Flatten(), 0.0, "no trainable parameters"),
        (Cusp(), 0.0, "not even a step at the rate of 6.1e-05 lowers its loss"),
        (nn.Linear(1, 1, bias=False).double(), math.nan, "have to be finite"),
        (nn.Linear(1, 1, bias=False).double(), None, "no step lowers its loss, which is 0 with a gradient of norm 0"),
    ],
    ids=["no parameters", "cusp", "nan", "minimum"],
)
def test_what_has_no_such_rate_is_declined(model: nn.Module, targets: float | None, message: str) -> None:
    inputs = torch.ones(2, 1, dtype=torch.float64)
    wanted = model(inputs).detach() if targets is None else torch.full((2, 1), targets, dtype=torch.float64)
    loss = squares if not isinstance(model, Cusp) else lambda y, t: y.mean()
    with pytest.raises(Unscorable, match=f"maximal_lr cannot score this network: .*{message}"):
        maximal_lr.score(model, Batch(inputs, wanted), loss)


def test_the_range_is_that_of_the_docstring() -> None:
    assert f"k = {LEAST} ... {MOST}" in str(maximal_lr.score.__doc__) and "2^(1/64)" in str(maximal_lr.score.__doc__)
    assert pytest.approx(2 ** (1 / 64)) == STEP
