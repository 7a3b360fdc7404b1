"""Which architectures are scored: drawn from a space without repetition, or read from a file."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from random import Random

from nas.settings import SettingsError
from nas.strategies.grid import Grid, shuffled
from search_spaces.decisions import Architecture, DecisionError, identity
from search_spaces.space import Space

KNOWN_IN_A_ROW = 100


def drawn(space: Space, seed: int) -> Iterator[Architecture]:
    """Draw different architectures in an order that the seed alone gives, to the last one of a finite space.

    Once so many draws in a row are known, what is left of a finite space comes shuffled.
    """
    rng = Random(f"{seed}/score")
    seen: set[str] = set()
    known = 0
    while known < KNOWN_IN_A_ROW:
        architecture = space.draw(rng)
        key = identity(architecture)
        known = known + 1 if key in seen else 0
        if not known:
            seen.add(key)
            yield architecture
    if space.size() < math.inf:
        grid = Grid(space.tree, points=1)
        everything = (grid[shuffled(place, grid.size, seed)] for place in range(grid.size))
        yield from (each for each in everything if identity(each) not in seen)


def read(path: Path, space: Space) -> list[Architecture]:
    """Read architectures of a space, one a line as JSON or in the space's notation; each is returned once.

    Raises SettingsError naming the file and the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
        raise SettingsError(f"--architectures {str(path)!r} cannot be read: {reason}; name another file") from None
    found: dict[str, Architecture] = {}
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                architecture = _architecture(line.strip(), space)
                space.trace(architecture)
            except DecisionError as error:
                raise SettingsError(f"--architectures {str(path)!r}, line {number}: {error}") from None
            found.setdefault(identity(architecture), architecture)
    if not found:
        raise SettingsError(f"--architectures {str(path)!r} has no architecture: write one a line")
    return list(found.values())


def written(architecture: Architecture, space: Space) -> str:
    """Write an architecture as `read` and tables read it: in the space's notation, or as JSON."""
    return json.dumps(architecture) if space.notation is None else space.notation.write(architecture)


def _architecture(text: str, space: Space) -> Architecture:
    if text.startswith("{"):
        try:
            return json.loads(text)
        except ValueError as error:
            raise DecisionError(f"{text[:60]!r} is not JSON: {error}") from None
    if space.notation is None:
        raise DecisionError(f"{text[:60]!r} is not a JSON object, and space {space.name} has no notation of its own")
    return space.notation.read(text)
