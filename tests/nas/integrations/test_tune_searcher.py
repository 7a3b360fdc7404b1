"""Our strategies as Tune Searchers: they propose what the strategies do, and are restored by replaying."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import ray.cloudpickle as pickle
from fake_runs import TWELVE, WIDE, register
from ray.tune.search import ConcurrencyLimiter

from nas.integrations.tune.configs import SEED, read, trial_seed
from nas.integrations.tune.searcher import NasSearcher, SearcherError
from nas.settings import SettingsError
from nas.strategies import Proposal, make_strategy
from search_spaces import registry
from search_spaces.decisions import Architecture, canonical
from search_spaces.registry import Entry

STRATEGIES = ["random", "tpe", "nsga2", "regularized_evolution"]
OBJECTIVES = ("accuracy", "params")


@pytest.fixture(autouse=True)
def spaces(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, WIDE, TWELVE)


def figures(architecture: Architecture) -> dict[str, float]:
    """Two objectives that are functions of the architecture."""
    share = sum(map(ord, canonical(architecture))) % 101
    return {"accuracy": share / 101, "params": float(len(canonical(architecture)) + share)}


def proposed(config: dict[str, Any]) -> Architecture:
    return read(WIDE, config).architecture


def follow(searcher: NasSearcher, trials: Sequence[int]) -> list[Architecture]:
    """Run trials one by one, and return what was proposed."""
    found = []
    for number in trials:
        config = searcher.suggest(f"t{number}")
        found.append(proposed(config))
        searcher.on_trial_complete(f"t{number}", figures(found[-1]))
    return found


@pytest.mark.parametrize("name", STRATEGIES)
def test_it_proposes_what_the_strategy_does_when_it_is_asked_directly(name: str) -> None:
    strategy = make_strategy(name, WIDE, len(OBJECTIVES), 3)
    expected = []
    for turn in range(40):
        proposal = strategy.ask(turn)
        assert proposal is not None
        expected.append(proposal.architecture)
        values = figures(proposal.architecture)
        strategy.tell(turn, [-values["accuracy"], values["params"]])
    assert len({canonical(each) for each in expected}) == 40  # else the searcher would pass one over
    assert follow(NasSearcher(name, WIDE, OBJECTIVES, seed=3), range(40)) == expected


@pytest.mark.parametrize("name", STRATEGIES)
def test_restored_it_goes_on_as_if_it_had_never_stopped(name: str, tmp_path: Path) -> None:
    whole, broken = (NasSearcher(name, WIDE, OBJECTIVES, seed=5) for _ in range(2))
    expected = follow(whole, range(40))
    assert follow(broken, range(25)) == expected[:25]
    broken.save(str(tmp_path / "state"))
    json.loads((tmp_path / "state").read_text(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    restored = NasSearcher(name, WIDE, OBJECTIVES, seed=5)
    restored.restore(str(tmp_path / "state"))
    assert follow(restored, range(25, 40)) == expected[25:]
    copied = pickle.loads(pickle.dumps(broken))
    assert follow(copied, range(25, 40)) == expected[25:]


def test_a_trial_under_way_is_still_so_after_a_restore(tmp_path: Path) -> None:
    searcher = NasSearcher("random", TWELVE, ("accuracy",))
    searcher.set_max_concurrency(1)
    config = searcher.suggest("a")
    searcher.save(str(tmp_path / "state"))
    restored = NasSearcher("random", TWELVE, ("accuracy",))
    restored.set_max_concurrency(1)
    restored.restore(str(tmp_path / "state"))
    assert config is not None and restored.suggest("b") is None
    restored.on_trial_complete("a", {"accuracy": 0.5})
    assert restored.suggest("b") is not None
    with pytest.raises(SearcherError, match="cannot be restored: make a new one"):
        restored.restore(str(tmp_path / "state"))


def test_each_architecture_is_proposed_once_until_there_is_no_more() -> None:
    searcher = NasSearcher("random", TWELVE, ("accuracy",))
    seen = set()
    while (config := searcher.suggest(f"t{len(seen)}")) != NasSearcher.FINISHED:
        seen.add(canonical(read(TWELVE, config).architecture))
    assert len(seen) == 12 == TWELVE.size()


def test_every_trial_has_the_seed_of_its_number() -> None:
    searcher = NasSearcher("random", WIDE, seed=9)
    assert [searcher.suggest(str(n))[SEED] for n in range(4)] == [trial_seed(9, n) for n in range(4)]


class Spy:
    """A strategy that keeps what it is told; its second proposal repeats the first, its fourth waits."""

    told: list[tuple[int, list[float] | None, bool]]

    def __init__(self, space: Any, objectives: int, seed: int) -> None:
        Spy.told = []

    def ask(self, turn: int) -> Proposal | None:
        if turn == 4:
            return None
        width = {0: 1, 1: 1}.get(turn, turn)
        architecture = {"network": {"width": width, "kind": "a"}, "training": {"rate": 0.1}}
        return Proposal(turn, architecture, {"parents": [0]} if turn == 2 else {}, (0,) if turn == 2 else ())

    def remember(self, proposal: Proposal) -> None:
        """Nothing to note."""

    def tell(self, turn: int, losses: Sequence[float] | None, *, feasible: bool = True) -> None:
        Spy.told.append((turn, None if losses is None else list(losses), feasible))


@pytest.fixture
def spy(monkeypatch: pytest.MonkeyPatch) -> NasSearcher:
    registry.entries("strategy")
    monkeypatch.setitem(registry._entries["strategy"], "spy", Entry("strategy", "spy", Spy, "for tests"))
    return NasSearcher("spy", WIDE, OBJECTIVES)


def test_what_repeats_is_answered_from_what_is_known(spy: NasSearcher) -> None:
    spy.suggest("a")
    spy.on_trial_complete("a", {"accuracy": 0.9, "params": 7.0})
    assert spy.suggest("b")["network.width"] == 2
    assert Spy.told == [(0, [-0.9, 7.0], True), (1, [-0.9, 7.0], True)]
    assert spy.parents("b") == ["a"] and spy.parents("a") == []


def test_what_repeats_a_trial_under_way_is_not_judged(spy: NasSearcher) -> None:
    spy.suggest("a")
    spy.suggest("b")
    assert Spy.told == [(1, None, True)]


def test_how_trials_end_is_told(spy: NasSearcher) -> None:
    for name in "abc":
        spy.suggest(name)
    assert spy.suggest("d") is None  # the strategy waits
    spy.on_trial_result("a", {"accuracy": 0.5, "params": 3.0})
    spy.on_trial_complete("a")  # stopped while it was paused
    spy.on_trial_complete("b", {"accuracy": math.nan, "params": math.nan, "nas/state": "INFEASIBLE"})
    spy.on_trial_complete("c", error=True)
    assert Spy.told[1:] == [(0, [-0.5, 3.0], True), (2, None, False), (3, None, True)]
    assert spy.suggest("d") == NasSearcher.FINISHED  # it waits for nothing


def test_an_objective_that_is_not_a_number_is_the_worst(spy: NasSearcher, tmp_path: Path) -> None:
    spy.suggest("a")
    spy.on_trial_complete("a", {"accuracy": math.nan, "params": 3.0})
    assert Spy.told == [(0, [math.inf, 3.0], True)]
    spy.save(str(tmp_path / "state"))
    NasSearcher("spy", WIDE, OBJECTIVES).restore(str(tmp_path / "state"))
    assert Spy.told == [(0, [math.inf, 3.0], True)]


def test_so_many_run_at_a_time_of_which_the_paused_are_none() -> None:
    searcher = NasSearcher("random", WIDE)
    limited = ConcurrencyLimiter(searcher, max_concurrent=2)  # as tune.TuneConfig(max_concurrent_trials=2) makes it
    assert limited.suggest("a") and limited.suggest("b") and limited.suggest("c") is None
    limited.on_pause("a")
    assert limited.suggest("c")
    limited.on_unpause("a")
    limited.on_trial_complete("b", {"accuracy": 1.0, "params": 1.0})
    assert limited.suggest("d") is None
    limited.on_trial_complete("a", {"accuracy": 1.0, "params": 1.0})
    assert limited.suggest("d")


def test_metrics_that_are_not_ours_have_a_mode() -> None:
    one = NasSearcher("random", WIDE, ["error"], "min")
    assert (one.metric, one.mode) == ("error", "min")
    two = NasSearcher("random", WIDE, OBJECTIVES)
    assert (two.metric, two.mode) == (["accuracy", "params"], ["max", "min"])


@pytest.mark.parametrize(
    ("made", "kind", "told"),
    [
        (dict(mode="up"), SearcherError, "mode is 'up', but min or max is asked"),
        (dict(mode=["min"]), SearcherError, r"mode is \['min'\]"),
        (dict(objectives=()), SearcherError, r"objectives are \(\)"),
        (dict(objectives="accuracy"), SearcherError, "objectives are 'accuracy'"),
        (dict(strategy="one_shot"), SearcherError, "'one_shot' has its proposals scored or trains supernets"),
        (dict(strategy="darts"), SettingsError, "does not do several objectives"),
        (dict(strategy="rondom"), registry.UnknownName, "did you mean random"),
        (dict(objectives=["accuracy", "score"]), registry.UnknownName, "unknown objective 'score'"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(made: dict[str, Any], kind: type[Exception], told: str) -> None:
    with pytest.raises(kind, match=told) as error:
        NasSearcher(**({"strategy": "random", "space": "kan_vision"} | made))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"format": "nas searcher 0", "log": []}'])
def test_a_file_of_something_else_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "state").write_text(text)
    with pytest.raises(SearcherError):
        NasSearcher("random", WIDE).restore(str(tmp_path / "state"))
