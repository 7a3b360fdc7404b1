"""A real PostgreSQL server for tests, on a port and in a folder of its own, with a fresh database for each test."""

from __future__ import annotations

import gc
import os
import shutil
import socket
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest

USER = "postgres"
SETTINGS = "-c listen_addresses=127.0.0.1 -c fsync=off -c full_page_writes=off -c max_connections=60"


def programs() -> Path | None:
    """Find the server's own programs: those of the newest version that apt installed, else the ones on the path."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda each: float(each.parts[-3]))
    found = str(installed[-1]) if installed else shutil.which("initdb")
    return None if found is None else Path(found).resolve().parent


@dataclass
class Postgres:
    """A server that may be stopped and started again."""

    bin: Path
    folder: Path
    port: int
    names: Iterator[int] = field(default_factory=count)

    @classmethod
    def made(cls) -> Postgres:
        """Make a server's files, for user postgres where this process is root: the server refuses to run as root."""
        bin = programs()
        if bin is None:
            pytest.skip("no PostgreSQL here: apt-get install postgresql")
        folder = Path(tempfile.mkdtemp(prefix="nas-pg-", dir="/tmp"))
        if os.getuid() == 0:
            shutil.chown(folder, USER)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            server = cls(bin, folder, free.getsockname()[1])
        server.guard()
        server.run(
            "initdb", "-D", str(folder / "data"), "-A", "trust", "-U", USER, "-E", "UTF8", "--locale=C.UTF-8", "-N"
        )
        return server

    def run(self, program: str, *arguments: str) -> None:
        """Run one of the server's programs; what it says is shown where it fails."""
        with open(self.folder / "said", "w+") as said:
            # A file, not a pipe: the server inherits it and outlives the program.
            user = USER if os.getuid() == 0 else None
            command = [str(self.bin / program), *arguments]
            done = subprocess.run(command, stdout=said, stderr=said, stdin=subprocess.DEVNULL, user=user, cwd="/")
            said.seek(0)
            assert done.returncode == 0, f"{program}: {said.read()}"

    def guard(self) -> None:
        """Let the server end with this process, however that ends."""
        ended = f"while kill -0 {os.getpid()} 2>/dev/null; do sleep 2; done"
        stopped = f"kill -INT $(head -1 {self.folder}/data/postmaster.pid) 2>/dev/null; sleep 2; rm -rf {self.folder}"
        subprocess.Popen(
            ["sh", "-c", f"{ended}; {stopped}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = f"{SETTINGS} -p {self.port} -k {self.folder}"
        self.run("pg_ctl", "-D", str(self.folder / "data"), "-o", options, "-w", "-t", "60", "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop the server: "fast" ends its sessions and "immediate" is what a crash is; it keeps what was committed."""
        self.run("pg_ctl", "-D", str(self.folder / "data"), "-m", mode, "-w", "-t", "60", "stop")

    def url(self, database: str) -> str:
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}"

    def create(self, options: str = "") -> str:
        """Make an empty database and return its URL."""
        name = f"test{next(self.names)}"
        self.sql("postgres", f"CREATE DATABASE {name} {options}")
        return self.url(name)

    def sql(self, database: str, statement: str) -> list[tuple[object, ...]]:
        """Ask a database without any of our code."""
        import psycopg

        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A server that runs; a test that stops it starts it again."""
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'nas[postgres]'")
    server = Postgres.made()
    try:
        server.start()
        yield server
        server.stop("immediate")
    finally:
        shutil.rmtree(server.folder, ignore_errors=True)


@pytest.fixture
def databases(postgres: Postgres) -> Iterator[Callable[[], str]]:
    """Makes empty PostgreSQL databases, which are dropped after the test, and returns their URLs."""
    made: list[str] = []

    def make() -> str:
        made.append(postgres.create())
        return made[-1]

    yield make
    with warnings.catch_warnings():
        # Stores that a test left open; else their connections are found by some other test that takes warnings ill.
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
    for url in made:
        postgres.sql("postgres", f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")


@pytest.fixture
def database(databases: Callable[[], str]) -> str:
    """The URL of an empty PostgreSQL database."""
    return databases()


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a store that is not there yet: on SQLite, and on PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/nas.db"
    return str(request.getfixturevalue("database"))


def plain(url: str, statement: str) -> list[tuple[object, ...]]:
    """Ask a store's database without any of our code."""
    if url.startswith("postgresql"):
        import psycopg

        with psycopg.connect(url) as server:
            cursor = server.execute(statement)
            return cursor.fetchall() if cursor.description else []
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as file, file:
        return file.execute(statement).fetchall()
