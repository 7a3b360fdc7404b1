"""The schema's history, one file a revision, run by Alembic from inside the package."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy.engine import Connection


def upgrade(connection: Connection, url: str) -> None:
    """Bring a database to the newest revision, in the transaction that the connection is in."""
    from nas.store.store import StoreError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise StoreError(f"store {url!r} was made by a newer nas ({error}): upgrade nas to open it") from None
