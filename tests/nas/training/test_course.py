from __future__ import annotations

import pytest

from nas.job import Segment
from nas.training.course import Course
from nas.training.recipe import RecipeError


def adamw(decay: float) -> dict[str, object]:
    return {"optimizer": {"adamw": {"rate": 0.1, "weight_decay": decay}}, "batch": 32}


def test_without_segments_every_epoch_follows_the_architecture_s_decisions() -> None:
    course = Course.read(adamw(0.5))
    assert {course.at(epoch).optimizer[1]["weight_decay"] for epoch in range(20)} == {0.5}


def test_an_epoch_follows_the_segment_it_lies_in() -> None:
    course = Course.read(adamw(9.0), [Segment(0, adamw(0.0)), Segment(2, adamw(0.2)), Segment(5, adamw(0.5))])
    decays = [course.at(epoch).optimizer[1]["weight_decay"] for epoch in range(8)]
    assert decays == [0.0, 0.0, 0.2, 0.2, 0.2, 0.5, 0.5, 0.5]


@pytest.mark.parametrize("begins", [(1,), (0, 3, 3), (0, 4, 2)])
def test_segments_begin_at_0_and_go_up(begins: tuple[int, ...]) -> None:
    listed = ", ".join(map(str, begins))
    with pytest.raises(RecipeError, match=f"segments begin at epochs {listed}: begin at 0 and go up$"):
        Course.read({}, [Segment(begin, adamw(0.1)) for begin in begins])


def test_a_change_of_optimizer_is_refused() -> None:
    sgd = {"optimizer": {"sgd": {"rate": 0.1, "momentum": 0.5, "weight_decay": 0.0}}}
    with pytest.raises(RecipeError, match="from adamw to sgd at epoch 3, but a training keeps one"):
        Course.read({}, [Segment(0, adamw(0.1)), Segment(1, adamw(0.2)), Segment(3, sgd)])


def test_what_a_segment_has_wrong_is_named() -> None:
    with pytest.raises(RecipeError, match=r"training\.schedule is 'step'"):
        Course.read({}, [Segment(0, adamw(0.1)), Segment(1, {"schedule": "step"})])
