"""What is learned of judged trials, when, and from which: counted fits and rows instead of times."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from random import Random
from typing import Any

import numpy as np
import pytest

from nas.strategies import learner
from nas.strategies.learner import Learner
from predictors import surrogate
from search_spaces.decisions import Choice, Struct, Trace
from search_spaces.space import Space

pytestmark = pytest.mark.filterwarnings("error")

EIGHT = Space(
    "eight", "", Struct(**{f"x{i}": Choice(0, 1, 2) for i in range(8)}), lambda a, s: pytest.fail("nothing is built")
)


@dataclass
class Fits:
    """Counts the fits and sees what they learn from."""

    losses: list[np.ndarray[Any, Any]] = field(default_factory=list)
    columns: list[np.ndarray[Any, Any]] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)

    def __call__(self, rows: Any, losses: Any, model: str, seed: int) -> surrogate.Surrogate:
        self.losses.append(losses)
        self.columns.append(rows)
        self.seeds.append(seed)
        n = losses.shape[1]
        return surrogate.Surrogate(np.arange(1), (surrogate.Scale(0, 1, 9),) * n, (First(),) * n)


class First(surrogate.Process):
    """Takes the sum of the features for the answer."""

    def predict(self, rows: Any) -> Any:
        return rows.sum(axis=1), np.ones(len(rows))


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> Fits:
    found = Fits()
    monkeypatch.setattr(surrogate, "fit", found)
    return found


def trace(turn: int) -> Trace:
    """A trace for every turn below 3^8, no two alike."""
    return {f"x{i}": turn // 3**i % 3 for i in range(8)}


def teach(pupil: Learner, turns: range, ask: bool = True) -> None:
    for turn in turns:
        pupil.note(turn, trace(turn))
        pupil.tell(turn, [float((turn * 7919) % 1009)], feasible=True)
        if ask and pupil.ready:
            pupil.ranked([trace(6000)])


def test_it_is_ready_with_ten_trials_that_differ_in_worth() -> None:
    pupil = Learner(EIGHT, 1, 0, "process")
    teach(pupil, range(9))
    assert not pupil.ready
    teach(pupil, range(9, 10))
    assert pupil.ready


def test_trials_of_one_worth_or_none_teach_nothing() -> None:
    for losses in ([3.0], [math.inf], None):
        pupil = Learner(EIGHT, 1, 0, "process")
        for turn in range(30):
            pupil.note(turn, trace(turn))
            pupil.tell(turn, losses, feasible=losses is not None)
        assert not pupil.ready


def test_the_fits_grow_rarer_and_never_larger(fits: Fits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learner, "WINDOW", 60)
    pupil = Learner(EIGHT, 1, 0)
    teach(pupil, range(100))
    assert len(fits.losses) == 91 and [len(each) for each in fits.losses] == [*range(10, 60), *[60] * 41]
    teach(pupil, range(100, 2000))
    assert 91 + 120 < len(fits.losses) < 91 + 170  # 50 ln(2000 / 100) = 150
    assert max(map(len, fits.losses)) == 60 and len(set(fits.seeds)) == len(fits.seeds)


def test_the_window_holds_the_best_and_the_latest(fits: Fits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learner, "WINDOW", 20)
    pupil = Learner(EIGHT, 1, 0)
    teach(pupil, range(50))
    told = [float((turn * 7919) % 1009) for turn in range(50)]
    assert fits.losses[-1][:, 0].tolist()[10:] == told[40:]
    assert sorted(fits.losses[-1][:10, 0]) == sorted(told[:40])[:10]
    assert [each.losses[0] for each in pupil.best(3)] == sorted(told)[:3]


def test_a_window_of_several_objectives_keeps_the_front(fits: Fits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learner, "WINDOW", 20)
    pupil, rng = Learner(EIGHT, 2, 0), Random(0)
    points = [(0.0, 100.0), (50.0, 50.0), (100.0, 0.0)] + [(60 + rng.random(), 60 + rng.random()) for _ in range(80)]
    for turn, losses in enumerate(points):
        pupil.note(turn, trace(turn))
        pupil.tell(turn, losses, feasible=True)
    pupil.ranked([trace(6000)])
    assert fits.losses[-1][:3].tolist() == [list(each) for each in points[:3]]


def test_a_fit_asks_for_its_trials_alone(fits: Fits) -> None:
    """Whether it was asked in between makes no difference to what a fit sees."""
    for ask in (True, False):
        pupil = Learner(EIGHT, 1, 5)
        teach(pupil, range(133), ask)
        pupil.ranked([trace(6000)])
        assert len(fits.losses[-1]) == 132  # from 100 on, every second trial
    assert fits.seeds[-1] == fits.seeds[-2] and (fits.losses[-1] == fits.losses[-2]).all()


def test_duplicates_failures_and_strangers_are_not_learned(fits: Fits) -> None:
    pupil = Learner(EIGHT, 1, 0)
    teach(pupil, range(10))
    pupil.note(50, trace(3))
    pupil.tell(50, [0.0], feasible=True)
    pupil.note(51, trace(51))
    pupil.tell(51, None, feasible=True)
    pupil.tell(99, [0.0], feasible=True)
    assert pupil.fresh(trace(51)) and not pupil.fresh(trace(3))
    teach(pupil, range(11, 12))
    assert len(fits.losses[-1]) == 11 and 0.0 not in fits.losses[-1][1:]


def test_what_broke_a_constraint_is_the_worst_and_not_proposed_again(fits: Fits) -> None:
    pupil = Learner(EIGHT, 2, 0)
    for turn in range(11):
        pupil.note(turn, trace(turn))
        pupil.tell(turn, None if turn == 4 else [turn, -turn], feasible=turn != 4)
    pupil.ranked([trace(6000)])
    assert fits.losses[-1][4].tolist() == [math.inf, math.inf] and not pupil.fresh(trace(4))
    assert pupil.best(11)[-1].turn == 4


def test_what_is_under_way_is_not_fresh() -> None:
    pupil = Learner(EIGHT, 1, 0)
    pupil.note(0, trace(5))
    assert not pupil.fresh(trace(5)) and pupil.fresh(trace(6))


def test_the_candidate_of_the_largest_gain_comes_first(fits: Fits) -> None:
    pupil = Learner(EIGHT, 1, 0)
    teach(pupil, range(10))
    order = pupil.ranked([trace(turn) for turn in (6000, 1, 0, 6001)])
    sums = [pupil._encoding.row(trace(turn))[:1].sum() for turn in (6000, 1, 0, 6001)]
    assert [sums[i] for i in order] == sorted(sums)


def test_candidates_near_to_what_is_under_way_come_later() -> None:
    pupil = Learner(EIGHT, 1, 0, "process")
    for turn in range(40):
        drawn = {f"x{i}": Random(f"{turn}/{i}").randrange(3) for i in range(8)}
        pupil.note(turn, drawn)
        pupil.tell(turn, [float(sum(drawn.values()))], feasible=True)  # type: ignore[arg-type]
    best, near, other = ({f"x{i}": int(i in ones) for i in range(8)} for ones in ((0, 1), (0,), (2,)))
    before = pupil.ranked([near, other]).tolist()
    first, second = (near, other) if before == [0, 1] else (other, near)
    pupil.note(100, first)
    assert pupil.ranked([first, second]).tolist() == [1, 0]
    assert pupil.ranked([best, second]).tolist()[0] in (0, 1)


def test_scores_are_features_by_rank_once_enough_trials_have_them(fits: Fits) -> None:
    pupil = Learner(EIGHT, 1, 0, predictors=2)
    for turn in range(12):
        pupil.note(turn, trace(turn), (10.0**turn, 1.0 if turn < 5 else None))
        pupil.tell(turn, [float(turn)], feasible=True)
    pupil.ranked([trace(6000)], [(1e300, 5.0)])
    assert fits.columns[-1][:, -2].tolist() == pytest.approx([(i + 0.5) / 12 for i in range(12)])
    assert fits.columns[-1][:, -1].tolist() == [0.5] * 12
    features = pupil._features(np.zeros((4, 1)), [(-1.0, None), (1e300, 3.0), (None, 1.0), (1e5, 1.0)])
    assert features[:, 1].tolist() == pytest.approx([0.0, 1.0, 0.5, 5.5 / 12]) and (features[:, 2] == 0.5).all()
