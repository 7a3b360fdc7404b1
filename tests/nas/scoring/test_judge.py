"""The scoring of architectures on real networks that are not trained."""

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
from nas.scoring import find_predictor
from nas.scoring.judge import judge
from nas.tasks import find_task
from nas.tasks.digits import Digits
from nas.training.seeding import derive, seeded
from predictors import Batch, Predictor, gradsign
from search_spaces import registry
from search_spaces.registry import Entry, UnknownName

PROPOSALS = tuple(architecture(width=width) for width in (2, 8, 32))
TOLD: list[tuple[torch.nn.Module, Batch]] = []


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, TINY)


def job(proposals: tuple[Any, ...] = PROPOSALS, **fields: Any) -> ScoreJob:
    options = {"predictors": ("gradsign",), "seed": 3, "space": "tiny", "task": "digits", "split_seed": 1}
    return ScoreJob(architectures=proposals, **(options | fields))


def values(job: ScoreJob) -> list[float | None]:
    return [value for scored in score(job, "cpu") for value in scored.values.values()]


def registered(monkeypatch: pytest.MonkeyPatch, name: str, measure: Any, parts: tuple[str, ...] = ()) -> None:
    registry.entries("predictor")
    made = Predictor(name, "for tests", measure, cost="nothing", parts=parts, pool=(lambda rows: []) if parts else None)
    monkeypatch.setitem(registry._entries["predictor"], name, Entry("predictor", name, made, ""))


def kept(network: torch.nn.Module, batch: Batch, loss: Any) -> dict[str, float]:
    TOLD[:] = [(network, batch)]
    return {"kept": 1.0}


def test_a_score_is_that_of_the_untrained_network_on_training_samples() -> None:
    inputs, targets = find_task("digits", 1).train()
    picked = Random("3/screen").sample(range(len(inputs)), 16)
    batch = Batch(inputs[picked], targets[picked])
    for proposal, scored in zip(PROPOSALS, score(job(), "cpu"), strict=True):
        with seeded(derive(3, "build")):
            network = TINY.make(proposal, find_task("digits", 1))
        expected = gradsign.score(network, batch, cross_entropy)
        assert scored.values == {"gradsign": expected} and scored.reason is None and scored.seconds > 0


def test_noise_is_scored_without_a_task() -> None:
    """A tiny network of width 2 for 3 x 4 x 5 inputs: 2(27 + 1) + 4 of the norm + (40 + 1) 7."""
    assert values(job(PROPOSALS[:1], task="gaussian:3x4x5:7", predictors=("params",))) == [2 * 28 + 4 + 41 * 7]


def test_samples_memory_and_seed_are_the_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    registered(monkeypatch, "kept", kept)
    for fields in ({"samples": 5, "memory": 1234}, {"seed": 4}):
        assert values(job(PROPOSALS[:1], predictors=("kept",), **fields)) == [1.0]
        TOLD.append(TOLD[0])
        if "samples" in fields:
            assert (len(TOLD[0][1]), TOLD[0][1].memory) == (5, 1234)
            assert TOLD[0][1].seed == derive(3, "predictor")
    assert (len(TOLD[0][1]), TOLD[0][1].memory, TOLD[0][1].seed) == (16, 2**30, derive(4, "predictor"))


def test_scores_depend_on_the_seed_and_on_nothing_else() -> None:
    found = [values(job(seed=seed)) for seed in (3, 3, 4)]
    torch.rand(7)
    assert found[0] == found[1] == values(job()) != found[2]


def test_each_architecture_is_scored_by_each_predictor_in_turn() -> None:
    scored = score(job(PROPOSALS[:2], predictors=("params", "gradsign")), "cpu")
    assert [each.predictor for each in scored] == ["params", "gradsign"] * 2
    assert scored[0].values != scored[2].values
    assert judge(job(predictors=("params",)), PROPOSALS[1])[0].values == scored[2].values


def test_a_predictor_finds_the_network_as_the_first_did(monkeypatch: pytest.MonkeyPatch) -> None:
    def spoils(network: torch.nn.Module, *rest: Any) -> dict[str, float]:
        torch.nn.init.zeros_(network[0].weight)  # type: ignore[index,arg-type]
        return {"spoils": torch.rand(()).item()}

    registered(monkeypatch, "spoils", spoils)
    assert values(job(PROPOSALS[:1], predictors=("spoils", "gradsign")))[1] == values(job(PROPOSALS[:1]))[0]


def test_what_breaks_a_constraint_has_no_score_and_says_why() -> None:
    bounded = score(job(constraints=(Constraint.parse("params<=6000"),)), "cpu")
    assert [scored.values["gradsign"] is not None for scored in bounded] == [True, True, False]
    assert bounded[2].reason is not None and bounded[2].reason.endswith("breaks params<=6000")
    assert [scored.reason is None for scored in bounded] == [True, True, False]


def test_one_that_cannot_be_scored_does_not_hinder_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def moody(network: torch.nn.Module, *rest: Any) -> dict[str, float]:
        width = network[0].out_channels  # type: ignore[index,union-attr]
        if width == 2:
            raise predictors.Unscorable("too\nnarrow")
        if width == 8:
            raise ZeroDivisionError("a bug in a plug-in")
        return {"moody": 5.0}

    registered(monkeypatch, "moody", moody)
    scored = score(job(predictors=("moody", "params")), "cpu")
    assert [each.values["moody"] for each in scored[::2]] == [None, None, 5.0]
    assert all(each.values["params"] for each in scored[1::2])
    assert scored[0].reason == "moody cannot score this network: too narrow"
    assert scored[2].reason == "ZeroDivisionError: a bug in a plug-in"


def test_a_lack_of_memory_passes_and_other_failures_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    def greedy(network: torch.nn.Module, *rest: Any) -> dict[str, float]:
        if network[0].out_channels == 2:  # type: ignore[index,union-attr]
            raise torch.OutOfMemoryError("tried to allocate")
        raise RuntimeError("shapes cannot be multiplied")

    registered(monkeypatch, "greedy", greedy)
    scored = score(job(PROPOSALS[:2], predictors=("greedy", "params")), "cpu")
    assert [each.passing for each in scored] == [True, False, False, False]
    assert scored[0].values == scored[2].values == {"greedy": None}

    def lacking(*given: Any) -> None:
        raise MemoryError

    monkeypatch.setattr("nas.scoring.judge.draw_samples", lacking)
    assert [each.passing for each in score(job(PROPOSALS[:1]), "cpu")] == [True]


def test_a_combination_leaves_its_parts_and_none_of_each_when_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def halves(network: torch.nn.Module, *rest: Any) -> dict[str, float]:
        return {"one": 1.0, "two": 2.0 if network[0].out_channels == 2 else math.nan}  # type: ignore[index,union-attr]

    registered(monkeypatch, "halves", halves, ("one", "two"))
    scored = score(job(PROPOSALS[:2], predictors=("halves",)), "cpu")
    assert [each.values for each in scored] == [
        {"halves.one": 1.0, "halves.two": 2.0},
        {"halves.one": None, "halves.two": None},
    ]
    assert scored[1].reason == "halves cannot score this network: two is nan"


def test_a_proposal_that_does_not_belong_to_the_space_is_only_unscored() -> None:
    scored = score(job((architecture(width=999), architecture())), "cpu")
    assert scored[0].values == {"gradsign": None} and "999" in str(scored[0].reason)
    assert scored[1].values["gradsign"] is not None


def test_the_test_split_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for part in ("test", "validation"):
        monkeypatch.setattr(Digits, part, lambda self: pytest.fail("not for a screening"))
    assert all(math.isfinite(value or math.nan) for value in values(job()))


def test_every_module_with_a_score_is_a_predictor() -> None:
    known = registry.entries("predictor")
    assert known["gradsign"].make is gradsign.score is find_predictor("gradsign")
    modules = [each for each in vars(predictors).values() if isinstance(each, ModuleType)]
    made = {each.score.name for each in modules if isinstance(getattr(each, "score", None), Predictor)}
    assert made | {"params", "latency", "memory"} == known.keys()


def test_a_predictor_tells_of_itself_in_the_registry() -> None:
    entry = registry.find("predictor", "gradsign")
    assert entry.summary.startswith("GradSign (") and "\n" not in entry.summary
    assert entry.paper == "Zhang and Jia, GradSign: Model Performance Inference with Theoretical Insights, 2022"
    with pytest.raises(UnknownName, match=r"unknown predictor 'gradsin': did you mean gradsign"):
        find_predictor("gradsin")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_work_is_done_on_the_device_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    registered(monkeypatch, "kept", kept)
    judge(job(predictors=("kept",)), PROPOSALS[0], "cuda")
    assert TOLD[0][1].inputs.is_cuda and next(TOLD[0][0].parameters()).is_cuda
