from __future__ import annotations

import dataclasses
import json
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from tiny_runs import finish, timeless
from tiny_space import ADAMW, SGD, TINY, architecture, job
from torch import nn

from nas.job import Infeasible, Outcome, OutOfMemory, Report
from nas.objectives import Constraint
from nas.tasks import find_task
from nas.tasks.digits import Digits
from nas.training import checkpoint, loop
from nas.training import evaluate as evaluation
from nas.training.augment import mixup, shift
from nas.training.evaluate import evaluate
from nas.training.loop import GRADIENT_NORM, State, train, train_epoch
from nas.training.optimizers import make_optimizer
from nas.training.recipe import Recipe, RecipeError
from nas.training.seeding import derive, seeded
from search_spaces.activations.expression import Expression
from search_spaces.decisions import identity
from search_spaces.space import Space


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "find_space", lambda name: TINY)


def linear(inputs: int = 64) -> nn.Sequential:
    with seeded(0):
        return nn.Sequential(nn.Flatten(), nn.Linear(inputs, 10))


class TestRecipe:
    @pytest.mark.parametrize(
        ("schedule", "expected"),
        [
            ("linear", [0.25, 0.5, 0.5, 0.375, 0.25, 0.125]),
            ("cosine", [0.25, 0.5, 0.5, 0.25 + 0.25 * math.sqrt(0.5), 0.25, 0.25 - 0.25 * math.sqrt(0.5)]),
        ],
    )
    def test_rates_are_those_computed_by_hand(self, schedule: str, expected: list[float]) -> None:
        recipe = Recipe(("adamw", {"rate": 0.5, "weight_decay": 0.0}), schedule=schedule, warmup=1 / 3)
        assert [recipe.rate_at(step, 6) for step in range(6)] == pytest.approx(expected)

    def test_without_warm_up_the_first_step_has_the_full_rate(self) -> None:
        assert Recipe(("sgd", {"rate": 0.3})).rate_at(0, 10) == 0.3

    def test_reported_rates_fall_over_the_whole_horizon(self) -> None:
        training = architecture({"adamw": {"rate": 0.01, "weight_decay": 0}}, schedule="linear", warmup=0.0)["training"]
        rates = [r.metrics["rate"] for r in train(linear(), find_task("digits"), training, 4, 0)]
        steps = len(find_task("digits").train()[0]) // 128
        assert rates == pytest.approx([0.01 * (1 - (steps * e - 1) / (4 * steps)) for e in range(1, 5)])

    @pytest.mark.parametrize(
        ("training", "words"),
        [
            ({"optimiser": 1}, "unknown entry 'optimiser'.*optimizer"),
            ({"optimizer": {"lion": {}}}, "training.optimizer is 'lion'.*adamw"),
            ({"schedule": "step"}, "training.schedule is 'step'.*cosine"),
            ({"augmentation": "cutmix"}, "training.augmentation is 'cutmix'.*mixup"),
        ],
    )
    def test_what_is_not_known_is_named(self, training: dict[str, Any], words: str) -> None:
        with pytest.raises(RecipeError, match=words):
            Recipe.read(training)


class TestAugmentation:
    def test_shift_moves_each_sample_by_at_most_an_eighth_and_fills_with_blank(self) -> None:
        inputs = torch.rand(200, 2, 8, 16)
        moved = shift(inputs, -5.0, torch.Generator().manual_seed(1))
        seen = set()
        for before, after in zip(inputs.numpy(), moved.numpy(), strict=True):
            padded = np.pad(before, ((0, 0), (1, 1), (2, 2)), constant_values=-5.0)
            windows = {(y, x): padded[:, y : y + 8, x : x + 16] for y in range(3) for x in range(5)}
            seen |= {offset for offset, window in windows.items() if np.array_equal(window, after)}
        assert len(seen) == 15

    def test_mixup_blends_a_sample_with_its_partner(self) -> None:
        inputs = torch.rand(32, 1, 8, 8, dtype=torch.float64)
        blended, order, share = mixup(inputs, 0.4, Random(0), torch.Generator().manual_seed(0))
        assert sorted(order.tolist()) == list(range(32)) and 0 <= share <= 1
        torch.testing.assert_close(blended, share * inputs + (1 - share) * inputs[order])

    def test_mixup_shares_have_the_moments_of_the_beta_distribution(self) -> None:
        rng, generator, inputs = Random(0), torch.Generator(), torch.zeros(2, 1, 1, 1)
        shares = [mixup(inputs, 0.5, rng, generator)[2] for _ in range(4000)]
        assert np.mean(shares) == pytest.approx(0.5, abs=0.02)
        assert np.var(shares) == pytest.approx(1 / (4 * (2 * 0.5 + 1)), abs=0.01)


class TestLoss:
    def reference(self, logits: torch.Tensor, targets: list[int], smoothing: float) -> float:
        """-sum_k q_k log p_k with q = (1 - s) onehot + s / K, in float64."""
        scores = logits.detach().double().numpy()
        logs = scores - np.log(np.exp(scores).sum(1, keepdims=True))
        q = (1 - smoothing) * np.eye(scores.shape[1])[targets] + smoothing / scores.shape[1]
        return float(-(q * logs).sum(1).mean())

    def test_label_smoothing_agrees_with_the_formula(self) -> None:
        inputs, targets = torch.randn(32, 64), torch.randint(0, 10, (32,))
        network = linear()
        loss = loop.batch_loss(
            network, Recipe(label_smoothing=0.15), inputs, targets, 0.0, Random(0), torch.Generator()
        )
        assert loss.item() == pytest.approx(self.reference(network(inputs), targets.tolist(), 0.15), rel=1e-6)

    def test_mixup_weighs_the_losses_of_both_partners(self) -> None:
        inputs, targets = torch.randn(32, 1, 8, 8), torch.randint(0, 10, (32,))
        network, recipe = linear(), Recipe(augmentation=("mixup", {"alpha": 1.0}), label_smoothing=0.1)
        loss = loop.batch_loss(network, recipe, inputs, targets, 0.0, Random(4), torch.Generator().manual_seed(4))
        _, order, share = mixup(inputs, 1.0, Random(4), torch.Generator().manual_seed(4))
        logits = network(share * inputs + (1 - share) * inputs[order])
        first = self.reference(logits, targets.tolist(), 0.1)
        second = self.reference(logits, targets[order].tolist(), 0.1)
        assert loss.item() == pytest.approx(share * first + (1 - share) * second, rel=1e-5)

    @pytest.mark.parametrize("augmentation", [("none", {}), ("mixup", {"alpha": 1.0})])
    def test_what_a_part_of_the_network_adds_is_counted_once(self, augmentation: Any) -> None:
        class Adding(nn.Module):
            auxiliary_loss: torch.Tensor | None = None

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                self.auxiliary_loss = torch.tensor(1.75)
                return x

        inputs, targets, recipe = (
            torch.randn(32, 1, 8, 8),
            torch.randint(0, 10, (32,)),
            Recipe(augmentation=augmentation),
        )
        losses = [
            loop.batch_loss(
                nn.Sequential(part, linear()), recipe, inputs, targets, 0.0, Random(4), torch.Generator().manual_seed(4)
            ).item()
            for part in (nn.Identity(), Adding())
        ]
        assert losses[1] - losses[0] == pytest.approx(1.75, rel=1e-5)

    def test_each_epoch_begins_with_the_first_samples_and_is_counted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        begun: list[tuple[int, int, bool, bool]] = []
        task = find_task("digits")

        def note(network: nn.Module, epoch: int, epochs: int, inputs: torch.Tensor) -> None:
            first = torch.equal(inputs, task.train()[0][: loop.FIRST_LOOK])
            begun.append((epoch, epochs, network.training, first))

        monkeypatch.setattr(loop, "begin_epoch", note)
        list(train(linear(), task, architecture()["training"], 2, 0))
        assert begun == [(0, 2, True, True), (1, 2, True, True)]


class TestSteps:
    def test_a_step_is_no_longer_than_the_clipped_gradient_allows(self) -> None:
        network = linear()
        before = nn.utils.parameters_to_vector(network.parameters()).detach().clone()
        recipe = Recipe(("sgd", {"rate": 0.25, "momentum": 0.0, "weight_decay": 0.0}), batch=64)
        samples = (1000 * torch.randn(64, 64), torch.randint(0, 10, (64,)))
        train_epoch(network, make_optimizer(network, recipe), recipe, samples, 0.0, 0, 1, 0)
        moved = nn.utils.parameters_to_vector(network.parameters()).detach() - before
        assert moved.norm().item() == pytest.approx(0.25 * GRADIENT_NORM, rel=1e-4)

    @pytest.mark.parametrize("optimizer", [ADAMW, SGD])
    def test_one_dimensional_parameters_are_not_decayed(self, optimizer: dict[str, Any]) -> None:
        network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
        groups = make_optimizer(network, Recipe.read({"optimizer": optimizer})).param_groups
        decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
        expected = next(iter(optimizer.values()))["weight_decay"]
        assert [decay[id(p)] for p in network.parameters()] == [
            expected if p.ndim > 1 else 0 for p in network.parameters()
        ]

    def test_the_caller_s_random_state_is_left_alone(self) -> None:
        torch.manual_seed(5)
        expected = torch.rand(4)
        torch.manual_seed(5)
        list(train(linear(), find_task("digits"), architecture()["training"], 1, 0))
        assert torch.equal(torch.rand(4), expected)

    def test_seeds_of_different_purposes_differ(self) -> None:
        assert len({derive(seed, "epoch", epoch) for seed in range(50) for epoch in range(50)}) == 2500

    def test_digits_are_learnt(self) -> None:
        training = architecture(ADAMW, "none", label_smoothing=0.0)["training"]
        with seeded(0):
            network = TINY.build(architecture(width=8), Digits())
        *_, last = train(network, find_task("digits"), training, 6, 0)
        assert last.metrics["val_accuracy"] > 0.93 and last.metrics["train_loss"] < 0.4

    def test_no_epochs_are_refused(self) -> None:
        with pytest.raises(ValueError, match="at least 1, but got 0"):
            next(train(linear(), find_task("digits"), {}, 0, 0))


class TestResume:
    @pytest.mark.parametrize("optimizer", [ADAMW, SGD])
    @pytest.mark.parametrize("augmentation", ["none", "shift", {"mixup": {"alpha": 0.3}}])
    def test_a_killed_run_ends_bit_for_bit_like_an_unbroken_one(
        self, optimizer: dict[str, Any], augmentation: Any, tmp_path: Path
    ) -> None:
        asked = job(tmp_path / "whole", architecture=architecture(optimizer, augmentation))
        whole, outcome = finish(asked)
        assert outcome is not None and [r.step for r in whole] == [0, 1, 2, 3]
        for killed in (1, 2, 3):
            again = dataclasses.replace(asked, folder=tmp_path / str(killed))
            first, _ = finish(again, stop_after=killed)
            rest, end = finish(again)
            assert end is not None and timeless(rest) == timeless(whole) and end.values == outcome.values
            assert rest[: len(first)] == first
            assert end.artifacts["weights"].sha256 == outcome.artifacts["weights"].sha256

    def test_a_run_killed_before_its_first_checkpoint_starts_anew(self, tmp_path: Path) -> None:
        finish(job(tmp_path / "a"), stop_after=0)
        assert timeless(finish(job(tmp_path / "a"))[0]) == timeless(finish(job(tmp_path / "b"))[0])

    def test_measures_are_those_of_the_first_start(self, tmp_path: Path) -> None:
        asked = job(tmp_path, objectives=("accuracy", "latency"))
        first, _ = finish(asked, stop_after=1)
        outcome = finish(asked)[1]
        assert outcome is not None and outcome.values["latency"] == first[0].metrics["latency"]

    def test_another_seed_gives_another_run(self, tmp_path: Path) -> None:
        assert timeless(finish(job(tmp_path / "a"))[0]) != timeless(finish(job(tmp_path / "b", seed=8))[0])


class TestCheckpoint:
    STATE = State(
        {"weight": torch.arange(6.0)}, {"state": {}, "param_groups": [{"lr": 0.1, "params": [0]}]}, [{"loss": 1.0}]
    )

    def test_what_is_saved_is_loaded(self, tmp_path: Path) -> None:
        checkpoint.save(tmp_path / "c.pt", "me", {"params": 6.0}, self.STATE)
        state, measured = checkpoint.load(tmp_path / "c.pt", "me")
        assert torch.equal(state.network["weight"], torch.arange(6.0)) and measured == {"params": 6.0}
        assert (state.optimizer, state.history) == (self.STATE.optimizer, [{"loss": 1.0}])
        assert [file.name for file in tmp_path.iterdir()] == ["c.pt"]

    def test_another_trial_s_is_refused(self, tmp_path: Path) -> None:
        checkpoint.save(tmp_path / "c.pt", "me", {}, self.STATE)
        with pytest.raises(checkpoint.CheckpointError, match=r"c\.pt belongs to another trial.*delete it") as caught:
            checkpoint.load(tmp_path / "c.pt", "you")
        assert not isinstance(caught.value, checkpoint.DamagedCheckpointError)

    def test_a_cut_file_is_refused(self, tmp_path: Path) -> None:
        file = tmp_path / "c.pt"
        checkpoint.save(file, "me", {}, self.STATE)
        whole = file.read_bytes()
        for length in range(0, len(whole), 101):
            file.write_bytes(whole[:length])
            with pytest.raises(checkpoint.DamagedCheckpointError, match=r"c\.pt is damaged.*delete it"):
                checkpoint.load(file, "me")

    def test_an_altered_byte_is_noticed(self, tmp_path: Path) -> None:
        file = tmp_path / "c.pt"
        checkpoint.save(file, "me", {}, self.STATE)
        whole = file.read_bytes()
        for place in range(0, len(whole), 7):
            file.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
            with pytest.raises(checkpoint.DamagedCheckpointError, match="checksum"):
                checkpoint.load(file, "me")

    def test_code_in_a_pickle_is_not_run(self, tmp_path: Path) -> None:
        class Trap:
            def __reduce__(self) -> Any:
                return Path.touch, (tmp_path / "sprung",)

        trapped = State({"weight": Trap()}, {}, [])
        checkpoint.save(tmp_path / "c.pt", "me", {}, trapped)
        with pytest.raises(checkpoint.DamagedCheckpointError, match="Weights only load failed"):
            checkpoint.load(tmp_path / "c.pt", "me")
        assert not (tmp_path / "sprung").exists()

    def test_a_trial_with_a_damaged_checkpoint_starts_anew(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        finish(job(tmp_path / "a"), stop_after=2)
        (tmp_path / "a" / "checkpoint.pt").write_bytes(b"PK\x03\x04 half a file")
        with caplog.at_level(logging.WARNING):
            reports, outcome = finish(job(tmp_path / "a"))
        assert [r.step for r in reports] == [0, 1, 2, 3] and outcome is not None
        assert "starts anew" in caplog.text

    def test_a_trial_with_another_s_checkpoint_is_refused(self, tmp_path: Path) -> None:
        finish(job(tmp_path), stop_after=1)
        with pytest.raises(checkpoint.CheckpointError, match="another trial"):
            finish(job(tmp_path, seed=99))


class TestEvaluate:
    def test_values_are_the_last_epoch_s_and_the_weights_are_signed(self, tmp_path: Path) -> None:
        asked = job(tmp_path, objectives=("accuracy", "loss", "flops"))
        reports, outcome = finish(asked)
        assert outcome is not None
        last = reports[-1].metrics
        expected = {"accuracy": last["val_accuracy"], "loss": last["val_loss"], "flops": reports[0].metrics["flops"]}
        assert outcome.values == expected and reports[0].metrics.keys() == {"flops"}
        assert sorted(file.name for file in tmp_path.iterdir()) == ["checkpoint.pt", "weights.safetensors"]
        with safe_open(tmp_path.parent / outcome.artifacts["weights"].path, "pt") as file:
            metadata = json.loads(file.metadata()["nas"])
        assert metadata["identity"] == identity(asked.architecture)
        assert (metadata["space"], metadata["task"], metadata["epochs"], metadata["seed"]) == ("tiny", "digits", 3, 7)

    def test_the_test_part_is_never_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(self: Digits) -> None:
            raise AssertionError("the test part was read")

        monkeypatch.setattr(Digits, "test", refuse)
        assert finish(job(tmp_path, epochs=1))[1] is not None

    def test_a_broken_constraint_ends_the_trial_before_training(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(evaluation, "train", None)
        run = evaluate(job(tmp_path, constraints=(Constraint.parse("flops<=1000"), Constraint.parse("params<=1e9"))))
        flops = next(run).metrics["flops"]
        with pytest.raises(Infeasible, match=f"^flops {flops:,.0f} breaks flops<=1000$"):
            next(run)

    def test_cheap_objectives_need_no_training(self, tmp_path: Path) -> None:
        reports, outcome = finish(job(tmp_path, objectives=("flops", "memory")))
        assert outcome == Outcome(reports[0].metrics) and len(reports) == 1 and not list(tmp_path.iterdir())

    def test_a_diverged_training_is_infeasible(self, tmp_path: Path) -> None:
        wild = architecture({"sgd": {"rate": 1000.0, "momentum": 0.99, "weight_decay": 0.1}}, warmup=0.0)
        monster = Space("wild", "", TINY.tree, lambda a, s: nn.Sequential(nn.Flatten(), Square(), Square(), linear(64)))
        evaluation.find_space = lambda name: monster
        with pytest.raises(Infeasible, match=r"^diverged: the training loss of epoch 1 is"):
            finish(job(tmp_path, architecture=wild))

    @pytest.mark.parametrize(
        "error",
        [
            MemoryError(),
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB\nsecond line"),
            RuntimeError("[enforce fail at alloc_cpu.cpp:114] DefaultCPUAllocator: not enough memory: you tried"),
        ],
    )
    def test_lack_of_memory_is_infeasible_and_keeps_no_frames(
        self, error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*args: Any) -> Iterator[Report]:
            raise error
            yield

        monkeypatch.setattr(evaluation, "train", fail)
        with pytest.raises(OutOfMemory, match=r"^out of memory: .+$") as caught:
            finish(job(tmp_path))
        assert caught.value.__context__ is None and "\n" not in str(caught.value)

    def test_an_allocation_that_really_fails_is_infeasible(self, tmp_path: Path) -> None:
        evaluation.find_space = lambda name: Space("huge", "", TINY.tree, lambda a, s: nn.Linear(2**25, 2**25))
        with pytest.raises(OutOfMemory, match=r"^out of memory: .*alloc"):
            finish(job(tmp_path))

    def test_an_unstable_activation_is_infeasible_before_anything_is_trained(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(evaluation, "train", None)
        evaluation.find_space = lambda name: Space("wild", "", TINY.tree, lambda a, s: Expression(4, "x**3"))
        with pytest.raises(Infeasible, match=r"^cube\(x\) is unstable: its slope at x=-1e\+04 is 3e\+08, but at most"):
            finish(job(tmp_path))
        assert not list(tmp_path.iterdir())

    def test_other_errors_stay_what_they_are(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*args: Any) -> None:
            raise RuntimeError("shapes do not match")

        monkeypatch.setattr(evaluation, "measure", fail)
        with pytest.raises(RuntimeError, match="shapes do not match"):
            finish(job(tmp_path))


class Square(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (1e6 * x) ** 4
