"""What is shown where there is no such page, study or trial."""

from __future__ import annotations

from dash import dcc, html
from dash.development.base_component import Component

from dashboard.pages import parts


def layout(what: str, back: str = "/", to: str = "all studies") -> Component:
    """Say what is not there, with a link back."""
    return html.Div(
        [
            html.P("404", className="absent-code", **parts.aria(hidden="true")),
            html.H1("Not found"),
            html.P(what),
            dcc.Link(f"← Back to {to}", href=back, className="button"),
        ],
        className="absent",
    )
