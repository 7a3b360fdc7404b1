"""The training loop: one report an epoch, and nothing random that does not come from (seed, epoch).

A run that goes on from the state after any epoch therefore gives the metrics of an uninterrupted one, bit
for bit on a CPU. Gradients are clipped, one-dimensional parameters are not decayed, CUDA devices train in
bfloat16 where they can; validation is always in float32, as the exported network is.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from random import Random
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.job import Infeasible, Report, Segment
from nas.tasks import Task
from nas.training.augment import mixup, shift
from nas.training.course import Course
from nas.training.optimizers import follow, make_optimizer, restore
from nas.training.recipe import Recipe
from nas.training.seeding import derive, seeded
from search_spaces.phases import auxiliary_loss, begin_epoch

GRADIENT_NORM = 1.0
VALIDATION_BATCH = 1024
FIRST_LOOK = 512  # training samples from which a network may place its grids
STEPS_UNSEEN = 32


@dataclass(frozen=True)
class State:
    """Where a training stands: all that is needed to go on, and the metrics of each epoch so far.

    With no optimizer's state in it, the optimizer begins afresh.
    """

    network: dict[str, Any]
    optimizer: dict[str, Any]
    history: list[dict[str, float]]


def train(
    network: nn.Module,
    task: Task,
    training: Mapping[str, Any],
    epochs: int,
    seed: int,
    device: torch.device | str = "cpu",
    state: State | None = None,
    keep: Callable[[State], None] | None = None,
    segments: Sequence[Segment] = (),
    after: int = 0,
) -> Iterator[Report]:
    """Train a network in place, from scratch or from a state, and report each epoch that comes `after` so many.

    The epochs that a state has behind it are reported again, for a report may have been lost with the worker
    that made it. `training` is the architecture's part of that name; `segments` are followed instead, where there
    are some; the rate decays over all of `epochs`. `keep` gets the state after each epoch, before its report goes
    out. Reported are train_loss and val_loss in nats, val_accuracy, the last step's rate, and the seconds of the
    epoch. Raises Infeasible on a loss that is not finite, in the middle of an epoch too.
    """
    if epochs < 1:
        raise ValueError(f"epochs must be at least 1, but got {epochs}")
    device = torch.device(device)
    course = Course.read(training, segments)
    network.to(device)
    history = list(state.history) if state else []
    optimizer = make_optimizer(network, course.at(len(history)))
    if state is not None:
        network.load_state_dict(state.network)
        if state.optimizer:
            restore(optimizer, state.optimizer)
    for epoch in range(after, len(history)):
        yield Report(epoch + 1, history[epoch])
    samples = to_device(task.train(), device)
    held_out = to_device(task.validation(), device)
    for epoch in range(len(history), epochs):
        start = time.perf_counter()
        recipe = course.at(epoch)
        follow(optimizer, recipe)
        train_loss, rate = train_epoch(network, optimizer, recipe, samples, task.blank, epoch, epochs, seed)
        val_loss, val_accuracy = validate(network, held_out)
        if not math.isfinite(val_loss):
            raise Infeasible(f"diverged: the validation loss of epoch {epoch + 1} is {val_loss}")
        metrics = {"train_loss": train_loss, "val_loss": val_loss, "val_accuracy": val_accuracy, "rate": rate}
        metrics["seconds"] = time.perf_counter() - start
        history.append(metrics)
        if keep is not None:
            keep(State(network.state_dict(), optimizer.state_dict(), history))
        yield Report(epoch + 1, metrics)


def train_epoch(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    recipe: Recipe,
    samples: tuple[Tensor, Tensor],
    blank: float,
    epoch: int,
    epochs: int,
    seed: int,
) -> tuple[float, float]:
    """Train one epoch in batches of equal size (a smaller rest is left out) and return mean loss and last rate.

    Raises Infeasible soon after a loss that is not finite: at once on a CPU, where looking costs nothing.
    """
    inputs, targets = samples
    batch = min(recipe.batch, len(inputs))
    steps = len(inputs) // batch
    losses, seen, rate = torch.zeros(steps, device=inputs.device), 0, 0.0
    unseen = steps_unseen(inputs.device)
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    source = derive(seed, "epoch", epoch)
    generator, rng = torch.Generator().manual_seed(source), Random(source)
    network.train()
    with seeded(source, inputs.device):
        begin_epoch(network, epoch, epochs, inputs[:FIRST_LOOK])
        order = torch.randperm(len(inputs), generator=generator).to(inputs.device)
        for step in range(steps):
            rate = recipe.rate_at(epoch * steps + step, epochs * steps)
            for group in optimizer.param_groups:
                group["lr"] = rate
            chosen = order[step * batch : (step + 1) * batch]
            loss = batch_loss(network, recipe, inputs[chosen], targets[chosen], blank, rng, generator)
            losses[step] = loss.detach()
            if step + 1 - seen == unseen or step + 1 == steps:
                _require_finite(losses[seen : step + 1].tolist(), seen, steps, epoch)
                seen = step + 1
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(trained, GRADIENT_NORM)
            optimizer.step()
    return float(losses.double().mean()), rate


def batch_loss(
    network: nn.Module,
    recipe: Recipe,
    inputs: Tensor,
    targets: Tensor,
    blank: float,
    rng: Random,
    generator: torch.Generator,
) -> Tensor:
    """Return the mean cross-entropy [] of a batch, augmented and with smoothed labels as the recipe says.

    What parts of the network add to the loss by themselves, such as the balance of a router, is in it.
    """
    name, options = recipe.augmentation
    partners, share = targets, 1.0
    if name == "shift":
        inputs = shift(inputs, blank, generator)
    elif name == "mixup":
        inputs, order, share = mixup(inputs, options["alpha"], rng, generator)
        partners = targets[order]
    with _precision(inputs.device):
        logits = network(inputs)
    logits, smoothing = logits.float(), recipe.label_smoothing
    loss = F.cross_entropy(logits, targets, label_smoothing=smoothing)
    if name == "mixup":
        loss = share * loss + (1 - share) * F.cross_entropy(logits, partners, label_smoothing=smoothing)
    extra = auxiliary_loss(network)
    return loss if extra is None else loss + extra.float()


@torch.no_grad()
def validate(network: nn.Module, samples: tuple[Tensor, Tensor]) -> tuple[float, float]:
    """Return mean cross-entropy in nats and share of right answers, in eval mode and float32."""
    network.eval()
    loss, right = 0.0, 0
    for start in range(0, len(samples[1]), VALIDATION_BATCH):
        inputs, targets = (part[start : start + VALIDATION_BATCH] for part in samples)
        logits = network(inputs).float()
        loss += float(F.cross_entropy(logits, targets, reduction="sum"))
        right += int((logits.argmax(1) == targets).sum())
    return loss / len(samples[1]), right / len(samples[1])


def to_device(samples: tuple[Tensor, Tensor], device: torch.device) -> tuple[Tensor, Tensor]:
    inputs, targets = samples
    return inputs.to(device), targets.to(device)


def steps_unseen(device: torch.device) -> int:
    """Return the steps after which losses are looked at: to look is to wait for a device that works ahead."""
    return 1 if device.type == "cpu" else STEPS_UNSEEN


def _require_finite(losses: Sequence[float], before: int, steps: int, epoch: int) -> None:
    """Raise Infeasible for the first loss that is not finite; `before` steps came before these."""
    for step, loss in enumerate(losses, before + 1):
        if not math.isfinite(loss):
            raise Infeasible(f"diverged: the training loss of epoch {epoch + 1} is {loss} at step {step} of {steps}")


def _precision(device: torch.device) -> Any:
    if device.type == "cuda" and torch.cuda.is_bf16_supported():
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return nullcontext()
