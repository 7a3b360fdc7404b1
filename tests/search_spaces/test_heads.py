import math

import pytest
import torch
from torch.nn import functional

from search_spaces.heads.grassmann_head import GrassmannHead
from search_spaces.registry import make


def test_linear_is_a_matrix_and_a_bias() -> None:
    head, x = make("head", "linear", 5, 3), torch.randn(2, 5)
    torch.testing.assert_close(head(x), x @ head.weight.T + head.bias)


def test_the_bases_of_the_classes_are_orthonormal_and_stay_so_in_training() -> None:
    torch.manual_seed(0)
    head, x, y = GrassmannHead(12, 5, dimension=3), torch.randn(20, 12), torch.randint(5, (20,))
    optimizer = torch.optim.AdamW(head.parameters(), 0.1)
    losses = []
    for _ in range(20):
        losses.append(functional.cross_entropy(head(x), y))
        optimizer.zero_grad()
        losses[-1].backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        bases = head.subspaces()
        torch.testing.assert_close(bases.mT @ bases, torch.eye(3).expand(5, 3, 3), atol=1e-5, rtol=0)
    assert losses[-1] < losses[0]


def test_logits_by_hand() -> None:
    """The plane of the first two axes and that of the last two, given by vectors that are not orthonormal."""
    head = GrassmannHead(4, 2, dimension=2)
    with torch.no_grad():
        head.free.copy_(torch.tensor([[[1.0, 5], [2, -1], [0, 0], [0, 0]], [[0, 0], [0, 0], [3, 1], [0, 2]]]))
    x = torch.tensor([[3.0, 4, 0, 12], [0, 0, 1, 0]])
    wanted = 25 * torch.tensor([[5 / 13, 12 / 13], [0, 1]])
    torch.testing.assert_close(head(x), wanted, atol=1e-4, rtol=1e-5)


def test_logits_are_the_cosine_to_the_projection_found_by_least_squares() -> None:
    torch.manual_seed(0)
    head, x = GrassmannHead(9, 4, dimension=3, scale=1.0).double(), torch.randn(6, 9, dtype=torch.float64)
    for c, logits in enumerate(head(x).T):
        solution = torch.linalg.lstsq(head.free[c], x.T).solution
        projection = (head.free[c] @ solution).norm(dim=0)
        torch.testing.assert_close(logits, projection / x.norm(dim=1), rtol=1e-4, atol=1e-5)


def test_logits_depend_on_neither_the_length_of_the_feature_nor_that_of_the_parameters() -> None:
    torch.manual_seed(0)
    head, x = GrassmannHead(8, 3), torch.randn(5, 8)
    before = head(x)
    torch.testing.assert_close(head(1000 * x), before)
    with torch.no_grad():
        head.free.mul_(7)
    torch.testing.assert_close(head(x), before)
    assert before.max() <= 25


@pytest.mark.parametrize(("features", "wanted"), [(1, 1), (2, 1), (5, 2), (8, 4), (100, 4)])
def test_a_subspace_leaves_half_of_the_space_free(features: int, wanted: int) -> None:
    assert GrassmannHead(features, 3, dimension=4).subspaces().shape == (3, features, wanted)


def test_a_feature_of_zeros_has_logits_and_slopes_of_zero() -> None:
    head, x = GrassmannHead(6, 3), torch.zeros(1, 6, requires_grad=True)
    logits = head(x)
    logits.sum().backward()
    assert logits.tolist() == [[0, 0, 0]]
    assert x.grad is not None and head.free.grad is not None
    assert x.grad.isfinite().all() and head.free.grad.isfinite().all()


def test_the_slopes_agree_with_finite_differences() -> None:
    torch.manual_seed(0)
    head, x = GrassmannHead(6, 2, dimension=2), torch.randn(3, 6)
    x.requires_grad_()
    (slope,) = torch.autograd.grad(head(x)[0, 1], x)
    nudged = x.detach().repeat(2, 1, 1)
    nudged[0, 0, 2] += 1e-3
    nudged[1, 0, 2] -= 1e-3
    difference = (head(nudged[0])[0, 1] - head(nudged[1])[0, 1]).item() / 2e-3
    assert math.isclose(slope[0, 2].item(), difference, rel_tol=1e-2, abs_tol=5e-3)


def test_a_dimension_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="dimension is 0, but a whole number from 1 up is allowed"):
        GrassmannHead(6, 3, dimension=0)


def test_a_kan_head_sums_one_function_of_each_feature() -> None:
    """Changing one feature changes the logits by the same, whatever the other features are."""
    torch.manual_seed(0)
    head, x, other = make("head", "kan_linear", 4, 3), torch.randn(4), torch.randn(4)
    changes = []
    for base in (x, other):
        low, high = base.clone(), base.clone()
        low[2], high[2] = -0.7, 1.1
        changes.append(head(high[None]) - head(low[None]))
    torch.testing.assert_close(changes[0], changes[1], atol=1e-5, rtol=1e-4)
    assert changes[0].abs().max() > 1e-2
