import json
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import DataObject, SearchStrategy
from torch import nn

from search_spaces.decisions import (
    Choice,
    Decider,
    DecisionError,
    Domain,
    Integer,
    Real,
    Repeat,
    Struct,
    drawing,
    every,
    identity,
    mixable,
    replaying,
    resolve,
    trace_of,
)
from search_spaces.mixtures.answers import MIXTURE, Mixture, mixed
from search_spaces.mixtures.relaxation import mixing, pattern, relax, relaxable
from search_spaces.registry import choice
from search_spaces.space import Space, find_space

Trees = SearchStrategy[Struct]
LAYER = mixable(Choice("conv", "pool", kan=Struct(order=Integer(2, 3), basis=mixable(Choice("rbf", "fourier")))))
TREE = Struct(
    stem=mixable(Integer(8, 32, step=8)),
    stages=mixable(Repeat(Struct(layer=LAYER, drop=Real(0.0, 0.5)), 1, 3)),
    batch=Choice(32, 64),
)
FIXED = {"stem": 16, "stages#": 1, "stages[0].layer": "conv", "stages[0].drop": 0.0, "batch": 32}


def answered(mixtures: dict[str, Mixture], trace: dict[str, Any] | None = None) -> Decider:
    first: Decider = lambda path, domain: domain.options[0] if domain.options else 0.0  # noqa: E731
    return mixing(mixtures, replaying(FIXED | (trace or {}), first))


def test_a_mixture_of_a_choice_stands_in_the_architecture_with_all_options_and_their_inner_decisions() -> None:
    architecture, trace = resolve(TREE, answered({"stages[0].layer": MIXTURE}))
    options = ["conv", "pool", {"kan": {"order": 2, "basis": "rbf"}}]
    assert architecture == {
        "stem": 16,
        "stages": [{"layer": {"mixture": {"path": "stages[0].layer", "options": options}}, "drop": 0.0}],
        "batch": 32,
    }
    assert trace["stages[0].layer"] == MIXTURE
    assert trace["stages[0].layer:kan.order"] == 2


def test_a_mixture_of_a_length_holds_the_items_of_the_longest() -> None:
    architecture, trace = resolve(
        TREE, answered({"stages#": Mixture(1, 2), "stages[*].layer": Mixture("pool", "conv")})
    )
    layers = [{"mixture": {"path": f"stages[{i}].layer", "options": ["conv", "pool"]}} for i in range(2)]
    items = [{"layer": layer, "drop": 0.0} for layer in layers]
    assert architecture["stages"] == {"mixture": {"path": "stages#", "options": [1, 2], "items": items}}
    assert trace["stages#"] == Mixture(1, 2)
    assert trace["stages[1].layer"] == Mixture("conv", "pool")


def test_mixtures_lie_within_mixtures_and_numbers_have_all_their_steps() -> None:
    mixtures = {"stages[0].layer": MIXTURE, "stages[0].layer:kan.basis": MIXTURE, "stem": MIXTURE}
    architecture, _ = resolve(TREE, answered(mixtures))
    assert architecture["stem"] == {"mixture": {"path": "stem", "options": [8, 16, 24, 32]}}
    found = mixed(architecture["stages"][0]["layer"])
    assert found is not None and found.names == ("conv", "pool", "kan")
    inner = mixed(found.options[2]["kan"]["basis"])
    assert inner is not None and inner.path == "stages[0].layer:kan.basis" and inner.names == ("rbf", "fourier")


def test_a_mixture_of_all_options_by_name_is_the_mixture_of_all_and_another_subset_another_architecture() -> None:
    def of(mixture: Mixture) -> Any:
        return resolve(TREE, answered({"stages[0].layer": mixture}))

    assert of(Mixture("kan", "pool", "conv")) == of(MIXTURE)
    assert (
        len({identity(of(mixture)[0]) for mixture in (MIXTURE, Mixture("conv", "pool"), Mixture("conv", "kan"))}) == 3
    )


def marked(node: Domain) -> Domain:
    """Let every decision of a tree that has options be a mixture."""
    if isinstance(node, Struct):
        return Struct(**{name: marked(field) for name, field in node.fields.items()})
    if isinstance(node, Repeat):
        return mixable(Repeat(marked(node.item), node.low, node.high, node.tied))
    if isinstance(node, Choice):
        plain = [option for option in node.options if option not in node.inner]
        return mixable(Choice(*plain, **{str(name): marked(inner) for name, inner in node.inner.items()}))
    return mixable(node) if isinstance(node, Integer) else node


def relaxing(rng: Random) -> Decider:
    def decide(path: str, domain: Any) -> Any:
        if len(domain.options) < 2 or rng.random() < 0.5:
            return domain.draw(rng)
        return Mixture(*rng.sample(domain.options, rng.randint(2, len(domain.options))))

    return decide


@given(st.data(), st.integers(0, 2**32))
def test_a_relaxed_architecture_is_json_and_its_trace_leads_back_to_it(
    trees: Trees, data: DataObject, seed: int
) -> None:
    tree = marked(data.draw(trees))
    architecture, trace = resolve(tree, relaxing(Random(seed)))
    read = json.loads(json.dumps(architecture, allow_nan=False))
    assert list(trace_of(tree, read).items()) == list(trace.items())
    assert resolve(tree, replaying(trace, otherwise=drawing(Random(0)))) == (architecture, trace)


@pytest.mark.parametrize(
    ("mixtures", "message"),
    [
        ({"batch": MIXTURE}, "batch cannot be a mixture, because its options are plain values"),
        ({"stages[0].drop": MIXTURE}, "stages[0].drop cannot be a mixture, because a range of numbers has no options"),
        ({"stages[0].layer": MIXTURE, "stages[0].layer:kan.order": MIXTURE}, "layer:kan.order cannot be a mixture"),
        ({"stages[0].layer": Mixture("conv", "cnv")}, 'stages[0].layer is "cnv", but one of "conv", "pool", "kan"'),
        ({"stages[0].layer": Mixture("conv")}, "one of two options or more is asked"),
        ({"stem": Mixture(8, 12)}, "stem is 12, but an integer from 8 to 32 in steps of 8"),
    ],
)
def test_what_cannot_be_mixed_is_refused_by_name(mixtures: dict[str, Mixture], message: str) -> None:
    with pytest.raises(DecisionError) as caught:
        resolve(TREE, answered(mixtures))
    assert message in str(caught.value)


def test_the_refusal_says_what_to_do() -> None:
    with pytest.raises(DecisionError, match="fix it or let it be drawn"):
        resolve(TREE, answered({"batch": MIXTURE}))


def replaced(where: str, **fields: Any) -> Callable[[Any], Any]:
    def change(architecture: Any) -> Any:
        place = architecture["stages"][0]["layer"] if where == "layer" else architecture[where]
        place["mixture"] |= fields
        return architecture

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (replaced("layer", options=["pool", "conv"]), "in another order"),
        (replaced("layer", options=["conv"]), "two options or more"),
        (replaced("layer", options=["conv", "conv"]), "two options or more"),
        (replaced("layer", options=["conv", "kan"]), "without its inner decisions"),
        (replaced("layer", options=["conv", {"kan": {"order": 2, "basis": "sinc"}}]), 'basis is "sinc"'),
        (replaced("layer", path="stages[1].layer"), "holds a mixture of stages[1].layer"),
        (replaced("stem", options=[8, 9]), "stem is 9"),
    ],
)
def test_a_relaxed_architecture_that_is_wrong_is_refused_by_path(change: Any, message: str) -> None:
    architecture, _ = resolve(TREE, answered({"stages[0].layer": MIXTURE, "stem": MIXTURE}))
    with pytest.raises(DecisionError) as caught:
        trace_of(TREE, change(architecture))
    assert message in str(caught.value)


def test_a_mixture_where_none_can_be_and_a_list_of_the_wrong_length_are_refused() -> None:
    architecture, _ = resolve(TREE, answered({"stages#": Mixture(1, 3)}))
    with pytest.raises(DecisionError, match="batch cannot be a mixture"):
        trace_of(TREE, architecture | {"batch": {"mixture": {"path": "batch", "options": [32, 64]}}})
    architecture["stages"]["mixture"]["items"].pop()
    with pytest.raises(DecisionError, match="a list of 3 items is asked"):
        trace_of(TREE, architecture)


def test_a_choice_cannot_have_inner_decisions_under_the_name_that_marks_a_mixture() -> None:
    with pytest.raises(ValueError, match="'mixture'"):
        Choice("a", mixture=Struct())


def test_a_space_tells_what_can_be_relaxed_and_why_not() -> None:
    told = relaxable(find_space("kan_vision"))
    assert set(told) == set(every(find_space("kan_vision").tree))
    for path in (
        "network.stages#",
        "network.stem.width",
        "network.stem.layer",
        "network.head.layer",
        *(f"network.stages[3].{part}" for part in ("depth", "width", "layer", "norm", "activation", "wiring")),
        "network.stages[0].layer:kan_conv2d.basis",
        "network.stages[0].layer:kan_linear.basis",
    ):
        assert told[path] is None, path
    assert told["network.stages[0].sparsity"] == "masks have no weighted sum"
    for path in (
        "network.stages[0].layer:mbconv.expansion",
        "network.stages[0].layer:kan_conv2d.basis:bspline.intervals",
        "network.stages[0].layer:kan_attention.basis",
        "network.stages[0].sparsity:random.density",
        "network.head.pool",
        "network.head.dropout",
    ):
        assert told[path], path
    assert all(told[path] for path in told if path.startswith("training."))


def test_relaxing_takes_the_mixtures_of_the_space_and_refuses_ones_that_meet_nothing() -> None:
    space = Space("s", "", TREE, lambda a, s: nn.Identity(), mixtures={"stages[*].layer": Mixture("conv", "pool")})
    names = [mixed(stage["layer"]).names for stage in relax(space, answered({}, {"stages#": 3}))["stages"]]  # type: ignore[union-attr]
    assert names == [("conv", "pool")] * 3
    assert mixed(relax(space, answered({}), {"stem": MIXTURE})["stem"]) is not None
    with pytest.raises(ValueError, match=r"nothing of s is relaxed by mixtures at stages\[7\]\.layer"):
        relax(space, answered({}), {"stages[7].layer": MIXTURE})


def test_a_choice_among_components_may_be_a_mixture_and_one_among_plain_values_not() -> None:
    assert not choice("activation", "relu", "gelu").barrier
    assert choice("sparsity").barrier
    assert Choice("relu", "gelu").barrier


@pytest.mark.parametrize(
    ("path", "other", "same"),
    [
        ("stages[*].layer", "stages[12].layer", True),
        ("stages[*].layer", "stages[*].layer", True),
        ("stages[*].layer", "stages[0].layer:kan.order", False),
        ("stages[*].layer", "stages[0]xlayer", False),
        ("stages[0].layer", "stages[1].layer", False),
    ],
)
def test_a_star_stands_for_any_index_and_nothing_else_is_special(path: str, other: str, same: bool) -> None:
    assert bool(pattern(path).fullmatch(other)) == same
