"""The commands `nas score` and `nas predictors`: architectures judged without training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.options import NO_SUCCESS, SQLITE, AsJson, Quiet, StoreUrl, check_workers, print_json
from nas.scoring.evaluate_command import EPILOG, evaluate_predictors

if TYPE_CHECKING:
    from nas.scoring.study import Scoring

Workers = Annotated[int | None, typer.Option("--workers", "-w", help="Processes (default: one a GPU, or one a core).")]
COUNT = 100
EXECUTORS = ("auto", "inline", "ray")

EXAMPLES = """[bold]Examples[/bold]

nas score --space kan_vision --count 1000 --predictor gradsign --predictor params --workers 2

nas score --space nasbench201 --predictor flops --count 500 --output scores.csv

nas score --space kan_vision --constraint "params<=200000" --study small"""

predictors = typer.Typer(rich_markup_mode="rich")


def score(
    space: Annotated[str, typer.Option(help="The search space (see `nas spaces`).")] = "kan_vision",
    count: Annotated[
        int | None, typer.Option(help=f"How many architectures to draw (default: {COUNT}; a small space has fewer).")
    ] = None,
    predictor: Annotated[
        list[str] | None, typer.Option(help="What scores; several times for several (default: consensus).")
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            help="Where samples come from: a task's training split, or noise, as gaussian:3x32x32:10 "
            "(default: noise of the shape that the space was published with, else digits)."
        ),
    ] = None,
    batch: Annotated[int, typer.Option(help="Samples that an architecture is scored with.")] = 16,
    memory: Annotated[
        str | None, typer.Option(help="What the work on samples may take: 512MB, 2GB (default: 1GiB).")
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(help="Hold a decision to some values: 'network.stages[*].width=8..24'.", metavar="PATH=VALUES"),
    ] = None,
    constraint: Annotated[
        list[str] | None, typer.Option(help="Score no network that breaks it: 'params<=200000'.")
    ] = None,
    architectures: Annotated[
        Path | None, typer.Option(help="Score those of a file instead: one a line, JSON or the space's notation.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write all scores to a CSV file.")] = None,
    top: Annotated[int, typer.Option(help="How many to show.", min=1)] = 10,
    workers: Workers = None,
    seed: Annotated[int, typer.Option(help="Of the draws, the samples and the initial weights.")] = 0,
    split_seed: Annotated[int, typer.Option(help="Of the split into train, validation and test.")] = 0,
    study: Annotated[
        str | None, typer.Option(help="The scoring's name, under which it goes on; a readable one is made up.")
    ] = None,
    store: StoreUrl = SQLITE,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Score architectures without training them, by predictors.

    Ends with the best and what to type next. Ctrl-C keeps everything: `nas resume NAME` goes on, and with --study the
    same command does. With another --predictor or a larger --count, the scoring of that name gets what it lacks.
    """
    from nas.scoring.settings import read_memory
    from nas.scoring.study import prepare
    from nas.settings import SettingsError

    check_workers(workers)
    check_output(output)
    if architectures is not None and count is not None:
        raise SettingsError("--count is how many are drawn, but --architectures are read: leave one of them out")
    made = prepare(
        space,
        predictor or (),
        COUNT if count is None else count,
        task,
        architectures,
        store,
        study,
        samples=batch,
        **({} if memory is None else {"memory": read_memory(memory)}),
        only=tuple(only or ()),
        constraints=tuple(constraint or ()),
        seed=seed,
        split_seed=split_seed,
    )
    go_on(made, workers, as_json, quiet, top, output)


@predictors.callback(invoke_without_command=True, epilog="[bold]Example[/bold]\n\nnas predictors")
def about_predictors(context: typer.Context, as_json: AsJson = False) -> None:
    """List the predictors, which judge networks that are not trained."""
    if context.invoked_subcommand is None:
        from nas.scoring import report

        found = report.predictor_records()
        print_json(found) if as_json else report.print_predictors(found)


predictors.command("evaluate", epilog=EPILOG)(evaluate_predictors)


def resume(
    name: str,
    count: int | None,
    workers: int | None,
    executor: str,
    trial_seconds: str | None,
    store: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """Go on with a scoring, or give it more architectures."""
    from nas.scoring.study import Scoring
    from nas.settings import SettingsError
    from nas.store import Store

    if executor not in EXECUTORS:
        raise SettingsError(f"--executor {executor!r} does not score networks: choose one of {', '.join(EXECUTORS)}")
    if executor == "inline" and workers not in (None, 1):
        raise SettingsError(f"--executor inline has one worker, but --workers is {workers}: use --executor ray")
    if trial_seconds is not None:
        raise SettingsError(f"--trial-seconds are virtual, but {name!r} is a scoring: leave them out")
    made = Scoring(Store.open(store), name)
    if count is not None:
        made.extend(count)
    go_on(made, 1 if executor == "inline" else workers, as_json, quiet)


def show(name: str, number: int | None, store: str, as_json: bool, top: int = 10) -> None:
    """Show a scoring, or one of its architectures."""
    from nas.scoring import report
    from nas.scoring.ranking import ranked
    from nas.scoring.study import Scoring
    from nas.store import Store, StoreError

    made = Scoring(Store.open(store), name)
    ranking = ranked(made)
    if number is None:
        print_json(report.scoring_record(made, ranking, top)) if as_json else report.print_scoring(made, ranking, top)
        return
    for each in ranking:
        if each.number == number:
            print_json(report.ranked_record(each)) if as_json else report.print_scored(made, each)
            return
    there = f"its architectures are 0 to {len(ranking) - 1}" if ranking else "it has none yet"
    raise StoreError(f"study {name!r} has no architecture {number}: {there}")


def go_on(
    made: Scoring, workers: int | None, as_json: bool, quiet: bool, top: int = 10, output: Path | None = None
) -> None:
    """Run a scoring, and print and write what came out."""
    from nas.interruption import interruptible
    from nas.scoring import report
    from nas.scoring.ranking import ranked, to_csv
    from nas.scoring.watching import watching
    from nas.study import make_executor

    with interruptible(f"nas resume {made.name}", made.store):
        with watching(made, silent=as_json or quiet) as watch:
            progress = made.run(make_executor(workers), watch)
    ranking = ranked(made)
    if output is not None:
        output.write_text(to_csv(made, ranking), encoding="utf-8", newline="")
    if as_json:
        again = {"architectures": progress.again, "reason": progress.why or None}
        print_json(report.scoring_record(made, ranking, top) | {"again": again})
    else:
        report.print_result(made, progress, ranking, top, output)
    if not any(value is not None for each in ranking for value in each.scores.values()):
        raise typer.Exit(NO_SUCCESS)


def check_output(output: Path | None) -> None:
    """Refuse a file that cannot be written before anything is scored."""
    from nas.settings import SettingsError

    if output is not None and (output.is_dir() or not output.parent.is_dir()):
        raise SettingsError(f"--output {str(output)!r} cannot be written: name a file in a folder that is there")
