"""Which decisions a network can inherit its weights through, told by path and domain.

width       a whole number so called, of the network and not of one of its components
depth       likewise
activation  a choice among registered activations, and the decisions inside its options
"""

from __future__ import annotations

import re
from typing import Any

from search_spaces.decisions import Architecture, Choice, Decision, Domain, Integer, Repeat, Struct
from search_spaces.registry import entries
from search_spaces.space import Space

WIDTH, DEPTH, ACTIVATION = "width", "depth", "activation"
TRAINING = "training."
_INSIDE = re.compile(r"[:.]?([^:.\[]+)(\[[^\]]*\])?")


def kind_of(space: Space, path: str, domain: Decision) -> str | None:
    """Return what a decision is: "width", "depth", "activation" or None, something else."""
    outer, inside, _ = path.partition(":")
    name = re.split(r"[.\]]", outer)[-1]
    if path.startswith(TRAINING):
        return None
    if name == ACTIVATION:
        return ACTIVATION if _names_activations(_found(space.tree, outer)) else None
    return name if name in (WIDTH, DEPTH) and not inside and _whole(domain) else None


def around(architecture: Architecture, path: str) -> dict[str, Any]:
    """Return the part of an architecture that holds the decision at a path beside others."""
    part = architecture
    for name in re.split(r"[.\[\]]+", path)[:-1]:
        part = part[0 if name == "*" else int(name) if name.isdigit() else name]
    found: dict[str, Any] = part
    return found


def _whole(domain: Decision) -> bool:
    options = domain.options if isinstance(domain, Choice) else ()
    return isinstance(domain, Integer) or (bool(options) and all(type(option) is int for option in options))


def _names_activations(domain: Domain | None) -> bool:
    return isinstance(domain, Choice) and set(domain.options) <= set(entries(ACTIVATION))


def _found(tree: Domain, path: str) -> Domain | None:
    """Return the domain at a path, or None."""
    node: Domain | None = tree
    for match in _INSIDE.finditer(path):
        if isinstance(node, Choice):
            node = node.inner.get(match[1])
        elif isinstance(node, Struct):
            node = node.fields.get(match[1])
        else:
            return None
        if isinstance(node, Repeat) and match[2]:
            node = node.item
    return node
