"""The loop of a study: give work to idle workers, write down what they say, act on it.

Every event is in the store before anything acts on it: one transaction a round holds what the workers said,
the verdicts on it and the new trials, and only after its commit are answers and jobs sent. So a process killed
at any moment has lost at most the work in flight.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from dataclasses import replace as changed
from functools import partial

from nas.execution import Event, Executor, Problem
from nas.job import Outcome, Report, Scored
from nas.objectives import Objective
from nas.plans import Bench, Plan, Screening, Ticket
from nas.schedules import Verdict
from nas.store import Ledger, State, Writer
from nas.training.names import CHECKPOINT

TICK = 0.5
ATTEMPTS = 3


@dataclass
class Progress:
    """Where a run stands, for whoever watches it."""

    total: int
    objectives: list[Objective]
    begin: float = field(default_factory=time.monotonic)
    already: int = 0
    counts: dict[State, int] = field(default_factory=dict)
    best: dict[str, tuple[float, int]] = field(default_factory=dict)
    running: dict[int, int] = field(default_factory=dict)
    supernets: dict[int, dict[str, float]] = field(default_factory=dict)
    last: str = ""

    @property
    def done(self) -> int:
        return sum(self.counts.values())

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.begin

    @property
    def left(self) -> float | None:
        """Seconds to go at the pace of this run, once there is one."""
        made = self.done - self.already
        return self.seconds / made * (self.total - self.done) if made else None

    def note(self, number: int, state: State, values: dict[str, float] | None) -> None:
        """Count a trial that ended."""
        self.running.pop(number, None)
        self.counts[state] = self.counts.get(state, 0) + 1
        if state is not State.COMPLETED or values is None:
            return
        for each in self.objectives:
            value = values[each.name]
            if each.name not in self.best or each.loss(value) < each.loss(self.best[each.name][0]):
                self.best[each.name] = (value, number)

    def supernet_ended(self, number: int) -> None:
        """Forget a supernet, which is no trial."""
        self.running.pop(number, None)
        self.supernets.pop(number, None)


Watch = Callable[[Progress], None]
Action = Callable[[], None]


class Loop:
    """One run over a plan's trials."""

    def __init__(
        self, store: Ledger, study: int, bench: Bench, plan: Plan, executor: Executor, progress: Progress, watch: Watch
    ) -> None:
        self._store = store
        self._study = study
        self._bench = bench
        self._plan = plan
        self._executor = executor
        self._progress = progress
        self._watch = watch
        self._waiting: deque[Ticket | Screening] = deque(plan.unfinished)
        self._busy: dict[str, Ticket | Screening] = {}

    def run(self) -> None:
        """Work until the plan has nothing more to give and every worker is idle."""
        while True:
            events = self._executor.events(TICK) if self._busy else []
            with self._store.writing(self._study) as writer:
                actions = [self._hear(writer, event) for event in events]
                actions += self._fill(writer)
            for act in actions:
                act()
            self._watch(self._progress)
            if not self._busy and not self._waiting:
                return

    def _fill(self, writer: Writer) -> list[Action]:
        """Give every idle worker something to do."""
        actions: list[Action] = []
        for worker in self._executor.workers:
            if worker in self._busy:
                continue
            work = self._waiting.popleft() if self._waiting else self._plan.take(writer)
            if work is None:
                break
            self._busy[worker] = work
            if isinstance(work, Ticket):
                job = changed(work.job, device=self._executor.device)
                writer.start(work.row, job.attempt, worker, job.device)
                self._progress.running[job.trial] = 0
                actions.append(partial(self._executor.submit, worker, job))
            else:
                actions.append(partial(self._executor.submit, worker, work.job))
        return actions

    def _hear(self, writer: Writer, event: Event) -> Action:
        work = self._busy[event.worker]
        if event.last:
            del self._busy[event.worker]
        if isinstance(work, Screening):
            return self._screened(writer, work, event)
        if isinstance(event.what, Report):
            return self._report(writer, event.worker, work, event.what)
        if isinstance(event.what, Outcome):
            return self._complete(writer, work, event.what)
        assert isinstance(event.what, Problem)
        return self._problem(writer, work, event.what)

    def _screened(self, writer: Writer, screening: Screening, event: Event) -> Action:
        scores = event.what
        if not isinstance(scores, list):
            screening.lost += 1
            if screening.lost < ATTEMPTS:
                self._waiting.append(screening)
                return _nothing
            assert isinstance(scores, Problem)
            lost = [Scored(name, {}, scores.reason, 0.0) for name in screening.job.predictors]
            scores = lost * len(screening.proposals)
        count = len(screening.proposals)
        for name in screening.job.predictors:
            without = [each.reason for each in scores if each.predictor == name and each.reason]
            if without:
                self._progress.last = f"{name} gave no score to {len(without)} of {count} proposals: {without[0]}"
        self._waiting.append(self._plan.screened(writer, screening, scores))
        return _nothing

    def _report(self, writer: Writer, worker: str, ticket: Ticket, report: Report) -> Action:
        writer.report(ticket.row, report.step, report.metrics)
        ticket.metrics |= report.metrics
        self._progress.running[ticket.job.trial] = report.step
        if ticket.job.method:
            self._progress.supernets[ticket.job.trial] = report.metrics
        if report.step not in ticket.job.pauses:
            return _nothing
        verdict = self._plan.verdict(writer, ticket, report)
        if verdict is Verdict.STOP:
            del self._busy[worker]
            values = self._bench.reported(ticket.metrics)
            reason = f"stopped by {self._bench.settings.schedule} after epoch {report.step}"
            self._end(writer, ticket, State.STOPPED, values, reason)
        return partial(self._answer, worker, ticket, verdict)

    def _complete(self, writer: Writer, ticket: Ticket, outcome: Outcome) -> Action:
        for left in outcome.artifacts.values():
            if ticket.job.storage is None and not (self._bench.folder / left.path).is_file():
                reason = f"what it left is not on this machine's disk: {self._bench.folder / left.path}; use --storage"
                return self._problem(writer, ticket, Problem(State.FAILED, reason))
        if outcome.found:
            self._plan.found(writer, ticket, outcome.found)
        self._end(writer, ticket, State.COMPLETED, outcome.values)
        for kind, left in outcome.artifacts.items():
            writer.artifact(ticket.row, kind, left.path, left.sha256, left.size)
        return partial(_forget_checkpoint, ticket)

    def _problem(self, writer: Writer, ticket: Ticket, problem: Problem) -> Action:
        if problem.state is State.STALE and ticket.lost + 1 < ATTEMPTS:
            writer.lose(ticket.row, ticket.job.attempt, problem.reason)
            job = changed(ticket.job, attempt=ticket.job.attempt + 1)
            self._waiting.appendleft(Ticket(ticket.row, job, ticket.turn, ticket.lost + 1))
            return _nothing
        lost = problem.state is State.STALE
        state = State.FAILED if lost else problem.state
        reason = f"{problem.reason} ({ATTEMPTS} times)" if lost else problem.reason
        self._end(writer, ticket, state, None, reason, problem.traceback or problem.reason)
        self._progress.last = f"trial {ticket.job.trial} {state}: {reason}"
        return partial(_forget_checkpoint, ticket)

    def _end(
        self,
        writer: Writer,
        ticket: Ticket,
        state: State,
        values: dict[str, float] | None,
        reason: str | None = None,
        error: str | None = None,
    ) -> None:
        writer.end(ticket.row, ticket.job.attempt, state, values=values, reason=reason, error=error)
        self._plan.ended(writer, ticket, state, values)
        if ticket.job.method is None:
            self._progress.note(ticket.job.trial, state, values)
        else:
            self._progress.supernet_ended(ticket.job.trial)

    def _answer(self, worker: str, ticket: Ticket, verdict: Verdict) -> None:
        self._executor.answer(worker, verdict)
        if verdict is Verdict.STOP:
            _forget_checkpoint(ticket)


def _forget_checkpoint(ticket: Ticket) -> None:
    """Delete the checkpoint of a trial whose end is in the store."""
    (ticket.job.folder / CHECKPOINT).unlink(missing_ok=True)


def _nothing() -> None:
    """There is nothing to do."""
