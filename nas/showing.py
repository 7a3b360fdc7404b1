"""Showing one registered name: what is known about it, its functions, and a picture of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from nas.catalog import NOT_MODULES, CatalogError, build, options, read_settings
from nas.drawing import DRAWN_KINDS, FORMATS
from nas.drawing.curves import Curves, NoCurve, curves
from search_spaces.registry import Entry

MEASURED = {
    "basis": "",
    "wiring": " at 16 channels, beside its body's",
    "pool": " at 16 channels of 8x8",
    "head": " at 16 features and 10 classes",
}


@dataclass(frozen=True)
class Shown:
    """A registered name as it is shown: made with some settings, with its functions or the reason why it has none."""

    entry: Entry
    settings: dict[str, Any]
    module: nn.Module | None
    curves: Curves | None = None
    why_not: str = ""

    @property
    def parameters(self) -> int | None:
        """Count the trainable parameters; None for what is no module."""
        if self.module is None:
            return None
        return sum(each.numel() for each in self.module.parameters() if each.requires_grad)

    @property
    def measured(self) -> str:
        """Say at what size the parameters are counted."""
        return MEASURED.get(self.entry.kind, " at 16 channels")


def prepare(entry: Entry, settings: Sequence[str] = (), output: Path | None = None) -> Shown:
    """Make what an entry names with `option=value` settings, and draw its functions.

    Raises CatalogError for a setting that is not allowed and, when a picture is asked, for what cannot be drawn.
    """
    if settings and entry.kind in NOT_MODULES:
        raise CatalogError(f"--set {settings[0]!r}: only components take settings, but {entry.name} is a {entry.kind}")
    chosen = read_settings(entry, settings)
    if output is not None and output.suffix.lower() not in FORMATS:
        raise CatalogError(f"--output {str(output)!r} ends in neither {' nor '.join(FORMATS)}: name such a file")
    if output is not None and entry.kind not in DRAWN_KINDS:
        raise _no_picture(entry, output, "only activations and bases are drawn")
    module = build(entry, chosen)
    if module is None or entry.kind not in DRAWN_KINDS:
        return Shown(entry, chosen, module)
    try:
        return Shown(entry, chosen, module, curves(entry, module))
    except NoCurve as error:
        if output is not None:
            raise _no_picture(entry, output, str(error)) from error
        return Shown(entry, chosen, module, why_not=str(error))


def save(shown: Shown, output: Path) -> None:
    """Write the picture of what is shown to a .png or .svg file."""
    from nas.drawing.picture import picture

    assert shown.curves is not None
    made_with = {each.name: each.default for each in options(shown.entry)} | shown.settings
    told = [", ".join(f"{name} = {value}" for name, value in made_with.items()), *shown.curves.notes, shown.entry.paper]
    caption = " · ".join(text for text in told if text)
    form = output.suffix.lower()
    output.write_bytes(picture(shown.curves, shown.entry.name, shown.entry.kind, shown.entry.summary, caption, form))


def _no_picture(entry: Entry, output: Path, reason: str) -> CatalogError:
    return CatalogError(f"--output {str(output)!r}: {entry.kind} {entry.name} has no picture: {reason}")
