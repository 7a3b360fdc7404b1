"""What is asked of a worker of Ray: every step once, not far ahead, and nothing beyond a pause."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from orders import job

from nas.execution.slot import AHEAD, Slot
from nas.job import Job


@dataclass
class Call:
    """A method of an actor; what is called is done in its order, when the test lets it."""

    name: str
    queue: list[str]

    def remote(self, *given: object) -> str:
        self.queue.append(self.name)
        return f"{self.name} {len(self.queue)}"


@dataclass
class Actor:
    """An actor that notes what is called."""

    queue: list[str] = field(default_factory=list)

    def __getattr__(self, name: str) -> Call:
        return Call(name, self.queue)


def steps_of(work: Job) -> list[int]:
    """The steps that a job reports, and one more for its outcome."""
    first = 1 + (work.origin.step if work.origin else 0)
    return [0, *range(first, work.epochs + 2)]


@given(
    epochs=st.integers(1, 12),
    pauses=st.sets(st.integers(1, 12)),
    begun=st.none() | st.integers(1, 12),
)
def test_all_steps_are_asked_for_and_none_beyond_a_pause_before_the_answer(
    epochs: int, pauses: set[int], begun: int | None
) -> None:
    work = job(Path("folder"), epochs=max(epochs, begun or 0), pauses=pauses, begun=begun)
    actor, slot, expected = Actor(), Slot("one"), steps_of(work)
    slot.place(actor)
    slot.placed("cpu")
    assert actor.queue == ["device"]
    slot.begin(work)
    for heard, step in enumerate(expected, start=1):
        slot.calls.popleft()
        asked = expected[: len(actor.queue) - 1]
        assert asked[: heard - 1] == expected[: heard - 1] and len(asked) <= heard + AHEAD
        assert not any(each in work.pauses and each != asked[-1] for each in asked[heard - 1 :])
        slot.top_up()
        if step in work.pauses and step != expected[-1]:
            assert not slot.calls
            slot.go_on()
    assert actor.queue[1:] == ["start"] + ["advance"] * (len(expected) - 1) and not slot.calls


def test_another_actor_or_a_stop_forgets_what_was_under_way() -> None:
    slot, work = Slot("one"), job(Path("folder"))
    slot.place(Actor())
    slot.placed("cpu")
    slot.begin(work)
    slot.stop()
    slot.top_up()
    assert not slot.calls
    slot.begin(work)
    slot.failures = 2
    slot.place(Actor())
    assert not slot.calls and slot.placing == "device 1" and slot.failures == 2
    slot.placed("cuda")
    assert slot.placing is None and slot.device == "cuda" and slot.failures == 0
