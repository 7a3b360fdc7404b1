"""nas: neural architecture search and hyperparameter optimisation.

import nas
study = nas.search(space="kan_vision", task="digits", trials=20)
study.front()
"""

from __future__ import annotations

import importlib
from typing import Any

from search_spaces import registry

__version__ = "0.1.0"

registry.home("task", "nas.tasks", "nas.tasks")
registry.home("objective", "nas.objectives", "nas.objectives")
registry.home("strategy", "nas.strategies", "nas.strategies")
registry.home("schedule", "nas.schedules", "nas.schedules")
registry.home("predictor", "nas.scoring", "nas.predictors")

_PUBLIC = {
    "Settings": "nas.settings",
    "Store": "nas.store",
    "Study": "nas.study",
    "load": "nas.export",
    "open_study": "nas.study",
    "score": "nas.scoring.study",
    "search": "nas.study",
    "simulate": "nas.simulation",
}
__all__ = ["Settings", "Store", "Study", "load", "open_study", "score", "search", "simulate"]


def __getattr__(name: str) -> Any:
    """Import what is public when it is first used: `import nas` alone stays light."""
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'nas' has no attribute {name!r}")
