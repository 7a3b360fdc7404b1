"""How many channels come to each module of a network."""

from __future__ import annotations

import torch
from torch import Tensor, nn


@torch.no_grad()
def channels_seen(network: nn.Module, shape: tuple[int, int, int]) -> dict[str, int]:
    """Return how many channels come to each module of a network for inputs [1, *shape], by the module's name."""
    seen: dict[str, int] = {}
    handles = []
    for place, module in network.named_modules(remove_duplicate=False):

        def note(_: nn.Module, args: tuple[Tensor, ...], place: str = place) -> None:
            if args and args[0].ndim > 1:
                seen.setdefault(place, args[0].shape[1])

        handles.append(module.register_forward_pre_hook(note))
    training, parameter = network.training, next(network.parameters())
    network.eval()(torch.zeros(1, *shape, dtype=parameter.dtype))
    network.train(training)
    for handle in handles:
        handle.remove()
    return seen
