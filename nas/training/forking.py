"""A forked trial: it goes on from another trial's checkpoint, with other decisions.

It has the weights of that trial, what its optimizer remembers where the optimizer is the same, and the count of the
epochs behind it. Its hyperparameters and its random numbers are its own: those of an epoch come from its own seed.
"""

from __future__ import annotations

from dataclasses import replace

from nas.errors import UserError
from nas.job import Job, Origin
from nas.training import checkpoint
from nas.training.files import TrialFiles
from nas.training.loop import State
from nas.training.names import retained
from nas.training.recipe import Recipe
from search_spaces.decisions import Architecture


class OriginError(UserError):
    """A checkpoint that a forked trial is to go on from and cannot."""


def origin_state(job: Job, origin: Origin, content: str, files: TrialFiles) -> tuple[State, dict[str, float]]:
    """Return the state that a forked trial begins with, and what was measured of the origin's network.

    Raises OriginError where the origin's checkpoint is not there, is damaged, or is not what it should be.
    """
    trial, name = origin.folder.name, retained(origin.step)
    lead = f"trial {job.trial} cannot go on from {files.place(trial, name)}"
    path = files.find_of(trial, name)
    if path is None:
        raise OriginError(
            f"{lead}: it is not there; where workers and driver share no disk, begin the study with --storage"
        )
    whose = checkpoint.trial_identity(origin.architecture, content, origin.seed, job.epochs)
    try:
        state, measured = checkpoint.load(path, whose)
    except checkpoint.CheckpointError as error:
        raise OriginError(f"{lead}: it {error.fault}") from error
    if len(state.history) != origin.step or origin.step >= job.epochs:
        raise OriginError(f"{lead}: it has {len(state.history)} of {job.epochs} epochs behind it, not {origin.step}")
    kept = _optimizer(origin.architecture) == _optimizer(job.architecture)
    return (state if kept else replace(state, optimizer={})), measured


def same_network(one: Architecture, other: Architecture) -> bool:
    """Whether two architectures differ in their training alone."""
    return bool(_network(one) == _network(other))


def _network(architecture: Architecture) -> Architecture:
    return {part: decided for part, decided in architecture.items() if part != "training"}


def _optimizer(architecture: Architecture) -> str:
    return Recipe.read(architecture.get("training", {})).optimizer[0]
