"""A trial: how it ended, what it measured, what it is made of, and how its attempts went."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from dash import Dash, Input, Output, State, dcc, html, no_update
from dash.development.base_component import Component

from dashboard.figures import curves
from dashboard.pages import architecture, parts
from dashboard.reading import completed, objectives
from dashboard.words import ABSENT, STATES, duration, figure, moment, number, spread, study_path, trial_path
from nas.store import State as Trial
from nas.store import Store, StoreError, queries
from nas.store.queries import Page, StudyRow, TrialRow

EVERY_MS = 2_000


def register(app: Dash, store: Store) -> None:
    """Keep the page up to date while the trial goes on."""

    def refresh(_ticks: int, name: str, trial: int, seen: str) -> tuple[Any, Any]:
        try:
            study = queries.study(store, name)
            row = queries.trial(store, study, trial)
        except StoreError:
            return no_update, no_update
        now = _pulse(store, study, row)
        return (no_update, no_update) if now == seen else (_body(store, study, row), now)

    app.callback(
        Output("trial", "children"),
        Output("trial-pulse", "data"),
        Input("trial-clock", "n_intervals"),
        State("trial-study", "data"),
        State("trial-number", "data"),
        State("trial-pulse", "data"),
        prevent_initial_call=True,
    )(refresh)


def layout(store: Store, study: StudyRow, trial: TrialRow) -> Component:
    here = f"Trial {trial.number}"
    return html.Div(
        [
            dcc.Interval(id="trial-clock", interval=EVERY_MS),
            dcc.Store(id="trial-study", data=study.name),
            dcc.Store(id="trial-number", data=trial.number),
            dcc.Store(id="trial-pulse", data=_pulse(store, study, trial)),
            html.Div(
                [
                    parts.trail(("Studies", "/"), (study.name, study_path(study.name)), (here, "")),
                    html.Nav(_neighbours(store, study, trial), className="neighbours", **parts.aria(label="Trials")),
                ],
                className="trail-row",
            ),
            html.Div(_body(store, study, trial), id="trial"),
        ]
    )


def _pulse(store: Store, study: StudyRow, trial: TrialRow) -> str:
    done = queries.tally(store, study.id).get(Trial.COMPLETED, 0)
    return repr((trial.state, trial.step, trial.ended, len(queries.attempts(store, trial.id)), done))


def _neighbours(store: Store, study: StudyRow, trial: TrialRow) -> list[Component]:
    before = queries.trials(
        store, study.id, Page(kind=None, numbers=(None, trial.number - 1), descending=True, limit=1)
    )
    after = queries.trials(store, study.id, Page(kind=None, numbers=(trial.number + 1, None), limit=1))
    links = [(row, f"← {row.number}") for row in before] + [(row, f"{row.number} →") for row in after]
    return [dcc.Link(text, href=trial_path(study.name, row.number), className="button") for row, text in links]


def _body(store: Store, study: StudyRow, trial: TrialRow) -> list[Component]:
    measured = queries.curves(store, trial.id)
    tries = queries.attempts(store, trial.id)
    tree = study.settings.get("tree")
    broken = any(each.error for each in tries)
    network = architecture.blocks(trial.architecture, tree)
    return [
        html.Header(
            [
                html.H1(f"Trial {trial.number}"),
                parts.pill(STATES[trial.state]),
                *([parts.pill("on the front")] if trial.number in completed(store, study).leaders else []),
            ],
            className="page-head",
        ),
        *_reason(trial),
        *([_attempts(tries)] if broken else []),
        html.Div([*_values(store, study, trial)], className="values"),
        html.Section(parts.facts(list(_facts(store, study, trial))), className="card"),
        *([parts.card("Network", network)] if network else []),
        _curves(measured),
        html.Div(
            [
                parts.card("Decisions", architecture.table(trial.architecture, tree), name="flush"),
                parts.card("Architecture", architecture.source(trial.architecture)),
            ],
            className="columns even",
        ),
        *([] if broken else [_attempts(tries)]),
        *_files(store, study, trial),
    ]


def _reason(trial: TrialRow) -> list[Component]:
    if not trial.reason:
        return []
    kind = "bad" if trial.state in (Trial.FAILED, Trial.STALE) else "quiet"
    return [html.Div([html.B(f"{STATES[trial.state].capitalize()}: "), trial.reason], className=f"notice {kind}")]


def _values(store: Store, study: StudyRow, trial: TrialRow) -> Iterable[Component]:
    """Show each objective's value, and its spread where the trial was trained anew."""
    spreads = completed(store, study).confirmed.get(trial.number, {})
    names = objectives(study)
    for name in [*names, *(other for other in sorted(trial.values) if other not in names)]:
        known = figure(name)
        again = spreads.get(name) if not known.cheap else None
        yield html.Div(
            [
                html.Div([name, html.Span("↑" if known.maximize else "↓", className="muted")], className="value-name"),
                html.Div(number(trial.values.get(name), known.unit), className="value-number"),
                *([html.Div(["confirmed ", spread(again, known.unit)], className="confirmed")] if again else []),
                html.Div(known.summary, className="muted small"),
            ],
            className="card value",
        )


def _facts(store: Store, study: StudyRow, trial: TrialRow) -> Iterable[tuple[str, Any]]:
    confirms = trial.kind == "confirm"
    if trial.parent is not None:
        link = dcc.Link(f"trial {trial.parent}", href=trial_path(study.name, trial.parent))
        if trial.forked_at is None:
            yield ("Confirms" if confirms else "Parent"), link
        else:
            yield "Went on from", html.Span([link, f" after epoch {trial.forked_at}"])
    again = [row for row in queries.trials(store, study.id, Page(kind="confirm")) if row.parent == trial.number]
    if again:
        links = [dcc.Link(str(row.number), href=trial_path(study.name, row.number)) for row in again]
        yield "Trained anew in", html.Span(links, className="links")
    yield "Kind", trial.kind + (f", repeat {trial.repeat}" if trial.repeat else "")
    yield "Last epoch", ABSENT if trial.step is None else f"{trial.step}"
    yield "Created", moment(trial.created)
    yield "Ended", moment(trial.ended)
    if trial.ended is not None:
        yield "Took", duration(trial.ended - trial.created)
    yield "Seed", html.Span(str(trial.seed), className="mono")
    yield "Identity", html.Span(trial.identity[:12], title=trial.identity, className="mono")


def _curves(measured: curves.Curves) -> Component:
    drawn = curves.draw({name: points for name, points in measured.items() if any(step for step, _ in points)})
    graphs = [parts.graph(f"curve-{key}", 280, each) for key, each in drawn.items()]
    empty = html.P("Nothing was reported from training.", className="muted")
    return parts.card("Learning curves", html.Div(graphs, className="curves") if graphs else empty)


def _attempts(tries: Sequence[Any]) -> Component:
    if not tries:
        return parts.card("Attempts", html.P("No worker has begun this trial.", className="muted"))
    return parts.card("Attempts", *[_attempt(each) for each in tries])


def _attempt(attempt: Any) -> Component:
    took = "still running" if attempt.ended is None else f"took {duration(attempt.ended - attempt.started)}"
    line = f"{attempt.worker} on {attempt.device}, began {moment(attempt.started)}, {took}"
    return html.Div(
        [
            html.P([html.B(f"Attempt {attempt.number} "), html.Span(line, className="muted")]),
            *([html.Pre(attempt.error, className="error", tabIndex="0")] if attempt.error else []),
        ],
        className="attempt",
    )


def _files(store: Store, study: StudyRow, trial: TrialRow) -> list[Component]:
    found = queries.artifacts(store, trial.id)
    if not found:
        return []
    rows = [
        html.Tr([html.Th(kind, scope="row"), html.Td(str(store.folder(study.name) / path), className="mono")])
        for kind, path in sorted(found.items())
    ]
    return [parts.card("Files", html.Table(html.Tbody(rows), className="table"))]
