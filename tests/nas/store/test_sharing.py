"""Several drivers on one study in PostgreSQL, drivers that die or are taken for dead, and a server that goes away."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest
from fake_runs import WIDE, Crash, Fake, crashing_at, evaluate, register
from postgres import Postgres, plain

from nas.job import Evaluation, Job
from nas.progress import Progress
from nas.settings import Settings
from nas.store import State, Store, StoreError, driving, queries
from nas.study import Study

run = partial(Study.run, content="content")


@pytest.fixture(autouse=True)
def spaces(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, WIDE)


@pytest.fixture
def there(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a database; files lie in the test's folder."""
    monkeypatch.chdir(tmp_path)
    return database


def begin(url: str, **settings: Any) -> Study:
    fields = {"space": "wide", "trials": 30, "epochs": 3, "strategy": "random"} | settings
    return Study.create(Store.open(url, create=True), Settings(**fields), "one")


def another(url: str) -> Study:
    return Study(Store.open(url), "one")


def unhurried(job: Job, seconds: float = 0.003) -> Evaluation:
    """Evaluate, and leave the others time to do something too."""
    steps = evaluate(job)
    while True:
        time.sleep(seconds)
        try:
            report = next(steps)
        except StopIteration as end:
            return end.value
        yield report


def trained(executors: list[Fake]) -> list[tuple[int, int]]:
    return [(job.trial, job.attempt) for each in executors for job in each.jobs]


@pytest.mark.parametrize(
    "asked",
    [
        {"strategy": "random", "schedule": "asha"},
        {"strategy": "tpe", "screen": "gradsign:3"},
        {"strategy": "regularized_evolution", "strategy_options": {"start": 4, "population": 6, "sample": 2}},
        {"strategy": "random", "schedule": "hyperband", "epochs": 9},
    ],
    ids=["asha", "screened", "evolution", "hyperband"],
)
def test_drivers_share_a_study_and_do_nothing_twice(there: str, asked: dict[str, Any]) -> None:
    begin(there, trials=24, **asked)
    executors = [Fake(unhurried, count=2, rng=Random(i)) for i in range(3)]
    with ThreadPoolExecutor(3) as pool:
        ends = [pool.submit(run, another(there), executor) for executor in executors]
        progress = [each.result(120) for each in ends]
    rows = another(there).trials()
    assert [row.number for row in rows] == list(range(24))
    assert len({row.identity for row in rows}) == 24
    assert all(row.state in (State.COMPLETED, State.STOPPED) for row in rows)
    work = trained(executors)
    assert len(set(work)) == len(work), "an attempt was given out twice"
    if asked.get("schedule") != "hyperband":
        assert sorted(number for number, _ in work) == list(range(24))
    assert sum(bool(each.jobs) for each in executors) > 1, "one driver did it all"
    assert all(each.done <= 24 for each in progress)
    told = plain(there, "SELECT trial_id, count(*) FROM event WHERE kind = 'told' GROUP BY 1")
    assert len(told) == 24 and all(count == 1 for _, count in told)
    turns = plain(there, "SELECT payload->>'turn' FROM event WHERE kind = 'asked'")
    assert len(set(turns)) == 24, "two trials of one turn"
    assert plain(there, "SELECT count(*) FROM driver WHERE ended IS NULL") == [(0,)]


def test_each_driver_hears_what_the_others_found_out(there: str) -> None:
    """A strategy that has heard all tells and one that replays them afterwards ask for the same next."""
    begin(there, strategy="regularized_evolution", strategy_options={"start": 3, "population": 4, "sample": 2})
    plans = []

    def keeping(study: Study, executor: Fake) -> Progress:
        made = study._plan

        def plan(*arguments: Any) -> Any:
            plans.append(made(*arguments))
            return plans[-1]

        study._plan = plan  # type: ignore[method-assign]
        return run(study, executor)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda i: keeping(another(there), Fake(unhurried, rng=Random(i))), range(2)))
    study = another(there)
    with study.store.driving("one") as seat:
        fresh = study._plan(seat, study._bench("content"), Progress(30, study.objectives))
        heard = []
        for plan in plans:
            with seat.writing(study.row.id) as writer:
                plan.hear(queries_since(study, plan))
            heard.append(plan._strategy.ask(10**7).architecture)
            del writer
    assert heard == [fresh._strategy.ask(10**7).architecture] * 2


def queries_since(study: Study, plan: Any) -> list[Any]:
    """Return the events that a plan has not heard of: tells of the other driver after its own last round."""
    rows = {row.id: row for row in study.trials()}
    known = {each.row for each in plan._seen.values() if not isinstance(each, int)}
    return [
        event
        for event, _ in queries.replayed(study.store, study.row.id)
        if (event.kind == "told" and event.trial not in known)
        or (event.kind == "asked" and rows[event.trial or 0].number not in plan._numbers.values())
    ]


def test_what_a_driver_leaves_by_ctrl_c_is_taken_over_by_one_that_had_nothing_more_to_do(there: str) -> None:
    begin(there, trials=3, schedule="none")
    first = another(there)

    def spy(call: str, what: Any) -> None:
        if call == "event" and first.trials()[-1].number == 2:
            time.sleep(1.0)  # the other finds nothing to be done
            raise KeyboardInterrupt

    with ThreadPoolExecutor(1) as pool:
        leaving = pool.submit(run, first, Fake(unhurried, count=3, spy=spy))
        while not plain(there, "SELECT 1 FROM trial WHERE number = 2 AND state = 'RUNNING'"):
            time.sleep(0.02)
        executor = Fake()
        run(another(there), executor)
        with pytest.raises(KeyboardInterrupt):
            leaving.result(60)
    assert [row.state for row in another(there)] == [State.COMPLETED] * 3
    assert executor.jobs and all(job.attempt == 2 for job in executor.jobs)


def test_a_running_driver_hears_that_there_are_to_be_more_trials(there: str) -> None:
    begin(there, trials=6)
    executor = Fake(partial(unhurried, seconds=0.02), spy=at(4, lambda: another(there).extend(12)))
    progress = run(another(there), executor)
    assert progress.total == progress.done == 12 and len(executor.jobs) == 12


class Stuck(BaseException):
    """What stands for a driver that stops without a word."""


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driving, "LEASE", 1.0)
    monkeypatch.setattr(driving, "BEAT", 0.1)


def stuck_driver(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a driver stop in the middle of two trials, without giving anything back."""

    def spy(call: str, what: Any) -> None:
        if call == "event":
            raise Stuck

    with monkeypatch.context() as patch:
        patch.setattr(driving.Seat, "leave", lambda seat: None)
        patch.setattr(driving, "_home", lambda: "another machine")
        with pytest.raises(Stuck):
            run(another(url), Fake(count=2, spy=spy))


def test_a_driver_whose_lease_runs_out_is_replaced(there: str, hasty: None, monkeypatch: pytest.MonkeyPatch) -> None:
    study = begin(there, trials=6)
    stuck_driver(there, monkeypatch)
    assert [row.state for row in study] == [State.RUNNING] * 2
    executor = Fake(partial(unhurried, seconds=0.2))
    run(another(there), executor)
    rows = study.trials()
    assert len(rows) == 6 and all(row.state is State.COMPLETED for row in rows)
    again = [queries.attempts(study.store, row.id) for row in rows[:2]]
    assert [[each.number for each in tries] for tries in again] == [[1, 2], [1, 2]]
    assert executor.jobs[0].trial == 2, "it took over what another may still be at"
    assert plain(there, "SELECT count(*) FROM driver WHERE ended IS NULL") == [(0,)]


def test_a_driver_that_died_on_this_machine_is_replaced_at_once(there: str, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(there, trials=4)
    stuck_driver(there, monkeypatch)
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    plain(there, f"UPDATE driver SET home = '{driving._home()}', pid = {child}")
    executor = Fake()
    begun = time.monotonic()
    run(another(there), executor)
    assert [job.trial for job in executor.jobs] == [0, 1, 2, 3] and [j.attempt for j in executor.jobs[:2]] == [2, 2]
    assert time.monotonic() - begun < driving.LEASE


def test_a_driver_that_was_taken_for_dead_drops_its_work_and_goes_on(there: str) -> None:
    study = begin(there, trials=8)
    cancelled: list[str] = []

    def spy(call: str, what: Any) -> None:
        if call == "cancel":
            cancelled.append(what)
        if call == "submit" and what.trial == 3 and what.attempt == 1:
            with study.store.begun() as connection:
                driving.reap(connection, study.row.id, [seat for (seat,) in plain(there, "SELECT id FROM driver")])

    executor = Fake(count=2, spy=spy)
    run(another(there), executor)
    rows = study.trials()
    assert len(rows) == 8 and all(row.state is State.COMPLETED for row in rows)
    assert cancelled and max(job.attempt for job in executor.jobs) == 2
    assert plain(there, "SELECT count(*) FROM driver") == [(2,)]


def test_a_search_and_a_confirmation_do_not_share(there: str) -> None:
    study = begin(there, trials=3)
    run(another(there), Fake())
    with study.store.driving("one"):
        with pytest.raises(StoreError, match=r"'one' is being run by another process, .*:\d+ \(search\)"):
            another(there).confirm(Fake())
    with study.store.driving("one", "confirm"):
        with pytest.raises(StoreError, match="being run by another process"):
            run(another(there), Fake())


def test_a_living_driver_keeps_its_lease(there: str, hasty: None) -> None:
    study = begin(there)
    with study.store.driving("one") as seat:
        time.sleep(2.5)
        assert study.store.driven("one")
        with another(there).store.driving("one") as other:
            assert other.look_after() == 0 and seat.others() == 0
        with seat.writing(study.row.id):
            pass
    assert not study.store.driven("one")


@pytest.fixture
def server(postgres: Postgres) -> Iterator[Postgres]:
    """The server, started again at the end."""
    yield postgres
    try:
        postgres.sql("postgres", "SELECT 1")
    except Exception:
        postgres.start()


def at(trial: int, act: Callable[[], None]) -> Callable[[str, Any], None]:
    """Act when a certain trial is given out for the first time."""
    done: list[bool] = []

    def spy(call: str, what: Any) -> None:
        if call == "submit" and what.trial == trial and not done:
            done.append(True)
            act()

    return spy


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_search_waits_for_a_server_that_restarts(there: str, server: Postgres, mode: str) -> None:
    study = begin(there, trials=12, schedule="asha")

    def restart() -> None:
        server.stop(mode)
        threading.Timer(1.5, server.start).start()

    said: list[str] = []

    def watch(progress: Progress) -> None:
        said[:] = progress.said

    executor = Fake(partial(unhurried, seconds=0.05), count=2, spy=at(5, restart))
    progress = run(another(there), executor, watch)
    rows = study.trials()
    assert len(rows) == 12 and all(row.state in (State.COMPLETED, State.STOPPED) for row in rows)
    assert progress.done == 12 and len(executor.jobs) == 12, "what a worker said meanwhile was lost"
    assert len(said) == 2 and "waits up to 600 s" in said[0] and "is back" in said[1]
    assert "\n" not in said[0]
    told = plain(there, "SELECT trial_id, count(*) FROM event WHERE kind = 'told' GROUP BY 1")
    assert len(told) == 12 and all(count == 1 for _, count in told)
    doubled = (
        "SELECT count(*) FROM (SELECT 1 FROM event WHERE kind = 'verdict' GROUP BY trial_id HAVING count(*) > 1) x"
    )
    assert plain(there, doubled) == [(0,)]


def test_a_server_that_stays_away_ends_the_run_and_keeps_the_checkpoints(
    there: str, server: Postgres, hasty: None
) -> None:
    study = begin(there, trials=6)

    def slow(job: Job) -> Evaluation:
        job.folder.mkdir(parents=True, exist_ok=True)
        (job.folder / "checkpoint.pt").write_text("a checkpoint")
        return (yield from unhurried(job, 0.05))

    executor = Fake(slow, count=2, spy=at(2, lambda: server.stop("immediate")))
    with pytest.raises(StoreError, match=r"--store-timeout.*checkpoints kept.*nas resume"):
        run(another(there), executor, store_timeout=1.0)
    assert executor.closed
    server.start()
    running = [row for row in study.trials() if not row.state.ended]
    assert running
    for row in running:
        assert (study.store.folder("one") / f"{row.number:05d}" / "checkpoint.pt").exists()
    run(another(there), Fake())
    assert [row.state for row in study.trials()] == [State.COMPLETED] * 6


def test_a_confirmation_does_not_wait_for_what_a_search_has_left(there: str) -> None:
    begin(there, trials=6)
    with pytest.raises(Crash):
        run(another(there), Fake(spy=crashing_at(20)))
    study = another(there)
    assert State.STALE in {row.state for row in study.trials()}
    done = threading.Thread(target=study.confirm, args=(Fake(), 1, 2), daemon=True)
    done.start()
    done.join(60)
    assert not done.is_alive(), "it waits for a trial that nobody runs"
    [spreads] = study.confirmed().values()
    assert spreads["accuracy"].count == 2
