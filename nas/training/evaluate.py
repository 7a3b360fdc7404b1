"""What a worker does with a job: build, measure, check constraints, train, and leave the weights."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Mapping

import torch
from torch import nn

from nas.job import Evaluation, Infeasible, Job, Outcome, Report
from nas.methods import follow
from nas.objectives import Constraint, broken, objective
from nas.tasks import Task, find_task
from nas.training import checkpoint
from nas.training.files import signed
from nas.training.loop import State, train
from nas.training.measures import measure
from nas.training.names import CHECKPOINT, WEIGHTS
from nas.training.seeding import derive, seeded
from nas.training.weights import save_weights
from predictors import lacks_memory
from search_spaces.decisions import identity
from search_spaces.expressions.stability import Unstable
from search_spaces.space import find_space

log = logging.getLogger(__name__)


def evaluate(job: Job) -> Evaluation:
    """Judge one job: reports of the built network (step 0) and of each epoch, and the outcome at the end.

    A job whose folder holds its checkpoint reports again what was reported, and goes on from there; a damaged
    checkpoint is logged and training starts anew. The last checkpoint stays until the driver has the outcome
    in its store and deletes it. Trained objectives have the values of the last epoch. When
    every objective is cheap nothing is trained and no file is left. Raises Infeasible for a broken constraint,
    a loss that is not finite, or memory that does not suffice; CheckpointError for another trial's checkpoint.
    """
    try:
        return (yield from _evaluate(job))
    except (MemoryError, RuntimeError) as error:
        lack = out_of_memory(error)
        if lack is None:
            raise
    # Raised here, outside the handler: the first error's frames would keep the tensors alive.
    raise Infeasible(f"out of memory: {lack}")


def out_of_memory(error: BaseException) -> str | None:
    """Return the first line of an error that says that memory did not suffice, else None."""
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return first if lacks_memory(error) else None


def build(job: Job, task: Task) -> nn.Module:
    """Build a job's network, its initial weights drawn from the job's seed; raises Infeasible for what is unstable."""
    try:
        with seeded(derive(job.seed, "build")):
            return find_space(job.space).build(job.architecture, task)
    except Unstable as error:
        raise Infeasible(str(error)) from error


def _evaluate(job: Job) -> Evaluation:
    task = find_task(job.task, job.split_seed)
    if job.method is not None:
        return (yield from follow(job, task))
    network = build(job, task)
    objectives = [objective(name) for name in job.objectives]
    state, measured = resumed(job, _identity(job, task))
    wanted = [o.name for o in objectives if o.cheap] + [c.name for c in job.constraints]
    measured |= measure((name for name in wanted if name not in measured), network, task, job.device)
    yield Report(0, dict(measured))
    check(job.constraints, measured)
    if all(o.cheap for o in objectives):
        return Outcome({o.name: measured[o.name] for o in objectives})
    metrics = yield from _train(job, task, network, state, measured)
    weights = job.folder / WEIGHTS
    save_weights(network, weights, _metadata(job))
    values = {o.name: measured[o.name] if o.metric is None else metrics[o.metric] for o in objectives}
    return Outcome(values, {"weights": signed(weights)})


def resumed(job: Job, whose: str) -> tuple[State | None, dict[str, float]]:
    """Return the state and the measures in the folder's checkpoint; None and no measures where there is none."""
    path = job.folder / CHECKPOINT
    if not path.exists():
        return None, {}
    try:
        return checkpoint.load(path, whose)
    except checkpoint.DamagedCheckpointError as error:
        log.warning("trial %d starts anew: %s", job.trial, error)
        return None, {}


def _train(
    job: Job, task: Task, network: nn.Module, state: State | None, measured: dict[str, float]
) -> Generator[Report, None, dict[str, float]]:
    """Train to the last epoch with a checkpoint after each, and return the last epoch's metrics."""
    job.folder.mkdir(parents=True, exist_ok=True)
    whose = _identity(job, task)

    def keep(state: State) -> None:
        checkpoint.save(job.folder / CHECKPOINT, whose, measured, state)

    metrics: dict[str, float] = {}
    for report in train(
        network, task, job.architecture.get("training", {}), job.epochs, job.seed, job.device, state, keep
    ):
        metrics = report.metrics
        yield report
    return metrics


def check(constraints: Iterable[Constraint], measured: Mapping[str, float]) -> None:
    """Raise Infeasible for the first constraint that the measured values break."""
    if reason := broken(constraints, measured):
        raise Infeasible(reason)


def _identity(job: Job, task: Task) -> str:
    return checkpoint.trial_identity(job.architecture, task.content, job.seed, job.epochs)


def _metadata(job: Job) -> dict[str, str | int]:
    return {
        "identity": identity(job.architecture),
        "space": job.space,
        "task": job.task,
        "split_seed": job.split_seed,
        "epochs": job.epochs,
        "seed": job.seed,
        "torch": torch.__version__,
    }
