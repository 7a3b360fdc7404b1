"""The scoring of architectures in a worker: networks are built, and never trained."""

from __future__ import annotations

import time

from torch.nn.functional import cross_entropy

from nas.job import Infeasible, Scored, ScoreJob
from nas.scoring import find_predictor
from nas.scoring.samples import draw_samples, find_source
from nas.training.evaluate import check
from nas.training.measures import measure
from nas.training.seeding import derive, seeded
from predictors import Batch, Unscorable, lacks_memory
from search_spaces.decisions import Architecture
from search_spaces.space import find_space


def judge(job: ScoreJob, architecture: Architecture, device: str = "cpu") -> list[Scored]:
    """Score one architecture with each predictor of the job.

    The network has the initial weights of the job's seed. What cannot be built, breaks a constraint or cannot be
    scored has no values, and says why.
    """
    predictors = [find_predictor(name) for name in job.predictors]
    source = find_source(job.task, job.split_seed)
    try:
        with seeded(derive(job.seed, "build")):
            network = find_space(job.space).build(architecture, source)
        check(job.constraints, measure((each.name for each in job.constraints), network, source, device))
        network.to(device)
        batch = Batch(*draw_samples(source, job.samples, job.seed), derive(job.seed, "predictor"), job.memory)
    except Exception as error:
        return [_failed(each.name, each.columns, error, 0.0) for each in predictors]
    found = []
    for each in predictors:
        begin = time.perf_counter()
        try:
            values = each.measure(network, batch, cross_entropy)
            found.append(Scored(each.name, values, None, time.perf_counter() - begin))
        except Exception as error:
            found.append(_failed(each.name, each.columns, error, time.perf_counter() - begin))
    return found


def _failed(name: str, columns: tuple[str, ...], error: Exception, seconds: float) -> Scored:
    said = " ".join(str(error).split())
    reason = said if isinstance(error, Infeasible | Unscorable) else f"{type(error).__name__}: {said}"
    return Scored(name, dict.fromkeys(columns), reason, seconds, lacks_memory(error))
