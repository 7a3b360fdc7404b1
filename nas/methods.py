"""The methods that train a supernet on a worker: which module follows each, imported when a job asks for it."""

from __future__ import annotations

import importlib

from nas.job import Evaluation, Job, Outcome
from nas.tasks import Task
from nas.training.files import TrialFiles

MODULES = {
    "darts": "nas.differentiable.job",
    "rc_darts": "nas.differentiable.job",
    "sharp_darts": "nas.differentiable.job",
    "amended_darts": "nas.differentiable.job",
    "one_shot": "nas.supernet.job",
    "sorted_subnets": "nas.supernet.job",
    "subnet_search": "nas.supernet.job",
}


def follow(job: Job, task: Task, files: TrialFiles) -> Evaluation:
    """Train the supernet of a job with its method: reports of each epoch, and what was found at the end."""
    assert job.method is not None
    module = importlib.import_module(MODULES[job.method.name])
    outcome: Outcome = yield from module.evaluate(job, task, files)
    return outcome
