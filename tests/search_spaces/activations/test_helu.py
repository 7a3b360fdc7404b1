import pytest
import torch

from search_spaces.registry import make


def test_forward_is_relu_bit_for_bit() -> None:
    special = torch.tensor([0.0, -0.0, float("inf"), -float("inf"), float("nan"), 1e-45, -1e-45, 1e4, -1e4])
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        x = torch.cat([special, torch.randn(4096)]).to(dtype)
        bits = {torch.float32: torch.int32}.get(dtype, torch.int16)
        assert torch.equal(make("activation", "helu", 1)(x).view(bits), torch.relu(x).view(bits))


def test_the_gradient_lives_until_minus_alpha() -> None:
    x = torch.tensor([-1e4, -1.0, -0.11, -0.1, -0.09, 0.0, 2.0, 1e4], requires_grad=True)
    make("activation", {"helu": {"alpha": 0.1}}, 1)(x).backward(torch.arange(1.0, 9))
    assert x.grad is not None and x.grad.tolist() == [0, 0, 0, 0, 5, 6, 7, 8]


def test_with_alpha_zero_it_is_relu_in_training() -> None:
    x = torch.tensor([-1.0, 0.0, 1.0], requires_grad=True)
    (slope,) = torch.autograd.grad(make("activation", {"helu": {"alpha": 0.0}}, 1)(x).sum(), x)
    assert slope.tolist() == [0, 0, 1]


def test_a_negative_alpha_is_refused() -> None:
    with pytest.raises(ValueError, match=r"alpha is at least 0, but got -0\.1"):
        make("activation", {"helu": {"alpha": -0.1}}, 1)
