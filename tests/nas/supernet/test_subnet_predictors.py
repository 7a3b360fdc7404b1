"""Zero-cost predictors in the search of a supernet: they rank its candidates among each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from fake_runs import register
from tiny_space import TINY, architecture, job

from nas.supernet.job import _ensemble
from predictors import Predictor, Unscorable
from search_spaces import registry
from search_spaces.registry import Entry

WIDTHS = (2, 8, 32)


def parts(network: Any, *given: Any) -> dict[str, float]:
    width = network[0].out_channels
    if width == 3:
        raise Unscorable("too odd")
    return {"wide": width, "narrow": -(width**2)}


def products(rows: Sequence[Sequence[float]]) -> list[float]:
    """Products of places, so that what is in the middle of two orders at odds is the best."""
    wide, narrow = ([sum(other[k] <= row[k] for other in rows) for row in rows] for k in range(2))
    return [float(a * b) for a, b in zip(wide, narrow, strict=True)]


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, TINY)
    registry.entries("predictor")
    made = Predictor("middling", "", parts, cost="nothing", parts=("wide", "narrow"), pool=products)
    monkeypatch.setitem(registry._entries["predictor"], "middling", Entry("predictor", "middling", made, ""))


def scores(tmp_path: Path, text: str, widths: Sequence[int] = WIDTHS) -> list[float | None]:
    return list(_ensemble(job(tmp_path), text)([architecture(width=width) for width in widths]))


def test_a_combination_ranks_the_candidates(tmp_path: Path) -> None:
    """Products by hand: 1 x 3, 2 x 2, 3 x 1; the equal ones share the places 0 and 1."""
    assert scores(tmp_path, "middling") == [0.25, 1.0, 0.25]


def test_several_are_averaged_by_rank(tmp_path: Path) -> None:
    """With params, places 0, 1, 2, by hand: (0.5 + 0) / 4, (2 + 1) / 4, (0.5 + 2) / 4."""
    assert scores(tmp_path, "middling+params") == [0.125, 0.75, 0.625]


def test_what_cannot_be_scored_is_last(tmp_path: Path) -> None:
    assert scores(tmp_path, "middling", (2, 3, 8)) == [0.75, 0.0, 0.75]
