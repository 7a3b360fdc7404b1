"""The executor that runs everything in this process: one worker, and the one to debug with.

A step that runs cannot be interrupted: between two of them the driver may cancel a trial that has had its time.
"""

from __future__ import annotations

import gc
import sys

from nas.execution import Event, Problem, Steps
from nas.execution.errors import WorkerBrokenError
from nas.execution.resources import Resources
from nas.execution.worker import default_evaluate, limit_threads, pick_device, score
from nas.job import Evaluate, Job, Report, ScoreJob
from nas.schedules import Verdict


class Inline:
    """One worker, this process, with the GPU unless a trial is to have none."""

    workers = ("inline",)

    def __init__(self, evaluate: Evaluate | None = None, resources: Resources | None = None) -> None:
        resources = resources or Resources()
        self._evaluate = evaluate or default_evaluate()
        self._device = pick_device() if evaluate is None and resources.gpus != 0 else "cpu"
        self._work: Steps | ScoreJob | None = None
        self._pauses: frozenset[int] = frozenset()
        self._paused = False
        self._broken: WorkerBrokenError | None = None
        if evaluate is None:
            limit_threads(self._device, resources.cpus)

    def device_of(self, worker: str) -> str:
        return self._device

    def submit(self, worker: str, job: Job | ScoreJob) -> None:
        """Take a job; raises WorkerBrokenError after one that left the GPU beyond use."""
        if self._broken is not None:
            raise self._broken
        self._paused = False
        if isinstance(job, ScoreJob):
            self._work = job
        else:
            self._work, self._pauses = Steps(self._evaluate, job), job.pauses

    def events(self, timeout: float) -> list[Event]:
        if self._work is None or self._paused:
            return []
        if isinstance(self._work, ScoreJob):
            event = Event("inline", score(self._work, self._device))
        else:
            event = Event("inline", self._work.advance())
        if event.last:
            self._work = None
            if isinstance(event.what, Problem) and event.what.soiled:
                self._broken = _clean()
        elif isinstance(event.what, Report) and event.what.step in self._pauses:
            self._paused = True
        return [event]

    def answer(self, worker: str, verdict: Verdict) -> None:
        self._paused = False
        if verdict is not Verdict.CONTINUE:
            self.close()

    def cancel(self, worker: str) -> None:
        self._paused = False
        self.close()

    def close(self) -> None:
        if isinstance(self._work, Steps):
            self._work.close()
        self._work = None


def _clean() -> WorkerBrokenError | None:
    """Free what the last trial left, of a GPU's memory too; return an error where the GPU is beyond that."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    try:
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
    except RuntimeError as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return WorkerBrokenError(
            f"this process cannot use its GPU any more ({first}): `nas resume` goes on in a new one, and "
            "--executor ray renews the process of a worker by itself"
        )
    return None
