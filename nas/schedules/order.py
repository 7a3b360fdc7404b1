"""The order in which schedules see trials: by objectives, all minimised."""

from __future__ import annotations

import math
from collections.abc import Sequence

from nas import pareto

Place = tuple[bool, int, float]


def finite(losses: Sequence[float]) -> bool:
    """Say whether all objectives are finite."""
    return all(map(math.isfinite, losses))


def places(points: Sequence[Sequence[float]]) -> list[Place]:
    """Return a key for each point [objectives] by which the better ones sort first.

    By non-dominated rank, and the less crowded first within a rank (Schmucker et al., Multi-objective Asynchronous
    Successive Halving, 2021). What is not finite in any objective is behind all that is.
    """
    sound = [i for i, point in enumerate(points) if finite(point)]
    found: list[Place] = [(True, 0, 0.0)] * len(points)
    for i, (rank, crowding) in zip(sound, pareto.fitness([points[i] for i in sound]), strict=True):
        found[i] = (False, rank, crowding)
    return found
