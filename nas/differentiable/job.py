"""A differentiable search as a worker's job: from a relaxed architecture to the ordinary one found in it."""

from __future__ import annotations

from functools import partial
from typing import Any

from nas.differentiable.amended import amended_darts
from nas.differentiable.darts import darts
from nas.differentiable.method import Method
from nas.differentiable.rc import cost_table, rc_darts
from nas.differentiable.search import search
from nas.differentiable.settings import Settings
from nas.differentiable.sharp import sharp_darts
from nas.job import Evaluation, Found, Job, Outcome
from nas.tasks import Task
from nas.training import checkpoint
from nas.training.files import TrialFiles
from nas.training.measures import measure
from nas.training.seeding import derive, seeded
from search_spaces.decisions import Architecture
from search_spaces.mixtures.relaxation import Cap
from search_spaces.space import Space, find_space

SETTINGS = ("epochs", "warmup", "batch", "rate", "strength_rate")


def evaluate(job: Job, task: Task, files: TrialFiles) -> Evaluation:
    """Search a job's relaxed architecture; a checkpoint in its folder is gone on from, as in a training."""
    assert job.method is not None
    options, space = job.method.options, find_space(job.space)
    settings = Settings(**{name: options[name] for name in SETTINGS}, cap=Cap(most=options["cap"]))
    method = method_of(job.method.name, options, space, job, task)
    whose = checkpoint.trial_identity([job.architecture, vars(job.method)], task.content, job.seed, settings.epochs)
    checkpoints = checkpoint.Checkpoints(files, whose)
    state, _ = checkpoints.last()
    keep = partial(checkpoints.save, {})
    found = yield from search(
        space, job.architecture, task, method, settings, job.seed, job.device, state=state, keep=keep
    )
    return Outcome({}, found=(Found(found.architecture),))


def method_of(name: str, options: dict[str, Any], space: Space, job: Job, task: Task) -> Method:
    """Return the method that a strategy's name and options stand for."""
    if name == "darts":
        return darts(options["order"])
    if name == "sharp_darts":
        return sharp_darts(options["power"], options["order"])
    if name == "amended_darts":
        return amended_darts(options["coefficient"])
    assert name == "rc_darts"

    def cost(architecture: Architecture) -> float:
        with seeded(derive(job.seed, "cost")):
            network = space.build(architecture, task)
        return measure([options["resource"]], network, task, job.device)[options["resource"]]

    costs = cost_table(space, job.architecture, cost)
    return rc_darts(costs, options["bound"], order=options["order"], levels=options["levels"] or None)
