"""The gradients of the strengths, against true derivatives of the objectives in float64 and against hand-made cases."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from nas.differentiable.amended import amended, amended_darts
from nas.differentiable.bilevel import Problem, hessian_product, moved, slopes
from nas.differentiable.darts import darts, first_order, second_order
from nas.differentiable.settings import SearchError

torch.set_num_threads(1)
RATE, MOMENTUM, DECAY = 0.1, 0.8, 0.05


def tensor(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def training(w: Tensor, alpha: Tensor) -> Tensor:
    share = alpha.softmax(0)
    return (share[0] * torch.sin(w[0] * w[1]) + share[1] * w[2].exp() + (w * w).sum() * share[2]).square()


def validating(w: Tensor, alpha: Tensor) -> Tensor:
    return (alpha.softmax(0) * torch.tanh(w)).sum() + (w[0] * w[2]).cos() + alpha[0] * w[1] ** 2


def problem() -> Problem:
    w = nn.Parameter(tensor(0.4, -0.7, 0.2))
    alpha = nn.Parameter(tensor(0.3, -0.2, 0.5))
    return Problem(
        [w],
        [alpha],
        lambda: training(w, alpha),
        lambda: validating(w, alpha),
        RATE,
        MOMENTUM,
        DECAY,
        [tensor(0.5, -0.1, 0.3)],
    )


def unrolled(one: Problem, alpha: Tensor) -> Tensor:
    """L_val after one step of SGD with momentum and decay, as a function of α."""
    w = one.weights[0].detach().clone().requires_grad_()
    slope = torch.autograd.grad(training(w, alpha), w)[0]
    return validating(w - RATE * (MOMENTUM * one.velocity[0] + slope + DECAY * w), alpha).detach()


def differences(one: Problem) -> list[float]:
    alpha, found = one.strengths[0].detach(), []
    for i in range(len(alpha)):
        step = torch.zeros_like(alpha)
        step[i] = 1e-5
        found.append((unrolled(one, alpha + step) - unrolled(one, alpha - step)).item() / 2e-5)
    return found


def test_the_first_order_gradient_is_that_of_the_validation_loss_alone() -> None:
    one = problem()
    w, alpha = one.weights[0].detach(), one.strengths[0].detach()
    share = alpha.softmax(0)
    centred = torch.tanh(w) - (share * torch.tanh(w)).sum()
    torch.testing.assert_close(first_order(one)[0], share * centred + tensor(w[1].item() ** 2, 0, 0))


def test_the_second_order_gradient_is_the_derivative_of_the_unrolled_objective() -> None:
    one = problem()
    assert second_order(one)[0].tolist() == pytest.approx(differences(one), rel=1e-3)
    assert first_order(one)[0].tolist() != pytest.approx(differences(one), rel=1e-2)


def test_second_order_with_a_rate_of_zero_is_first_order() -> None:
    one = problem()
    still = Problem(one.weights, one.strengths, one.train, one.validation, 0.0, MOMENTUM, DECAY, one.velocity)
    torch.testing.assert_close(second_order(still), first_order(still), rtol=0, atol=0)


def test_gradients_leave_the_parameters_as_they_were() -> None:
    one = problem()
    before = [p.detach().clone() for p in (*one.weights, *one.strengths)]
    second_order(one)
    amended(one, 0.1)
    assert all(torch.equal(p, b) for p, b in zip((*one.weights, *one.strengths), before, strict=True))
    assert all(p.grad is None for p in (*one.weights, *one.strengths))


def test_parameters_come_back_after_an_error() -> None:
    w = nn.Parameter(tensor(1.0))
    with pytest.raises(RuntimeError), moved([w], [tensor(1.0)], 3.0):
        assert w.item() == 4.0
        raise RuntimeError
    assert w.item() == 1.0


def test_products_with_the_hessian_are_those_of_autograd() -> None:
    one = problem()
    vector = tensor(0.3, 0.9, -1.2)
    for of in (one.weights, one.strengths):
        slope = torch.autograd.grad(one.train(), one.weights[0], create_graph=True)[0]
        exact = torch.autograd.grad(slope @ vector, of[0])[0]
        torch.testing.assert_close(hessian_product(one, [vector], of)[0], exact, rtol=1e-3, atol=1e-5)
    assert hessian_product(one, [torch.zeros(3).double()], one.strengths)[0].tolist() == [0, 0, 0]


def test_a_parameter_that_a_loss_does_not_know_has_a_slope_of_zero() -> None:
    known, unknown = nn.Parameter(tensor(2.0)), nn.Parameter(tensor(1.0, 1.0))
    assert [s.tolist() for s in slopes(known.square().sum(), [known, unknown])] == [[4.0], [0.0, 0.0]]


def quadratic() -> Problem:
    """L_train = ½(2w₁² + 5w₂²) + α₁w₁ + 3α₂w₂ and L_val = 4w₁ - w₂ + α₁² + α₂, so H = diag(2, 5), g_w = (4, -1)."""
    w, alpha = nn.Parameter(tensor(0.6, -0.3)), nn.Parameter(tensor(0.5, 0.25))

    def train() -> Tensor:
        return (w[0] ** 2) + 2.5 * w[1] ** 2 + alpha[0] * w[0] + 3 * alpha[1] * w[1]

    return Problem(
        [w], [alpha], train, lambda: 4 * w[0] - w[1] + alpha[0] ** 2 + alpha[1], RATE, 0.0, 0.0, [tensor(0, 0)]
    )


def test_the_amended_gradient_of_a_quadratic_worked_by_hand() -> None:
    # H·g_w = (8, -5); ∇²_{α,w} = diag(1, 3), so times it (8, -15); ∇_α L_val = (1, 1); with η = 0.1.
    assert amended(quadratic(), 0.1)[0].tolist() == pytest.approx([1 - 0.8, 1 + 1.5], rel=1e-9)


def test_the_amended_term_points_no_more_than_a_right_angle_away_from_the_exact_one() -> None:
    # Exactly: -∇²_{α,w}·H⁻¹·g_w = -(4/2, 3·(-1)/5).
    exact = tensor(-2.0, 0.6)
    term = amended(quadratic(), 0.1)[0] - first_order(quadratic())[0]
    assert float(term @ exact) > 0


def test_methods_name_their_gradient_and_refuse_what_is_unknown() -> None:
    assert darts(1).gradient is first_order and darts(2).gradient is second_order
    torch.testing.assert_close(amended_darts(0.3).gradient(problem()), amended(problem(), 0.3), rtol=0, atol=0)
    with pytest.raises(SearchError, match="the order of DARTS is 3, but 1 or 2"):
        darts(3)
    with pytest.raises(SearchError, match="the amending coefficient is 0, but"):
        amended_darts(0.0)


def weights_of(parameters: Sequence[nn.Parameter]) -> Tensor:
    return torch.cat([p.detach().flatten() for p in parameters])


def test_the_step_that_is_looked_ahead_is_that_of_torch() -> None:
    one = problem()
    optimizer = torch.optim.SGD(list(one.weights), RATE, MOMENTUM, weight_decay=DECAY)
    optimizer.state[one.weights[0]]["momentum_buffer"] = one.velocity[0].clone()
    seen = []

    def validation() -> Tensor:
        seen.append(weights_of(one.weights))
        return one.validation()

    watched = Problem(one.weights, one.strengths, one.train, validation, RATE, MOMENTUM, DECAY, one.velocity)
    second_order(watched)
    one.weights[0].grad = slopes(one.train(), one.weights)[0]
    optimizer.step()
    torch.testing.assert_close(seen[0], weights_of(one.weights))
