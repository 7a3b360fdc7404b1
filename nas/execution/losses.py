"""What an error of Ray's says of the trial, or of the workers, that it stands for."""

from __future__ import annotations

from ray.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    NodeDiedError,
    OutOfMemoryError,
    RayActorError,
    RayError,
    RayTaskError,
    RuntimeEnvSetupError,
)

from nas.execution import Problem
from nas.store.models import State


def unmendable(error: RayError) -> bool:
    """Tell whether a worker that could not start never will."""
    return isinstance(error, RuntimeEnvSetupError) or (isinstance(error, RayActorError) and error.actor_init_failed)


def problem_of(error: RayError) -> Problem:
    """Say what became of a trial whose worker gave an error of Ray's instead of an answer."""
    if isinstance(error, OutOfMemoryError) or isinstance(getattr(error, "cause", None), MemoryError):
        return Problem(State.INFEASIBLE, f"out of memory: {_first_line(error)}", soiled=True)
    if isinstance(error, RayTaskError):
        return Problem(State.FAILED, f"the worker failed: {type(error.cause).__name__}", str(error))
    return Problem(State.STALE, f"the worker was lost: {_cause(error)}", str(error))


def unstarted(error: RayError) -> str:
    """Say why workers do not start, and what to look at."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    said = lines[-1] if isinstance(error, RayActorError) and error.actor_init_failed else lines[0]
    return (
        f"the workers cannot start: {said.strip()[:300]}; see that every node has the packages that this machine has: "
        "nas, your plug-ins and what they need"
    )


def _cause(error: RayError) -> str:
    if isinstance(error, NodeDiedError) or "its node has died" in str(error):
        return "its node is gone"
    if isinstance(error, ActorUnavailableError):
        return "its process or its node answers no more"
    return "its process ended" if isinstance(error, ActorDiedError) else _first_line(error)


def _first_line(error: RayError) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
