"""One worker of Ray as the driver sees it: its actor, and the calls that are under way on it."""

from __future__ import annotations

from collections import deque
from typing import Any

from nas.job import Job, ScoreJob

AHEAD = 2


class Slot:
    """An actor with its calls in their order; `placing` is the first one while the actor has no place yet.

    One that could not be started is `given_up`, and has no actor.

    A job reports step 0, then one step after the other from the first that it trains, then its outcome. So up to
    AHEAD steps are under way before the driver has seen the last, but none beyond a pause.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.actor: Any = None
        self.placing: Any = None
        self.device = ""
        self.failures = 0
        self.given_up = False
        self.calls: deque[Any] = deque()
        self._job: Job | None = None
        self._asked = 0  # the last step that is asked for; the outcome counts as the one after the last

    def place(self, actor: Any) -> None:
        """Take an actor that may have to wait for a place."""
        self.clear()
        self.actor, self.placing = actor, actor.device.remote()

    def placed(self, device: str) -> None:
        self.placing, self.device, self.failures = None, device, 0

    @property
    def ready(self) -> bool:
        return self.placing is None and not self.given_up

    def give_up(self) -> None:
        self.clear()
        self.actor, self.placing, self.given_up = None, None, True

    def begin(self, job: Job | ScoreJob) -> None:
        self.clear()
        if isinstance(job, ScoreJob):
            self.calls.append(self.actor.score.remote(job))
        else:
            self._job, self._asked = job, 0
            self.calls.append(self.actor.start.remote(job))

    def go_on(self) -> None:
        """Pass the pause at which the job waits."""
        assert self._job is not None
        self._ask(self._job)
        self.top_up()

    def top_up(self) -> None:
        """Have as many steps under way as may be."""
        job = self._job
        while job is not None and len(self.calls) < AHEAD and self._asked <= job.epochs:
            if self._asked in job.pauses:
                return
            self._ask(job)

    def stop(self) -> Any:
        """Have the actor close its job, as soon as it is done with what it does."""
        self.clear()
        return self.actor.stop.remote()

    def clear(self) -> None:
        self.calls.clear()
        self._job = None

    def _ask(self, job: Job) -> None:
        begun = job.origin.step if job.origin else 0
        self._asked = max(self._asked, begun) + 1
        self.calls.append(self.actor.advance.remote())
