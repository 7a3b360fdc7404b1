"""The search loop: one report an epoch, and nothing random that does not come from (seed, epoch, step).

The train split is divided in two halves: the weights follow the gradient of one, the strengths that of the other. The
validation split is only reported, the test split not touched. Strengths take their step first, as in DARTS, and leave
running averages as they found them. All is float32, for gradients of the second order are differences. A search that
goes on from the state after any epoch gives the metrics of an uninterrupted one, bit for bit on a CPU.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.differentiable.bilevel import Problem, slopes
from nas.differentiable.method import Method
from nas.differentiable.settings import SearchError, Settings
from nas.job import Infeasible, Report
from nas.tasks import Task
from nas.training.loop import FIRST_LOOK, State, to_device, validate
from nas.training.seeding import derive, seeded
from search_spaces.decisions import Architecture
from search_spaces.mixtures.relaxation import capped, discretise
from search_spaces.mixtures.strengths import (
    architecture_parameters,
    entropy,
    network_weights,
    probabilities,
    weigh_by,
)
from search_spaces.phases import auxiliary_loss, begin_epoch
from search_spaces.space import Space

Samples = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Found:
    """The end of a search: the most probable architecture, and the probabilities of all options by path."""

    architecture: Architecture
    probabilities: dict[str, dict[Any, float]]


@dataclass(frozen=True)
class Relaxed:
    """A relaxed network with its two sets of parameters, each with its optimizer."""

    network: nn.Module
    weights: list[nn.Parameter]
    strengths: list[nn.Parameter]
    descent: torch.optim.SGD
    ascent: torch.optim.Adam

    def velocity(self) -> list[Tensor]:
        """Return the momentum buffers of the weights, zeros before the first step."""
        kept = [self.descent.state[p].get("momentum_buffer") for p in self.weights]
        return [torch.zeros_like(p) if v is None else v for p, v in zip(self.weights, kept, strict=True)]

    def state(self, history: list[dict[str, float]]) -> State:
        optimizers = {"weights": self.descent.state_dict(), "strengths": self.ascent.state_dict()}
        return State(self.network.state_dict(), optimizers, history)

    def load(self, state: State) -> None:
        self.network.load_state_dict(state.network)
        self.descent.load_state_dict(state.optimizer["weights"])
        self.ascent.load_state_dict(state.optimizer["strengths"])


def search(
    space: Space,
    relaxed: Architecture,
    task: Task,
    method: Method,
    settings: Settings,
    seed: int,
    device: torch.device | str = "cpu",
    state: State | None = None,
    keep: Callable[[State], None] | None = None,
) -> Generator[Report, None, Found]:
    """Search a relaxed architecture, report each epoch and return what was found.

    Reported are train_loss and val_loss in nats and val_accuracy, all of the relaxed network, the rate, the mean
    entropy of the strengths in nats, the probability `strength/<path>=<option>` of every option, and the seconds of the
    epoch. The epochs that a state has behind it are reported again; `keep` gets the state after each epoch, before its
    report goes out. Raises SearchError where nothing is relaxed, Infeasible on a loss that is not finite.
    """
    device = torch.device(device)
    held_out = to_device(task.validation(), device)
    halves = halve(to_device(task.train(), device), seed)
    one = start(space, relaxed, task, method, settings, seed, device)
    history = list(state.history) if state else []
    if state is not None:
        one.load(state)
    for epoch, metrics in enumerate(history, 1):
        yield Report(epoch, metrics)
    for epoch in range(len(history), settings.epochs):
        if epoch > settings.warmup and collapsed(one.network, settings):
            break
        began = time.perf_counter()
        rate = method.schedule(settings.lowest_rate, settings.rate, epoch / settings.epochs)
        train_loss = search_epoch(one, halves, method, settings, rate, epoch, seed)
        val_loss, val_accuracy = validate(one.network, held_out)
        for name, loss in (("training", train_loss), ("validation", val_loss)):
            if not math.isfinite(loss):
                raise Infeasible(f"diverged: the {name} loss of epoch {epoch + 1} is {loss}")
        shares = probabilities(one.network)
        metrics = {"train_loss": train_loss, "val_loss": val_loss, "val_accuracy": val_accuracy, "rate": rate}
        metrics["entropy"] = entropy(shares)
        metrics |= {f"strength/{path}={option}": p for path, each in shares.items() for option, p in each.items()}
        metrics["seconds"] = time.perf_counter() - began
        history.append(metrics)
        if keep is not None:
            keep(one.state(history))
        yield Report(epoch + 1, metrics)
    return Found(discretise(space, relaxed, one.network, settings.cap), probabilities(one.network))


def start(
    space: Space,
    relaxed: Architecture,
    task: Task,
    method: Method,
    settings: Settings,
    seed: int,
    device: torch.device,
) -> Relaxed:
    """Build a relaxed network and its optimizers; its weights are drawn from the seed."""
    with seeded(derive(seed, "build")):
        network = space.build(relaxed, task).to(device)
    weigh_by(network, method.weighting)
    method.prepare(network)
    weights, strengths = network_weights(network), architecture_parameters(network)
    if not strengths:
        raise SearchError(f"no decision of this architecture of {space.name} is a mixture: relax one or more")
    descent = torch.optim.SGD(weights, settings.rate, settings.momentum, weight_decay=settings.weight_decay)
    ascent = torch.optim.Adam(
        strengths, settings.strength_rate, settings.strength_betas, weight_decay=settings.strength_decay
    )
    return Relaxed(network, weights, strengths, descent, ascent)


def halve(samples: Samples, seed: int) -> tuple[Samples, Samples]:
    """Divide samples in two halves at random: one for the weights, one for the strengths; an odd one is left out."""
    inputs, targets = samples
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(derive(seed, "halves")))
    one, other = (part.to(inputs.device) for part in torch.split(order, len(order) // 2)[:2])
    return (inputs[one], targets[one]), (inputs[other], targets[other])


def collapsed(network: nn.Module, settings: Settings) -> bool:
    """Tell whether more decisions than the cap allows are on their way to its options, where that ends a search."""
    return settings.early_stop and settings.cap is not None and capped(network, settings.cap) > settings.cap.most


def search_epoch(
    one: Relaxed,
    halves: tuple[Samples, Samples],
    method: Method,
    settings: Settings,
    rate: float,
    epoch: int,
    seed: int,
) -> float:
    """Train weights, and after the warm-up strengths too, for one epoch; return the mean loss of the weights' half."""
    network = one.network.train()
    source = derive(seed, "epoch", epoch)
    inputs = halves[0][0]
    with seeded(source, inputs.device):
        begin_epoch(network, epoch, settings.epochs, inputs[:FIRST_LOOK])
    batch = min(settings.batch, len(inputs))
    steps = len(inputs) // batch
    generator = torch.Generator().manual_seed(source)
    orders = [torch.randperm(len(inputs), generator=generator).to(inputs.device) for _ in halves]
    one.descent.param_groups[0]["lr"] = rate
    total = torch.zeros((), device=inputs.device)
    for step in range(steps):
        lots = [order[step * batch : (step + 1) * batch] for order in orders]
        (train, validation) = (
            objective(network, (half[0][lot], half[1][lot]), derive(source, name, step))
            for name, half, lot in zip(("weights", "strengths"), halves, lots, strict=True)
        )
        if epoch >= settings.warmup:
            problem = Problem(
                one.weights,
                one.strengths,
                train,
                validation,
                rate,
                settings.momentum,
                settings.weight_decay,
                one.velocity(),
            )
            with undisturbed(network):
                follow(one.ascent, one.strengths, method.gradient(problem))
            method.adjust(network, (epoch - settings.warmup) * steps + step)
        loss = train()
        follow(one.descent, one.weights, slopes(loss, one.weights), settings.gradient_norm)
        total += loss.detach()
    return float(total) / steps


def objective(network: nn.Module, samples: Samples, seed: int) -> Callable[[], Tensor]:
    """Return the mean cross-entropy [] of a batch in nats, what parts of the network add to it included.

    Whatever the network draws, it draws the same in each call.
    """

    def loss() -> Tensor:
        with seeded(seed, samples[0].device):
            found = F.cross_entropy(network(samples[0]).float(), samples[1])
        extra = auxiliary_loss(network)
        return found if extra is None else found + extra.float()

    return loss


def follow(
    optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter], gradient: list[Tensor], norm: float = math.inf
) -> None:
    """Take a step with a gradient, clipped to a norm."""
    for parameter, slope in zip(parameters, gradient, strict=True):
        parameter.grad = slope
    if norm < math.inf:
        nn.utils.clip_grad_norm_(parameters, norm)
    optimizer.step()
    optimizer.zero_grad()


@contextmanager
def undisturbed(network: nn.Module) -> Iterator[None]:
    """Put the buffers of a network, such as running averages, back at the end."""
    before = [buffer.clone() for buffer in network.buffers()]
    try:
        yield
    finally:
        for buffer, value in zip(network.buffers(), before, strict=True):
            buffer.copy_(value)
