"""A supernet as a safetensors file, never as a pickle: its tensors, and in the metadata whose they are."""

from __future__ import annotations

import json
import os
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from nas.supernet.bank import Supernet
from nas.supernet.errors import SupernetError
from nas.tasks import Task
from search_spaces.decisions import canonical, describe
from search_spaces.space import Space

FORMAT = "nas supernet 1"
KEY = "nas"


def save(supernet: Supernet, path: Path) -> None:
    """Write a supernet beside its place and move it there, so that a reader sees the old or the new one."""
    state = supernet.state()
    tensors = {key: tensor.cpu().contiguous() for key, tensor in state["tensors"].items()}
    metadata = {"format": FORMAT, "seed": supernet.seed, "known": state["known"], "sha256": _digest(tensors)}
    metadata |= _owner(supernet.space, supernet.task)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        save_file(tensors, temporary, {KEY: canonical(metadata)})
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load(path: Path, space: Space, task: Task, device: torch.device | str = "cpu") -> Supernet:
    """Read a supernet, with the seed that it was made with.

    Raises SupernetError where the file is missing or damaged, or belongs to another space or task.
    """
    tensors, metadata = _read(path)
    if metadata.get("format") != FORMAT:
        raise SupernetError(
            f"{path} holds {metadata.get('format', 'tensors of another program')!r}, not {FORMAT!r}: train anew"
        )
    for part, wanted in _owner(space, task).items():
        if metadata.get(part) != wanted:
            named = task.name if part == "task" else space.name
            raise SupernetError(f"{path} is a supernet of another {part} than {named!r} is now: train one for it")
    if metadata.get("sha256") != _digest(tensors):
        raise SupernetError(f"{path} is damaged (its checksum is wrong): train the supernet again")
    supernet = Supernet(space, task, metadata["seed"], device)
    supernet.load_state({"tensors": tensors, "known": metadata["known"]})
    return supernet


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    if not path.is_file():
        raise SupernetError(f"{path} is not there: name a file that a supernet was saved to")
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, Any] = json.loads((file.metadata() or {}).get(KEY, "{}"))
            return {key: file.get_tensor(key) for key in file.keys()}, metadata
    except (SafetensorError, OSError, ValueError) as error:
        cause = str(error).splitlines()[0][:80]
        raise SupernetError(f"{path} is damaged or no safetensors file ({cause}): train the supernet again") from None


def _owner(space: Space, task: Task) -> dict[str, str]:
    return {"space": sha256(canonical(describe(space.tree)).encode()).hexdigest(), "task": task.content}


def _digest(tensors: dict[str, Tensor]) -> str:
    found = sha256()
    for key in sorted(tensors):
        found.update(key.encode())
        found.update(tensors[key].contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
