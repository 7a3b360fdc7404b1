"""What commands have in common: options, how JSON is printed, and the exit code of a run that came to nothing."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

NO_SUCCESS = 3
SQLITE = "sqlite:///nas.db"

StoreUrl = Annotated[str, typer.Option("--store", envvar="NAS_STORE", help="Where studies are kept.", metavar="URL")]
CLUSTERS = "Clusters"

StoreTimeout = Annotated[
    float,
    typer.Option(
        help="Seconds that the store may be away before the trials are stopped.",
        metavar="SECONDS",
        rich_help_panel=CLUSTERS,
    ),
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        envvar="NAS_RAY_ADDRESS",
        help="A Ray cluster to work on: auto, or HOST:PORT of its head.",
        metavar="ADDRESS",
        rich_help_panel=CLUSTERS,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for other programs.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print no progress.")]


def check_workers(workers: int | None) -> None:
    """Refuse fewer workers than one."""
    from nas.settings import SettingsError

    if workers is not None and workers < 1:
        raise SettingsError(f"--workers {workers} is not allowed: it must be at least 1")


def print_json(data: Any) -> None:
    """Print data as strict JSON."""
    from nas.records import plain

    typer.echo(json.dumps(plain(data), indent=2, allow_nan=False))
