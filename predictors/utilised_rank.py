"""Utilised rank: how much of the space that its weights span does a layer use for these samples?

    score = mean over layers of min(k_in, k_out) / min(c_in, c_out, rows)

at initialisation; higher is better. k_in is the number of principal directions that hold 99 % of the energy of a
layer's inputs, k_out the same for its outputs: with λ_1 >= λ_2 ... the eigenvalues of Σ x·xᵀ, not centred, over all
samples and places, the least k with λ_1 + ... + λ_k >= 0.99·Σλ. c_in and c_out are the numbers of channels, and
rows = samples · places (the fewer of input and output) bounds the rank, too.

A layer is an innermost module with a trainable parameter of two or more dimensions that turns features into features:
a convolution, a linear or KAN layer, a rational function with coefficients for each group. Channels are dimension 1 of
maps [n, c, h, w] and the last of vectors [n, c] and tokens [n, t, c].

The paper asks this of trained layers; its min(k_in, k_out) and the mean over layers are taken from its abstract and
summaries. Its text was not at hand, so the 99 %, energy in place of variance, and channels in place of unfolded patches
as the inputs of convolutions are choices made here. Modules are in training mode: batch normalisation uses the
statistics of the batch, or of a chunk where memory asks for chunks; without it the score is the same.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from predictors import Batch, Loss, Unscorable, predictor
from predictors.gradients import memory_chunks

ENERGY = 0.99


@dataclass
class Space:
    """Second moments [c, c] of features in float64, and the number of their rows."""

    moments: Tensor | None = None
    rows: int = 0

    def add(self, features: Tensor) -> None:
        """Add features [n, c], [n, t, c] or [n, c, ...]."""
        if not features.isfinite().all():
            raise Unscorable("features have to be finite, but this network has others at the start")
        rows = (features.movedim(1, -1) if features.ndim > 3 else features).detach().flatten(0, -2).double()
        product = rows.T @ rows
        self.moments = product if self.moments is None else self.moments + product
        self.rows += len(rows)

    @property
    def channels(self) -> int:
        return 0 if self.moments is None else len(self.moments)

    def rank(self) -> int:
        """Count the principal directions that hold most of the energy; 0 where there is none."""
        if self.moments is None:
            return 0
        energies = torch.linalg.eigvalsh(self.moments).clamp(min=0).flip(0)
        held = energies.cumsum(0)
        return int((held < ENERGY * held[-1]).sum().item()) + 1 if held[-1] > 0 else 0


@predictor(
    paper="Garg et al., Revealing the Utilized Rank of Subspaces of Learning in Neural Networks, 2024",
    cost="a forward pass of the batch, and eigenvalues of each layer's channels",
)
def score(network: nn.Module, batch: Batch, loss: Loss) -> float:
    """Average the layers' shares."""
    shares = utilisation(network, batch, loss)
    if not shares:
        raise Unscorable("it has no layer with weights of two or more dimensions that turns one tensor into another")
    return sum(shares) / len(shares)


def utilisation(network: nn.Module, batch: Batch, loss: Loss) -> list[float]:
    """Return the share of each layer, in the order of the first calls."""
    found: dict[nn.Module, tuple[Space, Space]] = {}
    innermost: list[bool] = []  # of the modules at work

    def begin(module: nn.Module, given: Any) -> None:
        innermost.append(True)

    def end(module: nn.Module, given: Any, output: Any) -> None:
        if innermost.pop() and _turns(given, output):
            innermost[:] = [False] * len(innermost)
            spaces = found.setdefault(module, (Space(), Space()))
            for space, features in zip(spaces, (given[0], output), strict=True):
                space.add(features)

    chunks = list(memory_chunks(network, batch, loss))
    with ExitStack() as stack, torch.no_grad():
        for name, module in network.named_modules():
            if "parametrizations" not in name.split(".") and any(
                each.requires_grad and each.ndim > 1 for each in module.parameters()
            ):
                stack.callback(module.register_forward_pre_hook(begin).remove)
                stack.callback(module.register_forward_hook(end).remove)
        for chunk in chunks:
            network(chunk.inputs)
    return [_share(*spaces) for spaces in found.values()]


def _turns(given: Any, output: Any) -> bool:
    """Say whether a module was called with features and returned features, and not functions of each, as a basis."""
    if not given or not isinstance(given[0], Tensor) or not isinstance(output, Tensor):
        return False
    return 1 < output.ndim <= given[0].ndim


def _share(inputs: Space, outputs: Space) -> float:
    most = min(inputs.channels, outputs.channels, inputs.rows, outputs.rows)
    return min(inputs.rank(), outputs.rank()) / most
