"""What a run writes down, wherever it is kept."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from nas.store.models import State
from search_spaces.decisions import Architecture


@dataclass(frozen=True)
class News:
    """An event that another driver wrote."""

    kind: str
    trial: int | None
    payload: dict[str, Any]


class Writer(Protocol):
    """What may be written to a study inside one transaction. `news` is what other drivers wrote since the last one."""

    news: Sequence[News]

    def add_trial(
        self,
        number: int,
        architecture: Architecture,
        identity: str,
        key: str,
        seed: int,
        *,
        kind: str = "search",
        repeat: int = 0,
        parent: int | None = None,
        forked_at: int | None = None,
    ) -> int:
        """Add a waiting trial and return its id."""

    def claim(self, trial: int) -> bool:
        """Take a trial that is to be run into this driver's hands; False where another has it, or it is done."""

    def start(self, trial: int, attempt: int, worker: str, device: str) -> None:
        """Note that a worker begins an attempt of a trial."""

    def pause(self, trial: int, attempt: int) -> None:
        """Note that a trial waits for others, in nobody's hands, and its worker is free."""

    def release(self, trial: int) -> None:
        """Note that a paused trial is to go on, in this driver's hands."""

    def report(self, trial: int, step: int, metrics: dict[str, float]) -> None:
        """Keep the metrics of a step; a step reported again, after an interruption, replaces itself."""

    def end(
        self,
        trial: int,
        attempt: int,
        state: State,
        *,
        values: dict[str, float] | None = None,
        reason: str | None = None,
        error: str | None = None,
    ) -> None:
        """Note how a trial, and this attempt of it, ended."""

    def mark(self, trial: int, state: State) -> None:
        """Set a trial's state alone."""

    def lose(self, trial: int, attempt: int, why: str) -> None:
        """Note that the worker of an attempt vanished."""

    def artifact(self, trial: int, kind: str, path: str, sha256: str, size: int) -> None:
        """Note a file that a trial left."""

    def drop_artifact(self, trial: int, kind: str) -> None:
        """Forget a file that is no more."""

    def score(
        self, identity: str, predictor: str, value: float | None, seconds: float, reason: str | None = None
    ) -> None:
        """Keep a predictor's score of an architecture; the same one scored again replaces itself."""

    def event(self, kind: str, payload: dict[str, Any], trial: int | None = None) -> None:
        """Append to the study's order of asks, tells and verdicts."""

    def settings(self, settings: dict[str, Any]) -> None:
        """Replace the study's settings (a larger number of trials on resume)."""


class Ledger(Protocol):
    """Where a run writes to: a place at a study in a store, or the memory of a simulation."""

    driver: int | None

    def writing(self, study: int) -> AbstractContextManager[Writer]:
        """Write to a study in one transaction."""

    def look_after(self) -> int:
        """Give up other drivers that are dead, and return how many trials are in nobody's hands."""

    def others(self) -> int:
        """Count the trials that other drivers have in hand."""

    def ready(self) -> str | None:
        """Say why nothing can be written at this moment, None where it can."""

    def rejoin(self) -> None:
        """Take a place anew, after this driver was taken for dead."""
