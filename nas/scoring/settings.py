"""What a user asks of a scoring. Kept in the store as JSON, under which a study is known as a scoring."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from nas.objectives import Constraint
from nas.scoring import find_predictor
from nas.scoring.samples import Gaussian, check_count, find_source
from nas.settings import SettingsError
from nas.store.queries import SCORING
from search_spaces.limits import limited
from search_spaces.space import Space, find_space

USUAL_PREDICTOR, USUAL_TASK = "consensus", "digits"
UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


@dataclass(frozen=True)
class ScoringSettings:
    """The settings of a scoring.

    `columns` are the names under which each predictor's numbers are kept. `source` is the file that the architectures
    were read from, None where they are drawn; `count` is how many there are to be.
    """

    space: str
    task: str
    columns: dict[str, tuple[str, ...]]
    count: int
    samples: int = 16
    memory: int = 2**30
    seed: int = 0
    split_seed: int = 0
    only: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    source: str | None = field(default=None)

    @property
    def predictors(self) -> tuple[str, ...]:
        return tuple(self.columns)

    @property
    def part(self) -> Space:
        """The part of the space that the limits leave."""
        return limited(find_space(self.space), self.only)

    def to_json(self) -> dict[str, Any]:
        """Return the settings of the study: those that a search has too, and under a key of its own the others."""
        return {
            "space": self.space,
            "task": self.task,
            "only": self.only,
            "constraints": self.constraints,
            "trials": self.count,
            "seed": self.seed,
            "split_seed": self.split_seed,
            "tree": find_space(self.space).describe()["tree"],
            SCORING: {
                "predictors": self.columns,
                "samples": self.samples,
                "memory": self.memory,
                "source": self.source,
            },
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ScoringSettings:
        own = data[SCORING]
        return cls(
            space=data["space"],
            task=data["task"],
            columns={name: tuple(columns) for name, columns in own["predictors"].items()},
            count=data["trials"],
            samples=own["samples"],
            memory=own["memory"],
            seed=data["seed"],
            split_seed=data["split_seed"],
            only=tuple(data["only"]),
            constraints=tuple(data["constraints"]),
            source=own["source"],
        )

    def differences(self, other: ScoringSettings) -> list[str]:
        """Name the settings in which another scoring's scores would not be comparable, with both values."""
        names = {"samples": "batch"} | {
            name: name for name in ("space", "task", "seed", "split_seed", "only", "constraints")
        }
        found = [
            f"{shown} {theirs!r} instead of {mine!r}"
            for name, shown in names.items()
            if (mine := getattr(self, name)) != (theirs := getattr(other, name))
        ]
        if (self.source is None) != (other.source is None):
            found.append("architectures drawn instead of read" if self.source else "architectures read, not drawn")
        return found

    def with_more(self, count: int, *predictors: str, memory: int | None = None) -> ScoringSettings:
        """Return the settings with at least so many architectures, with further predictors, and with other memory."""
        columns = self.columns | columns_of(predictors)
        return replace(self, count=max(count, self.count), columns=columns, memory=memory or self.memory)


def ask(
    space: str,
    count: int,
    task: str | None = None,
    predictors: tuple[str, ...] = (),
    **others: Any,
) -> ScoringSettings:
    """Return checked settings; a space's own signature and a usual predictor stand for what is not given.

    Raises UnknownName, SettingsError, ConstraintError, DecisionError or TaskError for what makes no sense.
    """
    signature = find_space(space).signature
    if task is None:
        task = USUAL_TASK if signature is None else Gaussian(signature.input_shape, signature.classes).name
    for name in predictors:
        if "+" in name:
            each = " ".join(f"--predictor {part}" for part in name.split("+"))
            raise SettingsError(f"--predictor {name!r} is not one predictor: give the option for each, as {each}")
    columns = columns_of(predictors or (USUAL_PREDICTOR,))
    settings = ScoringSettings(space, task, columns, count, **others)
    for name, value in (("--count", settings.count), ("--batch", settings.samples), ("--memory", settings.memory)):
        if value < 1:
            raise SettingsError(f"{name} {value} is not allowed: it must be at least 1")
    for text in settings.constraints:
        Constraint.parse(text)
    source = find_source(task, settings.split_seed)
    if settings.samples > ScoringSettings.samples:  # to look reads the data, which the usual number need not wait for
        check_count(source, settings.samples)
    limited(find_space(space), settings.only)
    return settings


def columns_of(predictors: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Return the columns of each predictor by its name; raises UnknownName."""
    return {name: find_predictor(name).columns for name in predictors}


def read_memory(text: str) -> int:
    """Read `512MB`, `2GiB` or a number of bytes; raises SettingsError."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    unit = UNITS.get(match[2].upper()) if match else None
    size = math.floor(float(match[1]) * unit) if match and unit else 0
    if size < 1:
        raise SettingsError(f"--memory {text!r} does not parse: write 512MB, 2GB, or a number of bytes from 1 up")
    return size
