"""An architecture as a person reads it: its decisions by path, and a network's parts in their order."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dash import dcc, html
from dash.development.base_component import Component

from search_spaces.decisions import Architecture

Tree = dict[str, Any] | None


@dataclass(frozen=True)
class Decision:
    """A line of an architecture; `value` is empty where only inner decisions follow."""

    path: str
    name: str
    depth: int
    value: str


def decisions(architecture: Architecture, tree: Tree = None) -> Iterator[Decision]:
    """Walk an architecture beside the description of its space.

    Without one, an object of one key that holds an object is taken for a chosen option with inner decisions.
    """
    return _members("", architecture, tree, 0)


def table(architecture: Architecture, tree: Tree) -> Component:
    rows = [
        html.Tr(
            [
                html.Th(each.name, scope="row", style={"--depth": each.depth}),
                html.Td(each.value, className="mono"),
            ],
            title=each.path,
            className="" if each.value else "group",
        )
        for each in decisions(architecture, tree)
    ]
    head = html.Thead(html.Tr([html.Th("Decision", scope="col"), html.Th("Value", scope="col")]))
    return html.Table([head, html.Tbody(rows)], className="table decisions")


def source(architecture: Architecture) -> Component:
    """Show the architecture's JSON, ready to be copied."""
    text = json.dumps(architecture, indent=2, ensure_ascii=False)
    copy = dcc.Clipboard(target_id="architecture", title="Copy the JSON", className="copy")
    return html.Div([html.Pre(text, id="architecture"), copy], className="source")


def blocks(architecture: Architecture, tree: Tree) -> Component | None:
    """Draw the network's parts from left to right: each decision under `network`, lists item by item."""
    network = architecture.get("network") if isinstance(architecture, dict) else None
    if not isinstance(network, dict):
        return None
    inside = _field(tree, "network")
    parts: list[Component] = []
    for name, value in network.items():
        about = _field(inside, name)
        if isinstance(value, list):
            item = _body(about, "repeat").get("item")
            parts += [_block(f"{name} {i}", each, item, "block layer") for i, each in enumerate(value)]
        else:
            parts.append(_block(name, value, about, "block"))
    return html.Ol(parts, className="blocks")


def _block(title: str, value: Any, tree: Tree, look: str) -> Component:
    """Show one part: its outermost decisions as lines, and those inside them in small below."""
    first, *rest = _node("", "", value, tree, 0)
    outer, lines = (0, [first, *rest]) if first.value else (1, rest)
    shown: list[tuple[Decision, list[str]]] = []
    for each in lines:
        if each.depth == outer:
            shown.append((each, []))
        elif each.value:
            shown[-1][1].append(f"{each.name} {each.value}")
    drawn = [
        html.Div(
            [
                *([html.Span(each.name, className="muted")] if each.name else []),
                html.B(each.value),
                *([html.Small(", ".join(inner))] if inner else []),
            ],
            className="line",
        )
        for each, inner in shown
    ]
    return html.Li([html.Div(title, className="block-title"), *drawn], className=look)


def _node(path: str, name: str, value: Any, tree: Tree, depth: int) -> Iterator[Decision]:
    if _option(value, tree):
        option, inner = next(iter(value.items()))
        about = next((each.get("inner") for each in _options(tree) if each["value"] == option), None)
        yield Decision(path, name, depth, option)
        if isinstance(inner, dict) and not _option(inner, about):
            yield from _members(f"{path}:{option}", inner, about, depth + 1)
        else:
            yield from _node(f"{path}:{option}", option, inner, about, depth + 1)
    elif isinstance(value, list | dict):
        count = f"{len(value)} item" + ("s" if len(value) != 1 else "")
        yield Decision(path, name, depth, count if isinstance(value, list) else "")
        yield from _members(path, value, tree, depth + 1)
    else:
        text = f"{value:.6g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)
        yield Decision(path, name, depth, text)


def _members(path: str, value: Any, tree: Tree, depth: int) -> Iterator[Decision]:
    if isinstance(value, list):
        item = _body(tree, "repeat").get("item")
        for i, each in enumerate(value):
            yield from _node(f"{path}[{i}]", f"[{i}]", each, item, depth)
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from _node(f"{path}.{key}" if path else key, key, each, _field(tree, key), depth)


def _option(value: Any, tree: Tree) -> bool:
    """Say whether this is a chosen option with inner decisions."""
    if not (isinstance(value, dict) and len(value) == 1):
        return False
    return "choice" in tree if tree else isinstance(next(iter(value.values())), dict)


def _options(tree: Tree) -> list[dict[str, Any]]:
    return list(_body(tree, "choice").get("options", []))


def _field(tree: Tree, name: str) -> Tree:
    return _body(tree, "struct").get(name)


def _body(tree: Tree, kind: str) -> dict[str, Any]:
    return (tree or {}).get(kind) or {}
