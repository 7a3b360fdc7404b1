"""What makes a form of group_rational differentiable, once, twice and sample by sample.

Both forms come as a pair of functions on x [rows, groups, inner] and the coefficients [groups, 6] and [groups, 4]:

    value(x, numerator, denominator) -> r(x)
    gradients(grad, x, numerator, denominator) -> the gradients of the three
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

Value = Callable[[Tensor, Tensor, Tensor], Tensor]
Gradients = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]


def differentiable(value: Value, gradients: Gradients, plain: Gradients) -> Value:
    """Return `value` with `gradients` for its backward pass; autograd can go through `plain`, the same gradients."""

    class First(torch.autograd.Function):
        @staticmethod
        def forward(x: Tensor, numerator: Tensor, denominator: Tensor) -> Tensor:
            return value(x, numerator, denominator)

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            ctx.save_for_backward(*inputs)

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Any:
            if torch.compiler.is_compiling():
                return gradients(grad, *ctx.saved_tensors)
            return Second.apply(grad, *ctx.saved_tensors)  # type: ignore[no-untyped-call]

        @staticmethod
        def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Tensor) -> tuple[Any, Any]:
            return _as_groups(First.apply, info.batch_size, in_dims, inputs)

    class Second(torch.autograd.Function):
        @staticmethod
        def forward(grad: Tensor, x: Tensor, numerator: Tensor, denominator: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            return gradients(grad, x, numerator, denominator)

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
            ctx.save_for_backward(*inputs)

        @staticmethod
        def backward(ctx: Any, *grads: Tensor) -> Any:
            return torch.func.vjp(plain, *ctx.saved_tensors)[1](grads)

        @staticmethod
        def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Tensor) -> tuple[Any, Any]:
            return _as_groups(Second.apply, info.batch_size, in_dims, inputs)

    apply: Value = First.apply
    return apply


def _as_groups(
    function: Callable[..., Any], size: int, in_dims: Sequence[int | None], inputs: Sequence[Tensor]
) -> tuple[Any, Any]:
    """Return the outputs of a function over a batch of `size`, and where their batch dimension is.

    The samples become further groups, each with its own coefficients: [size, rows, groups, inner] is made [rows,
    size·groups, inner], and [size, groups, coefficients] is made [size·groups, coefficients].
    """
    folded = []
    for tensor, dim in zip(inputs, in_dims, strict=True):
        batch = tensor.expand(size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
        folded.append(batch.flatten(0, 1) if batch.ndim == 3 else batch.movedim(0, 1).flatten(1, 2))
    found = function(*folded)
    if not isinstance(found, tuple):
        return found.unflatten(1, (size, -1)), 1
    dims = tuple(each.ndim - 2 for each in found)
    return tuple(each.unflatten(dim, (size, -1)) for each, dim in zip(found, dims, strict=True)), dims
