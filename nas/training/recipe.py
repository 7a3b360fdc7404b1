"""How a network is trained, read from the `training` part of an architecture."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from nas.errors import UserError

Options = Mapping[str, Any]
Named = tuple[str, Options]

SCHEDULES = ("cosine", "linear")
OPTIMIZERS = ("adamw", "sgd")
AUGMENTATIONS = ("none", "shift", "mixup")


class RecipeError(UserError):
    """A training part that cannot be followed; the message names the entry and what is known."""


@dataclass(frozen=True)
class Recipe:
    """The training decisions; what an architecture leaves out has the value given here."""

    optimizer: Named = ("adamw", {"rate": 1e-3, "weight_decay": 1e-2})
    batch: int = 64
    schedule: str = "cosine"
    warmup: float = 0.0
    label_smoothing: float = 0.0
    augmentation: Named = field(default=("none", {}))

    @classmethod
    def read(cls, training: Mapping[str, Any]) -> Recipe:
        """Read `{"optimizer": {"sgd": {...}}, "batch": 64, ...}`; raises RecipeError naming the entry."""
        known = [entry.name for entry in fields(cls)]
        for name in training:
            if name not in known:
                raise RecipeError(f"training has an unknown entry {name!r}; it may have {', '.join(known)}")
        options: dict[str, Any] = dict(training)
        for name in options.keys() & {"optimizer", "augmentation"}:
            options[name] = _named(options[name])
        recipe = cls(**options)
        for entry, value, allowed in (
            ("optimizer", recipe.optimizer[0], OPTIMIZERS),
            ("augmentation", recipe.augmentation[0], AUGMENTATIONS),
            ("schedule", recipe.schedule, SCHEDULES),
        ):
            if value not in allowed:
                raise RecipeError(f"training.{entry} is {value!r}, but {' or '.join(allowed)} is known")
        return recipe

    def rate_at(self, step: int, steps: int) -> float:
        """Return the learning rate of a step out of `steps`: a linear warm-up, then a decay that ends near 0."""
        peak = float(self.optimizer[1]["rate"])
        rising = round(self.warmup * steps)
        if step < rising:
            return peak * (step + 1) / rising
        progress = (step - rising) / max(steps - rising, 1)
        left = (1 + math.cos(math.pi * progress)) / 2 if self.schedule == "cosine" else 1 - progress
        return peak * left


def _named(value: Any) -> Named:
    return next(iter(value.items())) if isinstance(value, Mapping) else (value, {})
