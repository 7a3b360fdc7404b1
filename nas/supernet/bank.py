"""A supernet: a bank of tensors, and the networks of a space as paths that use slices of them.

A subnetwork is the ordinary network that the space builds, run with slices of the bank as its parameters, so gradients
flow into the bank, and a network with the slices copied in gives the same outputs. There is no mask and no mixture.

Shared is what has the same place in the network and the same components on the way, inner options included. *Elastic*
are integers and lengths that are not inside a component's options: a narrower layer uses the leading channels of the
wide one (Slimmable Neural Networks), a shallower network the first blocks. A tensor has the size that it has where all
integers are at their largest, and that size is part of its name: what is no slice of another gets a tensor of its own,
for instance a head on maps of another size.

A tensor's first values are those of that largest network, so a narrow slice of fan-in n out of N starts with n/N of
the variance that it would have alone, and where a random mask leaves the share d of the weights, d of it again.
Normalisation makes up for it; where there is none, training has to.

Buffers are never shared. Grids and masks are those of the fresh network, which the supernet's seed makes the same each
time; the running statistics of norms are to be recomputed (`recalibrate`). Grids adapted to data and bases that are
selected in phases stay as they start.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.func import functional_call

from nas.supernet.naming import Place, places
from nas.supernet.slices import cut, fits, paste
from nas.tasks import Task
from nas.training.seeding import derive, seeded
from search_spaces.decisions import Architecture, Decision, Integer, Scalar, canonical
from search_spaces.expressions.stability import Unstable
from search_spaces.phases import auxiliary_loss
from search_spaces.space import Space

CACHED = 64
Sizes = tuple[int, ...]
Source = tuple[Tensor, Sizes]
Slice = tuple[Tensor, Sizes, Sizes]


@dataclass(frozen=True)
class Path:
    """A subnetwork: the built network, whose own weights do not matter, and the slices that it runs with.

    A slice is a tensor of the bank, the shape of what is used of it, and the number of slabs in each dimension.
    """

    network: nn.Module
    slices: dict[str, Slice]

    def tensors(self) -> list[Tensor]:
        """List the bank's tensors that the subnetwork uses a part of."""
        return list({id(tensor): tensor for tensor, _, _ in self.slices.values()}.values())

    def parameters(self) -> dict[str, Tensor]:
        """Return the parameters by their names in the network, as slices through which gradients flow."""
        return {name: cut(*slice) for name, slice in self.slices.items()}

    def run(self, inputs: Tensor, training: bool = False) -> Tensor:
        """Return the logits for inputs [batch, channels, height, width]; no statistics are kept."""
        self.network.train(training)
        buffers = {name: buffer.clone() for name, buffer in self.network.named_buffers()} if training else {}
        logits: Tensor = functional_call(self.network, {**self.parameters(), **buffers}, (inputs,))
        return logits

    def auxiliary_loss(self) -> Tensor | None:
        """Return what the network's parts add to the loss of the last run in training, or None."""
        return auxiliary_loss(self.network)


class Supernet:
    """The bank of a space on a task. Its tensors come into being when an architecture first needs them.

    So they depend on the seed and on the order of the architectures alone. `cached` built networks are kept.
    """

    def __init__(
        self, space: Space, task: Task, seed: int = 0, device: torch.device | str = "cpu", cached: int = CACHED
    ) -> None:
        self.space, self.task, self.seed = space, task, seed
        self.device, self.cached = torch.device(device), cached
        self.tensors: dict[str, nn.Parameter] = {}
        self._known: dict[str, str] = {}
        self._paths: OrderedDict[str, Path] = OrderedDict()

    def path(self, architecture: Architecture) -> Path:
        """Return the subnetwork of an architecture; raises what the space raises where it cannot be built."""
        wanted = canonical(network_part(architecture))
        if wanted not in self._paths:
            self._paths[wanted] = self._made(architecture)
            if len(self._paths) > self.cached:
                self._paths.popitem(last=False)
        self._paths.move_to_end(wanted)
        return self._paths[wanted]

    def parameters(self, architecture: Architecture) -> dict[str, Tensor]:
        """Return a subnetwork's parameters by name, slices of the bank."""
        return self.path(architecture).parameters()

    def run(self, architecture: Architecture, inputs: Tensor, training: bool = False) -> Tensor:
        """Return a subnetwork's logits [batch, classes], through which gradients flow into the bank."""
        return self.path(architecture).run(inputs, training)

    @torch.no_grad()
    def extract(self, architecture: Architecture) -> nn.Module:
        """Return the subnetwork as a network of its own, in eval mode, with copies of its slices."""
        path = self.path(architecture)
        network = self._build(architecture)
        own = dict(network.named_parameters())
        for name, slice in path.parameters().items():
            own[name].copy_(slice)
        return network.eval()

    def state(self) -> dict[str, Any]:
        """Return all that training changes: the tensors, and which one each parameter has been given."""
        return {"tensors": {key: tensor.detach() for key, tensor in self.tensors.items()}, "known": dict(self._known)}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take over the state of another supernet of the same space, task and seed."""
        self.tensors = {key: nn.Parameter(tensor.to(self.device).clone()) for key, tensor in state["tensors"].items()}
        self._known = dict(state["known"])
        self._paths.clear()

    def _build(self, architecture: Architecture) -> nn.Module:
        with seeded(derive(self.seed, "build")):
            return self.space.build(architecture, self.task).to(self.device)

    @torch.no_grad()
    def _made(self, architecture: Architecture) -> Path:
        network = self._build(architecture)
        wider = _Wider(self, architecture)
        return Path(network, {place.name: self._slice(place, wider) for place in places(network)})

    def _slice(self, place: Place, wider: _Wider) -> Slice:
        shape = tuple(place.parameter.shape)
        known = f"{place.base}@{wider.lengths}"
        key = self._known.get(known)
        if key is None or not fits(self.tensors[key].shape, shape, place.counts):
            key = self._known[known] = self._key(place, wider.sources(place))
        return self.tensors[key].requires_grad_(place.parameter.requires_grad), shape, place.counts

    def _key(self, place: Place, sources: list[Source]) -> str:
        """Return the key of the tensor that holds all sources of a parameter, and make it if it is not there."""
        whole = [max(sizes) for sizes in zip(*(tensor.shape for tensor, _ in sources), strict=True)]
        key = f"{place.base}|{_written(whole, place.counts)}"
        if key not in self.tensors:
            full = torch.zeros(whole, dtype=place.parameter.dtype, device=self.device)
            for tensor, counts in sources:
                paste(tensor, full, counts)
            self.tensors[key] = nn.Parameter(full)
        return key


class _Wider:
    """The networks that tell how wide the tensors of an architecture's parameters are, built when they are asked for.

    First the one with all elastic integers at their largest. It may lack a parameter, a convolution between two widths
    that are then equal, say; so then those with one of the integers a step below. The lengths stay as they are, for
    maps may get smaller from block to block.
    """

    def __init__(self, supernet: Supernet, architecture: Architecture) -> None:
        self._supernet = supernet
        self._trace = supernet.space.trace(architecture)
        self.lengths = [[path, value] for path, value in self._trace.items() if path.endswith("#")]

    def sources(self, place: Place) -> list[Source]:
        """Return the tensors that a parameter's own one is put together from, each with its slabs."""
        found = [self._largest[place.base]] if place.base in self._largest else []
        if not found:
            found = [network[place.base] for network in self._lowered if place.base in network]
        shape = tuple(place.parameter.shape)
        widest = [source for source in found if len(source[0].shape) == len(shape) and source[1] == place.counts]
        whole = [max(sizes) for sizes in zip(*(tensor.shape for tensor, _ in widest), strict=True)] if widest else []
        return widest if widest and fits(whole, shape, place.counts) else [_source(place)]

    @cached_property
    def _largest(self) -> dict[str, Source]:
        return self._grown(None)

    @cached_property
    def _lowered(self) -> list[dict[str, Source]]:
        wide: list[str] = []

        def note(path: str, domain: Decision) -> Scalar:
            if is_elastic(domain, path) and not path.endswith("#"):
                wide.append(path)
            return self._trace[path]

        self._supernet.space.resolve(note)
        return [self._grown(path) for path in wide]

    def _grown(self, lowered: str | None) -> dict[str, Source]:
        def decide(path: str, domain: Decision) -> Scalar:
            if not is_elastic(domain, path) or path.endswith("#"):
                return self._trace[path]
            return domain.high - domain.step if path == lowered else domain.high

        try:
            network = self._supernet._build(self._supernet.space.resolve(decide)[0])
        except (Unstable, ValueError):
            return {}
        return {place.base: _source(place) for place in places(network)}


def is_elastic(domain: Decision, path: str) -> TypeGuard[Integer]:
    """Tell whether a decision is a width, a depth or a length: an integer that is not inside a component's options."""
    return isinstance(domain, Integer) and ":" not in path


def network_part(architecture: Architecture) -> Architecture:
    """Return an architecture without its training, which has no part in a supernet."""
    if not isinstance(architecture, dict):
        return architecture
    return {name: part for name, part in architecture.items() if name != "training"}


def _source(place: Place) -> Source:
    return place.parameter.detach() * place.scale, place.counts


def _written(shape: list[int], counts: Sizes) -> str:
    sizes = (f"{count}*{size // count}" if count > 1 else f"{size}" for size, count in zip(shape, counts, strict=True))
    return "x".join(sizes)
