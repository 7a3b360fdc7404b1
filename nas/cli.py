"""The command line. Every command imports what it needs when it runs, so that `nas --help` answers at once."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from nas.comparison.command import bench
from nas.errors import UserError
from nas.interruption import INTERRUPTED, interruptible
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
from nas.storing import command as storing
from search_spaces.decisions import DecisionError
from search_spaces.registry import UnknownName

if TYPE_CHECKING:
    from nas.progress import Progress
    from nas.study import Study

DONE, BAD_USAGE = 0, 2
STORE_TIMEOUT = 600.0
SCHEDULES = "Schedules and checkpoints"

app = typer.Typer(
    name="nas",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Begin with: [bold]nas search --space kan_vision --trials 20 --epochs 4[/bold]",
)

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
Name = Annotated[str, typer.Argument(help="The study's name.", metavar="STUDY")]
USUAL = Settings()

# Typer brings a click of its own, or uses the installed one; either way its usage errors are this class.
USAGE_ERROR: Any = typer.BadParameter.__base__


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Search for neural architectures and training hyperparameters, and keep every fact in SQL."""
    os.environ["NAS_DEBUG"] = "1" if debug else os.environ.get("NAS_DEBUG", "")


@app.command(
    rich_help_panel="Search",
    epilog="""[bold]Examples[/bold]

nas search --space kan_vision --trials 500

nas search --objective accuracy --objective latency --constraint "params<=200000" --trials 100

nas search --strategy nsga2 --schedule none --workers 2 --epochs 8 --seed 1 --study first

nas search --screen gradsign:8 --only 'network.stages[*].layer=conv2d,kan_conv2d' --trials 50

nas search --schedule pbt --trials 8 --epochs 20 --schedule-option interval=2

nas search --ray-address auto --gpus-per-trial 0.5 --storage s3://bucket/nas --store postgresql://me@db/nas

nas search --space digits_bench --task table:digits_bench --workers 16 --trials 200""",
)
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
            help="Let pbt and pb2 change widths, depths and activations too; networks inherit weights.",
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


@app.command(rich_help_panel="Search", epilog="[bold]Example[/bold]\n\nnas resume first --trials 200")
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
    if _is_scoring(name, store):
        return scoring.resume(name, trials, workers, executor, trial_seconds, store, as_json, quiet)
    study = _open(name, store)
    seconds = read_seconds(trial_seconds)
    check_executor(study.settings.task, executor, workers, seconds, ray_address)
    if "engine" in study.row.settings:
        from nas.integrations.tune.engine import refuse_resume

        refuse_resume(study)
    if trials is not None:
        study.extend(trials)
    _run(study, as_json, quiet, store_timeout, kind=executor, workers=workers, seconds=seconds, address=ray_address)


@app.command(rich_help_panel="Search", epilog="[bold]Example[/bold]\n\nnas confirm first --top 3 --repeats 3")
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
    study = _open(name, store)
    study.require_training("confirm")
    with interruptible(f"nas confirm {name} --top {top} --repeats {repeats}", study.store):
        with watching(study, silent=as_json or quiet) as watch:
            leaders = study.confirm(make_executor(workers), top, repeats, watch)
    if as_json:
        print_json(records.leader_records(study, leaders))
    else:
        tables.print_leaders(study, leaders, "Confirmed leaders")


@app.command("list", rich_help_panel="Results")
def list_studies(store: StoreUrl = SQLITE, as_json: AsJson = False) -> None:
    """List the studies of a store."""
    from nas import records, tables
    from nas.store import Store, queries

    opened = Store.open(store)
    if as_json:
        print_json([records.study_record(opened, row) for row in queries.studies(opened)])
    else:
        tables.print_studies(opened, queries.studies(opened))


@app.command(rich_help_panel="Results", epilog="[bold]Example[/bold]\n\nnas show first --trial 17")
def show(
    name: Name,
    trial: Annotated[int | None, typer.Option(help="One trial, with its decisions and curves.")] = None,
    store: StoreUrl = SQLITE,
    as_json: AsJson = False,
) -> None:
    """Show a study, or one of its trials; of a scoring the best architectures, or one of them."""
    from nas import records, tables

    if _is_scoring(name, store):
        return scoring.show(name, trial, store, as_json)
    study = _open(name, store)
    if trial is not None:
        row = study.trial(trial)
        print_json(records.trial_record(study, row)) if as_json else tables.print_trial(study, row)
    elif as_json:
        print_json(
            records.study_record(study.store, study.row) | {"front": records.leader_records(study, study.front())}
        )
    else:
        tables.print_study(study)


@app.command(rich_help_panel="Results", epilog="[bold]Example[/bold]\n\nnas best first --top 5")
def best(
    name: Name,
    top: Annotated[int, typer.Option(help="At most so many.", min=1)] = 10,
    store: StoreUrl = SQLITE,
    as_json: AsJson = False,
) -> None:
    """Show the best trials: the Pareto front, or with one objective the top of the list."""
    from nas import records, tables

    study = _open(name, store)
    leaders = study.leaders(top)
    print_json(records.leader_records(study, leaders)) if as_json else tables.print_leaders(study, leaders, "Best")


@app.command(rich_help_panel="Results", epilog="[bold]Example[/bold]\n\nnas compare first second")
def compare(
    names: Annotated[list[str], typer.Argument(help="Two studies or more.", metavar="STUDY...")],
    store: StoreUrl = SQLITE,
    as_json: AsJson = False,
) -> None:
    """Compare studies: trials, time, best values and, with the same objectives, hypervolume."""
    from nas import records, tables

    studies = [_open(name, store) for name in names]
    print_json(records.comparison_records(studies)) if as_json else tables.print_comparison(studies)


@app.command(rich_help_panel="Results", epilog="[bold]Example[/bold]\n\nnas export first --trial 17 --output best/")
def export(
    name: Name,
    trial: Annotated[int | None, typer.Option(help="Which trial (default: the best).")] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A new or empty folder (best), or with --schedule a file (schedule.json)."),
    ] = None,
    schedule: Annotated[
        bool, typer.Option("--schedule", help="Only how it was trained, as JSON for `nas search --replay-schedule`.")
    ] = False,
    store: StoreUrl = SQLITE,
) -> None:
    """Export a trained network: weights, architecture and model card, checked to load back with the same outputs."""
    from nas.store import StoreError

    study = _open(name, store)
    study.require_training("export")
    if trial is None:
        leaders = study.leaders(1)
        if not leaders:
            raise StoreError(f"study {name!r} has no completed trial to export: `nas resume {name}` first")
        trial = leaders[0].number
    if schedule:
        output = output or Path("schedule.json")
        study.export_schedule(trial, output)
        typer.echo(f"how trial {trial} of {name} was trained is in {output}")
        typer.echo(f"next: nas search --space {study.settings.space} --replay-schedule {output} --trials 1")
        return
    output = output or Path("best")
    study.export(trial, output)
    typer.echo(f"trial {trial} of {name} is in {output}/, and loads back with the same outputs")
    typer.echo(f"next: nas evaluate {output} --split test")


@app.command(rich_help_panel="Results", epilog="[bold]Example[/bold]\n\nnas evaluate best/ --task digits --split test")
def evaluate(
    folder: Annotated[Path, typer.Argument(help="A folder that `nas export` wrote.")],
    task: Annotated[str | None, typer.Option(help="By default the one it was trained for.")] = None,
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    as_json: AsJson = False,
) -> None:
    """Judge an exported network on a split of a task."""
    from nas.export import evaluate_folder

    result = evaluate_folder(folder, task, split)
    if as_json:
        print_json(result)
    else:
        typer.echo(
            f"accuracy {result['accuracy']:.4f}, loss {result['loss']:.4f} nats on {result['samples']} samples "
            f"({result['task']}, split {result['split']} of seed {result['split_seed']})"
        )


@app.command(rich_help_panel="Results", epilog="[bold]Example[/bold]\n\nnas dashboard --port 8050")
def dashboard(
    store: StoreUrl = SQLITE,
    host: Annotated[str, typer.Option(help="Any but a loopback address asks for a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8050,
    token: Annotated[str | None, typer.Option(envvar="NAS_TOKEN", help="Made up when it is needed.")] = None,
) -> None:
    """Open the dashboard: studies, live Pareto fronts, trials."""
    import secrets

    from dashboard.access import loopback
    from dashboard.app import serve
    from nas.store import Store

    opened = Store.open(store)
    if token is None and not loopback(host):
        token = secrets.token_urlsafe(24)
    with suppress(KeyboardInterrupt):
        serve(opened.address, host, port, token, ready=lambda link: typer.echo(f"dashboard at {link} (Ctrl-C ends it)"))


@app.command(rich_help_panel="What there is", epilog="[bold]Example[/bold]\n\nnas spaces kan_vision")
def spaces(
    name: Annotated[str | None, typer.Argument(help="One space, with its decisions.")] = None, as_json: AsJson = False
) -> None:
    """List the search spaces, or show the decisions of one."""
    from nas import tables
    from search_spaces.registry import entries
    from search_spaces.space import find_space

    if name is not None:
        space = find_space(name)
        print_json(space.describe()) if as_json else tables.print_space(space)
        return
    known = [find_space(each) for each in entries("space")]
    print_json([space.describe() for space in known]) if as_json else tables.print_spaces(known)


class Catalog(TyperGroup):
    """Reads `catalog basis` as `catalog list basis`: what is none of its commands is a kind."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put `list` before arguments that do not begin with a command."""
        if not args or args[0] not in {*self.commands, *ctx.help_option_names}:
            args = ["list", *args]
        return super().parse_args(ctx, args)


catalog = typer.Typer(
    cls=Catalog,
    rich_markup_mode="rich",
    subcommand_metavar="[KIND] | show NAME",
    epilog="""[bold]Examples[/bold]

nas catalog basis

nas catalog show bspline --set order=2 --output bspline.svg""",
)
app.add_typer(catalog, name="catalog", rich_help_panel="What there is")
app.add_typer(bench, name="bench", rich_help_panel="Search")
app.add_typer(storing.store, name="store", rich_help_panel="Results")
app.add_typer(scoring.predictors, name="predictors", rich_help_panel="What there is")
app.command(rich_help_panel="Search", epilog=scoring.EXAMPLES)(scoring.score)


@catalog.callback()
def about_catalog() -> None:
    """List everything registered, or show one component with its functions drawn."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # formulas have letters that not every terminal can show


@catalog.command("list", epilog="[bold]Example[/bold]\n\nnas catalog basis")
def catalog_list(
    kind: Annotated[str | None, typer.Argument(help="One kind: activation, basis, layer, ...", metavar="KIND")] = None,
    as_json: AsJson = False,
) -> None:
    """List everything registered, or one kind. This is what `nas catalog` does without a command."""
    import nas.objectives  # noqa: F401 (registers the objectives)
    from nas import records, tables
    from nas.catalog import listed

    found = listed(kind)
    print_json([records.entry_record(entry) for entry in found]) if as_json else tables.print_catalog(found)


@catalog.command("show", epilog="[bold]Example[/bold]\n\nnas catalog show bspline --set order=2 --output bspline.svg")
def catalog_show(
    name: Annotated[str, typer.Argument(help="A component, strategy, objective, ...", metavar="NAME")],
    kind: Annotated[str | None, typer.Option(help="Its kind, where several have the name.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Another value of an option, such as order=2.", metavar="OPTION=VALUE"),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Draw to a .png or .svg file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show one registered name in full; of an activation or a basis, the functions are drawn."""
    import nas.objectives  # noqa: F401 (registers the objectives)
    from nas import records, showing, tables
    from nas.catalog import find

    shown = showing.prepare(find(name, kind), settings or [], output)
    if output is not None:
        showing.save(shown, output)
    if as_json:
        print_json(records.shown_record(shown))
    else:
        tables.print_shown(shown)
        if output is not None:
            typer.echo(f"picture in {output}")


@app.command(rich_help_panel="What there is")
def doctor(as_json: AsJson = False) -> None:
    """Check this installation: versions, devices, import names, the folder."""
    from nas import tables
    from nas.doctor import examine

    findings = examine()
    if as_json:
        print_json([vars(finding) for finding in findings])
    else:
        tables.print_findings(findings)
    if any(finding.level == "error" for finding in findings):
        raise typer.Exit(1)


def main() -> None:
    """Run the command line; an error of the user's is one line and exit code 2."""
    try:
        code = app(sys.argv[1:] or ["--help"], prog_name="nas", standalone_mode=False)
    except USAGE_ERROR as error:
        where = error.ctx.command_path if error.ctx else "nas"
        inputs = [each["input"] for each in error.__cause__.errors()] if hasattr(error.__cause__, "errors") else []
        got = f", but got {inputs[0]!r}" if inputs else ""
        code = _complain(f"{error.format_message().rstrip('.')}{got} (see `{where} --help`)")
    except (UserError, DecisionError, UnknownName) as error:
        if os.environ.get("NAS_DEBUG"):
            raise
        code = _complain(str(error))
    except (typer.Abort, KeyboardInterrupt):
        code = INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = DONE
    except OSError as error:
        if os.environ.get("NAS_DEBUG"):
            raise
        code = _complain(f"{error}: see that it can be written to and that the disk has room")
    sys.exit(code if isinstance(code, int) else DONE)


def _complain(message: str) -> int:
    typer.echo(f"nas: {' '.join(message.split())}", err=True)
    return BAD_USAGE


def _open(name: str, store: str) -> Study:
    from nas.study import open_study

    return open_study(name, store)


def _is_scoring(name: str, store: str) -> bool:
    from nas.store import Store, queries

    return queries.study(Store.open(store), name).scoring is not None


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
