"""The model card of an exported network, in Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

KNOWN = ("values", "confirmed", "seed", "epochs", "study", "trial")


def card(description: Mapping[str, Any]) -> str:
    """Write the card from what architecture.json says."""
    task, facts = description["task"], description["facts"]
    channels, height, width = description["input_shape"]
    return "\n".join(
        [
            f"# A network for {task['name']}, found in {description['space']}",
            "",
            f"It classifies inputs of {channels} x {height} x {width} (channels, height, width), standardised as the "
            f"task does, into {description['classes']} classes. `nas` found and trained it; its architecture has the "
            f"identity `{description['identity'][:12]}`.",
            "",
            "## How good it is",
            "",
            *_results(facts, task),
            "",
            "## How to load it",
            "",
            "```python",
            "from nas.export import load",
            'network = load("this folder")',
            f"logits = network(inputs)  # [N, {channels}, {height}, {width}] -> [N, {description['classes']}]",
            "```",
            "",
            "## Architecture",
            "",
            "```",
            *outline(description["architecture"]),
            "```",
            "",
            "Written with " + ", ".join(f"{name} {number}" for name, number in description["versions"].items()) + ".",
            "",
        ]
    )


def outline(value: Any, depth: int = 0) -> Iterator[str]:
    """Yield an architecture as indented lines: `name: value`, and a number before each item of a list."""
    lead = "  " * depth
    entries = value.items() if isinstance(value, Mapping) else ((str(i), item) for i, item in enumerate(value))
    for name, inner in entries:
        if isinstance(inner, Mapping | list) and inner:
            yield f"{lead}{name}:"
            yield from outline(inner, depth + 1)
        else:
            yield f"{lead}{name}: {_shown(inner)}"


def _results(facts: Mapping[str, Any], task: Mapping[str, Any]) -> Iterator[str]:
    confirmed = facts.get("confirmed") or {}
    yield "| objective | these weights | trained anew with fresh seeds |"
    yield "|---|---|---|"
    for name, value in (facts.get("values") or {}).items():
        yield f"| {name} | {_shown(value)} | {_spread(confirmed.get(name))} |"
    yield ""
    yield (
        f"Accuracy and loss are of the validation split of {task['name']} with split seed {task['split_seed']}, after "
        f"{facts.get('epochs', 'an unrecorded number of')} epochs from seed {facts.get('seed', 'unrecorded')}."
    )
    if confirmed:
        yield "What was trained anew is the honest figure: these weights were chosen for theirs."
    else:
        yield (
            "They are **not confirmed**: the best of a search is partly luck, and this is the search's own figure. "
            "`nas confirm` trains again with fresh seeds; `nas evaluate` reads the test split."
        )
    if "study" in facts or "trial" in facts:
        yield f"Origin: study {facts.get('study', 'unrecorded')}, trial {facts.get('trial', 'unrecorded')}."
    for name in facts:
        if name not in KNOWN:
            yield f"{name}: {_shown(facts[name])}."


def _spread(confirmed: Mapping[str, Any] | None) -> str:
    """Write mean, sample standard deviation and number of the repeated trainings."""
    if confirmed is None:
        return ""
    return f"{_shown(confirmed['mean'])} ± {_shown(confirmed['deviation'])} (n={confirmed['count']})"


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if value.is_integer() and abs(value) >= 1000 else f"{value:.6g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
