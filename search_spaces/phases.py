"""What a network does between the epochs of its training, beyond following gradients."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from search_spaces.bases.selectable import Selectable
from search_spaces.layers.kan import KanConv2d, KanLinear
from search_spaces.layers.regrid import adapt, adaptable
from search_spaces.layers.selection import advance


def begin_epoch(network: nn.Module, epoch: int, epochs: int, inputs: Tensor) -> None:
    """Prepare a network for an epoch, counted from 0, out of `epochs`.

    Before the first, grids are put at the quantiles of what some training inputs [batch, ...] make of themselves on
    the way through; selectable bases move on to the phase they are due. What comes out depends on the network's
    state, the epoch, the inputs and torch's generator alone, and is part of the state.
    """
    if epoch == 0 and adaptable(network):
        adapt(network, inputs)
    for layer in network.modules():
        if isinstance(layer, KanLinear | KanConv2d) and isinstance(layer.basis, Selectable):
            advance(layer, epoch / epochs)


def auxiliary_loss(network: nn.Module) -> Tensor | None:
    """Return what the parts of a network add to the loss of the last training forward, or None."""
    parts = [getattr(module, "auxiliary_loss", None) for module in network.modules()]
    found = [part for part in parts if part is not None]
    return torch.stack(found).sum() if found else None
