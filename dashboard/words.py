"""How numbers, times, states and objectives are written on the pages."""

from __future__ import annotations

import math
import time
from typing import Any
from urllib.parse import quote

from nas.objectives import Objective, objective
from nas.store.models import State
from nas.store.queries import Spread
from search_spaces.registry import UnknownName

ABSENT = "–"  # noqa: RUF001

STATES = {
    State.COMPLETED: "completed",
    State.RUNNING: "running",
    State.WAITING: "waiting",
    State.PAUSED: "paused",
    State.STOPPED: "stopped",
    State.FAILED: "failed",
    State.INFEASIBLE: "infeasible",
    State.STALE: "stale",
}


def figure(name: str) -> Objective:
    """Return an objective; one that is not registered here is taken as better when smaller, and says so."""
    try:
        return objective(name)
    except UnknownName:
        return Objective(name, False, "", "not registered here: taken as better when smaller")


def axis(name: str) -> str:
    """Label an axis: name, unit, and which way is better."""
    known = figure(name)
    unit = f" [{known.unit}]" if known.unit else ""
    return f"{name}{unit}, {'higher' if known.maximize else 'lower'} is better"


def number(value: float | None, unit: str = "") -> str:
    """Write a value so that columns of it are easy to compare: 0.9731, 12,345, 1.25e-07, 4.19 MB."""
    if value is None:
        return ABSENT
    if not math.isfinite(value):
        return str(value)
    if unit == "bytes":
        return _bytes(value)
    if float(value).is_integer() and 1 < abs(value) < 1e12:
        text = f"{value:,.0f}"
    elif value == 0 or 1e-3 <= abs(value) < 10:
        text = f"{value:.4f}"
    elif 10 <= abs(value) < 1e7:
        text = f"{value:,.2f}"
    else:
        text = f"{value:.3e}"
    return f"{text} {unit}" if unit and unit != "nats" else text


def spread(found: Spread, unit: str = "") -> str:
    """Write a confirmed value: mean ± standard deviation, and over how many trainings."""
    runs = "1 run" if found.count == 1 else f"{found.count} runs"
    return f"{number(found.mean, unit)} ± {number(found.deviation, unit)} ({runs})"


def moment(at: float | None) -> str:
    """Write a time of the server's clock."""
    return ABSENT if at is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def duration(seconds: float) -> str:
    if seconds < 60:
        return f"{max(seconds, 0):.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def study_path(name: str) -> str:
    return f"/study/{quote(name, safe='')}"


def trial_path(study: str, trial: int | str) -> str:
    return f"{study_path(study)}/trial/{trial}"


def setting(value: Any) -> str:
    """Write one setting of a study."""
    if isinstance(value, list | tuple):
        return ", ".join(str(each) for each in value) or ABSENT
    if isinstance(value, dict):
        return ", ".join(f"{key} = {each}" for key, each in value.items()) or ABSENT
    return ABSENT if value is None else str(value)


def _bytes(value: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if abs(value) < 1000 or unit == "GB":
            break
        value /= 1000
    return f"{value:,.0f} {unit}" if unit == "bytes" else f"{value:.2f} {unit}"
