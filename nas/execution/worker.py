"""What runs in a worker's process: the evaluation of jobs and the scoring of proposals."""

from __future__ import annotations

import gc

from nas.execution import Problem, Steps
from nas.job import Evaluate, Evaluation, Job, Outcome, Report, Scored, ScoreJob


def default_evaluate() -> Evaluate:
    """Return the evaluation that trains networks (imports torch).

    Networks and optimizers hold themselves in reference cycles, so their memory, a GPU's too, is only free once
    the garbage is collected. That is done after each trial, and cheap, since all that was imported is left out.
    """
    from nas.training.evaluate import evaluate

    def evaluate_and_tidy(job: Job) -> Evaluation:
        try:
            return (yield from evaluate(job))
        finally:
            gc.collect()

    gc.freeze()
    return evaluate_and_tidy


def pick_device() -> str:
    """Return "cuda" where torch has one, else "cpu"."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def limit_threads(device: str, cpus: float = 1) -> None:
    """Use a thread a core for the many small operations of a trial: more only get in each other's way."""
    import torch

    if device == "cpu":
        torch.set_num_threads(max(1, int(cpus)))


def score(job: ScoreJob, device: str) -> list[Scored]:
    """Score each architecture without training; what cannot be scored, or breaks a constraint, says why."""
    from nas.scoring.judge import judge

    return [scored for architecture in job.architectures for scored in judge(job, architecture, device)]


class Worker:
    """A Ray actor: keeps one evaluation and advances it on demand. After its end, `advance` returns None.

    It computes on a GPU only where it was given one, or a part of one.
    """

    def __init__(self, evaluate: Evaluate | None, cpus: float, gpus: float) -> None:
        self._evaluate = evaluate or default_evaluate()
        self._device = pick_device() if evaluate is None and gpus else "cpu"
        self._steps: Steps | None = None
        if evaluate is None:
            limit_threads(self._device, cpus)

    def device(self) -> str:
        return self._device

    def start(self, job: Job) -> Report | Outcome | Problem | None:
        self._steps = Steps(self._evaluate, job)
        return self.advance()

    def advance(self) -> Report | Outcome | Problem | None:
        if self._steps is None:
            return None
        step = self._steps.advance()
        if not isinstance(step, Report):
            self._steps = None
        return step

    def stop(self) -> None:
        if self._steps is not None:
            self._steps.close()
            self._steps = None

    def score(self, job: ScoreJob) -> list[Scored]:
        return score(job, self._device)
