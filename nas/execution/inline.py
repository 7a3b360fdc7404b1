"""The executor that runs everything in this process: one worker, and the one to debug with."""

from __future__ import annotations

from nas.execution import Event, Steps
from nas.execution.worker import default_evaluate, pick_device, score, single_threaded
from nas.job import Evaluate, Job, Report, ScoreJob
from nas.schedules import Verdict


class Inline:
    """One worker, this process."""

    workers = ("inline",)

    def __init__(self, evaluate: Evaluate | None = None) -> None:
        self._evaluate = evaluate or default_evaluate()
        self.device = pick_device() if evaluate is None else "cpu"
        self._work: Steps | ScoreJob | None = None
        self._pauses: frozenset[int] = frozenset()
        self._paused = False
        if evaluate is None:
            single_threaded(self.device)

    def submit(self, worker: str, job: Job | ScoreJob) -> None:
        self._paused = False
        if isinstance(job, ScoreJob):
            self._work = job
        else:
            self._work, self._pauses = Steps(self._evaluate, job), job.pauses

    def events(self, timeout: float) -> list[Event]:
        if self._work is None or self._paused:
            return []
        if isinstance(self._work, ScoreJob):
            event = Event("inline", score(self._work, self.device))
        else:
            event = Event("inline", self._work.advance())
        if event.last:
            self._work = None
        elif isinstance(event.what, Report) and event.what.step in self._pauses:
            self._paused = True
        return [event]

    def answer(self, worker: str, verdict: Verdict) -> None:
        self._paused = False
        if verdict is Verdict.STOP:
            self.close()

    def close(self) -> None:
        if isinstance(self._work, Steps):
            self._work.close()
        self._work = None
