"""What a store may refuse: for good, for now, or because it is damaged. One line each, without a password in it."""

from __future__ import annotations

import re

from nas.errors import UserError


class StoreError(UserError):
    """A store that cannot be opened or does not hold what is asked; one line that names the remedy."""


class StoreAway(StoreError):
    """A store that cannot be reached, or not be written to, for now: what was being written was not kept.

    The exception is a connection that was lost while a transaction was being committed: then it may be kept, whole.
    """


class StoreDamaged(StoreError):
    """A database file that is not sound."""


def shown(url: str) -> str:
    """Return a URL, or what was meant to be one, without its password."""
    hidden = re.sub(r"://([^:/?#]*):(.*)@", r"://\1:***@", url, flags=re.DOTALL)
    return re.sub(r"([?&](?:ssl)?password=)[^&#]*", r"\1***", hidden)


def line(error: object) -> str:
    """Write what a library said as one line without the full stop."""
    return " ".join(str(error).split()).rstrip(".")
