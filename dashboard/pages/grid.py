"""The table of a study's trials: read a page at a time, sorted and filtered by the database."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import dash_ag_grid as dag
from dash import Dash, Input, Output, State
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate

from dashboard.pages import parts
from dashboard.reading import Completed, completed, objectives
from dashboard.words import STATES, figure, moment, number, spread
from nas.store import State as Trial
from nas.store import Store, queries
from nas.store.queries import Page, TrialRow

BLOCK = 100
LARGEST = 2**31 - 1
THEME = """themeQuartz.withParams({
  'backgroundColor': 'var(--surface)', 'foregroundColor': 'var(--ink)', 'accentColor': 'var(--accent)',
  'borderColor': 'var(--line)', 'headerBackgroundColor': 'var(--raised)', 'headerTextColor': 'var(--muted)',
  'rowHoverColor': 'var(--hover)', 'selectedRowBackgroundColor': 'var(--hover)',
  'inputBackgroundColor': 'var(--surface)', 'menuBackgroundColor': 'var(--surface)',
  'fontFamily': 'inherit', 'fontSize': 13, 'headerFontWeight': 600, 'wrapperBorder': false,
  'wrapperBorderRadius': 0, 'spacing': 7
})"""

REFRESH = """(pulse) => {
  dash_ag_grid.getApiAsync("trials").then((api) => api.refreshInfiniteCache());
}"""
OPEN_ROW = """(rows, base) =>
  rows && rows.length ? `${base}/trial/${rows[0].number}` : dash_clientside.no_update"""


def register(app: Dash, store: Store) -> None:
    """Answer the table's requests for rows, renew it when the study has changed, and open a row's trial."""

    def rows(request: dict[str, Any] | None, name: str) -> dict[str, Any]:
        if request is None:
            raise PreventUpdate
        return answer(store, name, request)

    app.callback(Output("trials", "getRowsResponse"), Input("trials", "getRowsRequest"), State("study-name", "data"))(
        rows
    )
    parts.in_browser(app, REFRESH, Input("study-pulse", "data"))
    there = Output("at", "pathname", allow_duplicate=True)
    parts.in_browser(app, OPEN_ROW, there, Input("trials", "selectedRows"), State("study-path", "data"))


def table(names: tuple[str, ...]) -> Component:
    """Make the empty table, with a column for each objective."""
    plain = {"filter": False, "sortable": False}
    values = [_value_column(i, name) for i, name in enumerate(names)]
    columns: list[dict[str, Any]] = [
        {
            "field": "number",
            "headerName": "Trial",
            "width": 110,
            "sort": "desc",
            **_bounded("equals"),
            "type": "rightAligned",
        },
        {"field": "front", "headerName": "★", "headerTooltip": "on the front", "width": 60, **plain},
        {
            "field": "state",
            "headerName": "State",
            "width": 140,
            "filter": "agTextColumnFilter",
            "filterParams": {"filterOptions": ["contains"], "maxNumConditions": 1},
            "cellClassRules": {f"state {word}": f"params.value == '{word}'" for word in STATES.values()},
        },
        *values,
        {"field": "confirmed", "headerName": "Confirmed, mean ± sd", "width": 230, **plain},
        {"field": "reason", "headerName": "Reason", "flex": 1, "minWidth": 200, "filter": False},
        {"field": "created", "headerName": "Created", "width": 180, "filter": False},
    ]
    made: Component = dag.AgGrid(
        id="trials",
        className="grid",
        columnDefs=columns,
        defaultColDef={"resizable": True, "sortable": True, "floatingFilter": True, "tooltipValueGetter": _TOOLTIP},
        rowModelType="infinite",
        getRowId="params.data.number + ''",
        rowClassRules={"leader": "params.data && params.data.front"},
        dashGridOptions={
            "theme": {"function": THEME},
            "cacheBlockSize": BLOCK,
            "maxBlocksInCache": 5,
            "maxConcurrentDatasourceRequests": 1,
            "infiniteInitialRowCount": 1,
            "rowSelection": {"mode": "singleRow", "checkboxes": False, "enableClickSelection": True},
            "suppressMultiSort": True,
            "suppressDragLeaveHidesColumns": True,
            "tooltipShowDelay": 600,
        },
        style={"height": "560px", "width": "100%"},
    )
    return made


_TOOLTIP = {"function": "params.colDef.field == 'reason' ? params.value : null"}


def answer(store: Store, name: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the rows of a request of the table, as text ready to show, and how many there are in all."""
    study = queries.study(store, name)
    page = page_of(request, objectives(study))
    if page is None:
        return {"rowData": [], "rowCount": 0}
    found = completed(store, study)
    rows = [_row(each, found) for each in queries.trials(store, study.id, page)]
    return {"rowData": rows, "rowCount": queries.count(store, study.id, page)}


def page_of(request: Mapping[str, Any], names: tuple[str, ...]) -> Page | None:
    """Read the table's request; None when no trial can satisfy its filters."""
    by_column = {f"value{i}": name for i, name in enumerate(names)}
    filters = request.get("filterModel") or {}
    states: tuple[Trial, ...] = ()
    if "state" in filters:
        wanted = str(filters["state"].get("filter", "")).strip().lower()
        states = tuple(state for state, word in STATES.items() if wanted in word)
        if not states:
            return None
    low, high = _interval(filters.get("number"))
    sort, descending = "number", False
    for each in (request.get("sortModel") or [])[:1]:
        column = str(each["colId"])
        sort, descending = by_column.get(column, column), each["sort"] == "desc"
    start = int(request["startRow"])
    return Page(
        states=states,
        bounds={by_column[key]: _interval(model) for key, model in filters.items() if key in by_column},
        numbers=(
            None if low is None else math.ceil(min(max(low, -1), LARGEST)),
            None if high is None else math.floor(min(max(high, -1), LARGEST)),
        ),
        sort=sort,
        descending=descending,
        offset=start,
        limit=int(request["endRow"]) - start,
    )


def _interval(model: Mapping[str, Any] | None) -> tuple[float | None, float | None]:
    """Return the lower and upper bound of a number filter, both included."""
    if model is None:
        return None, None
    value = model.get("filter")
    match model.get("type"):
        case "equals":
            return value, value
        case "greaterThanOrEqual":
            return value, None
        case "lessThanOrEqual":
            return None, value
        case "inRange":
            return value, model.get("filterTo")
    return None, None


def _bounded(first: str) -> dict[str, Any]:
    options = ["greaterThanOrEqual", "lessThanOrEqual", "inRange", "equals"]
    return {
        "filter": "agNumberColumnFilter",
        "filterParams": {
            "filterOptions": options,
            "defaultOption": first,
            "maxNumConditions": 1,
            "inRangeInclusive": True,
        },
    }


def _value_column(index: int, name: str) -> dict[str, Any]:
    known = figure(name)
    return {
        "field": f"value{index}",
        "headerName": f"{name} {'↑' if known.maximize else '↓'}",
        "headerTooltip": f"{known.summary}: {'higher' if known.maximize else 'lower'} is better",
        "width": 140,
        "type": "rightAligned",
        **_bounded("greaterThanOrEqual" if known.maximize else "lessThanOrEqual"),
    }


def _row(trial: TrialRow, found: Completed) -> dict[str, Any]:
    known = [figure(name) for name in found.names]
    spreads = found.confirmed.get(trial.number, {})
    trained = [each for each in known if not each.cheap and each.name in spreads]
    several = len(trained) > 1
    confirmed = [(f"{e.name} " if several else "") + spread(spreads[e.name], e.unit) for e in trained]
    cells = {f"value{i}": number(trial.values.get(e.name), e.unit) for i, e in enumerate(known)}
    return {
        "number": trial.number,
        "front": "★" if trial.number in found.leaders else "",
        "state": STATES[trial.state],
        **cells,
        "confirmed": ", ".join(confirmed),
        "reason": trial.reason or "",
        "created": moment(trial.created),
    }
