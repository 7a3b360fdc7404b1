"""The loop of a study: give work to idle workers, write down what they say, act on it.

Every event is in the store before anything acts on it: one transaction a round holds what the workers said,
the verdicts on it and the new trials, and only after its commit are answers and jobs sent. So a process killed
at any moment has lost at most the work in flight.

While the store is away nothing acts, and what the workers say is kept. When it is back, nobody knows whether the last
round came to be written, so the plan is made anew from the store, as a resume makes it, and what is no longer this
driver's is dropped.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from dataclasses import replace as changed
from functools import partial

from nas.checkpoints import KIND, Checkpoints
from nas.execution import Event, Executor, Problem
from nas.job import Artifact, Outcome, Report, Scored
from nas.plans import Bench, Plan, Screening, Ticket
from nas.progress import Progress, Watch
from nas.schedules import Decided, Fork, Verdict
from nas.storage import StorageError
from nas.store import Evicted, Ledger, State, StoreAway, StoreError, Writer

TICK, IDLE = 0.5, 0.1
ATTEMPTS = 3
STORE_TIMEOUT = 600.0

Action = Callable[[], None]


@dataclass
class Busy:
    """What a worker was given, and when by the monotonic clock."""

    work: Ticket | Screening
    began: float = field(default_factory=time.monotonic)


class Loop:
    """One run over a plan's trials.

    `replan` makes the plan anew from the store, and sets the progress to what is there. `store_timeout` is how many
    seconds the store may be away before the run ends. Files are left alone where there are no `checkpoints`.
    """

    def __init__(
        self,
        ledger: Ledger,
        study: int,
        bench: Bench,
        plan: Plan,
        executor: Executor,
        progress: Progress,
        watch: Watch,
        *,
        checkpoints: Checkpoints | None = None,
        replan: Callable[[], tuple[Plan, Checkpoints]] | None = None,
        store_timeout: float = STORE_TIMEOUT,
    ) -> None:
        self._ledger = ledger
        self._study = study
        self._bench = bench
        self._plan = plan
        self._executor = executor
        self._progress = progress
        self._watch = watch
        self._checkpoints = checkpoints
        self._replan = replan
        self._store_timeout = store_timeout
        self._waiting: deque[Ticket | Screening] = deque(plan.unfinished)
        self._busy: dict[str, Busy] = {}
        self._cancelled: set[str] = set()
        self._gone: list[str] = []
        self._judged = False
        self._drained = False
        self._idle = False
        self._lack = ""
        self._away: float | None = None

    def run(self) -> None:
        """Work until the plan has nothing more to give and every worker is idle."""
        events: list[Event] = []
        while True:
            events += self._listen(events)
            before = dict(self._busy)
            self._gone, self._judged, self._drained = [], False, False
            self._cancelled.clear()
            try:
                orphaned = self._ledger.look_after()
                with self._ledger.writing(self._study) as writer:
                    actions = self._round(writer, events, orphaned)
                self._idle = not self._busy
                others = self._ledger.others() if self._idle else 0
            except (StoreAway, Evicted) as error:
                if self._replan is None:
                    raise
                self._busy = before
                events = self._come_back(error, events)
                continue
            if self._away is not None:
                self._away = None
                self._progress.say("the store is back, and the search goes on")
            events = []
            for act in actions:
                act()
            self._tidy()
            self._progress.total = self._plan.total
            self._tell_lack()
            if others:
                self._progress.last = f"waiting for {others} trials that other drivers have in hand"
            self._watch(self._progress)
            if self._idle and self._drained and not others:
                return

    def _tell_lack(self) -> None:
        """Say, once, that workers have no place yet."""
        lack = getattr(self._executor, "lack", "")
        if lack != self._lack:
            self._lack = lack
            if lack:
                self._progress.say(lack)

    def _listen(self, known: list[Event]) -> list[Event]:
        if self._at_work(known) or not self._executor.workers:
            return self._executor.events(0.0 if known else TICK)
        if self._idle:
            time.sleep(IDLE)  # other drivers have what is left in hand
        return []

    def _round(self, writer: Writer, events: list[Event], orphaned: int) -> list[Action]:
        self._plan.hear(writer.news)
        if orphaned:
            self._adopt()
        actions = [self._hear(writer, event) for event in events]
        actions += self._overdue(writer)
        self._release(writer)
        actions += self._fill(writer)
        # Filling may have told the schedule that no more trials will begin, which lets go of those that wait for them.
        if self._release(writer):
            actions += self._fill(writer)
        return actions

    def _adopt(self) -> None:
        """Line up what dead drivers have left; who is the first to claim a trial has it."""
        known = {work.row for work in self._works() if isinstance(work, Ticket)}
        mine = self._plan.orphans(self._ledger.driver)
        self._waiting.extendleft(ticket for ticket in mine if ticket.row not in known)

    def _works(self) -> list[Ticket | Screening]:
        return [*(each.work for each in self._busy.values()), *self._waiting]

    def _fill(self, writer: Writer) -> list[Action]:
        """Give every idle worker something to do."""
        actions: list[Action] = []
        for worker in self._executor.workers:
            if worker in self._busy or worker in self._cancelled:
                continue
            work = self._next(writer)
            if work is None:
                break
            self._busy[worker] = Busy(work)
            if isinstance(work, Ticket):
                job = changed(work.job, device=self._executor.device_of(worker))
                writer.start(work.row, job.attempt, worker, job.device)
                self._progress.running[job.trial] = 0
                actions.append(partial(self._executor.submit, worker, job))
            else:
                actions.append(partial(self._executor.submit, worker, work.job))
        return actions

    def _next(self, writer: Writer) -> Ticket | Screening | None:
        while self._waiting:
            lined_up = self._waiting.popleft()
            if isinstance(lined_up, Screening) or writer.claim(lined_up.row):
                return lined_up
        work = self._plan.take(writer)
        self._drained = work is None
        return work

    def _hear(self, writer: Writer, event: Event) -> Action:
        work = self._busy[event.worker].work
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
        chosen = self._plan.screened(writer, screening, scores)
        if chosen is not None:
            self._waiting.append(chosen)
        return _nothing

    def _report(self, writer: Writer, worker: str, ticket: Ticket, report: Report) -> Action:
        writer.report(ticket.row, report.step, report.metrics)
        ticket.metrics |= report.metrics
        self._progress.running[ticket.job.trial] = report.step
        if ticket.job.method:
            self._progress.supernets[ticket.job.trial] = report.metrics
        if report.step not in ticket.job.pauses:
            return _nothing
        if self._checkpoints is not None:
            self._checkpoints.reached(ticket.job, report.step)
        decided = self._plan.verdict(writer, ticket, report)
        if decided is Verdict.CONTINUE:
            return partial(self._executor.answer, worker, Verdict.CONTINUE)
        del self._busy[worker]
        if decided is Verdict.PAUSE:
            writer.pause(ticket.row, ticket.job.attempt)
            self._progress.running.pop(ticket.job.trial, None)
            return partial(self._executor.answer, worker, Verdict.PAUSE)
        self._cut(writer, ticket, decided, report.step)
        return partial(self._executor.answer, worker, Verdict.STOP)

    def _release(self, writer: Writer) -> bool:
        """Carry out what is decided of paused trials; say whether anything was."""
        released = self._plan.released(writer)
        for ticket, decided in released:
            if decided is Verdict.CONTINUE:
                writer.release(ticket.row)
                job = changed(ticket.job, attempt=ticket.job.attempt + 1)
                self._waiting.append(Ticket(ticket.row, job, ticket.turn, ticket.lost, ticket.metrics))
        for ticket, decided in released:
            if decided is not Verdict.CONTINUE:
                self._cut(writer, ticket, decided, None)
        return bool(released)

    def _cut(self, writer: Writer, ticket: Ticket, decided: Decided, step: int | None) -> None:
        """End a trial because of a verdict, and begin the one that takes its place."""
        name = self._bench.settings.schedule
        after = "" if step is None else f" after epoch {step}"
        reason = f"stopped by {name}{after}"
        if isinstance(decided, Fork):
            reason = f"{name} went on from trial {decided.source} instead, after epoch {decided.step}"
        self._end(writer, ticket, State.STOPPED, self._bench.reported(ticket.metrics), reason)
        if isinstance(decided, Fork):
            self._waiting.append(self._plan.fork(writer, ticket, decided))

    def _overdue(self, writer: Writer) -> list[Action]:
        """Stop the trials that have had their time."""
        limit, actions = self._bench.settings.trial_timeout, list[Action]()
        for worker, busy in list(self._busy.items()):
            ticket = busy.work
            if limit is None or isinstance(ticket, Screening) or time.monotonic() - busy.began <= limit:
                continue
            del self._busy[worker]
            known = all(name in ticket.metrics for name in self._bench.figures)
            values = self._bench.reported(ticket.metrics) if known else None
            epoch = self._progress.running.get(ticket.job.trial, 0)
            self._end(
                writer, ticket, State.STOPPED, values, f"--trial-timeout of {limit:g} s was over at epoch {epoch}"
            )
            self._cancelled.add(worker)
            actions.append(partial(self._executor.cancel, worker))
        return actions

    def _complete(self, writer: Writer, ticket: Ticket, outcome: Outcome) -> Action:
        for left in outcome.artifacts.values():
            if ticket.job.storage is None and not (self._bench.folder / left.path).is_file():
                reason = f"what it left is not on this machine's disk: {self._bench.folder / left.path}; use --storage"
                return self._problem(writer, ticket, Problem(State.FAILED, reason))
        if outcome.found:
            self._plan.found(writer, ticket, outcome.found)
        lasting = {kind: left for kind, left in outcome.artifacts.items() if kind != KIND}
        self._end(writer, ticket, State.COMPLETED, outcome.values, left=outcome.artifacts.get(KIND))
        for kind, left in lasting.items():
            writer.artifact(ticket.row, kind, left.path, left.sha256, left.size)
        return _nothing

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
        return _nothing

    def _end(
        self,
        writer: Writer,
        ticket: Ticket,
        state: State,
        values: dict[str, float] | None,
        reason: str | None = None,
        error: str | None = None,
        left: Artifact | None = None,
    ) -> None:
        writer.end(ticket.row, ticket.job.attempt, state, values=values, reason=reason, error=error)
        self._plan.ended(writer, ticket, state, values)
        if self._checkpoints is not None:
            self._gone += self._checkpoints.ended(writer, ticket.row, ticket.job, values, left)
        self._judged |= ticket.job.retain
        if ticket.job.method is None:
            self._progress.note(ticket.job.trial, state, values)
        else:
            self._progress.supernet_ended(ticket.job.trial)

    def _tidy(self) -> None:
        """Delete the checkpoints of which the store knows that nobody needs them; what cannot be deleted stays."""
        if self._checkpoints is None:
            return
        try:
            self._checkpoints.delete(self._gone)
            if self._judged:
                self._checkpoints.delete(self._checkpoints.superfluous(self._plan.living(), self._plan.pauses))
        except StoreAway:
            return  # the next round says so
        except StorageError as error:
            self._progress.last = str(error)

    def _come_back(self, error: Exception, events: list[Event]) -> list[Event]:
        """Wait for the store and make the plan anew; return what the workers have said meanwhile.

        Raises StoreError when the store is away for too long.
        """
        if self._away is None:
            self._away = time.monotonic()
            if isinstance(error, StoreAway):
                self._progress.say(
                    f"{error}; the search waits up to {self._store_timeout:g} s for it, and trials go on"
                )
        why: str | None = str(error)
        while why is not None:
            try:
                why = self._ledger.ready()
                if why is None:
                    self._rejoin(lost=isinstance(error, Evicted))
            except Evicted as evicted:
                error = evicted
            except StoreAway as away:
                why = str(away)
            if why is None:
                break
            if time.monotonic() - self._away > self._store_timeout:
                raise StoreError(
                    f"{why}; that was so for {self._store_timeout:g} s (--store-timeout), so the trials are stopped "
                    "and their checkpoints kept: `nas resume` goes on"
                )
            if self._at_work(events):
                events = events + self._executor.events(TICK)
            else:
                time.sleep(TICK)
            self._watch(self._progress)
        return [event for event in events if event.worker in self._busy]

    def _at_work(self, events: list[Event]) -> bool:
        """Say whether any worker may have more to say than these events, none of which has been answered."""
        waiting = set()
        for event in events:
            work = self._busy[event.worker].work
            paused = isinstance(event.what, Report) and isinstance(work, Ticket) and event.what.step in work.job.pauses
            if event.last or paused:
                waiting.add(event.worker)
        return bool(self._busy.keys() - waiting)

    def _rejoin(self, *, lost: bool) -> None:
        """Make the plan anew, and keep of what the workers do only what is still this driver's."""
        assert self._replan is not None
        if lost:
            self._ledger.rejoin()
        self._plan, self._checkpoints = self._replan()
        mine = {ticket.row: ticket for ticket in self._plan.unfinished}
        for worker, busy in list(self._busy.items()):
            work = busy.work
            known = mine.get(work.row) if isinstance(work, Ticket) and not lost else None
            if isinstance(work, Ticket) and known is not None and known.job.attempt == work.job.attempt + 1:
                del mine[work.row]
                self._progress.running[work.job.trial] = 0
            else:
                del self._busy[worker]
                self._executor.cancel(worker)
        self._waiting = deque(mine.values())


def _nothing() -> None:
    """There is nothing to do."""
