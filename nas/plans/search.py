"""The plan of a search: proposals of a strategy, judged by a schedule, rebuilt from the store's events."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from nas.job import Found, Job, Method, Report, Scored, ScoreJob
from nas.plans import Bench, Screening, Ticket
from nas.plans.judging import Judging
from nas.schedules import Decided, Fork, Schedule, Verdict, make_schedule
from nas.settings import Screen, Settings
from nas.store import News, State, Store, Writer, queries
from nas.store.queries import TrialRow
from nas.strategies import Chooser, Finder, Measured, Proposal, Strategy, make_strategy
from nas.strategies.predictor_guided import guided
from search_spaces.decisions import Architecture, identity
from search_spaces.limits import held, limited
from search_spaces.space import Space

DUPLICATES = 200
SUPERNETS = 3
TURNS = 4096
TRAINING, ARCHITECTURE = "training", "architecture"

Note = Callable[[int, State, "dict[str, float] | None"], None]


@dataclass(frozen=True)
class Judged:
    """How work with a certain key came out: the trial's row, and its losses where it has any."""

    row: int
    losses: list[float] | None
    feasible: bool


def part_of(settings: Settings, space: Space) -> Space:
    """Return the part of a space that a study explores: its limits, and no training where that is replayed."""
    part = limited(space, settings.only)
    return part if settings.replay is None else held(part, TRAINING, settings.replay["segments"][0][TRAINING])


def strategy_of(settings: Settings, space: Space) -> Strategy:
    """Make the strategy that settings name for their part of a space, with a screening where one is asked for."""
    part = part_of(settings, space)
    made = make_strategy(settings.strategy, part, len(settings.objectives), settings.seed, settings.strategy_options)
    if settings.screen is None:
        return made
    screen = Screen.parse(settings.screen)
    predictors, count, name = screen.predictors, screen.count, settings.strategy
    return guided(made, part, len(settings.objectives), settings.seed, predictors, count, name=name)


def schedule_of(settings: Settings, space: Space) -> Schedule:
    """Make the schedule that settings name for their part of a space."""
    options = settings.schedule_options | ({ARCHITECTURE: True} if settings.pbt_architecture else {})
    return make_schedule(settings.schedule, settings.epochs, part_of(settings, space), settings.seed, options)


class Search:
    """Asks a strategy for new architectures until the study has its trials, and a schedule which of them go on.

    What it decides is an event in the store, and it is brought to where a study stands by following the events: all
    of them at the start, and those of other drivers as they come. Trials are known by their numbers, proposals by
    their turns; a trial that no strategy proposed, a fork or a replayed network, has a turn below 0.
    """

    def __init__(self, bench: Bench, space: Space) -> None:
        settings = bench.settings
        self._bench = bench
        self._strategy = strategy_of(settings, space)
        self._chooser = self._strategy if isinstance(self._strategy, Chooser) else None
        self._judging = Judging(schedule_of(settings, space), bench)
        self._seen: dict[str, Judged | int] = {}
        self._keys: dict[int, str] = {}
        self._numbers: dict[int, int] = {}
        self._turns: dict[int, int] = {}
        self._methods: dict[int, Method] = {}
        self._trials = settings.trials
        self._made = self._screenings = 0
        self._supernets = self._barren = 0
        self._takes = 0
        self._number = 0
        self._store: Store | None = None
        self._study = 0
        self.exhausted = ""
        self.pauses = self._judging.schedule.pauses
        self.unfinished: list[Ticket] = []

    def take(self, writer: Writer) -> Ticket | Screening | None:
        settings, chooser = self._bench.settings, self._chooser
        if self._made + self._screenings + self._supernets >= self._trials or self.exhausted:
            self._close(writer)
            return None
        if settings.replay is not None and not self._made:
            architecture = {"network": settings.replay["network"], TRAINING: settings.replay["segments"][0][TRAINING]}
            return self._add(writer, Proposal(-1 - self._number, architecture))
        proposals = self._propose(writer, chooser.count(self._takes * TURNS) if chooser else 1)
        if not proposals:
            self._close(writer)
            return None
        self._takes += 1
        if chooser is None or len(proposals) == 1:
            return self._add(writer, proposals[0])
        if not chooser.predictors:
            return self._choose(writer, chooser, proposals, [{}] * len(proposals))
        self._screenings += 1
        if self._store is not None and self._store.shared:
            writer.event("taken", {"take": self._takes - 1})
        job = ScoreJob(
            predictors=chooser.predictors,
            architectures=tuple(proposal.architecture for proposal in proposals),
            seed=settings.seed,
            space=settings.space,
            task=settings.task,
            split_seed=settings.split_seed,
            constraints=self._bench.constraints,
        )
        return Screening(job, proposals)

    def screened(self, writer: Writer, screening: Screening, scores: list[Scored]) -> Ticket | None:
        assert self._chooser is not None
        self._screenings -= 1
        pairs = product(screening.proposals, screening.job.predictors)
        for (proposal, _), score in zip(pairs, scores, strict=True):
            for column, value in () if score.passing else score.values.items():
                share = score.seconds / len(score.values)
                writer.score(proposal.identity, column, value, share, score.reason)
        count = len(screening.job.predictors)
        measured = [
            {column: value for each in scores[i : i + count] for column, value in each.values.items()}
            for i in range(0, len(scores), count)
        ]
        return self._choose(writer, self._chooser, screening.proposals, measured)

    def verdict(self, writer: Writer, ticket: Ticket, report: Report) -> Decided:
        number = ticket.job.trial
        if self._judging.judged(number, report.step):
            return Verdict.CONTINUE
        losses = self._bench.losses(self._bench.reported(ticket.metrics))
        decided = self._judging.judge(number, report.step, losses)
        kept = [each if math.isfinite(each) else str(each) for each in losses]
        writer.event("verdict", {"step": report.step, "verdict": _named(decided), "losses": kept}, ticket.row)
        if decided is Verdict.PAUSE:
            self._judging.paused[number] = ticket
        return decided

    def released(self, writer: Writer) -> list[tuple[Ticket, Decided]]:
        given = []
        for number, decided in list(self._judging.pending.items()):
            known = self._judging.paused[number]
            ticket = self._woken(known) if isinstance(known, TrialRow) else known
            writer.event("released", {"verdict": _named(decided)}, ticket.row)
            self._judging.let_go(number, goes_on=decided is Verdict.CONTINUE)
            given.append((ticket, decided))
        return given

    def fork(self, writer: Writer, ticket: Ticket, fork: Fork) -> Ticket:
        number, architecture = self._number, fork.architecture
        seed, key = self._bench.seed(number), self._bench.key(architecture, f"fork {number}")
        row = writer.add_trial(
            number, architecture, identity(architecture), key, seed, parent=fork.source, forked_at=fork.step
        )
        told = {"source": fork.source, "step": fork.step, "replaced": ticket.job.trial}
        writer.event("forked", told, row)
        self._forked(number, seed, fork, ticket.job.trial)
        return Ticket(row, self._job(number, architecture, seed, fork=fork), -1 - number)

    def ended(self, writer: Writer, ticket: Ticket, state: State, values: Mapping[str, float] | None) -> None:
        writer.event("told", {"turn": ticket.turn}, ticket.row)
        self._end(ticket.turn, ticket.row, ticket.job.trial, state, values, supernet=ticket.job.method is not None)

    def found(self, writer: Writer, ticket: Ticket, found: Sequence[Found]) -> None:
        architectures = [each.architecture for each in found]
        writer.event("found", {"turn": ticket.turn, "architectures": architectures}, ticket.row)
        assert ticket.job.method is not None
        for each in found:
            if each.accuracy is not None:
                writer.score(identity(each.architecture), ticket.job.method.name, each.accuracy, 0.0)
        assert isinstance(self._strategy, Finder)
        self._strategy.found(ticket.turn, architectures)

    def replay(self, store: Store, study: int, driver: int | None = None, note: Note | None = None) -> None:
        """Bring strategy and schedule to where the events of the store leave them, once, before anything else.

        `driver` is the one that runs this: what others have in hand is not unfinished work of its own. `note` is told
        of each trial that has ended.
        """
        self._store, self._study = store, study
        self._number = queries.last_number(store, study) + 1
        for event, row in queries.replayed(store, study):
            self._follow(event, row)
            if note is not None and event.kind == "told" and row is not None and row.kind == "search":
                note(row.number, row.state, row.values)
        self._judging.settle()
        self.unfinished = self.orphans(driver)

    def hear(self, news: Sequence[News]) -> None:
        if news:
            assert self._store is not None
            for event, row in queries.with_trials(self._store, news):
                self._follow(event, row)
            self._judging.settle()

    def orphans(self, driver: int | None = None) -> list[Ticket]:
        if self._store is None:
            return []
        found = [
            Ticket(row.id, self._again(row, tries + 1), self._turn(row), lost)
            for kind in ("search", "supernet")
            for row, tries, lost in queries.unfinished(self._store, self._study, kind)
            if row.state is not State.PAUSED and row.driver in (None, driver)
        ]
        return sorted(found, key=lambda ticket: self._judging.place(ticket.job.trial))

    @property
    def total(self) -> int:
        return self._trials + self._judging.forks

    @property
    def retaining(self) -> list[int]:
        """The numbers of the trials that may have left checkpoints for others."""
        return self._judging.retaining

    def living(self) -> list[TrialRow]:
        if self._store is None:
            return []
        return [row for row, *_ in queries.unfinished(self._store, self._study, "search")]

    def _propose(self, writer: Writer, wanted: int) -> list[Proposal]:
        """Ask until so many proposals are new; fewer when the space seems exhausted or the strategy waits.

        What was judged before is replayed to the strategy, and what is under way is passed over.
        """
        proposals: list[Proposal] = []
        for attempt in range(DUPLICATES + wanted):
            proposal = self._strategy.ask(self._takes * TURNS + attempt)
            if proposal is None:
                return proposals
            key = self._key(proposal)
            known = self._seen.get(key)
            if isinstance(known, Judged):
                writer.event("replayed", {"turn": proposal.turn, "note": proposal.note}, known.row)
                self._strategy.tell(proposal.turn, known.losses, feasible=known.feasible)
            elif known is not None:
                self._strategy.tell(proposal.turn, None)
            else:
                self._seen[key] = proposal.turn
                self._keys[proposal.turn] = key
                proposals.append(proposal)
                if len(proposals) == wanted:
                    return proposals
        if not proposals:
            self.exhausted = f"the space seems exhausted: {DUPLICATES} proposals in a row were known"
        return proposals

    def _key(self, proposal: Proposal) -> str:
        """Return the key of a proposal's work; each supernet is work of its own."""
        return self._bench.key_of(proposal.identity, proposal.turn + 1 if proposal.method else 0)

    def _close(self, writer: Writer) -> None:
        """Tell a schedule in which trials wait for others that no more will begin."""
        if self._judging.paused and not self._judging.closed and not self._screenings:
            writer.event("closing", {})
            self._judging.close()

    def _choose(
        self, writer: Writer, chooser: Chooser, proposals: list[Proposal], measured: Sequence[Measured]
    ) -> Ticket | None:
        """Make a trial of the proposal that the strategy chooses; the others are as if never asked for.

        None where other drivers have meanwhile begun them all, or have made the last trial of the study.
        """
        free = [i for i, each in enumerate(proposals) if self._seen[self._keys[each.turn]] == each.turn]
        wanted = free and self._made < self._trials
        best = None
        if wanted:
            chosen = [proposals[i] for i in free]
            best = chosen[chooser.choose(chosen, [measured[i] for i in free])]
        for proposal in proposals:
            if proposal is not best:
                key = self._keys.pop(proposal.turn)
                if self._seen[key] == proposal.turn:
                    del self._seen[key]
                self._strategy.tell(proposal.turn, None)
        return None if best is None else self._add(writer, best)

    def _add(self, writer: Writer, proposal: Proposal) -> Ticket:
        number, architecture, method = self._number, proposal.architecture, proposal.method
        seed = self._bench.seed(number)
        parent = next((self._numbers[turn] for turn in proposal.parents if turn in self._numbers), None)
        key = self._key(proposal)
        kind = "supernet" if method else "search"
        row = writer.add_trial(number, architecture, proposal.identity, key, seed, kind=kind, parent=parent)
        named = {"method": vars(method)} if method else {}
        writer.event("asked", {"turn": proposal.turn, "note": proposal.note} | named, row)
        self._asked(row, number, seed, key, proposal)
        return Ticket(row, self._job(number, architecture, seed, method=method), proposal.turn)

    def _job(
        self,
        number: int,
        architecture: Architecture,
        seed: int,
        attempt: int = 1,
        method: Method | None = None,
        fork: Fork | None = None,
    ) -> Job:
        origin = None if fork is None else self._judging.origin(fork)
        schedule = self._judging.schedule
        return self._bench.job(
            number, architecture, seed, attempt, schedule.pauses, method, origin=origin, retain=schedule.retains
        )

    def _again(self, row: TrialRow, attempt: int) -> Job:
        fork = None
        if row.forked_at is not None and row.parent is not None:
            fork = Fork(row.parent, row.forked_at, row.architecture)
        return self._job(row.number, row.architecture, row.seed, attempt, self._methods.get(row.id), fork)

    def _turn(self, row: TrialRow) -> int:
        turn = self._turns.get(row.id)
        return -1 - row.number if turn is None else turn

    # What follows is done alike when something is decided here, replayed, or heard of from another driver.

    def _asked(self, row: int, number: int, seed: int, key: str, proposal: Proposal) -> None:
        self._number = max(self._number, number + 1)
        self._judging.line_up(number)
        self._turns[row] = proposal.turn
        self._numbers[proposal.turn] = number
        self._keys[proposal.turn] = key
        self._seen[key] = proposal.turn
        if proposal.method is not None:
            self._supernets += 1
            self._methods[row] = proposal.method
            return
        self._made += 1
        self._judging.began(number, proposal.architecture, seed)

    def _forked(self, number: int, seed: int, fork: Fork, replaced: int) -> None:
        self._number = max(self._number, number + 1)
        self._judging.forked(number, seed, fork, replaced)

    def _end(
        self, turn: int, row: int, number: int, state: State, values: Mapping[str, float] | None, *, supernet: bool
    ) -> None:
        if turn in self._keys:
            judged = Judged(row, self._bench.losses(values) if values else None, state is not State.INFEASIBLE)
            self._seen[self._keys.pop(turn)] = judged
            if turn >= 0:
                self._strategy.tell(turn, judged.losses, feasible=judged.feasible)
        self._turns.pop(row, None)
        if not supernet:
            self._judging.ended(number)
            return
        self._methods.pop(row, None)
        self._supernets -= 1
        self._barren = 0 if state is State.COMPLETED else self._barren + 1
        if self._barren >= SUPERNETS:
            self.exhausted = f"{SUPERNETS} supernets in a row came to nothing: `nas show` says why"

    def _follow(self, event: News, row: TrialRow | None) -> None:
        """Do what an event of the store says was done."""
        if row is None:
            self._follow_study(event)
        else:
            self._follow_trial(event.kind, row, event.payload)

    def _follow_study(self, event: News) -> None:
        if event.kind == "taken":
            self._takes = max(self._takes, event.payload["take"] + 1)
        elif event.kind == "closing":
            self._judging.close()
        elif event.kind == "extended":
            self._trials = max(self._trials, event.payload["trials"])

    def _follow_trial(self, kind: str, row: TrialRow, payload: dict[str, Any]) -> None:
        if kind in ("asked", "replayed"):
            method = Method(**payload["method"]) if "method" in payload else None
            turn = payload["turn"]
            proposal = Proposal(turn, row.architecture, payload["note"], method=method)
            if turn >= 0:
                self._takes = max(self._takes, turn // TURNS + 1)
                self._strategy.remember(proposal)
            if kind == "asked":
                key = self._bench.key_of(row.identity, turn + 1 if method else 0)
                self._asked(row.id, row.number, row.seed, key, proposal)
            else:
                known = self._seen.get(self._bench.key_of(row.identity))
                if isinstance(known, Judged):
                    self._strategy.tell(turn, known.losses, feasible=known.feasible)
        elif kind == "found":
            assert isinstance(self._strategy, Finder)
            self._strategy.found(payload["turn"], payload["architectures"])
        elif kind == "told":
            supernet = row.id in self._methods
            self._end(payload["turn"], row.id, row.number, row.state, row.values, supernet=supernet)
        elif kind == "verdict":
            losses, known = self._losses(row, payload), payload["verdict"]
            decided = self._judging.judge(row.number, payload["step"], losses, known)
            if decided is Verdict.PAUSE:
                self._judging.paused[row.number] = row
        elif kind == "released":
            self._judging.let_go(row.number, goes_on=payload["verdict"] == Verdict.CONTINUE)
        elif kind == "forked":
            fork = Fork(payload["source"], payload["step"], row.architecture)
            self._forked(row.number, row.seed, fork, payload["replaced"])

    def _losses(self, row: TrialRow, payload: Mapping[str, Any]) -> list[float]:
        """Return the losses that a trial was judged by; an older store has them among its metrics alone."""
        if "losses" in payload:
            return [float(each) for each in payload["losses"]]
        assert self._store is not None
        return self._bench.losses(self._bench.reported(queries.metrics_of(self._store, row.id, payload["step"])))

    def _woken(self, row: TrialRow) -> Ticket:
        """Return the ticket of a trial that an earlier run, or another driver, saw paused."""
        assert self._store is not None
        attempts = len(queries.attempts(self._store, row.id))
        metrics = queries.metrics_of(self._store, row.id)
        return Ticket(row.id, self._again(row, attempts), self._turn(row), metrics=metrics)


def _named(decided: Decided) -> str:
    return "fork" if isinstance(decided, Fork) else str(decided)
