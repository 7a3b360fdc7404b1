from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from search_spaces.activations.topk import TopK


def reference(x: Any) -> Any:
    ranks = np.argsort(np.argsort(-x, axis=1), axis=1)
    return np.where(ranks < 3, x, 0)


def test_the_three_largest_of_each_place(matches: Callable[..., None]) -> None:
    matches(TopK(8, 0.4), reference, channels=8)


@pytest.mark.parametrize(("channels", "share", "k"), [(16, 0.25, 4), (16, 0.1, 2), (3, 0.1, 1), (8, 1.0, 8)])
def test_exactly_k_are_kept(channels: int, share: float, k: int) -> None:
    activation = TopK(channels, share)
    for x in (torch.randn(5, channels), torch.randn(2, channels, 4, 3), torch.ones(2, channels, 3)):
        assert ((activation(x) != 0).sum(1) == k).all()


def test_gradients_pass_through_what_is_kept() -> None:
    x = torch.tensor([[3.0, -1.0, 2.0, 5.0]], requires_grad=True)
    TopK(4, 0.5)(x).backward(torch.tensor([[1.0, 2.0, 3.0, 4.0]]))
    assert x.grad is not None and x.grad.tolist() == [[1, 0, 0, 4]]


@pytest.mark.parametrize("share", [0.0, 1.1])
def test_a_share_out_of_range_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match=f"above 0 and up to 1, but got {share}"):
        TopK(4, share)
