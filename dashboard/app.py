"""The dashboard: its addresses, and serving it. Everything the browser loads comes from this server."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlencode

from dash import Dash, Input, Output, State, dcc, html
from dash.development.base_component import Component
from werkzeug.serving import WSGIRequestHandler, make_server

from dashboard import access
from dashboard.pages import absent, parts, scoring, studies, study, trial
from dashboard.words import study_path
from nas.errors import UserError
from nas.store import Store, StoreError, queries

ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'%3E"
    "%3Crect width='32' height='32' rx='8' fill='%231f6feb'/%3E%3Cpath d='M7 24V17h7v-5h6V8h6' fill='none' "
    "stroke='%23fff' stroke-width='3' stroke-linecap='round' stroke-linejoin='round'/%3E%3C/svg%3E"
)
INDEX = f"""<!DOCTYPE html>
<html lang="en">
<head>
{{%metas%}}
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{{%title%}}</title>
<link rel="icon" href="{ICON}">
{{%css%}}
</head>
<body>
{{%app_entry%}}
<footer>{{%config%}}{{%scripts%}}{{%renderer%}}</footer>
</body>
</html>"""
TITLE = """(_page, path) => {
  const parts = path.split("/").filter(Boolean).map(decodeURIComponent);
  const page = parts[2] === "trial" ? `Trial ${parts[3]} · ${parts[1]}` : parts[1] || "Studies";
  document.title = `${page} · nas`;
  window.scrollTo(0, 0);
}"""


class AddressError(UserError, ValueError):
    """An address that cannot be served, or not without a token."""


def create(url: str, token: str | None = None, *, local: bool = True) -> Dash:
    """Make the dashboard of a store.

    With `token`, only requests that bring it are answered; with `local`, only those to a name of this
    machine. Raises StoreError where the store cannot be opened.
    """
    store = Store.open(url)
    app = Dash(
        __name__,
        assets_folder=str(Path(__file__).parent / "assets"),
        index_string=INDEX,
        title="nas",
        update_title="",
        suppress_callback_exceptions=True,
    )
    app.layout = _frame()

    def page(path: str | None) -> Component:
        return route(store, path or "/")

    app.callback(Output("page", "children"), Input("at", "pathname"))(page)
    parts.in_browser(app, TITLE, Input("page", "children"), State("at", "pathname"))
    for each in (studies, study, trial):
        each.register(app, store)
    access.guard(app.server, token, local=local, policy=_policy(app))
    return app


def serve(
    url: str,
    host: str = "127.0.0.1",
    port: int = 8050,
    token: str | None = None,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Serve the dashboard until interrupted; `ready` is called with the link as soon as it answers.

    Raises AddressError for a public address without a token and for an address that cannot be had.
    """
    local = access.loopback(host)
    if not (local or token):
        raise AddressError(f"host {host!r} is open to other machines: give a token, or use 127.0.0.1")
    app = create(url, token or None, local=local)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise AddressError(f"cannot serve at {host!r}, port {port}: {error}; choose another port or host") from None
    with listener:
        server = make_server(host, port, app.server, threaded=True, request_handler=_Silent, fd=listener.fileno())
        if ready is not None:
            shown = f"[{host}]" if family == socket.AF_INET6 else host
            ready(f"http://{shown}:{listener.getsockname()[1]}/" + (f"?{urlencode({'token': token})}" if token else ""))
        server.serve_forever()


def route(store: Store, path: str) -> Component:
    """Return the page of an address."""
    names = [unquote(each) for each in path.split("/") if each]
    if not names:
        return studies.layout(store)
    try:
        match names:
            case ["study", name]:
                found = queries.study(store, name)
                return study.layout(store, found) if found.scoring is None else scoring.layout(store, found)
            case ["study", name, "trial", number]:
                return _trial(store, name, number)
    except StoreError as error:
        return absent.layout(f"{error}.")
    return absent.layout(f"There is no page {path!r}.")


def _trial(store: Store, name: str, number: str) -> Component:
    found = queries.study(store, name)
    back, to = study_path(name), f"study {name}"
    if not (number.isascii() and number.isdecimal() and len(number) < 10):
        return absent.layout(f"{number!r} is not the number of a trial.", back, to)
    try:
        return trial.layout(store, found, queries.trial(store, found, int(number)))
    except StoreError as error:
        return absent.layout(f"{error}.", back, to)


def _frame() -> Component:
    brand = dcc.Link([html.Span(className="mark"), "nas"], href="/", className="brand", title="All studies")
    return html.Div(
        [
            dcc.Location(id="at", refresh="callback-nav"),
            html.Div(html.Div([brand, html.Span("neural architecture search", className="muted")]), className="bar"),
            html.Main(id="page"),
        ]
    )


def _policy(app: Dash) -> str:
    """Let the browser load from here alone; Plotly's WebGL marks compile their own functions."""
    scripts = " ".join(["'self'", "'unsafe-eval'", *app.csp_hashes()])
    return (
        f"default-src 'self'; script-src {scripts}; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; worker-src 'self' blob:; object-src 'none'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    )


class _Silent(WSGIRequestHandler):
    """Answers without a line in the terminal for each request."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        return
