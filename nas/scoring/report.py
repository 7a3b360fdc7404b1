"""Printing a scoring: its best architectures, what could not be scored and why, and what to type next."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from nas.scoring.bulk import Progress
from nas.scoring.ranking import Ranked, Tally, tallies
from nas.scoring.study import Scoring
from nas.store import queries
from nas.tables import ROOMY, console, duration, sketch
from predictors import Predictor
from search_spaces.registry import entries

SHOWN_REASONS = 3


def print_ranking(scoring: Scoring, ranking: Sequence[Ranked], top: int) -> None:
    """Print the architectures of the best mean rank, with the score and rank by each predictor."""
    names = scoring.settings.predictors
    scored = [each for each in ranking if _scored(each)]
    if not scored:
        console.print(f"no architecture of {scoring.name} has a score", markup=False)
        return
    by = f"by {names[0]}" if len(names) == 1 else f"by mean rank over {', '.join(names)}"
    table = Table(
        title=escape(f"Best of {scoring.name} {by}, of {len(scored)} that have a score"), title_justify="left"
    )
    table.add_column("number", justify="right")
    for name in names:
        table.add_column(f"{name} ↑", justify="right", no_wrap=True)
    table.add_column("network", overflow="fold")
    for each in scored[:top]:
        cells = [_cell(each, name, len(names) > 1) for name in names]
        table.add_row(str(each.number), *cells, escape(_network(scoring, each)))
    console.print(table)


def print_tallies(found: Sequence[Tally]) -> None:
    """Print how each predictor fared: seconds an architecture, and why some have no score."""
    for each in found:
        console.print(
            f"{each.predictor:<10} {each.scored} of {each.tried} scored, {seconds(each.seconds)} an architecture",
            markup=False,
        )
        for reason, count in each.reasons[:SHOWN_REASONS]:
            console.print(f"{'':<10} {count} without: {reason}", style="yellow", markup=False, soft_wrap=True)
        if left := sum(count for _, count in each.reasons[SHOWN_REASONS:]):
            console.print(f"{'':<10} {left} without, for other reasons", style="yellow", markup=False)


def print_result(
    scoring: Scoring, progress: Progress, ranking: Sequence[Ranked], top: int, output: Path | None = None
) -> None:
    """Print how a scoring ended, and what to type next."""
    print_ranking(scoring, ranking, top)
    print_tallies(tallies(scoring))
    made = progress.done - progress.already
    before = f", {progress.already} scored before" if progress.already else ""
    every = ", all that the space has" if scoring.whole else ""
    console.print(f"{made} architectures in {duration(progress.seconds)}{before}{every}", markup=False)
    store = scoring.store
    console.print(f"results   {store.url}" + (f" and {output}" if output else ""), markup=False, soft_wrap=True)
    extra = "" if store.is_default else f" --store {shlex.quote(store.url)}"
    if progress.again:
        said = f"{progress.again} to be tried again by `nas resume {scoring.name}{extra}`: {progress.why}"
        console.print(said, style="yellow", markup=False, soft_wrap=True)
    lines = [f"nas show {scoring.name} --trial {ranking[0].number}{extra}"] if any(map(_scored, ranking)) else []
    s = scoring.settings
    if lines and s.source is None and s.task == "digits":
        limits = [f"--only {shlex.quote(each)} " for each in s.only]
        limits += [f"--constraint {shlex.quote(each)} " for each in s.constraints]
        lines.append(f"nas search --space {s.space} {''.join(limits)}--screen {s.predictors[0]}:10 --trials 50{extra}")
    for head, line in zip(["next      ", *[" " * 10] * 2], lines, strict=False):
        console.print(f"{head}{line}", markup=False, soft_wrap=True)


def print_scoring(scoring: Scoring, ranking: Sequence[Ranked], top: int) -> None:
    """Print a scoring's settings, where it stands, and its best architectures."""
    s = scoring.settings
    console.print(
        f"study {scoring.name}, a scoring, {queries.standing(scoring.store, scoring.row)}: "
        f"{scoring.row.ended}/{s.count} architectures",
        markup=False,
    )
    console.print(
        f"space {s.space}, {s.samples} samples of {s.task}, predictors {', '.join(s.predictors)}, seed {s.seed}"
        + (f", architectures of {s.source}" if s.source else "")
        + (f", constraints {', '.join(s.constraints)}" if s.constraints else "")
        + (f", only {'; '.join(s.only)}" if s.only else ""),
        markup=False,
        soft_wrap=True,
    )
    print_ranking(scoring, ranking, top)
    print_tallies(tallies(scoring))


def print_scored(scoring: Scoring, each: Ranked) -> None:
    """Print one architecture of a scoring: its scores, and its decisions."""
    console.print(f"architecture {each.number} of {scoring.name}", markup=False)
    for name, columns in scoring.settings.columns.items():
        console.print(f"  {name:<24} {_cell(each, name, True)}", markup=False)
        if name in each.reasons:
            console.print(f"  {'':<24} {each.reasons[name]}", style="yellow", markup=False, soft_wrap=True)
        for column in columns if columns != (name,) else ():
            console.print(f"  {column:<24} {number(each.measured[column])}", markup=False)
    table = Table(title="Decisions", title_justify="left", show_header=False)
    for path, chosen in scoring.space.trace(each.architecture).items():
        table.add_row(escape(path), escape(str(chosen)))
    console.print(table)


def scoring_record(scoring: Scoring, ranking: Sequence[Ranked], top: int) -> dict[str, Any]:
    """Describe a scoring: settings, how each predictor fared, and its best architectures."""
    from nas.records import study_record

    best = [each for each in ranking if _scored(each)][:top]
    return study_record(scoring.store, scoring.row) | {
        "predictors": {
            each.predictor: {
                "tried": each.tried,
                "scored": each.scored,
                "seconds": each.seconds,
                "reasons": dict(each.reasons),
            }
            for each in tallies(scoring)
        },
        "best": [ranked_record(each) for each in best],
    }


def ranked_record(each: Ranked) -> dict[str, Any]:
    """Describe one architecture of a scoring."""
    return {
        "number": each.number,
        "scores": each.scores,
        "ranks": each.ranks,
        "mean_rank": each.mean_rank,
        "measured": each.measured,
        "reasons": each.reasons,
        "architecture": each.architecture,
    }


def predictor_records() -> list[dict[str, Any]]:
    """Describe the registered predictors."""
    found = []
    for entry in entries("predictor").values():
        made: Predictor = entry.make  # type: ignore[assignment]
        found.append(
            {
                "name": entry.name,
                "summary": entry.summary,
                "cost": made.cost,
                "labels": made.labels,
                "columns": list(made.columns),
                "paper": entry.paper,
            }
        )
    return found


def print_predictors(records: Sequence[dict[str, Any]]) -> None:
    """Print the predictors: what they say, what they cost and what they need."""
    terminal = sys.stdout.isatty()
    shown = console if terminal else Console(highlight=False, width=ROOMY)
    wide = terminal and console.width >= ROOMY
    table = Table()
    table.add_column("predictor", no_wrap=True)
    for name in ("what", "cost of a network", "needs", *["paper"] * wide):
        table.add_column(name, ratio=None if name == "needs" else 2)
    for each in records:
        cells = [each["summary"], each["cost"], "labels" if each["labels"] else "-", *[each["paper"]] * wide]
        table.add_row(each["name"], *map(escape, cells))
    shown.print(table)
    said = "higher is better for all; more on one of them: nas catalog show --kind predictor NAME"
    shown.print(said, style="dim", markup=False, soft_wrap=True)


def number(value: float | None) -> str:
    """Write a score: whole numbers in full, others with six digits."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) < 1e12 else f"{value:.6g}"


def seconds(value: float) -> str:
    """Write the time of a score."""
    return f"{value:.2f} s" if value >= 0.1 else f"{1000 * value:.3g} ms"


def _scored(each: Ranked) -> bool:
    return any(value is not None for value in each.scores.values())


def _cell(each: Ranked, name: str, with_rank: bool) -> str:
    rank = each.ranks[name]
    return number(each.scores[name]) + (f" (#{rank})" if with_rank and rank is not None else "")


def _network(scoring: Scoring, each: Ranked) -> str:
    notation = scoring.space.notation
    return sketch(each.architecture) if notation is None else notation.write(each.architecture)
