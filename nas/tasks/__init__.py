"""Tasks: what a network is trained for, with a fixed split into train, validation and test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from search_spaces.registry import find, home

if TYPE_CHECKING:
    from torch import Tensor

    Samples = tuple[Tensor, Tensor]

home("task", "nas.tasks", "nas.tasks")


class Task(Protocol):
    """A classification task. Samples are inputs [N, channels, height, width] in float32 and targets [N] in int64.

    A search reads `train` and `validation`; `test` is for the evaluation of finished networks alone.
    """

    @property
    def name(self) -> str: ...

    @property
    def split_seed(self) -> int: ...

    @property
    def input_shape(self) -> tuple[int, int, int]: ...

    @property
    def classes(self) -> int: ...

    @property
    def content(self) -> str:
        """The SHA-256 of data and split, found without torch: tasks of equal content have equal samples."""
        ...

    @property
    def blank(self) -> float:
        """The value of an empty pixel in the inputs, with which augmentation fills what it uncovers."""
        ...

    def train(self) -> Samples: ...

    def validation(self) -> Samples: ...

    def test(self) -> Samples: ...


def find_task(name: str, split_seed: int = 0) -> Task:
    """Return a registered task with its split; raises UnknownName with the nearest names."""
    task: Task = find("task", name).make(split_seed)
    return task
