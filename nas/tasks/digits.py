"""Handwritten digits: the 1,797 images of 8x8 pixels that come with scikit-learn.

The table is read from scikit-learn's own file, because importing `sklearn.datasets` takes a second of
every worker's start. Each class is split 60/20/20 into train, validation and test; pixels are scaled to
[0, 1] and standardised with the mean and deviation of the train part.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, ClassVar

from search_spaces.registry import register

if TYPE_CHECKING:
    from nas.tasks import Samples

SHARES = {"train": 0.6, "validation": 0.2, "test": 0.2}
BRIGHTEST = 16


@register("task", "digits")
@dataclass(frozen=True)
class Digits:
    """Handwritten digits, 8x8 grey images in 10 classes (scikit-learn)."""

    split_seed: int = 0
    name: ClassVar[str] = "digits"
    input_shape: ClassVar[tuple[int, int, int]] = (1, 8, 8)
    classes: ClassVar[int] = 10

    @property
    def content(self) -> str:
        return sha256(f"{_digest()} {SHARES} {self.split_seed}".encode()).hexdigest()

    @property
    def blank(self) -> float:
        mean, deviation = _statistics(self.split_seed)
        return -mean / deviation

    def train(self) -> Samples:
        return _samples(self.split_seed, "train")

    def validation(self) -> Samples:
        return _samples(self.split_seed, "validation")

    def test(self) -> Samples:
        return _samples(self.split_seed, "test")


@cache
def _table() -> bytes:
    """Read the CSV: 64 pixels from 0 to 16 and the digit, a line an image."""
    spec = find_spec("sklearn")
    places = (spec.submodule_search_locations if spec else None) or []
    for place in places:
        file = Path(place) / "datasets" / "data" / "digits.csv.gz"
        if file.exists():
            return gzip.decompress(file.read_bytes())
    raise FileNotFoundError("the digits are not here: install scikit-learn, which brings datasets/data/digits.csv.gz")


@cache
def _digest() -> str:
    return sha256(_table()).hexdigest()


@cache
def _rows() -> list[list[int]]:
    return [[int(float(entry)) for entry in line.split(",")] for line in _table().decode().split()]


@cache
def split(split_seed: int) -> dict[str, list[int]]:
    """Return the row numbers of each part, every class divided by the shares and shuffled by the seed."""
    parts: dict[str, list[int]] = {part: [] for part in SHARES}
    rng = Random(f"digits {split_seed}")
    labels = [row[-1] for row in _rows()]
    for label in sorted(set(labels)):
        members = [i for i, other in enumerate(labels) if other == label]
        rng.shuffle(members)
        start, share = 0, 0.0
        for part in SHARES:
            share += SHARES[part]
            stop = round(share * len(members))
            parts[part] += members[start:stop]
            start = stop
    return {part: sorted(members) for part, members in parts.items()}


@cache
def _statistics(split_seed: int) -> tuple[float, float]:
    """Return mean and standard deviation of the train part's pixels in [0, 1]."""
    rows = _rows()
    pixels = [pixel / BRIGHTEST for i in split(split_seed)["train"] for pixel in rows[i][:-1]]
    mean = sum(pixels) / len(pixels)
    return mean, (sum((pixel - mean) ** 2 for pixel in pixels) / len(pixels)) ** 0.5


@cache
def _samples(split_seed: int, part: str) -> Samples:
    import torch

    rows = torch.tensor(_rows())[split(split_seed)[part]]
    mean, deviation = _statistics(split_seed)
    inputs = (rows[:, :-1].double() / BRIGHTEST - mean) / deviation
    return inputs.float().reshape(-1, *Digits.input_shape), rows[:, -1].clone()
