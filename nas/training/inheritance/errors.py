"""What keeps a network from inheriting another's weights."""

from __future__ import annotations

from nas.errors import UserError


class InheritanceError(UserError):
    """Networks of which one cannot inherit from the other; the message names the place and the remedy."""
