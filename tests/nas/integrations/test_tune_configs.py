"""What a Tune config says: trees, traces with more than is active, and numbers that were moved out of range."""

from __future__ import annotations

import math
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.integrations.tune.configs import SEED, ConfigError, nearest, read, trial_seed
from nas.plans import Bench
from nas.settings import Settings
from search_spaces.decisions import Choice, Decision, Integer, Real, Repeat, Struct, every
from search_spaces.limits import limited
from search_spaces.space import Space, find_space

KAN = find_space("kan_vision")
SMALL = Space(
    "small",
    "for tests",
    Struct(
        network=Struct(
            width=Integer(8, 48, step=8),
            kind=Choice("plain", "wide", gated=Struct(share=Real(0.1, 0.9))),
            layers=Repeat(Integer(1, 3), 0, 2),
        ),
        training=Struct(rate=Real(1e-3, 1.0, log=True), batch=Choice(32, 64, 128), clip=Choice(None, 1.0)),
    ),
    lambda architecture, signature: pytest.fail("nothing is built here"),
)
FLAT = Space(
    "flat",
    "for tests",
    Struct(rate=Real(0.0, 1.0), act=Choice("relu", helu=Struct(alpha=Integer(1, 1)))),
    lambda architecture, signature: pytest.fail("nothing is built here"),
)
TRACE: dict[str, Any] = {
    "network.width": 16,
    "network.kind": "plain",
    "network.layers#": 0,
    "training.rate": 0.1,
    "training.batch": 64,
    "training.clip": None,
}
TREE = {
    "network": {"width": 16, "kind": "plain", "layers": []},
    "training": {"rate": 0.1, "batch": 64, "clip": None},
}


@given(st.integers(0, 10**6))
def test_a_trace_gives_the_architecture_that_it_is_the_trace_of(seed: int) -> None:
    architecture = KAN.draw(Random(seed))
    reading = read(KAN, KAN.trace(architecture))
    assert reading.architecture == architecture
    assert reading.moved == {} and reading.notes == "" and reading.seed is None


@given(st.integers(0, 10**6))
def test_decisions_that_are_not_active_ride_along(seed: int) -> None:
    rng = Random(seed)
    architecture = KAN.draw(rng)
    everything = {path: domain.draw(rng) for path, domain in every(KAN.tree).items()}
    assert read(KAN, everything | KAN.trace(architecture)).architecture == architecture


def test_a_tree_by_itself_and_under_a_key_of_its_own() -> None:
    assert read(SMALL, TRACE).architecture == TREE
    assert read(SMALL, TREE).architecture == TREE
    assert read(SMALL, {"architecture": TREE}).architecture == TREE
    assert read(SMALL, TREE | {SEED: 5, "nas.note": "mine"}).seed == 5


def test_a_tree_without_branches_and_a_trace_of_the_same_keys() -> None:
    assert read(FLAT, {"rate": 0.5, "act": "relu"}).architecture == {"rate": 0.5, "act": "relu"}
    assert read(FLAT, {"rate": 0.5, "act": "helu"}).architecture == {"rate": 0.5, "act": {"helu": {"alpha": 1}}}
    reading = read(FLAT, {"rate": 1.2, "act": "relu"})
    assert reading.architecture["rate"] == 1.0 and reading.moved == {"rate": (1.2, 1.0)}


def test_what_left_its_range_is_moved_into_it_and_noted() -> None:
    reading = read(SMALL, TRACE | {"training.rate": 1.2, "network.width": 21, "training.batch": 77})
    assert reading.architecture == {
        "network": {"width": 24, "kind": "plain", "layers": []},
        "training": {"rate": 1.0, "batch": 64, "clip": None},
    }
    assert reading.moved == {"network.width": (21, 24), "training.rate": (1.2, 1.0), "training.batch": (77, 64)}
    assert reading.notes == "network.width 21 -> 24, training.rate 1.2 -> 1, training.batch 77 -> 64"


@pytest.mark.parametrize(
    ("domain", "value", "expected"),
    [
        (Integer(8, 48, step=8), 11.9, 8),
        (Integer(8, 48, step=8), 12.1, 16),
        (Integer(8, 48, step=8), -3, 8),
        (Integer(8, 48, step=8), 1e9, 48),
        (Integer(1, 9, step=4), 8, 9),
        (Integer(1, 64, log=True), 76.8, 64),
        (Real(0.1, 1.0), 0.05, 0.1),
        (Real(0.1, 1.0), np.float32(0.5), 0.5),
        (Real(0.0, 1.0), 1, 1.0),
        (Choice(32, 64, 128), 100, 128),
        (Choice("a", 3), 100, 3),
        (Choice("a", "b"), "c", "c"),
        (Choice(True, False), True, True),
        (Integer(0, 5), np.int64(3), 3),
    ],
)
def test_the_nearest_value_of_a_domain(domain: Decision, value: Any, expected: Any) -> None:
    found = nearest(domain, value)
    assert found == expected and type(found) is type(expected)


@given(st.floats(allow_nan=False), st.integers(-5, 5), st.integers(0, 9), st.integers(1, 4))
def test_the_nearest_integer_is_in_the_domain_and_no_other_is_nearer(
    value: float, low: int, span: int, step: int
) -> None:
    domain = Integer(low, low + span, step=step)
    found = nearest(domain, value)
    assert domain.check(found) == found
    inside = min(max(value, domain.low), domain.high)
    assert abs(found - inside) <= min(abs(option - inside) for option in domain.options)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"network.widht": 16}, "'network.widht', which is no decision of small: did you mean network.width"),
        ({"x": 1}, "'x', which is no decision of small: `nas spaces small` lists"),
        ({"network.kind": "broad"}, 'network.kind is "broad", but one of "plain", "wide", "gated" is allowed'),
        ({"network.kind": "gated"}, "lacks network.kind:gated.share, which is a number from 0.1 to 0.9"),
        ({"training.rate": math.nan}, "training.rate is NaN"),
        ({"training.rate": "fast"}, 'training.rate is "fast"'),
        ({"network.width": True}, "network.width is true"),
        ({SEED: -1}, "nas.seed is -1, but a whole number from 0"),
        ({SEED: 1.5}, "nas.seed is 1.5"),
    ],
)
def test_a_wrong_config_is_refused_in_a_line(change: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as error:
        read(SMALL, TRACE | change)
    assert told in str(error.value) and "\n" not in str(error.value)


def test_a_wrong_tree_is_refused_and_never_moved() -> None:
    wrong = TREE | {"training": TREE["training"] | {"rate": 1.2}}  # type: ignore[operator]
    with pytest.raises(ConfigError, match=r"training\.rate is 1\.2, but a number from 0\.001 to 1 is allowed"):
        read(SMALL, wrong)
    with pytest.raises(ConfigError, match="lacks 'training'"):
        read(SMALL, {"network": TREE["network"]})


def test_of_a_part_of_a_space_what_is_held_is_no_decision() -> None:
    part = limited(SMALL, ("network.kind=plain", "training.rate=0.01..0.1"))
    trace = {path: value for path, value in TRACE.items() if path != "network.kind"}
    assert read(part, trace).architecture == TREE
    assert read(part, trace | {"training.rate": 0.5}).architecture["training"]["rate"] == 0.1


def test_a_trial_has_the_seed_that_it_has_in_a_study_of_ours(tmp_path: Any) -> None:
    bench = Bench(Settings(seed=7), "content", tmp_path)
    assert [trial_seed(7, number) for number in range(5)] == [bench.seed(number) for number in range(5)]
