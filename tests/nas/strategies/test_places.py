"""Places of a list, worked by hand: which is next when others are under way, judged, failed or dropped."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nas.strategies.places import BLOCK, Places


def ask(places: Places, turn: int) -> int:
    place = places.next(turn)
    places.take(turn, place)
    return place


def test_places_come_in_their_order_whoever_ends_first() -> None:
    places = Places()
    assert [ask(places, turn) for turn in range(3)] == [0, 1, 2]
    places.settle(2, judged=True)
    places.settle(0, judged=True)
    assert [ask(places, turn) for turn in (3, 4)] == [3, 4]


def test_a_failed_place_is_passed_when_it_is_asked_for_again() -> None:
    places = Places()
    assert ask(places, 0) == 0
    places.settle(0, judged=True)
    assert ask(places, BLOCK) == 1
    places.settle(BLOCK, judged=False)
    assert ask(places, 2 * BLOCK) == 1  # the next trial meets the failed place,
    places.settle(2 * BLOCK, judged=False)  # which is known,
    assert ask(places, 2 * BLOCK + 1) == 2  # and leaves it out
    places.settle(2 * BLOCK + 1, judged=True)
    assert ask(places, 3 * BLOCK) == 3


def test_a_place_that_was_left_out_comes_after_the_end() -> None:
    places = Places(4)
    for turn, judged in ((0, True), (BLOCK, False)):
        ask(places, turn)
        places.settle(turn, judged=judged)
    assert [ask(places, turn) for turn in (BLOCK + 1, 2 * BLOCK)] == [2, 3]
    assert ask(places, 3 * BLOCK) == 1


def test_after_everything_was_taken_it_begins_again() -> None:
    places = Places(3)
    assert [ask(places, turn) for turn in range(7)] == [0, 1, 2, 0, 1, 2, 0]


def test_a_place_that_was_judged_stays_so_when_its_second_round_comes_to_nothing() -> None:
    places = Places(2)
    for turn in range(2):
        ask(places, turn)
        places.settle(turn, judged=True)
    assert ask(places, 2) == 0
    places.settle(2, judged=False)
    assert places.next(3) == 1


def test_what_was_told_already_and_what_was_never_asked_is_without_effect() -> None:
    places = Places()
    ask(places, 0)
    places.settle(0, judged=True)
    places.settle(0, judged=False)
    places.settle(9, judged=False)
    assert places.next(1) == 1


@given(st.integers(1, 12), st.lists(st.tuples(st.booleans(), st.booleans()), max_size=40))
def test_a_place_is_never_taken_twice_while_another_is_free(size: int, steps: list[tuple[bool, bool]]) -> None:
    places, taken, under_way = Places(size), set(), {}
    for turn, (ends, judged) in enumerate(steps):
        place = ask(places, turn)
        assert 0 <= place < size and (place not in taken or len(taken) == size)
        if place not in taken:
            under_way[turn] = place
        taken.add(place)
        if ends and under_way:
            ended = min(under_way)
            places.settle(ended, judged=judged)
            if judged:
                under_way.pop(ended)
            else:
                taken.discard(under_way.pop(ended))
