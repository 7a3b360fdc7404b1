"""What a user asks of a study. Kept in the store as JSON, so that a resume needs no other word."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from nas.errors import UserError


class SettingsError(UserError):
    """Settings that make no sense; one line that names the value and what is allowed."""


@dataclass(frozen=True)
class Settings:
    """The settings of a search."""

    space: str = "kan_vision"
    task: str = "digits"
    objectives: tuple[str, ...] = ("accuracy", "params")
    constraints: tuple[str, ...] = ()
    strategy: str = "tpe"
    strategy_options: dict[str, Any] = field(default_factory=dict)
    schedule: str = "none"
    schedule_options: dict[str, Any] = field(default_factory=dict)
    screen: str | None = None
    only: tuple[str, ...] = ()
    trials: int = 100
    epochs: int = 8
    seed: int = 0
    split_seed: int = 0
    pbt_architecture: bool = False
    replay: dict[str, Any] | None = None
    trial_timeout: float | None = None
    keep_checkpoints: int = 0
    storage: str | None = None
    cpus_per_trial: float = 1.0
    gpus_per_trial: float | None = None

    def __post_init__(self) -> None:
        for name in ("trials", "epochs"):
            if getattr(self, name) < 1:
                raise SettingsError(f"--{name} {getattr(self, name)} is not allowed: it must be at least 1")
        if self.trial_timeout is not None and not self.trial_timeout > 0:
            raise SettingsError(f"--trial-timeout {self.trial_timeout:g} is not allowed: give seconds above 0")
        if self.keep_checkpoints < 0:
            raise SettingsError(f"--keep-checkpoints {self.keep_checkpoints} is not allowed: it must be at least 0")
        for name, share in (("cpus", self.cpus_per_trial), ("gpus", self.gpus_per_trial)):
            if share is not None and not (share > 0 if name == "cpus" else share >= 0):
                raise SettingsError(f"--{name}-per-trial {share:g} is not allowed: give a share above 0, as 0.5")
        if not self.objectives:
            raise SettingsError("a search needs at least one --objective, for instance accuracy")
        if len(set(self.objectives)) < len(self.objectives):
            raise SettingsError(f"--objective names {', '.join(self.objectives)}: name each one once")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Settings:
        known = {each.name: data[each.name] for each in fields(cls) if each.name in data}
        known |= {name: tuple(known[name]) for name in ("objectives", "constraints", "only") if name in known}
        return cls(**known)

    def differences(self, other: Settings) -> list[str]:
        """Name the settings in which two searches differ, with both values; the number of trials may."""
        mine, theirs = self.to_json(), other.to_json()
        return [f"{k} {theirs[k]!r} instead of {mine[k]!r}" for k in mine if mine[k] != theirs[k] and k != "trials"]


MOST = 1000
USUAL, SURROGATE, LEARNED = "consensus", "surrogate", "learned"


@dataclass(frozen=True)
class Screen:
    """Score several proposals without training, and train the best one; `predictors` is the text of an Ensemble."""

    predictors: str
    count: int

    @classmethod
    def parse(cls, text: str) -> Screen:
        """Read `gradsign:8`, or `8` for the usual predictor; raises SettingsError."""
        predictors, colon, count = text.rpartition(":")
        if bool(predictors) != bool(colon) or not count.isdecimal() or not 2 <= int(count) <= MOST:
            raise SettingsError(
                f"--screen {text!r} does not parse: write predictors and 2 to {MOST} proposals, as gradsign:8 or "
                f"gradsign+synflow:8, or proposals alone, as 8 for {USUAL}:8"
            )
        return cls(predictors or USUAL, int(count))


@dataclass(frozen=True)
class Ensemble:
    """Predictors that judge together: by the mean of their ranks, or with weights `learned` on finished trials."""

    names: tuple[str, ...]
    learned: bool = False

    @classmethod
    def parse(cls, text: str) -> Ensemble:
        """Read `gradsign+synflow` or `learned:gradsign+synflow`; raises SettingsError."""
        head, _, rest = text.partition(":")
        names = (rest if head == LEARNED else text).split("+")
        nameless = "" in names and (head, names) != (LEARNED, [""])
        if nameless or any(":" in name for name in names):
            raise SettingsError(
                f"predictors {text!r} does not parse: join names by +, as gradsign+synflow or "
                f"{LEARNED}:gradsign+synflow"
            )
        if len(set(names)) < len(names):
            raise SettingsError(f"predictors {text!r} names one twice: name each once")
        if head == LEARNED and (len(names) < 2 or SURROGATE in names):
            raise SettingsError(
                f"predictors {text!r} does not name what to weigh: write two zero-cost predictors or more, as "
                f"{LEARNED}:gradsign+synflow; the {SURROGATE} learns from scores by itself, as gradsign+{SURROGATE}"
            )
        return cls(tuple(names), head == LEARNED)
