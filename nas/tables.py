"""Printing studies, trials and the registry as tables."""

from __future__ import annotations

import json
import shlex
import textwrap
import time
from itertools import groupby
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from nas import catalog
from nas.doctor import Finding
from nas.drawing.layout import limits
from nas.drawing.terminal import Line, draw
from nas.progress import Progress
from nas.records import comparison_records
from nas.store import State, Store, queries
from nas.store.queries import Spread, StudyRow, TrialRow
from nas.study import Study
from nas.tasks import looked_up
from search_spaces import decisions
from search_spaces.mixtures.answers import Mixture
from search_spaces.registry import Entry
from search_spaces.space import Space

if TYPE_CHECKING:
    from nas.drawing.curves import Curves
    from nas.showing import Shown

console = Console(highlight=False, soft_wrap=False)

BARS = "▁▂▃▄▅▆▇█"
WIDEST, ROOMY = 100, 130


def figure(name: str, value: float) -> str:
    """Write an objective's value as people read it."""
    if name in ("params", "flops", "memory"):
        return f"{value:,.0f}" if value == value and abs(value) != float("inf") else str(value)
    return f"{value:.3f}" if name == "latency" else f"{value:.4f}"


def duration(seconds: float) -> str:
    """Write seconds as 42 s, 3 min 20 s or 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def print_result(study: Study, progress: Progress) -> None:
    """Print how a search ended, its front, and what to type next."""
    counts = ", ".join(f"{count} {state.lower()}" for state, count in sorted(progress.counts.items()))
    print_leaders(study, study.front(), "Pareto front" if len(study.objectives) > 1 else "Best")
    print_supernets(study)
    print_schedule(study, study.leaders(1))
    console.print(f"{progress.done} trials ({counts or 'none ended'}) in {duration(progress.seconds)}")
    if progress.last:
        console.print(progress.last, style="yellow", markup=False)
    console.print(
        f"results   {study.store.url}, files in {study.store.folder(study.name)}", markup=False, soft_wrap=True
    )
    leaders = study.leaders(1)
    if leaders:
        lines = [f"nas confirm {study.name} --top 3 --repeats 3"]
        lines += [f"nas export {study.name} --trial {leaders[0].number} --output best/", "nas dashboard"]
        lines = lines[2:] if looked_up(study.settings.task) else lines
        extra = "" if study.store.is_default else f" --store {shlex.quote(study.store.url)}"
        for head, line in zip(["next      ", *[" " * 10] * 2], lines, strict=False):
            console.print(f"{head}{line}{extra}", markup=False, soft_wrap=True)


def print_leaders(study: Study, leaders: list[TrialRow], title: str) -> None:
    """Print trials with their objectives, what they are made of, and their confirmed values."""
    if not leaders:
        console.print(f"study {study.name} has no completed trial yet", markup=False)
        return
    confirmed = study.confirmed()
    table = Table(title=f"{title} of {escape(study.name)}", title_justify="left")
    table.add_column("trial", justify="right")
    for each in study.objectives:
        arrow = "↑" if each.maximize else "↓"
        table.add_column(f"{each.name} {arrow}", justify="right", no_wrap=True)
    trained = [each for each in study.objectives if not each.cheap]
    if confirmed:
        for each in trained:
            table.add_column(f"{each.name}, confirmed", justify="right", no_wrap=True)
    table.add_column("network", overflow="fold")
    for row in leaders:
        cells = [str(row.number)] + [figure(each.name, row.values[each.name]) for each in study.objectives]
        if confirmed:
            cells += [_spread(each.name, confirmed.get(row.number, {}).get(each.name)) for each in trained]
        table.add_row(*cells, escape(sketch(row.architecture)))
    console.print(table)
    s = study.settings
    missing = sum(row.number not in confirmed for row in leaders)
    if looked_up(s.task):
        console.print(f"looked up in {s.task}", style="dim", markup=False)
        return
    note = f"validation split of seed {s.split_seed}, {_epochs(s.epochs)}, one training each"
    console.print(note + (f"; {missing} of {len(leaders)} not confirmed" if missing else ""), style="dim")


def print_studies(store: Store, rows: list[StudyRow]) -> None:
    """Print the studies of a store."""
    if not rows:
        console.print("no studies yet: begin with `nas search --space kan_vision --trials 20 --epochs 4`")
        return
    table = Table()
    for name in ("study", "trials", "state"):
        table.add_column(name, no_wrap=True)
    for name in ("search", "objectives", "made"):
        table.add_column(name)
    for row in rows:
        settings = row.settings
        if row.scoring is not None:
            what = f"{settings['space']} on {settings['task']}, scored"
            by = ", ".join(row.scoring["predictors"])
            done = f"{row.ended}/{settings['trials']}"
            table.add_row(escape(row.name), done, queries.standing(store, row), what, by, _when(row.created))
            continue
        table.add_row(
            escape(row.name),
            f"{row.ended}/{settings['trials']}",
            queries.standing(store, row),
            f"{settings['space']} on {settings['task']}, {settings['strategy']}"
            + ("" if settings["schedule"] == "none" else f" + {settings['schedule']}"),
            ", ".join(settings["objectives"]),
            _when(row.created),
        )
    console.print(table)


def print_study(study: Study) -> None:
    """Print a study's settings, counts, front and latest failures."""
    s = study.settings
    console.print(
        f"study {study.name}, {queries.standing(study.store, study.row)}, made {_when(study.row.created)}", markup=False
    )
    console.print(
        f"space {s.space}, task {s.task}, objectives {', '.join(s.objectives)}, strategy {s.strategy}, "
        f"schedule {s.schedule}, up to {s.epochs} epochs, seed {s.seed}"
        + (f", constraints {', '.join(s.constraints)}" if s.constraints else "")
        + (f", screen {s.screen}" if s.screen else "")
        + (f", only {'; '.join(s.only)}" if s.only else ""),
        markup=False,
    )
    counts = ", ".join(f"{count} {state.lower()}" for state, count in sorted(study.row.counts.items()))
    console.print(f"trials {study.row.ended}/{s.trials}: {counts or 'none yet'}")
    front = study.front()
    print_leaders(study, front, "Pareto front" if len(s.objectives) > 1 else "Best")
    print_supernets(study)
    print_schedule(study, front[:1])
    bad = queries.Page(states=(State.FAILED, State.INFEASIBLE), sort="number", descending=True, limit=3)
    for row in study.trials(bad):
        console.print(f"trial {row.number} {row.state}: {row.reason}", style="yellow", markup=False)


def print_schedule(study: Study, leaders: list[TrialRow]) -> None:
    """Print the schedule that came of population based training: what the best trial was trained with, and when."""
    for row in leaders:
        if row.forked_at is None:
            continue
        _, changes = study.schedule(row.number)
        table = Table(title=f"Schedule of trial {row.number}", title_justify="left")
        for column in ("from epoch", "trial", "changed"):
            table.add_column(column, justify="right" if column != "changed" else "left")
        for each in changes:
            told = [
                f"{c.path} " + " → ".join("—" if value is None else _decided(value) for value in (c.before, c.after))
                for c in each.changes
            ]
            table.add_row(str(each.begin), str(each.trial), escape("\n".join(told) or "as it was drawn"))
        console.print(table)
        console.print(
            f"          nas export {study.name} --trial {row.number} --schedule --output schedule.json", markup=False
        )


def print_supernets(study: Study, most: int = 5) -> None:
    """Print the validation accuracy of each supernet beside that of the networks found in it and trained alone."""
    for row in study.trials(queries.Page(kind="supernet", limit=most)):
        curve = queries.curves(study.store, row.id).get("val_accuracy", [])
        own = (
            f"accuracy {curve[-1][1]:.4f} after {_epochs(curve[-1][0])}" if curve else (row.reason or row.state.lower())
        )
        found = [each for each in study.trials() if each.parent == row.number and each.state is State.COMPLETED]
        alone = [f"trial {each.number} {figure('accuracy', each.values['accuracy'])}" for each in found[:4]]
        alone = alone if found and "accuracy" in found[0].values else []
        told = f", found in it and trained alone: {', '.join(alone)}" if alone else ""
        more = " ..." if len(found) > len(alone) else ""
        console.print(f"supernet {row.number}: {own}{told}{more}", markup=False, soft_wrap=True)


def _epochs(count: int) -> str:
    return "1 epoch" if count == 1 else f"{count} epochs"


def print_trial(study: Study, row: TrialRow) -> None:
    """Print a trial: outcome, decisions, learning curve, attempts."""
    took = f" in {duration(row.ended - row.created)}" if row.ended is not None else ""
    origin = f", a fresh training of trial {row.parent}" if row.kind == "confirm" else ""
    origin += ", a supernet" if row.kind == "supernet" else ""
    if row.forked_at is not None:
        origin += f", from trial {row.parent} after epoch {row.forked_at}"
    console.print(f"trial {row.number} of {study.name}{origin}: {row.state}{took}, seed {row.seed}", markup=False)
    if row.reason:
        console.print(row.reason, style="yellow", markup=False)
    trained = {each.name for each in study.objectives if not each.cheap}
    confirmed = {n: each for n, each in study.confirmed().get(row.number, {}).items() if n in trained}
    for name, value in row.values.items():
        more = f"   confirmed {_spread(name, confirmed[name])}" if name in confirmed else ""
        console.print(f"  {name:<10} {figure(name, value)}{more}")
    _print_measured(study, row)
    print_schedule(study, [row])
    if row.architecture:
        _print_decisions(study, row)
    for name, points in queries.curves(study.store, row.id).items():
        steps = [value for step, value in points if step > 0]
        if len(steps) > 1:
            console.print(f"  {name:<14} {sparkline(steps)}  {steps[0]:.4g} → {steps[-1]:.4g}")
    for attempt in queries.attempts(study.store, row.id):
        console.print(f"attempt {attempt.number} on {attempt.worker} ({attempt.device})", markup=False)
        if attempt.error:
            console.print(attempt.error.rstrip(), style="red", markup=False)


def _print_measured(study: Study, row: TrialRow) -> None:
    """Print what a screening or a supernet said of a trial's architecture, higher being better."""
    for each in queries.scored(study.store, study.row.id, identity=row.identity):
        value = f"no score: {each.reason or 'it is no number'}" if each.value is None else f"{each.value:.6g}"
        console.print(f"  before training, {each.column} {value}", markup=False, soft_wrap=True)


def _print_decisions(study: Study, row: TrialRow) -> None:
    try:
        trace = study.space.trace(row.architecture)
    except decisions.DecisionError as error:
        console.print(f"space {study.space.name} has changed since ({error}); the architecture was", markup=False)
        console.print_json(data=row.architecture)
        return
    table = Table(title="Decisions", title_justify="left", show_header=False)
    for path, chosen in trace.items():
        table.add_row(escape(path), escape(_decided(chosen)))
    console.print(table)


def _decided(chosen: decisions.Scalar | Mixture) -> str:
    if isinstance(chosen, Mixture):
        return "a mixture of " + (", ".join(map(str, chosen.options)) or "all options")
    return f"{chosen:.4g}" if isinstance(chosen, float) else json.dumps(chosen)


def print_comparison(studies: list[Study]) -> None:
    """Print studies side by side."""
    records = comparison_records(studies)
    table = Table()
    table.add_column("")
    for record in records:
        table.add_column(escape(record["study"]), justify="right")

    def add(name: str, cells: list[str]) -> None:
        table.add_row(name, *(escape(cell) for cell in cells))

    for name in ("space", "task", "strategy", "schedule", "epochs", "seed", "split_seed"):
        add(name, [str(record["settings"][name]) for record in records])
    add("trials", [", ".join(f"{n} {s.lower()}" for s, n in sorted(r["trials"].items())) or "none" for r in records])
    add("time", [duration(record["seconds"]) if record["seconds"] else "-" for record in records])
    names = list(dict.fromkeys(name for record in records for name in record["best"]))
    for name in names:
        add(f"best {name}", [_known(name, record["best"].get(name)) for record in records])
    add("on the front", [str(record["front"]) for record in records])
    if "hypervolume" in records[0]:
        add("hypervolume", [f"{record['hypervolume']:.4f}" for record in records])
    for name in names:
        shown = [[_spread(name, Spread(**e[name])) for e in r["confirmed"].values() if name in e] for r in records]
        if any(shown) and name not in ("params", "flops", "memory"):
            add(f"confirmed {name}", [", ".join(each) or "-" for each in shown])
    console.print(table)
    console.print("best values are of one training each, on the validation split", style="dim")
    if "hypervolume" in records[0]:
        console.print(
            "hypervolume: share of the box between the best and worst values of all these studies", style="dim"
        )


def print_spaces(spaces: list[Space]) -> None:
    """Print the search spaces with their sizes."""
    table = Table()
    for name in ("space", "what", "architectures", "decisions"):
        table.add_column(name)
    for space in spaces:
        size = space.size()
        table.add_row(
            space.name,
            escape(space.summary),
            "infinitely many" if size == float("inf") else f"{size:,}",
            str(len(decisions.every(space.tree))),
        )
    console.print(table)


def print_space(space: Space) -> None:
    """Print the decisions of a space."""
    table = Table(title=f"{escape(space.name)}: {escape(space.summary)}", title_justify="left")
    table.add_column("decision")
    table.add_column("allowed")
    for path, domain in decisions.every(space.tree).items():
        if "[" not in path or "[0]" in path or "[*]" in path:
            scale = ", logarithmic" if not isinstance(domain, decisions.Choice) and domain.log else ""
            table.add_row(escape(path), escape(str(domain) + scale))
    console.print(table)
    console.print(
        "[0] stands for every item of a list; a path with : is active under that option", style="dim", markup=False
    )


def print_catalog(entries: list[Entry]) -> None:
    """Print what is registered, a table a kind; in a narrow terminal the facts of an entry stand below each other."""
    wide = console.width >= ROOMY
    for kind, grouped in groupby(entries, key=lambda entry: entry.kind):
        shown = [(entry, _facts(entry)) for entry in grouped]
        columns = [name for name in ("options", "paper", "supports") if wide and any(facts[name] for _, facts in shown)]
        table = Table(title=kind, title_justify="left", title_style="bold", expand=wide)
        table.add_column("name", no_wrap=True)
        table.add_column("what", ratio=3)
        for name in columns:
            table.add_column(name, ratio=None if name == "supports" else 2, max_width=WIDEST // 4)
        for entry, facts in shown:
            below = [] if wide else [*facts["options"], *(f"{n}: {t}" for n in ("paper", "supports") for t in facts[n])]
            what = "\n".join([escape(entry.summary), *(f"[dim]{escape(text)}[/]" for text in below)])
            table.add_row(entry.name, what, *(escape("\n".join(facts[name]) or "") for name in columns))
        console.print(table)
    supported = {
        "strategy" if entry.kind == "strategy" else "component": ", ".join(features)
        for entry in entries
        if (features := catalog.supports(entry))
    }
    for what, names in supported.items():
        console.print(f"where nothing else is said, a {what} supports {names}", style="dim", markup=False)
    console.print("more on one of them: nas catalog show NAME", style="dim", markup=False)


def print_shown(shown: Shown) -> None:
    """Print all that is known about a registered name, and draw its functions."""
    entry = shown.entry
    console.print(f"{escape(entry.kind)} [bold]{escape(entry.name)}[/]\n")
    console.print(_reflowed(catalog.about(entry), min(console.width, WIDEST)), markup=False, soft_wrap=True)
    supports = catalog.supports(entry) or {}
    facts = {
        "paper": [entry.paper],
        "options": [_option(each) for each in catalog.options(entry)],
        "arguments": [_option(each) for each in catalog.arguments(entry)],
        "set": [f"{name}: {_word(value)}" for name, value in shown.settings.items()],
        "supports": [", ".join(name for name, able in supports.items() if able)],
        "lacks": [", ".join(sorted(entry.lacks))],
        "parameters": [] if shown.parameters is None else [f"{shown.parameters:,} trainable{shown.measured}"],
        "not drawn": [shown.why_not],
    }
    grid = Table.grid(padding=(0, 2))
    for name, lines in facts.items():
        if any(lines):
            grid.add_row(f"[dim]{name}[/]", escape("\n".join(lines)))
    console.print(grid)
    if shown.curves is not None:
        print_curves(shown.curves)


def print_curves(curves: Curves) -> None:
    """Draw functions in the terminal."""
    ascii_only = not console.encoding.startswith("utf")
    if len(curves.values) > 1:
        head = f"its {len(curves.values)} functions, each with its number on it"
        lines = [Line(values, str(i)) for i, values in enumerate(curves.values)]
    else:
        head = "f, and its derivative f' in dashes"
        lines = [Line(curves.values[0], "f"), Line(curves.slopes[0], "f'", dashed=True)]
    window = limits(*(line.values for line in lines))
    for text in ("", head, *curves.notes):
        console.print(text, markup=False)
    for drawn in draw(curves.x, lines, window, min(console.width, WIDEST), ascii_only):
        console.print(drawn, no_wrap=True, crop=True)


def _facts(entry: Entry) -> dict[str, list[str]]:
    """Return the lines of a table's cells by column; what a component supports is said where it is not everything."""
    return {
        "options": [_option(each) for each in catalog.options(entry)],
        "paper": [entry.paper] * bool(entry.paper),
        "supports": [f"all but {', '.join(sorted(entry.lacks))}"] * bool(entry.lacks),
    }


def _option(option: catalog.Option) -> str:
    domain = "" if option.domain is None else f"{catalog.domain_text(option.domain)}; "
    return f"{option.name}: {domain}default {_word(option.default)}"


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=repr)


def _reflowed(text: str, width: int) -> str:
    """Fit paragraphs into a width: their lines are joined and broken anew, but for those that are indented."""
    wrapped = []
    for lines in (part.splitlines() for part in text.split("\n\n")):
        listed = any(line.startswith((" ", "- ")) for line in lines)
        for line in lines if listed else [" ".join(lines)]:
            indent = " " * (len(line) - len(line.lstrip()))
            hanging = indent + "    " if listed else ""
            wrapped.append(textwrap.fill(line.strip(), width, initial_indent=indent, subsequent_indent=hanging))
        wrapped.append("")
    return "\n".join(wrapped)


def print_findings(findings: list[Finding]) -> None:
    """Print what the doctor found."""
    marks = {"ok": "[green]✓[/]", "note": "[yellow]•[/]", "error": "[red]✗[/]"}
    for finding in findings:
        console.print(f"{marks[finding.level]} {escape(finding.text)}", soft_wrap=True)


def sketch(architecture: decisions.Architecture) -> str:
    """Write a network in a line: its stages by depth, width, layer and activation where it has such."""
    network = architecture.get("network", architecture)
    stages = network.get("stages") if isinstance(network, dict) else None
    if not isinstance(stages, list) or not all(isinstance(stage, dict) for stage in stages):
        return json.dumps(network)[:80]
    return " → ".join(
        f"{stage.get('depth', 1)}x{_name(stage.get('layer'))}{stage.get('width', '')} {_name(stage.get('activation'))}"
        for stage in stages
    )


def sparkline(values: list[float]) -> str:
    """Draw numbers as a row of bars; what is not finite is a gap."""
    finite = [value for value in values if value == value and abs(value) != float("inf")]
    low, span = min(finite, default=0.0), (max(finite, default=0.0) - min(finite, default=0.0)) or 1.0
    return "".join(BARS[int((v - low) / span * (len(BARS) - 1))] if v in finite else " " for v in values[-60:])


def _name(chosen: Any) -> str:
    if not isinstance(chosen, dict):
        return str(chosen)
    name, inner = next(iter(chosen.items()))
    basis = inner.get("basis") if isinstance(inner, dict) else None
    return f"{name}({_name(basis)})" if basis else str(name)


def _spread(name: str, spread: Spread | None) -> str:
    if spread is None:
        return "-"
    return f"{figure(name, spread.mean)} ± {figure(name, spread.deviation)} (n={spread.count})"


def _known(name: str, value: float | None) -> str:
    return "-" if value is None else figure(name, value)


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
