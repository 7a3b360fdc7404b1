"""Registers the predictors: those of `predictors/`, and the baselines."""

from __future__ import annotations

import importlib
import pkgutil

import predictors
from nas.scoring.baselines import BASELINES
from predictors import Predictor
from search_spaces.registry import Entry, add


def _register(predictor: Predictor) -> None:
    summary = (predictor.__doc__ or "").strip().split("\n")[0]
    add(Entry("predictor", predictor.name, predictor, summary, predictor.paper))


for _module in pkgutil.iter_modules(predictors.__path__):
    _score = getattr(importlib.import_module(f"predictors.{_module.name}"), "score", None)
    if isinstance(_score, Predictor):
        _register(_score)
for _baseline in BASELINES:
    _register(_baseline)
