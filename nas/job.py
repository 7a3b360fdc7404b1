"""What travels between the driver of a study and its workers. Nothing here needs torch."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nas.objectives import Constraint
from search_spaces.decisions import Architecture


class Infeasible(Exception):
    """A trial that cannot be: it breaks a constraint, diverges or does not fit in memory."""


class OutOfMemory(Infeasible):
    """A trial that does not fit in memory; the process that it ran in is not to be trusted with another."""


@dataclass(frozen=True)
class Method:
    """A training that is itself a search: of a supernet, which ends with architectures that were found in it."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Origin:
    """The checkpoint that a forked trial goes on from: another trial's, after `step` epochs.

    `architecture` and `seed` are those of the trial whose checkpoint it is, `folder` is that trial's, and `before` is
    where that one went on from in its turn.
    """

    folder: Path
    step: int
    architecture: Architecture
    seed: int
    before: Origin | None = None


@dataclass(frozen=True)
class Segment:
    """From which epoch on (0 is the first) a training follows which decisions: a part of a replayed schedule."""

    begin: int
    training: dict[str, Any]


@dataclass(frozen=True)
class Job:
    """One trial to be trained and judged. `split_seed` fixes the task's split, `seed` everything else.

    With a `method` it is a supernet to be trained; the architecture then says what the method is given. With an
    `origin` it goes on from another trial's checkpoint, and reports only what comes after it. With `segments` its
    training follows them instead of the architecture's own decisions. Where `retain` is set, the checkpoints at its
    pauses stay, under names of their own, until the driver deletes them. With a `storage` (an fsspec URI) its files
    go there, since the worker and the driver may not share a disk.
    """

    trial: int
    attempt: int
    architecture: Architecture
    seed: int
    space: str = "kan_vision"
    task: str = "digits"
    split_seed: int = 0
    epochs: int = 8
    objectives: tuple[str, ...] = ("accuracy", "params")
    constraints: tuple[Constraint, ...] = ()
    pauses: frozenset[int] = frozenset()
    folder: Path = Path(".")
    device: str = "cpu"
    only: tuple[str, ...] = ()
    method: Method | None = None
    origin: Origin | None = None
    segments: tuple[Segment, ...] = ()
    retain: bool = False
    storage: str | None = None


@dataclass(frozen=True)
class Report:
    """What a trial measured after `step` epochs; step 0 is the built network before training."""

    step: int
    metrics: dict[str, float]


@dataclass(frozen=True)
class Found:
    """An architecture that a supernet led to, and its validation accuracy with inherited weights where it has any."""

    architecture: Architecture
    accuracy: float | None = None


@dataclass(frozen=True)
class Artifact:
    """A file that a trial left: its path from the study's folder or storage, its SHA-256, its size in bytes."""

    path: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Outcome:
    """How a trial ended: the value of every objective, and the files it left, by kind.

    A supernet has no values, but the architectures that were found in it, the most promising first.
    """

    values: dict[str, float]
    artifacts: dict[str, Artifact] = field(default_factory=dict)
    found: tuple[Found, ...] = ()


Evaluation = Generator[Report, None, Outcome]
Evaluate = Callable[[Job], Evaluation]


@dataclass(frozen=True)
class ScoreJob:
    """Architectures to be scored by predictors on their untrained networks: each by all, one after the other.

    They are scored with so many `samples`; the work on them may take so many bytes of `memory`.
    """

    predictors: tuple[str, ...]
    architectures: tuple[Architecture, ...]
    seed: int
    space: str
    task: str
    split_seed: int
    constraints: tuple[Constraint, ...] = ()
    samples: int = 16
    memory: int = 2**30


@dataclass(frozen=True)
class Scored:
    """What a predictor measured of an architecture, by column; None in each with the reason why it has none.

    A `passing` failure, for want of memory or of a worker, is not kept: another try may succeed.
    """

    predictor: str
    values: Mapping[str, float | None]
    reason: str | None
    seconds: float
    passing: bool = False
