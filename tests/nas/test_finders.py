"""Strategies whose proposals are supernets, in the loop of a study: what is found becomes trials, whatever happens."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest
from fake_runs import Crash, Fake, crashing_at, evaluate, facts, register, reopen, start
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nas.job import Evaluation, Found, Infeasible, Job, Outcome, Report
from nas.settings import SettingsError
from nas.store import State, queries
from nas.store.queries import Page, TrialRow
from nas.strategies import Finder, make_strategy
from nas.study import Study
from search_spaces.decisions import Choice, Integer, Struct, canonical, identity, mixable
from search_spaces.limits import limited
from search_spaces.space import Space

SOFT = Space(
    "soft",
    "for tests",
    Struct(
        network=Struct(kind=mixable(Choice("a", "b", "c")), width=Integer(1, 40), other=mixable(Choice("x", "y"))),
        training=Struct(batch=Integer(1, 1000)),
    ),
    lambda architecture, signature: pytest.fail("nothing is built here"),
)
DARTS: dict[str, Any] = {
    "space": "soft",
    "strategy": "darts",
    "objectives": ("accuracy",),
    "strategy_options": {"relax": "network.kind,network.other", "children": 2},
    "trials": 6,
}
ONE_SHOT: dict[str, Any] = {"space": "soft", "strategy": "one_shot", "trials": 4}


def follow(job: Job) -> Evaluation:
    """A supernet reports two epochs and leads to what its seed draws: one network of DARTS, five of one-shot."""
    if job.method is None:
        return (yield from evaluate(job))
    for epoch in (1, 2):
        yield Report(epoch, {"val_accuracy": epoch / 4, "strength/network.kind=a": 0.5})
    rng = Random(job.seed)
    count = 5 if job.method.name == "one_shot" else 1
    return Outcome({}, found=tuple(Found(SOFT.draw(rng), 0.5 + i / 10) for i in range(count)))


@pytest.fixture(autouse=True, scope="module")
def soft() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        register(patch, SOFT)
        yield


def run(study: Study, **options: Any) -> Study:
    study.run(Fake(**({"evaluate": follow} | options)), content="data")
    return study


def rows(study: Study, kind: str) -> list[TrialRow]:
    return study.trials(Page(kind=kind))


def test_each_supernet_leads_to_its_children_and_is_no_trial_itself(tmp_path: Path) -> None:
    study = run(start(tmp_path, **DARTS))
    supernets, trials = rows(study, "supernet"), rows(study, "search")
    assert len(supernets) == 3 and len(trials) == 6 and study.row.ended == 6
    assert [row.parent for row in trials] == [number for row in supernets for number in (row.number, row.number)]
    for first, second in zip(trials[::2], trials[1::2], strict=True):
        assert first.architecture["network"] == second.architecture["network"]
        assert first.architecture["training"] != second.architecture["training"]


def test_a_supernet_has_mixtures_where_they_were_asked_for_and_the_rest_drawn(tmp_path: Path) -> None:
    for row in rows(run(start(tmp_path, **DARTS)), "supernet"):
        network = row.architecture["network"]
        assert network["kind"]["mixture"]["options"] == ["a", "b", "c"] and "mixture" in network["other"]
        assert 1 <= network["width"] <= 40


def test_strengths_and_the_supernets_accuracy_are_kept_each_epoch(tmp_path: Path) -> None:
    study = run(start(tmp_path, **DARTS))
    curves = queries.curves(study.store, rows(study, "supernet")[0].id)
    assert curves["val_accuracy"] == [(1, 0.25), (2, 0.5)] and len(curves["strength/network.kind=a"]) == 2


def test_one_supernet_is_shared_by_all_trials_while_the_other_workers_wait(tmp_path: Path) -> None:
    jobs: list[Job] = []
    study = run(
        start(tmp_path, **ONE_SHOT), count=3, spy=lambda call, what: jobs.append(what) if call == "submit" else None
    )
    assert [job.method is not None for job in jobs] == [True, False, False, False, False]
    (supernet,) = rows(study, "supernet")
    expected = [SOFT.draw(rng) for rng in [Random(supernet.seed)] for _ in range(4)]
    assert [row.architecture for row in rows(study, "search")] == expected
    assert {row.parent for row in rows(study, "search")} == {supernet.number}


def test_what_was_found_has_its_inherited_accuracy_as_a_score(tmp_path: Path) -> None:
    study = run(start(tmp_path, **ONE_SHOT))
    rng = Random(rows(study, "supernet")[0].seed)
    expected = {(identity(SOFT.draw(rng)), "one_shot", 0.5 + i / 10) for i in range(5)}
    assert set(facts(study)["scores"]) == expected


def test_a_search_that_asks_for_more_than_was_found_ends_and_says_so(tmp_path: Path) -> None:
    study = start(tmp_path, **ONE_SHOT | {"trials": 9})
    progress = study.run(Fake(evaluate=follow), content="data")
    assert len(rows(study, "search")) == 5 and "nothing more to propose" in progress.last


def test_supernets_that_come_to_nothing_end_the_search_after_three(tmp_path: Path) -> None:
    def fail(job: Job) -> Evaluation:
        yield Report(1, {})
        raise Infeasible("diverged")

    for name, case in (("darts", DARTS), ("one_shot", ONE_SHOT)):
        (tmp_path / name).mkdir()
        study = start(tmp_path / name, **case)
        progress = study.run(Fake(evaluate=fail), content="data")
        assert [row.state for row in rows(study, "supernet")] == [State.INFEASIBLE] * 3
        assert not rows(study, "search") and "3 supernets in a row" in progress.last


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, int]]:
    known = {}
    for name, case in (("darts", DARTS), ("one_shot", ONE_SHOT)):
        calls: list[str] = []
        study = run(start(tmp_path_factory.mktemp("calm"), **case), spy=lambda call, what, c=calls: c.append(call))
        known[name] = facts(study), len(calls)
    return known


@pytest.mark.parametrize(("name", "case"), [("darts", DARTS), ("one_shot", ONE_SHOT)])
@given(share=st.floats(0, 1), more=st.lists(st.integers(0, 8), max_size=2))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_crash_at_any_moment_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, calm: Any, name: str, case: Any, share: float, more: list[int]
) -> None:
    expected, calls = calm[name]
    study = start(tmp_path_factory.mktemp("wild"), **case)
    for moment in [int(share * (calls - 1)), *more]:
        try:
            run(study, spy=crashing_at(moment))
        except Crash:
            pass
        study = reopen(study)
    assert facts(run(study)) == expected


def made(name: str, space: Space = SOFT, **options: Any) -> Finder:
    strategy = make_strategy(name, space, 1, 0, options)
    assert isinstance(strategy, Finder)
    return strategy


def test_the_plan_names_what_is_relaxed_and_what_is_drawn() -> None:
    told = made("darts", relax="network.kind").plan
    assert told.startswith("relaxed: network.kind; drawn")
    assert all(path in told for path in ("network.other", "network.width", "training.batch"))


def test_a_limited_space_is_relaxed_as_far_as_it_goes() -> None:
    part = limited(SOFT, ["network.kind=a,c"])
    proposal = made("darts", part, relax="network.kind").ask(0)
    assert proposal is not None and proposal.architecture["network"]["kind"]["mixture"]["options"] == ["a", "c"]
    SOFT.trace(proposal.architecture)


def test_the_same_turn_asks_for_the_same_supernet() -> None:
    one, other, later = (made("darts", relax="network.kind").ask(turn) for turn in (3, 3, 4))
    assert one == other and one is not None and later is not None
    assert canonical(one.architecture) != canonical(later.architecture)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("darts", {}, "finds nothing to relax in soft: name paths with --strategy-option relax"),
        ("darts", {"relax": "network.kinds"}, "'network.kinds' is no decision of soft"),
        ("darts", {"relax": "network.width"}, "network.width cannot be a mixture, because"),
        ("darts", {"relax": "network.kind", "warmup": 20}, "warmup=20 leaves none of the 20 epochs"),
        ("darts", {"relax": "network.kind", "order": 3}, "order is 3, but one of 1, 2 is allowed"),
        ("rc_darts", {"relax": "network.kind"}, "needs a bound on its resource"),
        ("one_shot", {"targets": "params+speed"}, "names 'speed', but params, flops, latency, memory are measured"),
        ("one_shot", {"predictors": "params+gradsing"}, "did you mean gradsign"),
        (
            "one_shot",
            {"predictors": "learned:params+gradsign"},
            "learns from finished trials, but a supernet is searched",
        ),
        ("one_shot", {"predictors": "params+surrogate"}, "there are any: name zero-cost predictors joined by"),
        ("one_shot", {"predictors": "rank:params"}, "'rank:params' does not parse"),
        ("subnet_search", {"supernet": "nowhere"}, "needs a trained supernet, but there is no file 'nowhere'"),
    ],
)
def test_what_does_not_go_is_refused_in_one_line(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError if "gradsing" in str(options) else SettingsError, match=message):
        make_strategy(name, SOFT, 1, 0, options)


def test_differentiable_search_takes_one_objective() -> None:
    with pytest.raises(SettingsError, match=r"does not do several objectives \(got 2\): name one --objective"):
        make_strategy("darts", SOFT, 2, 0, {"relax": "network.kind"})
