"""The plan of a confirmation: leaders of a search trained anew with fresh seeds.

The best of a noisy search is partly luck; the mean of fresh trainings is not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

from nas.job import Found, Job, Report, Scored
from nas.plans import Bench, Screening, Ticket
from nas.schedules import Decided, Fork, Verdict
from nas.store import News, State, Store, Writer, queries
from nas.store.queries import TrialRow
from nas.tuned import Tuned, lineage
from search_spaces.decisions import Architecture


class Confirm:
    """So many repeats of each leader; the ones that are there already are not trained again."""

    def __init__(self, store: Store, study: int, bench: Bench, leaders: Sequence[TrialRow], repeats: int) -> None:
        self._bench = bench
        self.pauses = frozenset[int]()
        rows = queries.trials(store, study, queries.Page(kind=None))
        self._number = max(row.number for row in rows) + 1
        there = {(row.parent, row.repeat) for row in rows if row.kind == "confirm"}
        wanted = [(leader, repeat) for repeat in range(1, repeats + 1) for leader in leaders]
        self._todo = deque((leader, repeat) for leader, repeat in wanted if (leader.number, repeat) not in there)
        self._rows = {row.number: row for row in rows}
        self.unfinished = [
            Ticket(row.id, self._job(row.parent or 0, row.number, row.architecture, row.seed, tries + 1), lost=lost)
            for row, tries, lost in queries.unfinished(store, study, "confirm")
        ]
        self.total = len(self._todo) + len(self.unfinished)

    def take(self, writer: Writer) -> Ticket | Screening | None:
        if not self._todo:
            return None
        leader, repeat = self._todo.popleft()
        number, architecture = self._number, leader.architecture
        self._number += 1
        # Forks of one architecture came by different schedules.
        work = repeat if leader.forked_at is None else f"{repeat} of {leader.number}"
        seed, key = self._bench.seed(number), self._bench.key(architecture, work)
        row = writer.add_trial(
            number, architecture, leader.identity, key, seed, kind="confirm", repeat=repeat, parent=leader.number
        )
        return Ticket(row, self._job(leader.number, number, architecture, seed))

    def _job(self, leader: int, number: int, architecture: Architecture, seed: int, attempt: int = 1) -> Job:
        """Return the job that trains a leader anew; one that came of forks is trained by its whole schedule."""
        chain = lineage(self._rows[leader], self._rows.__getitem__)
        settings = self._bench.settings
        segments = Tuned.of(settings.space, settings.epochs, chain).segments if len(chain) > 1 else None
        return self._bench.job(number, architecture, seed, attempt, segments=segments)

    def screened(self, writer: Writer, screening: Screening, scores: list[Scored]) -> Ticket:
        raise AssertionError("a confirmation screens nothing")

    def verdict(self, writer: Writer, ticket: Ticket, report: Report) -> Decided:
        return Verdict.CONTINUE

    def released(self, writer: Writer) -> list[tuple[Ticket, Decided]]:
        return []

    def fork(self, writer: Writer, ticket: Ticket, fork: Fork) -> Ticket:
        raise AssertionError("a confirmation forks nothing")

    def hear(self, news: Sequence[News]) -> None:
        """A confirmation is the only run of its study."""

    def orphans(self, driver: int | None) -> list[Ticket]:
        return []

    def living(self) -> list[TrialRow]:
        return []

    def ended(self, writer: Writer, ticket: Ticket, state: State, values: Mapping[str, float] | None) -> None:
        """Nothing learns from a confirmation."""

    def found(self, writer: Writer, ticket: Ticket, found: Sequence[Found]) -> None:
        raise AssertionError("a confirmation trains no supernet")
