"""Ensembles: several scores of each network made into one, by rank or with weights learned on finished trials.

    rank      score_i = mean over predictors k of r_ik,   r_ik = (place of network i by predictor k) / (n - 1)
    learned   score_i = Σ_k w_k r_ik / Σ_k w_k
              w = argmin over w ≥ 0 of Σ_i (t_i - Σ_k w_k (r_ik - ½))² + (P / 12) Σ_k (w_k - 1 / K)²

Places go from 0, the worst, to n - 1; networks of equal scores share the mean of their places, and those without a
score, None or not finite, share the last ones. Ranks make scores of any scale comparable, and leave nothing of how far
apart two scores are. In the fit i runs over trained networks, and t_i is how well one did: the rank of its loss, 1 for
the least one, less ½.

No weight is negative, as higher is better for every predictor. The weights are shrunk towards equal ones: ranks have
the variance 1/12, so the second term counts as P trials in which the mean rank was right. P = 20 by reasoning, not by
tuning: a rank correlation is known from 20 trials to about 1/√20 = 0.22, which is how far predictors are apart.
Without trials a learned combination is the one by rank. Where no predictor agrees with the trials all weights may be
0: then all networks have the score ½.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from predictors import Column

Array = NDArray[np.float64]

PRIOR = 20


@dataclass(frozen=True)
class Weighted:
    """A combination of ranks with a weight for each predictor."""

    weights: tuple[float, ...]

    def __call__(self, columns: Sequence[Column]) -> list[float]:
        """Return the scores [networks], from 0 to 1, of scores [predictors][networks]; higher is better."""
        places = _places(columns)
        relative = np.array(self.weights) / (max(self.weights) or 1.0)  # equal ones are 1: exact sums, so ties stay
        most = relative.sum() * (len(places) - 1)
        scores: list[float] = (places @ relative / most).tolist() if most else [0.5] * len(places)
        return scores


def by_rank(columns: Sequence[Column]) -> list[float]:
    """Return the mean ranks [networks], from 0 to 1, of scores [predictors][networks]; higher is better."""
    return Weighted((1.0,) * len(columns))(columns)


def learn(columns: Sequence[Column], losses: Sequence[float]) -> Weighted:
    """Learn weights from the scores [predictors][trials] and losses [trials] of trained networks."""
    from scipy.optimize import nnls

    count, most = len(columns), len(losses) - 1
    if most < 1:
        return Weighted((1 / count,) * count)
    worth = _places([[-loss for loss in losses]])[:, 0] / most - 0.5
    shrink = math.sqrt(PRIOR / 12)
    told, prior = _places(columns) / most - 0.5, shrink * np.eye(count)
    weights, _ = nnls(np.concatenate([told, prior]), np.concatenate([worth, np.full(count, shrink / count)]))
    return Weighted(tuple(weights.tolist()))


def _places(columns: Sequence[Column]) -> Array:
    """Return the places [networks, predictors]; multiples of ½."""
    found = []
    for column in columns:
        values = np.array([-math.inf if each is None or not math.isfinite(each) else each for each in column])
        ordered = np.sort(values)
        found.append((np.searchsorted(ordered, values) + np.searchsorted(ordered, values, "right") - 1) / 2)
    return np.stack(found, axis=1)
