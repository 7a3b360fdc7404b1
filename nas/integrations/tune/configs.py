"""What a Tune config says: an architecture as a JSON tree, or a trace, flat, from path to value.

A trace may hold more than is active: Tune's schedulers and search algorithms know no conditions, so decisions that are
not active ride along. A number outside its domain, as PBT's perturbations make them, is moved into it, and that is
noted; any other wrong value is an error. In a tree every value must be allowed.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Any

from nas.errors import UserError
from search_spaces.decisions import Architecture, Choice, Decision, DecisionError, Integer, Real, Scalar, every
from search_spaces.space import Space

RESERVED = "nas."
SEED = "nas.seed"
TREE = "architecture"


class ConfigError(UserError):
    """A Tune config that is no architecture of the space; the message names the key and what is allowed."""


@dataclass(frozen=True)
class Reading:
    """The architecture in a config, its seed where the config has one, and the values that were moved into range."""

    architecture: Architecture
    seed: int | None
    moved: dict[str, tuple[Any, Scalar]]

    @property
    def notes(self) -> str:
        """Say what was moved, "" where nothing was."""
        return ", ".join(f"{path} {_shown(given)} -> {_shown(used)}" for path, (given, used) in self.moved.items())


def read(space: Space, config: Mapping[str, Any]) -> Reading:
    """Read a config; raises ConfigError.

    Keys that begin with `nas.` are no decisions; of them `nas.seed` is the trial's seed. The tree may also lie under
    the one key "architecture".
    """
    seed = plain(config.get(SEED))
    if seed is not None and (type(seed) is not int or seed < 0):
        raise ConfigError(f"config {SEED} is {seed!r}, but a whole number from 0 is asked")
    decided = {key: value for key, value in config.items() if not key.startswith(RESERVED)}
    if decided.keys() == {TREE} and TREE not in space.tree.fields:
        return Reading(_tree(space, decided[TREE]), seed, {})
    if any(isinstance(value, dict | list | tuple) for value in decided.values()):
        return Reading(_tree(space, decided), seed, {})
    if decided.keys() == space.tree.fields.keys():
        # A tree without branches; a trace of as many decisions reads alike, unless something is to be moved into range.
        with suppress(ConfigError):
            return Reading(_tree(space, decided), seed, {})
    return _flat(space, decided, seed)


def nearest(domain: Decision, value: Any) -> Any:
    """Return the value of a domain that is next to a number, and any other value as it is, allowed or not."""
    value = plain(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        return value
    if isinstance(domain, Choice):
        numbers = [o for o in domain.options if isinstance(o, int | float) and not isinstance(o, bool)]
        return min(numbers, key=lambda option: abs(option - value)) if numbers else value
    inside = min(max(value, domain.low), domain.high)
    if isinstance(domain, Integer):
        return min(domain.low + domain.step * round((inside - domain.low) / domain.step), domain.high)
    return float(inside)


def trial_seed(seed: int, number: int) -> int:
    """Return the seed of a trial as our studies have it, from the study's seed and the trial's number."""
    return Random(f"{seed}/trial/{number}").getrandbits(31)


def plain(value: Any) -> Any:
    """Return a NumPy scalar as Python's own."""
    return value.item() if hasattr(value, "item") and not hasattr(value, "__len__") else value


def _tree(space: Space, architecture: Any) -> Architecture:
    try:
        space.trace(architecture)
    except DecisionError as error:
        raise ConfigError(f"config is no architecture of {space.name}: {error}") from None
    return architecture


def _flat(space: Space, config: Mapping[str, Any], seed: int | None) -> Reading:
    known = every(space.tree)
    for key in config:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=2, cutoff=0.6)
            hint = f"did you mean {' or '.join(near)}?" if near else f"`nas spaces {space.name}` lists its decisions"
            raise ConfigError(f"config has {key!r}, which is no decision of {space.name}: {hint}")
    moved: dict[str, tuple[Any, Scalar]] = {}

    def decide(path: str, domain: Decision) -> Scalar:
        if path not in config:
            raise ConfigError(f"config lacks {path}, which is {domain}: `param_space` has all decisions")
        given = plain(config[path])
        used: Scalar = nearest(domain, given)
        if not _same(domain, given, used):
            moved[path] = (given, used)
        return used

    try:
        architecture = space.resolve(decide)[0]
    except DecisionError as error:
        raise ConfigError(f"config is no trace of {space.name}: {error}") from None
    return Reading(architecture, seed, moved)


def _same(domain: Decision, given: Any, used: Any) -> bool:
    return bool(given == used) and (isinstance(domain, Real) or type(given) is type(used))


def _shown(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
