"""Learned surrogates: from the encoded decisions of finished trials to how a new one will do, with uncertainty.

    process   Gaussian process (Rasmussen and Williams, 2006): Matern 5/2 of one length for all features, and noise
    trees     extremely randomised trees (Geurts et al., 2006); uncertainty as in SMAC (Hutter et al., 2011)
    boosted   gradient-boosted trees (Friedman, 2002), each on a bootstrap sample of the trials
    average   of `process` and `boosted`, which err in different places

Rows are [trials, features]: what they mean is not known here. Losses are [trials, objectives], to be minimised. The
uncertainty is that of the expected loss, without the noise of a single trial.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MINIMUM = 10
TREES = 100
BOOSTED, STAGES = 5, 40
LIKELIHOOD_ROWS = 100


class Unusable(ValueError):
    """Trials that nothing can be learned from; the message says why in one line."""


class Model(Protocol):
    """A regression of one target, with uncertainty."""

    def fit(self, rows: Array, targets: Array, seed: int) -> None:
        """Learn from rows [n, features] and targets [n]."""

    def predict(self, rows: Array) -> tuple[Array, Array]:
        """Return means [n] and standard deviations [n]."""


class Process:
    """Gaussian process; signal, length and noise by maximum likelihood, on at most LIKELIHOOD_ROWS trials."""

    def fit(self, rows: Array, targets: Array, seed: int) -> None:
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

        self._middle, self._unit = float(targets.mean()), float(targets.std()) or 1.0
        standard = (targets - self._middle) / self._unit
        reach = float(np.sqrt(2 * rows.var(axis=0).sum())) or 1.0
        signal, noise = ConstantKernel(1.0, (0.05, 20.0)), WhiteKernel(0.1, (1e-4, 2.0))
        kernel = signal * Matern(reach, (reach / 10, reach * 10), nu=2.5) + noise
        some = np.random.default_rng(seed).permutation(len(rows))[:LIKELIHOOD_ROWS]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a number ends at its bound
            likeliest = GaussianProcessRegressor(kernel).fit(rows[some], standard[some]).kernel_
        self._noise = float(likeliest.k2.noise_level)
        self._fitted = GaussianProcessRegressor(likeliest, optimizer=None).fit(rows, standard)

    def predict(self, rows: Array) -> tuple[Array, Array]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a variance below 0 was rounded up to 0
            means, spreads = self._fitted.predict(rows, return_std=True)
        certain = np.sqrt(np.maximum(spreads**2 - self._noise, 0.0))
        return self._middle + self._unit * means, self._unit * certain


class Trees:
    """Extremely randomised trees; the uncertainty is the spread of their answers."""

    def fit(self, rows: Array, targets: Array, seed: int) -> None:
        from sklearn.ensemble import ExtraTreesRegressor

        forest = ExtraTreesRegressor(TREES, max_features=0.5, min_samples_leaf=2, random_state=seed)
        self._trees = [tree.tree_ for tree in forest.fit(rows, targets).estimators_]

    def predict(self, rows: Array) -> tuple[Array, Array]:
        narrow = rows.astype(np.float32)
        answers = np.array([tree.predict(narrow)[:, 0] for tree in self._trees])
        return answers.mean(axis=0), answers.std(axis=0)


class Boosted:
    """Gradient-boosted trees, fitted BOOSTED times; the uncertainty is the spread of their answers."""

    def fit(self, rows: Array, targets: Array, seed: int) -> None:
        from sklearn.ensemble import GradientBoostingRegressor

        rng = np.random.default_rng(seed)
        self._members = []
        for member in range(BOOSTED):
            drawn = rng.integers(len(rows), size=len(rows))
            made = GradientBoostingRegressor(
                n_estimators=STAGES, subsample=0.8, max_features=0.5, random_state=(seed + member) % 2**32
            )
            self._members.append(made.fit(rows[drawn], targets[drawn]))

    def predict(self, rows: Array) -> tuple[Array, Array]:
        answers = np.array([member.predict(rows) for member in self._members])
        return answers.mean(axis=0), answers.std(axis=0)


class Average:
    """The mean of a Gaussian process and boosted trees; where they disagree, that adds to the uncertainty."""

    def __init__(self) -> None:
        self._members: tuple[Model, ...] = (Process(), Boosted())

    def fit(self, rows: Array, targets: Array, seed: int) -> None:
        for member in self._members:
            member.fit(rows, targets, seed)

    def predict(self, rows: Array) -> tuple[Array, Array]:
        answers = [member.predict(rows) for member in self._members]
        means = np.array([mean for mean, _ in answers])
        variances = np.array([spread**2 for _, spread in answers])
        return means.mean(axis=0), np.sqrt(variances.mean(axis=0) + means.var(axis=0))


MODELS: dict[str, Callable[[], Model]] = {"process": Process, "trees": Trees, "boosted": Boosted, "average": Average}


@dataclass(frozen=True)
class Scale:
    """From losses of one objective to what is learned: the median becomes 0, and what is worse a logarithm.

    So some very bad trials do not drown the differences among good ones. The unit is 1.4826 times the median distance
    from the median (a normal variable's standard deviation). What is not finite counts as the worst finite loss.
    """

    middle: float
    unit: float
    worst: float

    @classmethod
    def of(cls, losses: Array) -> Scale:
        """Return the scale of losses [n]; raises Unusable where none is finite."""
        finite = losses[np.isfinite(losses)]
        if not len(finite):
            raise Unusable("a surrogate needs finite losses, but there are none")
        middle = float(np.median(finite))
        unit = 1.4826 * float(np.median(np.abs(finite - middle))) or float(finite.std()) or 1.0
        return cls(middle, unit, float(finite.max()))

    def __call__(self, losses: Array) -> Array:
        away = (np.where(np.isfinite(losses), losses, self.worst) - self.middle) / self.unit
        scaled: Array = np.where(away > 0, np.log1p(np.maximum(away, 0.0)), away)
        return scaled


@dataclass(frozen=True)
class Surrogate:
    """What was learned of every objective from some trials; `columns` are the features that differ among them."""

    columns: NDArray[np.intp]
    scales: tuple[Scale, ...]
    models: tuple[Model, ...]

    def predict(self, rows: Array) -> tuple[Array, Array]:
        """Return means and standard deviations [n, objectives] of rows [n, features], scaled as by `scaled`."""
        answers = [model.predict(rows[:, self.columns]) for model in self.models]
        return np.stack([mean for mean, _ in answers], axis=1), np.stack([spread for _, spread in answers], axis=1)

    def scaled(self, losses: Array) -> Array:
        """Return losses [n, objectives] on the scale of `predict`; their order stays."""
        return np.stack([scale(column) for scale, column in zip(self.scales, losses.T, strict=True)], axis=1)


def fit(rows: Array, losses: Array, model: str, seed: int) -> Surrogate:
    """Learn losses [n, objectives] from rows [n, features] with one of MODELS for each objective.

    The same arguments give the same surrogate; seeds are from 0 to 2^32 - 1. Raises Unusable for fewer than MINIMUM
    trials, for trials of one and the same row, and for an objective without finite losses.
    """
    if len(rows) < MINIMUM:
        raise Unusable(f"a surrogate needs {MINIMUM} trials, but got {len(rows)}")
    columns = np.flatnonzero(np.ptp(rows, axis=0) > 0)
    if not len(columns):
        raise Unusable("a surrogate needs trials that differ, but all have the same features")
    scales = tuple(Scale.of(column) for column in losses.T)
    models = tuple(MODELS[model]() for _ in scales)
    for made, scale, column in zip(models, scales, losses.T, strict=True):
        made.fit(rows[:, columns], scale(column), seed)
    return Surrogate(columns, scales, models)
