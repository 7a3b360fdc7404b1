"""A Gaussian process whose function drifts, and the upper confidence bound by which it is searched.

    k((x, t), (x', t')) = exp(-|x - x'|^2 / (2 length^2)) * (1 - drift)^(|t - t'| / 2)

is the kernel of a function that forgets the share `drift` of itself from one time to the next: f_(t+1) =
sqrt(1 - drift) f_t + sqrt(drift) g (Bogunovic et al., Time-Varying Gaussian Process Bandit Optimization, 2016). Targets
have mean 0 and variance 1, so the prior variance is 1, and `noise` is the variance of a measurement.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LENGTHS = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
DRIFTS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.4)
NOISES = (0.01, 0.05, 0.2, 0.5)
JITTER = 1e-9
BASE, GROWTH = 0.2, 0.4


@dataclass(frozen=True)
class Points:
    """Where a function was or is to be measured: places [points, dimensions] and times [points]."""

    places: Array
    times: Array

    def joined(self, other: Points) -> Points:
        return Points(np.vstack([self.places, other.places]), np.concatenate([self.times, other.times]))


@dataclass(frozen=True)
class Kernel:
    """The covariance of a drifting function, and the variance of the noise on it."""

    length: float
    drift: float
    noise: float

    def __call__(self, one: Points, other: Points) -> Array:
        """Return the covariances [points of one, points of other], without noise."""
        return self.covariance(_squares(one, other), _apart(one, other))

    def covariance(self, squares: Array, apart: Array) -> Array:
        """Return the covariances of points at so much squared distance and time from each other."""
        covariance: Array = np.exp(-squares / (2 * self.length**2)) * (1 - self.drift) ** (apart / 2)
        return covariance


class Process:
    """What measured points [points] tell of a function elsewhere."""

    def __init__(self, kernel: Kernel, points: Points) -> None:
        self._kernel = kernel
        self._points = points
        self._root = _root(kernel, kernel(points, points))

    def means(self, targets: Array, wanted: Points) -> Array:
        """Return the expected values [wanted] given the measured targets [points]."""
        means: Array = self._across(wanted).T @ np.linalg.solve(self._root, targets)
        return means

    def spreads(self, wanted: Points) -> Array:
        """Return the standard deviations [wanted], without noise; they do not depend on what was measured."""
        spreads: Array = np.sqrt(np.maximum(1 - (self._across(wanted) ** 2).sum(axis=0), 0.0))
        return spreads

    def _across(self, wanted: Points) -> Array:
        return np.asarray(np.linalg.solve(self._root, self._kernel(self._points, wanted)), dtype=np.float64)


def likeliest(points: Points, targets: Array) -> Kernel:
    """Return the kernel of a grid under which the targets [points] are likeliest; of equals the first."""
    squares, apart = _squares(points, points), _apart(points, points)

    def likelihood(kernel: Kernel) -> float:
        return log_likelihood(kernel, kernel.covariance(squares, apart), targets)

    return max((Kernel(*each) for each in product(LENGTHS, DRIFTS, NOISES)), key=likelihood)


def log_likelihood(kernel: Kernel, covariance: Array, targets: Array) -> float:
    """Return the logarithm of the marginal likelihood of targets [points] of a covariance [points, points]."""
    root = _root(kernel, covariance)
    white = np.linalg.solve(root, targets)
    determinant = 2 * np.log(np.diag(root)).sum()
    return -0.5 * float(white @ white + determinant + len(targets) * math.log(2 * math.pi))


def upper_bound(kernel: Kernel, known: Points, targets: Array, planned: Points, wanted: Points) -> Array:
    """Return the upper confidence bound [wanted] of a function measured at the known points, with those targets.

    Planned points count as measured for the spread alone (Desautels et al., Parallelizing Exploration-Exploitation
    Tradeoffs in Gaussian Process Bandit Optimization, 2014).
    """
    beta = BASE + max(0.0, math.log(GROWTH * max(len(targets), 1)))
    means = Process(kernel, known).means(targets, wanted)
    return means + math.sqrt(beta) * Process(kernel, known.joined(planned)).spreads(wanted)


def _squares(one: Points, other: Points) -> Array:
    squares: Array = ((one.places[:, None] - other.places[None]) ** 2).sum(axis=2)
    return squares


def _apart(one: Points, other: Points) -> Array:
    apart: Array = np.abs(one.times[:, None] - other.times[None])
    return apart


def _root(kernel: Kernel, covariance: Array) -> Array:
    noisy = covariance + (kernel.noise + JITTER) * np.eye(len(covariance))
    return np.asarray(np.linalg.cholesky(noisy), dtype=np.float64)
