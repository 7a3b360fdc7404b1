"""The command `nas predictors evaluate`: how far scores of untrained networks order them as training does."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.options import SQLITE, AsJson, Quiet, StoreUrl, print_json

if TYPE_CHECKING:
    from nas.scoring.bulk import Watch
    from nas.scoring.evaluation import Evaluation
    from nas.scoring.trained import Trained
    from nas.store import Store

USUAL = ("consensus", "gradsign", "synflow", "naswot")
USUAL_COUNT, USUAL_BATCH = 1000, 16
FORMS = (".png", ".svg", ".html")
EPILOG = """[bold]Examples[/bold]

nas predictors evaluate --space nasbench201 --table nasbench201.csv.gz --count 1000 --output scatter.png

nas predictors evaluate --study first --predictor gradsign --predictor consensus"""


def evaluate_predictors(
    study: Annotated[
        str | None,
        typer.Option(help="Evaluate on the trained trials of a study; with --table, where the scores are kept."),
    ] = None,
    table: Annotated[
        str | None, typer.Option(help="Evaluate on a table of results of trained networks.", metavar="PATH")
    ] = None,
    space: Annotated[str | None, typer.Option(help="The search space that the table is of.")] = None,
    column: Annotated[
        str | None, typer.Option(help="Its column that is compared (default: one that begins with test).")
    ] = None,
    count: Annotated[
        str | None,
        typer.Option(help=f"How many of the table, drawn at random, or all (default: {USUAL_COUNT:,} if it has them)."),
    ] = None,
    predictor: Annotated[
        list[str] | None,
        typer.Option(help=f"Which, besides the baselines (default: {', '.join(USUAL)}; see `nas predictors`)."),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            help="What a table's networks are scored with "
            "(default: noise of the space's own shape, digits for a space without one)."
        ),
    ] = None,
    batch: Annotated[int | None, typer.Option(help="How many samples of it (default: 16).", min=1)] = None,
    resamples: Annotated[int, typer.Option(help="Of the bootstrap.", min=1)] = 1000,
    seed: Annotated[int, typer.Option(help="Of the draw, the scores of a table's networks and the bootstrap.")] = 0,
    workers: Annotated[
        int | None, typer.Option("--workers", "-w", help="Architectures at a time (default: one a GPU or core).", min=1)
    ] = None,
    store: StoreUrl = SQLITE,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Draw to a .png, .svg or .html file.")] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Compare scores of untrained networks with the results of trained ones, beside the baselines.

    Rank correlations with 95 % intervals, over all architectures, those whose output depends on their input, and the
    best tenth. Scores are kept, so that the same command goes on where it was interrupted.
    """
    from nas.scoring import find_predictor
    from nas.scoring.command import check_output
    from nas.scoring.evaluation import evaluate, score_study, score_table, study_job, table_job
    from nas.scoring.evaluation_report import print_evaluation, record
    from nas.scoring.trained import from_study, from_table
    from nas.settings import SettingsError
    from nas.store import Store
    from nas.study import Study
    from predictors.evaluate import BASELINES

    if output is not None and output.suffix.lower() not in FORMS:
        raise SettingsError(f"--output {str(output)!r} ends in none of {', '.join(FORMS)}: name such a file")
    check_output(output)
    names = tuple(dict.fromkeys([*(predictor or USUAL), *BASELINES]))
    for name in names:
        find_predictor(name)
    if table is not None:
        if space is None:
            raise SettingsError(f"--table {table!r} needs the --space that it is of, such as nasbench201")
        trained = from_table(space, table, _number(count, space, table, column), column, seed)
        name, samples = study or f"evaluate-{space}", batch or USUAL_BATCH
        job = table_job(trained, names, task, samples, seed)
        opened = Store.open(store, create=True)
        with _going_on(trained, names, opened, silent=as_json or quiet) as watch:
            kept = score_table(
                trained, names, opened, name, workers=workers, task=task, samples=samples, seed=seed, watch=watch
            )
    elif study is not None:
        of_tables = {"--space": space, "--count": count, "--column": column, "--task": task, "--batch": batch}
        if spare := [option for option, value in of_tables.items() if value is not None]:
            raise SettingsError(f"{spare[0]} is for a --table, but study {study!r} has its own: leave it out")
        opened = Store.open(store)
        made = Study(opened, study)
        trained, job = from_study(made), study_job(made, names)
        with _going_on(trained, names, opened, silent=as_json or quiet) as watch:
            kept = score_study(made, trained, names, workers, watch)
    else:
        raise SettingsError("there is nothing to evaluate on: name a --table with its --space, or a --study")
    found = evaluate(trained, names, kept, resamples, seed)
    if as_json:
        print_json(record(found, job))
    else:
        print_evaluation(found, job)
    if output is not None:
        _draw(found, output)
        if not as_json:
            typer.echo(f"picture in {output}")


@contextmanager
def _going_on(trained: Trained, names: tuple[str, ...], store: Store, *, silent: bool) -> Iterator[Watch]:
    """Watch a scoring, which the same command goes on with where Ctrl-C ends it."""
    from nas.interruption import interruptible
    from nas.scoring.watching import following

    head = f"{len(trained.architectures):,} architectures of {trained.source} by {', '.join(names)}"
    with interruptible(f"nas {shlex.join(sys.argv[1:])}", store), following(head, silent=silent) as watch:
        yield watch


def _number(count: str | None, space: str, table: str, column: str | None) -> int | None:
    """Return how many architectures are drawn, None for all."""
    from nas.scoring.trained import from_table
    from nas.settings import SettingsError

    if count is None:
        there = len(from_table(space, table, None, column).results)
        return USUAL_COUNT if there > USUAL_COUNT else None
    if count != "all" and not (count.isdecimal() and int(count) > 0):
        raise SettingsError(f"--count {count!r} does not parse: write a number from 1 up, or all")
    return None if count == "all" else int(count)


def _draw(found: Evaluation, output: Path) -> None:
    form = output.suffix.lower()
    if form == ".html":
        from nas.scoring.scatter_page import page

        output.write_text(page(found), encoding="utf-8")
    else:
        from nas.scoring.scatter import picture

        output.write_bytes(picture(found, form))
