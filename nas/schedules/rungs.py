"""The rungs of successive halving: the epochs after which trials are compared."""

from __future__ import annotations


def rungs(epochs: int, eta: int) -> list[int]:
    """Return epochs/eta, epochs/eta^2, ... rounded down, the highest first; all differ, and the last is at least 1."""
    found = []
    while epochs >= eta:
        epochs //= eta
        found.append(epochs)
    return found
