"""How much the members of a generation improved over an interval, told apart from what all of them gained."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nas.schedules.drift import Array
from nas.schedules.generations import Losses, Member

CLIP = 2.0


def improvements(members: Sequence[Member]) -> list[float]:
    """Return how much each member improved since the pause before, standardised and at most 2; more is better.

    With several objectives it is the mean of their ranks that improves. Where nothing is known of the pause before, as
    at the first one, all count as equal there.
    """
    if not members:
        return []
    known = [member.before for member in members if member.before is not None]
    now = _levels([member.losses for member in members])
    gains = _levels(known) - now if len(known) == len(members) else -now
    spread = float(gains.std())
    if spread == 0:
        return [0.0] * len(members)
    standard: list[float] = np.clip((gains - gains.mean()) / spread, -CLIP, CLIP).tolist()
    return standard


def _levels(points: Sequence[Losses]) -> Array:
    """Return the objective [points] or, of several, the mean rank of each point, where equals share theirs."""
    losses = np.array(points, dtype=float)
    if losses.shape[1] == 1:
        return losses[:, 0]
    above = (losses[:, None] > losses[None]).sum(axis=1) + (losses[:, None] == losses[None]).sum(axis=1) / 2
    levels: Array = above.mean(axis=1)
    return levels
