from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_space import TINY, architecture, job
from torch import nn

from nas.export import ExportError, evaluate_folder, export, folder, load
from nas.tasks import find_task
from nas.training import evaluate as evaluation
from nas.training.evaluate import evaluate

FACTS = {"values": {"accuracy": 0.9125, "params": 2618.0}, "seed": 7, "epochs": 2, "confirmed": {}}


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "find_space", lambda name: TINY)
    monkeypatch.setattr(folder, "find_space", lambda name: TINY)


@pytest.fixture
def trained(tmp_path: Path) -> tuple[Path, dict[str, float]]:
    run = evaluate(job(tmp_path / "trial", epochs=2, objectives=("accuracy", "loss")))
    while True:
        try:
            next(run)
        except StopIteration as end:
            return tmp_path / end.value.artifacts["weights"].path, end.value.values


@pytest.fixture
def exported(trained: tuple[Path, dict[str, float]], tmp_path: Path) -> Path:
    export(architecture(), "tiny", "digits", 0, trained[0], tmp_path / "out", FACTS)
    return tmp_path / "out"


def test_the_loaded_network_gives_the_outputs_of_the_trained_one(
    exported: Path, trained: tuple[Path, dict[str, float]]
) -> None:
    expected = TINY.make(architecture(), find_task("digits"))
    expected.load_state_dict(load_file(trained[0]))
    inputs, _ = find_task("digits").validation()
    network = load(exported)
    assert not network.training and torch.equal(network(inputs), expected.eval()(inputs))


def test_the_validation_figures_are_those_of_the_training(
    exported: Path, trained: tuple[Path, dict[str, float]]
) -> None:
    judged = evaluate_folder(exported, "digits", "validation")
    assert (judged["accuracy"], judged["loss"]) == (trained[1]["accuracy"], trained[1]["loss"])


def test_the_test_figures_are_those_counted_by_hand(exported: Path) -> None:
    inputs, targets = find_task("digits").test()
    logits = load(exported)(inputs).detach().double()
    right = sum(int(row.argmax()) == int(target) for row, target in zip(logits, targets, strict=True))
    loss = -sum(float(torch.log_softmax(row, 0)[target]) for row, target in zip(logits, targets, strict=True))
    judged = evaluate_folder(exported)
    assert judged["accuracy"] == right / len(targets) and judged["loss"] == pytest.approx(loss / len(targets), rel=1e-5)
    assert (judged["samples"], judged["task"], judged["split"], judged["split_seed"]) == (359, "digits", "test", 0)


def test_the_folder_describes_itself_and_holds_no_pickle(exported: Path) -> None:
    assert {file.name for file in exported.iterdir()} == {"weights.safetensors", "architecture.json", "README.md"}
    description = json.loads((exported / "architecture.json").read_text())
    assert description["architecture"] == architecture() and description["input_shape"] == [1, 8, 8]
    assert description["facts"] == FACTS and description["versions"]["torch"] == torch.__version__


def test_the_card_names_values_split_seed_and_that_nothing_is_confirmed(exported: Path) -> None:
    card = (exported / "README.md").read_text()
    for words in (
        "| accuracy | 0.9125 |  |",
        "| params | 2,618 |  |",
        "split seed 0",
        "2 epochs from seed 7",
        "not confirmed",
    ):
        assert words in card
    assert "width: 4" in card and "load(" in card


def test_the_card_of_a_confirmed_network_shows_the_spread(
    trained: tuple[Path, dict[str, float]], tmp_path: Path
) -> None:
    facts = FACTS | {"confirmed": {"accuracy": {"mean": 0.91, "deviation": 0.004, "count": 3}}, "study": "first"}
    export(architecture(), "tiny", "digits", 0, trained[0], tmp_path / "c", facts)
    card = (tmp_path / "c" / "README.md").read_text()
    assert (
        "| accuracy | 0.9125 | 0.91 ± 0.004 (n=3) |" in card and "not confirmed" not in card and "study first" in card
    )


def test_an_empty_folder_is_filled_and_a_full_one_refused(
    trained: tuple[Path, dict[str, float]], tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    export(architecture(), "tiny", "digits", 0, trained[0], tmp_path / "empty", FACTS)
    before = (tmp_path / "empty" / "README.md").read_text()
    with pytest.raises(ExportError, match="exists and is not an empty folder"):
        export(architecture(), "tiny", "digits", 0, trained[0], tmp_path / "empty", {})
    assert (tmp_path / "empty" / "README.md").read_text() == before


def test_another_architecture_s_weights_are_refused(trained: tuple[Path, dict[str, float]], tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="weights of another architecture"):
        export(architecture(width=5), "tiny", "digits", 0, trained[0], tmp_path / "out", {})
    assert not (tmp_path / "out").exists()


def test_a_network_that_loads_to_other_outputs_is_not_written(
    trained: tuple[Path, dict[str, float]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def altered(place: Path) -> nn.Module:
        network = load(place)
        with torch.no_grad():
            next(network.parameters()).add_(1e-3)
        return network

    monkeypatch.setattr(folder, "load", altered)
    with pytest.raises(ExportError, match="other outputs"):
        export(architecture(), "tiny", "digits", 0, trained[0], tmp_path / "out", {})
    assert [file.name for file in tmp_path.iterdir()] == ["trial"]


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)


def reformat(file: Path) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format": "other 9"}))


@pytest.mark.parametrize(
    ("name", "damage", "words"),
    [
        ("weights.safetensors", flip, "checksum differs"),
        ("weights.safetensors", Path.unlink, "is not there: export"),
        ("architecture.json", Path.unlink, "is not there: name a folder"),
        ("architecture.json", lambda file: file.write_text('{"format": '), "is damaged"),
        ("architecture.json", lambda file: file.write_bytes(b"\xff\xfe\x00"), "is damaged"),
        ("architecture.json", lambda file: file.write_text('{"format": "nas network 1"}'), "is damaged"),
        ("architecture.json", lambda file: file.write_text("[1]"), "is damaged"),
        ("architecture.json", reformat, "'other 9'"),
    ],
)
def test_damaged_and_foreign_files_are_named_in_one_line(
    exported: Path, name: str, damage: Callable[[Path], Any], words: str
) -> None:
    damage(exported / name)
    with pytest.raises(ExportError, match=words) as caught:
        load(exported)
    assert name in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"garbage", "no safetensors file"), (None, "is not there"), ("foreign", "weights of another program")],
)
def test_weights_that_cannot_be_exported_are_refused(content: Any, words: str, tmp_path: Path) -> None:
    weights = tmp_path / "weights.safetensors"
    if content == "foreign":
        save_file({"weight": torch.zeros(1)}, weights)
    elif content is not None:
        weights.write_bytes(content)
    with pytest.raises(ExportError, match=words):
        export(architecture(), "tiny", "digits", 0, weights, tmp_path / "out", {})


def test_an_unknown_split_is_named(exported: Path) -> None:
    with pytest.raises(ExportError, match="split 'dev' is unknown: name train, validation, test"):
        evaluate_folder(exported, "digits", "dev")


def test_a_task_that_does_not_fit_is_refused(exported: Path) -> None:
    file = exported / "architecture.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"classes": 7}))
    with pytest.raises(ExportError, match="name a task that fits"):
        evaluate_folder(exported, "digits")
