"""Checkpoints: one file a trial, replaced as a whole, that says whose it is.

A file is a line with the SHA-256 of what follows, and then what `torch.save` writes. It is checked first,
because `torch.load` reads wrong numbers out of a damaged file without a word. It holds tensors, numbers and
text only, and is read with `weights_only=True`.
"""

from __future__ import annotations

import os
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import torch

from nas.errors import UserError
from nas.training.loop import State
from search_spaces.decisions import Architecture, canonical

FORMAT = "nas checkpoint 1"


class CheckpointError(UserError):
    """A checkpoint that cannot be gone on from; the message names the file and the remedy."""


class DamagedCheckpointError(CheckpointError):
    """A file that is cut short, altered or not a checkpoint at all."""


def trial_identity(architecture: Architecture, content: str, seed: int, epochs: int) -> str:
    """Return the SHA-256 of what makes a training what it is: architecture, task content, seed and epochs."""
    return sha256(canonical([architecture, content, seed, epochs]).encode()).hexdigest()


def save(path: Path, identity: str, measured: dict[str, float], state: State) -> None:
    """Write a checkpoint beside its place and move it there, so that a reader sees the old or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    buffer = BytesIO()
    torch.save({"format": FORMAT, "identity": identity, "measured": measured, "state": vars(state)}, buffer)
    content = buffer.getvalue()
    try:
        temporary.write_bytes(sha256(content).hexdigest().encode() + b"\n" + content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load(path: Path, identity: str) -> tuple[State, dict[str, float]]:
    """Return the state and the measures in a checkpoint, its tensors on the CPU.

    Raises DamagedCheckpointError when the file cannot be read, CheckpointError when it is another trial's.
    """
    try:
        content = torch.load(BytesIO(_checked(path)), map_location="cpu", weights_only=True)
        whose, state = content["identity"], State(**content["state"])
        measured: dict[str, float] = content["measured"]
        known = content["format"] == FORMAT
    except MemoryError:
        raise
    except Exception as error:
        cause = (str(error).strip().splitlines() or [type(error).__name__])[0][:80]
        raise DamagedCheckpointError(f"{path} is damaged or no checkpoint ({cause}): delete it to train anew") from None
    if not known:
        raise CheckpointError(
            f"{path} is a {content['format']!r}, but {FORMAT!r} is read here: delete it to train anew"
        )
    if whose != identity:
        raise CheckpointError(
            f"{path} belongs to another trial ({whose[:12]}, not {identity[:12]}): delete it, or use another folder"
        )
    return state, measured


def _checked(path: Path) -> bytes:
    digest, _, content = path.read_bytes().partition(b"\n")
    if sha256(content).hexdigest().encode() != digest:
        raise ValueError("its checksum is wrong")
    return content
