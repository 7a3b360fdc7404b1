"""Give a KAN layer another basis, a finer grid say, and keep the functions that it has learned.

All edges of a layer share one basis, so every old basis function is fitted once by the new ones, by least squares on
the grid, and the small matrix of these fits carries all weights over. Where the new functions contain the old ones,
as B-splines on a grid that divides the old one do, nothing changes but rounding (KAN: grid extension).
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from search_spaces.decisions import Architecture
from search_spaces.layers.kan import KanConv2d, KanLinear
from search_spaces.registry import make

KanLayer = KanLinear | KanConv2d
POINTS = 4096
USUAL = (-3.0, 3.0)
SAMPLE = 2**16


@torch.no_grad()
def refine(layer: KanLayer, basis: Architecture | nn.Module) -> float:
    """Replace the basis of a layer by one with other functions, and keep what the layer computes on the grid.

    Returns the greatest error of an old basis function fitted by the new ones on the new grid. Outside it the
    layer does as the new basis does. The weight becomes a new parameter: make the optimizer anew. Raises ValueError
    for a basis with trainable parameters and for a layer with a mask, which is one of the old functions.
    """
    made: Any = basis if isinstance(basis, nn.Module) else make("basis", basis)
    if any(True for _ in layer.basis.parameters()) or any(True for _ in made.parameters()):
        raise ValueError("a basis with trainable parameters cannot be refined: name one of fixed functions")
    inner = layer.linear if isinstance(layer, KanLinear) else layer.convolution
    if parametrize.is_parametrized(inner):
        raise ValueError("a layer whose weight has a mask cannot be refined: refine it before it gets one")
    low, high = made.span() if hasattr(made, "span") else USUAL
    matrix, error = _fit(layer.basis, made, low, high)
    inner.weight = nn.Parameter(_carried(inner.weight, matrix, layer.expansion.base), inner.weight.requires_grad)
    layer.expansion.basis = made.to(inner.weight.device)
    layer.expansion.count = made.count + layer.expansion.base
    size = inner.weight.shape[1]
    if isinstance(inner, nn.Linear):
        inner.in_features = size
    else:
        inner.in_channels = size
    return error


@torch.no_grad()
def adapt(network: nn.Module, inputs: Tensor) -> None:
    """Put every "quantile" grid of a network at the quantiles of what reaches its layer, layer after layer.

    The inputs [batch, ...] run through the network once, in the mode that it is in. Each layer keeps the functions
    that it had, as well as its new grid can, and the mask that it may have. Of more than 65,536 values that reach a
    layer as many are drawn by torch's generator: evenly spaced ones could all be of one channel or column.
    """

    def fit(layer: nn.Module, args: tuple[Tensor]) -> None:
        assert isinstance(layer, KanLayer)
        values = args[0].detach().flatten()
        if len(values) > SAMPLE:
            values = values[torch.randint(len(values), (SAMPLE,), device=values.device)]
        if values.min() < values.max():
            before = deepcopy(layer.basis)
            layer.basis.place(values)
            matrix, _ = _fit(before, layer.basis, *layer.basis.span())
            inner = layer.linear if isinstance(layer, KanLinear) else layer.convolution
            carried = _carried(inner.weight, matrix, layer.expansion.base)
            _stored(inner).copy_(carried)

    hooks = [layer.register_forward_pre_hook(fit) for layer in adaptable(network)]
    try:
        if hooks:
            network(inputs)
    finally:
        for hook in hooks:
            hook.remove()


def adaptable(network: nn.Module) -> list[KanLayer]:
    """List the KAN layers of a network whose grid can be adapted to their inputs."""
    layers = [layer for layer in network.modules() if isinstance(layer, KanLayer)]
    return [layer for layer in layers if getattr(layer.basis, "grid", "") == "quantile"]


def _fit(old: nn.Module, new: nn.Module, low: float, high: float) -> tuple[Tensor, float]:
    """Return the matrix [new count, old count] with new·matrix nearest to old, and the greatest error."""
    x = torch.linspace(low, high, POINTS, dtype=torch.float64)
    wanted, functions = (deepcopy(basis).cpu().double()(x) for basis in (old, new))
    # The smallest of these solutions where the grid leaves some functions undetermined.
    matrix = torch.linalg.lstsq(functions, wanted, driver="gelsd").solution
    return matrix, (functions @ matrix - wanted).abs().max().item()


def _stored(inner: nn.Linear | nn.Conv2d) -> Tensor:
    """Return the weight that is trained: a mask stands between it and the one that the layer uses."""
    if parametrize.is_parametrized(inner):
        masked: Any = inner.parametrizations
        return cast(Tensor, masked.weight.original)
    return inner.weight


def _carried(weight: Tensor, matrix: Tensor, base: bool) -> Tensor:
    """Return the weight [out, (base + old count)·in, ...] for the new functions."""
    channels = weight.shape[1] // (matrix.shape[1] + base)
    first, rest = weight.double().tensor_split([channels if base else 0], 1)
    slabs = torch.unflatten(rest, 1, (matrix.shape[1], channels))
    carried = torch.einsum("mn,on...->om...", matrix.to(slabs.device), slabs).flatten(1, 2)
    return torch.cat([first, carried], 1).to(weight.dtype)
