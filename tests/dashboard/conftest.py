"""A store of four studies, the dashboard served over it, and a browser to look."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small_store import HOSTILE, TRACEBACK, TRIALS, Search, serving

from nas.store import State, Store

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Four studies: "two" finished, "three" being run, "one" interrupted, and one with a hostile name."""
    made = Store.open(f"sqlite:///{tmp_path_factory.mktemp('store')}/nas.db", create=True)
    two = Search(made, "two", planned=TRIALS)
    ends = {
        3: (State.FAILED, "RuntimeError: shapes", TRACEBACK),
        5: (State.INFEASIBLE, "params 300000 break params<=200000", None),
        8: (State.STOPPED, "rung 2: below the median", None),
        13: (State.FAILED, f"RuntimeError: {HOSTILE}", TRACEBACK),
    }
    for number in range(TRIALS):
        state, reason, error = ends.get(number, (State.COMPLETED, None, None))
        two.trial(state, reason=reason, error=error, parent=number - 1 if number % 10 == 9 else None)
    two.trial(values={"accuracy": 0.80, "params": 5000.0}, kind="confirm", repeat=1, parent=20)
    two.trial(values={"accuracy": 0.84, "params": 5000.0}, kind="confirm", repeat=2, parent=20)
    three = Search(made, "three", ("accuracy", "params", "memory"), planned=60)
    for _ in range(40):
        three.trial()
    three.trial(State.RUNNING)
    three.trial(State.WAITING)
    one = Search(made, "one", ("accuracy",), planned=50)
    for _ in range(30):
        one.trial()
    hostile = Search(made, HOSTILE, planned=2)
    hostile.trial(reason=HOSTILE)
    hostile.trial(State.FAILED, reason=HOSTILE, error=TRACEBACK)
    with made.driving("three"):
        yield made


@pytest.fixture(scope="session")
def address(store: Store) -> Iterator[str]:
    with serving(store.url) as made:
        yield made


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A browser; tests that need it are skipped where there is none."""
    sync = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install nas[test]")
    program = os.environ.get("CHROMIUM") or next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None
    )
    if program is None or not Path(program).exists():
        pytest.skip("no chromium here: apt-get install chromium")
    with sync.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def tab(chromium: Any, address: str) -> Iterator[Any]:
    """A tab on the dashboard. What the console says must be nothing, and no request may leave this machine."""
    context = chromium.new_context(base_url=address, viewport={"width": 1440, "height": 1000})
    page = context.new_page()
    page.set_default_timeout(15_000)
    said: list[str] = []
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on(
        "request",
        lambda request: None if request.url.startswith((address, "data:", "blob:")) else said.append(request.url),
    )
    yield page
    context.close()
    assert not said
