"""The list of studies."""

from __future__ import annotations

from shlex import quote
from typing import Any

from dash import Dash, Input, Output, State, dcc, html, no_update
from dash.development.base_component import Component

from dashboard.pages import parts
from dashboard.reading import objectives, planned
from dashboard.words import ABSENT, figure, moment, number, setting, study_path
from nas.store import State as Trial
from nas.store import Store, queries
from nas.store.queries import StudyRow

EVERY_MS = 4_000
FIRST_SEARCH = "nas search --task digits --objective accuracy --objective params --trials 50"


def register(app: Dash, store: Store) -> None:
    """Keep the list up to date while it is looked at."""

    def refresh(_ticks: int, seen: str) -> tuple[Any, Any]:
        now = _pulse(store)
        return (no_update, no_update) if now == seen else (_listing(store), now)

    app.callback(
        Output("studies", "children"),
        Output("studies-pulse", "data"),
        Input("studies-clock", "n_intervals"),
        State("studies-pulse", "data"),
        prevent_initial_call=True,
    )(refresh)


def layout(store: Store) -> Component:
    return html.Div(
        [
            dcc.Interval(id="studies-clock", interval=EVERY_MS),
            dcc.Store(id="studies-pulse", data=_pulse(store)),
            html.Header([html.H1("Studies"), html.P(store.place, className="mono muted")], className="page-head"),
            html.Div(_listing(store), id="studies"),
        ]
    )


def _pulse(store: Store) -> str:
    rows = queries.studies(store)
    return repr([(row.id, queries.standing(store, row), planned(row), sorted(row.counts.items())) for row in rows])


def _listing(store: Store) -> Component:
    rows = queries.studies(store)
    if not rows:
        return parts.notice(
            "No studies yet",
            html.P("Start a search in a terminal. It shows up here as soon as it begins:"),
            html.Div(
                [html.Pre(f"{FIRST_SEARCH} --store {quote(store.url)}", id="first-search"), _copy("first-search")],
                className="command",
            ),
            html.P(
                [
                    html.Code("nas spaces"),
                    " lists what can be searched, and ",
                    html.Code("nas search --help"),
                    " says all that can be asked.",
                ]
            ),
            kind="empty",
        )
    ranges = queries.ranges(store)
    heads = ("Study", "State", "Trials", "Failed", "Best values", "Space", "Task", "Strategy", "Created")
    numeric = {"Failed": "right"}
    return html.Div(
        html.Table(
            [
                html.Thead(html.Tr([html.Th(head, scope="col", className=numeric.get(head, "")) for head in heads])),
                html.Tbody([_row(store, row, ranges.get(row.id, {})) for row in reversed(rows)]),
            ],
            className="table studies",
        ),
        className="card flush",
    )


def _row(store: Store, row: StudyRow, ranges: dict[str, tuple[float, float]]) -> Component:
    goal = planned(row)
    trials = f"{row.ended:,}" + (f" / {goal:,}" if goal is not None else "")
    failed = row.counts.get(Trial.FAILED, 0)
    return html.Tr(
        [
            html.Th(dcc.Link(row.name, href=study_path(row.name)), scope="row"),
            html.Td(parts.pill(queries.standing(store, row))),
            html.Td([html.Div(trials, className="numbers"), parts.progress(row)], className="trials-cell"),
            html.Td(f"{failed:,}", className="right numbers" + (" bad" if failed else " muted")),
            html.Td([_best(name, ranges.get(name)) for name in objectives(row)]),
            *(html.Td(setting(row.settings.get(name))) for name in ("space", "task", "strategy")),
            html.Td(moment(row.created)[:16], className="numbers muted"),
        ]
    )


def _best(name: str, ends: tuple[float, float] | None) -> Component:
    known = figure(name)
    best = ABSENT if ends is None else number(ends[1] if known.maximize else ends[0], known.unit)
    return html.Div([html.Span(name, className="muted"), html.Span(best, className="numbers")], className="best")


def _copy(target: str) -> Component:
    return dcc.Clipboard(target_id=target, title="Copy", className="copy")
