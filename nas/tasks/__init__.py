"""Tasks: what a network is trained for, or where the results of trainings are looked up instead.

A task has a name, and some a word of their own after a colon: `digits`, `table:PATH`, `function:MODULE:NAME`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Protocol

from nas.errors import UserError
from nas.objectives import objective
from search_spaces.decisions import Architecture
from search_spaces.registry import Entry, entries, find, home
from search_spaces.space import Space

if TYPE_CHECKING:
    from torch import Tensor

    Samples = tuple[Tensor, Tensor]

home("task", "nas.tasks", "nas.tasks")


class TaskError(UserError):
    """A task that cannot be opened or does not do what is asked; one line that names the remedy."""


class Task(Protocol):
    """A classification task. Samples are inputs [N, channels, height, width] in float32 and targets [N] in int64.

    A search reads `train` and `validation`; `test` is for the evaluation of finished networks alone.
    """

    @property
    def name(self) -> str: ...

    @property
    def split_seed(self) -> int: ...

    @property
    def input_shape(self) -> tuple[int, int, int]: ...

    @property
    def classes(self) -> int: ...

    @property
    def content(self) -> str:
        """The SHA-256 of data and split, found without torch: tasks of equal content have equal samples."""
        ...

    @property
    def blank(self) -> float:
        """The value of an empty pixel in the inputs, with which augmentation fills what it uncovers."""
        ...

    def train(self) -> Samples: ...

    def validation(self) -> Samples: ...

    def test(self) -> Samples: ...


@dataclass(frozen=True)
class Epoch:
    """The metrics after so many epochs, and the seconds since the epoch before; None: they are not known."""

    number: int
    metrics: dict[str, float]
    seconds: float | None = None


@dataclass(frozen=True)
class Known:
    """What a training gave: the figures of the built network, and its epochs in order."""

    measured: dict[str, float]
    epochs: tuple[Epoch, ...]

    @classmethod
    def of(cls, curve: Mapping[int, Mapping[str, float]]) -> Known:
        """Part the figures after each epoch into those that need no training, and the others with `seconds`."""
        cheap, ordered = _cheap(), sorted(curve.items())
        epochs = tuple(
            Epoch(number, {name: value for name, value in figures.items() if name not in cheap}, figures.get("seconds"))
            for number, figures in ordered
        )
        return cls({name: ordered[0][1][name] for name in cheap if name in ordered[0][1]}, epochs)


Part = tuple[int, Architecture]


class Lookup(Protocol):
    """A task in which nothing is trained, because the result of each architecture is known or quickly computed."""

    @property
    def name(self) -> str: ...

    @property
    def content(self) -> str:
        """The SHA-256 of what is looked up in."""
        ...

    def metrics(self, space: Space) -> Collection[str] | None:
        """Name what is known of the architectures of a space, None where only each result tells.

        Raises TaskError when this is nothing for the space.
        """

    def epochs(self, space: Space) -> Collection[int] | None:
        """List the epochs after which results are known; None: only results of full trainings, however long."""

    @property
    def forks(self) -> bool:
        """Whether it knows what comes of a training that changes on its way."""
        ...

    def look_up(
        self, space: Space, architecture: Architecture, seed: int, epochs: int, parts: Sequence[Part] = ()
    ) -> Known:
        """Return what so many epochs give an architecture; raises Infeasible, or TaskError for a bad result.

        `parts` are those of a training that changed on its way: after how many epochs which architecture went on.
        """

    def untrained(self, space: Space, architecture: Architecture) -> Mapping[str, float]:
        """Return what is known of an architecture before its training, the scores of predictors included.

        Raises Infeasible.
        """


def find_task(name: str, split_seed: int = 0) -> Task:
    """Return a registered task with its split.

    Raises UnknownName with the nearest names, and TaskError for a task of another form, or without samples.
    """
    entry, argument = _named(name)
    if _looks_up(entry):
        raise TaskError(f"task {name!r} has no samples, because its results are looked up: give one such as digits")
    task: Task = entry.make(split_seed) if argument is None else entry.make(argument, split_seed)
    return task


def find_lookup(name: str) -> Lookup | None:
    """Return a registered task whose results are looked up, None for one that trains; raises as `find_task`."""
    entry, argument = _named(name)
    if not _looks_up(entry):
        return None
    lookup: Lookup = entry.make(argument)
    return lookup


def find_content(name: str, split_seed: int = 0) -> str:
    """Return the SHA-256 of what a task of either kind holds."""
    return (find_lookup(name) or find_task(name, split_seed)).content


def looked_up(name: str) -> bool:
    """Say whether a task's results are looked up, without opening it; raises as `find_task`."""
    return _looks_up(_named(name)[0])


def _looks_up(entry: Entry) -> bool:
    return hasattr(entry.make, "look_up")


def _named(name: str) -> tuple[Entry, str | None]:
    """Return a task's entry and the word after the colon, which it has when its class says what it is."""
    head, _, argument = name.partition(":")
    entry = find("task", head)
    wanted = getattr(entry.make, "argument", None)
    if wanted is None and ":" in name:
        raise TaskError(f"task {name!r} is not known, because {head} takes no argument: write {head}")
    if wanted is not None and not argument:
        raise TaskError(f"task {name!r} is not complete: write it as {head}:{wanted}")
    return entry, argument or None


@cache
def _cheap() -> tuple[str, ...]:
    """Name the objectives that need no training."""
    return tuple(name for name in entries("objective") if objective(name).cheap)
