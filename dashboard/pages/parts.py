"""Pieces that several pages are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dash import Dash, dcc, html
from dash.development.base_component import Component

from dashboard.figures import look
from dashboard.reading import planned
from dashboard.words import STATES
from nas.store import State
from nas.store.queries import StudyRow


def aria(**named: str) -> dict[str, Any]:
    """Return attributes for those who have the page read out to them."""
    return {f"aria-{name}": text for name, text in named.items()}


def in_browser(app: Dash, script: str, *wires: Any) -> None:
    """Register a callback that runs in the browser, never for a page that has just been opened."""
    app.clientside_callback(script, *wires, prevent_initial_call=True)  # type: ignore[no-untyped-call]


def graph(name: str, height: int, figure: Any = None) -> Component:
    config: Any = look.CONFIG
    return dcc.Graph(
        id=name, figure=figure or look.BLANK, config=config, className="graph", style={"height": f"{height}px"}
    )


def trail(*links: tuple[str, str]) -> Component:
    """Say where the reader is: text and address of each page above, the page itself last and without a link."""
    items = [html.Li(dcc.Link(text, href=href)) for text, href in links[:-1]]
    return html.Nav(
        html.Ol([*items, html.Li(links[-1][0], **aria(current="page"))]),
        className="trail",
        **aria(label="Where you are"),
    )


def pill(word: str) -> Component:
    """Show a state or a status as a small coloured label."""
    return html.Span(word, className=f"pill {word}")


def card(title: str, *children: Any, note: Any = None, name: str = "") -> Component:
    """Show a titled section."""
    head = [html.H2(title)] + ([html.Div(note, className="note")] if note is not None else [])
    return html.Section([html.Div(head, className="card-head"), *children], className=f"card {name}".strip())


def facts(pairs: Sequence[tuple[str, Any]]) -> Component:
    """Show short facts by name."""
    return html.Dl([html.Div([html.Dt(name), html.Dd(value)]) for name, value in pairs], className="facts")


def progress(study: StudyRow) -> Component:
    """Show how many of the planned trials have ended, coloured by how."""
    goal = max(planned(study) or 0, sum(study.counts.values()), 1)
    parts = [
        html.Span(
            className=f"part {STATES[state]}",
            style={"width": f"{100 * study.counts[state] / goal:.2f}%"},
            title=f"{study.counts[state]:,} {STATES[state]}",
        )
        for state in STATES
        if study.counts.get(state)
    ]
    label = f"{study.ended:,} of {planned(study) or study.ended:,} trials have ended"
    return html.Div(parts, className="progress", role="img", **aria(label=label))


def tallies(counts: Mapping[State, int]) -> Component:
    """Show how many trials are in each state."""
    shown = [(STATES[state], counts[state]) for state in STATES if counts.get(state)]
    items = [html.Li([html.B(f"{count:,}"), f" {word}"], className=f"tally {word}") for word, count in shown]
    return html.Ul(items or [html.Li("no trials yet", className="tally")], className="tallies")


def notice(title: str, *children: Any, kind: str = "") -> Component:
    return html.Div([html.H2(title), *children], className=f"notice {kind}".strip())
