"""The commands that run a study: `nas search`, `nas resume` and `nas confirm`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.commands.studies import Name, is_scoring, open_study
from nas.interruption import interruptible
from nas.options import (
    CLUSTERS,
    NO_SUCCESS,
    SQLITE,
    AsJson,
    Quiet,
    RayAddress,
    StoreTimeout,
    StoreUrl,
    check_workers,
    print_json,
)
from nas.scoring import command as scoring
from nas.settings import Settings

if TYPE_CHECKING:
    from nas.progress import Progress
    from nas.study import Study

STORE_TIMEOUT = 600.0
SCHEDULES = "Schedules and checkpoints"
EXAMPLES = """[bold]Examples[/bold]

nas search --space kan_vision --trials 500

nas search --objective accuracy --objective latency --constraint "params<=200000" --trials 100

nas search --strategy nsga2 --schedule none --workers 2 --epochs 8 --seed 1 --study first

nas search --screen gradsign:8 --only 'network.stages[*].layer=conv2d,kan_conv2d' --trials 50

nas search --schedule pbt --trials 8 --epochs 20 --schedule-option interval=2

nas search --ray-address auto --gpus-per-trial 0.5 --storage s3://bucket/nas --store postgresql://me@db/nas

nas search --space digits_bench --task table:digits_bench --workers 16 --trials 200"""

Workers = Annotated[
    int | None,
    typer.Option("--workers", "-w", help="Trials at a time (default: one a GPU, or one a core; simulated: 1)."),
]
ExecutorName = Annotated[
    str,
    typer.Option(
        "--executor", help="auto, inline, ray, or simulated for results that are looked up.", metavar="EXECUTOR"
    ),
]
TrialSeconds = Annotated[
    str | None,
    typer.Option(help="What a simulated training takes: 2, or 1:5 for a random time (default: as the table says)."),
]
USUAL = Settings()


def search(
    space: Annotated[str, typer.Option(help="The search space (see `nas spaces`).")] = USUAL.space,
    task: Annotated[
        str, typer.Option(help="What the networks are trained for, or where results are looked up: table:PATH.")
    ] = USUAL.task,
    objective: Annotated[
        list[str] | None,
        typer.Option(
            help="What to optimise; several give a Pareto front (default: accuracy and params). "
            "Another column of a table: max:COLUMN or min:COLUMN."
        ),
    ] = None,
    constraint: Annotated[list[str] | None, typer.Option(help="A bound such as 'params<=200000'.")] = None,
    trials: Annotated[int, typer.Option(help="How many architectures to judge.")] = USUAL.trials,
    epochs: Annotated[
        int | None, typer.Option(help="Epochs of a full training (default: 8, or all that a table has).")
    ] = None,
    strategy: Annotated[str, typer.Option(help="What proposes (see `nas catalog strategy`).")] = USUAL.strategy,
    strategy_option: Annotated[
        list[str] | None, typer.Option(help="Another value of one of its options.", metavar="OPTION=VALUE")
    ] = None,
    schedule: Annotated[
        str,
        typer.Option(
            help="What stops trials early (asha, hyperband, median_stop) or changes them in mid-training (pbt, pb2).",
            rich_help_panel=SCHEDULES,
        ),
    ] = USUAL.schedule,
    schedule_option: Annotated[
        list[str] | None,
        typer.Option(help="Another value of one of its options.", metavar="OPTION=VALUE", rich_help_panel=SCHEDULES),
    ] = None,
    pbt_architecture: Annotated[
        bool,
        typer.Option(
            "--pbt-architecture",
            help="Let pbt change widths, depths and activations too; networks inherit weights.",
            rich_help_panel=SCHEDULES,
        ),
    ] = False,
    replay_schedule: Annotated[
        Path | None,
        typer.Option(
            help="Train as a schedule says that `nas export --schedule` wrote: its own network first.",
            metavar="FILE",
            rich_help_panel=SCHEDULES,
        ),
    ] = None,
    keep_checkpoints: Annotated[
        int,
        typer.Option(
            help="How many of the best ended trials keep their checkpoints.", min=0, rich_help_panel=SCHEDULES
        ),
    ] = USUAL.keep_checkpoints,
    trial_timeout: Annotated[
        float | None,
        typer.Option(help="Stop a trial after so many seconds.", metavar="SECONDS", rich_help_panel=SCHEDULES),
    ] = USUAL.trial_timeout,
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="Hold a decision to some values: 'network.stages[*].activation=relu,gelu', '...width=8..24'.",
            metavar="PATH=VALUES",
        ),
    ] = None,
    screen: Annotated[
        str | None,
        typer.Option(
            help="Score so many proposals untrained and train the best: 10, gradsign:10, gradsign+synflow:10 by mean "
            "rank, learned:gradsign+synflow:10 weighed by the study's own trials, or consensus+surrogate:50.",
            metavar="[PREDICTORS:]COUNT",
        ),
    ] = None,
    workers: Workers = None,
    executor: ExecutorName = "auto",
    trial_seconds: TrialSeconds = None,
    engine: Annotated[
        str, typer.Option(help="nas, or tune: Ray Tune's own schedulers.", rich_help_panel=CLUSTERS)
    ] = "nas",
    ray_address: RayAddress = None,
    cpus_per_trial: Annotated[
        float, typer.Option(help="Cores of a trial; a fraction shares one.", rich_help_panel=CLUSTERS)
    ] = USUAL.cpus_per_trial,
    gpus_per_trial: Annotated[
        float | None,
        typer.Option(
            help="GPUs of a trial; a fraction shares one (default: all there are, evenly).", rich_help_panel=CLUSTERS
        ),
    ] = USUAL.gpus_per_trial,
    storage: Annotated[
        str | None,
        typer.Option(
            help="Where checkpoints and weights go when workers do not see this disk: s3://..., gs://..., file:///...",
            metavar="URI",
            rich_help_panel=CLUSTERS,
        ),
    ] = USUAL.storage,
    store_timeout: StoreTimeout = STORE_TIMEOUT,
    seed: Annotated[
        int, typer.Option(help="Of the search: with one worker, or simulated, the same seed gives the same study.")
    ] = USUAL.seed,
    split_seed: Annotated[int, typer.Option(help="Of the split into train, validation and test.")] = USUAL.split_seed,
    study: Annotated[str | None, typer.Option(help="The study's name; a readable one is made up.")] = None,
    store: StoreUrl = SQLITE,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Search a space for a task.

    Ends with the Pareto front and what to type next. Ctrl-C keeps everything; `nas resume` goes on.
    """
    from nas import tuned
    from nas.catalog import read_settings
    from nas.checking import check, check_engine, check_executor, usual_epochs
    from nas.execution.simulated import read_seconds
    from nas.storage import check_storage
    from nas.store import Store
    from nas.study import Study
    from search_spaces.registry import find

    replay = None if replay_schedule is None else tuned.read(replay_schedule)
    if epochs is None and replay is not None:
        epochs = replay.epochs
    settings = Settings(
        space=space,
        task=task,
        objectives=tuple(objective or USUAL.objectives),
        constraints=tuple(constraint or ()),
        strategy=strategy,
        strategy_options=read_settings(find("strategy", strategy), strategy_option or [], "--strategy-option"),
        schedule=schedule,
        schedule_options=read_settings(find("schedule", schedule), schedule_option or [], "--schedule-option"),
        pbt_architecture=pbt_architecture,
        replay=None if replay is None else replay.to_json(),
        keep_checkpoints=keep_checkpoints,
        trial_timeout=trial_timeout,
        storage=storage,
        cpus_per_trial=cpus_per_trial,
        gpus_per_trial=gpus_per_trial,
        screen=screen,
        only=tuple(only or ()),
        trials=trials,
        epochs=usual_epochs(task, space) if epochs is None else epochs,
        seed=seed,
        split_seed=split_seed,
    )
    check(settings, study)
    seconds = read_seconds(trial_seconds)
    check_executor(task, executor, workers, seconds, ray_address)
    check_engine(settings, engine, executor)
    if storage is not None:
        check_storage(storage)
    made = Study.create(Store.open(store, create=True), settings, study)
    if engine == "tune":
        return _tune(made, as_json, quiet, workers, ray_address)
    _run(made, as_json, quiet, store_timeout, kind=executor, workers=workers, seconds=seconds, address=ray_address)


def resume(
    name: Name,
    trials: Annotated[int | None, typer.Option(help="A new, larger number of trials, or of architectures.")] = None,
    workers: Workers = None,
    executor: ExecutorName = "auto",
    trial_seconds: TrialSeconds = None,
    ray_address: RayAddress = None,
    store_timeout: StoreTimeout = STORE_TIMEOUT,
    store: StoreUrl = SQLITE,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Go on with a search or a scoring that was interrupted, or give it more trials or architectures."""
    from nas.checking import check_executor
    from nas.execution.simulated import read_seconds
    from nas.settings import SettingsError

    check_workers(workers)
    if trials is not None and trials < 1:
        raise SettingsError(f"--trials {trials} is not allowed: it must be at least 1")
    if is_scoring(name, store):
        return scoring.resume(name, trials, workers, executor, trial_seconds, store, as_json, quiet)
    study = open_study(name, store)
    seconds = read_seconds(trial_seconds)
    check_executor(study.settings.task, executor, workers, seconds, ray_address)
    if "engine" in study.row.settings:
        from nas.integrations.tune.engine import refuse_resume

        refuse_resume(study)
    if trials is not None:
        study.extend(trials)
    _run(study, as_json, quiet, store_timeout, kind=executor, workers=workers, seconds=seconds, address=ray_address)


def confirm(
    name: Name,
    top: Annotated[int, typer.Option(help="How many leaders.", min=1)] = 3,
    repeats: Annotated[int, typer.Option(help="Trainings of each, with fresh seeds.", min=1)] = 3,
    workers: Workers = None,
    store: StoreUrl = SQLITE,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Train the leaders of a study anew, and report mean and spread.

    The best of a noisy search is partly luck. From here on `best`, `export` and the dashboard show these figures.
    """
    from nas import records, tables
    from nas.study import make_executor
    from nas.watching import watching

    check_workers(workers)
    study = open_study(name, store)
    study.require_training("confirm")
    with interruptible(f"nas confirm {name} --top {top} --repeats {repeats}", study.store):
        with watching(study, silent=as_json or quiet) as watch:
            leaders = study.confirm(make_executor(workers), top, repeats, watch)
    if as_json:
        print_json(records.leader_records(study, leaders))
    else:
        tables.print_leaders(study, leaders, "Confirmed leaders")


def _run(study: Study, as_json: bool, quiet: bool, store_timeout: float, **executor: Any) -> None:
    from nas.study import executor_of
    from nas.watching import watching

    with interruptible(f"nas resume {study.name}", study.store):
        with watching(study, silent=as_json or quiet) as watch:
            progress = study.run(executor_of(study, **executor), watch, store_timeout=store_timeout)
    _show_run(study, progress, as_json)


def _tune(study: Study, as_json: bool, quiet: bool, workers: int | None, address: str | None) -> None:
    from nas.integrations.tune.engine import run
    from nas.watching import watching

    with interruptible(f"nas show {study.name}", study.store, "see it with"):
        with watching(study, silent=as_json or quiet) as watch:
            progress = run(study, workers=workers, address=address, watch=watch)
    _show_run(study, progress, as_json)


def _show_run(study: Study, progress: Progress, as_json: bool) -> None:
    from nas import records, tables
    from nas.store import State

    if as_json:
        print_json(
            records.study_record(study.store, study.row) | {"front": records.leader_records(study, study.front())}
        )
    else:
        tables.print_result(study, progress)
    if not progress.counts.get(State.COMPLETED):
        raise typer.Exit(NO_SUCCESS)
