"""How a space is shown to Optuna: by run, flat, or as coordinates.

- `ByRun` walks the tree as it asks (define by run), so a decision is known where it was active.
- `Flat` shows every decision of the tree at once, active or not, for samplers that work on the intersection of past
  trials. Dead genes ride along and take no part in the architecture.
- `Keys` shows real coordinates alone: numbers are scaled to [0, 1], and a choice of k options is k coordinates, of
  which the largest wins.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from nas.strategies import Proposal
from nas.strategies.units import value_at
from search_spaces.decisions import Architecture, Choice, Decision, Integer, Scalar, every
from search_spaces.space import Space


class View(Protocol):
    """How a space is shown to Optuna."""

    def suggest(self, study: optuna.Study) -> tuple[optuna.Trial, Architecture]:
        """Ask Optuna for a trial and read the architecture from it."""

    def params(self, proposal: Proposal) -> dict[str, Any]:
        """Return the parameters an earlier proposal had."""

    def distributions(self, names: Mapping[str, Any]) -> dict[str, BaseDistribution]:
        """Return the distributions of the named parameters."""


class ByRun:
    """Each decision is a parameter that exists where it is active."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._domains = {path: _distribution(domain) for path, domain in every(space.tree).items()}

    def suggest(self, study: optuna.Study) -> tuple[optuna.Trial, Architecture]:
        trial = study.ask()
        return trial, self._space.resolve(lambda path, domain: _suggest(trial, path, domain))[0]

    def params(self, proposal: Proposal) -> dict[str, Any]:
        return self._space.trace(proposal.architecture)

    def distributions(self, names: Mapping[str, Any]) -> dict[str, BaseDistribution]:
        return {name: self._domains[name] for name in names}


class Flat:
    """Every decision of the tree is a parameter of every trial; the inactive ones are carried along."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._domains = {path: _distribution(domain) for path, domain in every(space.tree).items()}

    def suggest(self, study: optuna.Study) -> tuple[optuna.Trial, Architecture]:
        trial = study.ask(self._domains)
        genes = trial.params
        return trial, self._space.resolve(lambda path, domain: genes[path])[0]

    def params(self, proposal: Proposal) -> dict[str, Any]:
        return dict(proposal.note["genes"])

    def distributions(self, names: Mapping[str, Any]) -> dict[str, BaseDistribution]:
        return {name: self._domains[name] for name in names}


class Keys:
    """Every decision is one coordinate in [0, 1], or one for each option of a choice (random keys)."""

    def __init__(self, space: Space) -> None:
        self._space = space
        unit = FloatDistribution(0.0, 1.0)
        self._domains: dict[str, BaseDistribution] = {
            name: unit for path, domain in every(space.tree).items() for name in _coordinates(path, domain)
        }

    def suggest(self, study: optuna.Study) -> tuple[optuna.Trial, Architecture]:
        trial = study.ask(self._domains)
        keys = trial.params
        return trial, self._space.resolve(lambda path, domain: _decode(path, domain, keys))[0]

    def params(self, proposal: Proposal) -> dict[str, Any]:
        return dict(proposal.note["genes"])

    def distributions(self, names: Mapping[str, Any]) -> dict[str, BaseDistribution]:
        return {name: self._domains[name] for name in names}


def _distribution(domain: Decision) -> BaseDistribution:
    if isinstance(domain, Choice):
        return CategoricalDistribution(domain.options)
    if isinstance(domain, Integer):
        return IntDistribution(domain.low, domain.high, log=domain.log, step=domain.step)
    return FloatDistribution(domain.low, domain.high, log=domain.log)


def _suggest(trial: optuna.Trial, path: str, domain: Decision) -> Scalar:
    if isinstance(domain, Choice):
        return trial.suggest_categorical(path, domain.options)
    if isinstance(domain, Integer):
        return trial.suggest_int(path, domain.low, domain.high, step=domain.step, log=domain.log)
    return trial.suggest_float(path, domain.low, domain.high, log=domain.log)


def _coordinates(path: str, domain: Decision) -> list[str]:
    return [f"{path}={i}" for i in range(len(domain.options))] if isinstance(domain, Choice) else [path]


def _decode(path: str, domain: Decision, keys: Mapping[str, float]) -> Scalar:
    if isinstance(domain, Choice):
        strengths = [keys[name] for name in _coordinates(path, domain)]
        return domain.options[strengths.index(max(strengths))]
    return value_at(domain, keys[path])
