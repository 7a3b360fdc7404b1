"""Plans: which trials a run works through. A search asks its strategy; a confirmation has a fixed list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Protocol

from nas.job import Found, Job, Method, Origin, Report, Scored, ScoreJob, Segment
from nas.objectives import Constraint, objective
from nas.schedules import Decided, Fork
from nas.settings import Settings
from nas.storage import below
from nas.store import News, State, Writer
from nas.store.queries import TrialRow
from nas.strategies import Proposal
from search_spaces.decisions import Architecture, identity


@dataclass
class Ticket:
    """A trial in hand: its row in the store, the job to be done, the turn it came from, the metrics so far."""

    row: int
    job: Job
    turn: int = -1
    lost: int = 0
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass
class Screening:
    """Proposals of which the most promising is to become a trial."""

    job: ScoreJob
    proposals: list[Proposal]
    lost: int = 0


class Plan(Protocol):
    """What a run works through. Whatever it decides it writes to the store first."""

    unfinished: list[Ticket]
    pauses: frozenset[int]

    @property
    def total(self) -> int:
        """How many trials there are to be."""

    def take(self, writer: Writer) -> Ticket | Screening | None:
        """Give the next piece of work; None when all is given out."""

    def screened(self, writer: Writer, screening: Screening, scores: list[Scored]) -> Ticket | None:
        """Make the trial that a screening chose; None when there is nothing to choose any more."""

    def verdict(self, writer: Writer, ticket: Ticket, report: Report) -> Decided:
        """Judge a trial that waits at a pause."""

    def released(self, writer: Writer) -> list[tuple[Ticket, Decided]]:
        """Say what paused trials do next, as far as it is decided since the last time."""

    def fork(self, writer: Writer, ticket: Ticket, fork: Fork) -> Ticket:
        """Make the trial that takes the place of one which a verdict ended."""

    def hear(self, news: Sequence[News]) -> None:
        """Learn what other drivers of the study did."""

    def orphans(self, driver: int | None) -> list[Ticket]:
        """Return the trials that are in nobody's hands, or in this driver's."""

    def living(self) -> list[TrialRow]:
        """Return all trials that have not ended, whoever has them in hand."""

    def ended(self, writer: Writer, ticket: Ticket, state: State, values: Mapping[str, float] | None) -> None:
        """Learn how a trial ended."""

    def found(self, writer: Writer, ticket: Ticket, found: Sequence[Found]) -> None:
        """Learn what a supernet led to, before it has ended."""


class Bench:
    """What all trials of a study share: how an architecture becomes a job, and metrics become losses."""

    def __init__(self, settings: Settings, content: str, folder: Path) -> None:
        self.settings = settings
        self.objectives = [objective(each) for each in settings.objectives]
        self.constraints = tuple(Constraint.parse(text) for text in settings.constraints)
        self.folder = folder
        self.storage = settings.storage and below(settings.storage, folder.name)
        replayed = settings.replay["segments"] if settings.replay else ()
        self._segments = tuple(Segment(each["begin"], each["training"]) for each in replayed)
        self._content = content

    def key(self, architecture: Architecture, repeat: int | str = 0) -> str:
        """Return the SHA-256 that names the work: identity, task content, budget and repeat number."""
        return self.key_of(identity(architecture), repeat)

    def key_of(self, identity: str, repeat: int | str = 0) -> str:
        """Return the key of the work on an architecture of a known identity."""
        parts = (identity, self._content, str(self.settings.epochs), str(repeat))
        return sha256("|".join(parts).encode()).hexdigest()

    def seed(self, number: int) -> int:
        """Return the seed of a trial, from the study's seed and the trial's number."""
        return Random(f"{self.settings.seed}/trial/{number}").getrandbits(31)

    def place(self, number: int) -> Path:
        """Return the folder of a trial's files."""
        return self.folder / f"{number:05d}"

    def job(
        self,
        number: int,
        architecture: Architecture,
        seed: int,
        attempt: int = 1,
        pauses: frozenset[int] = frozenset(),
        method: Method | None = None,
        *,
        origin: Origin | None = None,
        retain: bool = False,
        segments: tuple[Segment, ...] | None = None,
    ) -> Job:
        """Return the job of a trial."""
        return Job(
            trial=number,
            attempt=attempt,
            architecture=architecture,
            seed=seed,
            space=self.settings.space,
            task=self.settings.task,
            split_seed=self.settings.split_seed,
            epochs=self.settings.epochs,
            objectives=self.settings.objectives,
            constraints=self.constraints,
            pauses=frozenset() if method else pauses,
            folder=self.place(number),
            only=self.settings.only,
            method=method,
            origin=origin,
            segments=self._segments if segments is None else segments,
            retain=retain,
            storage=self.storage,
        )

    @property
    def figures(self) -> list[str]:
        """The metrics that the objectives' values are read from."""
        return [each.metric or each.name for each in self.objectives]

    def losses(self, values: Mapping[str, float]) -> list[float]:
        """Return the objectives' values, all as something to minimise."""
        return [each.loss(values[each.name]) for each in self.objectives]

    def reported(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """Read the objectives' values from a trial's metrics so far."""
        return {each.name: metrics[each.metric or each.name] for each in self.objectives}
