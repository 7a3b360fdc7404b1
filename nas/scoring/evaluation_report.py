"""An evaluation of predictors as tables in a terminal, and as plain data."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from nas.job import ScoreJob
from nas.scoring.architectures import written
from nas.scoring.evaluation import Evaluation
from predictors.evaluate import ALL, BEST, FEWEST, SOUND, Agreement, Correlation, Span

NOTHING = "-"
PLAIN_WIDTH, ROOMY = 104, 130
NOTE = """\
in brackets: 95 % intervals over resampled architectures; beyond that: the difference from the best baseline
last: what it would be if those without a score came last; -: a score that is the same for all, or too few to compare
s each: the median over the architectures; building the network is not included"""
MOST_REASONS = 2


def print_evaluation(evaluation: Evaluation, job: ScoreJob) -> None:
    """Print a table for each set of architectures, why some have no score, and what was compared.

    `job` says what the networks were scored with.
    """
    console = Console(highlight=False, width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    between = " " if console.width >= ROOMY else "\n"
    for what in (ALL, SOUND, BEST):
        agreements = evaluation.agreements.get(what)
        if agreements is None:
            space = evaluation.trained.space.name
            console.print(f"{what}: space {space} cannot tell degenerate networks", markup=False, soft_wrap=True)
            continue
        count = _count(agreements)
        shown = "1 architecture" if count == 1 else f"{count:,} architectures"
        if count < FEWEST:
            console.print(f"{what}: {shown}, too few to say anything", markup=False, soft_wrap=True)
            continue
        table = Table(title=f"{what}: {shown}, {_best(agreements)}", title_justify="left")
        table.add_column("predictor", overflow="fold")
        for name in ("Spearman", "Kendall", "Spearman, beyond that", "Kendall, beyond that"):
            table.add_column(name, justify="right")
        extra = {"no score": any(each.missing for each in agreements.values()), "s each": what == ALL}
        for name in (name for name, shown in extra.items() if shown):
            table.add_column(name, justify="right")
        for name, each in agreements.items():
            more = {"no score": str(each.missing), "s each": _seconds(evaluation.seconds[name])}
            cells = [name, *(_correlation(found, between) for found in (each.spearman, each.kendall))]
            cells += [_difference(found, between) for found in (each.spearman, each.kendall)]
            cells += [more[name] for name, shown in extra.items() if shown]
            table.add_row(*map(escape, cells))
        console.print(table)
    for text in _reasons(evaluation):
        console.print(text, style="yellow", markup=False, soft_wrap=True)
    trained = evaluation.trained
    samples = "1 sample" if job.samples == 1 else f"{job.samples} samples"
    console.print(f"scored with {samples} of {job.task}, seed {job.seed}", markup=False, soft_wrap=True)
    console.print(f"truth: {trained.what} of {trained.about}", markup=False, soft_wrap=True)
    if _count(evaluation.agreements[ALL]) >= FEWEST:
        console.print(NOTE, style="dim", markup=False, soft_wrap=True)


def record(evaluation: Evaluation, job: ScoreJob) -> dict[str, Any]:
    """Return an evaluation as plain data, the scores of each architecture with it."""
    trained, degenerate = evaluation.trained, evaluation.trained.degenerate
    return {
        "space": trained.space.name,
        "truth": {"name": trained.what, "maximize": trained.maximize, "of": trained.about},
        "scored_with": {"task": job.task, "samples": job.samples, "seed": job.seed},
        "sets": {what: _set(evaluation.agreements.get(what)) for what in (ALL, SOUND, BEST)},
        "seconds": evaluation.seconds,
        "reasons": evaluation.reasons,
        "architectures": [
            {
                "architecture": written(architecture, trained.space),
                "result": trained.results[i],
                "degenerate": None if degenerate is None else degenerate[i],
                "scores": {name: scores[i] for name, scores in evaluation.scores.items()},
            }
            for i, architecture in enumerate(trained.architectures)
        ],
    }


def _set(agreements: dict[str, Agreement] | None) -> dict[str, Any] | None:
    """Return the agreements of a set, None for one that is unknown or too small."""
    if agreements is None or _count(agreements) < FEWEST:
        return None
    return {name: asdict(agreement) for name, agreement in agreements.items()}


def _count(agreements: dict[str, Agreement]) -> int:
    agreement = next(iter(agreements.values()))
    return agreement.scored + agreement.missing


def _correlation(found: Correlation | None, between: str) -> str:
    if found is None:
        return NOTHING
    last = "" if found.last is None else f"{between}last: {found.last:.3f}"
    return f"{found.value:.3f}{between}{_span(found.interval)}{last}"


def _difference(found: Correlation | None, between: str) -> str:
    difference = found.difference if found else None
    return NOTHING if difference is None else f"{difference.value:+.3f}{between}{_span(difference.interval, '+')}"


def _span(interval: Span, sign: str = "") -> str:
    return f"[{interval[0]:{sign}.2f}, {interval[1]:{sign}.2f}]"


def _seconds(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.3g}"


def _best(agreements: dict[str, Agreement]) -> str:
    """Say which baselines the differences are from."""
    kinds = {"Spearman": [each.spearman for each in agreements.values()]}
    kinds["Kendall"] = [each.kendall for each in agreements.values()]
    best = {
        kind: next((each.difference.baseline for each in found if each and each.difference), "none")
        for kind, found in kinds.items()
    }
    if len(set(best.values())) == 1:
        return f"best baseline {best['Kendall']}"
    return "best baseline " + ", ".join(f"{name} by {kind}" for kind, name in best.items())


def _reasons(evaluation: Evaluation) -> list[str]:
    lines = []
    for name, reasons in evaluation.reasons.items():
        lines += [f"{name}, {count} without a score: {text}" for text, count in list(reasons.items())[:MOST_REASONS]]
        if len(reasons) > MOST_REASONS:
            rest = sum(list(reasons.values())[MOST_REASONS:])
            lines.append(f"{name}, {rest} without a score for other reasons (see --json)")
    return lines
