"""The scoring of many architectures: nothing is lost, nothing is scored twice, chunks fit the time."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from fake_runs import WIDE, Crash, Fake, Losing, crashing_at

from nas.execution import Event, Problem
from nas.job import Scored, ScoreJob
from nas.scoring import bulk, find_predictor
from nas.scoring.bulk import Progress, score_all
from nas.store import State, Store, queries
from search_spaces.decisions import identity

ARCHITECTURES = [WIDE.draw(Random(seed)) for seed in range(12)]
JOB = ScoreJob(("params",), (), 0, "wide", "digits", 0)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(f"sqlite:///{tmp_path}/nas.db", create=True)


def width(architecture: Any) -> float | None:
    """What the fake predictor says; it cannot say it of wide networks."""
    value: int = architecture["network"]["width"]
    return float(value) if value < 30 else None


def expected() -> dict[str, dict[str, float | None]]:
    return {identity(each): {"params": width(each)} for each in ARCHITECTURES}


def asked(jobs: list[ScoreJob]) -> Counter[str]:
    return Counter(identity(each) for job in jobs for each in job.architectures)


def listening(jobs: list[ScoreJob]) -> Any:
    return lambda call, what: jobs.append(what) if call == "submit" else None


@pytest.mark.parametrize("workers", [1, 3])
def test_each_architecture_gets_its_own_score(store: Store, workers: int) -> None:
    study = store.add_study("one", {})
    executor = Fake(count=workers, scores=width, rng=Random(workers))
    progress = score_all(store, study, executor, JOB, [*ARCHITECTURES, ARCHITECTURES[0]])
    assert queries.scores(store, study, ["params"]) == expected()
    assert any(value is None for each in expected().values() for value in each.values())
    unscored = sum(width(each) is None for each in ARCHITECTURES)
    assert (progress.total, progress.done, progress.already, progress.without) == (12, 12, 0, unscored)


def test_what_has_been_tried_is_not_tried_again(store: Store) -> None:
    study, jobs = store.add_study("one", {}), []
    score_all(store, study, Fake(scores=width), JOB, ARCHITECTURES[:5])
    progress = score_all(store, study, Fake(scores=width, spy=listening(jobs)), JOB, ARCHITECTURES)
    assert asked(jobs) == Counter(map(identity, ARCHITECTURES[5:]))
    assert (progress.already, progress.done) == (5, 12)
    assert progress.without == sum(width(each) is None for each in ARCHITECTURES)
    score_all(store, study, Fake(spy=lambda call, what: pytest.fail("there is nothing to do")), JOB, ARCHITECTURES)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_driver_that_dies_at_any_moment_loses_the_chunks_in_flight_alone(store: Store, workers: int) -> None:
    for moment in range(12):
        study, jobs, crash = store.add_study(f"study {moment}", {}), [], crashing_at(moment)

        def spy(call: str, what: Any, jobs: Any = jobs, crash: Any = crash) -> None:
            listening(jobs)(call, what)
            crash(call, what)

        try:
            score_all(store, study, Fake(count=workers, scores=width, spy=spy), JOB, ARCHITECTURES)
        except Crash:
            kept = queries.scores(store, study, ["params"])
            given = [key for job in jobs for key in map(identity, job.architectures)]
            in_flight = sum(len(job.architectures) for job in jobs[-workers:])
            assert kept.keys() <= set(given) and len(kept) >= len(given) - in_flight
            again: list[ScoreJob] = []
            score_all(store, study, Fake(scores=width, spy=listening(again)), JOB, ARCHITECTURES)
            assert asked(again) == Counter({identity(each) for each in ARCHITECTURES} - kept.keys())
        else:
            assert moment > 4
        assert queries.scores(store, study, ["params"]) == expected()


def test_the_scores_of_a_chunk_are_kept_before_the_next_is_given_out(store: Store) -> None:
    study, given = store.add_study("one", {}), 0

    def spy(call: str, what: Any) -> None:
        nonlocal given
        if call == "submit":
            assert len(queries.scores(store, study, ["params"])) == given
            given += len(what.architectures)

    score_all(store, study, Fake(scores=width, spy=spy), JOB, ARCHITECTURES)
    assert given == 12


def test_a_lost_worker_costs_nothing_and_one_lost_for_ever_does_not_hold_up(store: Store) -> None:
    study = store.add_study("one", {})
    score_all(store, study, Losing({-1: 2}, scores=width), JOB, ARCHITECTURES)
    assert queries.scores(store, study, ["params"]) == expected()
    study = store.add_study("two", {})
    progress = score_all(store, study, Losing({-1: 1000}, scores=width), JOB, ARCHITECTURES)
    assert queries.scored(store, study, ["params"]) == []
    assert progress.again == progress.without == progress.done == 12
    assert progress.why == "the worker was lost: gone (3 times)"
    progress = score_all(store, study, Fake(scores=width), JOB, ARCHITECTURES)
    assert queries.scores(store, study, ["params"]) == expected() and (progress.again, progress.already) == (0, 0)


class Poisoned(Fake):
    """Loses the worker of every job in which a certain architecture is."""

    def _event(self, worker: str) -> Event:
        work = self.work[worker]
        assert isinstance(work, ScoreJob)
        if ARCHITECTURES[3] in work.architectures:
            del self.work[worker]
            return Event(worker, Problem(State.STALE, "the worker was lost: gone"))
        return super()._event(worker)


def test_an_architecture_that_ends_its_worker_takes_no_other_with_it(store: Store) -> None:
    study, jobs = store.add_study("one", {}), []
    executor = Poisoned(count=2, scores=width, spy=listening(jobs))
    progress = score_all(store, study, executor, JOB, ARCHITECTURES)
    poison, others = identity(ARCHITECTURES[3]), expected()
    del others[poison]
    assert queries.scores(store, study, ["params"]) == others and progress.again == 1
    assert [len(job.architectures) for job in jobs if ARCHITECTURES[3] in job.architectures][1:] == [1, 1]
    assert asked(jobs).pop(poison) == bulk.ATTEMPTS


class Timed(Fake):
    """Workers of a clock that is ours: an architecture takes so many seconds."""

    def __init__(self, each: float, **options: Any) -> None:
        super().__init__(**options)
        self.each, self.now = each, 0.0

    def _event(self, worker: str) -> Event:
        work = self.work[worker]
        assert isinstance(work, ScoreJob)
        self.now += self.each * len(work.architectures)
        return super()._event(worker)


def sizes(store: Store, monkeypatch: pytest.MonkeyPatch, each: float, count: int, workers: int = 1) -> list[int]:
    jobs: list[ScoreJob] = []
    executor = Timed(each, count=workers, spy=listening(jobs))
    monkeypatch.setattr("nas.scoring.bulk.time.monotonic", lambda: executor.now)
    architectures = [WIDE.draw(Random(f"{each} {seed}")) for seed in range(count)]
    score_all(store, store.add_study(f"{each}/{count}/{workers}", {}), executor, JOB, architectures)
    return [len(job.architectures) for job in jobs]


def test_a_chunk_takes_some_seconds_however_long_an_architecture_takes(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sizes(store, monkeypatch, 5.0, 5) == [2, 1, 1, 1]
    assert sizes(store, monkeypatch, 0.5, 12) == [2, 4, 4, 2]
    assert sizes(store, monkeypatch, 1 / 64, 308) == [2, 8, 32, 128, 128, 10]


def test_the_last_work_is_shared_evenly(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    left = 200
    for size in sizes(store, monkeypatch, 0.001, left, workers=2):
        assert size <= -(-left // 2)
        left -= size
    assert left == 0


class Parts(Fake):
    """Scores with the columns of the predictors that are there, each of its own value."""

    def _score(self, architecture: Any, predictor: str) -> Scored:
        known = {"consensus": ("expressivity", "progressivity", "trainability", "complexity")}
        columns = [f"{predictor}.{part}" for part in known.get(predictor, ())] or [predictor]
        base = architecture["network"]["width"]
        return Scored(predictor, {column: base + i for i, column in enumerate(columns)}, None, 0.4)


def test_a_combination_is_kept_by_its_parts_and_a_further_predictor_is_all_that_is_asked(store: Store) -> None:
    study, jobs = store.add_study("one", {}), []
    job = ScoreJob(("consensus",), (), 0, "wide", "digits", 0)
    score_all(store, study, Parts(), job, ARCHITECTURES[:6])
    names = [f"consensus.{part}" for part in ("expressivity", "progressivity", "trainability", "complexity")]
    first = ARCHITECTURES[0]["network"]["width"]
    found = queries.scores(store, study, names)[identity(ARCHITECTURES[0])]
    assert found == {name: first + i for i, name in enumerate(names)}
    assert {row.seconds for row in queries.scored(store, study, names)} == {0.1}
    both = ScoreJob(("consensus", "params"), (), 0, "wide", "digits", 0)
    score_all(store, study, Parts(spy=listening(jobs)), both, ARCHITECTURES)
    wanted = {name: [j for j in jobs if j.predictors == name] for name in (("params",), ("consensus", "params"))}
    assert asked(wanted["params",]) == Counter(map(identity, ARCHITECTURES[:6]))
    assert asked(wanted["consensus", "params"]) == Counter(map(identity, ARCHITECTURES[6:]))
    assert all(len(each) == 5 for each in queries.scores(store, study, [*names, "params"]).values())


def test_a_combination_of_which_a_part_is_missing_is_measured_again(store: Store) -> None:
    study = store.add_study("one", {})
    with store.writing(study) as writer:
        writer.score(identity(ARCHITECTURES[0]), "consensus.expressivity", 1.0, 0.1)
    score_all(store, study, Parts(), ScoreJob(("consensus",), (), 0, "wide", "digits", 0), ARCHITECTURES[:1])
    assert len(queries.scores(store, study, find_predictor("consensus").columns)[identity(ARCHITECTURES[0])]) == 4


class Short(Parts):
    """Memory runs out for the first predictor on wide networks."""

    def _score(self, architecture: Any, predictor: str) -> Scored:
        scored = super()._score(architecture, predictor)
        if predictor == "params" and width(architecture) is None:
            return replace(scored, values={"params": None}, reason="ran out of memory", passing=True)
        return scored


def test_what_wants_memory_is_counted_but_not_kept_and_tried_again_by_the_next_run(store: Store) -> None:
    study, jobs = store.add_study("one", {}), []
    job = ScoreJob(("params", "flops"), (), 0, "wide", "digits", 0)
    progress = score_all(store, study, Short(), job, ARCHITECTURES)
    wide = [each for each in ARCHITECTURES if width(each) is None]
    assert progress.again == progress.without == len(wide) > 0 and progress.why == "ran out of memory"
    kept = queries.scores(store, study, ["params", "flops"])
    assert {key for key, each in kept.items() if "params" not in each} == set(map(identity, wide))
    assert all("flops" in each for each in kept.values()) and len(kept) == 12
    progress = score_all(store, study, Parts(spy=listening(jobs)), job, ARCHITECTURES)
    assert asked(jobs) == Counter(map(identity, wide)) and {each.predictors for each in jobs} == {("params",)}
    assert (progress.already, progress.again, progress.without) == (12 - len(wide), 0, 0)


def test_the_reason_and_the_time_are_kept(store: Store) -> None:
    study = store.add_study("one", {})
    score_all(store, study, Fake(scores=lambda architecture: None), JOB, ARCHITECTURES[:1])
    (row,) = queries.scored(store, study, ["params"])
    assert (row.column, row.value, row.seconds, row.reason) == ("params", None, 0.001, "cannot be scored")


def test_the_time_left_does_not_count_the_start_of_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("nas.scoring.bulk.time.monotonic", lambda: now)
    progress = Progress(100, done=2, paced=(40.0, 2), begin=0.0)
    assert progress.left is None
    progress.done = 22  # 20 in 60 seconds
    assert progress.left == pytest.approx(3.0 * 78)
    assert progress.seconds == 100.0
    progress.ended = 50.0
    assert progress.seconds == 50.0


def test_whoever_watches_hears_of_every_round(store: Store) -> None:
    seen: list[int] = []
    score_all(store, store.add_study("one", {}), Fake(scores=width), JOB, ARCHITECTURES, lambda p: seen.append(p.done))
    assert seen[0] == 2 and seen[-1] == 12 and seen == sorted(set(seen))
