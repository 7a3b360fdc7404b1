"""The commands that say what there is: spaces, components, and the installation itself."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from nas.options import AsJson, print_json


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
