"""What commands on a study share: its name, and finding it in a store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from nas.study import Study

Name = Annotated[str, typer.Argument(help="The study's name.", metavar="STUDY")]


def open_study(name: str, store: str) -> Study:
    """Open a study by its name and its store's URL."""
    from nas.study import open_study

    return open_study(name, store)


def is_scoring(name: str, store: str) -> bool:
    """Say whether a study is a scoring."""
    from nas.store import Store, queries

    return queries.study(Store.open(store), name).scoring is not None
