"""Ctrl-C and SIGTERM in a command: what is done is kept, and how to go on is said."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from nas.store import Store

INTERRUPTED = 130


@contextmanager
def interruptible(remedy: str, store: Store, then: str = "go on with") -> Iterator[None]:
    """Turn Ctrl-C and SIGTERM into exit code 130, after saying how to go on.

    What a trial or Ray prints meanwhile goes to standard error: standard output is for the results.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with redirect_stdout(sys.stderr):
            yield
    except KeyboardInterrupt:
        named = any(part.partition("=")[0] == "--store" for part in shlex.split(remedy))
        where = "" if store.is_default or named else f" --store {shlex.quote(store.url)}"
        typer.echo(f"interrupted: everything so far is kept; {then} `{remedy}{where}`", err=True)
        raise typer.Exit(INTERRUPTED) from None
