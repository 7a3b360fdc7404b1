"""The plan of a search: proposals of a strategy, judged by a schedule, rebuilt from the store's events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from nas.job import Found, Method, Report, Scored, ScoreJob
from nas.plans import Bench, Screening, Ticket
from nas.schedules import Verdict, make_schedule
from nas.settings import Screen, Settings
from nas.store import State, Store, Writer, queries
from nas.strategies import Chooser, Finder, Measured, Proposal, Strategy, make_strategy
from nas.strategies.predictor_guided import guided
from search_spaces.decisions import Architecture, identity
from search_spaces.limits import limited
from search_spaces.space import Space

DUPLICATES = 200
SUPERNETS = 3
TURNS = 4096


@dataclass(frozen=True)
class Judged:
    """How work with a certain key came out: the trial's row, and its losses where it has any."""

    row: int
    losses: list[float] | None
    feasible: bool


def strategy_of(settings: Settings, space: Space) -> Strategy:
    """Make the strategy that settings name for their part of a space, with a screening where one is asked for."""
    part = limited(space, settings.only)
    made = make_strategy(settings.strategy, part, len(settings.objectives), settings.seed, settings.strategy_options)
    if settings.screen is None:
        return made
    screen = Screen.parse(settings.screen)
    predictors, count, name = screen.predictors, screen.count, settings.strategy
    return guided(made, part, len(settings.objectives), settings.seed, predictors, count, name=name)


class Search:
    """Asks a strategy for new architectures until the study has its trials."""

    def __init__(self, bench: Bench, space: Space) -> None:
        settings = bench.settings
        self._bench = bench
        self._strategy = strategy_of(settings, space)
        self._chooser = self._strategy if isinstance(self._strategy, Chooser) else None
        self._schedule = make_schedule(settings.schedule, settings.epochs)
        self._seen: dict[str, Judged | None] = {}
        self._keys: dict[int, str] = {}
        self._numbers: dict[int, int] = {}
        self._verdicts: set[tuple[int, int]] = set()
        self._made = 0
        self._supernets = self._barren = 0
        self._takes = 0
        self._number = 0
        self.exhausted = ""
        self.unfinished: list[Ticket] = []

    def take(self, writer: Writer) -> Ticket | Screening | None:
        if self._made + self._supernets >= self._bench.settings.trials or self.exhausted:
            return None
        chooser = self._chooser
        proposals = self._propose(writer, chooser.count(self._takes * TURNS) if chooser else 1)
        if not proposals:
            return None
        if proposals[0].method:
            self._supernets += 1
        else:
            self._made += 1
        self._takes += 1
        if chooser is None or len(proposals) == 1:
            return self._add(writer, proposals[0])
        if not chooser.predictors:
            return self._choose(writer, chooser, proposals, [{}] * len(proposals))
        settings = self._bench.settings
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

    def screened(self, writer: Writer, screening: Screening, scores: list[Scored]) -> Ticket:
        assert self._chooser is not None
        pairs = product(screening.proposals, screening.job.predictors)
        for (proposal, _), score in zip(pairs, scores, strict=True):
            for column, value in () if score.passing else score.values.items():
                share = score.seconds / len(score.values)
                writer.score(identity(proposal.architecture), column, value, share, score.reason)
        count = len(screening.job.predictors)
        measured = [
            {column: value for each in scores[i : i + count] for column, value in each.values.items()}
            for i in range(0, len(scores), count)
        ]
        return self._choose(writer, self._chooser, screening.proposals, measured)

    def verdict(self, writer: Writer, ticket: Ticket, report: Report) -> Verdict:
        if (ticket.row, report.step) in self._verdicts:
            return Verdict.CONTINUE
        self._verdicts.add((ticket.row, report.step))
        verdict = self._schedule.judge(report.step, self._bench.losses(self._bench.reported(ticket.metrics)))
        writer.event("verdict", {"step": report.step, "verdict": verdict}, ticket.row)
        return verdict

    def ended(self, writer: Writer, ticket: Ticket, state: State, values: Mapping[str, float] | None) -> None:
        writer.event("told", {"turn": ticket.turn}, ticket.row)
        if ticket.job.method:
            self._supernet_ended(state)
        self._learn(ticket.turn, ticket.row, state, values)

    def found(self, writer: Writer, ticket: Ticket, found: Sequence[Found]) -> None:
        architectures = [each.architecture for each in found]
        writer.event("found", {"turn": ticket.turn, "architectures": architectures}, ticket.row)
        assert ticket.job.method is not None
        for each in found:
            if each.accuracy is not None:
                writer.score(identity(each.architecture), ticket.job.method.name, each.accuracy, 0.0)
        assert isinstance(self._strategy, Finder)
        self._strategy.found(ticket.turn, architectures)

    def _propose(self, writer: Writer, wanted: int) -> list[Proposal]:
        """Ask until so many proposals are new; fewer when the space seems exhausted or the strategy waits.

        What was judged before is replayed to the strategy, and what is under way is passed over.
        """
        proposals: list[Proposal] = []
        for attempt in range(DUPLICATES + wanted):
            proposal = self._strategy.ask(self._takes * TURNS + attempt)
            if proposal is None:
                return proposals
            key = self._key(proposal.turn, proposal.architecture, proposal.method)
            known = self._seen.get(key)
            if known is not None:
                writer.event("replayed", {"turn": proposal.turn, "note": proposal.note}, known.row)
                self._strategy.tell(proposal.turn, known.losses, feasible=known.feasible)
            elif key in self._seen:
                self._strategy.tell(proposal.turn, None)
            else:
                self._seen[key] = None
                self._keys[proposal.turn] = key
                proposals.append(proposal)
                if len(proposals) == wanted:
                    return proposals
        if not proposals:
            self.exhausted = f"the space seems exhausted: {DUPLICATES} proposals in a row were known"
        return proposals

    def _key(self, turn: int, architecture: Architecture, method: Method | None) -> str:
        """Return the key of a proposal's work; each supernet is work of its own."""
        return self._bench.key(architecture, turn + 1) if method else self._bench.key(architecture)

    def _supernet_ended(self, state: State) -> None:
        self._supernets -= 1
        self._barren = 0 if state is State.COMPLETED else self._barren + 1
        if self._barren >= SUPERNETS:
            self.exhausted = f"{SUPERNETS} supernets in a row came to nothing: `nas show` says why"

    def _choose(
        self,
        writer: Writer,
        chooser: Chooser,
        proposals: list[Proposal],
        measured: Sequence[Measured],
    ) -> Ticket:
        """Make a trial of the proposal that the strategy chooses; the others are as if never asked for."""
        best = proposals[chooser.choose(proposals, measured)]
        for proposal in proposals:
            if proposal is not best:
                del self._seen[self._keys.pop(proposal.turn)]
                self._strategy.tell(proposal.turn, None)
        return self._add(writer, best)

    def _add(self, writer: Writer, proposal: Proposal) -> Ticket:
        number, architecture = self._number, proposal.architecture
        self._number += 1
        seed = self._bench.seed(number)
        self._numbers[proposal.turn] = number
        parent = next((self._numbers[turn] for turn in proposal.parents if turn in self._numbers), None)
        key = self._keys[proposal.turn]
        method, kind = proposal.method, "supernet" if proposal.method else "search"
        row = writer.add_trial(number, architecture, identity(architecture), key, seed, kind=kind, parent=parent)
        named = {"method": vars(method)} if method else {}
        writer.event("asked", {"turn": proposal.turn, "note": proposal.note} | named, row)
        job = self._bench.job(number, architecture, seed, pauses=self._schedule.pauses, method=method)
        return Ticket(row, job, proposal.turn)

    def _learn(self, turn: int, row: int, state: State, values: Mapping[str, float] | None) -> None:
        judged = Judged(row, self._bench.losses(values) if values else None, state is not State.INFEASIBLE)
        self._seen[self._keys.pop(turn)] = judged
        self._strategy.tell(turn, judged.losses, feasible=judged.feasible)

    def replay(self, store: Store, study: int) -> None:
        """Bring strategy and schedule to where the events of the store leave them, once, before anything else."""
        rows = {row.id: row for row in queries.trials(store, study, queries.Page(kind=None))}
        names = [each.metric or each.name for each in self._bench.objectives]
        metrics = queries.metrics_at(store, study, {0, *self._schedule.pauses}, names)
        turns: dict[int, int] = {}
        methods: dict[int, Method] = {}
        for kind, trial, payload in queries.history(store, study):
            assert trial is not None
            row = rows[trial]
            if "method" in payload:
                methods[trial] = Method(**payload["method"])
            if kind in ("asked", "replayed"):
                self._takes = max(self._takes, payload["turn"] // TURNS + 1)
                method = methods.get(trial)
                self._strategy.remember(Proposal(payload["turn"], row.architecture, payload["note"], method=method))
            if kind == "asked":
                turns[trial] = payload["turn"]
                self._numbers[payload["turn"]] = row.number
                self._supernets += trial in methods
                self._keys[payload["turn"]] = key = self._key(payload["turn"], row.architecture, methods.get(trial))
                self._seen[key] = None
            elif kind == "replayed":
                known = self._seen[self._bench.key(row.architecture)]
                if known is not None:
                    self._strategy.tell(payload["turn"], known.losses, feasible=known.feasible)
            elif kind == "found":
                assert isinstance(self._strategy, Finder)
                self._strategy.found(payload["turn"], payload["architectures"])
            elif kind == "told":
                if trial in methods:
                    self._supernet_ended(row.state)
                self._learn(payload["turn"], trial, row.state, row.values)
            elif kind == "verdict":
                reported = metrics.get((trial, 0), {}) | metrics[trial, payload["step"]]
                self._schedule.judge(payload["step"], self._bench.losses(self._bench.reported(reported)))
                self._verdicts.add((trial, payload["step"]))
        self._made = sum(row.kind == "search" for row in rows.values())
        self._number = max((row.number + 1 for row in rows.values()), default=0)
        self.unfinished = [
            Ticket(
                row.id,
                self._bench.job(
                    row.number, row.architecture, row.seed, tries + 1, self._schedule.pauses, methods.get(row.id)
                ),
                turns[row.id],
                lost,
            )
            for kind in ("search", "supernet")
            for row, tries, lost in queries.unfinished(store, study, kind)
        ]
