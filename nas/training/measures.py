"""Cheap objectives: figures of a built network that need no training, all for one sample in eval mode."""

from __future__ import annotations

import statistics
import time
import weakref
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from predictors import flops
from search_spaces.space import Signature
from search_spaces.sparsity.masking import live_parameters

WARM_UPS = 5
FORWARDS = 50


def measure(
    names: Iterable[str], network: nn.Module, signature: Signature, device: torch.device | str = "cpu"
) -> dict[str, float]:
    """Measure the named objectives and nothing else; the network moves to the device, its mode is given back.

    Raises ValueError for a name that needs training or that nothing measures.
    """
    names = list(dict.fromkeys(names))
    for name in names:
        if name not in MEASURES:
            raise ValueError(f"{name!r} is not measured on a built network, only {', '.join(MEASURES)}")
    network.to(device)
    sample = torch.randn(1, *signature.input_shape, generator=torch.Generator().manual_seed(0)).to(device)
    training = network.training
    network.eval()
    try:
        with torch.no_grad():
            return {name: float(MEASURES[name](network, sample)) for name in names}
    finally:
        network.train(training)


def params(network: nn.Module, sample: Tensor) -> int:
    """Count the trainable weights that no mask holds at zero."""
    return live_parameters(network)


def latency(network: nn.Module, sample: Tensor) -> float:
    """Return the median milliseconds of a forward pass, after warm-up, on the sample's device."""
    wait = torch.cuda.synchronize if sample.is_cuda else _nothing
    times = []
    for _ in range(WARM_UPS + FORWARDS):
        wait()
        start = time.perf_counter()
        network(sample)
        wait()
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times[WARM_UPS:])


def memory(network: nn.Module, sample: Tensor) -> int:
    """Return the peak bytes of weights, buffers, sample and activations alive during a forward pass.

    On CUDA the allocator counts, work space of its libraries included. Elsewhere the storages of all tensors
    that operators return are followed, so the figure is the same each time and leaves out what an operator
    allocates and frees within itself.
    """
    held = list({t.untyped_storage()._cdata: t for t in (*network.parameters(), *network.buffers(), sample)}.values())
    weights: int = sum(t.untyped_storage().nbytes() for t in held)
    if sample.is_cuda:
        network(sample)
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats(sample.device)
        before = int(torch.cuda.memory_allocated(sample.device))
        network(sample)
        torch.cuda.synchronize()
        return weights + int(torch.cuda.max_memory_allocated(sample.device)) - before
    live = LiveStorages(held)
    with live:
        network(sample)
    return live.peak


class LiveStorages(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows the storages alive while it is entered: `now` and `peak` in bytes, from those of `held` on."""

    def __init__(self, held: Iterable[Tensor] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._alive: dict[int, weakref.ref[torch.UntypedStorage]] = {}
        self._note(held)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self._note(leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor))
        return result

    def _note(self, tensors: Iterable[Tensor]) -> None:
        for tensor in tensors:
            storage = tensor.untyped_storage()
            key, size = storage._cdata, storage.nbytes()
            if key not in self._alive:
                self._alive[key] = weakref.ref(storage, partial(self._forget, key, size))
                self.now += size
        self.peak = max(self.peak, self.now)

    def _forget(self, key: int, size: int, _: object) -> None:
        del self._alive[key]
        self.now -= size


def _nothing() -> None:
    pass


MEASURES: dict[str, Callable[[nn.Module, Tensor], float]] = {
    "params": params,
    "flops": flops.count,
    "latency": latency,
    "memory": memory,
}
