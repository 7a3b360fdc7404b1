"""Who is let in, by plain HTTP."""

from __future__ import annotations

import http.client
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from small_store import serving

from dashboard.app import AddressError, serve
from nas.store import Store, StoreError

TOKEN = "s3cret/ü+&"
QUOTED = "s3cret%2F%C3%BC%2B%26"


@pytest.fixture(scope="module")
def public(store: Store) -> Iterator[str]:
    with serving(store.url, TOKEN, local=False) as address:
        yield address


def get(address: str, path: str = "/", **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=10)
    connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    return connection.getresponse()


@pytest.mark.parametrize("path", ["/", "/study/two", "/_dash-layout", "/assets/nas.css", "/?token=wrong", "/?token="])
def test_without_the_token_nothing_is_given(public: str, path: str) -> None:
    answer = get(public, path)
    body = answer.read().decode()
    assert answer.status == 401
    assert "Open the link with the token" in body
    assert "two" not in body


def test_the_link_sets_a_cookie_and_leads_to_the_page_without_the_token(public: str) -> None:
    answer = get(public, f"/study/a%2Fb?token={QUOTED}&x=1")
    cookie = answer.headers["Set-Cookie"]
    assert (answer.status, answer.headers["Location"]) == (302, "/study/a%2Fb?x=1")
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert TOKEN not in cookie
    assert get(public, "/_dash-layout", Cookie=cookie.partition(";")[0]).status == 200
    assert get(public, "/_dash-layout", Cookie=cookie.partition("=")[0] + "=0").status == 401


def test_the_link_cannot_lead_to_another_site(public: str) -> None:
    assert get(public, f"//evil.example/?token={QUOTED}").headers["Location"] == "/evil.example/"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8050", 200),
        ("127.0.0.1", 200),
        ("127.8.8.8:1", 200),
        ("[::1]:8050", 200),
        ("evil.example", 403),
        ("localhost.evil.example:8050", 403),
        ("192.168.0.7:8050", 403),
        ("", 403),
    ],
)
def test_on_loopback_only_a_name_of_this_machine_is_answered(address: str, host: str, status: int) -> None:
    assert get(address, "/_dash-layout", Host=host).status == status


def test_answers_carry_protective_headers(address: str) -> None:
    headers = get(address).headers
    assert "'unsafe-inline'" not in headers["Content-Security-Policy"].partition("script-src")[2].partition(";")[0]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"


def test_the_page_loads_nothing_from_elsewhere(address: str) -> None:
    page = get(address).read().decode()
    sources = re.findall(r"<(?:script|link)[^>]*(?:src|href)=\"([^\"]+)\"", page)
    assert sources
    assert all(source.startswith(("/", "data:")) and not source.startswith("//") for source in sources)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.0.7", "::", "box.example"])
def test_a_public_address_needs_a_token(store: Store, host: str) -> None:
    with pytest.raises(AddressError, match="give a token") as refusal:
        serve(store.url, host=host)
    assert "\n" not in str(refusal.value)


def test_a_port_that_is_taken_is_one_line(store: Store, address: str) -> None:
    port = urlsplit(address).port
    with pytest.raises(AddressError, match=f"port {port}.*choose another port"):
        serve(store.url, port=port or 0)


def test_a_store_that_is_not_there_is_said(tmp_path: object) -> None:
    with pytest.raises(StoreError, match="there is no store"):
        serve(f"sqlite:///{tmp_path}/none.db")


def test_serving_tells_the_link_and_prints_nothing(store: Store, capfd: pytest.CaptureFixture[str]) -> None:
    links: list[str] = []
    told = threading.Event()

    def ready(link: str) -> None:
        links.append(link)
        told.set()

    options = {"port": 0, "token": TOKEN, "ready": ready}
    threading.Thread(target=serve, args=(store.url,), kwargs=options, daemon=True).start()
    assert told.wait(20)
    assert re.fullmatch(rf"http://127\.0\.0\.1:\d+/\?token={re.escape(QUOTED)}", links[0])
    parts = urlsplit(links[0])
    assert get(links[0], f"/?{parts.query}").status == 302
    assert capfd.readouterr() == ("", "")


def test_the_dashboard_knows_neither_torch_nor_a_running_part() -> None:
    script = (
        "import sys, dashboard.app\n"
        "known = {name for name in sys.modules if name.startswith('nas.')}\n"
        "print([n for n in ('torch', 'optuna', 'ray') if n in sys.modules])\n"
        "print(sorted({name.split('.')[1] for name in known}))"
    )
    lines = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    assert lines[0] == "[]"
    assert set(re.findall(r"\w+", lines[1])) <= {"errors", "objectives", "pareto", "store"}
