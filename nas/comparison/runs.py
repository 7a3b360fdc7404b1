"""Many simulated searches: every strategy, number of workers and seed, spread over processes."""

from __future__ import annotations

import multiprocessing
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from nas.catalog import read_settings
from nas.checking import check
from nas.comparison.curves import Curve, incumbent, volume
from nas.objectives import Objective, objective
from nas.settings import Settings, SettingsError
from nas.simulation import Simulated, simulate
from nas.tasks import find_lookup
from nas.tasks.table import Table
from search_spaces.registry import find
from search_spaces.space import find_space

Tick = Callable[[int, int], None]


@dataclass(frozen=True)
class Contender:
    """A strategy with its options, as the user wrote it: `regularized_evolution[population=20,sample=5]`."""

    text: str
    name: str
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Contender:
        """Read `name` or `name[option=value,...]`; raises SettingsError, UnknownName or CatalogError."""
        match = re.fullmatch(r"\s*(\w+)\s*(?:\[(.*)\])?\s*", text)
        if match is None:
            raise SettingsError(
                f"strategy {text!r} does not parse: write it as name or name[option=value,option=value]"
            )
        name, inside = match.groups()
        texts = [each.strip() for each in inside.split(",")] if inside else []
        return cls(text.strip(), name, read_settings(find("strategy", name), texts, f"strategy {name}:"))


@dataclass(frozen=True)
class Plan:
    """What all searches of a comparison share: settings, the test column, and best and worst losses in the table."""

    settings: Settings
    test: str | None
    bounds: tuple[tuple[float, float], ...]

    @property
    def objectives(self) -> list[Objective]:
        return [objective(name) for name in self.settings.objectives]


@dataclass(frozen=True)
class Ran:
    """One search: what it had found after each trial, and the virtual seconds at which each trial ended."""

    best: Curve | None
    volume: Curve | None
    clocks: list[float]


def contenders(text: str) -> list[Contender]:
    """Read a list of strategies, separated by commas outside of brackets."""
    made = [Contender.parse(each) for each in re.split(r",(?![^\[]*\])", text) if each.strip()]
    if not made:
        raise SettingsError("--strategies names none: write for instance random,regularized_evolution")
    return made


def plan(settings: Settings, test: str | None, entrants: Sequence[Contender]) -> Plan:
    """Check everything before anything runs; raises SettingsError, or what a search of that kind would raise."""
    for entrant in entrants:
        check(replace(settings, strategy=entrant.name, strategy_options=entrant.options))
    lookup, space = find_lookup(settings.task), find_space(settings.space)
    if not isinstance(lookup, Table):
        raise SettingsError(f"task {settings.task!r} is no table: strategies are compared on tables, as table:PATH")
    rows = lookup.figures(space)
    columns = {name: None for row in rows for name in row}
    tests = [name for name in columns if name.startswith("test")]
    if test is not None and test not in columns:
        raise SettingsError(f"--test {test!r} is no column of the table: it has {', '.join(columns)}")
    if test is None and not tests and len(settings.objectives) == 1:
        raise SettingsError("the table has no column that begins with test: name the one to show with --test")
    objectives = [objective(name) for name in settings.objectives]
    return Plan(settings, test or next(iter(tests), None), spans(rows, objectives))


def compare(
    plan: Plan, entrants: Sequence[Contender], workers: Sequence[int], seeds: int, processes: int, tick: Tick
) -> dict[tuple[str, int], list[Ran]]:
    """Run every (contender, workers) with each seed from 0; `tick` hears of (done, all)."""
    jobs = [(plan, each, count, seed) for each in entrants for count in workers for seed in range(seeds)]
    found: dict[tuple[str, int], list[Ran]] = {(each.text, count): [] for each in entrants for count in workers}
    for done, ((_, entrant, count, _), ran) in enumerate(zip(jobs, _spread(jobs, processes), strict=True), 1):
        found[entrant.text, count].append(ran)
        tick(done, len(jobs))
    return found


def run(job: tuple[Plan, Contender, int, int]) -> Ran:
    """Run one search and keep what its trials had found."""
    plan, entrant, workers, seed = job
    settings = replace(plan.settings, strategy=entrant.name, strategy_options=entrant.options, seed=seed)
    return measured(plan, simulate(settings, workers))


def measured(plan: Plan, trials: Sequence[Simulated]) -> Ran:
    """Reduce a search's trials to its curves."""
    objectives = plan.objectives
    best = incumbent(trials, objectives[0], plan.test) if plan.test else None
    area = volume(trials, objectives, plan.test, plan.bounds) if len(objectives) > 1 else None
    return Ran(best, area, sorted(trial.clock for trial in trials))


def _spread(jobs: Sequence[tuple[Plan, Contender, int, int]], processes: int) -> Iterator[Ran]:
    """Run jobs in so many processes, in order; with one, in this process."""
    if processes == 1:
        yield from map(run, jobs)
        return
    with ProcessPoolExecutor(processes, multiprocessing.get_context("forkserver"), _single_threaded) as pool:
        yield from pool.map(run, jobs, chunksize=max(1, min(8, len(jobs) // (4 * processes))))


def _single_threaded() -> None:
    """Keep numerical libraries to one thread a process, so that processes do not get in each other's way."""
    import threadpoolctl

    threadpoolctl.threadpool_limits(1)


def spans(rows: Sequence[Mapping[str, float]], objectives: Sequence[Objective]) -> tuple[tuple[float, float], ...]:
    """Return the (best, worst) loss of each objective over the rows of a table."""
    losses = [[each.loss(row[each.metric or each.name]) for row in rows] for each in objectives]
    return tuple((min(values), max(values)) for values in losses)
