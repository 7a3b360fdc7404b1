"""Functions drawn with characters: in Braille, eight dots a character, or in plain ASCII."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from rich.text import Text

from nas.drawing.layout import Limits, Points, number, spots, ticks

BRAILLE = 0x2800
DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
STYLES = ("cyan", "yellow", "magenta", "green", "bright_blue", "red")
GLYPHS = "*+ox#%@&"
ROWS = 18
DASH = 3  # dots
CHARACTERS_PER_TICK, ROWS_PER_TICK, FEWEST_TICKS = 10, 3, 5

Cell = tuple[int, int]


@dataclass(frozen=True)
class Line:
    """A function to draw: its values, the label that stands on it, and whether it is drawn in dashes."""

    values: Points
    label: str
    dashed: bool = False


@dataclass
class Canvas:
    """A grid of characters over [reach] x [window]; a cell holds the bits of its dots, and the line that came first."""

    reach: Limits
    window: Limits
    columns: int
    rows: int
    ascii_only: bool = False
    cells: dict[Cell, tuple[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.across, self.down = (1, 1) if self.ascii_only else (2, 4)

    def dot(self, x: float, y: float) -> tuple[int, int]:
        """Return the dot of a point, counted from the left and from the top; it may lie outside."""
        column = (x - self.reach[0]) / (self.reach[1] - self.reach[0]) * (self.columns * self.across - 1)
        row = (self.window[1] - y) / (self.window[1] - self.window[0]) * (self.rows * self.down - 1)
        return round(column), round(row)

    def cell(self, x: float, y: float) -> Cell:
        """Return the character that a point falls into."""
        column, row = self.dot(x, y)
        return column // self.across, row // self.down

    def draw(self, x: Points, line: Line, index: int) -> None:
        """Set the dots of a function; what is outside the window is cut off."""
        for column, row in self._walk(x, line.values):
            cell = (column // self.across, row // self.down)
            seen = not line.dashed or column // DASH % 2 == 0
            if seen and 0 <= cell[0] < self.columns and 0 <= cell[1] < self.rows:
                bits, owner = self.cells.get(cell, (0, index))
                self.cells[cell] = bits | DOTS[row % self.down][column % self.across], owner

    def character(self, cell: Cell) -> tuple[str, str]:
        """Return what a cell shows, and its style."""
        if cell in self.cells:
            bits, index = self.cells[cell]
            return GLYPHS[index % len(GLYPHS)] if self.ascii_only else chr(BRAILLE + bits), _style(index)
        zero = self.cell(0.0, 0.0)
        if cell[0] == zero[0] or cell[1] == zero[1]:
            return "." if self.ascii_only else "·", "dim"
        return " ", ""

    def _walk(self, x: Points, values: Points) -> Iterator[tuple[int, int]]:
        """Go along a function dot by dot, without gaps but where it is not finite."""
        low, high = self.window
        bounded = np.clip(values, 2 * low - high, 2 * high - low)
        last: tuple[int, int] | None = None
        for point, value in zip(x, bounded, strict=True):
            if not np.isfinite(value):
                last = None
                continue
            here = self.dot(float(point), float(value))
            start = last or here
            steps = max(abs(here[0] - start[0]), abs(here[1] - start[1]), 1)
            for step in range(steps + 1):
                yield _between(start[0], here[0], step / steps), _between(start[1], here[1], step / steps)
            last = here


def draw(x: Points, lines: Sequence[Line], window: Limits, columns: int, ascii_only: bool = False) -> list[Text]:
    """Draw functions over x with axes, `columns` characters wide; what is outside the window is cut off."""
    heights = ticks(*window, ROWS // ROWS_PER_TICK)
    margin = max(len(number(height)) for height in heights) + 2
    canvas = Canvas((x[0], x[-1]), window, max(columns - margin, CHARACTERS_PER_TICK), ROWS, ascii_only)
    corner, post, tick, rule, notch = "+|+-+" if ascii_only else "└│┤─┬"
    marks = {canvas.cell(0.0, height)[1]: number(height) for height in heights}
    heads = [f"{marks.get(row, ''):>{margin - 2}} {tick if row in marks else post}" for row in range(ROWS)]
    drawn = [Text.assemble((head, "dim"), row) for head, row in zip(heads, plot(canvas, x, lines), strict=True)]
    many = max(canvas.columns // CHARACTERS_PER_TICK, FEWEST_TICKS)
    places = {canvas.cell(place, 0.0)[0]: number(place) for place in ticks(x[0], x[-1], many)}
    foot = "".join(notch if column in places else rule for column in range(canvas.columns))
    drawn.append(Text(" " * (margin - 1) + corner + foot, "dim"))
    drawn.append(Text(" " * margin + _captions(places), "dim"))
    return drawn


def plot(canvas: Canvas, x: Points, lines: Sequence[Line]) -> list[Text]:
    """Draw functions and their labels; where nothing else is, the lines x = 0 and y = 0 are dotted."""
    for index, line in enumerate(lines):
        canvas.draw(x, line, index)
    labels: dict[Cell, tuple[str, str]] = {}
    places = spots(x, np.stack([line.values for line in lines]), canvas.window, canvas.columns / canvas.rows / 2)
    for index, (line, place) in enumerate(zip(lines, places, strict=True)):
        if np.isfinite(place[1]) and canvas.window[0] <= place[1] <= canvas.window[1]:
            column, row = canvas.cell(*place)
            for shift, letter in enumerate(line.label):
                labels[column + shift, row] = letter, f"bold {_style(index)}"
    grid = [[(column, row) for column in range(canvas.columns)] for row in range(canvas.rows)]
    return [Text.assemble(*(labels.get(cell) or canvas.character(cell) for cell in cells)) for cells in grid]


def _style(index: int) -> str:
    return STYLES[index % len(STYLES)]


def _between(start: int, end: int, share: float) -> int:
    return start + round((end - start) * share)


def _captions(places: dict[int, str]) -> str:
    """Write each text centred under its place, the minus sign aside, as far as there is room."""
    written = ""
    for place, text in sorted(places.items()):
        start = max(place - len(text.lstrip("-")) // 2 - text.startswith("-"), 0)
        if not written or start > len(written):
            written = written.ljust(start) + text
    return written
