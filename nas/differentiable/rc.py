"""RC-DARTS: Resource Constrained Differentiable Architecture Search (Jin et al. 2019, arXiv 1912.12814).

min over α of L_val subject to cost(α) <= bound, cost the expected one of the relaxed network. Every few steps the
strengths are projected: they become the nearest ones, in the squared distance, that keep the bound. Stages at different
depths have strengths of their own, or share them within a few levels. The most probable architecture can cost more than
the expected one, as long as its strengths are not sure: what must hold is for a constraint to check.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import combinations, product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor, nn

from nas.differentiable.bilevel import slopes
from nas.differentiable.darts import gradient_of
from nas.differentiable.method import Method, leave
from nas.differentiable.settings import SearchError
from search_spaces.decisions import Architecture
from search_spaces.mixtures.relaxation import expectation, options_of, together
from search_spaces.mixtures.strengths import architecture_parameters, modules, strengths, tie_levels
from search_spaces.space import Space

ITERATIONS = 200
CLOSE, MARGIN = 1e-10, 1e-6


@dataclass(frozen=True)
class Costs:
    """What the options of the relaxed paths add to a base cost: parameters, FLOPs, milliseconds, or what is counted.

    `pairs` has, for two paths that bear on each other's cost, what each combination of their options adds to the sum of
    both, in the order of the options: the cost of a layer grows with the depth of its stage.
    """

    base: float
    options: Mapping[str, Mapping[Any, float]]
    pairs: Mapping[tuple[str, str], Sequence[Sequence[float]]] = field(default_factory=dict)

    def expected(self, network: nn.Module) -> Callable[[], Tensor]:
        """Return the expected cost [] of a relaxed network as a function of its present strengths."""
        known = {path: strength.options for path, strength in modules(network).items()}
        terms: dict[tuple[str, ...], Any] = {paths: costs for paths, costs in self.pairs.items()}
        for path, added in self.options.items():
            terms[path,] = [added[option] for option in known[path]]
        added_up = expectation(network, terms)
        return lambda: self.base + added_up()


def rc_darts(costs: Costs, bound: float, *, every: int = 1, order: int = 1, levels: int | None = None) -> Method:
    """Return the method that projects after every so many steps of the strengths.

    With `levels` the stages, by the first index of their paths, are divided into so many runs of neighbours that share
    their strengths; without, each has its own. Raises SearchError for numbers below 1.
    """
    for name, number in (("every", every), ("levels", levels)):
        if number is not None and number < 1:
            raise SearchError(f"{name} is {number}, but 1 or more is allowed")

    def adjust(network: nn.Module, step: int) -> None:
        if (step + 1) % every == 0:
            project(architecture_parameters(network), costs.expected(network), bound)

    prepare = leave if levels is None else lambda network: share_levels(network, levels)
    return Method("rc_darts", gradient_of(order), prepare=prepare, adjust=adjust)


def project(alphas: Sequence[nn.Parameter], cost: Callable[[], Tensor], bound: float) -> None:
    """Move α in place to the nearest α' with cost(α') <= bound; where it keeps the bound it stays.

    By SLSQP, sequential quadratic programming, with the gradients of autograd. Raises SearchError where the bound is
    not reached, and leaves α as it was.
    """
    if float(cost().detach()) <= bound:
        return
    start = _flat(alphas)
    # What is left of the bound as a share of it; rounding must not break it in the end.
    scale = abs(bound) or 1.0
    inner = bound - MARGIN * scale

    def room(x: NDArray[np.float64]) -> float:
        _put(alphas, x, torch.float64)
        return (inner - float(cost().detach())) / scale

    def slope(x: NDArray[np.float64]) -> NDArray[np.float64]:
        _put(alphas, x, torch.float64)
        return -torch.cat([part.flatten() for part in slopes(cost(), alphas)]).cpu().numpy() / scale

    precision = alphas[0].dtype
    found = minimize(
        lambda x: ((x - start) ** 2).sum(),
        start,
        jac=lambda x: 2 * (x - start),
        constraints=[{"type": "ineq", "fun": room, "jac": slope}],
        method="SLSQP",
        options={"maxiter": ITERATIONS, "ftol": CLOSE},
    )
    _put(alphas, found.x, precision)
    reached = float(cost().detach())
    if not reached <= bound:
        _put(alphas, start, precision)
        raise SearchError(f"an expected cost of {bound:g} or less was not reached, only {reached:g}: raise the bound")


def cost_table(space: Space, relaxed: Architecture, measure: Callable[[Architecture], float]) -> Costs:
    """Measure what each option of a relaxed architecture, and each pair of them, adds to the cost of a reference.

    The reference has the middle one of each mixture of numbers and the first option of the others. `measure` gives the
    cost of an ordinary architecture, and is asked for each pair of options once. Three decisions that bear on each
    other, as the widths of two stages and a layer between them, are known by their pairs only: an estimate.
    """
    trace = space.trace(relaxed)
    options = options_of(space, relaxed)
    reference = {path: _reference(each) for path, each in options.items()}

    @cache
    def measured(changes: frozenset[tuple[str, Any]]) -> float:
        decided = trace | reference | dict(changes)
        return measure(space.resolve(lambda path, domain: decided[path])[0])

    def cost(changes: dict[str, Any]) -> float:
        return measured(frozenset((path, value) for path, value in changes.items() if value != reference[path]))

    def added(paths: tuple[str, ...]) -> Any:
        """Return what the options of one or two paths add, an array; None where the paths are never active together."""
        some = together(paths, options)
        if not all(some.values()) or any(path in some for path in paths):
            return None
        active = {outer: _reference(each) for outer, each in some.items()}
        shape = [options[path] for path in paths]
        costs = np.array([cost({**active, **dict(zip(paths, picked, strict=True))}) for picked in product(*shape)])
        costs = costs.reshape([len(each) for each in shape])
        for axis, path in enumerate(paths):
            costs = costs - costs.take([options[path].index(reference[path])], axis)
        return costs

    singles = {path: dict(zip(options[path], added((path,)).tolist(), strict=True)) for path in options}
    pairs = {pair: added(pair) for pair in combinations(options, 2)}
    kept = {pair: costs.tolist() for pair, costs in pairs.items() if costs is not None and costs.any()}
    return Costs(cost({}), singles, kept)


def share_levels(network: nn.Module, levels: int) -> None:
    """Divide the stages of a network into levels that share their strengths."""
    indices = [int(found[1]) for path in strengths(network) if (found := re.search(r"\[(\d+)\]", path))]
    count = max(indices, default=0) + 1

    def level(path: str) -> str:
        return re.sub(r"\[(\d+)\]", lambda found: f"[level {int(found[1]) * levels // count}]", path, count=1)

    tie_levels(network, level)


def _reference(options: Sequence[Any]) -> Any:
    return options[len(options) // 2] if type(options[0]) is int else options[0]


def _flat(alphas: Sequence[nn.Parameter]) -> NDArray[np.float64]:
    return torch.cat([alpha.detach().flatten() for alpha in alphas]).double().cpu().numpy()


def _put(alphas: Sequence[nn.Parameter], flat: NDArray[np.float64], precision: torch.dtype) -> None:
    parts = torch.split(torch.from_numpy(flat), [alpha.numel() for alpha in alphas])
    for alpha, part in zip(alphas, parts, strict=True):
        alpha.data = part.to(alpha.device, precision, copy=True)
