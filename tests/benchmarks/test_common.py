"""The face of the benchmarks: exit code, JSON and what a bar means."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from common import Results, Size, run


def good(results: Results) -> None:
    results.add("rate", [30.0, 10.0, 20.0], "trials/s", least=20)
    results.add("start", 0.2, "s", most=0.3)
    results.add("for interest", 7, "ms")
    results.peer("other", "other --fast")
    results.skip("absent", "not installed")


def bad(results: Results) -> None:
    results.add("slow", 19.0, "trials/s", least=20)


def test_exit_code_is_0_where_every_bar_holds(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("demo", {"good": good}, argv=[]) == 0
    shown = capsys.readouterr().out
    assert "rate" in shown and ">= 20" in shown and "yes" in shown
    assert "skipped: absent: not installed" in shown


def test_exit_code_is_1_where_a_bar_does_not_hold(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("demo", {"good": good, "bad": bad}, argv=[]) == 1
    assert "NO" in capsys.readouterr().out


def test_only_runs_the_named_parts() -> None:
    assert run("demo", {"good": good, "bad": bad}, argv=["--only", "good"]) == 0


def test_json_holds_figures_machine_versions_and_peers(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    run("demo", {"good": good, "bad": bad}, ["nas", "no-such-package"], argv=["--quick", "--json", str(file)])
    record = json.loads(file.read_text())
    figures = {figure["name"]: figure for figure in record["figures"]}
    assert figures["rate"] == {
        "name": "rate",
        "value": 20.0,
        "unit": "trials/s",
        "bar": ">= 20",
        "holds": True,
        "spread": [10.0, 30.0],
    }
    assert not figures["slow"]["holds"]
    assert figures["for interest"]["bar"] == ""
    assert record["size"] == "quick"
    assert record["peers"] == {"other": "other --fast"}
    assert record["skipped"] == {"absent": "not installed"}
    assert record["machine"]["cores"] >= 1
    assert record["versions"]["nas"] and record["versions"]["no-such-package"] is None
    assert len(record["load"]["before"]) == 3


def test_not_a_number_holds_no_bar() -> None:
    results = Results(Size.QUICK)
    results.add("broken", math.nan, "s", most=1)
    assert not results.hold


def test_sizes_pick_their_numbers() -> None:
    assert [size.pick(1, 2, 3) for size in Size] == [1, 2, 3]
    assert Size.FULL.pick(1, 2) == 2
