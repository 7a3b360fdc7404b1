"""Scores of networks that are not trained, one predictor a module with its `score`.

    score(network, batch, loss) -> float        higher is better

A predictor is a function of a network, a batch and a loss, decorated with `predictor`: it is given a copy of the
network, and random numbers of its own, to do with as it likes. A `combination` measures several numbers of a network,
which become one score by their ranks among those of other networks.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:  # the surrogates of this package need no torch, which takes a second to import
    from torch import Tensor, nn

MEMORY = 2**30
REFUSALS = (RuntimeError, NotImplementedError, ValueError, TypeError, AttributeError, IndexError)


class Unscorable(ValueError):
    """A network that a predictor cannot score; the message says why in one line."""


class OutOfMemory(Unscorable):
    """A network that would be scored with more memory, with fewer samples or at another time."""


def lacks_memory(error: BaseException) -> bool:
    """Tell whether an error says that memory has run out, of the machine or of its GPU."""
    from torch import OutOfMemoryError

    ran_out = isinstance(error, MemoryError | OutOfMemoryError | OutOfMemory)
    return ran_out or "DefaultCPUAllocator" in str(error)  # of torch on a CPU, which has no class of its own


@dataclass(frozen=True)
class Batch:
    """What a network is scored with: inputs [n, ...] and targets [n, ...].

    `seed` is that of all a predictor draws. `memory` bounds the bytes that the work on samples may take beside the
    network and its gradient: what takes more goes in chunks of samples.
    """

    inputs: Tensor
    targets: Tensor
    seed: int = 0
    memory: int = MEMORY

    def __len__(self) -> int:
        return len(self.inputs)

    def chunks(self, sample_bytes: int, least: int = 1) -> Iterator[Batch]:
        """Part the batch evenly into as few chunks as stay within its memory, at so many bytes a sample.

        A chunk has `least` samples or more, where the batch has them: batch normalisation of vectors needs two.
        """
        most = max(least, self.memory // max(1, sample_bytes))
        count = max(1, min(math.ceil(len(self) / most), len(self) // least))
        parts = zip(self.inputs.tensor_split(count), self.targets.tensor_split(count), strict=True)
        return (Batch(inputs, targets, self.seed, self.memory) for inputs, targets in parts)


Loss: TypeAlias = "Callable[[Tensor, Tensor], Tensor]"
Compute: TypeAlias = "Callable[[nn.Module, Batch, Loss], float]"
Measure: TypeAlias = "Callable[[nn.Module, Batch, Loss], Mapping[str, float]]"
Column = Sequence[float | None]
Pool = Callable[[Sequence[Sequence[float]]], Sequence[float]]


class Predictor:
    """What scores networks; made by `predictor` or `combination`.

    `cost` says what is computed for a network, `labels` whether the batch's targets matter. `columns` are the names
    under which its numbers are kept: its own, or one for each part of a combination.
    """

    def __init__(
        self,
        name: str,
        about: str,
        measure: Measure,
        *,
        paper: str = "",
        cost: str,
        labels: bool = False,
        parts: Sequence[str] = (),
        pool: Pool | None = None,
    ) -> None:
        self.name, self.__doc__ = name, about
        self.paper, self.cost, self.labels = paper, cost, labels
        self.columns = tuple(f"{name}.{part}" for part in parts) or (name,)
        self._parts = tuple(parts) or (name,)
        self._measure, self._pool = measure, pool

    def __call__(self, network: nn.Module, batch: Batch, loss: Loss | None = None) -> float:
        """Return the score of one network, by default with cross-entropy.

        Raises as `measure` does, and Unscorable for a combination.
        """
        if self._pool is not None:
            raise Unscorable(f"{self.name} ranks a network among others: measure each, and pool what was measured")
        (value,) = self.measure(network, batch, loss).values()
        return value

    def measure(self, network: nn.Module, batch: Batch, loss: Loss | None = None) -> dict[str, float]:
        """Return what is kept of a network, by column.

        The work is done in float32 for networks of half precision, and on the network's device. The network's
        parameters, gradients, buffers and modes, and torch's random state, stay bit for bit. Raises Unscorable for
        what this predictor cannot score, such as a number that is not finite, and OutOfMemory.
        """
        from torch.nn.functional import cross_entropy

        try:
            with _sandbox(network, batch) as (copied, moved):
                found = self._measure(copied, moved, loss or cross_entropy)
        except (MemoryError, *REFUSALS) as error:  # Unscorable among them
            if lacks_memory(error):
                raise OutOfMemory(
                    f"{self.name} ran out of memory on this network: take a smaller --memory, or fewer samples"
                ) from error
            raise Unscorable(f"{self.name} cannot score this network: {' '.join(str(error).split())}") from error
        for part in self._parts:
            if not math.isfinite(found[part]):
                raise Unscorable(f"{self.name} cannot score this network: {part} is {found[part]}")
        return {column: float(found[part]) for column, part in zip(self.columns, self._parts, strict=True)}

    def pooled(self, measured: Mapping[str, Column]) -> list[float | None]:
        """Return the scores of several networks from their columns; a network without all its numbers has None."""
        if self._pool is None:
            return list(measured[self.name])
        rows = list(zip(*(measured[column] for column in self.columns), strict=True))
        whole = [row for row in rows if None not in row]
        scores = iter(self._pool(whole) if whole else ())
        return [None if None in row else next(scores) for row in rows]


def predictor(*, paper: str = "", cost: str, labels: bool = False) -> Callable[[Compute], Predictor]:
    """Make a predictor of a function (network, batch, loss) -> float, named after its module.

    What it gets is a copy of the network in training mode, without gradients and with dropout off.
    """

    def made(compute: Compute) -> Predictor:
        name, about = _of(compute)
        return Predictor(name, about, lambda *given: {name: compute(*given)}, paper=paper, cost=cost, labels=labels)

    return made


def combination(
    *, parts: Sequence[str], pool: Pool, paper: str = "", cost: str, labels: bool = False
) -> Callable[[Measure], Predictor]:
    """Make a predictor of a function (network, batch, loss) -> {part: number}, named after its module.

    `pool` turns the parts of some networks, a row each, into their scores.
    """

    def made(measure: Measure) -> Predictor:
        return Predictor(*_of(measure), measure, paper=paper, cost=cost, labels=labels, parts=parts, pool=pool)

    return made


def _of(function: Callable[..., Any]) -> tuple[str, str]:
    """Return the last name and the docstring of a function's module."""
    return function.__module__.rpartition(".")[2], sys.modules[function.__module__].__doc__ or ""


@contextmanager
def _sandbox(network: nn.Module, batch: Batch) -> Iterator[tuple[nn.Module, Batch]]:
    """Give a copy of the network, in training mode and without dropout, and one of the batch, alike in precision.

    Nothing in it works in place, so that what a module was called with is still there after it.
    """
    import torch
    from torch import nn

    if len(batch.inputs) != len(batch.targets) or not len(batch):
        raise Unscorable(f"got {len(batch.inputs)} samples with {len(batch.targets)} targets")
    tensors = [*network.parameters(), *network.buffers()]
    device = tensors[0].device if tensors else batch.inputs.device
    with torch.random.fork_rng([device.index] if device.type == "cuda" else []), torch.enable_grad():
        torch.default_generator.manual_seed(batch.seed)
        if device.type == "cuda":
            torch.cuda.default_generators[device.index].manual_seed(batch.seed)
        copied = deepcopy(network).train()
        copied = copied.float() if any(each.dtype in (torch.float16, torch.bfloat16) for each in tensors) else copied
        copied.zero_grad()
        for module in copied.modules():
            if isinstance(module, nn.modules.dropout._DropoutNd):
                module.p = 0.0  # and stays off when a predictor changes the mode
            elif isinstance(module, nn.MultiheadAttention | nn.RNNBase):
                module.dropout = 0.0
            if getattr(module, "inplace", False) is True:
                module.inplace = False  # type: ignore[assignment]
        wanted = next((each.dtype for each in copied.parameters() if each.is_floating_point()), torch.float32)
        inputs, targets = (
            each.to(device, wanted if each.is_floating_point() else each.dtype, copy=True)
            for each in (batch.inputs, batch.targets)
        )
        yield copied, Batch(inputs, targets, batch.seed, batch.memory)
