"""A PostgreSQL server for a benchmark: the one that the tests start."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from common import Results

if TYPE_CHECKING:
    from postgres import Postgres

TESTS = Path(__file__).parents[1] / "tests"


def lacking() -> str | None:
    """Say what is missing for a server, None where nothing is."""
    sys.path.append(str(TESTS))
    if find_spec("psycopg") is None:
        return "psycopg is not installed: pip install 'nas[postgres]'"
    if find_spec("postgres") is None:
        return f"there is no {TESTS / 'postgres.py'}"
    from postgres import programs

    return None if programs() is not None else "no PostgreSQL here: apt-get install postgresql"


@contextmanager
def postgres(results: Results) -> Iterator[Postgres | None]:
    """Give a server that runs; None, said among what was skipped, where there is none."""
    missing = lacking()
    if missing is not None:
        results.skip("PostgreSQL", missing)
        yield None
        return
    from postgres import Postgres

    server = Postgres.made()
    try:
        server.start()
        yield server
        server.stop("immediate")
    finally:
        shutil.rmtree(server.folder, ignore_errors=True)
