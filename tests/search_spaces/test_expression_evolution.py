"""The variation of expressions, and the evolutionary search."""

import doctest
from random import Random

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from search_spaces.expressions import evolution
from search_spaces.expressions.evolution import Evolution, evolve, fit
from search_spaces.expressions.primitives import BINARY, UNARY
from search_spaces.expressions.simplify import simplify
from search_spaces.expressions.stability import instability
from search_spaces.expressions.text import parse, show
from search_spaces.expressions.tree import Binary, Tree, Unary, depth, evaluate, size, subtrees
from search_spaces.expressions.variation import crossover, grow, mutate


@pytest.mark.parametrize("levels", [1, 2, 5])
def test_drawn_expressions_keep_to_their_levels(levels: int) -> None:
    drawn = [grow(Random(seed), levels) for seed in range(200)]
    assert max(map(depth, drawn)) == levels
    assert drawn == [grow(Random(seed), levels) for seed in range(200)]
    assert len(set(drawn)) > (4 if levels == 1 else 30)


def test_no_level_is_refused() -> None:
    with pytest.raises(ValueError, match="an expression has at least 1 level, but got 0"):
        grow(Random(0), 0)


def test_a_mutation_changes_the_tree_within_its_levels_in_every_way() -> None:
    tree = parse("x*tanh(0.5+x)")
    children = {show(mutate(tree, Random(seed), 5)) for seed in range(800)}
    assert show(tree) not in children and max(depth(parse(child)) for child in children) <= 5
    assert "x*sin(0.5+x)" in children, "a primitive is swapped"
    assert "x*tanh(x)" in children, "a node is left out"
    assert "tanh(0.5+x)" in children, "a node is left out"
    assert any(child.startswith("x*tanh(0.4") for child in children), "a constant is moved"
    assert any(size(parse(child)) > size(tree) for child in children), "a node is added"
    assert mutate(tree, Random(7), 5) == mutate(tree, Random(7), 5)


def test_mutations_reach_every_primitive() -> None:
    children = {mutate(parse("x"), Random(seed), 2) for seed in range(2000)}
    assert {Unary(name, parse("x")) for name in UNARY} <= children
    assert {Binary(name, parse("x"), parse("x")) for name in BINARY} <= children


def test_a_crossover_exchanges_subtrees() -> None:
    one, other = parse("x*tanh(x)"), parse("sin(cos(exp(x)))+3")
    for seed in range(100):
        first, second = crossover(one, other, Random(seed), 9)
        assert size(first) + size(second) == size(one) + size(other)
        names = sorted(getattr(node, "name", "") for child in (first, second) for node in subtrees(child))
        assert names == sorted(getattr(node, "name", "") for parent in (one, other) for node in subtrees(parent))
    pairs = {crossover(one, other, Random(seed), 9) for seed in range(300)}
    assert (parse("x*cos(exp(x))"), parse("sin(tanh(x))+3")) in pairs


def test_a_crossover_keeps_to_its_levels() -> None:
    deep, flat = parse("sin(sin(sin(x)))"), parse("x*x")
    for seed in range(100):
        first, second = crossover(deep, flat, Random(seed), 4)
        assert max(depth(first), depth(second)) <= 4
    assert any(crossover(deep, flat, Random(seed), 4)[1] is flat for seed in range(100))


@pytest.mark.parametrize("seed", range(5))
def test_silu_is_found_again_from_its_samples(seed: int) -> None:
    x = torch.linspace(-5, 5, 101, dtype=torch.float64)
    found = fit(x, functional.silu(x), Random(seed))
    beyond = torch.linspace(-30, 30, 997, dtype=torch.float64)
    torch.testing.assert_close(evaluate(found.tree, beyond), functional.silu(beyond), rtol=1e-9, atol=1e-9)
    assert show(found.tree) == "x*sigmoid(x)"
    assert found.judged < Evolution().trials


def test_the_same_seed_finds_the_same() -> None:
    x = torch.linspace(-3, 3, 50)
    how = Evolution(population=40, trials=300)
    founds = [fit(x, functional.hardswish(x), Random(seed), how) for seed in (3, 3, 4)]
    assert founds[0] == founds[1] != founds[2]


def test_only_stable_expressions_are_judged_and_none_twice_until_the_search_is_over() -> None:
    judged: list[Tree] = []

    def loss(tree: Tree) -> float:
        judged.append(tree)
        return float("nan") if size(tree) % 3 else 1.0 / size(tree)

    how = Evolution(population=30, trials=400, price=0, patience=100)
    found = evolve(loss, Random(0), how)
    assert all(instability(tree) is None and simplify(tree) == tree for tree in judged)
    assert len(set(judged[:400])) == found.judged == 400
    assert all(depth(tree) <= how.levels for tree in judged)
    assert found.rejected > 100
    assert found.loss == min(1 / size(tree) for tree in judged[:400] if size(tree) % 3 == 0)


def test_what_the_best_expression_does_not_need_is_taken_out() -> None:
    x = torch.linspace(-4, 4, 41, dtype=torch.float64)
    best = evolution._judged(
        parse("min(235, x*min(sigmoid(x), softplus(x)))"), lambda tree: loss_of_silu(tree, x), Evolution()
    )
    pruned = evolution._pruned(best, lambda tree: loss_of_silu(tree, x), Evolution())
    assert show(pruned.tree) == "x*sigmoid(x)"


def loss_of_silu(tree: Tree, x: Tensor) -> float:
    return (evaluate(tree, x) - functional.silu(x)).square().mean().item()


def test_a_search_that_stalls_begins_anew() -> None:
    """Where size is rewarded expressions grow for good, unless those just drawn take over again and again."""
    sizes: list[int] = []

    def loss(tree: Tree) -> float:
        sizes.append(size(tree))
        return 0.5

    means = []
    for patience in (1000, 25):
        sizes.clear()
        evolve(loss, Random(1), Evolution(population=20, trials=300, price=-1e-3, patience=patience, levels=6))
        means.append(np.mean(sizes[150:300]))
    assert means[1] < 0.8 * means[0]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"population": 0}, "population must be at least 1, but got 0"),
        ({"trials": -1}, "trials must be at least 1, but got -1"),
        ({"population": 4, "tournament": 5}, "a tournament of 5 needs a population of as many, not 4"),
    ],
)
def test_settings_that_cannot_be_are_refused(fields: dict[str, int], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Evolution(**fields)  # type: ignore[arg-type]


def test_samples_that_do_not_pair_are_refused() -> None:
    with pytest.raises(ValueError, match="as many samples of y as of x, two at least, are asked, but got 2 and 3"):
        fit(torch.zeros(3), torch.zeros(2), Random(0))


def test_the_examples_of_the_documentation() -> None:
    assert doctest.testmod(evolution).failed == 0 < doctest.testmod(evolution).attempted
