"""What is refused before anything runs: settings, tasks and executors that are not there or do not go together."""

from __future__ import annotations

import re
from dataclasses import replace

from nas import lookup as lookups
from nas.execution.simulated import Seconds
from nas.objectives import Constraint, objective
from nas.plans.search import ARCHITECTURE, schedule_of, strategy_of
from nas.settings import Settings, SettingsError
from nas.strategies import Chooser, Finder, refuse
from nas.tasks import Lookup, find_lookup, find_task, looked_up
from nas.tuned import Tuned
from search_spaces.registry import entries, find
from search_spaces.space import Space, find_space

ENGINES = ("nas", "tune")
EXECUTORS = ("auto", "inline", "ray", "simulated")
NAME = r"\w[\w-]{0,59}"


def check(settings: Settings, name: str | None = None, lookup: Lookup | None = None) -> None:
    """Refuse settings that name what does not exist or does not go together, and a name that makes no folder.

    `lookup` stands for the task that the settings name.
    """
    if name is not None:
        check_name(name)
    space = find_space(settings.space)
    for name in settings.objectives:
        objective(name)
    for text in settings.constraints:
        Constraint.parse(text)
    lookup = lookup or find_lookup(settings.task)
    check_task(settings, space, lookup)
    strategy = strategy_of(settings, space)
    if lookup is not None and isinstance(strategy, Finder):
        raise SettingsError(
            f"strategy {settings.strategy!r} trains a supernet, but the results of {lookup.name} are looked up: "
            "use another strategy, such as random"
        )
    if lookup is not None and isinstance(strategy, Chooser):
        lookups.refuse_predictors(strategy.predictors, space, lookup)
    needs = {"constraints": settings.constraints[0]} if settings.constraints else {}
    needs |= {"schedules": f"got {settings.schedule}"} if settings.schedule != "none" else {}
    refuse(find("strategy", settings.strategy), needs)
    check_schedule(settings, space, lookup)


def check_schedule(settings: Settings, space: Space, lookup: Lookup | None) -> None:
    """Refuse a schedule that cannot be made, or does not go with what else is asked."""
    takes = find("schedule", settings.schedule).options.fields
    if settings.pbt_architecture and ARCHITECTURE not in takes:
        raise SettingsError(
            f"--pbt-architecture goes with --schedule pbt, but --schedule is {settings.schedule}: use pbt"
        )
    forks = schedule_of(replace(settings, replay=None), space).retains
    if forks and lookup is not None and not lookup.forks:
        raise SettingsError(
            f"--schedule {settings.schedule} goes on from checkpoints with other decisions, of which {lookup.name} "
            "knows nothing: use asha, hyperband or median_stop, or a function with a parameter `parts`"
        )
    if settings.replay is not None:
        Tuned.from_json(settings.replay).require(space, settings.epochs)
    if forks and settings.replay is not None:
        raise SettingsError(
            f"--replay-schedule trains as an earlier search found, and --schedule {settings.schedule} searches how to "
            "train: leave one of them out"
        )


def check_name(name: str) -> None:
    """Refuse a study's name that makes no folder."""
    if not re.fullmatch(NAME, name):
        raise SettingsError(
            f"--study {name!r} is not allowed: use up to 60 letters, digits, - and _, and no - in front"
        )


def check_task(settings: Settings, space: Space, lookup: Lookup | None) -> None:
    """Refuse what a task does not tell of the architectures of a space."""
    if lookup is not None:
        lookups.refuse(settings, space, lookup)
        return
    find_task(settings.task, settings.split_seed)
    for name in settings.objectives:
        if ":" in name:
            raise SettingsError(
                f"--objective {name} reads a column of a table, but task {settings.task} trains: "
                f"choose {', '.join(entries('objective'))}"
            )


def usual_epochs(task: str, space: str) -> int:
    """Return the epochs of a full training where none are given: those of a table, else those of Settings."""
    lookup = find_lookup(task)
    known = None if lookup is None else lookups.usual_epochs(lookup, find_space(space))
    return known or Settings().epochs


def check_engine(settings: Settings, engine: str, executor: str = "auto") -> None:
    """Refuse an engine that is none, and what Ray Tune does not do for us."""
    if engine not in ENGINES:
        raise SettingsError(f"--engine {engine!r} is not known: choose one of {', '.join(ENGINES)}")
    if engine == "tune":
        if executor not in ("auto", "ray"):
            raise SettingsError(
                f"--executor {executor} does not go with --engine tune, which works on Ray: leave it out"
            )
        from nas.integrations.tune import engine as tune

        tune.check(settings)


def check_executor(
    task: str,
    kind: str = "auto",
    workers: int | None = None,
    seconds: Seconds | None = None,
    address: str | None = None,
) -> None:
    """Refuse an executor that does not exist or does not go with the task, the workers or virtual seconds."""
    simulated = looked_up(task)
    if kind not in EXECUTORS:
        raise SettingsError(f"--executor {kind!r} is not known: choose one of {', '.join(EXECUTORS)}")
    if simulated and kind in ("inline", "ray"):
        raise SettingsError(f"--executor {kind} trains, but {task} is looked up: use --executor simulated")
    if kind == "simulated" and not simulated:
        raise SettingsError(
            f"--executor simulated looks results up, but task {task} trains: use --executor auto, or a task "
            "table:PATH or function:MODULE:NAME"
        )
    if address is not None and (simulated or kind == "inline"):
        what = f"{task} is looked up" if simulated else "--executor inline is this process alone"
        raise SettingsError(f"--ray-address {address} is a cluster to train on, but {what}: leave it out")
    if seconds is not None and not simulated:
        raise SettingsError(f"--trial-seconds are virtual, but task {task} trains in real time: leave them out")
    if workers is not None and workers < 1:
        raise SettingsError(f"--workers {workers} is not allowed: it must be at least 1")
    if kind == "inline" and workers not in (None, 1):
        raise SettingsError(f"--executor inline has one worker, but --workers is {workers}: use --executor ray")
