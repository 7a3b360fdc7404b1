"""Fit the starting coefficients of the rational activations: `python -m search_spaces.activations.rational_fit`.

Prints the contents of `rational_table.py`, before formatting. Bounded least squares on [-5, 5], the range of nearly all
normalised inputs, from a few seeded starts, within 0.1 s. The lower bound of b_i is above 0, because |b_i| has no
gradient at 0 and such a coefficient would never move.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

REACH, POINTS = 5.0, 501
LOWEST, HIGHEST = 1e-6, 2.0
STARTS = 4
HEAD = (
    '"""Coefficients (a_0..a_5, b_1..b_4) of rational activations by what they fit at the start; see `rational_fit`."""'
)


def targets() -> dict[str, Callable[[Any], Any]]:
    """Return the functions to fit, over NumPy arrays; the kinks of hardswish and leaky_relu are out of reach."""
    import numpy as np
    from scipy.special import erf, expit

    return {
        "silu": lambda x: x * expit(x),
        "gelu": lambda x: x * (1 + erf(x / np.sqrt(2))) / 2,
        "relu": lambda x: np.maximum(x, 0),
        "tanh": np.tanh,
        "identity": lambda x: x,
        "mish": lambda x: x * np.tanh(np.logaddexp(0, x)),
        "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
        "softplus": lambda x: np.logaddexp(0, x),
    }


def fit(target: Callable[[Any], Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the numerator a_0..a_5 and the denominator b_1..b_4 nearest to a function of NumPy arrays."""
    import numpy as np
    from scipy.optimize import least_squares

    x = np.linspace(-REACH, REACH, POINTS)
    rising, powers = np.vander(x, 6, increasing=True), np.vander(abs(x), 5, increasing=True)[:, 1:]
    wanted = target(x)

    def error(c: Any) -> Any:
        return rising @ c[:6] / (1 + powers @ c[6:]) - wanted

    def slope(c: Any) -> Any:
        p, q = rising @ c[:6], 1 + powers @ c[6:]
        return np.hstack([rising / q[:, None], -powers * (p / q**2)[:, None]])

    bounds = [-np.inf] * 6 + [LOWEST] * 4, [np.inf] * 6 + [HIGHEST] * 4
    rng = np.random.default_rng(0)
    starts = [np.concatenate([rng.normal(0, 0.3, 6), rng.uniform(0.01, 1, 4)]) for _ in range(STARTS)]
    best = min(
        (
            least_squares(error, start, slope, bounds, x_scale="jac", max_nfev=2000, xtol=1e-14, ftol=1e-14)
            for start in starts
        ),
        key=lambda found: found.cost,
    )
    a, b = np.round(best.x[:6], 8), np.round(best.x[6:], 8)
    return tuple(map(float, a + 0.0)), tuple(map(float, b))


def table() -> str:
    """Return the source of `rational_table.py`."""
    rows = [f'    "{name}": {fit(target)},' for name, target in targets().items()]
    return "\n".join([HEAD, "", "COEFFICIENTS = {", *rows, "}"])


if __name__ == "__main__":
    print(table())
