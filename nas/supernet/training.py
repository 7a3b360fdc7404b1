"""The training of a supernet: one report an epoch, and nothing random that does not come from (seed, epoch).

`one_shot` trains one path a step, every decision drawn evenly (Guo et al. 2020, Single Path One-Shot Neural
Architecture Search with Uniform Sampling). `sorted_subnets` adds up the gradients of the largest, the smallest and
some random subnetworks of an architecture in each step (SortedNet; Universally Slimmable Networks), where the soft
outputs of the largest may teach the others.

All paths are trained alike, by the settings given here: the `training` decisions of the drawn architectures are not
followed. Weight decay and momentum act on whole tensors of the bank that a step uses, also on what it does not use of
them. Draws that cannot be built, or whose gradients are not finite, are skipped and counted.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.job import Infeasible, Report
from nas.supernet.bank import Path, Supernet
from nas.supernet.errors import SupernetError
from nas.supernet.recalibration import judge
from nas.supernet.sampling import check_fixed, sandwich, single
from nas.training.loop import State, to_device
from nas.training.seeding import derive, seeded
from search_spaces.decisions import Architecture, Trace
from search_spaces.expressions.stability import Unstable
from search_spaces.space import Space

log = logging.getLogger(__name__)

RULES = ("one_shot", "sorted_subnets")
OPTIMIZERS = ("sgd", "adamw")
DRAWS = 100  # draws in a row that may fail before the training gives up


@dataclass(frozen=True)
class SupernetSettings:
    """How a supernet is trained, whatever its paths; the rate falls as a cosine over all epochs.

    `between` random subnetworks stand between the largest and the smallest in `sorted_subnets`, and with `distilled`
    the largest teaches all others. `probes` subnetworks are judged on the validation split after each epoch.
    """

    rule: str = "one_shot"
    optimizer: str = "sgd"
    rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    batch: int = 64
    clip: float = 1.0
    between: int = 2
    distilled: bool = True
    probes: int = 2

    def __post_init__(self) -> None:
        for name, value, allowed in (("rule", self.rule, RULES), ("optimizer", self.optimizer, OPTIMIZERS)):
            if value not in allowed:
                raise SupernetError(f"{name} is {value!r}, but {' or '.join(allowed)} is known")
        for name, low in (("batch", 1), ("between", 0), ("probes", 0)):
            if getattr(self, name) < low:
                raise SupernetError(f"{name} is {getattr(self, name)}, but a whole number from {low} up is allowed")
        for name in ("rate", "clip"):
            if not getattr(self, name) > 0:
                raise SupernetError(f"{name} is {getattr(self, name)}, but a number above 0 is allowed")
        if not (0 <= self.momentum < 1 and self.weight_decay >= 0):
            raise SupernetError(
                f"momentum and weight_decay are {self.momentum} and {self.weight_decay}, but 0 up to below 1 and a "
                "number from 0 up are allowed"
            )


def train_supernet(
    supernet: Supernet,
    epochs: int,
    settings: SupernetSettings | None = None,
    within: Space | None = None,
    fixed: Trace | None = None,
    state: State | None = None,
    keep: Callable[[State], None] | None = None,
) -> Iterator[Report]:
    """Train a supernet in place, from where it is or from a state, and report each epoch.

    Paths are drawn from the space `within` (see `search_spaces.limits`; the whole space by default) with `fixed`
    decisions as they are. As in the training of a network, the epochs behind a state are reported again, and `keep`
    gets the state after each. Reported are train_loss in nats, the mean over the paths; val_loss and val_accuracy, the
    means over `probes` fixed random paths with recalibrated statistics; rate, skipped (draws of the epoch), tensors
    (in the bank) and seconds. Raises Infeasible where no draw can be trained.
    """
    if epochs < 1:
        raise SupernetError(f"epochs is {epochs}, but a whole number from 1 up is allowed")
    run = _Run(supernet, settings or SupernetSettings(), within or supernet.space, fixed or {})
    check_fixed(run.space, run.fixed)
    history = list(state.history) if state else []
    if state is not None:
        run.load(state)
    for epoch, metrics in enumerate(history, 1):
        yield Report(epoch, metrics)
    samples = to_device(supernet.task.train(), supernet.device)
    for epoch in range(len(history), epochs):
        start = time.perf_counter()
        metrics = run.epoch(samples, epoch, epochs)
        metrics |= run.probe()
        metrics |= {"tensors": float(len(supernet.tensors)), "seconds": time.perf_counter() - start}
        history.append(metrics)
        if keep is not None:
            keep(State(supernet.state(), run.optimizer_state(), history))
        yield Report(epoch + 1, metrics)


def accumulate(
    paths: Sequence[Path], inputs: Tensor, targets: Tensor, distilled: bool = False
) -> tuple[float, list[Tensor]]:
    """Add the gradients of the paths' losses to the bank; return the mean loss in nats and the tensors that got one.

    With `distilled` the first path learns the targets [batch], and its soft outputs are the others' targets.
    """
    total, used, aims = 0.0, dict[int, Tensor](), targets
    for path in paths:
        logits = path.run(inputs, training=True).float()
        loss = F.cross_entropy(logits, aims)
        extra = path.auxiliary_loss()
        (loss if extra is None else loss + extra.float()).backward()  # type: ignore[no-untyped-call]
        if distilled and aims is targets:
            aims = logits.detach().softmax(1)
        total += float(loss.detach())
        used |= {id(tensor): tensor for tensor in path.tensors() if tensor.requires_grad}
    return total / len(paths), list(used.values())


@dataclass
class _Run:
    """A training in progress. Each step hands the optimizer the tensors that it uses, and nothing else of the bank."""

    supernet: Supernet
    settings: SupernetSettings
    space: Space
    fixed: Trace
    skipped: int = 0
    optimizer: torch.optim.Optimizer = field(init=False)

    def __post_init__(self) -> None:
        self.optimizer = make_optimizer(self.settings)

    def epoch(self, samples: tuple[Tensor, Tensor], epoch: int, epochs: int) -> dict[str, float]:
        inputs, targets = samples
        batch = min(self.settings.batch, len(inputs))
        steps, rate, losses = len(inputs) // batch, 0.0, list[float]()
        source = derive(self.supernet.seed, "epoch", epoch)
        rng, self.skipped = Random(source), 0
        with seeded(source, inputs.device):
            order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(source)).to(inputs.device)
            for step in range(steps):
                rate = self.settings.rate * (1 + math.cos(math.pi * (epoch * steps + step) / (epochs * steps))) / 2
                chosen = order[step * batch : (step + 1) * batch]
                losses.append(self.step(rng, inputs[chosen], targets[chosen], rate))
        return {"train_loss": sum(losses) / steps, "rate": rate, "skipped": float(self.skipped)}

    def step(self, rng: Random, inputs: Tensor, targets: Tensor, rate: float) -> float:
        """Draw until a step can be made, make it, and return its loss."""
        reason = ""
        for _ in range(DRAWS):
            drawn = self.draw(rng)
            try:
                paths = [self.supernet.path(architecture) for architecture in drawn]
            except (Unstable, ValueError) as error:
                reason = self.skip(str(error))
                continue
            loss, used = accumulate(paths, inputs, targets, self.settings.distilled)
            if self.update(used, rate, loss):
                return loss
            reason = self.skip(f"its gradients are not finite at a loss of {loss}")
        raise Infeasible(f"none of {DRAWS} subnetworks in a row can be trained, the last because: {reason}")

    def draw(self, rng: Random) -> list[Architecture]:
        if self.settings.rule == "one_shot":
            return single(self.space, rng, self.fixed)
        return sandwich(self.space, rng, self.fixed, self.settings.between)

    def update(self, used: list[Tensor], rate: float, loss: float) -> bool:
        """Step on the tensors of one step, unless the loss or a gradient is not finite; tell whether it was made."""
        decayed, flat = self.optimizer.param_groups
        decayed["params"] = [tensor for tensor in used if tensor.ndim > 1]
        flat["params"] = [tensor for tensor in used if tensor.ndim <= 1]
        decayed["lr"] = flat["lr"] = rate
        norm = float(nn.utils.clip_grad_norm_(used, self.settings.clip))
        finite = math.isfinite(norm) and math.isfinite(loss)
        if finite:
            self.optimizer.step()
        for tensor in used:
            tensor.grad = None
        return finite

    def skip(self, reason: str) -> str:
        if not self.skipped:
            log.warning("a subnetwork was skipped (%s); how many are is reported", reason)
        self.skipped += 1
        return reason

    def probe(self) -> dict[str, float]:
        """Judge the first fixed random paths that can be built."""
        rng, judged = Random(derive(self.supernet.seed, "probes")), list[tuple[float, float]]()
        for _ in range(DRAWS):
            if len(judged) == self.settings.probes:
                break
            try:
                judged.append(judge(self.supernet, single(self.space, rng, self.fixed)[0]))
            except (Unstable, ValueError):
                continue
        if not judged:
            return {}
        loss, accuracy = (sum(values) / len(judged) for values in zip(*judged, strict=True))
        return {"val_loss": loss, "val_accuracy": accuracy}

    def optimizer_state(self) -> dict[str, Any]:
        state = self.optimizer.state
        return {key: dict(state[tensor]) for key, tensor in self.supernet.tensors.items() if tensor in state}

    def load(self, state: State) -> None:
        self.supernet.load_state(state.network)
        for key, kept in state.optimizer.items():
            # A copy, for the optimizer changes its state in place.
            copied = {name: value.clone() if isinstance(value, Tensor) else value for name, value in kept.items()}
            self.optimizer.state[self.supernet.tensors[key]] = copied


def make_optimizer(settings: SupernetSettings) -> torch.optim.Optimizer:
    """Make the optimizer of a bank: one group that is decayed and one that is not, to be filled step by step."""
    groups = [
        {"params": [nn.Parameter(torch.zeros(()))], "weight_decay": decay} for decay in (settings.weight_decay, 0.0)
    ]
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=settings.rate, fused=True)
    momentum = settings.momentum
    # The fused SGD cannot step on tensors that have a momentum and on new ones at once.
    return torch.optim.SGD(groups, lr=settings.rate, momentum=momentum, nesterov=momentum > 0)
