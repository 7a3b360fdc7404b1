"""A study run by Ray Tune: its schedulers, our strategies and evaluation, results in our store.

The first objective is Tune's metric; the others are recorded, and told to strategies that know several. Tune's own
files lie in the study's folder (or storage) while it runs, and are removed at the end. A study is run once: Tune
restores an experiment without its scheduler's state, so what is interrupted is not gone on with.
"""

from __future__ import annotations

from typing import Any

from ray import tune
from ray.tune.error import TuneError
from ray.tune.search import BasicVariantGenerator

from nas.errors import UserError
from nas.execution.errors import ClusterLostError
from nas.execution.resources import Resources
from nas.integrations.tune.callback import StoreCallback
from nas.integrations.tune.configs import SEED
from nas.integrations.tune.evaluating import trainable
from nas.integrations.tune.rows import ENGINE, TUNE
from nas.integrations.tune.schedulers import populates, scheduler_of
from nas.integrations.tune.searcher import NasSearcher
from nas.integrations.tune.spaces import param_space
from nas.integrations.tune.surroundings import connected, files, noting_signals, quiet, seeded
from nas.job import Evaluate
from nas.progress import Progress, Watch
from nas.settings import Settings, SettingsError
from nas.store import StoreError, queries
from nas.study import Study
from nas.tasks import looked_up

ATTEMPTS = 3
INTERRUPTED = "interrupted"


class TuneRunError(UserError):
    """A run of Ray Tune that came to an end by itself; one line that says how."""


class Interrupted(Exception):
    """Ctrl-C, seen between two steps."""


class Lost(BaseException):
    """The Ray is gone. No Exception, upon which Tune would ask it once more, and wait for ever."""


def check(settings: Settings) -> None:
    """Refuse settings that Ray Tune, or this way of using it, does not do; raises UserError."""
    for name, used in (
        ("--screen", settings.screen is not None),
        ("--replay-schedule", settings.replay is not None),
        ("--trial-timeout", settings.trial_timeout is not None),
        ("--keep-checkpoints", settings.keep_checkpoints > 0),
    ):
        if used:
            raise SettingsError(f"{name} is not done by --engine tune: leave it out, or use --engine nas")
    if looked_up(settings.task):
        raise SettingsError(f"--engine tune trains, but task {settings.task} is looked up: use --engine nas")
    scheduler_of(settings)
    searcher = searcher_of(settings)
    if populates(settings):
        population(settings, searcher)


def refuse_resume(study: Study) -> None:
    """Raise StoreError for a study that Ray Tune has run: its schedulers' state is not restored."""
    if queries.study(study.store, study.name).settings.get(ENGINE) == TUNE:
        raise StoreError(
            f"study {study.name!r} was run by Ray Tune, which does not restore its scheduler and so cannot go on: "
            "start a new study with `nas search --engine tune --study NAME`"
        )


def run(
    study: Study,
    *,
    workers: int | None = None,
    address: str | None = None,
    watch: Watch = lambda progress: None,
    verbose: bool = False,
    evaluate: Evaluate | None = None,
) -> Progress:
    """Run all trials of a new study by Ray Tune, with the schedule, strategy and resources in its settings.

    Ray is that at `address`, else the one that is up in this process, else one that is started for so many `workers`.
    PBT and PB2 run as many members at a time as the Ray has room for, the others so many trials as `workers` says.
    Ctrl-C ends the trials under way as STOPPED, with the values that they had. Raises UserError, and StoreError for a
    study that has trials.
    """
    settings = study.settings
    check(settings)
    if queries.tally(study.store, study.row.id):
        refuse_resume(study)
        raise StoreError(f"study {study.name!r} has trials, and Ray Tune begins anew: choose another --study")
    resources = Resources(settings.cpus_per_trial, settings.gpus_per_trial)
    searcher = searcher_of(settings)
    progress = Progress(settings.trials, study.objectives)
    callback = StoreCallback(
        study.store, study.name, parents=searcher.parents, schedule=settings.schedule, progress=progress
    )
    with (
        quiet(verbose),
        seeded(settings.seed),
        connected(workers, resources, address) as (connection, settled),
        files(study) as place,
        noting_signals() as interrupted,
    ):

        def look(progress: Progress) -> None:
            try:
                connection.answers()
                watch(progress)
                if not interrupted():
                    return
            except ClusterLostError as error:
                raise Lost(str(error)) from None
            except KeyboardInterrupt:
                pass
            callback.ending = INTERRUPTED
            raise Interrupted

        callback.watch = look
        tuner = tune.Tuner(
            _trainable(settings, settled, evaluate),
            param_space=_space(settings) if populates(settings) else {},
            tune_config=_tune_config(study, searcher, workers or sum(map(settled.room, connection.nodes())) or 1),
            run_config=_run_config(place, callback, verbose),
        )
        _fit(tuner, callback)
    study.row = queries.study(study.store, study.name)
    return progress


def searcher_of(settings: Settings) -> NasSearcher:
    """Make the Searcher of a study; raises UserError."""
    return NasSearcher(
        settings.strategy,
        settings.space,
        settings.objectives,
        seed=settings.seed,
        options=settings.strategy_options,
        only=settings.only,
    )


def population(settings: Settings, searcher: NasSearcher) -> list[dict[str, Any]]:
    """Ask for all members of a population before any result is there; raises SettingsError."""
    members = []
    for number in range(settings.trials):
        member = searcher.suggest(str(number))
        if not isinstance(member, dict):
            raise SettingsError(
                f"strategy {settings.strategy} proposes {number} architectures before it knows a result, but "
                f"--schedule {settings.schedule} needs all {settings.trials} at once: use --strategy random, or fewer "
                "--trials"
            )
        members.append(member)
    return members


def _tune_config(study: Study, searcher: NasSearcher, workers: int) -> tune.TuneConfig:
    settings, first = study.settings, study.objectives[0]
    common: dict[str, Any] = dict(
        metric=first.name, mode="max" if first.maximize else "min", num_samples=settings.trials
    )
    common |= dict(scheduler=scheduler_of(settings), reuse_actors=True, trial_dirname_creator=_dirname)
    if populates(settings):
        members = population(settings, searcher)
        drawn = BasicVariantGenerator(points_to_evaluate=members, random_state=settings.seed)
        return tune.TuneConfig(search_alg=drawn, **common)
    return tune.TuneConfig(search_alg=searcher, max_concurrent_trials=workers, **common)


def _run_config(place: str, callback: StoreCallback, verbose: bool) -> tune.RunConfig:
    return tune.RunConfig(
        name="run",
        storage_path=place,
        callbacks=[callback],
        verbose=1 if verbose else 0,
        failure_config=tune.FailureConfig(max_failures=ATTEMPTS - 1),
        checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
    )


def _space(settings: Settings) -> dict[str, Any]:
    """Return what a population's members that are not active are drawn from."""
    return param_space(settings.space, settings.only) | {SEED: tune.randint(0, 2**31)}


def _dirname(trial: Any) -> str:
    return str(trial.trial_id)


def _fit(tuner: tune.Tuner, callback: StoreCallback) -> None:
    """Run to the end, and give the study back however it comes."""
    try:
        tuner.fit()
    except (Interrupted, KeyboardInterrupt):
        callback.ending = INTERRUPTED
        raise KeyboardInterrupt from None
    except Lost as error:
        callback.ending = "the Ray was lost"
        raise TuneRunError(
            f"the Ray of this search was lost, and Ray Tune cannot go on with it ({error}): what was reported is kept, "
            "start a new study"
        ) from None
    except Exception as error:
        if callback.error is not None:
            raise callback.error from None
        if isinstance(error, TuneError):
            told = [line.strip() for line in str(error).splitlines() if line.strip()]
            raise TuneRunError(f"Ray Tune gave up: {told[-1] if told else type(error).__name__}") from error
        raise
    finally:
        callback.close()


def _trainable(settings: Settings, resources: Resources, evaluate: Evaluate | None) -> type[tune.Trainable]:
    return trainable(
        settings.space,
        settings.task,
        settings.epochs,
        objectives=settings.objectives,
        constraints=settings.constraints,
        only=settings.only,
        split_seed=settings.split_seed,
        cpus=resources.cpus,
        gpus=resources.gpus or 0,
        raises=False,
        evaluate=evaluate,
    )
