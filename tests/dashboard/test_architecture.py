"""How architectures, numbers and addresses are written."""

from __future__ import annotations

from random import Random

import pytest

from dashboard.pages.architecture import decisions
from dashboard.words import number, study_path
from search_spaces.decisions import Choice, Integer, Real, Repeat, Struct, describe, resolve

TREE = Struct(
    network=Struct(
        stem=Choice(16, 32),
        stages=Repeat(
            Struct(
                layer=Choice(
                    "skip",
                    scale=Integer(1, 9),
                    kan=Struct(basis=Choice(spline=Struct(order=Integer(1, 3))), rate=Real(0, 1)),
                )
            ),
            1,
            4,
        ),
    ),
)


@pytest.mark.parametrize("seed", range(20))
def test_every_decision_is_listed_at_its_path(seed: int) -> None:
    rng = Random(seed)
    architecture, trace = resolve(TREE, lambda path, domain: domain.draw(rng))
    listed = {each.path: each.value for each in decisions(architecture, describe(TREE))}
    for path, value in trace.items():
        if path.endswith("#"):
            assert listed[path[:-1]] == f"{value} item" + ("s" if value != 1 else "")
        else:
            assert listed[path] == (f"{value:.6g}" if isinstance(value, float) else str(value))


def test_without_a_description_options_are_told_by_their_form() -> None:
    architecture = {
        "network": {"layer": {"kan": {"order": 3}}, "norm": "batch", "stages": [{"width": 8, "skip": True}]}
    }
    assert {each.path: each.value for each in decisions(architecture)} == {
        "network": "",
        "network.layer": "kan",
        "network.layer:kan.order": "3",
        "network.norm": "batch",
        "network.stages": "1 item",
        "network.stages[0]": "",
        "network.stages[0].width": "8",
        "network.stages[0].skip": "true",
    }


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.97314, "", "0.9731"),
        (1.0, "", "1.0000"),
        (0.0, "", "0.0000"),
        (12345.0, "", "12,345"),
        (1.25e-7, "", "1.250e-07"),
        (4_190_000.0, "bytes", "4.19 MB"),
        (512.0, "bytes", "512 bytes"),
        (3.5, "ms", "3.5000 ms"),
        (float("nan"), "", "nan"),
        (float("-inf"), "ms", "-inf"),
        (None, "ms", "\N{EN DASH}"),
    ],
)
def test_numbers_are_written_to_be_compared(value: float | None, unit: str, text: str) -> None:
    assert number(value, unit) == text


def test_a_name_with_a_slash_stays_one_part_of_its_address() -> None:
    assert study_path("a/b <c>?") == "/study/a%2Fb%20%3Cc%3E%3F"
