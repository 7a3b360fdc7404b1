"""Reading a store, against the same questions answered in plain Python over the same facts."""

from __future__ import annotations

import gc
import math
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

import pytest

from nas.store import State, Store, StoreError, queries
from nas.store.queries import Page

STATES = [State.COMPLETED, State.COMPLETED, State.COMPLETED, State.STOPPED, State.FAILED, State.INFEASIBLE]


@dataclass
class Fact:
    """What was written of a trial."""

    number: int
    state: State
    kind: str = "search"
    values: dict[str, float] = field(default_factory=dict)
    reason: str | None = None
    steps: int = 0
    parent: int | None = None


@dataclass
class Filled:
    store: Store
    study: int
    facts: list[Fact]


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    """A new store, on SQLite and on PostgreSQL."""
    made = Store.open(store_url, create=True)
    yield made
    made.engine.dispose()


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Filled:
    """Two studies of 60 trials with ties, figures that are not finite, and 8 confirmations."""
    url = f"sqlite:///{tmp_path_factory.mktemp('store')}/nas.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres").create()
    store = Store.open(url, create=True)
    rng = Random(3)
    for name in ("other", "one"):
        study, facts = store.add_study(name, {"objectives": ["accuracy", "params"]}), []
        for number in range(60):
            fact = Fact(number, rng.choice(STATES), steps=rng.randint(0, 5))
            if number >= 52:
                fact.kind, fact.parent, fact.state = "confirm", number % 3, State.COMPLETED
            if fact.state in (State.COMPLETED, State.STOPPED):
                fact.values = {"accuracy": rng.randint(0, 20) / 20, "params": float(rng.randint(1, 9) * 1000)}
            if fact.state is State.FAILED:
                fact.reason = f"ValueError: {rng.randint(0, 5)}"
            facts.append(fact)
        for fact, odd in zip(facts[:52:9], [math.nan, math.inf, -math.inf, math.nan, math.inf, 0.5], strict=True):
            fact.state, fact.values = State.COMPLETED, {"accuracy": odd, "params": 500.0}
        for fact in facts:
            write(store, study, fact)
    return Filled(store, study, facts)


def write(store: Store, study: int, fact: Fact) -> None:
    with store.writing(study) as writer:
        trial = writer.add_trial(
            fact.number,
            {"width": fact.number},
            f"id{fact.number}",
            f"key{fact.number}",
            fact.number,
            kind=fact.kind,
            repeat=fact.number if fact.kind == "confirm" else 0,
            parent=fact.parent,
        )
        writer.start(trial, 1, "w", "cpu")
        for step in range(fact.steps):
            writer.report(trial, step, {"val_accuracy": fact.number + step / 10, "rate": 0.1})
        if fact.state.ended:
            writer.end(trial, 1, fact.state, values=fact.values, reason=fact.reason)
        else:
            writer.mark(trial, fact.state)


def numbers(filled: Filled, page: Page) -> list[int]:
    return [row.number for row in queries.trials(filled.store, filled.study, page)]


def best_first(fact: Fact, name: str, sign: int) -> tuple[bool, float, int]:
    value = fact.values.get(name, math.nan)
    return (name not in fact.values, math.isnan(value), 0 if math.isnan(value) else sign * value, fact.number)  # type: ignore[return-value]


def test_a_row_holds_what_was_written(filled: Filled) -> None:
    rows = queries.trials(filled.store, filled.study, Page(kind=None))
    for row, fact in zip(rows, filled.facts, strict=True):
        assert (row.number, row.state, row.kind, row.parent) == (fact.number, fact.state, fact.kind, fact.parent)
        assert {n: v.hex() for n, v in row.values.items()} == {n: v.hex() for n, v in fact.values.items()}
        assert row.architecture == {"width": fact.number} and row.reason == fact.reason and row.seed == fact.number
        assert row.step == (fact.steps - 1 if fact.steps else None)


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("name", ["accuracy", "params"])
def test_sorting_by_an_objective_puts_what_has_none_last_in_either_direction(
    filled: Filled, name: str, descending: bool
) -> None:
    sign = -1 if descending else 1
    wanted = sorted((f for f in filled.facts if f.kind == "search"), key=lambda f: best_first(f, name, sign))
    assert numbers(filled, Page(sort=name, descending=descending)) == [fact.number for fact in wanted]


def test_sorting_by_a_column(filled: Filled) -> None:
    rows = [fact for fact in filled.facts if fact.kind == "search"]
    assert numbers(filled, Page(descending=True)) == [fact.number for fact in reversed(rows)]
    by_state = sorted(rows, key=lambda fact: (str(fact.state), fact.number))
    assert numbers(filled, Page(sort="state")) == [fact.number for fact in by_state]
    for descending in (False, True):
        reasons = sorted({fact.reason for fact in rows if fact.reason}, reverse=descending)
        by_reason = sorted(rows, key=lambda fact: (reasons.index(fact.reason) if fact.reason else 99, fact.number))
        page = Page(sort="reason", descending=descending)
        assert len(reasons) > 2 and numbers(filled, page) == [fact.number for fact in by_reason]


def test_pages_put_together_are_the_whole(filled: Filled) -> None:
    whole = numbers(filled, Page(sort="accuracy", descending=True))
    for size in (1, 7, 60):
        parts = [
            numbers(filled, Page(sort="accuracy", descending=True, offset=i, limit=size)) for i in range(0, 60, size)
        ]
        assert [number for part in parts for number in part] == whole


@pytest.mark.parametrize(
    ("low", "high"), [(0.3, None), (None, 0.7), (0.3, 0.7), (-math.inf, math.inf), (0.0, 0.0), (2.0, None)]
)
def test_bounds_let_through_what_is_in_them_and_never_nan(
    filled: Filled, low: float | None, high: float | None
) -> None:
    def inside(fact: Fact) -> bool:
        value = fact.values.get("accuracy", math.nan)
        return (
            fact.kind == "search"
            and (low is None or value >= low)
            and (high is None or value <= high)
            and not math.isnan(value)
        )

    page = Page(bounds={"accuracy": (low, high)})
    wanted = [fact.number for fact in filled.facts if inside(fact)]
    assert numbers(filled, page) == wanted
    assert queries.count(filled.store, filled.study, page) == len(wanted)


def test_filters_go_together_and_the_count_ignores_the_window(filled: Filled) -> None:
    page = Page(
        states=(State.COMPLETED, State.STOPPED),
        bounds={"accuracy": (0.2, 0.9), "params": (2000, None)},
        numbers=(5, 45),
        offset=2,
        limit=3,
    )
    wanted = [
        fact.number
        for fact in filled.facts
        if fact.kind == "search"
        and fact.state in page.states
        and 0.2 <= fact.values["accuracy"] <= 0.9
        and fact.values["params"] >= 2000
        and 5 <= fact.number <= 45
    ]
    assert len(wanted) > 5 and numbers(filled, page) == wanted[2:5]
    assert queries.count(filled.store, filled.study, page) == len(wanted)


def test_confirmed_is_the_mean_and_the_sample_deviation(filled: Filled) -> None:
    found = queries.confirmed(filled.store, filled.study)
    repeated = [fact for fact in filled.facts if fact.kind == "confirm"]
    assert found.keys() == {fact.parent for fact in repeated}
    for parent, spreads in found.items():
        for name, spread in spreads.items():
            values = [fact.values[name] for fact in repeated if fact.parent == parent]
            assert len(values) >= 2 and spread.count == len(values)
            assert spread.mean == pytest.approx(statistics.mean(values))
            assert spread.deviation == pytest.approx(statistics.stdev(values))


def test_one_confirmation_has_no_deviation_and_unfinished_ones_do_not_count(store: Store) -> None:
    study = store.add_study("one", {})
    write(store, study, Fact(0, State.COMPLETED, values={"accuracy": 0.9}))
    write(store, study, Fact(1, State.COMPLETED, "confirm", {"accuracy": 0.5}, parent=0))
    write(store, study, Fact(2, State.FAILED, "confirm", parent=0))
    write(store, study, Fact(3, State.RUNNING, "confirm", parent=0))
    assert queries.confirmed(store, study) == {0: {"accuracy": queries.Spread(0.5, 0.0, 1)}}


def test_confirmations_that_are_not_finite_have_no_deviation(store: Store) -> None:
    study = store.add_study("one", {})
    for number, loss in enumerate([1.0, math.inf, 2.0]):
        write(store, study, Fact(number, State.COMPLETED, "confirm", {"loss": loss, "accuracy": math.nan}, parent=7))
    found = queries.confirmed(store, study)[7]
    assert found["loss"].mean == math.inf and math.isnan(found["loss"].deviation)
    assert math.isnan(found["accuracy"].mean) and found["accuracy"].count == 3


def test_unfinished_trials_come_with_their_attempts_and_lost_workers(store: Store) -> None:
    study = store.add_study("one", {})
    for state in State:
        write(store, study, Fact(list(State).index(state), state, steps=1))
    for trial in queries.trials(store, study):
        if trial.state is State.STALE:
            with store.writing(study) as writer:
                writer.lose(trial.id, 1, "gone")
                writer.start(trial.id, 2, "w", "cpu")
                writer.lose(trial.id, 2, "gone again")
    with store.writing(study) as writer:
        writer.add_trial(99, {}, "id", "key", 0)
    found = {(row.number, row.state): (tries, lost) for row, tries, lost in queries.unfinished(store, study, "search")}
    order = list(State)
    assert found == {
        (order.index(State.WAITING), State.WAITING): (1, 0),
        (order.index(State.RUNNING), State.RUNNING): (1, 0),
        (order.index(State.PAUSED), State.PAUSED): (1, 0),
        (order.index(State.STALE), State.STALE): (2, 2),
        (99, State.WAITING): (0, 0),
    }
    assert queries.unfinished(store, study, "confirm") == []


def test_metrics_at_certain_steps(filled: Filled) -> None:
    rows = queries.trials(filled.store, filled.study, Page(kind=None))
    expected = {
        (row.id, step): {"val_accuracy": fact.number + step / 10}
        for row, fact in zip(rows, filled.facts, strict=True)
        for step in (0, 3)
        if step < fact.steps
    }
    assert queries.metrics_at(filled.store, filled.study, {0, 3, 77}, ["val_accuracy", "none"]) == expected


def test_values_of_the_completed_search_trials_alone(filled: Filled) -> None:
    wanted = [
        (fact.number, [fact.values["params"], fact.values["accuracy"]])
        for fact in filled.facts
        if fact.kind == "search" and fact.state is State.COMPLETED
    ]
    found = queries.values(filled.store, filled.study, "params", "accuracy")
    assert repr(found) == repr(wanted)  # repr, for nan is not nan


def test_ranges_leave_out_nan(filled: Filled) -> None:
    seen = [f.values["accuracy"] for f in filled.facts if f.kind == "search" and f.state is State.COMPLETED]
    numbers_only = [value for value in seen if not math.isnan(value)]
    assert queries.ranges(filled.store)[filled.study]["accuracy"] == (min(numbers_only), max(numbers_only))


def test_studies_count_their_search_trials_by_state(filled: Filled) -> None:
    [_, row] = queries.studies(filled.store)
    kept = [fact.state for fact in filled.facts if fact.kind == "search"]
    assert row.counts == {state: kept.count(state) for state in set(kept)} and row.ended == len(kept)
    assert sum(queries.tally(filled.store, filled.study).values()) == len(filled.facts)


def test_what_is_not_there_is_named_with_what_is(filled: Filled) -> None:
    row = queries.study(filled.store, "one")
    with pytest.raises(StoreError, match=r"no study 'two' in .*: there are other, one"):
        queries.study(filled.store, "two")
    with pytest.raises(StoreError, match="study 'one' has no trial 99: its trials are 0 to 59"):
        queries.trial(filled.store, row, 99)
    assert queries.trial(filled.store, row, 59).kind == "confirm"


def test_history_keeps_the_order_of_events(store: Store) -> None:
    studies = [store.add_study(name, {}) for name in "ab"]
    told: list[tuple[str, int | None, dict[str, int]]] = []
    for i in range(20):
        for study in studies:
            with store.writing(study) as writer:
                writer.event("told", {"turn": i * study})
        told.append(("told", None, {"turn": i * studies[1]}))
    assert queries.history(store, studies[1]) == told


@pytest.mark.parametrize("frozen", [False, True])
def test_what_was_read_counts_as_old_and_what_was_frozen_stays_so(
    frozen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "MANY", 500)
    gc.unfreeze()
    try:
        if frozen:
            gc.freeze()
        with queries.uncollected():
            assert not gc.isenabled()
            read = [[number] for number in range(1000)]
        assert gc.isenabled() and (gc.get_freeze_count() > 0) == frozen
        assert frozen or any(each is read for each in gc.get_objects(generation=2))
        assert not any(each is read for young in (0, 1) for each in gc.get_objects(generation=young))
    finally:
        gc.unfreeze()
