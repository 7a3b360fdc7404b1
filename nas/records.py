"""What the commands print with --json: plain data about studies, trials, comparisons and the registry."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from nas import catalog, pareto
from nas.objectives import objective
from nas.store import Store, queries
from nas.store.queries import StudyRow, TrialRow
from nas.study import Study
from search_spaces import decisions
from search_spaces.registry import Entry

if TYPE_CHECKING:
    from nas.showing import Shown


def study_record(store: Store, row: StudyRow) -> dict[str, Any]:
    """Describe a study: settings, number of trials by state, whether it runs now."""
    settings = {name: value for name, value in row.settings.items() if name != "tree"}
    return {
        "study": row.name,
        "store": store.url,
        "settings": settings,
        "created": row.created,
        "trials": {str(state): count for state, count in row.counts.items()},
        "running": store.driven(row.name),
    }


def leader_records(study: Study, leaders: list[TrialRow]) -> list[dict[str, Any]]:
    """Describe trials with their values on the validation split, and the spread of the confirmed ones."""
    confirmed = study.confirmed()
    return [
        {
            "trial": row.number,
            "values": row.values,
            "split": "validation",
            "epochs": study.settings.epochs,
            "seed": row.seed,
            "confirmed": {name: vars(each) for name, each in confirmed.get(row.number, {}).items()} or None,
            "architecture": row.architecture,
        }
        for row in leaders
    ]


def trial_record(study: Study, row: TrialRow) -> dict[str, Any]:
    """Describe one trial in full."""
    attempts = [dict(each._mapping) for each in queries.attempts(study.store, row.id)]
    for each in attempts:
        del each["id"], each["trial_id"]
    measured = queries.scored(study.store, study.row.id, identity=row.identity)
    return {
        "study": study.name,
        "trial": row.number,
        "kind": row.kind,
        "state": str(row.state),
        "reason": row.reason,
        "parent": row.parent,
        "forked_at": row.forked_at,
        "seed": row.seed,
        "identity": row.identity,
        "values": row.values,
        "confirmed": {name: vars(each) for name, each in study.confirmed().get(row.number, {}).items()} or None,
        "architecture": row.architecture,
        "measured": {each.column: each.value for each in measured},
        "unmeasured": {each.column: each.reason for each in measured if each.value is None},
        "metrics": {name: dict(points) for name, points in queries.curves(study.store, row.id).items()},
        "artifacts": queries.artifacts(study.store, row.id),
        "schedule": study.schedule(row.number)[0].to_json()["segments"] if row.forked_at is not None else None,
        "attempts": attempts,
    }


def comparison_records(studies: list[Study]) -> list[dict[str, Any]]:
    """Describe studies side by side.

    `hypervolume` is there when all have the same objectives: a share of the box from the best to the worst value
    that any of them found in each objective, so 1 is best.
    """
    records: list[dict[str, Any]] = []
    same = len({study.settings.objectives for study in studies}) == 1
    found = [_losses(study) for study in studies]
    everything = [point for points in found for point in points]
    for study, points in zip(studies, found, strict=True):
        rows = study.trials()
        ends = [row.ended for row in rows if row.ended is not None]
        best = {}
        for each in study.objectives:
            values = [row.values[each.name] for row in rows if row.state == "COMPLETED"]
            best[each.name] = min(values, key=each.loss) if values else None
        record = study_record(study.store, study.row) | {
            "front": len(study.front()),
            "best": best,
            "seconds": max(ends) - min(row.created for row in rows) if ends else None,
            "confirmed": {
                number: {name: vars(each) for name, each in spreads.items()}
                for number, spreads in study.confirmed().items()
            },
        }
        if same and everything:
            record["hypervolume"] = _share(points, everything)
        records.append(record)
    return records


def entry_record(entry: Entry) -> dict[str, Any]:
    """Describe a registered name; `supports` is None for what is no component."""
    return {
        "kind": entry.kind,
        "name": entry.name,
        "summary": entry.summary,
        "paper": entry.paper,
        "options": [
            {"name": each.name, "domain": decisions.describe(each.domain), "default": each.default}
            for each in catalog.options(entry)
            if each.domain is not None
        ],
        "supports": catalog.supports(entry),
        "lacks": sorted(entry.lacks),
    }


def shown_record(shown: Shown) -> dict[str, Any]:
    """Describe a registered name in full: documentation, arguments that no search decides, trainable parameters."""
    return entry_record(shown.entry) | {
        "documentation": catalog.about(shown.entry),
        "arguments": [{"name": each.name, "default": each.default} for each in catalog.arguments(shown.entry)],
        "set": shown.settings,
        "channels": catalog.CHANNELS,
        "parameters": shown.parameters,
    }


def plain(value: Any) -> Any:
    """Make data fit for strict JSON: numbers that are not finite become the texts "nan", "inf" and "-inf"."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


def _losses(study: Study) -> list[list[float]]:
    rows = queries.values(study.store, study.row.id, *study.settings.objectives)
    figures = [objective(name) for name in study.settings.objectives]
    points = [[each.loss(value) for each, value in zip(figures, values, strict=True)] for _, values in rows]
    return [point for point in points if all(map(math.isfinite, point))]


def _share(points: list[list[float]], everything: list[list[float]]) -> float:
    low = [min(column) for column in zip(*everything, strict=True)]
    high = [max(column) for column in zip(*everything, strict=True)]
    span = [(top - bottom) or 1.0 for bottom, top in zip(low, high, strict=True)]
    scaled = [[(v - bottom) / width for v, bottom, width in zip(p, low, span, strict=True)] for p in points]
    reference = 1.0 + 1e-9
    return pareto.hypervolume(scaled, [reference] * len(low)) if scaled else 0.0
