"""What a trial takes of a machine, and how many such trials a machine has room for. Nothing here needs Ray."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from glob import glob

from nas.settings import SettingsError

GRAIN = 1e-4  # Ray counts in these


@dataclass(frozen=True)
class Resources:
    """CPUs and GPUs of one trial: a fraction below 1, or a whole number. Raises SettingsError for anything else.

    Without a number of GPUs a trial has one to itself on a cluster that has any, and an even share of those of this
    machine, one at most.
    """

    cpus: float = 1
    gpus: float | None = None

    def __post_init__(self) -> None:
        _refuse("--cpus-per-trial", self.cpus, GRAIN)
        if self.gpus is not None:
            _refuse("--gpus-per-trial", self.gpus, GRAIN if self.gpus else 0)

    @property
    def text(self) -> str:
        """Name what a trial takes, as `1 CPU and 0.5 GPU`."""
        return " and ".join(f"{each:g} {name}{'s' * (each > 1)}" for name, each in self._named() if each)

    def _named(self) -> tuple[tuple[str, float], ...]:
        return ("CPU", self.cpus), ("GPU", self.gpus or 0.0)

    def room(self, there: Mapping[str, float]) -> int:
        """Return how many trials fit into what a node has, by Ray's names (CPU, GPU)."""
        return min(_times(there.get(name, 0), each) for name, each in self._named() if each)

    def on_nodes(self, nodes: Iterable[Mapping[str, float]]) -> Resources:
        """Settle the GPUs of a trial on a cluster of such nodes."""
        if self.gpus is not None:
            return self
        return Resources(self.cpus, 1.0 if any(node.get("GPU", 0) >= 1 for node in nodes) else 0.0)

    def here(self, workers: int) -> Resources:
        """Settle the GPUs of a trial on this machine; raises SettingsError where so many have not all a place."""
        there = visible_gpus()
        if self.gpus is None:
            share = there / workers
            return Resources(self.cpus, 1.0 if share >= 1 else math.floor(share / GRAIN) * GRAIN)
        if self.gpus and workers > _times(there, self.gpus):
            raise SettingsError(
                f"--workers {workers} with --gpus-per-trial {self.gpus:g} is not allowed: this machine has {there} GPUs"
            )
        return self

    def usual_workers(self) -> int:
        """Return how many trials run at a time on this machine unless it is said: one a GPU, else one a core.

        It is at least one, though a trial asks for more cores than there are.
        """
        gpus, cores = visible_gpus(), len(os.sched_getaffinity(0))
        if gpus and self.gpus != 0:
            return max(1, _times(gpus, self.gpus or 1.0))
        return max(1, _times(cores, self.cpus))


def visible_gpus() -> int:
    """Return how many GPUs programs may use here."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    there = len(glob("/dev/nvidia[0-9]*"))
    return there if chosen is None else min(there, len([each for each in chosen.split(",") if each.strip()]))


def _times(there: float, each: float) -> int:
    """Return how often something fits, where both are counted in grains."""
    return round(there / GRAIN) // round(each / GRAIN)


def _refuse(option: str, value: float, least: float) -> None:
    if not (least <= value < math.inf) or (value > 1 and value != int(value)):
        lowest = "0 or " if least == 0 else ""
        raise SettingsError(f"{option} {value:g} is not allowed: give {lowest}a fraction below 1, or a whole number")
