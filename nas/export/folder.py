"""Write a trained network as a folder, load it back, and judge it.

weights.safetensors   parameters and buffers
architecture.json     format, space, architecture, input shape, classes, task, versions, facts, checksum
README.md             the model card
"""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nas.errors import UserError
from nas.export.card import card
from nas.tasks import Task, find_task
from nas.training.loop import to_device, validate
from nas.training.seeding import seeded
from nas.training.weights import WeightsError, load_weights, read_weights
from search_spaces.decisions import Architecture, DecisionError, identity
from search_spaces.registry import UnknownName
from search_spaces.space import find_space

FORMAT = "nas network 1"
DESCRIPTION = "architecture.json"
WEIGHTS = "weights.safetensors"
CARD = "README.md"
SPLITS = ("train", "validation", "test")
FIELDS: dict[str, Callable[[Any], bool]] = {
    "space": lambda value: isinstance(value, str),
    "architecture": lambda value: isinstance(value, dict),
    "input_shape": lambda value: isinstance(value, list) and len(value) == 3 and all(map(_counts, value)),
    "classes": lambda value: _counts(value),
    "task": lambda value: isinstance(value["name"], str) and isinstance(value["split_seed"], int),
    "weights_sha256": lambda value: isinstance(value, str),
}


class ExportError(UserError):
    """A network that cannot be exported, loaded or judged; the message names the file and the remedy."""


@dataclass(frozen=True)
class Shape:
    """What a network takes and gives: the shape of one input (channels, height, width) and the classes."""

    input_shape: tuple[int, int, int]
    classes: int


def export(
    architecture: Architecture,
    space_name: str,
    task_name: str,
    split_seed: int,
    weights: Path,
    output: Path,
    facts: Mapping[str, Any],
) -> None:
    """Write a trained network as a folder and check that it loads back to the same outputs.

    `facts` is plain JSON for the model card and for programs. The card knows `values` (objective to value),
    `confirmed` (objective to mean, deviation and count), `seed`, `epochs`, `study` and `trial`; other facts are
    listed as they are. Raises ExportError, and leaves `output` as it was, when that is a folder with
    files in it, when the weights are not this architecture's, or when the outputs differ.
    """
    if output.exists() and not (output.is_dir() and not any(output.iterdir())):
        raise ExportError(f"{output} exists and is not an empty folder: name another one, or empty it")
    task = find_task(task_name, split_seed)
    shape = Shape(task.input_shape, task.classes)
    network = _network(space_name, architecture, shape, weights)
    temporary = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        temporary.mkdir(parents=True)
    except OSError as error:
        raise ExportError(f"{output} cannot be made ({error}): name another folder") from None
    try:
        shutil.copyfile(weights, temporary / WEIGHTS)
        description = {
            "format": FORMAT,
            "space": space_name,
            "architecture": architecture,
            "identity": identity(architecture),
            "input_shape": list(shape.input_shape),
            "classes": shape.classes,
            "task": {"name": task_name, "split_seed": split_seed, "content": task.content},
            "versions": _versions(),
            "facts": dict(facts),
            "weights_sha256": _digest(temporary / WEIGHTS),
        }
        (temporary / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n")
        (temporary / CARD).write_text(card(description))
        _check_parity(network, load(temporary), task, output)
        os.replace(temporary, output)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def load(folder: Path | str) -> nn.Module:
    """Load an exported network in eval mode on the CPU; raises ExportError for damaged or foreign files."""
    folder = Path(folder)
    description = describe(folder)
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise ExportError(f"{weights} is not there: export the network again")
    if _digest(weights) != description["weights_sha256"]:
        raise ExportError(
            f"{weights} is not the file that was exported (its checksum differs): export the network again"
        )
    shape = Shape(tuple(description["input_shape"]), description["classes"])
    return _network(description["space"], description["architecture"], shape, weights)


def describe(folder: Path) -> dict[str, Any]:
    """Read an exported network's architecture.json; raises ExportError when it is missing, damaged or foreign."""
    file = folder / DESCRIPTION
    try:
        description: dict[str, Any] = json.loads(file.read_text())
        found = description["format"]
        if found != FORMAT:
            raise ExportError(f"{file} is a {found!r}, but {FORMAT!r} is read here: use the version that wrote it")
        for name, fits in FIELDS.items():
            if not fits(description[name]):
                raise ValueError(f"its {name} is {description[name]!r}"[:80])
    except FileNotFoundError:
        raise ExportError(f"{file} is not there: name a folder that `nas export` wrote") from None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ExportError(f"{file} is damaged ({error}): export the network again") from None
    return description


def evaluate_folder(
    folder: Path | str, task_name: str | None = None, split: str = "test", device: torch.device | str = "cpu"
) -> dict[str, Any]:
    """Judge an exported network on a split of a task (by default the one it was trained for).

    The split seed is that of the training, so that test samples were never seen. Returns accuracy, loss in
    nats, samples, task, split and split_seed. Raises ExportError when the task does not fit the network.
    """
    if split not in SPLITS:
        raise ExportError(f"split {split!r} is unknown: name {', '.join(SPLITS)}")
    folder, device = Path(folder), torch.device(device)
    description = describe(folder)
    task = find_task(task_name or description["task"]["name"], description["task"]["split_seed"])
    if [list(task.input_shape), task.classes] != [description["input_shape"], description["classes"]]:
        raise ExportError(
            f"{folder} takes {description['input_shape']} and tells {description['classes']} classes, but task "
            f"{task.name!r} has {list(task.input_shape)} and {task.classes}: name a task that fits"
        )
    samples = to_device(getattr(task, split)(), device)
    loss, accuracy = validate(load(folder).to(device), samples)
    return {
        "accuracy": accuracy,
        "loss": loss,
        "samples": len(samples[1]),
        "task": task.name,
        "split": split,
        "split_seed": task.split_seed,
    }


def _counts(value: Any) -> bool:
    return type(value) is int and value > 0


def _network(space_name: str, architecture: Architecture, shape: Shape, weights: Path) -> nn.Module:
    try:
        tensors, metadata = read_weights(weights)
        if metadata.get("identity") != identity(architecture):
            raise WeightsError(f"{weights} holds the weights of another architecture")
        with seeded(0):
            network = find_space(space_name).build(architecture, shape)
        load_weights(network, tensors, weights)
    except WeightsError as error:
        raise ExportError(f"{error}: name the weights that the trial left, or train it again") from None
    except (UnknownName, DecisionError) as error:
        raise ExportError(f"{weights.parent}: {error}; use the program version that wrote it") from None
    return network.eval()


def _check_parity(before: nn.Module, after: nn.Module, task: Task, output: Path) -> None:
    inputs, _ = task.validation()
    with torch.no_grad():
        if not torch.equal(before(inputs), after(inputs)):
            raise ExportError(
                f"{output} was not written: the reloaded network gives other outputs than the trained one"
            )


def _digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    try:
        versions["nas"] = version("nas")
    except PackageNotFoundError:
        versions["nas"] = "not installed"
    return versions
