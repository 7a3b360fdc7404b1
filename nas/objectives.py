"""Objectives and constraints: what a search optimises, in which direction, and what it must not exceed.

Declared here without torch; the cheap ones are measured in `nas.training.measures` on the built network,
the trained ones are read from the metrics of the validation split.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from nas.errors import UserError
from search_spaces.registry import Entry, add, find


class ConstraintError(UserError):
    """A constraint that does not parse."""


class ObjectiveError(UserError):
    """An objective that a search must not have."""


@dataclass(frozen=True)
class Objective:
    """A figure of merit: `metric` names the epoch metric it is read from, None when no training is needed."""

    name: str
    maximize: bool
    unit: str
    summary: str
    metric: str | None = None

    @property
    def cheap(self) -> bool:
        return self.metric is None

    def loss(self, value: float) -> float:
        """Return the value as something to minimise; not-a-number is the worst of all."""
        signed = -value if self.maximize else value
        return math.inf if math.isnan(signed) else signed


ACCURACY = Objective("accuracy", True, "", "share of validation samples classified rightly", "val_accuracy")
LOSS = Objective("loss", False, "nats", "mean cross-entropy on the validation split", "val_loss")
PARAMS = Objective("params", False, "", "trainable weights that no mask holds at zero")
FLOPS = Objective("flops", False, "", "multiplications and additions of one sample's matrix products and convolutions")
LATENCY = Objective("latency", False, "ms", "median time of one sample's forward pass on the trial's device")
MEMORY = Objective("memory", False, "bytes", "peak of weights and activations alive in one sample's forward pass")

for _objective in (ACCURACY, LOSS, PARAMS, FLOPS, LATENCY, MEMORY):
    add(Entry("objective", _objective.name, lambda o=_objective: o, _objective.summary))


UNSEEN = "test"


def objective(name: str) -> Objective:
    """Return a registered objective, or the one that `min:COLUMN` or `max:COLUMN` reads from a table.

    Raises UnknownName with the nearest names, and ObjectiveError for a column of test data.
    """
    way, colon, column = name.partition(":")
    if colon and way in ("min", "max"):
        if not column or column.strip() != column:
            raise ObjectiveError(f"--objective {name!r} names no column: write it as {way}:COLUMN")
        if unseen(column):
            raise ObjectiveError(
                f"--objective {name!r} is not allowed, because a search never sees test data: "
                f"choose a column that does not begin with {UNSEEN!r}"
            )
        return Objective(name, way == "max", "", f"column {column} of a table", column)
    made: Objective = find("objective", name).make()
    return made


def unseen(column: str) -> bool:
    """Say whether a column of a table is test data, which is for reports alone."""
    return column.lower().startswith(UNSEEN)


_LIMITS = {"<=": operator.le, ">=": operator.ge}


@dataclass(frozen=True)
class Constraint:
    """A bound on a cheap objective, checked on the built network before any training."""

    name: str
    relation: str
    bound: float

    @classmethod
    def parse(cls, text: str) -> Constraint:
        """Read `params<=200000`; raises ConstraintError that says what is wrong."""
        match = re.fullmatch(r"\s*(\w+)\s*(<=|>=)\s*([-+.\w]+)\s*", text)
        try:
            name, relation, bound = match.groups() if match else (None, None, None)
            limit = float(bound)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            raise ConstraintError(
                f"constraint {text!r} does not parse: write it as 'params<=200000' or 'flops<=1e6'"
            ) from None
        if math.isnan(limit):
            raise ConstraintError(f"constraint {text!r} compares with nan: give a number")
        if not objective(str(name)).cheap:
            raise ConstraintError(
                f"constraint {text!r} is on {name}, which needs training: constrain params, flops, latency or memory"
            )
        return cls(str(name), str(relation), limit)

    def holds(self, values: Mapping[str, float]) -> bool:
        return bool(_LIMITS[self.relation](values[self.name], self.bound))

    def __str__(self) -> str:
        return f"{self.name}{self.relation}{self.bound:.15g}"


def broken(constraints: Iterable[Constraint], measured: Mapping[str, float]) -> str | None:
    """Say how the measured values break the first constraint that they break; None where all hold."""
    for constraint in constraints:
        if not constraint.holds(measured):
            value = measured[constraint.name]
            shown = f"{value:,.0f}" if float(value).is_integer() else f"{value:,.4g}"
            return f"{constraint.name} {shown} breaks {constraint}"
    return None
