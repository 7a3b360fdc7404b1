"""Tune's own schedulers for a study: made from the settings that ours of the same names have.

- none: FIFOScheduler; asha: ASHAScheduler, one bracket, rungs from the first epoch on.
- hyperband: HyperBandForBOHB, for Tune's HyperBandScheduler halves a bracket as soon as the trials that it has arrive,
  and a strategy that is asked one by one would never fill one. The last rung trains in full.
- pbt: PopulationBasedTraining, pb2: PB2. Both exploit as results come, not in generations: Tune's synchronous mode
  waits for ever for a trial that failed. PB2 is Tune's own, on scikit-learn's Gaussian processes; GPy is not needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, HyperBandForBOHB, PopulationBasedTraining, TrialScheduler
from ray.tune.schedulers.pb2 import PB2

from nas.entry_options import accepted
from nas.integrations.tune.spaces import bounds, clamping, mutations
from nas.settings import Settings, SettingsError
from search_spaces.registry import find

ETA = 3
TIME = "training_iteration"
Made = Callable[[Settings, Mapping[str, Any]], TrialScheduler]


def scheduler_of(settings: Settings) -> TrialScheduler:
    """Make Tune's scheduler of a study; raises SettingsError for one that Tune has not, and for wrong options."""
    if settings.schedule not in SCHEDULES:
        known = ", ".join(SCHEDULES)
        raise SettingsError(f"--schedule {settings.schedule} is none of Ray Tune's: choose {known}, or --engine nas")
    options = accepted(find("schedule", settings.schedule), settings.schedule_options)
    if settings.pbt_architecture or options.pop("architecture", False):
        raise SettingsError("Ray Tune's schedulers change no architecture in mid-training: use --engine nas for that")
    return SCHEDULES[settings.schedule](settings, options)


def populates(settings: Settings) -> bool:
    """Say whether a schedule works on a population, which Tune lets no Searcher propose."""
    return settings.schedule in ("pbt", "pb2")


def _none(settings: Settings, options: Mapping[str, Any]) -> TrialScheduler:
    return FIFOScheduler()  # type: ignore[no-untyped-call]


def _asha(settings: Settings, options: Mapping[str, Any]) -> TrialScheduler:
    return ASHAScheduler(TIME, max_t=settings.epochs, grace_period=1, reduction_factor=options.get("eta", ETA))


def _hyperband(settings: Settings, options: Mapping[str, Any]) -> TrialScheduler:
    eta = options.get("eta", ETA)
    return HyperBandForBOHB(TIME, max_t=settings.epochs, reduction_factor=eta, stop_last_trials=False)


def _pbt(settings: Settings, options: Mapping[str, Any]) -> TrialScheduler:
    return PopulationBasedTraining(
        TIME,
        perturbation_interval=options.get("interval", 1),
        quantile_fraction=options.get("quantile", 0.25),
        resample_probability=options.get("resample", 0.25),
        hyperparam_mutations=mutations(settings.space, settings.only),
        custom_explore_fn=clamping(settings.space, settings.only),
        log_config=False,
    )


def _pb2(settings: Settings, options: Mapping[str, Any]) -> TrialScheduler:
    return PB2(
        TIME,
        perturbation_interval=options.get("interval", 1),
        quantile_fraction=options.get("quantile", 0.25),
        hyperparam_bounds=bounds(settings.space, settings.only),
        custom_explore_fn=clamping(settings.space, settings.only),
        log_config=False,
    )


SCHEDULES: dict[str, Made] = {"none": _none, "asha": _asha, "hyperband": _hyperband, "pbt": _pbt, "pb2": _pb2}
