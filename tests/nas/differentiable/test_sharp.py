from __future__ import annotations

import math

import pytest
import torch

from nas.differentiable.method import cosine
from nas.differentiable.settings import SearchError
from nas.differentiable.sharp import cosine_power, max_w, sharp_darts


def test_cosine_power_annealing_goes_from_high_to_low() -> None:
    rate = cosine_power(10)
    assert rate(0.001, 0.2, 0.0) == pytest.approx(0.2)
    assert rate(0.001, 0.2, 1.0) == pytest.approx(0.001)


def test_cosine_power_annealing_halfway_by_hand() -> None:
    # p^{1+½} = 31.6228; (31.6228 - 10)/(100 - 10) = 0.240253
    assert cosine_power(10)(0.0, 1.0, 0.5) == pytest.approx(0.240253, abs=1e-6)
    # p = 4 at a third: 1+½(1+cos 60°) = 1.75, 4^1.75 = 11.313708; (11.313708 - 4)/12 = 0.609476
    assert cosine_power(4)(1.0, 3.0, 1 / 3) == pytest.approx(1 + 2 * 0.609476, abs=1e-5)


def test_a_power_near_one_is_the_cosine() -> None:
    for progress in (0.1, 0.37, 0.8):
        assert cosine_power(1 + 1e-7)(0.1, 0.9, progress) == pytest.approx(cosine(0.1, 0.9, progress), rel=1e-5)
    assert cosine(1.0, 3.0, 1 / 3) == pytest.approx(1 + 2 * 0.75)


@pytest.mark.parametrize("power", [1.0, 0.5, math.inf, math.nan])
def test_a_power_that_is_not_above_one_is_refused(power: float) -> None:
    with pytest.raises(SearchError, match="a number above 1 is allowed"):
        cosine_power(power)


def test_max_w_is_one_for_the_strongest_and_less_by_the_difference_for_the_others() -> None:
    alpha = torch.tensor([1.0, 5.0, 2.0], dtype=torch.float64).log()  # softmax 1/8, 5/8, 2/8
    assert max_w(alpha).tolist() == pytest.approx([1 - 4 / 8, 1.0, 1 - 3 / 8])


def test_the_strongest_option_gets_no_pull_from_its_own_weight() -> None:
    alpha = torch.tensor([0.2, 0.9], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.grad(max_w(alpha)[1], alpha)[0].tolist() == pytest.approx([0.0, 0.0])


def test_the_method_has_both() -> None:
    method = sharp_darts(power=4)
    assert method.weighting is max_w
    assert method.schedule(1.0, 3.0, 1 / 3) == pytest.approx(1 + 2 * 0.609476, abs=1e-5)
