from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import gammaln, logsumexp

from search_spaces.activations.mittag_leffler import REACH, MittagLeffler, series


def log_e(beta: float, x: Any) -> Any:
    """Return log E_{2,β}(x²) from the definition, in logarithms for the sake of large x."""
    k = np.arange(int(np.abs(x).max()) + 200)
    sizes = np.maximum(np.abs(x), 1e-300)[..., None]
    return logsumexp(2 * k * np.log(sizes) - gammaln(2 * k + beta), axis=-1)


def reference(beta: float) -> Callable[[Any], Any]:
    return lambda x: x * np.exp(log_e(2, x) - log_e(beta, x))


@pytest.mark.parametrize("beta", [1.1, 1.5, 1.9])
def test_formula(beta: float, matches: Callable[..., None]) -> None:
    activation = MittagLeffler(1, beta).double()
    exact = 1 + activation.logit.sigmoid().item()
    assert exact == pytest.approx(beta)
    matches(activation, reference(exact), tolerance=3e-9)


def test_both_sides_of_the_seam_between_series_and_asymptotics() -> None:
    x = np.array([-1e4, -REACH - 1e-9, -REACH + 1e-9, REACH - 1e-9, REACH, REACH + 1e-9, 100.0, 1e4])
    activation = MittagLeffler(1).double()
    np.testing.assert_allclose(activation(torch.from_numpy(x)).detach(), reference(1.5)(x), rtol=1e-8)


@pytest.mark.parametrize(
    ("beta", "known"),
    [
        (1.0, np.cosh),
        (2.0, lambda x: np.sinh(x) / x),
        (3.0, lambda x: (np.cosh(x) - 1) / x**2),
        (4.0, lambda x: (np.sinh(x) - x) / x**3),
    ],
)
def test_the_series_where_it_is_elementary(beta: float, known: Callable[[Any], Any]) -> None:
    x = np.linspace(-REACH, REACH, 64)
    got = series(torch.tensor(beta, dtype=torch.float64), torch.from_numpy(x))
    np.testing.assert_allclose(got, known(x), rtol=1e-9)


@pytest.mark.parametrize(("logit", "limit"), [(-40.0, np.tanh), (40.0, lambda x: x)])
def test_the_limits_are_tanh_and_the_identity(logit: float, limit: Callable[[Any], Any]) -> None:
    activation = MittagLeffler(1).double()
    activation.logit.data.fill_(logit)
    x = np.linspace(-40, 40, 401)
    np.testing.assert_allclose(activation(torch.from_numpy(x)).detach(), limit(x), rtol=1e-8, atol=1e-12)


def test_single_precision_is_enough() -> None:
    x = torch.linspace(-30, 30, 6001)
    np.testing.assert_allclose(MittagLeffler(1)(x).detach(), reference(1.5)(x.double().numpy()), rtol=3e-6)


@pytest.mark.parametrize("beta", [1.0, 2.0, 0.5])
def test_a_beta_outside_is_refused(beta: float) -> None:
    with pytest.raises(ValueError, match=f"between 1 and 2, both left out, but got {beta}"):
        MittagLeffler(1, beta)
