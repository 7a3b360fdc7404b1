"""Blocks: any network seen as a chain of blocks, told from its modules alone.

The outermost module that has several parts is opened. Within it every Sequential is opened that is a chain of blocks:
one in which all modules have parts (they are stages, blocks or cells), or two or more multiply matrices or convolve
(it is a plain network written down flat). Each part of what is opened begins a block, but for one that has no parts of
its own and multiplies nothing, such as a norm, an activation or a pool: it belongs to the block before. So
Sequential(layer, norm, activation) is one block, and so is all that has a wiring of its own: a residual block, a cell,
an attention layer. An identity is none.

Blocks count in the order of their calls. A block's features are its output, before any pool or flattening that
belongs to it: maps [n, c, ...] with two dimensions of places or more, or tokens [n, t, c]. A network with fewer than
two of these has its vectors [n, c]. The output of the network is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, shape_wrapper

from predictors import Batch, Unscorable
from predictors.flops import UNCOUNTED
from predictors.gradients import saved_bytes

Hook = Callable[..., None] | None


@dataclass(frozen=True)
class Unit:
    """A module of which blocks are made; `begins` says whether one begins with it."""

    name: str
    module: nn.Module
    begins: bool


@dataclass(frozen=True)
class Feature:
    """What a block of some name handed on, and how many modules that multiply had worked before the block ended."""

    name: str
    values: Tensor
    before: int


@dataclass(frozen=True)
class Profile:
    """Of one sample: the FLOPs of each module that has any, and the bytes that are kept for the backward pass.

    The FLOPs of a module are its own, with those of parts whose results have no gradient, and without other parts'.
    """

    flops: dict[nn.Module, int]
    sample_bytes: int


@dataclass(frozen=True)
class Passed:
    """A pass of samples: the blocks' features, what each module that multiplies computed, and the output."""

    features: list[Feature]
    computed: list[tuple[nn.Module, Tensor]]
    output: Tensor


def profile(network: nn.Module, batch: Batch) -> Profile:
    """Pass one sample through the network, which is in training mode afterwards."""
    counted: dict[nn.Module, int] = {}
    started: list[tuple[int, int]] = []  # of the modules at work: the count at the start, and what their parts took
    counter = _Counter()

    def begin(module: nn.Module, args: Any) -> None:
        started.append((counter.total, 0))

    def end(module: nn.Module, args: Any, output: Any) -> None:
        start, parts = started.pop()
        flops = counter.total - start
        if (isinstance(output, Tensor) and output.requires_grad) or not started:
            counted[module] = counted.get(module, 0) + flops - parts
            parts = flops
        if started:
            started[-1] = started[-1][0], started[-1][1] + parts

    network.eval()
    inputs = batch.inputs[:1].detach().requires_grad_(batch.inputs.is_floating_point())
    with counter, _hooked([(module, begin, end) for module in network.modules()]):
        sample_bytes = saved_bytes(network, replace(batch, inputs=inputs), lambda output, _: output.sum())
    network.train()
    return Profile({module: flops for module, flops in counted.items() if flops}, sample_bytes)


def units(network: nn.Module, multiplying: Sequence[nn.Module]) -> list[Unit]:
    """List what blocks are made of, in the order in which it is registered."""
    name, top = "", network
    while len(inside := _parts(name, top)) == 1:
        ((name, top),) = inside
    return list(_opened(name, top, set(multiplying))) if inside else [Unit(name, top, True)]


def forward(network: nn.Module, inputs: Tensor, parts: Sequence[Unit], multiplying: Sequence[nn.Module]) -> Passed:
    """Pass samples forward; raises Unscorable when there are no two blocks to compare."""
    found, computed = list[Feature](), list[tuple[nn.Module, Tensor]]()

    def multiplied(module: nn.Module, args: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            computed.append((module, output))

    def noting(unit: Unit) -> Hook:
        def note(module: nn.Module, args: Any, output: Any) -> None:
            if not isinstance(output, Tensor) or output.ndim < 2 or not output.is_floating_point():
                return
            if unit.begins:
                found.append(Feature(unit.name, output, len(computed)))
            elif found and output.shape == found[-1].values.shape:
                found[-1] = Feature(found[-1].name, output, len(computed))

        return note

    hooks = [(module, None, multiplied) for module in multiplying]
    with _hooked([*hooks, *((unit.module, None, noting(unit)) for unit in parts)]):
        output = network(inputs)
    found = [each for each in found if each.values is not output]
    maps, vectors = ([each for each in found if (each.values.ndim > 2) == many] for many in (True, False))
    features = maps if len(maps) > 1 else vectors
    if len(features) < 2:
        raise Unscorable(f"two blocks at least are needed, with maps, tokens or vectors, but it has {len(features)}")
    return Passed(features, computed, output)


def _parts(name: str, module: nn.Module) -> list[tuple[str, nn.Module]]:
    """List the modules within a module by name, those of its lists and dictionaries among them."""
    parts = list[tuple[str, nn.Module]]()
    for short, part in module.named_children():
        full = f"{name}.{short}" if name else short
        parts += _parts(full, part) if isinstance(part, nn.ModuleList | nn.ModuleDict) else [(full, part)]
    return parts


def _opened(name: str, module: nn.Module, multiplying: set[nn.Module]) -> Iterator[Unit]:
    for full, part in _parts(name, module):
        inside = [each for _, each in _parts(full, part)]
        multiply = [not multiplying.isdisjoint(each.modules()) for each in inside]
        chain = all(_parts("", each) for each in inside) or sum(multiply) > 1
        if isinstance(part, nn.Sequential) and chain:
            yield from _opened(full, part, multiplying)
        else:
            yield Unit(full, part, bool(inside) or part in multiplying)


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts as `flops.count` does, but follows no modules, which would take longer than the pass itself."""

    FORMULAS: ClassVar = {
        **flop_registry,
        **{each: shape_wrapper(formula) for each, formula in UNCOUNTED.items()},  # type: ignore[no-untyped-call]
    }

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        formula = self.FORMULAS.get(func._overloadpacket)
        if formula is not None:
            self.total += formula(*args, **(kwargs or {}), out_val=output)
        return output


@contextmanager
def _hooked(hooks: Sequence[tuple[nn.Module, Hook, Hook]]) -> Iterator[None]:
    """Have functions called before and after the work of modules."""
    handles = [module.register_forward_pre_hook(before) for module, before, _ in hooks if before]
    handles += [module.register_forward_hook(after) for module, _, after in hooks if after]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
