"""DARTS: Differentiable Architecture Search (Liu, Simonyan, Yang 2019, arXiv 1806.09055)."""

from __future__ import annotations

from torch import Tensor

from nas.differentiable.bilevel import Gradient, Problem, hessian_product, moved, slopes
from nas.differentiable.method import Method
from nas.differentiable.settings import SearchError


def darts(order: int = 1) -> Method:
    """Return the method of a given order; the first takes the weights as they are, the second after one step."""
    return Method("darts", gradient_of(order))


def gradient_of(order: int) -> Gradient:
    """Return the gradient of order 1 or 2; raises SearchError for another."""
    if order not in (1, 2):
        raise SearchError(f"the order of DARTS is {order}, but 1 or 2 is known")
    return first_order if order == 1 else second_order


def first_order(problem: Problem) -> list[Tensor]:
    """Return ∇_α L_val(w, α)."""
    return slopes(problem.validation(), problem.strengths)


def second_order(problem: Problem) -> list[Tensor]:
    """Return ∇_α L_val(w', α) - ξ·∇²_{α,w} L_train(w, α)·∇_w' L_val(w', α), equations 7 and 8.

    w' = w - ξ·(momentum·velocity + ∇_w L_train + decay·w) is the next step of SGD at the rate ξ.
    """
    training = slopes(problem.train(), problem.weights)
    step = [
        problem.momentum * v + g + problem.decay * w.detach()
        for v, g, w in zip(problem.velocity, training, problem.weights, strict=True)
    ]
    with moved(problem.weights, step, -problem.rate):
        found = slopes(problem.validation(), [*problem.strengths, *problem.weights])
    direct, vector = found[: len(problem.strengths)], found[len(problem.strengths) :]
    implicit = hessian_product(problem, vector, problem.strengths)
    return [d - problem.rate * i for d, i in zip(direct, implicit, strict=True)]
