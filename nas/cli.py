"""The command line. Every command imports what it needs when it runs, so that `nas --help` answers at once."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer

from nas.commands import components, results, searching
from nas.comparison.command import bench
from nas.errors import UserError
from nas.interruption import INTERRUPTED
from nas.scoring import command as scoring
from nas.storing import command as storing
from search_spaces.decisions import DecisionError
from search_spaces.registry import UnknownName

DONE, BAD_USAGE = 0, 2
SEARCH, RESULTS, WHAT_THERE_IS = "Search", "Results", "What there is"

app = typer.Typer(
    name="nas",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Begin with: [bold]nas search --space kan_vision --trials 20 --epochs 4[/bold]",
)

# Typer brings a click of its own, or uses the installed one; either way its usage errors are this class.
USAGE_ERROR: Any = typer.BadParameter.__base__


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Search for neural architectures and training hyperparameters, and keep every fact in SQL."""
    os.environ["NAS_DEBUG"] = "1" if debug else os.environ.get("NAS_DEBUG", "")


def _example(line: str) -> str:
    return f"[bold]Example[/bold]\n\n{line}"


for _panel, _function, _name, _epilog in (
    (SEARCH, searching.search, None, searching.EXAMPLES),
    (SEARCH, searching.resume, None, _example("nas resume first --trials 200")),
    (SEARCH, searching.confirm, None, _example("nas confirm first --top 3 --repeats 3")),
    (SEARCH, scoring.score, None, scoring.EXAMPLES),
    (RESULTS, results.list_studies, "list", None),
    (RESULTS, results.show, None, _example("nas show first --trial 17")),
    (RESULTS, results.best, None, _example("nas best first --top 5")),
    (RESULTS, results.compare, None, _example("nas compare first second")),
    (RESULTS, results.export, None, _example("nas export first --trial 17 --output best/")),
    (RESULTS, results.evaluate, None, _example("nas evaluate best/ --task digits --split test")),
    (RESULTS, results.dashboard, None, _example("nas dashboard --port 8050")),
    (WHAT_THERE_IS, components.spaces, None, _example("nas spaces kan_vision")),
    (WHAT_THERE_IS, components.doctor, None, None),
):
    app.command(_name, rich_help_panel=_panel, epilog=_epilog)(_function)
app.add_typer(components.catalog, name="catalog", rich_help_panel=WHAT_THERE_IS)
app.add_typer(bench, name="bench", rich_help_panel=SEARCH)
app.add_typer(storing.store, name="store", rich_help_panel=RESULTS)
app.add_typer(scoring.predictors, name="predictors", rich_help_panel=WHAT_THERE_IS)


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
