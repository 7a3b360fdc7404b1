"""Decisions as coordinates in [0, 1]: an even draw of the coordinate is an even draw of the decision."""

from __future__ import annotations

import math
from typing import Any

from search_spaces.decisions import Choice, Decision, Integer, Real, Scalar


def value_at(domain: Decision, share: float) -> Scalar:
    """Return the value at a share of a domain: the options or whole numbers have equal parts, or logarithmic ones."""
    if isinstance(domain, Choice):
        return domain.options[min(int(share * len(domain.options)), len(domain.options) - 1)]
    if isinstance(domain, Integer) and not domain.log:
        return domain.low + domain.step * min(int(share * domain.size()), domain.size() - 1)
    low, high = _ends(domain)
    value = math.exp(math.log(low) + share * math.log(high / low)) if domain.log else low + share * (high - low)
    bounded = min(max(value, domain.low), domain.high)
    return min(max(round(bounded), domain.low), domain.high) if isinstance(domain, Integer) else bounded


def share_of(domain: Integer | Real, value: Any) -> float:
    """Return the share of a domain at which a number lies; of a whole number, the middle of its part."""
    if isinstance(domain, Integer) and not domain.log:
        return float((value - domain.low) // domain.step + 0.5) / domain.size()
    low, high = _ends(domain)
    share: float = math.log(value / low) / math.log(high / low) if domain.log else (value - low) / (high - low)
    return share


def _ends(domain: Integer | Real) -> tuple[float, float]:
    half = 0.5 if isinstance(domain, Integer) else 0.0
    return domain.low - half, domain.high + half
