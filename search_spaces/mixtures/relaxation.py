"""Relaxing a space, what its mixtures are expected to cost, and the way back to an ordinary architecture."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from search_spaces.decisions import Architecture, Decider, Decision, Scalar, blended, every
from search_spaces.mixtures.answers import Mixture
from search_spaces.space import Space

if TYPE_CHECKING:
    from torch import Tensor, nn

Probabilities = Mapping[str, Mapping[Any, float]]


@dataclass(frozen=True)
class Cap:
    """At most `most` decisions may end at one of `options`, by which networks that learn little are made."""

    options: tuple[Scalar, ...] = ("identity", "none", "plain")
    most: int = 1

    def __post_init__(self) -> None:
        if self.most < 0:
            raise ValueError(f"a cap lets 0 decisions or more end at {list(self.options)}, but got {self.most}")


def relaxable(space: Space) -> dict[str, str | None]:
    """Tell for every path of a space why it cannot be a mixture, None where it can."""
    return {path: domain.barrier or None for path, domain in every(space.tree).items()}


def pattern(path: str) -> re.Pattern[str]:
    """Return what matches the paths that a path with `[*]` for any index stands for."""
    return re.compile(re.escape(path).replace(r"\[\*\]", r"\[(\d+|\*)\]"))


def mixing(mixtures: Mapping[str, Mixture], otherwise: Decider) -> Decider:
    """Decide with mixtures at the given paths, and ask `otherwise` elsewhere; `[*]` in a path is any index."""
    patterns = {pattern(path): mixture for path, mixture in mixtures.items()}

    def decide(path: str, domain: Decision) -> Scalar | Mixture:
        for named, mixture in patterns.items():
            if named.fullmatch(path):
                return mixture
        return otherwise(path, domain)

    return decide


def relax(space: Space, otherwise: Decider, mixtures: Mapping[str, Mixture] | None = None) -> Architecture:
    """Return a relaxed architecture, with the mixtures that the space proposes unless others are given.

    Raises ValueError where none of them meets a decision, DecisionError where one cannot be.
    """
    wanted = space.mixtures if mixtures is None else mixtures
    architecture, trace = space.resolve(mixing(wanted, otherwise))
    if not any(isinstance(value, Mixture) for value in trace.values()):
        met = ", ".join(wanted) or "none"
        raise ValueError(f"nothing of {space.name} is relaxed by mixtures at {met}: name paths such as its trace has")
    return architecture


def options_of(space: Space, relaxed: Architecture) -> dict[str, tuple[Any, ...]]:
    """Return the options of each relaxed path of an architecture."""
    known = every(space.tree)
    trace: dict[str, Any] = dict(space.trace(relaxed))
    return {path: blended(known[path], value) for path, value in trace.items() if isinstance(value, Mixture)}


def discretise(space: Space, relaxed: Architecture, network: nn.Module, cap: Cap | None = None) -> Architecture:
    """Return the architecture of the most probable options of a relaxed network.

    With a cap the decisions that are surest of an option under it keep it, and the others take their best other one;
    a decision that has no other keeps it too.
    """
    from search_spaces.mixtures.strengths import probabilities

    found = probabilities(network)
    reached = _reached(found)
    best = _best(found)
    if cap is not None:
        under = [path for path in best if path in reached and best[path] in cap.options]
        for path in sorted(under, key=lambda path: -found[path][best[path]])[cap.most :]:
            rest = {option: p for option, p in found[path].items() if option not in cap.options}
            best |= _best({path: rest}) if rest else {}
    trace = space.trace(relaxed)
    return space.resolve(lambda path, domain: best.get(path, trace.get(path)))[0]


def capped(network: nn.Module, cap: Cap) -> int:
    """Count the decisions whose most probable option is under a cap."""
    from search_spaces.mixtures.strengths import probabilities

    found = probabilities(network)
    best = _best(found)
    return sum(best[path] in cap.options for path in _reached(found))


def _best(found: Probabilities) -> dict[str, Any]:
    return {path: max(shares, key=lambda option: shares[option]) for path, shares in found.items()}


def _reached(found: Probabilities) -> set[str]:
    """Name the paths that are active when each decision takes its most probable option."""
    best = _best(found)
    options = {path: tuple(shares) for path, shares in found.items()}
    return {path for path in found if all(best[outer] in some for outer, some in conditions(path, options).items())}


def conditions(path: str, options: Mapping[str, Collection[Any]]) -> dict[str, list[Any]]:
    """Return the relaxed paths that decide whether a path is active, each with the options under which it is."""
    found = {}
    for outer, known in options.items():
        if outer.endswith("#"):
            index = re.match(re.escape(outer[:-1]) + r"\[(\d+|\*)\]", path)
            if index:
                place = 0 if index[1] == "*" else int(index[1])
                found[outer] = [length for length in known if length > place]
        elif path.startswith(f"{outer}:"):
            found[outer] = [o for o in known if re.match(re.escape(f"{outer}:{o}") + r"([.\[#:]|$)", path)]
    return found


def expected(network: nn.Module, costs: Mapping[tuple[str, ...], Any]) -> Tensor:
    """Return the expected cost [] of a relaxed network, which can be differentiated in the strengths.

    `costs` has an array for each path, or each pair of paths and so on, that costs anything, with as many dimensions as
    paths and what each option, or combination of options, costs. The sum over them is that of P(all its paths are
    active)·Σ_i p_i·cost_i.
    """
    return expectation(network, costs)()


def expectation(network: nn.Module, costs: Mapping[tuple[str, ...], Any]) -> Callable[[], Tensor]:
    """Return the expected cost [] in float64 as a function of the present strengths, for many calls."""
    import torch

    from search_spaces.mixtures.strengths import modules

    found = modules(network)
    options = {path: strength.options for path, strength in found.items()}
    terms = []
    for paths, cost in costs.items():
        new = found[paths[0]].alpha.detach().double().new_tensor
        outer = together(paths, options)
        active = {path: new([option in some for option in options[path]]) for path, some in outer.items()}
        terms.append((paths, new(cost), active))

    def expected() -> Tensor:
        shares = {path: strength.probabilities().double() for path, strength in found.items()}
        total = torch.zeros((), dtype=torch.float64)
        for paths, value, active in terms:
            for path in reversed(paths):
                value = value @ shares[path]
            for outer, mask in active.items():
                value = value * (mask @ shares[outer])
            total = total.to(value) + value
        return total

    return expected


def together(paths: Collection[str], options: Mapping[str, Collection[Any]]) -> dict[str, list[Any]]:
    """Return the relaxed paths that decide whether all of some paths are active, each with the options for it."""
    found: dict[str, list[Any]] = {}
    for path in paths:
        for outer, some in conditions(path, options).items():
            found[outer] = [option for option in some if option in found.get(outer, some)]
    return found
