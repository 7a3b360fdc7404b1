import json
import math
from random import Random
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.strategies import DataObject, SearchStrategy

from search_spaces.decisions import (
    Architecture,
    Choice,
    Decision,
    DecisionError,
    Integer,
    Real,
    Repeat,
    Scalar,
    Struct,
    Trace,
    changeable,
    describe,
    drawing,
    identity,
    redraw,
    replaying,
    resolve,
    size,
    trace_of,
)

Trees = SearchStrategy[Struct]
SEEDS = st.integers(0, 2**32)

TREE = Struct(
    stem=Integer(8, 32, step=8),
    stages=Repeat(Struct(layer=Choice("conv", kan=Struct(order=Integer(2, 3))), drop=Real(0.0, 0.5)), 1, 3),
    rate=Real(1e-4, 1e-1, log=True),
)
GOOD: dict[str, Any] = {
    "stem": 16,
    "stages": [{"layer": {"kan": {"order": 3}}, "drop": 0.25}, {"layer": "conv", "drop": 0.0}],
    "rate": 0.01,
}


def never(path: str, domain: Decision) -> Scalar:
    raise AssertionError(f"asked for {path}")


@given(st.data(), SEEDS)
def test_the_trace_of_a_drawn_architecture_is_the_one_it_was_resolved_by(
    trees: Trees, data: DataObject, seed: int
) -> None:
    tree = data.draw(trees)
    architecture, trace = resolve(tree, drawing(Random(seed)))
    assert list(trace_of(tree, json.loads(json.dumps(architecture))).items()) == list(trace.items())


@given(st.data(), SEEDS)
def test_a_replayed_trace_gives_the_same_architecture_without_any_other_answer(
    trees: Trees, data: DataObject, seed: int
) -> None:
    tree = data.draw(trees)
    architecture, trace = resolve(tree, drawing(Random(seed)))
    assert resolve(tree, replaying(trace, otherwise=never)) == (architecture, trace)


@given(st.data(), SEEDS)
def test_traces_with_the_same_active_decisions_share_an_identity(trees: Trees, data: DataObject, seed: int) -> None:
    tree = data.draw(trees)
    architecture, trace = resolve(tree, drawing(Random(seed)))
    dead = {"nowhere": 1, **{f"{path}:unchosen.inner": 2 for path in trace}}
    assert identity(resolve(tree, replaying(trace | dead, otherwise=never))[0]) == identity(architecture)


def shuffled(value: Architecture, rng: Random) -> Architecture:
    if isinstance(value, list):
        return [shuffled(item, rng) for item in value]
    if isinstance(value, dict):
        return {key: shuffled(value[key], rng) for key in rng.sample(list(value), len(value))}
    return value


@given(st.data(), SEEDS)
def test_the_identity_does_not_depend_on_the_order_of_keys(trees: Trees, data: DataObject, seed: int) -> None:
    architecture, _ = resolve(data.draw(trees), drawing(Random(seed)))
    assert identity(shuffled(architecture, Random(seed))) == identity(architecture)


def test_the_identity_is_the_sha256_of_compact_sorted_json() -> None:
    # printf '{"a":[1,0.5,null],"b":"x"}' | sha256sum
    assert identity({"b": "x", "a": [1, 0.5, None]}) == SHA256


SHA256 = "35950f6f1807c38b6fcb07a94e3ddaea5b2632bffddea70a1f62c2a0c8adb77b"


def count_by_enumeration(tree: Struct) -> int:
    """Walk through all answers like an odometer and count the different architectures."""
    seen: set[str] = set()
    answers: list[tuple[int, int]] = []  # at each decision of the walk: which option, of how many
    while True:
        met = 0

        def decide(path: str, domain: Decision) -> Scalar:
            nonlocal met
            if isinstance(domain, Choice):
                options: list[Scalar] = list(domain.options)
            else:
                assert isinstance(domain, Integer)
                options = [n for n in range(domain.low, domain.high + 1) if (n - domain.low) % domain.step == 0]
            if met == len(answers):
                answers.append((0, len(options)))
            met += 1
            return options[answers[met - 1][0]]

        seen.add(identity(resolve(tree, decide)[0]))
        while answers and answers[-1][0] + 1 == answers[-1][1]:
            answers.pop()
        if not answers:
            return len(seen)
        answers[-1] = (answers[-1][0] + 1, answers[-1][1])


@given(st.data())
def test_the_size_is_the_number_of_architectures(finite_trees: Trees, data: DataObject) -> None:
    tree = data.draw(finite_trees)
    assume(size(tree) <= 1000)
    assert count_by_enumeration(tree) == size(tree)


def test_a_size_too_large_for_a_float_is_exact_and_infinite_beside_a_real() -> None:
    bits = Repeat(Choice(0, 1), 2000, 2000)
    assert size(Struct(bits=bits)) == 2**2000
    assert size(Struct(bits=bits, rate=Real(0, 1))) == math.inf
    assert size(Choice("none", bits=bits, rate=Real(0, 1))) == math.inf


@given(st.data(), SEEDS)
def test_a_description_is_json_and_tells_trees_apart(trees: Trees, data: DataObject, seed: int) -> None:
    one, other = data.draw(trees), data.draw(trees)
    texts = [json.dumps(describe(tree), allow_nan=False) for tree in (one, other)]
    assert (texts[0] == texts[1]) == (repr(one) == repr(other))


@given(st.data(), SEEDS)
def test_an_answer_outside_its_domain_is_an_error_that_names_its_path(
    trees: Trees, data: DataObject, seed: int
) -> None:
    tree = data.draw(trees)
    _, trace = resolve(tree, drawing(Random(seed)))
    assume(trace)
    wrong = data.draw(st.sampled_from(list(trace)))
    with pytest.raises(DecisionError) as caught:
        resolve(tree, replaying(trace | {wrong: "no such option"}, otherwise=never))
    assert str(caught.value).startswith(f'{wrong} is "no such option"')


def test_the_hand_made_architecture_is_valid_and_its_paths_name_the_options_taken() -> None:
    assert trace_of(TREE, GOOD) == {
        "stem": 16,
        "stages#": 2,
        "stages[0].layer": "kan",
        "stages[0].layer:kan.order": 3,
        "stages[0].drop": 0.25,
        "stages[1].layer": "conv",
        "stages[1].drop": 0.0,
        "rate": 0.01,
    }


STAGE = {"layer": "conv", "drop": 0.1}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"stem": 12}, "stem is 12, but an integer from 8 to 32 in steps of 8"),
        ({"stem": 16.0}, "stem is 16.0"),
        ({"stem": True}, "stem is true"),
        ({"rate": 0.2}, "rate is 0.2, but a number from 0.0001 to 0.1"),
        ({"rate": math.nan}, "rate is NaN"),
        ({"rate": "fast"}, 'rate is "fast"'),
        ({"stages": []}, "stages# is 0"),
        ({"stages": [STAGE] * 4}, "stages# is 4"),
        ({"stages": STAGE}, "stages is {"),
        ({"stages": [STAGE, {"layer": "cnv", "drop": 0.1}]}, 'stages[1].layer is "cnv", but one of "conv", "kan"'),
        ({"stages": [{"layer": "kan", "drop": 0.1}]}, 'stages[0].layer is "kan" without its inner decisions'),
        ({"stages": [{"layer": {"conv": {}}, "drop": 0.1}]}, "stages[0].layer:conv has no inner decisions"),
        ({"stages": [{"layer": {"kan": {"order": 4}}, "drop": 0.1}]}, "stages[0].layer:kan.order is 4"),
        ({"stages": [{"layer": {"kan": {}}, "drop": 0.1}]}, "stages[0].layer:kan lacks 'order'"),
        ({"stages": [{"layer": "conv"}]}, "stages[0] lacks 'drop'"),
        ({"stages": [STAGE | {"width": 8}]}, "stages[0] has an unknown entry 'width'"),
        ({"stages": [3]}, "stages[0] is 3, but an object"),
        ({"steam": 16}, "the architecture has an unknown entry 'steam'"),
    ],
)
def test_validation_names_the_wrong_path(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(DecisionError) as caught:
        trace_of(TREE, GOOD | wrong)
    assert str(caught.value).startswith(message)


def test_a_whole_number_is_accepted_for_a_real_and_traced_as_one() -> None:
    value = trace_of(Struct(drop=Real(0.0, 2.0)), {"drop": 1})["drop"]
    assert (type(value), value) == (float, 1.0)


def test_none_is_an_option_like_any_other() -> None:
    assert trace_of(Struct(norm=Choice(None, "batch")), {"norm": None}) == {"norm": None}
    with pytest.raises(DecisionError, match="norm is null"):
        trace_of(Struct(norm=Choice("layer", "batch")), {"norm": None})


def test_the_items_of_a_tied_repeat_are_decided_once_and_must_be_alike() -> None:
    tree = Struct(stages=Repeat(Choice(8, 16, 32), 1, 4, tied=True))
    asked: list[str] = []

    def decide(path: str, domain: Decision) -> Scalar:
        asked.append(path)
        return 3 if path.endswith("#") else 32

    architecture, trace = resolve(tree, decide)
    assert architecture == {"stages": [32, 32, 32]}
    assert asked == ["stages#", "stages[*]"]
    assert trace_of(tree, architecture) == trace
    with pytest.raises(DecisionError, match="stages has items that differ"):
        trace_of(tree, {"stages": [32, 32, 8]})


def test_a_decision_with_one_value_is_never_asked_and_not_traced() -> None:
    tree = Struct(a=Choice("only"), b=Integer(3, 4, step=2), c=Real(0.5, 0.5), d=Repeat(Choice("x"), 2, 2))
    assert resolve(tree, never) == ({"a": "only", "b": 3, "c": 0.5, "d": ["x", "x"]}, {})


@pytest.mark.parametrize("leaf", [Integer(1, 4), Real(0.1, 1.0, log=True), Choice("x", "y", z=Struct(n=Integer(1, 2)))])
def test_changeable_marks_a_decision_and_nothing_else(leaf: Any) -> None:
    marked = changeable(leaf)
    seen: dict[str, bool] = {}

    def decide(path: str, domain: Decision) -> Scalar:
        seen[path] = domain.changeable
        return domain.draw(Random(0))

    resolve(Struct(marked=marked, plain=leaf), decide)
    assert (seen["marked"], seen["plain"]) == (True, False)
    before, after = describe(leaf), describe(marked)
    (kind,) = after
    assert after[kind] == before[kind] | {"changeable": True}


@given(st.integers(1, 50), st.integers(1, 50), SEEDS)
def test_a_redrawn_value_is_another_one(low: int, span: int, seed: int) -> None:
    domain = Integer(low, low + span, log=True)
    assert redraw(domain, low, Random(seed)) in range(low + 1, low + span + 1)


def test_a_logarithmic_real_is_drawn_evenly_in_the_logarithm() -> None:
    rng, domain = Random(0), Real(1e-4, 1.0, log=True)
    draws = [domain.draw(rng) for _ in range(4000)]
    shares = [sum(10**-d <= x < 10 ** -(d - 1) for x in draws) / len(draws) for d in (1, 2, 3, 4)]
    assert shares == pytest.approx([0.25] * 4, abs=0.03)


@pytest.mark.parametrize(
    "empty",
    [
        lambda: Integer(3, 2),
        lambda: Integer(0, 8, log=True),
        lambda: Real(1.0, 0.0),
        lambda: Real(0.0, 1.0, log=True),
        lambda: Real(0.0, math.inf),
        lambda: Choice(),
        lambda: Choice("a", "a"),
        lambda: Choice("a", a=Struct()),
        lambda: Repeat(Choice("a"), 3, 2),
    ],
)
def test_a_domain_without_a_meaning_is_refused_when_it_is_written(empty: Any) -> None:
    with pytest.raises(ValueError):
        empty()


def test_trace_type_is_plain_json() -> None:
    trace: Trace = resolve(TREE, drawing(Random(3)))[1]
    assert json.loads(json.dumps(trace)) == trace
