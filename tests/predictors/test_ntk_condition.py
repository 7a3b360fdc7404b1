import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from predictors import Batch, Unscorable, ntk_condition
from predictors.gradients import sample_gradients
from search_spaces.registry import make


def network(dtype: torch.dtype = torch.float64) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        make("activation", "group_rational", 4),
        nn.Conv2d(4, 4, 3, stride=2),
        nn.Flatten(),
        nn.Linear(16, 3),
    ).to(dtype)


def batch(n: int = 7, **options: int) -> Batch:
    rng = torch.Generator().manual_seed(1)
    inputs = torch.randn(n, 2, 6, 6, generator=rng, dtype=torch.float64)
    return Batch(inputs, torch.zeros(n, dtype=torch.long), **options)


def jacobian(model: nn.Module, inputs: Tensor) -> Tensor:
    """The gradient of each sample's summed outputs, alone and in training mode, by all parameters [n, P]."""
    parameters = [each for each in model.parameters() if each.requires_grad]
    rows = [torch.autograd.grad(model.train()(sample[None]).sum(), parameters) for sample in inputs]
    return torch.stack([torch.cat([each.flatten() for each in row]) for row in rows])


def reference(model: nn.Module, inputs: Tensor) -> float:
    """The kernel's condition is the square of the Jacobian's."""
    singular = torch.linalg.svdvals(jacobian(model, inputs))
    return -2 * math.log(singular[0] / singular[-1])


def test_the_score_is_that_of_explicit_jacobians() -> None:
    assert ntk_condition.score(network(), batch()) == pytest.approx(reference(network(), batch().inputs), rel=1e-9)


@pytest.mark.parametrize("samples", [1, 2, 3, 5])
def test_blocks_that_the_memory_asks_for_change_nothing(samples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []
    size = sum(each.nbytes for each in network().parameters())

    def counted(network: nn.Module, part: Batch, loss: object) -> object:
        held.append(len(part))
        return sample_gradients(network, part, loss)  # type: ignore[arg-type]

    monkeypatch.setattr(ntk_condition, "sample_gradients", counted)
    small = batch(memory=6 * samples * size)
    assert ntk_condition.score(network(), small) == pytest.approx(reference(network(), small.inputs), rel=1e-9)
    assert max(held) <= samples and len(held) >= 3


def test_a_case_by_hand() -> None:
    """One weight for each of two inputs, and a bias: gradients (1, 0, 1) and (0, 2, 1), kernel [[2, 1], [1, 5]]."""
    given = Batch(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.zeros(2, dtype=torch.long))
    most, least = (7 + 13**0.5) / 2, (7 - 13**0.5) / 2
    assert ntk_condition.score(nn.Linear(2, 1), given) == pytest.approx(math.log(least / most), rel=1e-6)


def test_all_outputs_count_and_targets_do_not() -> None:
    """With as many outputs as you like the kernel of a linear layer is that of one, times their number."""
    one, five = nn.Linear(72, 1).double(), nn.Linear(72, 5).double()
    flat = replace(batch(), inputs=batch().inputs.flatten(1))
    score = ntk_condition.score(one, flat)
    assert ntk_condition.score(five, flat) == pytest.approx(score, rel=1e-9)
    assert torch.linalg.matrix_rank(ntk_condition.kernel(five, flat)) == 7
    assert torch.allclose(ntk_condition.kernel(five, flat), 5 * ntk_condition.kernel(one, flat))
    assert ntk_condition.score(one, replace(flat, targets=flat.targets + 4)) == score


def test_frozen_parameters_do_not_count() -> None:
    model = network()
    model[0].requires_grad_(False)  # type: ignore[index]
    score = ntk_condition.score(model, batch())
    assert score == pytest.approx(reference(model, batch().inputs), rel=1e-9)
    assert score != pytest.approx(reference(network(), batch().inputs), rel=1e-3)


def test_small_eigenvalues_survive_float32() -> None:
    """Two samples that differ by 0.002: a condition near 10^6, from gradients in float32 known to 1 in 10^7."""
    inputs = torch.randn(1, 40, generator=torch.Generator().manual_seed(0)).repeat(2, 1)
    inputs[1, :20] += 2e-3
    layer = nn.Linear(40, 3, bias=False)
    exact = reference(layer.double(), inputs.double())
    assert exact < -math.log(1e5)
    assert ntk_condition.score(layer.float(), Batch(inputs, torch.zeros(2))) == pytest.approx(exact, abs=0.01)


class Constant(nn.Module):
    """Outputs that do not depend on the input."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.zeros(len(x), 3, dtype=x.dtype)) * 1.0


@pytest.mark.parametrize(
    ("model", "given", "message"),
    [
        (Constant(), batch(), "its neural tangent kernel is singular: eigenvalues from .* to "),
        (nn.Linear(72, 3), Batch(torch.ones(2, 72), torch.zeros(2)), "kernel is singular"),
        (network(), batch(1), "needs 2 samples or more, but got 1"),
        (nn.Flatten(), batch(), "no trainable parameters"),
    ],
    ids=["constant", "equal samples", "one sample", "no parameters"],
)
def test_what_has_no_condition_is_declined(model: nn.Module, given: Batch, message: str) -> None:
    with pytest.raises(Unscorable, match=f"ntk_condition cannot score this network: .*{message}"):
        ntk_condition.score(model, given)
