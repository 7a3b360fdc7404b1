"""Weights of a trained network as a safetensors file, never as a pickle.

The metadata is one JSON text under the key "nas": safetensors writes several keys in an order that changes
from run to run, and equal networks should be equal files.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from nas.errors import UserError
from search_spaces.decisions import canonical

FORMAT = "nas weights 1"
KEY = "nas"


class WeightsError(UserError):
    """A weights file that cannot be used; the message names the file and what is wrong with it."""


def save_weights(network: nn.Module, path: Path, metadata: Mapping[str, str | int]) -> None:
    """Write parameters and buffers beside their place and move them there."""
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in network.state_dict().items()}
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        save_file(tensors, temporary, {KEY: canonical({"format": FORMAT} | dict(metadata))})
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and the metadata of a file; raises WeightsError when it is missing, damaged or foreign."""
    if not path.is_file():
        raise WeightsError(f"{path} is not there")
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, Any] = json.loads((file.metadata() or {}).get(KEY, "{}"))
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{path} is damaged or no safetensors file ({error})") from None
    if metadata.get("format") != FORMAT:
        raise WeightsError(f"{path} holds {metadata.get('format', 'weights of another program')!r}, not {FORMAT!r}")
    return tensors, metadata


def load_weights(network: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Put tensors into a network; raises WeightsError when names or shapes are not the network's."""
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    for name in sorted(expected.keys() | tensors.keys()):
        found = tuple(tensors[name].shape) if name in tensors else None
        if expected.get(name) != found:
            raise WeightsError(f"{path} does not fit the network: {name} is {found}, expected {expected.get(name)}")
    with torch.no_grad():
        network.load_state_dict(dict(tensors))
