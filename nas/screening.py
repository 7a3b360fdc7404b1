"""Screening: proposals scored on their untrained networks, by the predictors of `predictors/`.

A predictor is a module there with a function `score(network, inputs, targets, loss)`, higher is better, named
after its module.
"""

from __future__ import annotations

import importlib
import pkgutil
from random import Random

import predictors
from nas.job import Infeasible, ScoreJob
from search_spaces.decisions import Architecture
from search_spaces.registry import Entry, add, find

SAMPLES = 32

for _module in pkgutil.iter_modules(predictors.__path__):
    _predictor = importlib.import_module(f"predictors.{_module.name}")
    if hasattr(_predictor, "score"):
        add(Entry("predictor", _module.name, _predictor.score, (_predictor.__doc__ or "").strip().split("\n")[0]))


def score_proposal(job: ScoreJob, architecture: Architecture, name: str) -> tuple[float | None, str | None]:
    """Return (score by the named predictor, None), or (None, why there is none).

    The network has the initial weights of the job's seed; the samples are a draw from the training split.
    """
    import torch
    from torch.nn.functional import cross_entropy

    from nas.tasks import find_task
    from nas.training.evaluate import check
    from nas.training.measures import measure
    from nas.training.seeding import derive, seeded
    from search_spaces.space import find_space

    predictor = find("predictor", name).make
    task = find_task(job.task, job.split_seed)
    inputs, targets = task.train()
    picked = torch.tensor(Random(f"{job.seed}/screen").sample(range(len(inputs)), min(SAMPLES, len(inputs))))
    try:
        with seeded(derive(job.seed, "build")):
            network = find_space(job.space).build(architecture, task)
        check(job.constraints, measure((each.name for each in job.constraints), network, task))
        return predictor(network, inputs[picked], targets[picked], cross_entropy), None
    except (Infeasible, predictors.Unscorable) as error:
        return None, str(error)
