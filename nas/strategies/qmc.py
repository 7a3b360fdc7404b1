"""Quasi-random search: points that fill the space more evenly than random ones do."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING, Any

from nas.settings import SettingsError
from nas.strategies import Proposal
from nas.strategies.places import Places
from nas.strategies.units import value_at
from search_spaces.decisions import every
from search_spaces.registry import register
from search_spaces.space import Space

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST = 21_201
ROWS = 64


@register(
    "strategy",
    "qmc",
    paper="Sobol', 1967, with directions of Joe and Kuo, 2008; scrambled as in Matousek, 1998",
)
class QuasiRandom:
    """The points of a scrambled Sobol' sequence, with one coordinate for each decision of the tree.

    Decisions that are not active leave their coordinate unused. A space may have up to 21,201 decisions.
    """

    def __init__(self, space: Space, objectives: int, seed: int) -> None:
        self._space = space
        self._axes = {path: axis for axis, path in enumerate(every(space.tree))}
        if len(self._axes) > MOST:
            raise SettingsError(
                f"strategy 'qmc' takes up to {MOST:,} decisions, but {space.name} has {len(self._axes):,}: use random"
            )
        self._points = Sobol(max(1, len(self._axes)), Random(f"{seed}").getrandbits(64))
        self._places = Places()

    def ask(self, turn: int) -> Proposal:
        place = self._places.next(turn)
        self._places.take(turn, place)
        point = self._points[place].tolist()
        architecture, _ = self._space.resolve(lambda path, domain: value_at(domain, point[self._axes[path]]))
        return Proposal(turn, architecture, {"place": place})

    def remember(self, proposal: Proposal) -> None:
        self._places.take(proposal.turn, proposal.note["place"])

    def tell(self, turn: int, losses: Sequence[float] | None, *, feasible: bool = True) -> None:
        self._places.settle(turn, judged=losses is not None or not feasible)


class Sobol:
    """The points of a scrambled Sobol' sequence by their number, made some rows at a time: [dimensions] each."""

    def __init__(self, dimensions: int, seed: int) -> None:
        self._dimensions = dimensions
        self._seed = seed
        self._engine: Any = None
        self._rows: NDArray[Any] | None = None
        self._start = 0

    def __getitem__(self, number: int) -> NDArray[Any]:
        start = number - number % ROWS
        if self._rows is None or start != self._start:
            self._rows, self._start = self._made(start), start
        row: NDArray[Any] = self._rows[number - start]
        return row

    def _made(self, start: int) -> NDArray[Any]:
        import numpy as np
        from scipy.stats import qmc

        if self._engine is None or start < self._engine.num_generated:
            self._engine = qmc.Sobol(self._dimensions, seed=np.random.default_rng(self._seed))
        if start > self._engine.num_generated:
            self._engine.fast_forward(start - self._engine.num_generated)
        rows: NDArray[Any] = self._engine.random(ROWS)
        return rows
