from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product
from random import Random
from typing import Any

import pytest
from supernet_space import SMALL, TASK, TOY, architecture, block, space

from nas import pareto
from nas.job import Infeasible
from nas.supernet import search
from nas.supernet.bank import Supernet, network_part
from nas.supernet.errors import SupernetError
from nas.supernet.recalibration import judge
from nas.supernet.search import Found, SubnetSettings, Subnetwork, Target, in_turns, measured, subnet_search
from nas.supernet.training import SupernetSettings, train_supernet
from nas.training.measures import measure
from search_spaces.decisions import Trace, canonical
from search_spaces.space import find_space


def width(drawn: Any) -> float:
    return float(drawn["network"]["width"] * len(drawn["network"]["blocks"]))


def stem(drawn: Any) -> float:
    return float(-drawn["network"]["stem"])


TARGETS = (Target("phone", width), Target("card", stem))


@pytest.fixture(scope="module")
def bank() -> Supernet:
    trained = Supernet(TOY, TASK)
    list(train_supernet(trained, 6, SupernetSettings(batch=32, rate=0.1, probes=0), within=SMALL))
    return trained


def everything() -> list[Any]:
    blocks = [block(layer, wiring=wiring) for layer in ("conv2d", "linear") for wiring in ("plain", "residual")]
    stacks = [*product(blocks), *product(blocks, blocks)]
    return [architecture(*stack, stem=s, width=w) for stack in stacks for s in (4, 8) for w in (4, 8)]


def unbeaten(points: list[tuple[float, ...]]) -> set[tuple[float, ...]]:
    def beats(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
        return all(a <= b for a, b in zip(one, other, strict=True)) and one != other

    return {point for point in points if not any(beats(other, point) for other in points)}


def names(found: Found) -> list[str]:
    return [canonical(network_part(each.architecture)) for each in found.evaluated]


def test_a_search_of_everything_finds_the_fronts_of_brute_force(bank: Supernet) -> None:
    found = subnet_search(bank, TARGETS, SubnetSettings(evaluations=80, population=16), within=SMALL)
    assert len(set(names(found))) == len(found.evaluated) == len(everything()) == 80
    points = [(1 - judge(bank, each)[1], width(each), stem(each)) for each in everything()]
    phone, card = ([(each.error, each.costs[name]) for each in found.front(name)] for name in ("phone", "card"))
    assert set(phone) == unbeaten([(error, cost) for error, cost, _ in points])
    assert set(card) == unbeaten([(error, cost) for error, _, cost in points])
    assert [cost for _, cost in phone] == sorted(cost for _, cost in phone)
    joint = {(each.error, each.costs["phone"], each.costs["card"]) for each in found.joint()}
    assert joint == unbeaten(list(points))


def test_a_search_comes_nearer_to_the_front_than_as_many_random_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    vision = find_space("kan_vision")
    bank = Supernet(vision, TASK)
    target = Target("size", lambda drawn: float(sum(stage["width"] * stage["depth"] for stage in stages(drawn))))

    def stages(drawn: Any) -> Any:
        return drawn["network"]["stages"]

    def accuracy(drawn: Any) -> float:
        liked = [("conv" in str(stage["layer"])) + (stage["wiring"] == "residual") for stage in stages(drawn)]
        return float(0.1 * sum(liked) + 0.05 * sum(stage["depth"] for stage in stages(drawn)) / 3)

    def dominated(architectures: list[Any]) -> float:
        return pareto.hypervolume([(1 - accuracy(each), target.cost(each)) for each in architectures], (1.0, 600.0))

    monkeypatch.setattr(search, "judge", lambda bank, drawn, samples: (0.0, accuracy(drawn)))
    for seed in range(4):
        settings = SubnetSettings(evaluations=240, population=24, children=12, seed=seed)
        found = subnet_search(bank, [target], settings).evaluated
        drawn = [vision.draw(Random(1000 * seed + i)) for i in range(240)]
        assert dominated([each.architecture for each in found]) > 1.04 * dominated(drawn)


def test_a_search_is_the_same_each_time_and_another_with_another_seed(bank: Supernet) -> None:
    def run(seed: int) -> list[str]:
        return names(subnet_search(bank, TARGETS, SubnetSettings(24, 8, 4, seed=seed), within=SMALL))

    assert run(1) == run(1) != run(2)


def test_predictors_choose_which_children_are_evaluated(bank: Supernet) -> None:
    scored: list[list[tuple[float, str]]] = [[]]

    def score(drawn: Any) -> float:
        value = math.sin(hash_of(drawn))
        scored[-1].append((value, canonical(network_part(drawn))))
        return value

    def hash_of(drawn: Any) -> float:
        return float(sum(map(ord, canonical(network_part(drawn)))))

    told: list[str] = []

    def tell(each: Subnetwork) -> None:
        told.append(canonical(network_part(each.architecture)))
        if len(told) % 4 == 0:
            scored.append([])

    settings = SubnetSettings(evaluations=16, population=8, children=4, surplus=3)
    free = Target("free", lambda drawn: 0.0)
    subnet_search(bank, [free], settings, [lambda drawn: list(map(score, drawn))], within=SMALL, tell=tell)
    generations = [each for each in scored if each]
    assert [len(each) for each in generations] == [12, 12]
    for i, generation in enumerate(generations):
        best = sorted((value for value, _ in generation), reverse=True)[:4]
        evaluated = dict((name, value) for value, name in generation)
        assert sorted((evaluated[name] for name in told[8 + 4 * i : 12 + 4 * i]), reverse=True) == best


@pytest.mark.parametrize("odd", [None, math.nan])
def test_of_several_predictors_the_mean_rank_counts_and_what_has_no_score_is_last(
    bank: Supernet, odd: float | None
) -> None:
    seen: list[Any] = []

    def first(drawn: Any) -> list[float | None]:
        seen.extend(drawn)
        return [odd if each["network"]["stem"] == 8 else 1.0 for each in drawn]

    def second(drawn: Any) -> list[float | None]:
        return [float(each["network"]["stem"]) for each in drawn]

    free = Target("free", lambda drawn: 0.0)
    settings = SubnetSettings(evaluations=12, population=8, children=4, surplus=4)
    found = subnet_search(bank, [free], settings, [first, first, second], within=SMALL)
    assert {each["network"]["stem"] for each in seen} == {4, 8}
    assert {each.architecture["network"]["stem"] for each in found.evaluated[8:]} == {4}


def test_each_target_in_turn_takes_its_fittest() -> None:
    cheap, fast = [(0, 9), (1, 8), (2, 7), (3, 10)], [(0, 10), (1, 7), (2, 8), (3, 9)]
    # The fronts are {0, 1, 2} and {0, 1}; in each the ends come before what is crowded, and 3 is beaten.
    assert in_turns([cheap]) == [0, 2, 1, 3]
    assert in_turns([fast]) == [0, 1, 2, 3]
    assert in_turns([cheap, fast]) == [0, 2, 1, 3]
    assert in_turns([fast, cheap]) == [0, 1, 2, 3]


def test_the_most_promising_are_the_ends_of_the_fronts_of_the_targets_in_turn() -> None:
    rows = [(0.5, 9, 1), (0.1, 8, 8), (0.3, 2, 9), (0.4, 5, 7), (0.6, 9, 9)]
    trials = [Subnetwork(i, {}, 0.0, 1 - error, {"phone": a, "card": b}) for i, (error, a, b) in enumerate(rows)]
    # The front of the phone is {1, 2}, that of the card {0, 1, 3}; the last trial is beaten on both.
    assert [each.architecture for each in Found(("phone", "card"), trials).promising()] == [1, 0, 2, 3, 4]


def test_a_measured_target_is_the_cheap_objective_of_the_extracted_network(bank: Supernet) -> None:
    drawn = architecture(block("linear"), width=4)
    network = TOY.build(drawn, TASK)
    for name in ("params", "flops"):
        assert measured(bank, name).cost(drawn) == measure([name], network, TASK)[name]


def test_fixed_decisions_hold_in_all_generations(bank: Supernet) -> None:
    fixed: Trace = {"network.width": 4, "network.blocks[0].layer": "linear"}
    found = subnet_search(bank, TARGETS, SubnetSettings(30, 8, 4), within=SMALL, fixed=fixed)
    assert len(found.evaluated) > 8
    for each in found.evaluated:
        assert each.architecture["network"]["width"] == 4
        assert each.architecture["network"]["blocks"][0]["layer"] == "linear"


def test_subnetworks_that_cannot_be_built_are_left_out_and_counted() -> None:
    bank = Supernet(space("impossible"), TASK)
    found = subnet_search(bank, TARGETS, SubnetSettings(12, 8, 4))
    assert len(found.evaluated) == 12
    assert found.skipped > 0 and found.reason == "this layer cannot be built"
    with pytest.raises(Infeasible, match="this layer cannot be built"):
        subnet_search(bank, TARGETS, SubnetSettings(4, 4), fixed={"network.blocks[0].layer": "impossible"})


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (lambda bank: subnet_search(bank, []), "one or more"),
        (lambda bank: subnet_search(bank, [TARGETS[0], TARGETS[0]]), "different names"),
        (lambda bank: subnet_search(bank, [Target("lost", lambda drawn: math.nan)]), "cost of nan"),
        (lambda bank: subnet_search(bank, TARGETS, fixed={"network.depth": 1}), "no decision"),
        (lambda bank: Found(("phone",)).front("card"), "'card'"),
        (lambda bank: SubnetSettings(evaluations=0), "evaluations is 0"),
        (lambda bank: SubnetSettings(crossed=1.5), "crossed is 1.5"),
    ],
)
def test_what_cannot_be_searched_is_refused(bank: Supernet, run: Callable[[Supernet], Any], words: str) -> None:
    with pytest.raises(SupernetError, match=words):
        run(bank)
