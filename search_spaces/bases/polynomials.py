"""Orthogonal polynomials of the squashed input (Kolmogorov-Arnold Convolutions), each by its three-term recurrence

    p_{n+1} = (a_n·z + b_n)·p_n - c_n·p_{n-1}        p_0 = 1, p_{-1} = 0

The derivatives p'_n are k_n·q_{n-1}, where the q are polynomials of the same family with shifted parameters
(T'_n = n·U_{n-1}, and so on): they follow a recurrence of the same form, and cost no more than the values.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import torch
from torch import Tensor, nn

from search_spaces.decisions import Integer, Struct
from search_spaces.registry import register

PAPER = "Kolmogorov-Arnold Convolutions: Design Principles and Empirical Studies"
HERMITE_REACH = 3.0
OPTIONS = Struct(degree=Integer(2, 5))

Step = tuple[float, float, float]


class Polynomials(nn.Module):
    """The polynomials p_0 .. p_degree of z = reach·tanh(x/reach), from the coefficients of their recurrence.

    Shapes: [...] to [..., degree + 1], the new dimension at `dim`. `steps` holds (a_n, b_n, c_n) for n = 0 ..
    degree - 1; `q_steps` those of the q, and `factors` the k_1 .. k_degree of p'_n = k_n·q_{n-1}. As z stays within
    ±reach, values are bounded and far out constant. Half precision is worked out in float32.
    """

    def __init__(
        self, steps: Sequence[Step], q_steps: Sequence[Step], factors: Sequence[float], reach: float = 1.0
    ) -> None:
        super().__init__()
        self.count = len(steps) + 1
        self.reach = reach
        self.steps = [(reach * a, b, c) for a, b, c in steps]
        # The factors are worked into the recurrence of the q, so that it yields the p' themselves.
        k = [1.0, *factors]
        self.slope_steps = [
            (reach * a * k[n + 1] / k[n], b * k[n + 1] / k[n], c * k[n + 1] / k[n - 1])
            for n, (a, b, c) in enumerate(q_steps, start=1)
        ]
        self.first_slope = factors[0]

    def forward(self, x: Tensor, dim: int = -1) -> Tensor:
        return self._values(self._squashed(x), dim).to(x.dtype)

    def slopes(self, x: Tensor, dim: int = -1) -> Tensor:
        """Return the derivatives of all functions at x, shaped as `forward` returns the values."""
        return self._slopes(self._squashed(x), dim).to(x.dtype)

    def with_slopes(self, x: Tensor, dim: int = -1) -> tuple[Tensor, Tensor]:
        """Return the values and the derivatives."""
        t = self._squashed(x)
        return self._values(t, dim).to(x.dtype), self._slopes(t, dim).to(x.dtype)

    def _squashed(self, x: Tensor) -> Tensor:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        return (wide / self.reach).tanh_()

    def _values(self, t: Tensor, dim: int) -> Tensor:
        return torch.stack(_run(torch.ones_like(t), t, self.steps), dim)

    def _slopes(self, t: Tensor, dim: int) -> Tensor:
        first = (1 - t.square()).mul_(self.first_slope)
        return torch.stack([torch.zeros_like(t), *_run(first, t, self.slope_steps)], dim)

    def extra_repr(self) -> str:
        return f"count={self.count}, reach={self.reach:g}"


def _run(first: Tensor, t: Tensor, steps: Sequence[Step]) -> list[Tensor]:
    terms = [torch.zeros_like(first), first]
    for a, b, c in steps:
        rest = terms[-2] * -c
        if b:
            rest.add_(terms[-1], alpha=b)
        terms.append(torch.addcmul(rest, t, terms[-1], value=a))
    return terms[1:]


def _checked(family: str, degree: int) -> int:
    if degree < 1:
        raise ValueError(f"the degree of {family} polynomials is at least 1, but got {degree}")
    return degree


@register("basis", "chebyshev", paper=PAPER, options=OPTIONS)
def chebyshev(degree: int = 3) -> Polynomials:
    """T_n of z = tanh(x), n = 0 .. degree, by T_{n+1} = 2z·T_n - T_{n-1} from T_0 = 1 and T_1 = z.

    The recurrence has a gradient everywhere, unlike cos(n·acos z). T'_n = n·U_{n-1}, U of the second kind.
    """
    first, second = [(1.0, 0.0, 0.0), (2.0, 0.0, 1.0)], [(2.0, 0.0, 1.0)]
    steps = (first + second * degree)[: _checked("Chebyshev", degree)]
    return Polynomials(steps, second * (degree - 1), [float(n) for n in range(1, degree + 1)])


@register("basis", "legendre", paper=PAPER, options=OPTIONS)
def legendre(degree: int = 3) -> Polynomials:
    """P_n of z = tanh(x), n = 0 .. degree, by (n+1)·P_{n+1} = (2n+1)·z·P_n - n·P_{n-1} from P_0 = 1 and P_1 = z.

    P'_n = C_{n-1}, the Gegenbauer polynomials with alpha 3/2.
    """
    steps = [((2 * n + 1) / (n + 1), 0.0, n / (n + 1)) for n in range(_checked("Legendre", degree))]
    return Polynomials(steps, _gegenbauer_steps(degree - 1, 1.5), [1.0] * degree)


@register("basis", "hermite", paper=PAPER, options=OPTIONS)
def hermite(degree: int = 3) -> Polynomials:
    """h_n = He_n/√n! of z = 3·tanh(x/3), n = 0 .. degree, by √(n+1)·h_{n+1} = z·h_n - √n·h_{n-1} from h_0 = 1.

    The factorial keeps high degrees from growing: the h_n are orthonormal for a standard normal z. Their weight lies
    on the whole line, so the squashing leaves the middle as it is (z differs from x by 1.5 % at 0.65 and by 3.6 % at
    1) and bounds the rest: tanh(x) itself would reach only ±1, where He_2 is never positive. h'_n = √n·h_{n-1}.
    """
    steps = [(1 / sqrt(n + 1), 0.0, sqrt(n / (n + 1))) for n in range(_checked("Hermite", degree))]
    return Polynomials(steps, steps[:-1], [sqrt(n) for n in range(1, degree + 1)], HERMITE_REACH)


@register("basis", "jacobi", paper=PAPER, options=OPTIONS)
def jacobi(degree: int = 3, a: float = 1.0, b: float = 1.0) -> Polynomials:
    """P_n^(a,b) of z = tanh(x), n = 0 .. degree, from P_1 = (a-b)/2 + (a+b+2)/2·z, orthogonal under (1-z)^a·(1+z)^b.

    The recurrence is, with s = 2n+a+b,

        2(n+1)·(n+a+b+1)·s·P_{n+1} = (s+1)·(s·(s+2)·z + a²-b²)·P_n - 2(n+a)·(n+b)·(s+2)·P_{n-1}

    At n = 0 it is 0/0 for a+b = 0 and -1, which is why P_1 is given; a = b = 0 gives Legendre's. a and b lie above
    -1. P'_n = (n+a+b+1)/2·P_{n-1}^(a+1,b+1).
    """
    if min(a, b) <= -1:
        raise ValueError(f"a and b of Jacobi polynomials lie above -1, but got {a:g} and {b:g}")
    factors = [(n + a + b + 1) / 2 for n in range(1, _checked("Jacobi", degree) + 1)]
    return Polynomials(_jacobi_steps(degree, a, b), _jacobi_steps(degree - 1, a + 1, b + 1), factors)


@register("basis", "gegenbauer", paper=PAPER, options=OPTIONS)
def gegenbauer(degree: int = 3, alpha: float = 1.0) -> Polynomials:
    """C_n of z = tanh(x), n = 0 .. degree, by (n+1)·C_{n+1} = 2(n+α)·z·C_n - (n+2α-1)·C_{n-1} from C_0 = 1.

    α > 0; 1 gives the Chebyshev polynomials of the second kind, 1/2 Legendre's. C'_n = 2α·C_{n-1} with α + 1.
    """
    if alpha <= 0:
        raise ValueError(f"alpha of Gegenbauer polynomials lies above 0, but got {alpha:g}")
    steps = _gegenbauer_steps(_checked("Gegenbauer", degree), alpha)
    return Polynomials(steps, _gegenbauer_steps(degree - 1, alpha + 1), [2 * alpha] * degree)


def _gegenbauer_steps(number: int, alpha: float) -> list[Step]:
    return [(2 * (n + alpha) / (n + 1), 0.0, (n + 2 * alpha - 1) / (n + 1)) for n in range(number)]


def _jacobi_steps(number: int, a: float, b: float) -> list[Step]:
    steps = [((a + b + 2) / 2, (a - b) / 2, 0.0)]
    for n in range(1, number):
        s = 2 * n + a + b
        divisor = 2 * (n + 1) * (n + a + b + 1) * s
        shift = (s + 1) * (a * a - b * b) / divisor
        steps.append(((s + 1) * s * (s + 2) / divisor, shift, 2 * (n + a) * (n + b) * (s + 2) / divisor))
    return steps[:number]
