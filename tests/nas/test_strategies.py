"""The contract of strategies: what every registered one must do, with one objective and with two where it can."""

from __future__ import annotations

import json
import math
import re
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest
from optuna.trial import TrialState, create_trial

from nas import catalog
from nas.errors import UserError
from nas.settings import SettingsError
from nas.strategies import Finder, Proposal, Strategy, make_strategy
from search_spaces.decisions import Architecture, Choice, Integer, Real, Repeat, Struct, canonical
from search_spaces.registry import UnknownName, entries
from search_spaces.space import Space, find_space

pytestmark = pytest.mark.filterwarnings("error")

SMALL = Space(
    "small",
    "nested conditions, lists, tied lists, logarithms, steps and an option that is None",
    Struct(
        kind=Choice(
            "plain",
            tuned=Struct(
                x=Real(0, 1), mode=Choice("a", "b", deep=Struct(n=Integer(1, 8), wide=Integer(1, 64, log=True)))
            ),
            other=Struct(y=Real(1e-4, 1, log=True)),
        ),
        blocks=Repeat(Struct(width=Integer(8, 48, step=8), bias=Choice(True, False)), 0, 2),
        tied=Repeat(Choice(1, 2, None), 1, 2, tied=True),
        fixed=Integer(3, 3),
    ),
    make=lambda architecture, signature: pytest.fail("nothing is built here"),
)

NUMBERS = Space("numbers", "few decisions, many values", Struct(x=Real(0, 1), n=Integer(1, 10**6)), SMALL.make)

PLAIN = {"random", "grid", "qmc", "tpe", "gp", "cmaes", "nsga2", "nsga3", "regularized_evolution", "pareto_evolution"}


def proposes_at_once(name: str) -> bool:
    """Say whether a strategy needs nothing but a space; those that train supernets have tests of their own."""
    try:
        return not isinstance(make_strategy(name, SMALL, 1, 0), Finder)
    except SettingsError:
        return name in PLAIN


ALL = [name for name in sorted(entries("strategy")) if proposes_at_once(name)]
SEVERAL = [name for name in ALL if "several objectives" not in entries("strategy")[name].lacks]
CASES = [(name, 1) for name in ALL] + [(name, 2) for name in SEVERAL]
QUICK = [case for case in CASES if case[0] != "gp"]


def made(name: str, space: Space, objectives: int, seed: int, options: dict[str, Any] | None = None) -> Strategy:
    """Make a strategy, with the quickest of its models where it has several."""
    quick = {"model": "process"} if "model" in entries("strategy")[name].options.fields else {}
    return make_strategy(name, space, objectives, seed, quick | (options or {}))


@dataclass
class Happening:
    """An ask that was answered, or a tell."""

    proposal: Proposal | None = None
    turn: int = 0
    losses: list[float] | None = None
    feasible: bool = True


@dataclass
class Crowd:
    """Several workers at a strategy: asks and tells in a random order, and all kinds of ends.

    The loss of an architecture is a function of it, so that two strategies that decide alike hear alike.
    """

    strategy: Strategy
    objectives: int
    rng: Random
    workers: int = 4
    turn: int = 0
    open: list[Proposal] = field(default_factory=list)
    past: list[Happening] = field(default_factory=list)

    def step(self) -> None:
        if len(self.open) < self.workers and (not self.open or self.rng.random() < 0.55):
            proposal = self.strategy.ask(self.turn)
            self.turn += 1
            self.open.append(proposal)
            self.past.append(Happening(proposal))
        else:
            self.end(self.open.pop(self.rng.randrange(len(self.open))))

    def end(self, proposal: Proposal) -> None:
        fate = self.rng.random()
        losses: list[float] | None = [badness(proposal.architecture, k) for k in range(self.objectives)]
        if fate < 0.1:
            losses = None
        elif fate < 0.2 and losses is not None:
            losses[0] = math.inf
        happening = Happening(None, proposal.turn, losses, feasible=not 0.05 < fate < 0.1)
        self.strategy.tell(happening.turn, happening.losses, feasible=happening.feasible)
        self.past.append(happening)

    def run(self, asks: int) -> list[Proposal]:
        while self.turn < asks:
            self.step()
        return [each.proposal for each in self.past if each.proposal is not None]


def badness(architecture: Architecture, k: int) -> float:
    """A figure between 0 and 1 that depends on everything in the architecture, smoothly on the numbers."""
    text = json.dumps(architecture, sort_keys=True)
    numbers = map(float, re.findall(r"\d+\.?\d*(?:e-?\d+)?", text))
    return Random(f"{len(text)} {k}").random() * 0.5 + 0.5 * abs(math.sin(sum(numbers) + k))


def rebuilt(name: str, objectives: int, past: Sequence[Happening], seed: int = 7, **options: Any) -> Strategy:
    """A fresh strategy that was told the past, as a resumed study tells it."""
    strategy = made(name, SMALL, objectives, seed, options)
    for each in past:
        if each.proposal is not None:
            note = json.loads(json.dumps(each.proposal.note))
            strategy.remember(Proposal(each.proposal.turn, each.proposal.architecture, note))
        else:
            strategy.tell(each.turn, each.losses, feasible=each.feasible)
    return strategy


@pytest.mark.parametrize(("name", "objectives"), QUICK)
def test_every_proposal_belongs_to_the_space(name: str, objectives: int) -> None:
    crowd = Crowd(made(name, SMALL, objectives, 1), objectives, Random(2))
    for proposal in crowd.run(70):
        SMALL.trace(proposal.architecture)
    assert len({json.dumps(each.proposal.architecture) for each in crowd.past if each.proposal}) > 10


@pytest.mark.parametrize(("name", "objectives"), QUICK)
def test_proposals_for_kan_vision_belong_to_it(name: str, objectives: int) -> None:
    space = find_space("kan_vision")
    strategy, rng = made(name, space, objectives, 0), Random(3)
    for turn in range(15):
        proposal = strategy.ask(turn)
        assert proposal.turn == turn and space.trace(proposal.architecture)
        strategy.tell(turn, [rng.random() for _ in range(objectives)])


@pytest.mark.slow
def test_the_gaussian_process_proposes_for_kan_vision() -> None:
    space = find_space("kan_vision")
    strategy, rng = make_strategy("gp", space, 1, 0), Random(3)
    for turn in range(12):
        space.trace(strategy.ask(turn).architecture)
        strategy.tell(turn, [rng.random()])


@pytest.mark.parametrize(("name", "objectives"), QUICK)
def test_the_same_seed_gives_the_same_search_and_another_seed_another(name: str, objectives: int) -> None:
    runs = [Crowd(made(name, SMALL, objectives, seed), objectives, Random(5)).run(60) for seed in (7, 7, 8)]
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.parametrize("seed", [-1, 2**32, 2**70])
@pytest.mark.parametrize("name", ALL)
def test_any_whole_number_is_a_seed(name: str, seed: int) -> None:
    strategy = made(name, SMALL, 1, seed)
    for turn in range(3):
        SMALL.trace(strategy.ask(turn).architecture)
        strategy.tell(turn, [float(turn)])


@pytest.mark.parametrize(("name", "objectives"), CASES)
def test_a_rebuilt_strategy_decides_as_the_one_that_never_stopped(name: str, objectives: int) -> None:
    asks = 24 if name == "gp" else 80
    crowd = Crowd(made(name, SMALL, objectives, 7), objectives, Random(11))
    for cut in (asks // 2, asks - 3):
        crowd.run(cut)
        other = Crowd(rebuilt(name, objectives, crowd.past), objectives, Random())
        other.rng.setstate(crowd.rng.getstate())
        other.turn, other.open, other.past = crowd.turn, list(crowd.open), list(crowd.past)
        ahead = cut + (2 if name == "gp" else 12)
        proposed = crowd.run(ahead)
        assert other.run(ahead) == proposed
        for proposal in proposed:
            SMALL.trace(proposal.architecture)


@pytest.mark.parametrize(("name", "objectives"), [*QUICK, ("gp", 1)])
def test_proposals_that_were_dropped_at_once_need_not_be_remembered(name: str, objectives: int) -> None:
    """Duplicates of what is under way, and what a screening did not choose, are not in the store."""
    strategy = made(name, SMALL, objectives, 7)
    past: list[Happening] = []
    asks = 14 if name == "gp" else 75
    for turn in range(0, 3 * asks, 3):
        if turn % 2:
            strategy.ask(turn)
            strategy.tell(turn, None)
        proposal = strategy.ask(turn + 1)
        losses = [badness(proposal.architecture, k) for k in range(objectives)]
        strategy.tell(turn + 1, losses)
        past += [Happening(proposal), Happening(None, turn + 1, losses)]
    other = rebuilt(name, objectives, past)
    for turn in range(1000, 1002 if name == "gp" else 1012):
        assert other.ask(turn) == strategy.ask(turn)


@pytest.mark.parametrize("name", ALL)
def test_parallel_asks_never_propose_what_is_under_way(name: str) -> None:
    space = NUMBERS if name in ("gp", "cmaes") else find_space("kan_vision")
    strategy, rng = made(name, space, 1, 0), Random(0)
    for turn in range(12 if name == "gp" else 40):
        strategy.ask(turn)
        strategy.tell(turn, [rng.random()])
    under_way = [strategy.ask(turn).architecture for turn in range(100, 105 if name == "gp" else 125)]
    assert len({canonical(architecture) for architecture in under_way}) == len(under_way)


@pytest.mark.parametrize("feasible", [True, False], ids=["failed", "infeasible"])
@pytest.mark.parametrize("name", ALL)
def test_a_search_in_which_everything_goes_wrong_goes_on(name: str, feasible: bool) -> None:
    strategy = made(name, SMALL, 1, 0)
    proposed = []
    for turn in range(60):
        proposed.append(strategy.ask(turn).architecture)
        SMALL.trace(proposed[-1])
        strategy.tell(turn, None, feasible=feasible)
    assert len({canonical(architecture) for architecture in proposed}) > 40


@pytest.mark.parametrize("name", ALL)
def test_every_option_is_there_with_a_default_that_it_allows(name: str) -> None:
    entry = entries("strategy")[name]
    defaults = {each.name: each.default for each in catalog.options(entry)}
    strategies = [make_strategy(name, SMALL, 1, 0, given) for given in ({}, defaults)]
    assert strategies[0].ask(0) == strategies[1].ask(0)


BAD_OPTIONS = {
    "tpe": ("windw=9", "strategy tpe has no option 'windw': did you mean window?"),
    "nsga2": ("population=1", "--strategy-option population is 1, but an integer from 2 to 10000 is allowed"),
    "nsga3": ("divisions=many", '--strategy-option divisions is "many", but an integer from 1 to 20 is allowed'),
    "cmaes": ("startup=0", "--strategy-option startup is 0, but an integer from 1 to 1000 is allowed"),
    "gp": ("deterministic=maybe", '--strategy-option deterministic is "maybe", but one of false, true is allowed'),
    "grid": ("order=random", '--strategy-option order is "random", but one of "shuffled", "lexicographic" is allowed'),
    "random": ("seed=3", "strategy random has no option 'seed': it has none"),
    "regularized_evolution": ("sample=0", "--strategy-option sample is 0, but an integer from 1 to 1000 is allowed"),
    "pareto_evolution": ("crossover=1.1", "--strategy-option crossover is 1.1, but a number from 0 to 1 is allowed"),
}


@pytest.mark.parametrize("name", BAD_OPTIONS)
def test_a_wrong_option_is_refused_in_a_line(name: str) -> None:
    text, message = BAD_OPTIONS[name]
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        catalog.read_settings(entries("strategy")[name], [text], "--strategy-option")


def inner(architecture: Architecture) -> float:
    """Only `x` matters, and only where `tuned` was chosen."""
    kind = architecture["kind"]
    return abs(kind["tuned"]["x"] - 0.73) if isinstance(kind, dict) and "tuned" in kind else 1.0


ASKS = {"random": 200, "tpe": 100, "nsga2": 400, "nsga3": 400, "gp": 30, "cmaes": 250}
ASKS |= {"regularized_evolution": 150, "pareto_evolution": 150}


def late_losses(name: str, seed: int, odd: bool) -> list[float]:
    """The losses of the last fifth of a search's proposals; `odd`: now and then a trial's loss is infinite."""
    strategy, losses = made(name, SMALL, 1, seed), []
    for turn in range(ASKS[name]):
        losses.append(inner(strategy.ask(turn).architecture))
        strategy.tell(turn, [math.inf if odd and turn % 9 == 4 else losses[-1]])
    return losses[-ASKS[name] // 5 :]


FOUND = [(name, odd) for name in ASKS if name not in ("gp", "random") for odd in (False, True)]


@pytest.mark.parametrize(("name", "odd"), [*FOUND, pytest.param("gp", True, marks=pytest.mark.slow)])
def test_a_decision_under_one_option_is_found_and_kept_to(name: str, odd: bool) -> None:
    seeds = (0,) if name == "gp" else (0, 1, 2)
    mean = statistics.mean(loss for seed in seeds for loss in late_losses(name, seed, odd))
    # Random search chooses `tuned` one time in three: 2/3 * 1 + 1/3 * E|x - 0.73| = 0.77.
    assert statistics.mean(late_losses("random", 0, odd)) > 0.65
    assert mean < 0.4


def test_what_breaks_a_constraint_is_proposed_less() -> None:
    shares = {}
    for name in ("random", "tpe"):
        broken = []
        for seed in range(3):
            strategy = made(name, SMALL, 1, seed)
            for turn in range(90):
                architecture = strategy.ask(turn).architecture
                broken.append(len(architecture["blocks"]) == 2)
                if broken[-1]:
                    strategy.tell(turn, None, feasible=False)
                else:
                    strategy.tell(turn, [Random(turn).random()])
        shares[name] = statistics.mean(broken[i] for i in range(len(broken)) if i % 90 >= 45)
    assert shares["tpe"] < 0.6 * shares["random"]


def feed(strategy: Strategy, turns: range, *, feasible: bool = True) -> Iterator[float]:
    """Ask and tell; gives the processor seconds of each ask."""
    for turn in turns:
        begin = time.process_time()
        proposal = strategy.ask(turn)
        yield time.process_time() - begin
        strategy.tell(turn, [badness(proposal.architecture, 0)] if feasible else None, feasible=feasible)


@pytest.mark.parametrize("feasible", [True, False], ids=["judged", "infeasible"])
def test_an_ask_of_tpe_does_not_grow_with_the_study(feasible: bool) -> None:
    old, young = (make_strategy("tpe", SMALL, 1, 0, {"window": 40}) for _ in range(2))
    sum(feed(old, range(400), feasible=feasible))
    sum(feed(young, range(40), feasible=feasible))
    in_turns = zip(
        feed(old, range(400, 480), feasible=feasible), feed(young, range(40, 120), feasible=feasible), strict=True
    )
    assert statistics.median(late / early for late, early in in_turns) < 2


def test_optuna_is_given_what_the_window_leaves_of_a_long_study_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []

    def noting(**described: Any) -> Any:
        given.append(described)
        return create_trial(**described)

    monkeypatch.setattr("nas.strategies.sampled.create_trial", noting)
    strategy = make_strategy("tpe", SMALL, 1, 0, {"window": 40})
    for turn in range(1000):
        strategy.remember(Proposal(turn, SMALL.draw(Random(turn))))
        if turn < 997:
            broken = turn % 10 == 5
            strategy.tell(turn, None if broken else [abs(turn - 300.0)], feasible=not broken)
    assert not given
    strategy.ask(1000)
    assert 40 <= len(given) < 100  # at most 80 judged, 3 under way, and the failed halves of those infeasible
    assert [each["state"] for each in given].count(TrialState.RUNNING) == 3
    assert 0.0 in [each["values"][0] for each in given if each["values"]]


@pytest.mark.parametrize("objectives", [1, 2])
def test_a_rebuilt_tpe_decides_alike_though_its_window_has_moved_on(objectives: int) -> None:
    def go_on(strategy: Strategy, turns: range) -> list[Proposal]:
        proposed = []
        for turn in turns:
            proposed.append(strategy.ask(turn))
            losses = [badness(proposed[-1].architecture, k) for k in range(objectives)]
            strategy.tell(turn, None if turn % 7 == 3 else losses, feasible=turn % 7 != 3)
        return proposed

    live, again = (make_strategy("tpe", SMALL, objectives, 5, {"window": 12}) for _ in range(2))
    for proposal in go_on(live, range(60)):
        again.remember(proposal)
        losses = [badness(proposal.architecture, k) for k in range(objectives)]
        again.tell(proposal.turn, None if proposal.turn % 7 == 3 else losses, feasible=proposal.turn % 7 != 3)
    assert go_on(live, range(60, 90)) == go_on(again, range(60, 90))


def test_the_window_of_tpe_keeps_the_best_the_latest_and_what_is_under_way() -> None:
    kept, forgetful = make_strategy("tpe", SMALL, 1, 3, {"window": 40}), []
    pending = [kept.ask(turn) for turn in range(10_000, 10_005)]
    for turn in range(300):
        proposal = kept.ask(turn)
        kept.tell(turn, [inner(proposal.architecture)])
        forgetful.append(inner(proposal.architecture))
    assert statistics.mean(forgetful[-60:]) < 0.5
    for proposal in pending:
        kept.tell(proposal.turn, [inner(proposal.architecture)])
    kept.tell(pending[0].turn, [0.0])  # told already: without effect
    SMALL.trace(kept.ask(20_000).architecture)


def test_a_strategy_rebuilt_across_its_window_decides_alike() -> None:
    for objectives in (1, 2):
        crowd = Crowd(make_strategy("tpe", SMALL, objectives, 7, {"window": 20}), objectives, Random(1))
        crowd.run(150)
        other = rebuilt("tpe", objectives, crowd.past, window=20)
        assert [other.ask(turn) for turn in range(900, 910)] == [crowd.strategy.ask(turn) for turn in range(900, 910)]


@pytest.mark.parametrize(("name", "objectives"), QUICK)
def test_nothing_is_printed(name: str, objectives: int, capfd: pytest.CaptureFixture[str]) -> None:
    Crowd(made(name, SMALL, objectives, 2), objectives, Random(4)).run(30)
    assert capfd.readouterr() == ("", "")


def test_another_answer_than_the_recorded_one_is_said_and_the_search_goes_on() -> None:
    strategy = make_strategy("nsga2", SMALL, 1, 0)
    foreign = Proposal(0, make_strategy("nsga2", SMALL, 1, 99).ask(0).architecture)
    with pytest.warns(UserWarning, match="answers otherwise than when this study began"):
        strategy.remember(foreign)
    strategy.tell(0, [1.0])
    SMALL.trace(strategy.ask(1).architecture)


def test_a_strategy_for_one_objective_names_those_for_several() -> None:
    with pytest.raises(SettingsError, match=r"'cmaes' .* several objectives \(got 2\): name one .*, or use .*nsga2"):
        make_strategy("cmaes", SMALL, 2, 0)


def test_an_unknown_strategy_is_named_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match=r"unknown strategy 'tpee': did you mean tpe\?"):
        make_strategy("tpee", SMALL, 1, 0)


def draws(name: str, count: int) -> list[Any]:
    strategy = made(name, SMALL, 1, 0)
    return [strategy.ask(turn).architecture for turn in range(count)]


def test_random_search_draws_every_option_evenly() -> None:
    kinds = [a["kind"] if isinstance(a["kind"], str) else next(iter(a["kind"])) for a in draws("random", 1500)]
    for kind in ("plain", "tuned", "other"):
        assert 430 < kinds.count(kind) < 570  # 500, and four deviations of 18
