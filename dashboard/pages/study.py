"""A study: how it stands, its front as it grows, and all its trials."""

from __future__ import annotations

from shlex import quote
from typing import Any

import numpy as np
import plotly.graph_objects as go
from dash import Dash, Input, Output, Patch, State, ctx, dcc, html, no_update
from dash.development.base_component import Component

from dashboard.figures import front, progress
from dashboard.pages import grid, parts
from dashboard.reading import Completed, completed, objectives, planned
from dashboard.words import figure, moment, number, setting, spread, study_path, trial_path
from nas.store import State as Trial
from nas.store import Store, StoreError, queries
from nas.store.queries import StudyRow

EVERY_MS = 2_000
DRAW_EACH = 5_000
LEADERS = 50
BEST = 10

OPEN_POINT = "(click, base) => click ? `${base}/trial/${click.points[0].customdata}` : dash_clientside.no_update"


def register(app: Dash, store: Store) -> None:
    """Keep the page up to date; what has not changed is not sent again."""

    def tick(ticks: int, name: str, pulse: str, drawn: int) -> tuple[Any, Any]:
        try:
            study = queries.study(store, name)
        except StoreError:
            return no_update, no_update
        now = _pulse(store, study)
        done = _done(store, study)
        due = done != drawn and ticks % (1 + done // DRAW_EACH) == 0
        return (no_update if now == pulse else now), (done if due else no_update)

    def head(_pulse: str, name: str) -> list[Component]:
        return _head(store, queries.study(store, name))

    def draw(_drawn: int, x: str, y: str, name: str) -> tuple[Any, Component]:
        found = completed(store, queries.study(store, name))
        picture = progress.draw(found) if len(found.names) == 1 else front.draw(found, x, y)
        return (_points_of(picture) if ctx.triggered_id == "study-drawn" else picture), _leaders(found, name)

    app.callback(
        Output("study-pulse", "data"),
        Output("study-drawn", "data"),
        Input("study-clock", "n_intervals"),
        State("study-name", "data"),
        State("study-pulse", "data"),
        State("study-drawn", "data"),
        prevent_initial_call=True,
    )(tick)
    app.callback(
        Output("study-head", "children"),
        Input("study-pulse", "data"),
        State("study-name", "data"),
        prevent_initial_call=True,
    )(head)
    app.callback(
        Output("front", "figure"),
        Output("leaders", "children"),
        Input("study-drawn", "data"),
        Input("front-x", "value"),
        Input("front-y", "value"),
        State("study-name", "data"),
    )(draw)
    there = Output("at", "pathname", allow_duplicate=True)
    parts.in_browser(app, OPEN_POINT, there, Input("front", "clickData"), State("study-path", "data"))
    grid.register(app, store)


def layout(store: Store, study: StudyRow) -> Component:
    names = objectives(study)
    return html.Div(
        [
            dcc.Interval(id="study-clock", interval=EVERY_MS),
            dcc.Store(id="study-name", data=study.name),
            dcc.Store(id="study-path", data=study_path(study.name)),
            dcc.Store(id="study-pulse", data=_pulse(store, study)),
            dcc.Store(id="study-drawn", data=_done(store, study)),
            parts.trail(("Studies", "/"), (study.name, "")),
            html.Div(_head(store, study), id="study-head"),
            html.Div(
                [
                    parts.card(
                        "Pareto front" if len(names) > 1 else "Progress",
                        parts.graph("front", 460),
                        note=_axes(names),
                        name="wide",
                    ),
                    parts.card(
                        "On the front" if len(names) > 1 else "Best trials", html.Div(id="leaders", className="leaders")
                    ),
                ],
                className="columns",
            ),
            parts.card("Trials", grid.table(names), note="Click a row to open the trial.", name="flush"),
            html.Details([html.Summary("All settings"), _settings(study)], className="card settings"),
        ]
    )


def _points_of(picture: go.Figure) -> Patch:
    """Return only the points and their title: Dash keeps a zoom in the figure, a whole new one would lose it."""
    whole = picture.to_plotly_json()
    change = Patch()
    change["data"] = whole["data"]
    change["layout"]["title"] = whole["layout"]["title"]
    return change


def _pulse(store: Store, study: StudyRow) -> str:
    return repr((queries.standing(store, study), planned(study), sorted(queries.tally(store, study.id).items())))


def _done(store: Store, study: StudyRow) -> int:
    return queries.tally(store, study.id).get(Trial.COMPLETED, 0)


def _head(store: Store, study: StudyRow) -> list[Component]:
    goal = planned(study)
    chosen = [("space", "Space"), ("task", "Task"), ("strategy", "Strategy"), ("objectives", "Objectives")]
    chosen += [("constraints", "Constraints"), ("epochs", "Epochs"), ("seed", "Seed")]
    pairs: list[tuple[str, Any]] = [
        (label, setting(study.settings[key])) for key, label in chosen if study.settings.get(key) not in (None, [], ())
    ]
    ended: list[Any] = [html.B(f"{study.ended:,}"), f" of {goal:,} trials" if goal is not None else " trials"]
    stands = queries.standing(store, study)
    resume = [html.Span(["Go on with ", html.Code(f"nas resume {quote(study.name)}")], className="muted small")]
    return [
        html.Header(
            [html.H1(study.name), parts.pill(stands), *(resume if stands == "interrupted" else [])],
            className="page-head",
        ),
        html.Div(
            [
                html.Div(
                    [html.Div(ended, className="ended"), parts.tallies(study.counts)],
                    className="card-head",
                ),
                parts.progress(study),
                parts.facts([*pairs, ("Created", moment(study.created))]),
            ],
            className="card",
        ),
    ]


def _axes(names: tuple[str, ...]) -> Component:
    """Let the two axes be chosen where there are more objectives than two."""
    x, y = front.axes(names) if len(names) > 1 else (None, None)
    menus = [
        html.Label([label, dcc.Dropdown(list(names), value, id=key, clearable=False, searchable=False)])
        for label, key, value in (("across", "front-x", x), ("up", "front-y", y))
    ]
    return html.Div(menus, className="axes", hidden=len(names) < 3)


def _leaders(found: Completed, study: str) -> Component:
    """List the trials on the front, or the best of one objective, best first, with what was confirmed."""
    if not len(found.front):
        return html.P("No trial has completed yet.", className="muted")
    known = [figure(name) for name in found.names]
    sign = -1.0 if known[0].maximize else 1.0
    members = found.front if len(known) > 1 else np.argsort(sign * found.values[:, 0], kind="stable")[:BEST]
    rows = sorted(members.tolist(), key=lambda row: (sign * found.values[row, 0], row))
    body = []
    for row in rows[:LEADERS]:
        trial = int(found.numbers[row])
        spreads = found.confirmed.get(trial, {})
        cells = [
            html.Td(
                [number(value, each.unit)]
                + (
                    [html.Div(spread(spreads[each.name], each.unit), className="confirmed")]
                    if each.name in spreads and not each.cheap
                    else []
                ),
                className="right numbers",
            )
            for each, value in zip(known, found.values[row].tolist(), strict=True)
        ]
        body.append(html.Tr([html.Th(dcc.Link(str(trial), href=trial_path(study, trial)), scope="row"), *cells]))
    heads = [html.Th("Trial", scope="col")] + [html.Th(n, scope="col", className="right") for n in found.names]
    table = html.Table([html.Thead(html.Tr(heads)), html.Tbody(body)], className="table")
    left = len(rows) - LEADERS
    more = [html.P(f"and {left:,} more, marked ★ among the trials", className="muted")] if left > 0 else []
    return html.Div([table, *more])


def _settings(study: StudyRow) -> Component:
    rows = [
        html.Tr([html.Th(key, scope="row"), html.Td(setting(value), className="mono")])
        for key, value in study.settings.items()
        if key != "tree"
    ]
    return html.Table(html.Tbody(rows), className="table")
