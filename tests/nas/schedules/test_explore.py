"""Exploring: what moves, by how much, and that it stays in its range."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.schedules.explore import explore, midway, perturbed
from search_spaces.decisions import Choice, Decision, Integer, Real, Struct, changeable, every
from search_spaces.space import Space, find_space

KAN_VISION = find_space("kan_vision")
SEEDS = st.integers(0, 2**32)
MOVING = [
    "training.augmentation",
    "training.augmentation:mixup.alpha",
    "training.batch",
    "training.label_smoothing",
    "training.optimizer:adamw.rate",
    "training.optimizer:adamw.weight_decay",
    "training.optimizer:sgd.momentum",
    "training.optimizer:sgd.rate",
    "training.optimizer:sgd.weight_decay",
]


def anything(path: str, decision: Decision, source: Any = None) -> bool:
    return True


def moves(decision: Decision, value: Any) -> set[Any]:
    return {perturbed(decision, value, Random(seed)) for seed in range(20)}


@pytest.mark.parametrize(
    ("decision", "value", "expected"),
    [
        (Real(0.001, 1.0, log=True), 0.5, {0.4, 0.6}),
        (Real(0.0, 1.0), 0.5, {0.4, 0.6}),
        (Real(-1.0, 1.0), -0.5, {-0.6, -0.4}),
        (Real(0.0, 2.0), 0.0, {0.02}),  # at the lower end: a hundredth of the range, up
        (Real(-1.0, 1.0), 0.0, {-0.02, 0.02}),
        (Real(0.0, 1.0), 1.0, {0.8}),  # at the upper end: down
        (Real(0.001, 1.0, log=True), 0.9, {0.72, 1.0}),  # 1.08 is clamped
        (Real(0.1, 1.0, log=True), 0.1, {0.12}),
        (Integer(1, 8), 1, {2}),
        (Integer(1, 8), 3, {2, 4}),  # a fifth of 3 is 0.6: one step
        (Integer(0, 100), 40, {32, 48}),
        (Integer(0, 100), 0, {1}),
        (Integer(8, 48, step=8), 24, {16, 32}),
        (Integer(8, 480, step=8), 240, {192, 288}),  # a fifth of 240 is 48: six steps
        (Integer(1, 1000, log=True), 100, {80, 120}),
        (Integer(10, 100), 95, {76, 100}),
        (Choice("a", "b", "c"), "b", {"a", "c"}),
        (Choice("a", "b", "c"), "a", {"b"}),
        (Choice("a", "b", c=Struct(n=Integer(1, 2))), "c", {"b"}),
        (Choice(True, False), True, {False}),
    ],
)
def test_how_far_a_decision_moves(decision: Decision, value: Any, expected: set[Any]) -> None:
    assert sorted(moves(decision, value)) == pytest.approx(sorted(expected))


@given(SEEDS)
def test_whatever_is_explored_is_in_the_space_and_all_else_stays(seed: int) -> None:
    rng = Random(seed)
    before = KAN_VISION.draw(rng)
    for resample in (0.0, 0.5, 1.0):
        after = KAN_VISION.trace(explore(KAN_VISION, before, rng, resample, midway(KAN_VISION)))
        for path, value in KAN_VISION.trace(before).items():
            assert path in MOVING or after[path] == value
        assert set(after) - set(KAN_VISION.trace(before)) <= {"training.augmentation:mixup.alpha"}


@given(SEEDS)
def test_any_decision_of_any_kind_moves_and_stays_in_its_domain(seed: int) -> None:
    rng = Random(seed)
    before = KAN_VISION.trace(KAN_VISION.draw(rng))
    domains = every(KAN_VISION.tree)
    for path, value in before.items():
        moved = perturbed(domains[path], value, rng)
        assert moved != value
        assert domains[path].check(moved) == moved
        assert isinstance(domains[path], Choice) or type(moved) is type(value)
    # All of them at once, structure included, is an architecture of the space.
    KAN_VISION.trace(explore(KAN_VISION, KAN_VISION.draw(rng), rng, 0.3, anything))


@given(SEEDS)
def test_of_the_network_one_decision_changes_at_a_time(seed: int) -> None:
    rng = Random(seed)
    before = KAN_VISION.draw(rng)
    after = explore(KAN_VISION, before, rng, 0.0, anything)
    changed = [each for each in KAN_VISION.diff(before, after) if each.path.startswith("network.")]
    first, *others = changed
    # Others are below it: what became active by it, or is no more.
    stem = first.path.removesuffix("#")
    assert all(each.path.startswith(stem) and None in (each.before, each.after) for each in others)


def test_every_decision_of_the_network_changes_in_time() -> None:
    before = KAN_VISION.draw(Random(0))
    paths = {path for path in KAN_VISION.trace(before) if path.startswith("network.")}
    explored = (explore(KAN_VISION, before, Random(seed), 0.0, anything) for seed in range(40 * len(paths)))
    assert {KAN_VISION.diff(before, each)[0].path for each in explored} == paths


NUMBERS = st.one_of(
    st.builds(
        lambda low, span, step: Integer(low, low + span * step, step),
        st.integers(-50, 50),
        st.integers(1, 60),
        st.integers(1, 9),
    ),
    st.builds(lambda low, span: Integer(low, low + span, log=True), st.integers(1, 50), st.integers(1, 900)),
    st.builds(lambda low, span: Real(low, low + span), st.floats(-50, 50), st.floats(1e-3, 60)),
    st.builds(lambda low, span: Real(low, low * span, log=True), st.floats(1e-6, 10), st.floats(1.01, 1e6)),
)


@given(NUMBERS, SEEDS)
def test_a_number_of_any_domain_moves_by_a_fifth_or_a_step_and_stays_in(decision: Any, seed: int) -> None:
    rng = Random(seed)
    value = decision.draw(rng)
    moved = perturbed(decision, value, rng)
    assert decision.check(moved) == moved != value
    if isinstance(decision, Integer):
        least, rounding = float(decision.step), decision.step / 2
    else:
        least, rounding = 0.0 if decision.log else (decision.high - decision.low) / 100, 0.0
    assert abs(moved - value) <= max(0.2 * abs(value) + rounding, least) * (1 + 1e-9)


def test_what_is_resampled_is_drawn_anew() -> None:
    tree = Struct(rate=changeable(Real(1e-4, 1.0, log=True)), batch=changeable(Choice(32, 64, 128)))
    space = Space("rates", "", tree, KAN_VISION.make)
    drawn = [
        space.trace(explore(space, {"rate": 1e-4, "batch": 32}, Random(seed), 1.0, midway(space)))
        for seed in range(300)
    ]
    # Evenly in the logarithm: half above 1e-2; the batch 32 one time in three.
    assert sum(float(str(each["rate"])) > 1e-2 for each in drawn) == pytest.approx(150, abs=40)
    assert sum(each["batch"] == 32 for each in drawn) == pytest.approx(100, abs=35)


def test_what_becomes_active_is_drawn_and_what_was_inner_is_forgotten() -> None:
    augmentation = Choice("none", mixup=Struct(alpha=changeable(Real(0.1, 1.0))))
    space = Space("augmented", "", Struct(augmentation=changeable(augmentation)), KAN_VISION.make)
    alphas = set()
    for seed in range(30):
        explored = explore(space, {"augmentation": "none"}, Random(seed), 0.0, midway(space))
        alphas.add(explored["augmentation"]["mixup"]["alpha"])
        assert explore(space, explored, Random(seed), 0.0, midway(space)) == {"augmentation": "none"}
    assert len(alphas) == 30 and all(0.1 <= alpha <= 1.0 for alpha in alphas)


def test_the_network_is_explored_only_where_it_is_asked_for_and_can_be_inherited(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import sys
    from types import SimpleNamespace

    def inheritable(space: Space, path: str, decision: Decision, source: Any) -> bool:
        assert space is KAN_VISION and isinstance(decision, Integer) and source in (None, "an architecture")
        return path.endswith(".width") or source == "an architecture"

    monkeypatch.setitem(sys.modules, "nas.training.inherit", SimpleNamespace(inheritable=inheritable))
    width = every(KAN_VISION.tree)["network.stages[0].width"]
    depth = changeable(every(KAN_VISION.tree)["network.stages[0].depth"])
    assert not midway(KAN_VISION)("network.stages[0].width", width)
    assert not midway(KAN_VISION)("network.stages[0].depth", depth)
    assert midway(KAN_VISION, architecture=True)("network.stages[0].width", width)
    assert not midway(KAN_VISION, architecture=True)("network.stages[0].depth", depth)
    assert midway(KAN_VISION, architecture=True)("network.stages[0].depth", depth, "an architecture")


def test_the_training_decisions_of_kan_vision_that_may_change() -> None:
    assert sorted(path for path, each in every(KAN_VISION.tree).items() if each.changeable) == MOVING
