"""The command `nas store`: a store as a whole is upgraded, checked, carried elsewhere, written for Optuna."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.options import SQLITE, AsJson, Quiet, StoreUrl, print_json

if TYPE_CHECKING:
    from nas.storing.check import Check

WRONG = 1
SHOWN = 20

store = typer.Typer(rich_markup_mode="rich", no_args_is_help=True)

Studies = Annotated[
    list[str] | None, typer.Option("--study", help="One study; several times for several (default: all).")
]


@store.callback()
def about_store() -> None:
    """Upgrade a store, check it, carry studies to another one, or write them for Optuna."""


@store.command(epilog="[bold]Example[/bold]\n\nnas store upgrade --store postgresql://me@host/nas")
def upgrade(url: StoreUrl = SQLITE) -> None:
    """Bring a store that an older nas made to the schema of this one.

    A SQLite file is upgraded when it is opened, too; a PostgreSQL database only by this, once nothing runs on it.
    """
    from nas.store import Store
    from nas.store.database import REVISION

    opened = Store.open(url, upgrade=True)
    if opened.found == REVISION:
        typer.echo(f"{opened.url} has schema {REVISION} already")
    else:
        typer.echo(f"{opened.url} is upgraded from schema {opened.found} to {REVISION}")


@store.command(epilog="[bold]Example[/bold]\n\nnas store check --files")
def check(
    study: Studies = None,
    files: Annotated[bool, typer.Option("--files", help="Read the files of trials, too, and compare SHA-256.")] = False,
    url: StoreUrl = SQLITE,
    as_json: AsJson = False,
) -> None:
    """Check that a store is sound: its file, what its rows say of each other, the files of its trials.

    Exit code 1 where something is wrong.
    """
    from nas.storing.check import check_store

    checks = check_store(url, study or (), files=files)
    if as_json:
        print_json([vars(each) for each in checks])
    else:
        _print(checks)
    if any(each.wrong for each in checks):
        raise typer.Exit(WRONG)


@store.command(
    "export",
    epilog="""[bold]Examples[/bold]

nas store export all.jsonl.gz

nas store export first.jsonl.gz --study first --files""",
)
def export_studies(
    file: Annotated[Path, typer.Argument(help="A new file.")],
    study: Studies = None,
    files: Annotated[
        bool, typer.Option("--files", help="Write the studies' files, too, to FILE.files.tar; else they stay.")
    ] = False,
    url: StoreUrl = SQLITE,
) -> None:
    """Write studies to one file, which `nas store import` takes into any other store."""
    from nas.store import Store
    from nas.storing.exporting import export_store

    done = export_store(Store.open(url), file, study or (), files=files)
    typer.echo(f"{', '.join(done.studies)}: {done.rows['trial']} trials are in {done.path}")
    typer.echo(f"their files are in {done.files}" if done.files else "their files stay where they are")
    typer.echo(f"next: nas store import {done.path} --store URL")


@store.command(
    "import",
    epilog="""[bold]Examples[/bold]

nas store import all.jsonl.gz --store postgresql://me@host/nas

nas store import first.jsonl.gz --as second""",
)
def import_studies(
    file: Annotated[Path, typer.Argument(help="A file that `nas store export` wrote.")],
    study: Studies = None,
    renamed: Annotated[
        str | None, typer.Option("--as", help="Another name for the one study that is taken.", metavar="NAME")
    ] = None,
    url: StoreUrl = SQLITE,
) -> None:
    """Take studies from a file into a store, all of them or none.

    Without their files in a tar beside the file, the studies go on using them where they are: run a study in one
    store only from then on.
    """
    from nas.checking import check_name
    from nas.store import Store
    from nas.storing.importing import import_store

    if renamed is not None:
        check_name(renamed)
    opened = Store.open(url, create=True)
    done = import_store(opened, file, study or (), renamed)
    typer.echo(f"{', '.join(done.studies)}: {done.rows['trial']} trials are in {opened.url}")
    for name, folder in done.folders.items():
        lost = bool(done.rows["artifact"]) and not folder.is_dir()
        typer.echo(f"files of {name}: {folder}" + (" (not there: bring them, or export with --files)" if lost else ""))


@store.command("to-optuna", epilog="[bold]Example[/bold]\n\nnas store to-optuna sqlite:///optuna.db --study first")
def write_for_optuna(
    target: Annotated[str, typer.Argument(help="A database, as sqlite:///optuna.db.", metavar="URL")],
    study: Studies = None,
    url: StoreUrl = SQLITE,
    quiet: Quiet = False,
) -> None:
    """Write studies in Optuna's format, for Optuna itself and for its dashboard.

    Decisions are parameters by their paths; what Optuna has no place for is in user attributes.
    """
    from nas.store import Store, StoreError, queries
    from nas.store.errors import shown
    from nas.storing.to_optuna import to_optuna

    opened = Store.open(url)
    chosen = [queries.study(opened, name) for name in study or ()]
    chosen = chosen or [each for each in queries.studies(opened) if each.scoring is None]
    if not chosen:
        raise StoreError(f"there is no search in {opened.url}: nothing to write")
    for each in chosen:
        length = sum(each.counts.values())
        hidden = quiet or not sys.stderr.isatty()
        with typer.progressbar(length=length, label=each.name, hidden=hidden, file=sys.stderr) as bar:
            done = to_optuna(opened, each, target, partial(bar.update, 1))
        typer.echo(f"{each.name}: {done} trials are in {shown(target)}")
    typer.echo(f"next: optuna-dashboard {shown(target)}")


def _print(checks: list[Check]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    table = Table()
    table.add_column("check")
    for name in ("looked at", "wrong"):
        table.add_column(name, justify="right")
    for each in checks:
        table.add_row(each.name, f"{each.looked:,}", f"[red]{each.wrong:,}[/red]" if each.wrong else "0")
    console.print(table)
    for each in checks:
        for problem in each.problems[:SHOWN]:
            console.print(f"{each.name}: {problem}", style="yellow", markup=False, soft_wrap=True)
        if each.wrong > SHOWN:
            console.print(f"{each.name}: and {each.wrong - SHOWN:,} more (--json lists a hundred)", markup=False)
