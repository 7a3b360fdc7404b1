"""A scoring, in which nothing is trained: how far it is, and where its ranking is shown."""

from __future__ import annotations

from shlex import quote

from dash import html
from dash.development.base_component import Component

from dashboard.pages import parts
from dashboard.words import moment, setting
from nas.store import Store, queries
from nas.store.queries import StudyRow


def layout(store: Store, study: StudyRow) -> Component:
    predictors = list((study.scoring or {}).get("predictors", ()))
    chosen = [("Space", study.settings.get("space")), ("Samples of", study.settings.get("task"))]
    chosen += [("Predictors", predictors), ("Constraints", study.settings.get("constraints"))]
    facts = [(label, setting(value)) for label, value in chosen if value]
    return html.Div(
        [
            parts.trail(("Studies", "/"), (study.name, "")),
            html.Header(
                [html.H1(study.name), parts.pill(queries.standing(store, study))],
                className="page-head",
            ),
            html.Div(
                [parts.progress(study), parts.facts([*facts, ("Created", moment(study.created))])], className="card"
            ),
            parts.notice(
                "Scored, not trained",
                html.P(f"All predictors have tried {study.ended:,} architectures. Their ranking is in a terminal:"),
                html.Pre(f"nas show {quote(study.name)} --store {quote(store.url)}"),
            ),
        ]
    )
