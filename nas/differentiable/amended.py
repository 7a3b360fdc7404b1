"""Stabilizing DARTS with Amended Gradient Estimation on Architectural Parameters (Bi et al. 2019, arXiv 1910.11831).

At an optimum w* of the weights ∇_w L_train = 0 holds for every α, and so the gradient through w* is
g_2 = -∇²_{α,w} L_train · H⁻¹ · ∇_w L_val with H = ∇²_w L_train. The inverse is out of reach, and the paper puts H in
its place, times an amending coefficient η: g_2' = -η·∇²_{α,w} L_train · H · ∇_w L_val, whose error it bounds. Taken
from it is this formula; η = 0.1 is the default of the implementations that were seen, and both products are the finite
differences of DARTS. Left out is the paper's other half, that search and final training have the same hyperparameters,
which is a matter of the settings.
"""

from __future__ import annotations

import math

from torch import Tensor

from nas.differentiable.bilevel import Problem, hessian_product, slopes
from nas.differentiable.method import Method
from nas.differentiable.settings import SearchError


def amended_darts(coefficient: float = 0.1) -> Method:
    """Return the method with an amending coefficient η; raises SearchError where it is not above 0."""
    if not (math.isfinite(coefficient) and coefficient > 0):
        raise SearchError(f"the amending coefficient is {coefficient:g}, but a number above 0 is allowed")
    return Method("amended_darts", lambda problem: amended(problem, coefficient))


def amended(problem: Problem, coefficient: float) -> list[Tensor]:
    """Return ∇_α L_val - η·∇²_{α,w} L_train·H·∇_w L_val at the present weights."""
    found = slopes(problem.validation(), [*problem.strengths, *problem.weights])
    direct, vector = found[: len(problem.strengths)], found[len(problem.strengths) :]
    curved = hessian_product(problem, vector, problem.weights)
    implicit = hessian_product(problem, curved, problem.strengths)
    return [d - coefficient * i for d, i in zip(direct, implicit, strict=True)]
