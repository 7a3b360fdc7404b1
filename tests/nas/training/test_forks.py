from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny_runs import finish, same, steps, timeless
from tiny_space import ADAMW, SGD, TINY, architecture, job

from nas.job import Job, Origin, Outcome, Segment
from nas.tasks import find_task
from nas.training import checkpoint
from nas.training import evaluate as evaluation
from nas.training.forking import OriginError
from nas.training.recipe import RecipeError
from search_spaces.space import Space

EPOCHS = 6
GENTLE = {"sgd": {"rate": 0.02, "momentum": 0.5, "weight_decay": 3e-2}}
STRONG = {"adamw": {"rate": 0.003, "weight_decay": 0.09}}


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "find_space", lambda name: TINY)


def source(folder: Path, **fields: Any) -> Job:
    """A job that keeps the checkpoints of every second epoch."""
    return job(folder / "00000", epochs=EPOCHS, pauses=frozenset({2, 4}), retain=True, **fields)


def fork(parent: Job, step: int, folder: str, decided: Any, **fields: Any) -> Job:
    """A job that goes on from another's checkpoint with other decisions."""
    origin = Origin(parent.folder, step, parent.architecture, parent.seed)
    fields = {"trial": 1, "folder": parent.folder.parent / folder} | fields
    return replace(parent, architecture=decided, origin=origin, **fields)


def state_of(asked: Job, name: str = "checkpoint.pt") -> dict[str, Any]:
    whose = checkpoint.trial_identity(
        asked.architecture, find_task("digits").content, asked.seed, asked.epochs, asked.segments
    )
    return vars(checkpoint.load(asked.folder / name, whose)[0])


def trained(asked: Job) -> tuple[dict[str, Any], dict[str, Any]]:
    """Weights and the memory of the optimizer at the end."""
    state = state_of(asked)
    return state["network"], state["optimizer"]["state"]


def digest(outcome: Outcome | None) -> str:
    assert outcome is not None
    return outcome.artifacts["weights"].sha256


@pytest.mark.parametrize("optimizer", [ADAMW, SGD])
def test_a_fork_with_the_same_decisions_and_seed_goes_on_as_if_nothing_had_been(
    optimizer: dict[str, Any], tmp_path: Path
) -> None:
    parent = source(tmp_path, architecture=architecture(optimizer, "shift"))
    whole, _ = finish(parent)
    rest, outcome = finish(fork(parent, 2, "00001", parent.architecture))
    assert steps(rest) == [0, 3, 4, 5, 6]
    assert timeless(rest) == [timeless(whole)[0], *timeless(whole)[3:]] and outcome is not None
    assert same(trained(fork(parent, 2, "00001", parent.architecture)), trained(parent))


@pytest.mark.parametrize(("first", "then"), [(ADAMW, STRONG), (SGD, GENTLE)])
def test_a_replayed_schedule_is_the_chain_of_forks_that_it_came_from(
    first: dict[str, Any], then: dict[str, Any], tmp_path: Path
) -> None:
    a = architecture(first)
    b = architecture(then, "shift", batch=64, label_smoothing=0.0)
    c = architecture(first, {"mixup": {"alpha": 0.4}}, schedule="linear")
    one = source(tmp_path, architecture=a)
    two = fork(one, 2, "00001", b)
    three = fork(two, 4, "00002", c)
    chain = [finish(each)[0] for each in (one, two)]
    last, outcome = finish(three)
    segments = tuple(Segment(begin, each["training"]) for begin, each in ((0, a), (2, b), (4, c)))
    whole, end = finish(job(tmp_path / "whole", architecture=a, epochs=EPOCHS, segments=segments))
    assert steps(last) == [0, 5, 6] and steps(whole) == list(range(EPOCHS + 1))
    assert timeless(whole)[1:3] == timeless(chain[0])[1:3]
    assert timeless(whole)[3:5] == timeless(chain[1])[1:3]
    assert timeless(whole)[5:] == timeless(last)[1:]
    replayed = job(tmp_path / "whole", architecture=a, epochs=EPOCHS, segments=segments)
    assert same(trained(three), trained(replayed)) and outcome is not None and end is not None
    assert outcome.values == end.values


def test_a_killed_replay_ends_bit_for_bit_like_an_unbroken_one(tmp_path: Path) -> None:
    segments = tuple(Segment(begin, architecture(each)["training"]) for begin, each in ((0, SGD), (2, GENTLE)))
    asked = job(tmp_path / "whole", epochs=4, segments=segments)
    whole, outcome = finish(asked)
    for killed in (1, 2, 3):
        again = replace(asked, folder=tmp_path / str(killed))
        finish(again, stop_after=killed)
        rest, end = finish(again)
        assert timeless(rest) == timeless(whole) and digest(end) == digest(outcome)


def test_a_replay_is_not_mistaken_for_another_one(tmp_path: Path) -> None:
    schedules = [(Segment(0, architecture(each)["training"]),) for each in (SGD, GENTLE)]
    finish(job(tmp_path, segments=schedules[0]), stop_after=1)
    with pytest.raises(checkpoint.CheckpointError, match="another trial"):
        finish(job(tmp_path, segments=schedules[1]))


def test_a_replay_that_changes_its_optimizer_ends_before_it_begins(tmp_path: Path) -> None:
    segments = (Segment(0, architecture(SGD)["training"]), Segment(1, architecture(ADAMW)["training"]))
    with pytest.raises(RecipeError, match="from sgd to adamw at epoch 1"):
        finish(job(tmp_path, segments=segments))


def test_a_fork_s_random_numbers_are_its_own(tmp_path: Path) -> None:
    parent = source(tmp_path)
    whole, _ = finish(parent)
    other, _ = finish(fork(parent, 2, "00001", parent.architecture, seed=parent.seed + 1))
    assert timeless(other)[1] != timeless(whole)[3]


def test_a_killed_fork_goes_on_from_its_own_checkpoint(tmp_path: Path) -> None:
    parent = source(tmp_path, architecture=architecture(SGD))
    finish(parent)
    whole, outcome = finish(fork(parent, 2, "whole", architecture(GENTLE), seed=3))
    for killed in (0, 3, 4):
        asked = fork(parent, 2, str(killed), architecture(GENTLE), seed=3)
        finish(asked, stop_after=killed)
        kept = (parent.folder / "checkpoint-2.pt").read_bytes()
        if killed > 2:
            (parent.folder / "checkpoint-2.pt").unlink()
        rest, end = finish(asked)
        (parent.folder / "checkpoint-2.pt").write_bytes(kept)
        assert timeless(rest) == timeless(whole) and digest(end) == digest(outcome)
        assert steps(rest) == [0, 3, 4, 5, 6]


def test_a_fork_of_another_optimizer_keeps_the_weights_and_begins_with_a_fresh_one(tmp_path: Path) -> None:
    parent = source(tmp_path, architecture=architecture(SGD))
    finish(parent)
    asked = fork(parent, 2, "00001", architecture(ADAMW))
    reports, _ = finish(asked, stop_after=3)
    state = state_of(asked)
    updates = len(find_task("digits").train()[0]) // asked.architecture["training"]["batch"]
    assert {float(each["step"]) for each in state["optimizer"]["state"].values()} == {updates}
    assert len(state["history"]) == 3 and state["history"][:2] == state_of(parent)["history"][:2]
    assert reports[-1].metrics["val_accuracy"] > 0.5


def test_a_fork_s_cheap_figures_are_those_of_the_same_network(tmp_path: Path) -> None:
    parent = source(tmp_path, objectives=("accuracy", "latency"))
    first, _ = finish(parent)
    reports, outcome = finish(fork(parent, 2, "00001", architecture(STRONG)))
    assert reports[0] == first[0] and outcome is not None
    assert outcome.values["latency"] == first[0].metrics["latency"]


def test_a_fork_of_a_fork_keeps_checkpoints_and_whose_they_are(tmp_path: Path) -> None:
    parent = source(tmp_path)
    finish(parent, stop_after=2)
    child = fork(parent, 2, "00001", architecture(STRONG), seed=11)
    finish(child, stop_after=4)
    assert {file.name for file in child.folder.iterdir()} == {"checkpoint.pt", "checkpoint-4.pt"}
    assert steps(finish(fork(child, 4, "00002", architecture(ADAMW), seed=12))[0]) == [0, 5, 6]


class TestOrigin:
    def refused(self, asked: Job, words: str) -> None:
        place = f"trial 1 cannot go on from {asked.folder.parent}/00000/checkpoint-2.pt: "
        with pytest.raises(OriginError, match=f"^{place}{words}[^\n]*$"):
            finish(asked)
        assert not asked.folder.exists()

    def test_one_that_is_not_there_is_an_error(self, tmp_path: Path) -> None:
        self.refused(fork(source(tmp_path), 2, "00001", architecture(STRONG)), "it is not there; .*--storage")

    def test_a_damaged_one_is_an_error(self, tmp_path: Path) -> None:
        parent = source(tmp_path)
        finish(parent, stop_after=2)
        file = parent.folder / "checkpoint-2.pt"
        file.write_bytes(file.read_bytes()[:-1])
        self.refused(fork(parent, 2, "00001", architecture(STRONG)), "it is damaged .*checksum is wrong")

    def test_another_trial_s_is_an_error(self, tmp_path: Path) -> None:
        parent = source(tmp_path)
        finish(parent, stop_after=2)
        asked = fork(replace(parent, seed=99), 2, "00001", architecture(STRONG))
        self.refused(asked, "it belongs to another trial")

    def test_one_after_other_epochs_is_an_error(self, tmp_path: Path) -> None:
        parent = source(tmp_path)
        finish(parent, stop_after=4)
        (parent.folder / "checkpoint-4.pt").replace(parent.folder / "checkpoint-2.pt")
        asked = fork(parent, 2, "00001", architecture(STRONG))
        self.refused(asked, "it has 4 of 6 epochs behind it, not 2")


def test_another_network_inherits_and_its_optimizer_begins_afresh(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = source(tmp_path)
    finish(parent)
    told: list[Any] = []

    def inherit(space: Space, task: Any, before: Any, weights: Any, after: Any, seed: int) -> torch.nn.Module:
        told.append((space, task.content, before, weights, after, seed))
        torch.manual_seed(0)
        return space.build(after, task)

    monkeypatch.setitem(sys.modules, "nas.training.inherit", SimpleNamespace(inherit=inherit))
    asked = fork(parent, 2, "00001", architecture(width=6), seed=5, objectives=("accuracy", "params"))
    reports, _ = finish(asked, stop_after=3)
    [(space, content, before, weights, after, seed)] = told
    assert (space, content, seed) == (TINY, find_task("digits").content, 5)
    assert (before, after) == (parent.architecture, asked.architecture)
    assert same(weights, state_of(parent, "checkpoint-2.pt")["network"])
    state = state_of(asked)
    assert steps(reports) == [0, 3] and state["network"]["0.weight"].shape[0] == 6
    expected = sum(p.numel() for p in TINY.build(asked.architecture, find_task("digits")).parameters())
    assert reports[0].metrics["params"] == expected and len(state["history"]) == 3
    finish(asked)
    assert len(told) == 1


def test_an_inherited_network_trains_as_one_with_its_weights_and_a_fresh_optimizer_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same weights put into the same network: the chain is that of a fork to another kind of optimizer."""
    parent = source(tmp_path, architecture=architecture(ADAMW))
    finish(parent)

    def inherit(space: Space, task: Any, before: Any, weights: Any, after: Any, seed: int) -> torch.nn.Module:
        network = space.build(after, task)
        network.load_state_dict(weights)
        return network

    monkeypatch.setitem(sys.modules, "nas.training.inherit", SimpleNamespace(inherit=inherit))
    still = architecture(SGD)
    still["network"] = still["network"] | {"dropout": 0.1}
    reports, _ = finish(fork(parent, 2, "00001", still, seed=5), stop_after=3)
    monkeypatch.setattr(evaluation, "same_network", lambda one, other: True)
    expected, _ = finish(fork(parent, 2, "00002", still, seed=5), stop_after=3)
    assert timeless(reports)[1] == timeless(expected)[1]


def test_a_wider_network_goes_on_where_the_narrower_one_stood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what is really inherited; beside it a new network that trains for the same late epoch."""
    parent = source(tmp_path, architecture=architecture(ADAMW, width=6))
    whole, _ = finish(parent)
    wide = architecture(ADAMW, width=9)
    grown, _ = finish(fork(parent, 4, "00001", wide), stop_after=5)

    def fresh(space: Space, task: Any, before: Any, weights: Any, after: Any, seed: int) -> torch.nn.Module:
        return space.build(after, task)

    monkeypatch.setitem(sys.modules, "nas.training.inherit", SimpleNamespace(inherit=fresh))
    begun, _ = finish(fork(parent, 4, "00002", wide), stop_after=5)
    assert steps(grown) == [0, 5] == steps(begun)
    assert grown[-1].metrics["val_loss"] < 1.1 * whole[5].metrics["val_loss"]
    assert begun[-1].metrics["val_loss"] > 2 * whole[5].metrics["val_loss"]
