"""A network that inherits another's weights: all that both have, and as much of its function as can be carried over.

Of the decisions about a network its widths, depths and activations may change so (`inheritance` says how, and where the
function stays what it was). The child is reached in three steps, each a network of the space: the activations of the
child come first, then its depths, then its widths.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from nas.training.inheritance import basics, channels, layers  # noqa: F401 - rules that are known once imported
from nas.training.inheritance.activations import exchange
from nas.training.inheritance.depths import can_begin, deepen
from nas.training.inheritance.entries import align
from nas.training.inheritance.errors import InheritanceError
from nas.training.inheritance.paths import ACTIVATION, DEPTH, TRAINING, WIDTH, around, kind_of
from nas.training.inheritance.sizes import channels_seen
from nas.training.inheritance.widths import widen
from nas.training.seeding import derive, seeded
from search_spaces.decisions import Architecture, Decision, Scalar
from search_spaces.space import Signature, Space

ORDER = (ACTIVATION, DEPTH, WIDTH)
ALLOWED = "a network inherits through widths, depths and activations alone"


def inheritable(space: Space, path: str, domain: Decision, architecture: Architecture | None = None) -> bool:
    """Tell whether a decision may change in a network that inherits its weights: a width, a depth or an activation.

    Not every new block can begin as nothing: with the `architecture` that the network comes from, a depth is judged by
    the stage's wiring, layer and activation. Without it all depths are inheritable.
    """
    kind = kind_of(space, path, domain)
    if kind != DEPTH or architecture is None:
        return kind is not None
    return can_begin(around(architecture, path))


def inherit(
    space: Space,
    signature: Signature,
    parent_architecture: Architecture,
    parent_state: Mapping[str, Tensor],
    child_architecture: Architecture,
    seed: int,
) -> nn.Module:
    """Return the network of `child_architecture`, on the CPU and in training mode, with what it has of its parent's.

    `parent_state` is the parent's state dict, whose precision the child gets. All that is drawn comes from the seed.
    Raises InheritanceError where other decisions about the network differ, and for a state of another network.
    """
    changed = _changed(space, parent_architecture, child_architecture)
    network = _built(space, signature, parent_architecture, seed)
    _load(network, parent_state)
    with seeded(derive(seed, "inherit")):
        for kind, architecture in _steps(space, parent_architecture, child_architecture):
            if kind in changed:
                child = _built(space, signature, architecture, seed)
                _take(kind, child, network, signature)
                network = child
    dtypes = [tensor.dtype for tensor in parent_state.values() if tensor.is_floating_point()]
    return network.to(dtypes[0] if dtypes else torch.get_default_dtype()).train()


def _take(kind: str, child: nn.Module, parent: nn.Module, signature: Signature) -> None:
    """Take one step, between networks that differ in decisions of one kind."""
    if kind == ACTIVATION:
        exchange(child, parent, channels_seen(parent, signature.input_shape))
    elif kind == DEPTH:
        deepen(child, parent, channels_seen(child, signature.input_shape))
    else:
        align(child, parent, channels_seen(parent, signature.input_shape))
        widen(child, parent)


def _steps(space: Space, parent: Architecture, child: Architecture) -> Iterator[tuple[str, Architecture]]:
    """Give the steps, each with the architecture that it leads to: the last one is the child's."""
    before, after, taken = space.trace(parent), space.trace(child), list[str]()

    def decide(path: str, domain: Decision) -> Scalar:
        mine = path.startswith(TRAINING) or kind_of(space, path, domain) in taken
        return after[path] if mine else before[path]

    for kind in ORDER:
        taken.append(kind)
        yield kind, space.resolve(decide)[0]


def _changed(space: Space, parent: Architecture, child: Architecture) -> set[str]:
    """Return the kinds of the decisions that differ; raises InheritanceError for one that may not."""
    domains = _domains(space, parent) | _domains(space, child)
    kinds = set()
    for change in space.diff(parent, child):
        if change.path.startswith(TRAINING):
            continue
        kind = kind_of(space, change.path, domains[change.path])
        if kind is None:
            raise InheritanceError(
                f"{change.path} is {change.before!r} in the parent and {change.after!r} in the child, but {ALLOWED}: "
                "leave it as it is, or train the child anew"
            )
        kinds.add(kind)
    return kinds


def _domains(space: Space, architecture: Architecture) -> dict[str, Decision]:
    """Return the domain of each decision that is active in an architecture."""
    trace, found = space.trace(architecture), dict[str, Decision]()

    def note(path: str, domain: Decision) -> Scalar:
        found[path] = domain
        return trace[path]

    space.resolve(note)
    return found


def _built(space: Space, signature: Signature, architecture: Architecture, seed: int) -> nn.Module:
    with seeded(derive(seed, "build")):
        return space.build(architecture, signature).double()


def _load(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    try:
        network.eval().load_state_dict(dict(state))
    except RuntimeError as error:
        first = " ".join(str(error).split())[:200]
        raise InheritanceError(f"the weights are not those of the parent's architecture: {first}") from None
