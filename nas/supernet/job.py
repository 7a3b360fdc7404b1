"""The training of a supernet, and the search in it, as a worker's job."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from nas.job import Artifact, Evaluation, Found, Job, Outcome, Report, ScoreJob
from nas.scoring import find_predictor
from nas.scoring.judge import judge
from nas.settings import Ensemble
from nas.supernet.bank import Supernet
from nas.supernet.search import Predictor, SubnetSettings, Subnetwork, measured, subnet_search
from nas.supernet.storing import load, save
from nas.supernet.training import SupernetSettings, train_supernet
from nas.tasks import Task
from nas.training import checkpoint
from nas.training.files import TrialFiles
from nas.training.names import of_attempt
from nas.training.seeding import derive
from predictors import Column
from predictors.ensemble import by_rank
from search_spaces.decisions import Architecture
from search_spaces.limits import limited
from search_spaces.space import Space, find_space

WEIGHTS = "supernet.safetensors"
TRAINING = ("optimizer", "rate", "momentum", "weight_decay", "batch", "between", "distilled")


def evaluate(job: Job, task: Task, files: TrialFiles) -> Evaluation:
    """Train a supernet, or read one that is there, and search it; leaves the supernet as a file."""
    assert job.method is not None
    options, whole = job.method.options, find_space(job.space)
    part = limited(whole, job.only)
    if options.get("supernet"):
        left: dict[str, Artifact] = {}
        supernet = load(Path(options["supernet"]), whole, task, job.device)
    else:
        supernet = Supernet(whole, task, derive(job.seed, "supernet"), job.device)
        yield from _train(job, task, files, supernet, part)
        name = of_attempt(WEIGHTS, job.attempt)
        save(supernet, files.new(name))
        left = {"supernet": files.leave(name)}
    return Outcome({}, left, tuple(_found(each) for each in _search(job, supernet, part)))


def _train(job: Job, task: Task, files: TrialFiles, supernet: Supernet, part: Space) -> Iterator[Report]:
    assert job.method is not None
    options = job.method.options
    settings = SupernetSettings(rule=options["rule"], **{name: options[name] for name in TRAINING if name in options})
    whose = checkpoint.trial_identity([vars(job.method), job.only], task.content, job.seed, options["epochs"])
    checkpoints = checkpoint.Checkpoints(files, whose)
    state, _ = checkpoints.last()
    keep = partial(checkpoints.save, {})
    yield from train_supernet(supernet, options["epochs"], settings, within=part, state=state, keep=keep)


def _search(job: Job, supernet: Supernet, part: Space) -> list[Subnetwork]:
    """Search for small error and small cost, and return what was evaluated, the most promising first."""
    assert job.method is not None
    options = job.method.options
    targets = [measured(supernet, name) for name in options["targets"].split("+")]
    settings = SubnetSettings(
        evaluations=options["evaluations"], population=options["population"], seed=derive(job.seed, "subnets")
    )
    predictors = [_ensemble(job, options["predictors"])] if options["predictors"] else []
    return subnet_search(supernet, targets, settings, predictors, within=part).promising()


def _ensemble(job: Job, text: str) -> Predictor:
    """Return the mean rank by zero-cost predictors, on untrained networks, as one predictor of architectures."""
    names = Ensemble.parse(text).names
    asked = ScoreJob(names, (), job.seed, job.space, job.task, job.split_seed)

    def scores(architectures: Sequence[Architecture]) -> Column:
        judged = [judge(asked, each, job.device) for each in architectures]
        measured = [{column: value for each in row for column, value in each.values.items()} for row in judged]
        columns = {column: [row[column] for row in measured] for column in measured[0]}
        return by_rank([find_predictor(name).pooled(columns) for name in names])

    return scores


def _found(each: Subnetwork) -> Found:
    return Found(each.architecture, each.accuracy)
