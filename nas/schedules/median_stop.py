"""The median stopping rule (Golovin et al., Google Vizier: A Service for Black-Box Optimization, 2017).

A trial is stopped after epoch s when its best objective up to there is strictly worse than the median of the means of
the other trials' objectives over epochs 1 to s. The others are all trials that came as far as epoch s, whether they
went on or not. In the paper they are those that completed; here a search learns from its first trials on.

With several objectives there is no best so far, so the vectors of means are compared with one another: a trial is
stopped when more than half of the others are before it, by non-dominated rank and then by crowding. What is not
finite in any objective is worse than all that is.
"""

from __future__ import annotations

import math
from bisect import insort
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas.schedules import Schedule, Verdict
from nas.schedules.immediate import Immediate
from nas.schedules.order import places
from nas.settings import SettingsError
from search_spaces.decisions import Integer, Struct
from search_spaces.registry import register
from search_spaces.space import Space

Losses = NDArray[np.float64]


@register(
    "schedule",
    "median_stop",
    paper="Golovin et al., Google Vizier: A Service for Black-Box Optimization, 2017",
    options=Struct(grace=Integer(1, 10_000), least=Integer(1, 10_000)),
)
def median_stop(epochs: int, space: Space, seed: int, grace: int = 1, least: int = 5) -> Schedule:
    """Stop a trial whose best value so far is worse than the median of the other trials' means so far.

    It looks after every epoch from `grace` (by default the first) to the last but one, and stops nobody before `least`
    other trials (by default 5) have come as far.
    """
    if grace >= epochs > 1:
        raise SettingsError(
            f"--schedule-option grace is {grace}, but trials of {epochs} epochs are judged after epochs 1 to "
            f"{epochs - 1}: choose a smaller grace or more --epochs"
        )
    return Immediate(range(1, epochs), Median(grace, least))


@dataclass
class Course:
    """What a trial reported so far: the sum and the lowest of each objective, over so many epochs."""

    total: Losses
    lowest: Losses
    count: int = 0

    @property
    def means(self) -> list[float]:
        """The mean of each objective."""
        means: list[float] = (self.total / self.count).tolist()
        return means

    def note(self, losses: Losses) -> None:
        self.total, self.lowest = self.total + losses, np.minimum(self.lowest, losses)
        self.count += 1


class Median:
    """The means of all trials that came as far as each epoch, and who is worse than most."""

    def __init__(self, grace: int, least: int) -> None:
        self._grace = grace
        self._least = least
        self._courses: dict[int, Course] = {}
        self._single: dict[int, list[float]] = defaultdict(list)
        self._several: dict[int, list[list[float]]] = defaultdict(list)

    def judge(self, trial: int, step: int, losses: Sequence[float]) -> Verdict:
        course = self._course(trial, losses)
        worse = self._worse_than_the_median(step, course) if len(losses) == 1 else self._in_the_worse_half(step, course)
        self._keep(step, course)
        return Verdict.STOP if worse and step >= self._grace else Verdict.CONTINUE

    def note(self, trial: int, step: int, losses: Sequence[float]) -> None:
        self._keep(step, self._course(trial, losses))

    def _course(self, trial: int, losses: Sequence[float]) -> Course:
        given = np.asarray(losses, dtype=float)
        found = np.where(np.isfinite(given), given, math.inf)
        course = self._courses.setdefault(trial, Course(np.zeros(len(found)), np.full(len(found), math.inf)))
        course.note(found)
        return course

    def _keep(self, step: int, course: Course) -> None:
        means = course.means
        if len(means) == 1:
            insort(self._single[step], means[0])
        else:
            self._several[step].append(means)

    def _worse_than_the_median(self, step: int, course: Course) -> bool:
        means = self._single[step]
        return len(means) >= self._least and float(course.lowest[0]) > _median(means)

    def _in_the_worse_half(self, step: int, course: Course) -> bool:
        others = self._several[step]
        if len(others) < self._least:
            return False
        *found, mine = places([*others, course.means])
        return 2 * sum(place < mine for place in found) > len(others)


def _median(ordered: Sequence[float]) -> float:
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
