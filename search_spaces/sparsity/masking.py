"""What all masks share: which weights they cover, and how many they leave alive.

A mask is a parametrization of a weight (`torch.nn.utils.parametrize`): it stands between the stored
parameter and the weight that the layer uses, and travels with the module's state.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList

from search_spaces.registry import register

Sparsify = Callable[[nn.Module], None]


@runtime_checkable
class Masking(Protocol):
    """A parametrization that holds some weights at zero."""

    def kept(self, weight: Tensor) -> int:
        """Count the weights that are not masked."""
        ...


@register("sparsity", "dense")
def dense() -> Sparsify:
    """All weights are kept."""
    return lambda module: None


def weighted(module: nn.Module) -> list[nn.Conv2d | nn.Linear]:
    """List the convolutions and linear layers of a module, whose weights a mask covers."""
    return [layer for layer in module.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]


def live_parameters(module: nn.Module) -> int:
    """Count the trainable parameters that no mask holds at zero."""
    live = sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
    for masked in module.modules():
        if isinstance(masked, ParametrizationList) and masked.original.requires_grad:
            live -= sum(masked.original.numel() - m.kept(masked.original) for m in masked if isinstance(m, Masking))
    return live
