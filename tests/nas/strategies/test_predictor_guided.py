"""Guided search: which of several proposals is trained, by scores, by a surrogate, or by both."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import pytest

from nas.plans.search import strategy_of
from nas.settings import Ensemble, Settings, SettingsError
from nas.strategies import Chooser, Finder, Proposal, Strategy, make_strategy
from nas.strategies.predictor_guided import NOTE, Guided, guided
from predictors import Predictor
from search_spaces import registry
from search_spaces.decisions import Architecture, Choice, Integer, Real, Struct, canonical
from search_spaces.registry import Entry, UnknownName, entries
from search_spaces.space import Space

pytestmark = pytest.mark.filterwarnings("error")

SPACE = Space(
    "guided",
    "a condition and numbers",
    Struct(
        **{f"edge_{i}": Choice("none", "skip", "small", "large") for i in range(5)},
        kind=Choice("plain", tuned=Struct(rate=Real(0, 1), order=Integer(1, 6))),
    ),
    lambda a, s: pytest.fail("nothing is built"),
)
PLAIN = Space("plain", "for what takes neither conditions nor real numbers", Struct(a=Choice(*range(9))), SPACE.make)
WORTH = {"none": 0.0, "skip": 0.2, "small": 0.6, "large": 1.0}
BLOCK = 4096

Score = Callable[[Architecture], float | None]


def loss(architecture: Architecture) -> float:
    kind = architecture["kind"]
    inner = 1.0 if kind == "plain" else 2 * abs(kind["tuned"]["rate"] - 0.7) + kind["tuned"]["order"] / 20
    return inner - sum(WORTH[architecture[f"edge_{i}"]] for i in range(5))


@dataclass
class Plan:
    """Works a strategy as a study does: asks, has scored, chooses, tells; keeps what a store would."""

    strategy: Strategy
    score: dict[str, Score] = field(default_factory=dict)  # by column
    fate: Callable[[Proposal], tuple[Sequence[float] | None, bool]] = lambda p: ([loss(p.architecture)], True)
    takes: int = 0
    counts: list[int] = field(default_factory=list)
    trained: list[Proposal] = field(default_factory=list)
    past: list[Any] = field(default_factory=list)

    def take(self) -> Proposal:
        first = self.takes * BLOCK
        self.takes += 1
        chooser = self.strategy if isinstance(self.strategy, Chooser) else None
        wanted = chooser.count(first) if chooser else 1
        self.counts.append(wanted)
        proposals = [found for i in range(wanted) if (found := self.strategy.ask(first + i)) is not None]
        best = proposals[0]
        if chooser and wanted > 1:
            measured = [{name: score(p.architecture) for name, score in self.score.items()} for p in proposals]
            best = proposals[chooser.choose(proposals, measured)]
        for proposal in proposals:
            if proposal is not best:
                self.strategy.tell(proposal.turn, None)
        self.trained.append(best)
        self.past.append(best)
        return best

    def end(self, proposal: Proposal) -> None:
        losses, feasible = self.fate(proposal)
        self.strategy.tell(proposal.turn, losses, feasible=feasible)
        self.past.append((proposal.turn, losses, feasible))

    def run(self, trials: int) -> list[Proposal]:
        for _ in range(trials):
            self.end(self.take())
        return self.trained

    def best(self, trials: int) -> float:
        return min(loss(proposal.architecture) for proposal in self.run(trials))


def products(rows: Sequence[Sequence[float]]) -> list[float]:
    """The product of places, so that nothing but the best in both parts is the best."""
    return [math.prod(1 + sum(other[k] < row[k] for other in rows) for k in range(2)) for row in rows]


@pytest.fixture
def scorers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three predictors that are known by name, the last a combination; the plan of a test computes their scores."""
    registry.entries("predictor")
    for name, parts in (("first", ()), ("second", ()), ("both", ("left", "right"))):
        pool = products if parts else None
        made = Predictor(
            name, "for tests", lambda *given: pytest.fail("nothing is built"), cost="nothing", parts=parts, pool=pool
        )
        monkeypatch.setitem(registry._entries["predictor"], name, Entry("predictor", name, made, "for tests"))


def make(predictors: str = "surrogate", seed: int = 0, objectives: int = 1, **options: Any) -> Strategy:
    settings = {"predictors": predictors, "model": "process", **options}
    return make_strategy("predictor_guided", SPACE, objectives, seed, settings)


def bases() -> list[str]:
    """The strategies that neither choose among their proposals nor train supernets."""
    found = []
    for name, entry in entries("strategy").items():
        space = SPACE if not {"conditions", "real numbers"} & entry.lacks else PLAIN
        try:
            made = make_strategy(name, space, 1, 0)
        except SettingsError:  # it trains supernets, and these spaces have none
            continue
        if not isinstance(made, Chooser | Finder):
            found.append(name)
    assert {"random", "tpe", "nsga2", "gp", "cmaes", "surrogate"} <= set(found)
    return found


@pytest.mark.parametrize("name", bases())
def test_it_wraps_every_strategy_that_does_not_choose_itself(name: str) -> None:
    whole = not {"conditions", "real numbers"} & entries("strategy")[name].lacks
    space = SPACE if whole else PLAIN
    candidates = 2 if name == "gp" else 4
    options = {"base": name, "candidates": candidates, "exploration": 0.0, "model": "process"}
    plan = Plan(make_strategy("predictor_guided", space, 1, 0, options))
    plan.fate = lambda p: ([loss(p.architecture) if whole else float(p.architecture["a"])], True)
    for proposal in plan.run(14 if whole else 5):
        space.trace(proposal.architecture)
    assert plan.counts[:10] == [1] * len(plan.counts[:10])
    assert not whole or plan.counts[10:] == [candidates] * 4


@pytest.mark.parametrize("base", ["random", "nsga2"])
def test_a_surrogate_makes_its_base_better(base: str) -> None:
    ours = [Plan(make(seed=seed, base=base, candidates=20)).best(30) for seed in range(4)]
    alone = [Plan(make_strategy(base, SPACE, 1, seed)).best(30) for seed in range(4)]
    assert statistics.mean(ours) < statistics.mean(alone) - 0.3


@pytest.mark.usefixtures("scorers")
def test_scores_make_their_base_better_from_the_first_trial_on() -> None:
    def score(architecture: Architecture) -> float:
        return -loss(architecture) + Random(canonical(architecture)).gauss(0, 0.3)

    ours = [Plan(make("first", seed, candidates=20), {"first": score}).best(8) for seed in range(20)]
    alone = [Plan(make_strategy("random", SPACE, 1, seed)).best(8) for seed in range(20)]
    assert statistics.mean(ours) < statistics.mean(alone) - 0.5


@pytest.mark.usefixtures("scorers")
def test_the_surrogate_learns_what_a_part_of_a_combination_says() -> None:
    """Half of a loss is luck that no decision tells of and one part does, turned round and on another scale."""

    def luck(architecture: Architecture) -> float:
        return Random(canonical(architecture)).random() * 3

    def late(predictors: str, seed: int) -> float:
        scores: dict[str, Score] = {
            "both.left": lambda a: math.exp(9 * luck(a)),
            "both.right": lambda a: Random(f"other {canonical(a)}").choice([0.0, 1.0, None]),
        }
        plan = Plan(make(predictors, seed, candidates=20), scores)
        plan.fate = lambda p: ([loss(p.architecture) + luck(p.architecture)], True)
        return statistics.mean(loss(p.architecture) + luck(p.architecture) for p in plan.run(50)[30:])

    means = {
        names: statistics.mean(late(names, seed) for seed in range(2)) for names in ("surrogate", "both+surrogate")
    }
    assert means["both+surrogate"] < means["surrogate"] - 0.3


def chosen(predictors: str, scores: dict[str, Sequence[float | None]]) -> int:
    """Return which of some proposals a new strategy chooses, by their scores in each column."""
    strategy = make(predictors, candidates=len(next(iter(scores.values()))))
    assert isinstance(strategy, Chooser)
    rows = [dict(zip(scores, row, strict=True)) for row in zip(*scores.values(), strict=True)]
    return strategy.choose([found for turn in range(len(rows)) if (found := strategy.ask(turn))], rows)


@pytest.mark.usefixtures("scorers")
def test_the_best_by_score_is_chosen_and_what_has_none_is_last() -> None:
    assert chosen("first", {"first": (1.0, 3.0, 2.0)}) == 1
    assert chosen("first", {"first": (None, -5.0)}) == 1
    assert chosen("first", {"first": (2.0, 2.0)}) == 0
    assert chosen("first", {"first": (None, None)}) == 0


@pytest.mark.usefixtures("scorers")
@pytest.mark.parametrize("predictors", ["first+second", "first+second+surrogate", "learned:first+second"])
def test_several_scores_are_averaged_by_rank_where_nothing_is_learned(predictors: str) -> None:
    """Ranks by hand: 0 + 3, 3 + 0, 2 + 2, 1 + 1."""
    assert chosen(predictors, {"first": (1.0, 1e9, 3.0, 2.0), "second": (40.0, 10.0, 30.0, 20.0)}) == 2


@pytest.mark.usefixtures("scorers")
def test_a_combination_ranks_its_proposals_among_each_other() -> None:
    """Products of places by hand: 1 x 4, 2 x 3, 3 x 2, 4 x 1, and by rank with the other the second of the best."""
    parts = {"both.left": (1.0, 2.0, 3.0, 4.0), "both.right": (90.0, 80.0, 70.0, 60.0)}
    assert chosen("both", parts) == 1
    assert chosen("first+both", parts | {"first": (0.0, 1.0, 2.0, 0.0)}) == 2
    assert chosen("both", {"both.left": (5.0, 2.0, 1.0), "both.right": (None, 1.0, 2.0)}) == 1


@pytest.mark.usefixtures("scorers")
def test_learned_weights_find_the_predictor_that_is_right() -> None:
    """One score is right and three are of chance, of which a mean of ranks makes little."""

    def chance(name: str) -> Score:
        return lambda a: Random(name + canonical(a)).random()

    scores: dict[str, Score] = {"first": lambda a: -loss(a), "second": chance("s")}
    scores |= {f"both.{side}": chance(side) for side in ("left", "right")}

    def late(predictors: str, seed: int) -> float:
        plan = Plan(make(predictors, seed, candidates=10, exploration=0.0), scores)
        return statistics.mean(loss(p.architecture) for p in plan.run(60)[40:])

    means = {
        learned: statistics.mean(late(f"{learned}first+second+both", seed) for seed in range(2))
        for learned in ("", "learned:")
    }
    best = statistics.mean(late("first", seed) for seed in range(2))
    assert means["learned:"] < means[""] - 0.3 and means["learned:"] < best + 0.1


@pytest.mark.usefixtures("scorers")
def test_weights_are_learned_of_the_non_dominated_rank() -> None:
    """Of two objectives at odds one score tells the first, the other which trials are beaten: that one is followed."""
    strategy = make("learned:first+second", objectives=2, candidates=2, exploration=0.0)
    assert isinstance(strategy, Chooser)
    for turn in range(60):
        pair = [proposal for i in range(2) if (proposal := strategy.ask(BLOCK * turn + i))]
        beaten, place = divmod(turn, 6)
        best = strategy.choose(pair, [{"first": -place, "second": -beaten}] * 2)
        strategy.tell(pair[best].turn, [beaten + 3 * place, beaten + 15 - 3 * place])
    pair = [proposal for i in range(2) if (proposal := strategy.ask(BLOCK * 99 + i))]
    assert strategy.choose(pair, [{"first": 9, "second": -7}, {"first": -9, "second": -3}]) == 1
    assert strategy.choose(pair, [{"first": -9, "second": -3}, {"first": 9, "second": -7}]) == 0


@pytest.mark.usefixtures("scorers")
@pytest.mark.parametrize("odd", [None, math.nan, math.inf])
def test_a_score_that_is_no_number_is_kept_as_none(odd: float | None) -> None:
    strategy = make("first+second+surrogate", candidates=3, exploration=0.0)
    plan = Plan(strategy, {"first": lambda a: odd, "second": lambda a: -loss(a)})
    for proposal in plan.run(25):
        first, second = proposal.note[NOTE]
        assert first is None and second == -loss(proposal.architecture)


def test_the_share_of_explorations_is_kept() -> None:
    strategy = make(candidates=5, exploration=0.3)
    assert isinstance(strategy, Chooser)
    Plan(strategy).run(12)
    explored = sum(strategy.count(turn * BLOCK) == 1 for turn in range(2000))
    assert abs(explored - 600) < 4 * math.sqrt(2000 * 0.3 * 0.7)
    assert [make(exploration=1.0, predictors="gradsign").count(t) for t in range(50)] == [1] * 50  # type: ignore[attr-defined]


def test_an_exploration_is_the_next_proposal_of_the_base() -> None:
    plan = Plan(make(seed=3, candidates=5, exploration=0.3))
    plan.run(40)
    base = make_strategy("random", SPACE, 1, 3)
    alone = [i for i, count in enumerate(plan.counts) if count == 1]
    assert len(alone) > 15
    for i in alone:
        assert plan.trained[i] == base.ask(i * BLOCK)


@pytest.mark.usefixtures("scorers")
@pytest.mark.parametrize(
    ("predictors", "base"),
    [
        ("surrogate", "random"),
        ("first", "tpe"),
        ("first+both", "nsga2"),
        ("first+both+surrogate", "tpe"),
        ("first+both+surrogate", "nsga2"),
        ("learned:first+second+both", "random"),
        ("learned:first+second+both", "nsga2"),
    ],
)
def test_rebuilt_from_its_history_it_chooses_the_same(predictors: str, base: str) -> None:
    scores: dict[str, Score] = {
        "first": lambda a: -loss(a),
        "second": lambda a: None if a["kind"] == "plain" else a["kind"]["tuned"]["rate"],
        "both.left": lambda a: -loss(a),
        "both.right": lambda a: Random(canonical(a)).choice([0.0, 1.0, None]),
    }
    rng = Random(1)

    def fate(proposal: Proposal) -> tuple[Sequence[float] | None, bool]:
        chance = rng.random()
        return ([loss(proposal.architecture), chance], True) if chance > 0.2 else (None, chance > 0.1)

    plan = Plan(make(predictors, 2, 2, base=base, candidates=4), scores, fate)
    open_: list[Proposal] = []
    for _ in range(36):
        open_.append(plan.take())
        while len(open_) > rng.randrange(1, 4):
            plan.end(open_.pop(rng.randrange(len(open_))))
    other = Plan(make(predictors, 2, 2, base=base, candidates=4), scores, takes=plan.takes)
    for each in plan.past:
        if isinstance(each, Proposal):
            other.strategy.remember(Proposal(each.turn, each.architecture, dict(each.note)))
        else:
            other.strategy.tell(each[0], each[1], feasible=each[2])
    assert [other.take() for _ in range(4)] == [plan.take() for _ in range(4)]
    assert other.counts[-4:] == plan.counts[-4:]


@pytest.mark.parametrize(
    "fate", [(None, True), (None, False), ([math.inf], True)], ids=["failed", "broken", "infinite"]
)
def test_a_search_in_which_nothing_succeeds_goes_on(fate: tuple[list[float] | None, bool]) -> None:
    plan = Plan(make(candidates=3), fate=lambda p: fate)
    plan.run(30)
    assert plan.counts == [1] * 30


@pytest.mark.usefixtures("scorers")
def test_the_base_sees_its_own_notes_alone() -> None:
    seen: list[Proposal] = []

    class Base:
        ask = tell = lambda self, *args, **named: None

        def remember(self, proposal: Proposal) -> None:
            seen.append(proposal)

    own = Proposal(3, SPACE.draw(Random(0)), {"genes": [1]})
    made = guided(Base(), SPACE, 1, 0, "first+surrogate", 4, name="base")
    made.remember(replace(own, note={"genes": [1], NOTE: [0.5]}))
    assert seen == [own]


def test_candidates_do_not_count_as_under_way_until_one_is_chosen() -> None:
    strategy = make(candidates=4, exploration=0.0)
    assert isinstance(strategy, Guided) and strategy._learner is not None
    Plan(strategy).run(12)
    assert strategy.count(99 * BLOCK) == 4
    proposals = [proposal for i in range(4) if (proposal := strategy.ask(99 * BLOCK + i))]
    assert all(strategy._learner.fresh(SPACE.trace(each.architecture)) for each in proposals)
    chosen = strategy.choose(proposals, [{}] * len(proposals))
    assert [strategy._learner.fresh(SPACE.trace(each.architecture)) for each in proposals].index(False) == chosen


def test_what_the_base_waits_for_is_waited_for() -> None:
    class Waiting:
        def ask(self, turn: int) -> Proposal | None:
            return None

        remember = tell = lambda self, *args, **named: None

    assert Guided(Waiting(), SPACE, 1, 0, Ensemble(("surrogate",)), 3).ask(0) is None


def test_the_short_form_ranks_without_exploration() -> None:
    for screen, predictors in (
        ("gradsign:7", ("gradsign",)),
        ("gradsign+surrogate:7", ("gradsign",)),
        ("learned:gradsign+params:7", ("gradsign", "params")),
        ("surrogate:7", ()),
    ):
        settings = Settings(strategy="random", screen=screen, objectives=("accuracy",))
        strategy = strategy_of(settings, SPACE)
        assert isinstance(strategy, Chooser) and strategy.predictors == predictors
        wanted = 7 if predictors else 1
        assert [strategy.count(turn * BLOCK) for turn in range(100)] == [wanted] * 100
    Plan(strategy).run(10)
    assert [strategy.count(turn * BLOCK) for turn in range(100)] == [7] * 100


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"predictors": "gradsing"}, r"unknown predictor 'gradsing': did you mean gradsign"),
        ({"predictors": ""}, "predictors '' does not parse: join names by"),
        ({"predictors": "surrogate+surrogate"}, "'surrogate\\+surrogate' names one twice: name each once"),
        ({"predictors": "gradsign+"}, r"predictors 'gradsign\+' does not parse: join names by"),
        (
            {"predictors": "rank:gradsign"},
            "'rank:gradsign' does not parse: join names by \\+, as gradsign\\+synflow or",
        ),
        ({"predictors": "learned:gradsign"}, "'learned:gradsign' does not name what to weigh: write two zero-cost"),
        ({"predictors": "learned"}, "'learned' does not name what to weigh: write two zero-cost"),
        ({"predictors": "learned:gradsign+surrogate"}, "the surrogate learns from scores by itself, as gradsign"),
        ({"predictors": "learned:gradsign+gradsing"}, r"unknown predictor 'gradsing': did you mean gradsign"),
        ({"predictors": 3}, "predictors"),
        ({"base": "nobody"}, "unknown strategy 'nobody'"),
        ({"base": "predictor_guided"}, "cannot be screened, since it chooses among them itself"),
        ({"candidates": 1}, "candidates is 1, but an integer from 2 to 1000"),
        ({"exploration": -0.1}, "exploration is -0.1, but a number from 0 to 1"),
        ({"chosen": 1}, "no option 'chosen': it has candidates, exploration, model, base, predictors"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], error: str) -> None:
    with pytest.raises((SettingsError, UnknownName), match=error):
        make_strategy("predictor_guided", SPACE, 1, 0, options)


def test_a_base_for_one_objective_is_refused_for_two() -> None:
    with pytest.raises(SettingsError, match="'cmaes' does not do several objectives"):
        make(objectives=2, base="cmaes")


def test_a_strategy_that_chooses_itself_is_not_screened() -> None:
    with pytest.raises(SettingsError, match="proposals of predictor_guided cannot be screened"):
        strategy_of(Settings(strategy="predictor_guided", screen="gradsign:4", objectives=("accuracy",)), SPACE)
