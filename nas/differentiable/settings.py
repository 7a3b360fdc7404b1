"""The settings of a differentiable search, those of DARTS unless it says otherwise."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nas.errors import UserError
from search_spaces.mixtures.relaxation import Cap


class SearchError(UserError):
    """A differentiable search that cannot be; the message names the setting and what is allowed."""


@dataclass(frozen=True)
class Settings:
    """How long and how fast weights and strengths are trained.

    In the first `warmup` epochs the weights train alone. The weights follow SGD with momentum from `rate` down to
    `lowest_rate`, the strengths Adam at `strength_rate`. DARTS has 0.025 and 3e-4, for tens of thousands of steps; in
    the few hundred of a small task the strengths would hardly leave their start. `cap` limits how many decisions may
    end at the options that it names; with `early_stop` the search ends once more are that far after an epoch (DARTS+).
    """

    epochs: int = 20
    warmup: int = 4
    batch: int = 64
    rate: float = 0.1
    lowest_rate: float = 0.001
    momentum: float = 0.9
    weight_decay: float = 3e-4
    gradient_norm: float = 5.0
    strength_rate: float = 1e-2
    strength_betas: tuple[float, float] = (0.5, 0.999)
    strength_decay: float = 1e-3
    cap: Cap | None = None
    early_stop: bool = False

    def __post_init__(self) -> None:
        for name, low, high, note in (
            ("epochs", 1, math.inf, "1 or more"),
            ("warmup", 0, self.epochs - 1, f"0 to {self.epochs - 1}, less than the epochs,"),
            ("batch", 1, math.inf, "1 or more"),
            ("lowest_rate", 0, self.rate, f"0 to the rate {self.rate:g}"),
            ("momentum", 0, 1, "0 to 1"),
            ("weight_decay", 0, math.inf, "0 or more"),
            ("strength_decay", 0, math.inf, "0 or more"),
        ):
            if not low <= getattr(self, name) <= high:
                raise SearchError(f"{name} is {getattr(self, name):g}, but {note} is allowed")
        for name in ("rate", "gradient_norm", "strength_rate"):
            if not 0 < getattr(self, name) < math.inf:
                raise SearchError(f"{name} is {getattr(self, name):g}, but a number above 0 is allowed")
        if not all(0 <= beta < 1 for beta in self.strength_betas):
            raise SearchError(
                f"strength_betas are {self.strength_betas}, but two numbers from 0 to below 1 are allowed"
            )
        if self.early_stop and self.cap is None:
            raise SearchError("early_stop ends a search that exceeds its cap, and there is none: set cap")
