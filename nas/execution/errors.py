"""What can be wrong with a Ray that trials run on. Nothing here needs Ray."""

from __future__ import annotations

from nas.errors import UserError


class ClusterError(UserError):
    """A Ray that cannot be joined, or whose workers cannot start; one line with the remedy."""


class ClusterLostError(ClusterError):
    """The Ray that trials ran on is gone in the middle of a search. What was reported is in the store."""


class WorkerBrokenError(UserError):
    """This process can run no more trials, though another can."""
