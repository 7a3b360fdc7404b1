"""B-splines: uniform ones in closed form, and on knots at the quantiles of the inputs (KAN; MatrixKAN).

With d = |x - c|/h the distance to a function's centre in grid steps, a uniform B-spline of order k is

    φ(d) = 1/k! · Σ_j (-1)^j · C(k+1, j) · relu((k+1)/2 - j - d)^k        j = 0 .. k//2

for the cubic one (relu(2-d)³ - 4·relu(1-d)³)/6. There is no recursion, and as the truncated powers are
taken from the far end inwards, none is larger than ((k+1)/2)^k: nothing cancels far out. On uneven knots t the
functions follow from those of one order less (Cox and de Boor):

    B_{i,k}(x) = (x - t_i)/(t_{i+k} - t_i) · B_{i,k-1}(x) + (t_{i+k+1} - x)/(t_{i+k+1} - t_{i+1}) · B_{i+1,k-1}(x)
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from search_spaces.bases.placing import along
from search_spaces.decisions import Choice, Integer, Struct
from search_spaces.registry import register

SPREAD = 0.02  # the share of the uniform grid that is mixed into the quantiles, so that no two knots coincide
TINY = 1e-12
LOCAL_FROM = 64  # functions from which on it pays to look up the few that are not zero


@register(
    "basis",
    "bspline",
    paper="KAN: Kolmogorov-Arnold Networks; MatrixKAN",
    options=Struct(intervals=Integer(3, 8), order=Integer(2, 3), grid=Choice("uniform", "quantile")),
)
class BSpline(nn.Module):
    """The intervals + order B-splines of an order (3 is cubic) over [low, high].

    Shapes: [...] to [..., count], the new dimension at `dim`. Inside the grid the functions sum to 1. Outside
    they fall to 0 within `order` grid steps, and further out all are 0: a KAN layer's base branch takes over.
    The default grid [-2, 2] expects normalised inputs. Orders 1 to 5; half precision is worked out in float32.

    A `grid` of "uniform" knots stays where it is. One of "quantile" starts there, too, and `place` moves its knots
    to the quantiles of given inputs, which a training does before its first epoch; it takes twice the time.
    """

    centres: Tensor
    knots: Tensor

    def __init__(
        self, intervals: int = 5, order: int = 3, grid: str = "uniform", low: float = -2.0, high: float = 2.0
    ) -> None:
        super().__init__()
        if intervals < 1 or not 1 <= order <= 5 or low >= high:
            raise ValueError(f"no B-splines of order {order} on {intervals} intervals of [{low:g}, {high:g}]")
        if grid not in ("uniform", "quantile"):
            raise ValueError(f"the grid of B-splines is {grid!r}, but uniform or quantile is allowed")
        self.count = intervals + order
        self.intervals, self.order, self.grid = intervals, order, grid
        self.low, self.high, self.step = low, high, (high - low) / intervals
        self.prefers_local = grid == "uniform" and self.count >= LOCAL_FROM
        if grid == "uniform":
            # In grid steps from `low`, so that the buffer holds exact halves in every precision.
            self.register_buffer("centres", torch.arange(self.count) + (1 - order) / 2)
        else:
            self.register_buffer("knots", low + self.step * (torch.arange(self.count + order + 1) - float(order)))

    def forward(self, x: Tensor, dim: int = -1) -> Tensor:
        if self.grid == "quantile":
            values, _ = _recursion(x, *self._along(self.knots, x, dim), self.order)
            return values.to(x.dtype)
        return _pieces(self._offset(x, dim).abs_(), self.order, self.order)[0].to(x.dtype)

    def slopes(self, x: Tensor, dim: int = -1) -> Tensor:
        """Return the derivatives of the functions at x, shaped like `forward`."""
        if self.grid == "quantile":
            return self.with_slopes(x, dim)[1]
        offset = self._offset(x, dim)
        return self._signed(_pieces(offset.abs(), self.order, self.order - 1)[0], offset).to(x.dtype)

    def with_slopes(self, x: Tensor, dim: int = -1) -> tuple[Tensor, Tensor]:
        """Return the functions and their derivatives, which have most of the work in common."""
        if self.grid == "quantile":
            values, slopes = _recursion(x, *self._along(self.knots, x, dim), self.order)
            return values.to(x.dtype), slopes.to(x.dtype)
        offset = self._offset(x, dim)
        values, slopes = _pieces(offset.abs(), self.order, self.order, self.order - 1)
        return values.to(x.dtype), self._signed(slopes, offset).to(x.dtype)

    def place(self, x: Tensor) -> None:
        """Put the knots of a "quantile" grid at even quantiles of x, from its least to its greatest value.

        2 % of an even grid is mixed in; beyond the ends the knots go on evenly. Raises ValueError for a grid that
        stays, and for inputs that are all alike.
        """
        if self.grid != "quantile":
            raise ValueError('only a "quantile" grid can be placed: make the B-splines with grid="quantile"')
        x = x.detach().flatten().double()
        share = torch.linspace(0, 1, self.intervals + 1, dtype=x.dtype, device=x.device)
        low, high = x.min(), x.max()
        if not high > low:
            raise ValueError(f"no grid can be placed on inputs that are all {low:g}")
        inside = (1 - SPREAD) * _quantiles(x, share) + SPREAD * (low + (high - low) * share)
        beyond = torch.arange(1, self.order + 1, dtype=x.dtype, device=x.device)
        before = inside[0] - (inside[1] - inside[0]) * beyond.flip(0)
        after = inside[-1] + (inside[-1] - inside[-2]) * beyond
        self.knots.copy_(torch.cat([before, inside, after]))

    def span(self) -> tuple[float, float]:
        """Return the two ends of the grid."""
        if self.grid == "uniform":
            return self.low, self.high
        return self.knots[self.order].item(), self.knots[-1 - self.order].item()

    def local(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the order + 1 functions that may differ from 0 at each x, and their indices, [..., order + 1] both.

        Where such a function is none of the basis, its value is 0 and its index is that of another.
        """
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        position = ((wide - self.low) / self.step).clamp(-self.order - 1, self.intervals + self.order + 1)
        first = position.floor()
        k = torch.arange(self.order + 1, device=x.device)
        # Within a grid step from knot `first`, function first + j is centred (1 - order)/2 + j steps after it.
        offset = (position - first).unsqueeze(-1) - (k + (1 - self.order) / 2)
        index = first.long().unsqueeze(-1) + k
        inside = (index >= 0) & (index < self.count)
        values = _pieces(offset.abs() * _scale(self.order), self.order, self.order)[0] * inside
        return values.to(x.dtype), index.clamp(0, self.count - 1)

    def extra_repr(self) -> str:
        low, high = self.span()
        return f"count={self.count}, order={self.order}, grid={self.grid} on [{low:g}, {high:g}]"

    def _offset(self, x: Tensor, dim: int) -> Tensor:
        """Return the signed distances from x to the functions' centres in grid steps times `_scale`."""
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        scale = _scale(self.order)
        place, centres = along(self.centres.to(wide.dtype) * scale, x.ndim, dim)
        return centres - ((wide - self.low) * (scale / self.step)).unsqueeze(place)

    def _signed(self, slopes: Tensor, offset: Tensor) -> Tensor:
        return slopes.mul_(self.order * _scale(self.order) / self.step).copysign_(offset)

    def _along(self, knots: Tensor, x: Tensor, dim: int) -> tuple[Tensor, int]:
        place, broadcast = along(knots.to(torch.promote_types(x.dtype, torch.float32)), x.ndim, dim)
        return broadcast, place


def _pieces(distance: Tensor, order: int, *powers: int) -> list[Tensor]:
    """Return Σ_j (-1)^j · C(order+1, j) · relu(scale·((order+1)/2 - j) - distance)^p for each power p.

    `distance` comes multiplied by `scale`, the order-th root of 1/order!, which makes the highest power that of the
    formula without a pass over memory. In place where it can be: on tensors this large, fresh memory costs more
    than the arithmetic.
    """
    totals: list[Tensor] = []
    for j in range(order // 2 + 1):
        inside = (_scale(order) * ((order + 1) / 2 - j) - distance).relu_()
        for i, power in enumerate(powers):
            reuse = i == len(powers) - 1 and not torch.is_grad_enabled()
            piece = inside.sign() if power == 0 else inside.pow_(power) if reuse else inside.pow(power)
            if j:
                totals[i].add_(piece, alpha=(-1) ** j * math.comb(order + 1, j))
            else:
                totals.append(piece)
    return totals


def _scale(order: int) -> float:
    return float(math.factorial(order) ** (-1 / order))


def _recursion(x: Tensor, knots: Tensor, place: int, order: int) -> tuple[Tensor, Tensor]:
    """Return the B-splines of an order and their derivatives by Cox and de Boor; the knots lie along `place`."""

    def knot(start: int, stop: int) -> Tensor:
        return knots.narrow(0, start, stop - start)

    count = len(knots) - 1
    u = x.to(knots.dtype).unsqueeze(place)
    values = slopes = ((u >= knot(0, count)) & (u < knot(1, count + 1))).to(knots.dtype)
    for k in range(1, order + 1):
        count -= 1
        # A function of no width is 0, and counts as 0 whatever it is divided by.
        widths = (knot(k, k + count + 1) - knot(0, count + 1)).clamp(min=TINY)
        scaled = values / widths
        rising, falling = scaled.narrow(place, 0, count), scaled.narrow(place, 1, count)
        values = (u - knot(0, count)) * rising + (knot(k + 1, k + 1 + count) - u) * falling
        slopes = k * (rising - falling)
    return values, slopes


def _quantiles(x: Tensor, shares: Tensor) -> Tensor:
    """Return the quantiles of x [n], interpolated; torch.quantile refuses more than 16 million values."""
    ordered = x.sort().values
    position = shares * (len(x) - 1)
    before = position.floor().long()
    after = (before + 1).clamp(max=len(x) - 1)
    return torch.lerp(ordered[before], ordered[after], position - before)
