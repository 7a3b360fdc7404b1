"""The pages as a browser shows them. Every test also fails on a word in the console (see `tab`)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from small_store import HOSTILE, TRACEBACK, TRIALS, Search, serving

from nas.store import State, Store, queries
from nas.store.queries import Page

ROWS = ".ag-center-cols-container .ag-row"
TRACE = "name => document.querySelector('#front .js-plotly-plot')._fullData.find(each => each.name === name)"
POINTS = f"name => Array.from(({TRACE})(name).customdata)"

RANGES = "['xaxis', 'yaxis'].map(a => document.querySelector('#front .js-plotly-plot')._fullLayout[a].range).join(' ')"


def cells(tab: Any, column: str) -> list[str]:
    """Read a column of the rows in view, from top to bottom."""
    shown = tab.locator(f"{ROWS} [col-id='{column}']").evaluate_all(
        "all => all.map(e => [e.closest('.ag-row').ariaRowIndex * 1, e.textContent.trim()]).sort((a, b) => a[0] - b[0])"
    )
    return [text for _, text in shown]


def wait_for_figure(tab: Any) -> None:
    tab.wait_for_function("document.querySelector('#front .js-plotly-plot')?.data?.length > 0")


def wait_for_first_row(tab: Any, number: int) -> None:
    tab.locator("#trials").scroll_into_view_if_needed()
    tab.locator(f"{ROWS}[row-index='0'] [col-id='number']", has_text=re.compile(f"^{number}$")).wait_for()


def test_the_first_page_lists_every_study_with_its_state_and_best_values(tab: Any, store: Store) -> None:
    tab.goto("/")
    rows = tab.locator("table.studies tbody tr")
    rows.nth(3).wait_for()
    texts = {row.locator("th").inner_text(): row.inner_text() for row in rows.all()}
    assert list(texts) == [HOSTILE, "one", "three", "two"]
    assert "finished" in texts["two"]
    assert f"{TRIALS} / {TRIALS}" in texts["two"]
    assert "running" in texts["three"]
    assert "interrupted" in texts["one"]
    best = max(value for _, (value,) in queries.values(store, queries.study(store, "one").id, "accuracy"))
    assert f"{best:.4f}" in texts["one"]
    assert "kan_vision" in texts["one"]


def test_links_lead_from_the_list_to_a_trial_and_back_leads_home(tab: Any) -> None:
    tab.goto("/")
    tab.get_by_role("link", name="two", exact=True).click()
    tab.locator("#leaders tbody a").first.click()
    tab.get_by_role("heading", name="Decisions").wait_for()
    assert re.search(r"/study/two/trial/\d+$", tab.url)
    assert re.fullmatch(r"Trial \d+ · two · nas", tab.title())
    tab.go_back()
    tab.locator("#trials").wait_for()
    tab.go_back()
    tab.get_by_role("heading", name="Studies").wait_for()


def test_a_study_shows_its_front_and_every_completed_trial(tab: Any, store: Store) -> None:
    tab.goto("/study/two")
    wait_for_figure(tab)
    points = dict(queries.values(store, queries.study(store, "two").id, "accuracy", "params"))
    unbeaten = {
        number
        for number, (accuracy, params) in points.items()
        if not any(a >= accuracy and p <= params and (a, p) != (accuracy, params) for a, p in points.values())
    }
    assert set(tab.evaluate(POINTS, "front")) == unbeaten
    assert set(tab.evaluate(POINTS, "completed")) == set(points)
    assert tab.evaluate(POINTS, "confirmed, mean ± sd") == [20]
    listed = tab.locator("#leaders tbody th").all_inner_texts()
    assert listed == [str(n) for n in sorted(unbeaten, key=lambda n: -points[n][0])]
    assert tab.locator("#front .xtitle").text_content() == "params, lower is better"
    assert "2 failed" in tab.locator("#study-head").text_content()


def test_a_figure_offers_nothing_that_would_send_it_elsewhere(tab: Any) -> None:
    tab.goto("/study/two")
    wait_for_figure(tab)
    offered = tab.locator("#front .modebar-btn").evaluate_all("all => all.map(each => each.ariaLabel)")
    assert offered == ["Download plot", "Zoom", "Pan", "Zoom in", "Zoom out", "Reset axes"]


def test_a_click_on_a_point_opens_its_trial(tab: Any) -> None:
    tab.goto("/study/two")
    wait_for_figure(tab)
    tab.wait_for_timeout(500)
    leaders = tab.locator("#front .scatterlayer .trace").nth(1).locator(".point")
    leaders.last.click(force=True)
    tab.get_by_role("heading", name=re.compile(r"^Trial \d+")).wait_for()


def test_three_objectives_have_axes_to_choose(tab: Any) -> None:
    tab.goto("/study/three")
    wait_for_figure(tab)
    assert tab.locator("#front .xtitle").text_content() == "params, lower is better"
    tab.locator("#front-x").click()
    tab.get_by_role("option", name="memory").click()
    tab.locator("#front .xtitle", has_text="memory [bytes], lower is better").wait_for()


def test_one_objective_shows_its_best_so_far(tab: Any, store: Store) -> None:
    tab.goto("/study/one")
    wait_for_figure(tab)
    drawn = tab.evaluate(f"name => Array.from(({TRACE})(name).y)", "best so far")
    assert drawn == sorted(drawn)
    best = max(value for _, (value,) in queries.values(store, queries.study(store, "one").id, "accuracy"))
    assert drawn[-1] == best
    assert "nas resume one" in tab.locator("#study-head").inner_text()


def test_the_table_pages_sorts_and_filters(tab: Any, store: Store) -> None:
    study = queries.study(store, "two").id
    tab.goto("/study/two")
    wait_for_first_row(tab, TRIALS - 1)
    tab.locator("#trials .ag-body-viewport").evaluate("view => view.scrollTo(0, view.scrollHeight)")
    tab.locator(f"{ROWS} [col-id='number']", has_text=re.compile("^0$")).wait_for()
    tab.locator(".ag-header-cell[col-id='value1'] .ag-header-cell-label").click()
    tab.locator("#trials .ag-body-viewport").evaluate("view => view.scrollTo(0, 0)")
    wait_for_first_row(tab, queries.trials(store, study, Page(sort="params", limit=1))[0].number)
    tab.get_by_label("State Filter Input").fill("failed")
    tab.locator(f"{ROWS} .state.failed").first.wait_for()
    tab.wait_for_function(f"document.querySelectorAll(\"{ROWS} [col-id='state']\").length === 2")
    assert sorted(cells(tab, "number")) == ["13", "3"]
    assert set(cells(tab, "reason")) == {"RuntimeError: shapes", f"RuntimeError: {HOSTILE}"}


def test_a_click_on_a_row_opens_its_trial(tab: Any) -> None:
    tab.goto("/study/two")
    wait_for_first_row(tab, TRIALS - 1)
    tab.locator(f"{ROWS}[row-index='1'] [col-id='state']").click()
    tab.get_by_role("heading", name=f"Trial {TRIALS - 2}").wait_for()


def test_a_trial_shows_values_curves_decisions_and_its_parent(tab: Any, store: Store) -> None:
    study = queries.study(store, "two")
    row = queries.trial(store, study, 19)
    tab.goto("/study/two/trial/19")
    tab.locator("#curve-rate .js-plotly-plot").wait_for()
    assert f"{row.values['accuracy']:.4f}" in tab.locator(".values").inner_text()
    drawn = tab.evaluate("Array.from(document.querySelector('#curve-accuracy .js-plotly-plot').data[0].y)")
    assert drawn == [value for _, value in queries.curves(store, row.id)["val_accuracy"]]
    assert tab.locator("tr[title='training.optimizer:adamw.decay']").inner_text().split() == ["decay", "0.01"]
    assert tab.locator(".block.layer").count() == len(row.architecture["network"]["stages"])
    assert '"stem": 16' in tab.locator("#architecture").inner_text()
    tab.get_by_role("link", name="trial 18").click()
    tab.get_by_role("heading", name="Trial 18").wait_for()


def test_a_confirmed_trial_shows_mean_and_spread_and_its_repeats(tab: Any) -> None:
    tab.goto("/study/two/trial/20")
    tab.locator(".value .confirmed", has_text="confirmed 0.8200 ± 0.0283 (2 runs)").wait_for()
    tab.get_by_role("link", name=str(TRIALS), exact=True).click()
    tab.locator(".facts", has_text="Confirms").wait_for()


def test_a_failed_trial_shows_its_traceback(tab: Any) -> None:
    tab.goto("/study/two/trial/3")
    tab.locator("pre.error").wait_for()
    assert tab.locator("pre.error").inner_text() == TRACEBACK
    assert "failed" in tab.locator("#trial header").inner_text()


def test_nothing_from_the_store_is_taken_for_html(tab: Any) -> None:
    tab.goto("/")
    tab.get_by_role("link", name=HOSTILE).click()
    tab.get_by_role("heading", name=HOSTILE).wait_for()
    wait_for_first_row(tab, 1)
    assert cells(tab, "reason")[0] == HOSTILE
    tab.locator(f"{ROWS}[row-index='0'] [col-id='state']").click()
    tab.locator(".notice", has_text=HOSTILE).wait_for()
    tab.locator("pre.error", has_text=HOSTILE).wait_for()
    assert tab.evaluate("window.hacked") is None


@pytest.mark.parametrize(
    ("path", "said", "back"),
    [
        ("/study/none", "there is no study 'none'", "all studies"),
        ("/study/two/trial/9999", f"its trials are 0 to {TRIALS + 1}", "study two"),
        ("/study/two/trial/99999999999999999999", "is not the number of a trial", "study two"),
        ("/study/two/trial/x", "'x' is not the number of a trial", "study two"),
        ("/elsewhere", "There is no page '/elsewhere'", "all studies"),
    ],
)
def test_what_is_not_there_is_said_with_a_way_back(tab: Any, path: str, said: str, back: str) -> None:
    tab.goto(path)
    tab.get_by_role("heading", name="Not found").wait_for()
    assert said in tab.locator(".absent").inner_text()
    tab.get_by_role("link", name=f"Back to {back}").click()
    tab.get_by_role("heading", name="two" if back == "study two" else "Studies", exact=True).wait_for()


def test_an_empty_store_says_what_to_type_and_shows_the_first_study(chromium: Any, tmp_path: Path) -> None:
    empty = Store.open(f"sqlite:///{tmp_path}/nas.db", create=True)
    with serving(empty.url) as address:
        page = chromium.new_page()
        page.goto(address)
        page.locator("#first-search", has_text=re.compile(f"^nas search .* --store {re.escape(empty.url)}$")).wait_for()
        Search(empty, "fresh").trial()
        page.get_by_role("link", name="fresh").wait_for(timeout=10_000)
        page.close()


def test_a_trial_added_later_appears_and_the_zoom_stays(chromium: Any, tmp_path: Path) -> None:
    live = Store.open(f"sqlite:///{tmp_path}/nas.db", create=True)
    search = Search(live, "live")
    for _ in range(5):
        search.trial()
    with serving(live.url) as address, live.driving("live"):
        page = chromium.new_page()
        page.goto(f"{address}/study/live")
        wait_for_figure(page)
        wait_for_first_row(page, 4)
        page.locator("#study-head").scroll_into_view_if_needed()
        whole = page.evaluate(RANGES)
        box = page.locator("#front .nsewdrag").bounding_box()
        page.mouse.move(box["x"] + 40, box["y"] + 40)
        page.mouse.down()
        page.mouse.move(box["x"] + 300, box["y"] + 250, steps=5)
        page.mouse.up()
        page.wait_for_function(f"{RANGES} != '{whole}'")
        zoomed = page.evaluate(RANGES)
        added = search.trial(values={"accuracy": 0.999, "params": 10.0})
        page.wait_for_function(f"({POINTS})('front').includes({added})", timeout=10_000)
        wait_for_first_row(page, added)
        page.locator("#study-head", has_text="6 of 240 trials").wait_for()
        assert page.evaluate(RANGES) == zoomed
        page.close()


def test_an_unchanged_study_is_not_drawn_again(chromium: Any, address: str) -> None:
    page = chromium.new_page()
    page.goto(f"{address}/study/two")
    wait_for_figure(page)
    wait_for_first_row(page, TRIALS - 1)
    page.wait_for_load_state("networkidle")
    sizes: list[int] = []
    page.on("response", lambda answer: sizes.append(len(answer.body()) if answer.status == 200 else 0))
    page.wait_for_timeout(2_500)
    assert sizes
    assert max(sizes) < 100
    page.close()


def test_a_running_trial_grows_on_its_page(chromium: Any, tmp_path: Path) -> None:
    live = Store.open(f"sqlite:///{tmp_path}/nas.db", create=True)
    search = Search(live, "live")
    number = search.trial(State.RUNNING)
    trial = queries.trial(live, queries.study(live, "live"), number).id
    with serving(live.url) as address:
        page = chromium.new_page()
        page.goto(f"{address}/study/live/trial/{number}")
        page.locator(".pill.running").wait_for()
        with live.writing(search.id) as writer:
            writer.report(trial, 5, {"val_accuracy": 0.5})
            writer.end(trial, 1, State.COMPLETED, values={"accuracy": 0.5, "params": 100.0})
        page.locator(".pill.completed").wait_for(timeout=10_000)
        page.wait_for_function("document.querySelector('#curve-accuracy .js-plotly-plot').data[0].x.length === 5")
        page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(chromium: Any, address: str, scheme: str) -> None:
    """WCAG 2 asks for a contrast of 4.5 to 1 (https://www.w3.org/TR/WCAG21/#contrast-minimum)."""
    page = chromium.new_context(base_url=address, color_scheme=scheme).new_page()
    page.goto("/study/two")
    wait_for_figure(page)
    found = page.evaluate(CONTRASTS)
    assert len(found) > 30
    assert [each for each in found if each["ratio"] < 4.5] == []
    page.context.close()


CONTRASTS = """() => {
  const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = (c) => c.slice(0, 3).map(v => v / 255)
    .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (e) => {
    for (; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor);
      if (c.length && c[3] !== 0) return c;
    }
    return [255, 255, 255];
  };
  return [...document.querySelectorAll("#page *, .bar *, svg text")]
    .filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()) && e.getClientRects().length)
    .map(e => {
      const style = getComputedStyle(e);
      const pair = [light(parse(e instanceof SVGElement ? style.fill : style.color)), light(ground(e))];
      return {text: e.textContent.slice(0, 30), ratio: (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05)};
    });
}"""
