"""KAN layers and rational activations of other libraries, to measure beside ours.

Each is a repository that whoever runs a benchmark clones into the folder that NAS_PEERS names (`git clone
https://github.com/OWNER/NAME`); one that is not there is named as skipped. Nothing of them is part of this project.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from common import Results
from torch import nn


@dataclass(frozen=True)
class Peer:
    """A module of a cloned repository and how to make its layer; `settings` says with which options."""

    repository: str
    file: str
    settings: str
    make: Callable[[Any], nn.Module]

    @property
    def folder(self) -> Path:
        return Path(os.environ.get("NAS_PEERS", "peers")) / self.repository.partition("/")[2]


def linear_peers(features: int, intervals: int) -> dict[str, Peer]:
    """KAN linear layers of `features` to `features`, cubic splines on `intervals` or as many functions."""
    count = intervals + 3
    return {
        "efficient-kan": Peer(
            "Blealtan/efficient-kan",
            "src/efficient_kan/kan.py",
            f"KANLinear({features}, {features}, grid_size={intervals})",
            lambda m: m.KANLinear(features, features, grid_size=intervals),
        ),
        "FastKAN": Peer(
            "ZiyaoLi/fast-kan",
            "fastkan/fastkan.py",
            f"FastKANLayer({features}, {features}, num_grids={count})",
            lambda m: m.FastKANLayer(features, features, num_grids=count),
        ),
        "ChebyKAN": Peer(
            "SynodicMonth/ChebyKAN",
            "ChebyKANLayer.py",
            f"ChebyKANLayer({features}, {features}, degree={count})",
            lambda m: m.ChebyKANLayer(features, features, count),
        ),
    }


def conv_peers(channels_in: int, channels_out: int) -> dict[str, Peer]:
    """KAN convolutions of 3x3 with cubic splines on 5 intervals."""
    size = f"({channels_in}, {channels_out}, 3, padding=1)"
    return {
        "torch-conv-kan": Peer(
            "IvanDrokin/torch-conv-kan",
            "kan_convs/kan_conv.py",
            f"KANConv2DLayer{size}",
            lambda m: m.KANConv2DLayer(channels_in, channels_out, 3, padding=1),
        ),
    }


def load(results: Results, peers: dict[str, Peer]) -> dict[str, nn.Module]:
    """Make the layers of the peers that are there, and name the others as skipped."""
    made = {}
    for name, peer in peers.items():
        file = peer.folder / peer.file
        if not file.exists():
            results.skip(
                name, f"no {file}: git clone https://github.com/{peer.repository}, and NAS_PEERS=the folder above"
            )
            continue
        made[name] = peer.make(_module(file))
        results.peer(name, f"{peer.settings} of {peer.repository} at {_commit(peer.folder)}")
    return made


def _module(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"peer_{file.stem}_{abs(hash(file))}", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _commit(folder: Path) -> str:
    done = subprocess.run(["git", "-C", str(folder), "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return done.stdout.strip() or "an unknown commit"
