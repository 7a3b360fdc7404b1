"""What a worker does with a job: build, measure, check constraints, train, and leave the weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import nn

from nas.job import Evaluation, Infeasible, Job, Origin, Outcome, OutOfMemory, Report
from nas.methods import follow
from nas.objectives import Constraint, broken, objective
from nas.tasks import Task, find_task
from nas.training import checkpoint
from nas.training.files import TrialFiles, files_of
from nas.training.forking import origin_state, same_network
from nas.training.loop import State, train
from nas.training.measures import measure
from nas.training.names import CHECKPOINT, WEIGHTS, of_attempt
from nas.training.seeding import derive, seeded
from nas.training.weights import save_weights
from predictors import lacks_memory
from search_spaces.decisions import identity
from search_spaces.expressions.stability import Unstable
from search_spaces.space import find_space


def evaluate(job: Job) -> Evaluation:
    """Judge one job: reports of the built network (step 0) and of each epoch, and the outcome at the end.

    A job that finds its own checkpoint reports again what was reported, and goes on from there; a damaged one is
    logged and training starts anew. A forked job goes on from its origin's checkpoint, and reports step 0 and what
    comes after the origin's epochs. The last checkpoint stays until the driver has the outcome in its store and
    deletes it. Trained objectives have the values of the last epoch. When every objective is cheap nothing is trained
    and no file is left. Raises Infeasible for a broken constraint, a loss that is not finite, or memory that does not
    suffice (OutOfMemory); CheckpointError for another trial's checkpoint, OriginError for an origin that cannot be
    gone on from.
    """
    try:
        with files_of(job) as files:
            return (yield from _evaluate(job, files))
    except (MemoryError, RuntimeError) as error:
        lack = out_of_memory(error)
        if lack is None:
            raise
    # Raised here, outside the handler: the first error's frames would keep the tensors alive.
    raise OutOfMemory(f"out of memory: {lack}")


def out_of_memory(error: BaseException) -> str | None:
    """Return the first line of an error that says that memory did not suffice, else None."""
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return first if lacks_memory(error) else None


def build(job: Job, task: Task) -> nn.Module:
    """Build a job's network, its initial weights drawn from the job's seed; raises Infeasible for what is unstable."""
    with _stable(), seeded(derive(job.seed, "build")):
        return find_space(job.space).build(job.architecture, task)


@contextmanager
def _stable() -> Iterator[None]:
    try:
        yield
    except Unstable as error:
        raise Infeasible(str(error)) from error


@dataclass
class Start:
    """What a training begins with: a network, a state to be put into it or None, and what is measured already."""

    network: nn.Module
    state: State | None
    measured: dict[str, float]


def _evaluate(job: Job, files: TrialFiles) -> Evaluation:
    task = find_task(job.task, job.split_seed)
    if job.method is not None:
        return (yield from follow(job, task, files))
    objectives = [objective(name) for name in job.objectives]
    trained = any(not each.cheap for each in objectives)
    whose = checkpoint.trial_identity(job.architecture, task.content, job.seed, job.epochs, job.segments)
    checkpoints = checkpoint.Checkpoints(files, whose, job.pauses if job.retain else ())
    start = _start(job, task, files, checkpoints)
    wanted = [o.name for o in objectives if o.cheap] + [c.name for c in job.constraints]
    missing = (name for name in wanted if name not in start.measured)
    measured = start.measured | measure(missing, start.network, task, job.device)
    yield Report(0, dict(measured))
    check(job.constraints, measured)
    if not trained:
        return Outcome({o.name: measured[o.name] for o in objectives})
    metrics: dict[str, float] = {}
    for report in _train(job, task, replace(start, measured=measured), checkpoints):
        metrics = report.metrics
        yield report
    name = of_attempt(WEIGHTS, job.attempt)
    save_weights(start.network, files.new(name), _metadata(job))
    values = {o.name: measured[o.name] if o.metric is None else metrics[o.metric] for o in objectives}
    return Outcome(values, {"weights": files.leave(name), "checkpoint": files.sign(CHECKPOINT)})


def _start(job: Job, task: Task, files: TrialFiles, checkpoints: checkpoint.Checkpoints) -> Start:
    """Begin with the trial's own last checkpoint, else with its origin's, else with a new network."""
    state, measured = checkpoints.last()
    if state is not None or job.origin is None:
        return Start(build(job, task), state, measured)
    state, measured = origin_state(job, job.origin, task.content, files)
    if same_network(job.origin.architecture, job.architecture):
        return Start(build(job, task), state, measured)
    network = _inherited(job, task, job.origin, state)
    return Start(network, State(network.state_dict(), {}, state.history), {})


def _inherited(job: Job, task: Task, origin: Origin, state: State) -> nn.Module:
    """Build a job's network with what it can take over of another architecture's weights."""
    from nas.training.inherit import inherit

    with _stable():
        space = find_space(job.space)
        return inherit(space, task, origin.architecture, state.network, job.architecture, job.seed)


def _train(job: Job, task: Task, start: Start, checkpoints: checkpoint.Checkpoints) -> Iterator[Report]:
    """Train to the last epoch with a checkpoint after each."""
    return train(
        start.network,
        task,
        job.architecture.get("training", {}),
        job.epochs,
        job.seed,
        job.device,
        start.state,
        partial(checkpoints.save, start.measured),
        job.segments,
        job.origin.step if job.origin else 0,
    )


def check(constraints: Iterable[Constraint], measured: Mapping[str, float]) -> None:
    """Raise Infeasible for the first constraint that the measured values break."""
    if reason := broken(constraints, measured):
        raise Infeasible(reason)


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
