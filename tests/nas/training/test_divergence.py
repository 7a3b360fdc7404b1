from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tiny_space import ADAMW, TINY, architecture, job
from torch import Tensor, nn

from nas.job import Infeasible
from nas.tasks import find_task
from nas.training import evaluate as evaluation
from nas.training import loop
from nas.training.evaluate import evaluate
from search_spaces.space import Space

BATCH = 128
STEPS = len(find_task("digits").train()[0]) // BATCH


class Failing(nn.Module):
    """Adds a number that is not finite to the outputs of one training step, counted from 1."""

    def __init__(self, at: int, value: float) -> None:
        super().__init__()
        self.at, self.value, self.calls = at, value, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += self.training
        return x + self.value if self.training and self.calls == self.at else x


@pytest.fixture
def network() -> Iterator[nn.Sequential]:
    torch.manual_seed(0)
    yield nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def diverge(network: nn.Module) -> str:
    with pytest.raises(Infeasible) as caught:
        list(loop.train(network, find_task("digits"), architecture(ADAMW)["training"], 4, 0))
    return str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("epoch", [1, 2])
@pytest.mark.parametrize("step", [1, 3, STEPS])
def test_a_training_ends_at_the_first_loss_that_is_not_finite(
    value: float, epoch: int, step: int, network: nn.Sequential
) -> None:
    failing = Failing((epoch - 1) * STEPS + step, value)
    said = diverge(network.append(failing))
    assert said == f"diverged: the training loss of epoch {epoch} is nan at step {step} of {STEPS}"
    assert failing.calls == failing.at


@pytest.mark.parametrize(("step", "seen"), [(1, 3), (3, 3), (4, 6), (STEPS, STEPS)])
def test_a_device_that_works_ahead_is_looked_at_now_and_then(
    step: int, seen: int, network: nn.Sequential, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "steps_unseen", lambda device: 3)
    failing = Failing(STEPS + step, float("nan"))
    said = diverge(network.append(failing))
    assert said == f"diverged: the training loss of epoch 2 is nan at step {step} of {STEPS}"
    assert failing.calls == STEPS + seen


def test_only_a_cpu_is_waited_for_after_each_step() -> None:
    assert loop.steps_unseen(torch.device("cpu")) == 1 < loop.steps_unseen(torch.device("cuda"))


def test_how_often_is_looked_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for unseen in (1, 4, 100):
        monkeypatch.setattr(loop, "steps_unseen", lambda device, unseen=unseen: unseen)
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
        reports = list(loop.train(net, find_task("digits"), architecture(ADAMW)["training"], 2, 0))
        found.append([{k: v for k, v in each.metrics.items() if k != "seconds"} for each in reports])
    assert found[0] == found[1] == found[2]


def test_a_validation_loss_that_is_not_finite_is_said_too(network: nn.Sequential) -> None:
    class Blind(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if self.training else x * float("inf")

    assert diverge(network.append(Blind())) == "diverged: the validation loss of epoch 1 is nan"


def test_a_diverged_trial_leaves_its_last_good_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Space("broken", "", TINY.tree, lambda a, s: nn.Sequential(TINY.make(a, s), Failing(STEPS + 2, 1e39)))
    monkeypatch.setattr(evaluation, "find_space", lambda name: broken)
    run = evaluate(job(tmp_path / "a"))
    assert [next(run).step, next(run).step] == [0, 1]
    with pytest.raises(Infeasible, match=r"epoch 2 is nan at step 2 of"):
        next(run)
    assert [file.name for file in (tmp_path / "a").iterdir()] == ["checkpoint.pt"]


def test_the_mean_loss_of_an_epoch_is_that_of_its_steps(
    network: nn.Sequential, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[float] = []
    whole = loop.batch_loss

    def noting(*args: object) -> Tensor:
        loss = whole(*args)  # type: ignore[arg-type]
        noted.append(loss.item())
        return loss

    monkeypatch.setattr(loop, "batch_loss", noting)
    [report] = loop.train(network, find_task("digits"), architecture(ADAMW)["training"], 1, 0)
    assert report.metrics["train_loss"] == pytest.approx(sum(noted) / STEPS, rel=1e-12)
