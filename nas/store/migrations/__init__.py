"""The schema's history, one file a revision, run by Alembic from inside the package."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy.engine import Connection

from nas.store.errors import StoreError, shown


def upgrade(connection: Connection, url: str) -> None:
    """Bring a database to the newest revision, in the transaction that the connection is in."""
    config = _config()
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise _newer(url, error) from None


def require_older(revision: str, url: str) -> None:
    """Raise StoreError for a revision that this version does not know: a newer one made it."""
    try:
        ScriptDirectory.from_config(_config()).get_revision(revision)
    except CommandError as error:
        raise _newer(url, error) from None


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config


def _newer(url: str, error: CommandError) -> StoreError:
    return StoreError(f"store {shown(url)!r} was made by a newer nas ({error}): upgrade nas to open it")
