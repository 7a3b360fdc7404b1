"""The command `nas bench`: strategies compared on a table of real results."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

bench = typer.Typer(rich_markup_mode="rich", no_args_is_help=True)


@bench.callback()
def about_bench() -> None:
    """Compare strategies on tables of real results, in seconds."""


@bench.command(
    "strategies",
    epilog=r"""[bold]Examples[/bold]

nas bench strategies --strategies random,regularized_evolution --trials 100 --seeds 20

nas bench strategies --space nasbench201 --table nasbench201.csv.gz --strategies random,tpe --workers 1,8

nas bench strategies --strategies "random,regularized_evolution\[population=20]" --output strategies.svg""",
)
def strategies(
    table: Annotated[
        str, typer.Option(help="A table of results, or the name of one that comes along.")
    ] = "digits_bench",
    space: Annotated[str, typer.Option(help="The search space that the table is of.")] = "digits_bench",
    strategies: Annotated[
        str, typer.Option(help=r"Which to compare, options in brackets: random,gp\[startup=20].", metavar="NAMES")
    ] = "random,tpe,regularized_evolution",
    objective: Annotated[
        list[str] | None, typer.Option(help="What a search selects by; several give hypervolumes (default: accuracy).")
    ] = None,
    test: Annotated[
        str | None, typer.Option(help="The column shown of what was selected (default: one that begins with test).")
    ] = None,
    target: Annotated[float | None, typer.Option(help="How soon this test value is reached.")] = None,
    schedule: Annotated[str, typer.Option(help="What stops trials early.")] = "none",
    epochs: Annotated[int | None, typer.Option(help="Epochs of a full training (default: the table's).", min=1)] = None,
    trials: Annotated[int, typer.Option(help="Trials of each search.", min=1)] = 100,
    seeds: Annotated[int, typer.Option(help="Searches of each strategy.", min=1)] = 20,
    workers: Annotated[str, typer.Option(help="Virtual workers, one number or several: 1,8.", metavar="NUMBERS")] = "1",
    processes: Annotated[int | None, typer.Option(help="Processes to use (default: one a core).", min=1)] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Draw to a .png or .svg file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for other programs.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print no progress.")] = False,
) -> None:
    """Compare strategies on a table: what the selected trial tests at, by number of trials, over many seeds.

    A search sees the objectives' columns alone. Shown are means over the seeds with their 95 % intervals.
    """
    from nas.checking import usual_epochs
    from nas.comparison.report import record, summary
    from nas.comparison.runs import compare, contenders, plan
    from nas.comparison.table import picture_file, print_comparison, ticking
    from nas.records import plain
    from nas.settings import Settings

    settings = Settings(
        space=space,
        task=f"table:{table}",
        objectives=tuple(objective or ["accuracy"]),
        schedule=schedule,
        trials=trials,
        epochs=epochs or usual_epochs(f"table:{table}", space),
    )
    entrants, counts = contenders(strategies), _numbers(workers)
    planned = plan(settings, test, entrants)
    drawn = picture_file(output)
    with ticking(silent=as_json or quiet) as tick:
        found = compare(planned, entrants, counts, seeds, processes or len(os.sched_getaffinity(0)), tick)
    comparison = summary(planned, found, target)
    if drawn is not None:
        from nas.comparison.picture import picture

        drawn.write_bytes(picture(comparison, drawn.suffix.lower()))
    if as_json:
        typer.echo(json.dumps(plain(record(comparison)), indent=2, allow_nan=False))
    else:
        print_comparison(comparison)
        if drawn is not None:
            typer.echo(f"picture in {drawn}")


def _numbers(text: str) -> list[int]:
    from nas.settings import SettingsError

    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise SettingsError(f"--workers {text!r} does not parse: write one number or several, as 1,8")
    return list(dict.fromkeys(map(int, parts)))
