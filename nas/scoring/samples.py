"""What networks are scored with: samples of a task's training split, or Gaussian noise of a task's shape."""

from __future__ import annotations

import re
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from nas.tasks import TaskError, find_task
from nas.training.seeding import derive
from search_spaces.registry import UnknownName
from search_spaces.space import Shape

if TYPE_CHECKING:
    from nas.tasks import Samples, Task

GAUSSIAN = "gaussian"


@dataclass(frozen=True)
class Gaussian(Shape):
    """Inputs from a standard normal distribution, and labels at random: `gaussian:3x32x32:10`."""

    @property
    def name(self) -> str:
        return f"{GAUSSIAN}:{'x'.join(map(str, self.input_shape))}:{self.classes}"

    def draw(self, count: int, seed: int) -> Samples:
        """Draw inputs [count, channels, height, width] and labels [count]."""
        import torch

        rng = torch.Generator().manual_seed(seed)
        return torch.randn(count, *self.input_shape, generator=rng), torch.randint(
            self.classes, (count,), generator=rng
        )


def find_source(task: str, split_seed: int = 0) -> Task | Gaussian:
    """Return a task, or the noise that `gaussian:CxHxW:CLASSES` names; raises as `find_task`."""
    if task.partition(":")[0] != GAUSSIAN:
        try:
            return find_task(task, split_seed)
        except UnknownName as error:
            raise UnknownName(f"{error} (or noise: gaussian:CHANNELSxHEIGHTxWIDTH:CLASSES)") from None
    read = re.fullmatch(r"gaussian:([1-9]\d*)x([1-9]\d*)x([1-9]\d*):([1-9]\d*)", task)
    if read is None:
        raise TaskError(
            f"--task {task!r} does not parse: write gaussian:CHANNELSxHEIGHTxWIDTH:CLASSES, as gaussian:3x32x32:10"
        )
    channels, height, width, classes = map(int, read.groups())
    return Gaussian((channels, height, width), classes)


def check_count(source: Task | Gaussian, count: int) -> None:
    """Raise TaskError where a task's training split has fewer samples."""
    if not isinstance(source, Gaussian) and count > (most := len(source.train()[1])):
        raise TaskError(
            f"--batch {count} is more than the training split of {source.name} has: give at most {most}, or noise"
        )


def draw_samples(source: Task | Gaussian, count: int, seed: int) -> Samples:
    """Draw samples with their targets: of a task from its training split, each at most once."""
    if isinstance(source, Gaussian):
        return source.draw(count, derive(seed, "screen"))
    check_count(source, count)
    inputs, targets = source.train()
    picked = Random(f"{seed}/screen").sample(range(len(inputs)), count)
    return inputs[picked], targets[picked]
