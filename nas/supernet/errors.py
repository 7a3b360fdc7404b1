"""What can be wrong with a supernet's files, settings and limits."""

from __future__ import annotations

from nas.errors import UserError


class SupernetError(UserError):
    """A file, a setting or a limit that a supernet cannot use; the message names it and the remedy."""
