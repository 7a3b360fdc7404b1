"""Which side of zero the inputs of non-linear modules lie on: binary codes of samples, and so of linear regions.

For ReLU networks the codes are those of the linear region that a sample lies in. Modules are recognised by what they
do, whatever their class. Of the modules that are called with something that depends on the samples, those count that

    are innermost, with no module in them that is called so itself: a KAN layer is one, a block of layers is not
    are not torch's convolutions, linear maps, norms, pools, dropout or changes of shape
    are not affine, which is tried out on noise of one sample's shape: f(x/2) = (f(2x) + f(-x))/2

Each element of what they are called with is a unit, and its code is 1 above zero. That is a kink of ReLU and where
most smooth and rational functions bend; a KAN layer's functions bend elsewhere, too, which is not seen, and neither are
functions that are called without a module, such as the softmax of attention.

Modules are in training mode, so that batch normalisation uses the statistics of the batch. Where the batch takes more
than its memory it goes in chunks, with the statistics of the chunk, and codes are kept as bits meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from predictors import Batch, Loss, Unscorable
from predictors.gradients import saved_bytes

Visit = Callable[[Tensor], None]
Called = Callable[[nn.Module, Tensor], None]

TORCH = "torch.nn.modules."
NEUTRAL = {TORCH + "module", TORCH + "container"}
ACTIVATION = TORCH + "activation"


def visit_codes(network: nn.Module, batch: Batch, loss: Loss, visit: Visit) -> None:
    """Call `visit` with the codes [n, units], booleans, of each call of a non-linear module, in order.

    Raises Unscorable when there is none.
    """
    chunks = list(batch.chunks(saved_bytes(network.eval(), batch, loss), least=2))
    network.train()
    kinds: dict[nn.Module, bool] = {}
    bits: list[list[NDArray[np.uint8]]] = []
    units: list[int] = []

    def seen(module: nn.Module, x: Tensor) -> None:
        if module not in kinds:
            kinds[module] = is_non_linear(module, x)
        if not kinds[module]:
            return
        codes = x.flatten(1) > 0
        units.append(codes.shape[1])
        if len(chunks) == 1:
            visit(codes)
        else:
            bits[-1].append(np.packbits(codes.cpu().numpy(), axis=1))

    for chunk in chunks:
        bits.append([])
        if watch(network, chunk.inputs, seen).isnan().any():
            raise Unscorable("its outputs are not numbers")
    if not units:
        raise Unscorable("it has no non-linear module that sees the samples, and so no codes of them")
    for count, parts in zip(units, zip(*bits, strict=True), strict=False):
        codes = np.unpackbits(np.concatenate(parts), axis=1, count=count)
        visit(torch.from_numpy(codes).to(batch.inputs.device) > 0)


def watch(network: nn.Module, inputs: Tensor, seen: Called) -> Tensor:
    """Pass inputs forward and return the outputs; `seen` gets each innermost module and what it is called with.

    Innermost are modules that are called with a tensor that depends on the inputs, first dimension n, and that call
    none so themselves. Parameters lose their gradient; nothing is kept for a backward pass.
    """
    network.requires_grad_(False)
    traced = inputs.detach().requires_grad_()
    open_calls: list[bool] = []

    def depends(given: tuple[Any, ...]) -> bool:
        x = (
            given[0] if given and torch.is_grad_enabled() else None
        )  # off within autograd functions, which are one piece
        return isinstance(x, Tensor) and x.requires_grad and x.ndim > 1 and len(x) == len(inputs)

    def before(module: nn.Module, given: tuple[Any, ...]) -> None:
        if depends(given):
            open_calls[:] = [False] * len(open_calls)
            open_calls.append(True)

    def after(module: nn.Module, given: tuple[Any, ...], output: Any) -> None:
        if depends(given) and open_calls.pop():
            with torch.no_grad():
                seen(module, given[0].detach())

    with ExitStack() as stack:
        for module in network.modules():
            for handle in (module.register_forward_pre_hook(before), module.register_forward_hook(after)):
                stack.callback(handle.remove)
        # What autograd would keep is let go: it is on to tell what depends on the inputs.
        stack.enter_context(saved_tensors_hooks(lambda saved: None, lambda nothing: nothing))
        outputs: Tensor = network(traced.view_as(traced)).detach()
    return outputs


def is_non_linear(module: nn.Module, x: Tensor) -> bool:
    """Say whether an innermost module that is called with x [n, ...] is an activation or a layer with one."""
    homes = {kind.__module__ for kind in type(module).__mro__}
    if ACTIVATION in homes:
        return True
    if any(home.startswith(TORCH) for home in homes - NEUTRAL):
        return False
    one = torch.randn_like(x[:1])
    between, after, before = (module(scale * one) for scale in (0.5, 2.0, -1.0))
    return not torch.allclose(between, (after + before) / 2, rtol=1e-3, atol=1e-5)
