"""The catalog: complete JSON, true defaults, drawings that agree with closed forms, errors of one line."""

from __future__ import annotations

import inspect
import io
import json
import re
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.polynomial import Chebyshev
from rich.console import Console
from scipy.interpolate import BSpline
from torch import Tensor, nn

import nas.objectives  # noqa: F401 (registers the objectives)
from nas import catalog, cli, records, showing, tables
from nas.catalog import CatalogError
from nas.drawing.curves import Curves
from nas.drawing.layout import limits, number, spots, ticks
from nas.drawing.picture import picture
from nas.drawing.terminal import ROWS, Canvas, Line, draw
from nas.strategies import FEATURES
from search_spaces import decisions, registry
from search_spaces.decisions import Choice, Integer, Real, Struct
from search_spaces.registry import Entry

ENTRIES = catalog.listed()
DRAWN = [entry for entry in ENTRIES if entry.kind in ("activation", "basis")]
SVG = "{http://www.w3.org/2000/svg}"


def name_of(entry: Entry) -> str:
    return f"{entry.kind}-{entry.name}"


def shown(kind: str, name: str, *settings: str) -> showing.Shown:
    return showing.prepare(registry.find(kind, name), settings)


def functions(kind: str, name: str, *settings: str) -> Curves:
    curves = shown(kind, name, *settings).curves
    assert curves is not None
    return curves


# What is known about an entry


@pytest.mark.parametrize("entry", ENTRIES, ids=name_of)
def test_the_record_of_an_entry_is_complete(entry: Entry) -> None:
    record = json.loads(json.dumps(records.entry_record(entry), allow_nan=False))
    assert set(record) == {"kind", "name", "summary", "paper", "options", "supports", "lacks"}
    assert record["kind"] == entry.kind and record["name"] == entry.name and record["summary"]
    parameters = inspect.signature(entry.make).parameters
    assert [each["name"] for each in record["options"]] == list(entry.options.fields)
    for option in record["options"]:
        domain = entry.options.fields[option["name"]]
        assert option["domain"] == decisions.describe(domain)
        assert option["default"] == parameters[option["name"]].default
        if isinstance(option["default"], dict | list):
            decisions.trace_of(domain, option["default"])
        elif isinstance(domain, Choice | Integer | Real):
            decisions.accept(option["name"], domain, option["default"])
    if entry.kind == "strategy":
        assert list(record["supports"]) == list(FEATURES)
        assert {name for name, able in record["supports"].items() if not able} == set(entry.lacks)
    elif entry.kind in catalog.NOT_MODULES:
        assert record["supports"] is None
    else:
        assert list(record["supports"]) == ["float32", "bfloat16", "compile", "export", "vmap"]
        assert {name for name, able in record["supports"].items() if not able} == set(entry.lacks)
        assert record["supports"]["float32"]


def test_a_component_says_what_it_lacks() -> None:
    lame = Entry("norm", "lame", nn.Identity, "No norm.", lacks=frozenset({"vmap", "export"}))
    assert catalog.supports(lame) == {
        "float32": True,
        "bfloat16": True,
        "compile": True,
        "export": False,
        "vmap": False,
    }
    assert records.entry_record(registry.find("strategy", "cmaes"))["lacks"] == ["several objectives"]


def test_arguments_that_no_search_decides_are_listed_apart() -> None:
    spline = registry.find("basis", "bspline")
    assert {each.name: each.default for each in catalog.arguments(spline)}.items() >= {"low": -2.0, "high": 2.0}.items()
    assert not {each.name for each in catalog.arguments(spline)} & {each.name for each in catalog.options(spline)}


@pytest.mark.parametrize(
    ("kind", "name", "count"),
    [
        ("activation", "relu", 0),
        ("activation", "rational", 10),
        ("basis", "chebyshev", 0),
        ("layer", "conv2d", 16 * 16 * 9 + 16),
        ("norm", "batch", 32),
        ("wiring", "dense", 32 * 16 + 16),
        ("head", "linear", 16 * 10 + 10),
        ("sparsity", "random", None),
        ("strategy", "tpe", None),
    ],
)
def test_trainable_parameters(kind: str, name: str, count: int | None) -> None:
    assert shown(kind, name).parameters == count


def test_building_leaves_the_random_state_alone_and_is_repeatable() -> None:
    first = functions("basis", "adaptive")
    torch.manual_seed(5)
    before = torch.get_rng_state()
    second = functions("basis", "adaptive")
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(first.values, second.values)


def test_the_documentation_is_there_in_full() -> None:
    text = catalog.about(registry.find("basis", "bspline"))
    assert "Shapes: [...] to [..., count]" in text and "With d = |x - c|/h" in text
    assert catalog.about(registry.find("objective", "accuracy")) == "share of validation samples classified rightly"


# The functions


def test_values_and_slopes_of_activations() -> None:
    tanh = functions("activation", "tanh")
    assert (tanh.x[0], tanh.x[-1]) == (-4, 4) and 0.0 in tanh.x
    np.testing.assert_allclose(tanh.values[0], np.tanh(tanh.x), atol=1e-6)
    np.testing.assert_allclose(tanh.slopes[0], 1 - np.tanh(tanh.x) ** 2, atol=1e-6)
    relu = functions("activation", "relu")
    assert np.array_equal(relu.values[0], np.maximum(relu.x, 0)) and np.array_equal(relu.slopes[0], relu.x > 0)
    helu = functions("activation", "helu", "alpha=0.2")
    assert np.array_equal(helu.values[0], relu.values[0])
    away = abs(helu.x + 0.2) > 1e-6
    assert np.array_equal(helu.slopes[0][away], (helu.x > -0.2)[away])


def test_values_and_slopes_of_bases() -> None:
    basis = functions("basis", "chebyshev", "degree=4")
    assert (basis.x[0], basis.x[-1]) == (-3, 3) and basis.values.shape == basis.slopes.shape == (5, len(basis.x))
    z = np.tanh(basis.x)
    for n in range(5):
        polynomial = Chebyshev.basis(n)
        np.testing.assert_allclose(basis.values[n], polynomial(z), atol=1e-5)
        np.testing.assert_allclose(basis.slopes[n], polynomial.deriv()(z) * (1 - z**2), atol=1e-4)


def test_settings_change_what_is_built() -> None:
    basis = functions("basis", "bspline", "order=2", "intervals=3", "low=-3", "high=3")
    inside = abs(basis.x) < 2.99
    knots = np.arange(-3.0, 1.0) * 2 - 1  # the second of five quadratic splines, 2 wide
    reference = BSpline.basis_element(knots + 2, extrapolate=False)
    np.testing.assert_allclose(basis.values[1][inside], np.nan_to_num(reference(basis.x[inside])), atol=1e-5)
    np.testing.assert_allclose(basis.values.sum(0)[inside], 1, atol=1e-5)


def test_the_caption_says_that_an_activation_mixes_its_inputs() -> None:
    assert any("mixes" in note for note in functions("activation", "maxmin").notes)
    assert functions("activation", "relu").notes == ()
    assert functions("activation", "prelu").notes == ("before training, its parameters at their starting values",)


class Odd(nn.Module):
    """Breaks the contract of activations in a chosen way."""

    def __init__(self, channels: int, how: str = "raises") -> None:
        super().__init__()
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "raises":
            raise RuntimeError("a sequence is asked\nand more")
        return {"reshapes": x[:, :, 0], "nan": x * torch.nan, "constant": torch.ones_like(x)}[self.how]


@pytest.mark.parametrize(
    ("how", "reason"),
    [("raises", "a sequence is asked$"), ("reshapes", r"it makes \[16, 8\] of \[16, 8, 8\]"), ("nan", "not finite")],
)
def test_what_has_no_curve_is_not_drawn(how: str, reason: str, tmp_path: Path) -> None:
    odd = Entry("activation", "odd", lambda channels: Odd(channels, how), "Odd.")
    prepared = showing.prepare(odd)
    assert prepared.curves is None and re.search(reason, prepared.why_not) and "\n" not in prepared.why_not
    with pytest.raises(CatalogError, match="activation odd has no picture"):
        showing.prepare(odd, output=tmp_path / "odd.png")


def test_what_is_drawn_is_in_inference_mode() -> None:
    curves = showing.prepare(Entry("activation", "drop", lambda channels: nn.Dropout(0.5), "Dropout.")).curves
    assert curves is not None and np.array_equal(curves.values[0], curves.x)


def test_what_does_not_depend_on_its_input_has_slope_zero() -> None:
    curves = showing.prepare(Entry("activation", "odd", lambda channels: Odd(channels, "constant"), "1.")).curves
    assert curves is not None and np.all(curves.values == 1) and np.all(curves.slopes == 0)


# In the terminal


def characters(values: np.ndarray[Any, Any], canvas: Canvas) -> list[str]:
    canvas.draw(np.linspace(*canvas.reach, len(values)), Line(values, "f"), 0)
    return [
        "".join(canvas.character((column, row))[0] for column in range(canvas.columns)) for row in range(canvas.rows)
    ]


def test_the_identity_is_a_diagonal() -> None:
    line = np.linspace(-2, 2, 5)
    drawn = characters(line, Canvas((-2, 2), (-2, 2), 5, 5, ascii_only=True))
    assert drawn == ["  . *", "  .* ", "..*..", " *.  ", "* .  "]
    # Two Braille characters are 4 x 4 dots; the diagonal is dots 7 and 6 of the first, 2 and 4 of the second.
    line = np.linspace(-2, 2, 4)
    assert characters(line, Canvas((-2, 2), (-2, 2), 2, 1)) == [chr(0x2800 + 0x40 + 0x20) + chr(0x2800 + 0x02 + 0x08)]


def test_a_jump_is_a_vertical_line_and_a_gap_stays_open() -> None:
    jump = np.array([1.0, 1, 3, 3])
    assert characters(jump, Canvas((1, 4), (1, 3), 4, 3, ascii_only=True)) == ["  **", " *  ", "**  "]
    gap = np.array([1.0, np.nan, np.inf, 3])
    assert characters(gap, Canvas((1, 4), (1, 3), 4, 3, ascii_only=True)) == ["   *", "    ", "*   "]


def test_what_is_outside_is_cut_off() -> None:
    assert characters(np.array([1.0, 1, 1e9, 1e30]), Canvas((1, 4), (1, 2), 4, 2, ascii_only=True)) == [" *  ", "**  "]


@pytest.mark.parametrize(
    ("columns", "below"), [(30, "-4 -2 0 2 4"), (60, "-4 -2 0 2 4"), (100, "-4 -3 -2 -1 0 1 2 3 4")]
)
@pytest.mark.parametrize("ascii_only", [False, True])
def test_a_drawing_has_axes_and_fits_its_width(columns: int, below: str, ascii_only: bool) -> None:
    x = np.linspace(-4, 4, 801)
    lines = [Line(x, "f"), Line(np.full_like(x, -3), "g", dashed=True)]
    drawn = [text.plain for text in draw(x, lines, (-4.2, 4.2), columns, ascii_only)]
    assert len(drawn) == ROWS + 2 and all(len(row) <= columns for row in drawn)
    assert drawn[-1].split() == below.split()
    assert [row[:2].strip() for row in drawn[:ROWS] if row[:2].strip()] == ["4", "2", "0", "-2", "-4"]
    assert "".join(drawn).isascii() is ascii_only
    assert sum(row.count("f") for row in drawn) == 1 and sum(row.count("g") for row in drawn) == 1


def test_dashes_are_half_of_a_line() -> None:
    canvas = Canvas((0, 1), (0, 1), 24, 1, ascii_only=True)
    canvas.draw(np.array([0.0, 1.0]), Line(np.array([0.5, 0.5]), "g", dashed=True), 0)
    assert sorted(column for column, _ in canvas.cells) == [c for c in range(24) if c // 3 % 2 == 0]


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.integers(5, 12))
def test_ticks_are_few_round_and_inside(low: float, span: float, most: int) -> None:
    found = ticks(low, low + span, most)
    assert 2 <= len(found) <= most
    assert all(low - 1e-6 * span <= tick <= low + span + 1e-6 * span for tick in found)
    step = found[1] - found[0]
    assert any(abs(step / 10 ** round(np.log10(step / m)) - m) < 1e-3 for m in (1, 2, 5))


def test_ticks_and_limits_by_hand() -> None:
    assert ticks(-4, 4, 5) == [-4, -2, 0, 2, 4]
    assert [number(tick) for tick in ticks(-0.31, 0.32, 5)] == ["-0.2", "0", "0.2"]
    assert limits(np.array([0.0, np.nan, 2.0, np.inf])) == pytest.approx((-0.1, 2.1))
    assert limits(np.full(4, 3.0)) == pytest.approx((1.9, 4.1))
    assert limits(np.array([np.nan])) == (-1, 1)
    spike = np.append(np.linspace(0, 1, 1000), 1e6)
    assert limits(spike)[1] < 1.1


def test_a_label_stands_on_its_function_and_away_from_others() -> None:
    x = np.linspace(-3, 3, 601)
    values = np.stack([np.exp(-((x - c) ** 2)) for c in (-2, 0, 2)])
    for c, (place, height) in zip((-2, 0, 2), spots(x, values, (-0.1, 1.1)), strict=True):
        assert height == pytest.approx(np.exp(-((place - c) ** 2)), abs=1e-9) and abs(place - c) < 0.5


# Pictures


@pytest.mark.parametrize("entry", DRAWN, ids=name_of)
def test_every_activation_and_basis_is_drawn(entry: Entry, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepared = showing.prepare(entry)
    tables.print_shown(prepared)
    printed = capsys.readouterr().out
    assert entry.paper.split()[-1:] == [] or entry.paper.split()[-1] in printed
    assert json.loads(json.dumps(records.shown_record(prepared), allow_nan=False))["parameters"] is not None
    if prepared.curves is None:
        assert prepared.why_not and "not drawn" in printed
        return
    assert "└" in printed and np.isfinite(prepared.curves.values).all()
    showing.save(prepared, tmp_path / "drawn.svg")
    root = ElementTree.parse(tmp_path / "drawn.svg").getroot()
    paths = {group.get("id"): len(group.findall(f"{SVG}path")) for group in root.iter(f"{SVG}g")}
    for i in range(len(prepared.curves.values)):
        assert paths[f"function-{i}"] == paths[f"derivative-{i}"] == 1
    assert entry.name in texts(root)


def texts(root: ElementTree.Element) -> list[str]:
    return ["".join(each.itertext()).strip() for each in root.iter(f"{SVG}text")]


def test_a_png_is_a_png(tmp_path: Path) -> None:
    prepared = showing.prepare(registry.find("basis", "chebyshev"), output=tmp_path / "t.PNG")
    showing.save(prepared, tmp_path / "t.PNG")
    data = (tmp_path / "t.PNG").read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n") and data.endswith(b"IEND\xaeB`\x82")
    width, height = struct.unpack(">II", data[16:24])
    assert width == 1280 and 1000 < height < 1300


def test_the_paths_of_a_picture_are_functions_and_derivatives() -> None:
    x = np.linspace(-1, 1, 21)
    drawn = picture(Curves(x, np.stack([x, x**2]), np.stack([x**0, 2 * x])), "p", "basis", "x, x²", "", ".svg")
    groups = {group.get("id"): group for group in ElementTree.fromstring(drawn).iter(f"{SVG}g")}

    def heights(name: str) -> list[float]:
        (path,) = groups[name].findall(f"{SVG}path")
        return [float(y) for y in re.findall(r"[ML] \S+ (\S+)", path.get("d", ""))]

    assert len(set(heights("derivative-0"))) == 1 and heights("function-0") == sorted(heights("function-0"))[::-1]
    assert heights("derivative-1") == sorted(heights("derivative-1"))[::-1]
    bowl = heights("function-1")
    assert bowl[0] == pytest.approx(bowl[-1]) and max(bowl) == bowl[len(bowl) // 2]  # downwards is up in SVG


def test_text_of_a_picture_is_what_was_written() -> None:
    x = np.linspace(-1, 1, 11)
    curves = Curves(x, x[None], np.ones((1, 11)))
    name, formula = "<b>&\"'", "a < b & c > $x_1^2$ \\frac <script>alert(1)</script>"
    drawn = picture(curves, name, "activation", formula, "x = 1 · <i>", ".svg")
    found = texts(ElementTree.fromstring(drawn))
    assert name in found and formula in found and "x = 1 · <i>" in found and "f(x)" in found
    assert drawn == picture(curves, name, "activation", formula, "x = 1 · <i>", ".svg")
    assert picture(curves, name, "activation", formula, "", ".png").startswith(b"\x89PNG")


# The command


@dataclass
class Ran:
    code: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NAS_DEBUG", "")

    def run(command: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["nas", *command.split()])
        with pytest.raises(SystemExit) as end:
            cli.main()
        printed = capsys.readouterr()
        return Ran(int(end.value.code or 0), printed.out, printed.err)

    return run


def test_json_of_all_of_a_kind_and_of_one(run: Run) -> None:
    everything = json.loads(run("catalog --json").out)
    assert [(each["kind"], each["name"]) for each in everything] == [(each.kind, each.name) for each in ENTRIES]
    bases = [each for each in everything if each["kind"] == "basis"]
    for command in ("catalog basis --json", "catalog --json basis", "catalog list basis --json"):
        assert json.loads(run(command).out) == bases
    one = json.loads(run("catalog show bspline --set order=2 --json").out)
    assert one.items() >= next(each for each in bases if each["name"] == "bspline").items()
    assert (
        one["set"] == {"order": 2} and one["parameters"] == 0 and {"name": "low", "default": -2.0} in one["arguments"]
    )
    assert "Shapes" in one["documentation"]


@pytest.mark.parametrize("width", [80, 160])
def test_tables_say_everything_in_any_width(run: Run, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setattr(tables, "console", Console(highlight=False, width=width))
    ran = run("catalog")
    assert ran.code == 0 and ran.err == "" and "\x1b" not in ran.out
    assert all(len(line) <= width for line in ran.out.splitlines())
    for entry in ENTRIES:
        assert re.search(rf"^│ {re.escape(entry.name)} ", ran.out, re.MULTILINE), entry.name
    for text in ("degree: an", "default 3", "KAN: Kolmogorov-Arnold", "all but vmap", "all but several"):
        assert text in ran.out


def test_show_prints_facts_and_a_drawing_and_writes_a_picture(run: Run) -> None:
    ran = run("catalog show bspline --set order=2 --output spline.svg")
    assert ran.code == 0 and ran.err == "" and "\x1b" not in ran.out
    for text in ("basis bspline", "MatrixKAN", "order: an integer from 2 to 3; default 3", "low: default -2.0"):
        assert text in ran.out
    assert "float32, bfloat16, compile, export, vmap" in ran.out and "its 7 functions" in ran.out
    assert ran.out.endswith("picture in spline.svg\n")
    found = texts(ElementTree.parse("spline.svg").getroot())
    assert any(text.startswith("intervals = 5, order = 2") for text in found)


def test_show_of_what_has_no_drawing_prints_facts_alone(run: Run) -> None:
    ran = run("catalog show conv2d")
    assert ran.code == 0 and "2,320 trainable at 16 channels" in ran.out and "└" not in ran.out
    assert run("catalog show tpe").code == run("catalog show kan_vision").code == 0


def test_plain_ascii_where_the_terminal_has_no_more(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setattr(sys, "argv", ["nas", "catalog", "show", "silu"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    screen.flush()
    printed = screen.buffer.getvalue().decode("ascii")  # type: ignore[attr-defined]
    assert not end.value.code and "f'" in printed and "***" in printed and "+---" in printed


BAD = {
    "unknown kind": ("catalog basiss", "unknown kind 'basiss': did you mean basis?"),
    "a name for a kind": ("catalog bspline", "unknown kind 'bspline': it is a basis, try `nas catalog show bspline`"),
    "a kind for a name": ("catalog show basis", "unknown name 'basis': it is a kind, try `nas catalog basis`"),
    "unknown name": ("catalog show bsplin", "unknown name 'bsplin': did you mean bspline .basis."),
    "nothing near": ("catalog show zzzzzz", "unknown name 'zzzzzz': `nas catalog` lists all"),
    "two kinds": ("catalog show dense", "'dense' is a sparsity and a wiring: add --kind sparsity or --kind wiring"),
    "not of the kind": ("catalog show bspline --kind norm", "unknown norm 'bspline': there are: batch"),
    "no name": ("catalog show", "Missing argument 'NAME' .see `nas catalog show --help`"),
    "no such option": ("catalog show relu --kid norm", "--kid.*catalog show --help"),
    "two names": ("catalog a b", "extra argument.*b"),
    "set nothing": ("catalog show chebyshev --set degree", "--set 'degree' does not parse: write it as option=value"),
    "set the unknown": ("catalog show chebyshev --set degre=3", "has no option 'degre': did you mean degree?"),
    "set what is not there": ("catalog show relu --set a=3", "activation relu has no option 'a': it has none"),
    "set outside": (
        "catalog show chebyshev --set degree=9",
        "--set degree is 9, but an integer from 2 to 5 is",
    ),
    "set a word": ("catalog show chebyshev --set degree=x", '--set degree is "x", but an integer from 2 to 5'),
    "set a fraction": ("catalog show chebyshev --set degree=2.5", "--set degree is 2.5, but an integer from 2 to 5"),
    "set no option": ("catalog show rational --set init=silly", '--set init is "silly", but one of "silu", "gelu"'),
    "set half of it": (
        'catalog show kan_conv2d --set basis={"rbf":{}}',
        "--set basis:rbf lacks 'centres'; it needs centres",
    ),
    "set no number": ("catalog show bspline --set low=x", "--set low is 'x', but a number is asked"),
    "set an endless number": ("catalog show bspline --set low=1e999", "--set low is '1e999', but a number is asked"),
    "set what does not fit": ("catalog show bspline --set low=3", "basis bspline cannot be made with low=3.0: no B-sp"),
    "set no component": ("catalog show tpe --set a=1", "--set 'a=1': only components take settings, but tpe is a str"),
    "draw a layer": ("catalog show conv2d -o a.png", "'a.png': layer conv2d has no picture: only activations and bas"),
    "draw a GIF": ("catalog show relu -o a.gif", "--output 'a.gif' ends in neither .png nor .svg"),
    "draw without an ending": ("catalog show relu -o a", "--output 'a' ends in neither .png nor .svg"),
    "draw to no folder": ("catalog show relu -o no/a.svg", "No such file or directory: 'no/a.svg'"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_mistake_is_one_line_and_writes_nothing(run: Run, case: str, tmp_path: Path) -> None:
    command, message = BAD[case]
    ran = run(command)
    assert ran.code == 2 and ran.out == ""
    assert ran.err.startswith("nas: ") and ran.err.count("\n") == 1 and re.search(message, ran.err), ran.err
    assert not list(tmp_path.iterdir())


def test_a_kind_settles_which_is_meant(run: Run) -> None:
    assert run("catalog show dense --kind wiring").out.startswith("wiring dense")
    assert run("catalog show dense --kind sparsity").out.startswith("sparsity dense")


def test_settings_with_decisions_of_their_own(run: Run) -> None:
    alone = json.loads(run("catalog show kan_conv2d --set basis=chebyshev --json").out)
    assert alone["parameters"] == 16 * 16 * 9 * (1 + 4) + 16
    inner = json.loads(run('catalog show kan_conv2d --set basis={"chebyshev":{"degree":5}} --json').out)
    assert inner["parameters"] == 16 * 16 * 9 * (1 + 6) + 16 and inner["set"] == {"basis": {"chebyshev": {"degree": 5}}}


@pytest.mark.parametrize("command", ["catalog -h", "catalog show -h", "catalog list -h", "catalog basis -h"])
def test_help(run: Run, command: str) -> None:
    ran = run(command)
    assert ran.code == 0 and "Usage: nas catalog" in ran.out and "nas catalog" in ran.out.split("Usage", 1)[1]


def test_a_new_entry_is_listed_by_itself(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    registry.entries("activation")
    grown = dict(registry._entries["activation"])
    monkeypatch.setitem(registry._entries, "activation", grown)

    @registry.register("activation", "cubic", paper="None [yet]", options=Struct(scale=Real(0.5, 2.0)))
    def cubic(channels: int, scale: float = 1.0) -> nn.Module:
        """s·x³ [bold]."""
        return Cube(scale)

    ran = run("catalog show cubic --set scale=2")
    assert ran.code == 0 and "s·x³ [bold]." in ran.out and "None [yet]" in ran.out
    assert "s·x³ [bold]." in run("catalog activation").out
    np.testing.assert_allclose(functions("activation", "cubic", "scale=2").slopes[0, -1], 2 * 3 * 16, rtol=1e-5)


class Cube(nn.Module):
    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x**3
