"""Who may read the pages: programs of this machine only, or whoever has the token.

On a loopback address the Host header must name this machine, or a web page elsewhere could read the store
through a name that it points here (DNS rebinding). On any other address a token is needed: the link carries
it once, and a cookie that scripts cannot read and other sites cannot send carries it from then on.
"""

from __future__ import annotations

import hashlib
import hmac
from ipaddress import ip_address
from urllib.parse import parse_qsl, urlencode

from flask import Flask, Request, Response, request

COOKIE_SECONDS = 30 * 24 * 3600
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>nas</title>
<meta name="color-scheme" content="light dark">
<body style="font:16px/1.5 system-ui,sans-serif;max-width:34rem;margin:18vh auto;padding:0 1rem">
<h1 style="font-size:1.4rem">{title}</h1><p>{text}</p></body></html>"""
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}


def loopback(host: str) -> bool:
    """Say whether an address or name means this machine alone."""
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def guard(server: Flask, token: str | None, *, local: bool, policy: str) -> None:
    """Refuse what must not be answered, and give every answer its protective headers."""

    def admit() -> Response | None:
        if local and not loopback(_name(request)):
            return _refuse(403, "Not here", "This dashboard answers to localhost only.")
        if token is None or _has_cookie(request, token):
            return None
        given = request.args.get("token")
        if given is None or not _same(given, token):
            return _refuse(401, "A token is needed", "Open the link with the token that the dashboard printed.")
        return _enter(request, token)

    def protect(response: Response) -> Response:
        response.headers.update(HEADERS)
        response.headers["Content-Security-Policy"] = policy
        return response

    server.before_request(admit)
    server.after_request(protect)


def _name(asked: Request) -> str:
    """Return the Host header without its port."""
    host = asked.headers.get("Host", "")
    return host.partition("]")[0] if host.startswith("[") else host.rpartition(":")[0] or host


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(), wanted.encode())


def _cookie(token: str) -> tuple[str, str]:
    """Return the cookie's name, its own for each token, and its value, which does not give the token away."""
    digest = hashlib.sha256(b"name" + token.encode()).hexdigest()[:12]
    return f"nas_{digest}", hmac.new(token.encode(), b"nas dashboard", hashlib.sha256).hexdigest()


def _has_cookie(asked: Request, token: str) -> bool:
    name, value = _cookie(token)
    return _same(asked.cookies.get(name, ""), value)


def _enter(asked: Request, token: str) -> Response:
    """Set the cookie and go to the same address without the token."""
    raw = str(asked.environ.get("REQUEST_URI") or asked.full_path)
    path, _, query = raw.partition("?")
    rest = urlencode([(key, value) for key, value in parse_qsl(query) if key != "token"])
    response = Response(status=302)
    response.headers["Location"] = "/" + path.lstrip("/\\") + (f"?{rest}" if rest else "")
    name, value = _cookie(token)
    response.set_cookie(name, value, max_age=COOKIE_SECONDS, httponly=True, samesite="Strict")
    return response


def _refuse(code: int, title: str, text: str) -> Response:
    return Response(PAGE.format(title=title, text=text), code, mimetype="text/html")
