"""Scoring of proposals on real untrained networks."""

from __future__ import annotations

import math
from random import Random
from types import ModuleType
from typing import Any

import pytest
import torch
from fake_runs import register
from tiny_space import TINY, architecture
from torch.nn.functional import cross_entropy

import predictors
from nas.execution.worker import score
from nas.job import ScoreJob
from nas.objectives import Constraint
from nas.screening import SAMPLES
from nas.tasks import find_task
from nas.tasks.digits import Digits
from nas.training.seeding import derive, seeded
from predictors import gradsign
from search_spaces import registry
from search_spaces.registry import Entry

PROPOSALS = tuple(architecture(width=width) for width in (2, 8, 32))


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, TINY)


def job(proposals: tuple[Any, ...] = PROPOSALS, **fields: Any) -> ScoreJob:
    options = {"predictors": ("gradsign",), "seed": 3, "space": "tiny", "task": "digits", "split_seed": 1}
    return ScoreJob(architectures=proposals, **({"constraints": ()} | options | fields))


def registered(monkeypatch: pytest.MonkeyPatch, name: str, make: Any) -> None:
    registry.entries("predictor")
    monkeypatch.setitem(registry._entries["predictor"], name, Entry("predictor", name, make, ""))


def test_a_score_is_that_of_the_untrained_network_on_training_samples() -> None:
    inputs, targets = find_task("digits", 1).train()
    picked = Random("3/screen").sample(range(len(inputs)), SAMPLES)
    for proposal, scored in zip(PROPOSALS, score(job()), strict=True):
        with seeded(derive(3, "build")):
            network = TINY.make(proposal, find_task("digits", 1))
        expected = gradsign.score(network, inputs[picked], targets[picked], cross_entropy)
        assert scored.value == expected and scored.reason is None and scored.seconds > 0


def test_scores_depend_on_the_seed_and_on_nothing_else() -> None:
    values = [[scored.value for scored in score(job(seed=seed))] for seed in (3, 3, 4)]
    torch.rand(7)
    assert values[0] == values[1] == [scored.value for scored in score(job())] != values[2]


def test_what_breaks_a_constraint_has_no_score_and_says_why() -> None:
    bounded = score(job(constraints=(Constraint.parse("params<=6000"),)))
    assert [scored.value is not None for scored in bounded] == [True, True, False]
    assert bounded[2].reason is not None and bounded[2].reason.endswith("breaks params<=6000")


def test_one_that_cannot_be_scored_does_not_hinder_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def moody(network: torch.nn.Module, *rest: Any) -> float:
        width = network[0].out_channels  # type: ignore[index,union-attr]
        if width == 2:
            raise predictors.Unscorable("too narrow")
        if width == 8:
            raise ZeroDivisionError("a bug in a plug-in")
        return 5.0

    registered(monkeypatch, "moody", moody)
    scored = score(job(predictors=("moody",)))
    assert [each.value for each in scored] == [None, None, 5.0]
    assert scored[0].reason == "too narrow" and scored[1].reason == "ZeroDivisionError: a bug in a plug-in"


def test_a_proposal_that_does_not_belong_to_the_space_is_only_unscored() -> None:
    scored = score(job((architecture(width=999), architecture())))
    assert scored[0].value is None and "999" in str(scored[0].reason) and scored[1].value is not None


def test_the_test_split_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for part in ("test", "validation"):
        monkeypatch.setattr(Digits, part, lambda self: pytest.fail("not for a screening"))
    assert all(math.isfinite(scored.value or math.nan) for scored in score(job()))


def test_every_module_with_a_score_is_a_predictor() -> None:
    known = registry.entries("predictor")
    assert known["gradsign"].make is gradsign.score
    modules = [each for each in vars(predictors).values() if isinstance(each, ModuleType)]
    assert {each.__name__.rpartition(".")[2] for each in modules if hasattr(each, "score")} <= known.keys()
