"""What flows through a network of absolute weights, from an input of ones: the ground of synflow and path norm.

    R = Σ_o out_o(1; |θ|)       in float64

For ReLU networks R is the sum over all paths from an input, or from a bias, to an output of the product of the
absolute weights on the path. Norms would turn an input of ones into zeros, so those of torch become affine, γ·x + β.
The official code of synflow leaves batch norms out altogether; as γ = 1 and β = 0 at the start, R is the same. In other
networks R is what they make of it: absolute values reach all parameters, the coefficients of rationals among them, and
functions stay what they are. As paths add up to large numbers, a function that saturates passes nothing on, and a KAN
layer of which all inputs lie beyond its grid has its base branch alone.

A masked weight is its masked value here: what a mask holds at zero carries nothing, and gets no gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

NORMS = (
    nn.modules.batchnorm._NormBase,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.RMSNorm,
)


class Affine(nn.Module):
    """γ·x + β in place of a norm with these parameters; the identity for one that has none."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.dim = -1 if isinstance(norm, nn.LayerNorm | nn.RMSNorm) else 1
        self.weight = getattr(norm, "weight", None)
        self.bias = getattr(norm, "bias", None)

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.weight is None else x * self._shaped(self.weight, x)
        return x if self.bias is None else x + self._shaped(self.bias, x)

    def _shaped(self, values: Tensor, x: Tensor) -> Tensor:
        return values if self.dim == -1 else values.view(-1, *[1] * (x.ndim - 2))


def without_norms(network: nn.Module) -> nn.Module:
    """Put `Affine` in the place of every norm, in the network given."""
    for parent in list(network.modules()):
        for name, child in list(parent._modules.items()):  # a module that has two places, in both
            if isinstance(child, NORMS):
                setattr(parent, name, Affine(child))
    return Affine(network) if isinstance(network, NORMS) else network


def without_masks(network: nn.Module) -> list[nn.Parameter]:
    """Make parameters of what parametrizations make of weights, such as masks; list them.

    Modules stay as they are in which one changes a shape, as a factorisation would.
    """
    made: dict[nn.Parameter, nn.Parameter] = {}  # by the parameter behind it, which modules may share
    for module in list(network.modules()):
        if not parametrize.is_parametrized(module):
            continue
        held = dict(module.parametrizations.items())  # type: ignore[union-attr,operator]
        values = {name: getattr(module, name).detach().clone() for name in held}
        if any(getattr(held[name], "original", None) is None for name in held):
            continue
        if any(held[name].original.shape != value.shape for name, value in values.items()):
            continue
        # torch's own removal would take the weight from the class, which the network shares that this is a copy of.
        module.__class__ = type(module).__bases__[0]
        del module.parametrizations
        for name, value in values.items():
            original = held[name].original
            parameter = made.setdefault(original, nn.Parameter(value, requires_grad=original.requires_grad))
            module.register_parameter(name, parameter)
    return list(made.values())


@torch.no_grad()
def absolute(network: nn.Module) -> None:
    """Make all parameters absolute, in place."""
    for parameter in network.parameters():
        parameter.abs_()


def flow_network(network: nn.Module) -> nn.Module:
    """Return the network in float64 with absolute parameters, without masks and norms, in evaluation mode."""
    without_masks(network)
    network = without_norms(network).double().eval()
    absolute(network)
    return network
