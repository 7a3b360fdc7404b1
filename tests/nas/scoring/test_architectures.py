"""Which architectures are scored: draws without repetition, and files."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from fake_runs import TWELVE, WIDE

from nas.scoring.architectures import drawn, read, written
from nas.settings import SettingsError
from search_spaces.decisions import Choice, Struct, canonical
from search_spaces.space import Space, find_space

LOPSIDED = Space(
    "lopsided",
    "99 of 100 architectures are behind one of two options",
    Struct(network=Choice("plain", many=Struct(a=Choice(*range(9)), b=Choice(*range(11))))),
    lambda architecture, signature: pytest.fail("nothing is built here"),
)


def draws(space: Space, seed: int, count: int | None = None) -> list[str]:
    return [canonical(each) for each in islice(drawn(space, seed), count)]


def test_draws_are_repeatable_and_differ_by_seed() -> None:
    assert draws(WIDE, 0, 50) == draws(WIDE, 0, 50) != draws(WIDE, 1, 50)


def test_fewer_draws_are_the_beginning_of_more() -> None:
    assert draws(WIDE, 3, 50)[:20] == draws(WIDE, 3, 20)


def test_no_architecture_comes_twice_and_a_finite_space_comes_to_its_end() -> None:
    twelve = {canonical({"network": {"one": one, "two": two}}) for one in "abc" for two in (1, 2, 3, 4)}
    assert sorted(draws(TWELVE, 0)) == sorted(twelve)
    lopsided = draws(LOPSIDED, 0)
    assert len(lopsided) == len(set(lopsided)) == 100


def test_draws_are_those_of_the_space(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every decision is drawn evenly: half of the first draws would be the plain one, and it comes soon."""
    places = [draws(LOPSIDED, seed).index('{"network":"plain"}') for seed in range(20)]
    assert max(places) < 12


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines))
    return path


def test_a_file_has_an_architecture_a_line_and_each_comes_once(tmp_path: Path) -> None:
    one, two = ({"network": {"one": name, "two": 3}} for name in "ab")
    lines = [json.dumps(one), "", f"  {json.dumps(two)}", json.dumps(one, indent=None, sort_keys=True)]
    assert read(write(tmp_path / "some.jsonl", *lines), TWELVE) == [one, two]


@pytest.mark.parametrize("name", ["nasbench201", "nasbench_macro", "kan_vision"])
def test_what_is_written_is_read_again(tmp_path: Path, name: str) -> None:
    space = find_space(name)
    some: list[Any] = list(islice(drawn(space, 0), 20))
    texts = [written(each, space) for each in some]
    assert texts[0].startswith({"nasbench201": "|", "nasbench_macro": ("0", "1", "2"), "kan_vision": "{"}[name])
    assert read(write(tmp_path / "some.txt", *texts), space) == some


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"network": {"one": "d", "two": 1}}', 'line 2: network.one is "d", but'),
        ('{"network"', "line 2: '{\"network\"' is not JSON"),
        ("a1", "line 2: 'a1' is not a JSON object, and space twelve has no notation of its own"),
    ],
)
def test_a_line_that_is_none_of_the_space_is_named(tmp_path: Path, line: str, said: str) -> None:
    path = write(tmp_path / "some.txt", '{"network": {"one": "a", "two": 1}}', line)
    with pytest.raises(SettingsError) as error:
        read(path, TWELVE)
    assert said in str(error.value) and f"--architectures {str(path)!r}" in str(error.value)


def test_a_file_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read: No such file or directory; name another file"):
        read(tmp_path / "none", TWELVE)
    with pytest.raises(SettingsError, match="has no architecture: write one a line"):
        read(write(tmp_path / "empty", "", " "), TWELVE)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match="it is not text in UTF-8"):
        read(tmp_path / "binary", TWELVE)
