"""Schedules that population based training found: read off a chain of trials, written to a file, refused in a line."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas import tuned
from nas.job import Segment
from nas.schedules.explore import explore, midway
from nas.tuned import Tuned, TunedError
from search_spaces.decisions import Architecture
from search_spaces.space import Change, find_space

SPACE = find_space("kan_vision")


@dataclass(frozen=True)
class Row:
    number: int
    architecture: Architecture
    parent: int | None = None
    forked_at: int | None = None


def chain(seed: int = 0, forked_at: tuple[int, ...] = (2, 5)) -> list[Row]:
    """A trial and its forks, each explored from the one before."""
    rng = Random(seed)
    rows = [Row(3, SPACE.draw(rng))]
    for begin in forked_at:
        architecture = explore(SPACE, rows[-1].architecture, rng, 0.25, midway(SPACE))
        rows.append(Row(rows[-1].number + 4, architecture, rows[-1].number, begin))
    return rows


def with_training(row: Row, **training: Any) -> Row:
    return replace(row, architecture=row.architecture | {"training": row.architecture["training"] | training})


def test_a_lineage_ends_where_a_trial_began_by_itself() -> None:
    rows = chain()
    # The first one descends from another trial, as a mutation of it: no weights came from there.
    rows[0] = replace(rows[0], parent=1)
    others = [Row(1, {}), Row(4, {}, parent=3, forked_at=2)]
    known = {row.number: row for row in [*rows, *others]}
    assert tuned.lineage(rows[2], known.__getitem__) == rows
    assert tuned.lineage(rows[1], known.__getitem__) == rows[:2]
    assert tuned.lineage(rows[0], known.__getitem__) == rows[:1]


def test_segments_are_the_training_decisions_from_each_fork_on() -> None:
    rows = chain()
    found = Tuned.of("kan_vision", 8, rows)
    first, second, third = (row.architecture["training"] for row in rows)
    assert found.segments == (Segment(0, first), Segment(2, second), Segment(5, third))
    assert found.trials == (3, 7, 11)
    assert found.network == rows[0].architecture["network"]


def test_the_network_is_the_last_one_of_the_chain() -> None:
    rows = chain()
    network = rows[2].architecture["network"] | {"stem": "another"}
    rows[2] = replace(rows[2], architecture=rows[2].architecture | {"network": network})
    assert Tuned.of("kan_vision", 8, rows).network["stem"] == "another"


def test_what_changed_at_each_step() -> None:
    first = with_training(chain(forked_at=())[0], batch=32, label_smoothing=0.1, augmentation="none")
    second = replace(with_training(first, batch=64), number=7, parent=3, forked_at=2)
    third = replace(with_training(second, augmentation={"mixup": {"alpha": 0.5}}), number=11, parent=7, forked_at=5)
    first_step, second_step, third_step = tuned.steps(SPACE, [first, second, third])
    assert (first_step.begin, first_step.trial, first_step.changes) == (0, 3, ())
    assert (second_step.begin, second_step.trial) == (2, 7)
    assert second_step.changes == (Change("training.batch", 32, 64),)
    assert (third_step.begin, third_step.trial) == (5, 11)
    assert third_step.changes == (
        Change("training.augmentation", "none", "mixup"),
        Change("training.augmentation:mixup.alpha", None, 0.5),
    )


@given(st.integers(0, 2**32), st.sets(st.integers(1, 7)))
def test_what_is_written_is_read_back(seed: int, forked_at: set[int]) -> None:
    found = Tuned.of("kan_vision", 8, chain(seed, tuple(sorted(forked_at))))
    text = json.dumps(found.to_json(), allow_nan=False)
    again = Tuned.from_json(json.loads(text))
    assert again == found
    again.require(SPACE, 8)


def test_a_file_has_the_form_that_is_documented(tmp_path: Path) -> None:
    row = chain(forked_at=())[0]
    data = Tuned.of("kan_vision", 4, [row]).to_json()
    assert data == {
        "format": "nas-schedule",
        "version": 1,
        "space": "kan_vision",
        "epochs": 4,
        "network": row.architecture["network"],
        "segments": [{"begin": 0, "training": row.architecture["training"], "trial": 3}],
    }
    (tmp_path / "file.json").write_text(json.dumps(data))
    assert tuned.read(tmp_path / "file.json").to_json() == data


def test_a_trial_whose_space_has_no_training_has_no_schedule() -> None:
    with pytest.raises(TunedError, match=r"^trial 3 has no schedule: .* space 'edges' is not made of a network"):
        Tuned.of("edges", 8, [Row(3, {"edge": "skip"})])


def spoilt(**entries: Any) -> dict[str, Any]:
    data = Tuned.of("kan_vision", 8, chain()).to_json() | entries
    return {name: each for name, each in data.items() if each is not None}


def begins(*epochs: Any) -> dict[str, Any]:
    return spoilt(segments=[{"begin": each, "training": {}, "trial": 0} for each in epochs])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "f.json is no schedule: `nas export --schedule` writes one"),
        ({"segments": []}, "f.json is no schedule: `nas export --schedule` writes one"),
        (spoilt(version=2), "f.json has version 2, but version 1 is known: export it again"),
        (spoilt(space=None), "f.json lacks 'space'"),
        (spoilt(space=3), "f.json has space 3, but a text is asked"),
        (spoilt(epochs="8"), 'f.json has epochs "8", but a whole number is asked'),
        (spoilt(epochs=True), "f.json has epochs true, but a whole number is asked"),
        (spoilt(segments={}), "f.json has segments {}, but a list is asked"),
        (spoilt(segments=[3]), "f.json has a segment 3, but an object is asked"),
        (spoilt(segments=[{"begin": 0, "trial": 1}]), "f.json lacks 'training'"),
        (
            begins(),
            "f.json has segments that begin at epochs [], but 0 and then ever later ones below 8 are asked",
        ),
        (
            begins(1, 2),
            "f.json has segments that begin at epochs [1, 2], but 0 and then ever later ones below 8 are asked",
        ),
        (
            begins(0, 4, 4),
            "f.json has segments that begin at epochs [0, 4, 4], but 0 and then ever later ones below 8 are asked",
        ),
        (
            begins(0, 8),
            "f.json has segments that begin at epochs [0, 8], but 0 and then ever later ones below 8 are asked",
        ),
    ],
)
def test_a_file_that_is_no_schedule_is_refused_in_a_line(data: Any, message: str) -> None:
    with pytest.raises(TunedError, match=f"^{re.escape(message)}$"):
        Tuned.from_json(data, "f.json")


def test_a_file_that_cannot_be_read_is_refused_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(TunedError, match=r"none\.json cannot be read: No such file or directory$"):
        tuned.read(tmp_path / "none.json")
    with pytest.raises(TunedError, match=r"cannot be read: Is a directory$"):
        tuned.read(tmp_path)
    for content in (b'{"format": ', b"\xff\xfe\x00"):
        (tmp_path / "half.json").write_bytes(content)
        with pytest.raises(TunedError, match=r"^\S*half\.json is no JSON: [^\n]*$"):
            tuned.read(tmp_path / "half.json")


def test_a_schedule_goes_with_its_space_and_epochs_alone() -> None:
    found = Tuned.of("kan_vision", 8, chain())
    with pytest.raises(TunedError, match=r"^the schedule is one of 8 epochs, but --epochs is 9: choose --epochs 8$"):
        found.require(SPACE, 9)
    with pytest.raises(TunedError, match=r"^the schedule is one for space 'kan_vision', but --space is 'other'"):
        found.require(replace(SPACE, name="other"), 8)


def test_a_schedule_that_leaves_its_space_is_refused() -> None:
    rows = chain()
    rows[1] = with_training(rows[1], label_smoothing=0.9)
    message = "^the schedule is none of space 'kan_vision' from epoch 2 on: training.label_smoothing is 0.9, but"
    with pytest.raises(TunedError, match=message):
        Tuned.of("kan_vision", 8, rows).require(SPACE, 8)


def test_a_schedule_that_changes_what_cannot_change_is_refused() -> None:
    adamw, sgd = (
        {"adamw": {"rate": 0.01, "weight_decay": 0.01}},
        {"sgd": {"rate": 0.05, "momentum": 0.9, "weight_decay": 1e-4}},
    )
    rows = chain()
    changed = [with_training(row, optimizer=each) for row, each in zip(rows, (adamw, adamw, sgd), strict=True)]
    message = "^the schedule changes training.optimizer from 'adamw' to 'sgd', but that cannot change in mid-training$"
    with pytest.raises(TunedError, match=message):
        Tuned.of("kan_vision", 8, changed).require(SPACE, 8)
