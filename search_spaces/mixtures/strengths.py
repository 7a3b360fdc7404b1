"""The architecture parameters of a relaxed network: one vector of strengths for each decision path.

A strength turns into weights over the options by a *weighting*: `softmax`, or what else maps α [options] to [options].
A network holds the strength of a path wherever the path is built, and all places hold the same one.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from search_spaces.mixtures.answers import Mixed

Weighting = Callable[[Tensor], Tensor]


def softmax(alpha: Tensor) -> Tensor:
    """Return softmax(α), which adds up to 1 (DARTS)."""
    return torch.softmax(alpha, 0)


class Strength(nn.Module):
    """w = weighting(α): the weights [options] of a relaxed decision; α starts at 0, all options alike."""

    def __init__(self, mixed: Mixed) -> None:
        super().__init__()
        self.path = mixed.path
        self.options = mixed.names
        self.alpha = nn.Parameter(torch.zeros(len(mixed.options)))
        self.weighting: Weighting = softmax

    def forward(self) -> Tensor:
        return self.weighting(self.alpha)

    def probabilities(self) -> Tensor:
        """Return softmax(α) [options], whatever the weighting."""
        return softmax(self.alpha)

    def extra_repr(self) -> str:
        return f"{self.path}: {', '.join(map(str, self.options))}"


def weighted(weights: Tensor, values: Iterable[Tensor]) -> Tensor:
    """Return Σ_i w_i·value_i, in the precision of the values."""
    total: Any = sum(weight.to(value.dtype) * value for weight, value in zip(weights, values, strict=True))
    return total  # type: ignore[no-any-return]


def tie(network: nn.Module, paths: Iterable[str]) -> None:
    """Make the strengths of one path one and the same module, the first one, everywhere in a network.

    Raises ValueError for a relaxed path that has none, because what builds the network takes no notice of its mixture.
    """
    first: dict[str, Strength] = {}
    for name, module in list(network.named_modules(remove_duplicate=False)):
        if isinstance(module, Strength) and first.setdefault(module.path, module) is not module:
            network.set_submodule(name, first[module.path])
    for path in paths:
        if path not in first:
            raise ValueError(f"the space builds nothing for the mixture at {path}: fix it or let it be drawn")


def tie_levels(network: nn.Module, level: Callable[[str], Hashable]) -> None:
    """Let all paths of one level, and of the same options, share one α: that of the first of them."""
    first: dict[Hashable, nn.Parameter] = {}
    for path, strength in modules(network).items():
        strength.alpha = first.setdefault((level(path), strength.options), strength.alpha)


def weigh_by(network: nn.Module, weighting: Weighting) -> None:
    """Set the weighting of all strengths of a network."""
    for strength in modules(network).values():
        strength.weighting = weighting


def modules(network: nn.Module) -> dict[str, Strength]:
    """Return the strengths of a network by path, in the order in which they were built."""
    return {module.path: module for module in network.modules() if isinstance(module, Strength)}


def strengths(network: nn.Module) -> dict[str, nn.Parameter]:
    """Return α [options] of each relaxed path; those of one level are the same parameter."""
    return {path: strength.alpha for path, strength in modules(network).items()}


def architecture_parameters(network: nn.Module) -> list[nn.Parameter]:
    """List the strengths of a network, each once."""
    return list({id(alpha): alpha for alpha in strengths(network).values()}.values())


def network_weights(network: nn.Module) -> list[nn.Parameter]:
    """List the trainable parameters of a network that are not strengths."""
    kept = {id(alpha) for alpha in strengths(network).values()}
    return [p for p in network.parameters() if p.requires_grad and id(p) not in kept]


def probabilities(network: nn.Module) -> dict[str, dict[Any, float]]:
    """Return softmax(α) of each relaxed path, by option."""
    with torch.no_grad():
        found = {path: strength.probabilities().tolist() for path, strength in modules(network).items()}
    return {path: dict(zip(strength.options, found[path], strict=True)) for path, strength in modules(network).items()}


def entropy(found: Mapping[str, Mapping[Any, float]]) -> float:
    """Return the mean entropy in nats of the probabilities of each path; 0 where nothing is relaxed."""
    shares = [torch.tensor(list(each.values()), dtype=torch.float64) for each in found.values()]
    return float(torch.stack([torch.special.entr(share).sum() for share in shares]).mean()) if shares else 0.0
