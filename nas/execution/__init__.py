"""Execution: where trials run. An executor has named workers, takes jobs and yields events.

The evaluation of a job is a generator that the executor advances step by step. At a pause of the job it is
advanced no further until the driver answers with a verdict; elsewhere the next step may begin before the driver
has looked at the last one. Workers never touch the store.
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from nas.job import Evaluate, Evaluation, Infeasible, Job, Outcome, OutOfMemory, Report, Scored, ScoreJob
from nas.schedules import Verdict
from nas.store.models import State


@dataclass(frozen=True)
class Problem:
    """Why a trial has no outcome: FAILED, INFEASIBLE, or STALE when its worker vanished.

    One that left its process `soiled`, without memory or with a broken GPU context, is followed by a clean one.
    """

    state: State
    reason: str
    traceback: str | None = None
    soiled: bool = False


@dataclass(frozen=True)
class Event:
    """Something a worker has to say about the job it was given."""

    worker: str
    what: Report | Outcome | Problem | list[Scored]

    @property
    def last(self) -> bool:
        """Whether the worker is idle after it."""
        return not isinstance(self.what, Report)


class Executor(Protocol):
    """Runs jobs on named workers, one at a time on each.

    Workers may come and go: those that `workers` names now can be given a job. Where there are none yet, `events`
    waits for one.
    """

    @property
    def workers(self) -> Sequence[str]: ...

    def device_of(self, worker: str) -> str:
        """Return what a worker computes on, such as cpu or cuda."""

    def submit(self, worker: str, job: Job | ScoreJob) -> None:
        """Give an idle worker a job."""

    def events(self, timeout: float) -> list[Event]:
        """Wait for events, at most so many seconds."""

    def answer(self, worker: str, verdict: Verdict) -> None:
        """Tell a worker that waits at a pause what to do; after STOP and PAUSE it is idle."""

    def cancel(self, worker: str) -> None:
        """End what a worker does at once, whatever it is; it says no more of it.

        It is idle then, or, where its process had to be ended, no more among the workers until it has another.
        """

    def close(self) -> None:
        """End all work at once."""


class Steps:
    """One job's evaluation, advanced step by step."""

    def __init__(self, evaluate: Evaluate, job: Job) -> None:
        self._evaluation: Evaluation = evaluate(job)

    def advance(self) -> Report | Outcome | Problem:
        """Run to the next report or to the end."""
        try:
            return next(self._evaluation)
        except StopIteration as end:
            outcome: Outcome = end.value
            return outcome
        except Infeasible as error:
            return Problem(State.INFEASIBLE, str(error), soiled=isinstance(error, OutOfMemory))
        except MemoryError as error:
            return Problem(State.INFEASIBLE, f"out of memory: {str(error) or 'MemoryError'}", soiled=True)
        except (Exception, SystemExit) as error:
            text = "".join(traceback.format_exception(error))
            first = (str(error).strip().splitlines() or [""])[0]
            return Problem(State.FAILED, f"{type(error).__name__}: {first}"[:500], text, soiled=_broke_gpu(error))

    def close(self) -> None:
        self._evaluation.close()


def _broke_gpu(error: BaseException) -> bool:
    """Tell whether an error may have left the process's CUDA context unusable, as every asynchronous one does."""
    said = str(error)
    return any(each in said for each in ("CUDA error", "CUBLAS_STATUS", "CUDNN_STATUS", "cuDNN error"))
