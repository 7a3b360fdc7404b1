"""Our spaces in Tune's words: what its search algorithms draw from, and what PBT and PB2 may change in mid-training.

A space is a tree of conditional decisions, and Tune's are flat. So every decision of the tree is a key, active or not:
each is drawn by itself, and the trainable reads those that are active. That is how `Space.draw` draws, too, so random
search in Tune is random search here; model-based algorithms see the keys that are not active as noise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ray import tune

from nas.errors import UserError
from nas.integrations.tune.configs import nearest
from search_spaces.decisions import Choice, Decision, Integer, Real, every
from search_spaces.limits import limited
from search_spaces.space import Space, find_space

OPTIMIZER = "training.optimizer"


class SpaceError(UserError):
    """A space that Tune cannot be given, or a part of it that is not there."""


def param_space(space: Space | str, only: Sequence[str] = ()) -> dict[str, Any]:
    """Return a space, or the part of it that `only` leaves, as a Tune search space: a domain for each decision."""
    return {path: _domain(decision) for path, decision in decisions(space, only).items()}


def mutations(space: Space | str, only: Sequence[str] = (), *, optimizer: str | None = None) -> dict[str, Any]:
    """Return the `hyperparam_mutations` for PBT: a list for each changeable choice, a domain for each such number.

    With an `optimizer` the hyperparameters of the others are left out, for populations that have that one only.
    Raises SpaceError where nothing is left to change.
    """
    return {
        path: list(decision.options) if isinstance(decision, Choice) else _domain(decision)
        for path, decision in changing(space, only, optimizer).items()
    }


def bounds(space: Space | str, only: Sequence[str] = (), *, optimizer: str | None = None) -> dict[str, Any]:
    """Return the `hyperparam_bounds` for PB2: least and greatest value of each changeable number.

    PB2 scales them linearly, those of logarithmic domains too, and leaves choices alone. Otherwise as `mutations`.
    """
    found = changing(space, only, optimizer)
    numbers = {path: each for path, each in found.items() if not isinstance(each, Choice)}
    if not numbers:
        raise SpaceError(f"PB2 changes numbers alone, but {_named(space)} has only choices to change: use PBT")
    return {path: [each.low, each.high] for path, each in numbers.items()}


def clamping(space: Space | str, only: Sequence[str] = ()) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return the `custom_explore_fn` for PBT and PB2 that keeps what they change in its domain."""
    known = decisions(space, only)

    def clamp(config: dict[str, Any]) -> dict[str, Any]:
        return {key: nearest(known[key], value) if key in known else value for key, value in config.items()}

    return clamp


def decisions(space: Space | str, only: Sequence[str] = ()) -> dict[str, Decision]:
    """Return all decisions of a space, or of the part that `only` leaves, by path; raises SpaceError."""
    found = every(limited(as_space(space), only).tree)
    for path in found:
        if "/" in path:
            raise SpaceError(f"Tune cannot be given {_named(space)}: the slash in {path!r} means something else to it")
    return found


def changing(space: Space | str, only: Sequence[str] = (), optimizer: str | None = None) -> Mapping[str, Decision]:
    """Return the decisions that may change in mid-training, by path; raises SpaceError where there are none."""
    known = decisions(space, only)
    if optimizer is not None:
        choice = known.get(OPTIMIZER)
        there = choice.options if isinstance(choice, Choice) else ()
        if optimizer not in there:
            names = ", ".join(map(str, there)) or "none to choose from"
            raise SpaceError(f"optimizer {optimizer!r} is not known in {_named(space)}: it has {names}")
        lead = f"{OPTIMIZER}:"
        mine = f"{lead}{optimizer}."
        known = {path: each for path, each in known.items() if not path.startswith(lead) or path.startswith(mine)}
        del known[OPTIMIZER]
    found = {path: each for path, each in known.items() if each.changeable}
    if not found:
        raise SpaceError(
            f"nothing in {_named(space)} may change in mid-training: use another schedule than PBT, such as ASHA"
        )
    return found


def as_space(space: Space | str) -> Space:
    """Return a space that is given by itself or by its name."""
    return find_space(space) if isinstance(space, str) else space


def _named(space: Space | str) -> str:
    return f"space {space if isinstance(space, str) else space.name!r}"


def _domain(decision: Decision) -> Any:
    if isinstance(decision, Real):
        return (tune.loguniform if decision.log else tune.uniform)(decision.low, decision.high)
    if isinstance(decision, Integer) and decision.step == 1:
        return (tune.lograndint if decision.log else tune.randint)(decision.low, decision.high + 1)
    return tune.choice(list(decision.options))
