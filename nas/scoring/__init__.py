"""Scoring: the predictors of `predictors/`, what they score networks with, and the scoring of many architectures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from search_spaces.registry import find

if TYPE_CHECKING:
    from predictors import Predictor


def find_predictor(name: str) -> Predictor:
    """Return a registered predictor; raises UnknownName with the nearest names."""
    made: Predictor = find("predictor", name).make  # type: ignore[assignment]
    return made
