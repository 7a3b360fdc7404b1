"""Checkpoints: one file a trial, replaced as a whole, that says whose it is; those at pauses may stay beside it.

A file is a line with the SHA-256 of what follows, and then what `torch.save` writes. It is checked first,
because `torch.load` reads wrong numbers out of a damaged file without a word. It holds tensors, numbers and
text only, and is read with `weights_only=True`.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Collection, Sequence
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from secrets import token_hex
from typing import Any

import torch

from nas.errors import UserError
from nas.job import Segment
from nas.training.files import TrialFiles
from nas.training.loop import State
from nas.training.names import CHECKPOINT, retained
from search_spaces.decisions import Architecture, canonical

FORMAT = "nas checkpoint 1"

log = logging.getLogger(__name__)


class CheckpointError(UserError):
    """A checkpoint that cannot be gone on from: where it is, what is wrong with it, and the remedy."""

    def __init__(self, place: Path | str, fault: str, remedy: str) -> None:
        super().__init__(f"{place} {fault}: {remedy}")
        self.fault = fault


class DamagedCheckpointError(CheckpointError):
    """A file that is cut short, altered or not a checkpoint at all."""


def trial_identity(
    architecture: Architecture, content: str, seed: int, epochs: int, segments: Sequence[Segment] = ()
) -> str:
    """Return the SHA-256 of what makes a training what it is: architecture, task content, seed, epochs, schedule."""
    parts: list[Any] = [architecture, content, seed, epochs]
    if segments:
        parts.append([[each.begin, each.training] for each in segments])
    return sha256(canonical(parts).encode()).hexdigest()


class Checkpoints:
    """The checkpoints of one training, of which the last is always there; those after the `retained` epochs stay."""

    def __init__(self, files: TrialFiles, identity: str, retained: Collection[int] = ()) -> None:
        self._files = files
        self._identity = identity
        self._retained = retained

    def last(self) -> tuple[State | None, dict[str, float]]:
        """Return the state and the measures of the last one; None and no measures where there is none.

        A damaged one counts as none, and is logged. Raises CheckpointError for another training's.
        """
        path = self._files.find(CHECKPOINT)
        if path is None:
            return None, {}
        try:
            return load(path, self._identity, self._files.place(self._files.folder.name, CHECKPOINT))
        except DamagedCheckpointError as error:
            log.warning("trial %s starts anew: %s", self._files.folder.name, error)
            return None, {}

    def save(self, measured: dict[str, float], state: State) -> None:
        """Save a state, where others find it too.

        What stays is there before the last checkpoint is replaced, so a training that goes on from an epoch has left
        what is to stay of it.
        """
        last, epoch = self._files.new(CHECKPOINT), len(state.history)
        if epoch not in self._retained:
            save(last, self._identity, measured, state)
        else:
            kept = self._files.new(retained(epoch))
            save(kept, self._identity, measured, state)
            self._files.publish(kept.name)
            _link(kept, last)
        self._files.publish(last.name)


def save(path: Path, identity: str, measured: dict[str, float], state: State) -> None:
    """Write a checkpoint beside its place and move it there, so that a reader sees the old or the new one."""
    temporary = path.with_name(f".{path.name}.{token_hex(4)}")
    buffer = BytesIO()
    torch.save({"format": FORMAT, "identity": identity, "measured": measured, "state": vars(state)}, buffer)
    content = buffer.getvalue()
    try:
        temporary.write_bytes(sha256(content).hexdigest().encode() + b"\n" + content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load(path: Path, identity: str, place: str | None = None) -> tuple[State, dict[str, float]]:
    """Return the state and the measures in a checkpoint, its tensors on the CPU.

    Raises DamagedCheckpointError when the file cannot be read, CheckpointError when it is another trial's; they name
    the `place` that a file was brought from.
    """
    place = place or str(path)
    try:
        content = torch.load(BytesIO(_checked(path)), map_location="cpu", weights_only=True)
        whose, state = content["identity"], State(**content["state"])
        measured: dict[str, float] = content["measured"]
        known = content["format"] == FORMAT
    except MemoryError:
        raise
    except Exception as error:
        cause = (str(error).strip().splitlines() or [type(error).__name__])[0][:80]
        fault = f"is damaged or no checkpoint ({cause})"
        raise DamagedCheckpointError(place, fault, "delete it to train anew") from None
    if not known:
        fault = f"is a {content['format']!r}, but {FORMAT!r} is read here"
        raise CheckpointError(place, fault, "delete it to train anew")
    if whose != identity:
        fault = f"belongs to another trial ({whose[:12]}, not {identity[:12]})"
        raise CheckpointError(place, fault, "delete it, or use another folder")
    return state, measured


def _link(path: Path, other: Path) -> None:
    """Let a second name, in the place of what has it, stand for a file; for a copy of it where there are no links."""
    temporary = other.with_name(f".{other.name}.{token_hex(4)}")
    try:
        try:
            os.link(path, temporary)
        except OSError:
            shutil.copyfile(path, temporary)
        os.replace(temporary, other)
    finally:
        temporary.unlink(missing_ok=True)


def _checked(path: Path) -> bytes:
    digest, _, content = path.read_bytes().partition(b"\n")
    if sha256(content).hexdigest().encode() != digest:
        raise ValueError("its checksum is wrong")
    return content
