"""What came of population based training: a schedule of training decisions, as a chain of trials and as a file.

The weights of a trial that was forked came through a chain of trials, each of which trained from where the next one
before it was left. Read as one training, the chain is a network and, from one epoch to another, training decisions.
A file holds that as JSON:

    {"format": "nas-schedule", "version": 1, "space": "kan_vision", "epochs": 8, "network": {...},
     "segments": [{"begin": 0, "training": {...}, "trial": 3}, {"begin": 4, "training": {...}, "trial": 11}]}
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol, TypeVar

from nas.errors import UserError
from nas.job import Segment
from search_spaces.decisions import Architecture, DecisionError, Trace, every
from search_spaces.space import Change, Space

FORMAT, VERSION = "nas-schedule", 1
NETWORK, TRAINING = "network", "training"


class TunedError(UserError):
    """A schedule that cannot be had or followed; one line that names what is wrong and what is asked."""


class Trial(Protocol):
    """A trial as the store has it; `forked_at` is the epoch after which its parent's weights were taken."""

    @property
    def number(self) -> int: ...
    @property
    def architecture(self) -> Architecture: ...
    @property
    def parent(self) -> int | None: ...
    @property
    def forked_at(self) -> int | None: ...


Row = TypeVar("Row", bound=Trial)


@dataclass(frozen=True)
class Step:
    """From which epoch on a trial of a chain trained, and the decisions in which it differs from the one before."""

    begin: int
    trial: int
    changes: tuple[Change, ...] = ()


def lineage(trial: Row, find: Callable[[int], Row]) -> list[Row]:
    """Return the chain of trials that a trial's weights came through, itself last; `find` gives a trial by number."""
    chain = [trial]
    while chain[0].forked_at is not None and chain[0].parent is not None:
        chain.insert(0, find(chain[0].parent))
    return chain


def steps(space: Space, chain: Sequence[Trial]) -> list[Step]:
    """Say what changed along a chain, of the training and of the network."""
    found = [Step(0, chain[0].number)]
    for before, after in pairwise(chain):
        changes = space.diff(before.architecture, after.architecture)
        found.append(Step(after.forked_at or 0, after.number, tuple(changes)))
    return found


@dataclass(frozen=True)
class Tuned:
    """A training as population based training found it: the last network of the chain, and what it was trained with.

    `trials` are the numbers of the trials that the segments come from, one each.
    """

    space: str
    epochs: int
    network: Architecture
    segments: tuple[Segment, ...]
    trials: tuple[int, ...]

    @classmethod
    def of(cls, space: str, epochs: int, chain: Sequence[Trial]) -> Tuned:
        """Read the schedule off a chain of trials; raises TunedError where its trials have no training decisions."""
        last = chain[-1].architecture
        if not isinstance(last, dict) or not {NETWORK, TRAINING} <= last.keys():
            raise TunedError(
                f"trial {chain[-1].number} has no schedule: an architecture of space {space!r} is not made of a "
                "network and its training"
            )
        segments = tuple(Segment(each.forked_at or 0, each.architecture[TRAINING]) for each in chain)
        return cls(space, epochs, last[NETWORK], segments, tuple(each.number for each in chain))

    def to_json(self) -> dict[str, Any]:
        segments = [
            {"begin": each.begin, TRAINING: each.training, "trial": trial}
            for each, trial in zip(self.segments, self.trials, strict=True)
        ]
        head = {"format": FORMAT, "version": VERSION, "space": self.space, "epochs": self.epochs}
        return head | {NETWORK: self.network, "segments": segments}

    @classmethod
    def from_json(cls, data: Any, name: str = "the schedule") -> Tuned:
        """Read what `to_json` wrote; raises TunedError naming the file and what is wrong with it."""
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise TunedError(f"{name} is no schedule: `nas export --schedule` writes one")
        if data.get("version") != VERSION:
            raise TunedError(
                f"{name} has version {data.get('version')!r}, but version {VERSION} is known: export it again"
            )
        space = _entry(name, data, "space", str)
        epochs = _entry(name, data, "epochs", int)
        network = _entry(name, data, NETWORK, object)
        parts = [_entry(name, {"a segment": each}, "a segment", dict) for each in _entry(name, data, "segments", list)]
        segments = tuple(
            Segment(_entry(name, each, "begin", int), _entry(name, each, TRAINING, dict)) for each in parts
        )
        begins = [each.begin for each in segments]
        if begins[:1] != [0] or any(a >= b for a, b in pairwise(begins)) or begins[-1] >= epochs:
            raise TunedError(
                f"{name} has segments that begin at epochs {begins}, but 0 and then ever later ones below {epochs} "
                "are asked"
            )
        return cls(space, epochs, network, segments, tuple(_entry(name, each, "trial", int) for each in parts))

    def require(self, space: Space, epochs: int) -> None:
        """Raise TunedError where a training of a space with so many epochs cannot follow the schedule."""
        if space.name != self.space:
            raise TunedError(
                f"the schedule is one for space {self.space!r}, but --space is {space.name!r}: "
                f"choose --space {self.space}"
            )
        if epochs != self.epochs:
            raise TunedError(
                f"the schedule is one of {self.epochs} epochs, but --epochs is {epochs}: choose --epochs {self.epochs}"
            )
        decisions = every(space.tree)
        for before, after in pairwise([self._trace(space, each) for each in self.segments]):
            for path in sorted(before.keys() & after.keys()):
                if before[path] != after[path] and not decisions[path].changeable:
                    raise TunedError(
                        f"the schedule changes {path} from {before[path]!r} to {after[path]!r}, but that cannot change "
                        "in mid-training"
                    )

    def _trace(self, space: Space, segment: Segment) -> Trace:
        try:
            return space.trace({NETWORK: self.network, TRAINING: segment.training})
        except DecisionError as error:
            raise TunedError(
                f"the schedule is none of space {space.name!r} from epoch {segment.begin} on: {error}"
            ) from None


def read(path: str | Path) -> Tuned:
    """Read a schedule from a file; raises TunedError naming the file and what is wrong with it."""
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise TunedError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise TunedError(f"{path} is no JSON: {error}") from None
    return Tuned.from_json(data, str(path))


def _entry(name: str, data: dict[str, Any], key: str, kind: type) -> Any:
    """Return an entry of the wanted kind; raises TunedError."""
    if key not in data:
        raise TunedError(f"{name} lacks {key!r}")
    value = data[key]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TunedError(f"{name} has {key} {json.dumps(value)[:60]}, but {_KINDS[kind]} is asked")
    return value


_KINDS = {str: "a text", int: "a whole number", list: "a list", dict: "an object", object: "an architecture"}
