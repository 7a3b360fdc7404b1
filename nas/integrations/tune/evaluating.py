"""Our evaluation as a Tune Trainable: an epoch a step, its checkpoints in our format, its actor used again.

A result has val_accuracy, val_loss and the objectives; under `nas` lies what `StoreCallback` writes down. A trial that
cannot be (a constraint is broken, the loss is not finite, memory does not suffice) is done at once, with `infeasible`
set and objectives that are not a number: no error, and no scheduler goes on from it.

A checkpoint is a folder with the trial's own checkpoint and what it belongs to, and of a completed trial the weights.
Loaded under the decisions that it was made with, training goes on as if it had never stopped; under others, as PBT
does, the trial is a fork: it has the weights and the count of epochs, and its own hyperparameters.
"""

from __future__ import annotations

import gc
import math
import re
import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

from ray import tune

from nas.execution import Problem, Steps
from nas.execution.worker import default_evaluate, limit_threads, pick_device
from nas.integrations.tune.configs import ConfigError, Reading, read
from nas.integrations.tune.folders import read_facts, write_facts
from nas.integrations.tune.spaces import as_space
from nas.job import Evaluate, Job, Origin, Outcome, Report
from nas.objectives import Constraint, objective
from nas.store.models import State
from nas.training.names import CHECKPOINT, WEIGHTS, retained
from search_spaces.limits import limited
from search_spaces.registry import Entry, add, entries
from search_spaces.space import Space

OURS = "nas"
ALWAYS = ("val_accuracy", "val_loss")


class TrialFailed(Exception):
    """A trial that failed by its own error, whose name and traceback are the text."""


@dataclass(frozen=True)
class Plan:
    """What all trials of a trainable share. `job` is one of them but for architecture, seed, folder and device."""

    space: Space | str
    only: tuple[str, ...]
    job: Job
    evaluate: Evaluate | None
    cpus: float
    gpus: float
    raises: bool

    def read(self, config: dict[str, Any]) -> Reading:
        """Read a trial's config; raises ConfigError."""
        return read(limited(as_space(self.space), self.only), config)

    def seed(self, reading: Reading) -> int:
        """Return the seed of a trial: its config's, else the one that all have."""
        return self.job.seed if reading.seed is None else reading.seed


def trainable(
    space: Space | str,
    task: str = "digits",
    epochs: int = 8,
    *,
    objectives: Sequence[str] = ("accuracy", "params"),
    constraints: Sequence[str] = (),
    only: Sequence[str] = (),
    seed: int = 0,
    split_seed: int = 0,
    cpus: float = 1,
    gpus: float = 0,
    raises: bool = True,
    evaluate: Evaluate | None = None,
) -> type[tune.Trainable]:
    """Make the Trainable that trains a space's networks for a task, and measures the objectives.

    Its configs are architectures or traces (see `nas.integrations.tune.configs`), with `only` those of a part of the
    space, in which a decision that has one value left is none. Trials have `seed` unless their
    config has one under `nas.seed`: for repeats add `{"nas.seed": tune.randint(0, 2**31)}`. A trial takes so many
    `cpus` and `gpus`, fractions too. With `raises=False` an error of a trial's own is a result too, so that Tune's
    `max_failures` is for lost workers alone. `evaluate` stands for our evaluation. Raises UnknownName and UserError.
    """
    parsed = tuple(Constraint.parse(text) for text in constraints)
    for name in objectives:
        objective(name)
    if epochs < 1:
        raise ConfigError(f"epochs {epochs} is not allowed: it must be at least 1")
    known(space)
    limited(as_space(space), only)
    name = space if isinstance(space, str) else space.name
    job = Job(
        trial=0,
        attempt=1,
        architecture=None,
        seed=seed,
        space=name,
        task=task,
        split_seed=split_seed,
        epochs=epochs,
        objectives=tuple(objectives),
        constraints=parsed,
        only=tuple(only),
    )
    made = re.sub(r"\W", "_", f"{name}_{task}")
    return type(made, (Evaluating,), {"plan": Plan(space, tuple(only), job, evaluate, cpus, gpus, raises)})


def known(space: Space | str) -> None:
    """Register a space that is given by itself, in this process; raises ConfigError where another has its name."""
    if isinstance(space, str):
        as_space(space)
        return
    there = entries("space").get(space.name)
    if there is None:
        add(Entry("space", space.name, lambda: space, space.summary))
    elif there.make().describe() != space.describe():
        raise ConfigError(f"another space is registered as {space.name!r}: give yours another name")


class Evaluating(tune.Trainable):
    """One trial at a time, advanced an epoch a step. Made by `trainable`."""

    plan: ClassVar[Plan]
    _evaluate: Evaluate
    _device: str
    _reading: Reading
    _scratch: TemporaryDirectory[str]
    _job: Job
    _steps: Steps | None
    _epoch: int
    _measured: dict[str, float]
    _metrics: dict[str, float]
    _weights: Path | None

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        """Say what a trial takes."""
        gpus = {"GPU": cls.plan.gpus} if cls.plan.gpus else {}
        return tune.PlacementGroupFactory([{"CPU": cls.plan.cpus} | gpus])

    def setup(self, config: dict[str, Any]) -> None:
        """Prepare this process, and begin a trial."""
        known(self.plan.space)
        own = self.plan.evaluate is None
        self._evaluate = self.plan.evaluate or default_evaluate()
        self._device = pick_device() if own else "cpu"
        if own:
            limit_threads(self._device, self.plan.cpus)
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin another trial, or the same one with another config, in this process."""
        self.cleanup()
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Train for an epoch and report it; the last one ends the trial."""
        while True:
            said = self._advance()
            if isinstance(said, Problem):
                return self._problem(said)
            if isinstance(said, Outcome):
                return self._completed(said)
            if said.step == 0:
                self._measured = said.metrics
                continue
            self._metrics = said.metrics
            if said.step > self._epoch:
                self._epoch = said.step
                if said.step < self._job.epochs:
                    return self._result(State.RUNNING, self._values())

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write where the trial stands, and the weights once it is completed."""
        folder = Path(checkpoint_dir)
        if (self._job.folder / CHECKPOINT).exists():
            shutil.copyfile(self._job.folder / CHECKPOINT, folder / CHECKPOINT)
        if self._weights is not None:
            shutil.copyfile(self._weights, folder / WEIGHTS)
        write_facts(folder, self._job, self._epoch)

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Go on from a checkpoint, this trial's or another's; raises CheckpointFolderError."""
        if self._steps is not None:
            self.reset_config(self.config)
        folder = Path(checkpoint)
        facts = read_facts(folder, self._job)
        own = facts["architecture"] == self._job.architecture and facts["seed"] == self._job.seed
        step = int(facts["step"])
        if (folder / CHECKPOINT).exists():
            origin = self._job.folder.with_name("origin")
            place = self._job.folder / CHECKPOINT if own else origin / retained(step)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / CHECKPOINT, place)
            if not own:
                whence = Origin(origin, step, facts["architecture"], facts["seed"])
                self._job = replace(self._job, origin=whence)
        self._epoch = step

    def cleanup(self) -> None:
        """End the trial's evaluation, and remove its files."""
        if self._steps is not None:
            self._steps.close()
        self._steps = None
        self._scratch.cleanup()

    def _begin(self, config: dict[str, Any]) -> None:
        self._reading = self.plan.read(config)
        self._scratch = TemporaryDirectory(prefix="nas-tune-", ignore_cleanup_errors=True)
        self._job = replace(
            self.plan.job,
            architecture=self._reading.architecture,
            seed=self.plan.seed(self._reading),
            folder=Path(self._scratch.name) / "trial",
            device=self._device,
        )
        self._steps, self._weights = None, None
        self._epoch = 0
        self._measured, self._metrics = {}, {}

    def _advance(self) -> Report | Outcome | Problem:
        """Run to the next report; begins the evaluation, since a checkpoint may be loaded after the config is set."""
        steps = self._steps or Steps(self._evaluate, self._job)
        self._steps = steps
        return steps.advance()

    def _completed(self, outcome: Outcome) -> dict[str, Any]:
        left = outcome.artifacts.get("weights")
        self._weights = None if left is None else self._job.folder.parent / left.path
        return self._result(State.COMPLETED, outcome.values) | {"done": True, "should_checkpoint": True}

    def _problem(self, problem: Problem) -> dict[str, Any]:
        """Report a trial that ended without an outcome; raises TrialFailed for one that failed, if it shall."""
        if problem.state is State.FAILED and self.plan.raises:
            raise TrialFailed(f"{problem.reason}\n\n{problem.traceback or ''}")
        if problem.soiled:
            _free_memory()
        missing = {name: math.nan for name in (*ALWAYS, *self._job.objectives)}
        self._metrics = {}
        known = {name: self._measured[name] for name in self._job.objectives if name in self._measured}
        result = self._result(problem.state, missing | known)
        result[OURS] |= {"reason": problem.reason, "error": problem.traceback or ""}
        return result | {"done": True}

    def _values(self) -> dict[str, float]:
        """Return the objectives as they are after the last epoch."""
        known = self._measured | self._metrics
        return {name: known[objective(name).metric or name] for name in self._job.objectives}

    def _result(self, state: State, values: dict[str, float]) -> dict[str, Any]:
        """Report what came of the last epoch. Tune counts as an iteration what we count as an epoch."""
        ours = {
            "state": str(state),
            "step": self._epoch,
            "reason": "",
            "error": "",
            "moved": self._reading.notes,
            "metrics": dict(self._metrics),
            "measured": dict(self._measured),
        }
        shown = {name: self._metrics[name] for name in ALWAYS if name in self._metrics}
        ended = {"training_iteration": self._epoch, "infeasible": state is State.INFEASIBLE, OURS: ours}
        return shown | values | ended


def _free_memory() -> None:
    """Give back what a trial without memory held. Tune cannot be told to end a process that it will use again."""
    gc.collect()
    if (torch := sys.modules.get("torch")) is not None:
        with suppress(RuntimeError):
            torch.cuda.empty_cache()
