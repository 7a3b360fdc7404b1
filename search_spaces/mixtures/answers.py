"""A mixture as an answer to a decision, and as what stands for it in an architecture. Nothing here needs torch.

A decider that answers `Mixture("relu", "gelu")`, or `MIXTURE` for all options, relaxes the decision. In the
architecture then stands, in plain JSON, where the chosen option would stand

    {"mixture": {"path": "stages[0].layer", "options": ["linear", {"kan": {"order": 3}}]}}

and for the length of a Repeat, with the items of the longest one,

    {"mixture": {"path": "stages#", "options": [1, 2], "items": [..., ...]}}
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

KEY = "mixture"
Option = str | int | float | bool | None


@dataclass(frozen=True, init=False)
class Mixture:
    """All of the named options at once, of which there must be two; without names all options of the decision."""

    options: tuple[Option, ...]

    def __init__(self, *options: Option) -> None:
        object.__setattr__(self, "options", options)

    def __repr__(self) -> str:
        return f"Mixture({', '.join(map(repr, self.options))})"


MIXTURE = Mixture()


@dataclass(frozen=True)
class Mixed:
    """A relaxed decision as it stands in an architecture: its path, and each option with its inner decisions."""

    path: str
    options: tuple[Any, ...]
    items: list[Any] | None = None

    @property
    def names(self) -> tuple[Option, ...]:
        return tuple(next(iter(option)) if isinstance(option, dict) else option for option in self.options)


def written(path: str, options: Sequence[Any], items: list[Any] | None = None) -> dict[str, Any]:
    """Write a relaxed decision as JSON."""
    more = {} if items is None else {"items": items}
    return {KEY: {"path": path, "options": list(options), **more}}


def mixed(value: Any) -> Mixed | None:
    """Read what an architecture holds for a decision; None where it is an ordinary value.

    Raises ValueError for a mixture that is not of the form above.
    """
    if not isinstance(value, dict) or KEY not in value:
        return None
    body = value[KEY]
    try:
        return Mixed(body["path"], tuple(body["options"]), body.get("items"))
    except (TypeError, KeyError, AttributeError):
        raise ValueError(f'a mixture holds a "path" and its "options", but got {value}') from None
