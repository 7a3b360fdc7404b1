"""Parts of a space: decisions held to some of their values, so that a search explores no others.

    network.stages[*].activation=relu,gelu     a choice: some of its options
    network.stages[*].width=16..32             a number: from 16 to 32; or a single value
    network.stages#=1..2                       the length of a list

The items of a list have one domain, so a path names all of them with `[*]`. An architecture of the part is one of the
whole space, written alike.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from search_spaces.decisions import Choice, DecisionError, Domain, Integer, Real, Repeat, Scalar, Struct, trace_of
from search_spaces.space import Space


def limited(space: Space, limits: Sequence[str]) -> Space:
    """Return the part of a space that `PATH=VALUES` texts leave; raises DecisionError naming what is wrong."""
    return replace(space, tree=_Walk(limits).struct("", space.tree)) if limits else space


def held(space: Space, name: str, value: Any) -> Space:
    """Return the part of a space in which one field of its tree has one value alone.

    Raises DecisionError where the field may not have that value.
    """
    field = space.tree.fields[name]
    trace_of(Struct(**{name: field}), {name: value})
    return replace(space, tree=Struct(**dict(space.tree.fields) | {name: _held(field, value)}))


def _held(node: Domain, value: Any) -> Domain:
    if isinstance(node, Struct):
        return Struct(**{name: _held(field, value[name]) for name, field in node.fields.items()})
    if isinstance(node, Repeat):
        raise DecisionError("a list of decisions cannot be held to one value")
    if isinstance(node, Choice):
        option = next(iter(value)) if isinstance(value, dict) else value
        sole = copy(node)
        sole.options = (option,)
        inner = {option: _held(node.inner[option], value[option])} if option in node.inner else {}
        sole.inner = MappingProxyType(inner)
        return sole
    return replace(node, low=value, high=value)


class _Walk:
    """One walk over a tree, which uses each of the limits it was given."""

    def __init__(self, limits: Sequence[str]) -> None:
        self._limits: dict[str, str] = {}
        self._met: list[str] = []
        for text in limits:
            path, equals, values = text.partition("=")
            if not (path and equals and values):
                raise DecisionError(f"limit {text!r} does not parse: write it as PATH=VALUE,VALUE or PATH=LOW..HIGH")
            if path in self._limits:
                raise DecisionError(f"{path} is limited twice: name all its values at once")
            self._limits[path] = values

    def struct(self, path: str, tree: Struct) -> Struct:
        """Limit a whole tree; raises DecisionError for a limit that fits none of its decisions."""
        walked = self._fields(path, tree)
        for wanted in self._limits:
            if wanted not in self._met:
                near = difflib.get_close_matches(wanted, self._met, n=2, cutoff=0.6)
                hint = f"did you mean {' or '.join(near)}?" if near else "`nas spaces NAME` lists its decisions"
                raise DecisionError(f"there is no decision {wanted!r} (items of lists are written [*]): {hint}")
        return walked

    def _fields(self, path: str, node: Struct) -> Struct:
        lead = f"{path}." if path else ""
        return Struct(**{name: self._node(lead + name, field) for name, field in node.fields.items()})

    def _node(self, path: str, node: Domain) -> Domain:
        if isinstance(node, Struct):
            return self._fields(path, node)
        if isinstance(node, Repeat):
            low, high = self._range(f"{path}#", node.length)
            return replace(node, item=self._node(f"{path}[*]", node.item), low=low, high=high)
        if isinstance(node, Choice):
            return self._choice(path, node)
        return self._number(path, node)

    def _choice(self, path: str, node: Choice) -> Choice:
        self._met.append(path)
        kept = node.options
        if path in self._limits:
            names = {_text(option): option for option in node.options}
            wanted = self._limits[path].split(",")
            for name in wanted:
                if name not in names:
                    raise DecisionError(f"{path} is limited to {name!r}, but {node} is allowed")
            kept = tuple(option for option in node.options if _text(option) in wanted)
        fewer = copy(node)
        fewer.options = kept
        inner = {option: self._node(f"{path}:{option}", node.inner[option]) for option in kept if option in node.inner}
        fewer.inner = MappingProxyType(inner)
        return fewer

    def _number(self, path: str, node: Integer | Real) -> Integer | Real:
        low, high = self._range(path, node)
        return replace(node, low=low, high=high)

    def _range(self, path: str, node: Integer | Real) -> tuple[Any, Any]:
        self._met.append(path)
        if path not in self._limits:
            return node.low, node.high
        low, _, high = self._limits[path].partition("..")
        ends = [_read(end) for end in (low, high or low)]
        if any(node.check(end) is None for end in ends) or ends[0] > ends[1]:
            raise DecisionError(f"{path} is limited to {self._limits[path]!r}, but {node} is allowed, as LOW..HIGH")
        return ends[0], ends[1]


def _text(option: Scalar) -> str:
    return option if isinstance(option, str) else json.dumps(option)


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
