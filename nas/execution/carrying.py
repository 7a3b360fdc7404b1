"""What workers on a cluster need of this machine's code: the runtime environment that Ray carries to them.

A package that is installed in site-packages is taken to be installed on the nodes as well. One that is not, being
edited in place or found by PYTHONPATH, is carried: its modules, and its metadata, by which its entry points are found.
"""

from __future__ import annotations

import os
import re
import site
import sysconfig
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

OURS = "nas"
GROUPS = "nas."
VARIABLES = ("NAS_KERNELS", "TRITON_INTERPRET", "CUBLAS_WORKSPACE_CONFIG", "NVIDIA_TF32_OVERRIDE")
LEFT_OUT = ["__pycache__", "*.pyc"]


def runtime_environment() -> dict[str, Any]:
    """Return Ray's runtime environment for the workers of this program."""
    variables = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    paths = [str(path) for path in carried()]
    return {"env_vars": variables} | ({"py_modules": paths, "excludes": LEFT_OUT} if paths else {})


def carried() -> list[Path]:
    """Return the folders and files to carry: of this package, of its plug-ins and of what they require."""
    return list(dict.fromkeys(path for each in _concerned() for path in _parts(each)))


def _concerned() -> Iterator[metadata.Distribution]:
    """Go through this package, those that add to it by entry points, and all that they require."""
    known = {_normal(each.metadata["Name"]): each for each in reversed(list(metadata.distributions()))}
    plugins = [name for name, each in known.items() if any(_ours(point) for point in each.entry_points)]
    waiting, seen = [OURS, *plugins], set[str]()
    while waiting:
        name = waiting.pop()
        if name in known and name not in seen:
            seen.add(name)
            yield known[name]
            waiting += [_normal(re.split(r"[^\w.-]", each, maxsplit=1)[0]) for each in known[name].requires or ()]


def _parts(distribution: metadata.Distribution) -> Iterator[Path]:
    """Find what of a distribution is not installed: its modules, then its metadata as well."""
    described = Path(vars(distribution)["_path"]).resolve()
    outside = [path for module in _modules(distribution) for path in _places(module) if not _installed(path)]
    if outside or not _installed(described):
        yield from outside
        yield described


def _modules(distribution: metadata.Distribution) -> set[str]:
    """Name the top modules of a distribution, as far as it says."""
    named = (distribution.read_text("top_level.txt") or "").split()
    return {*named, *(point.module.partition(".")[0] for point in distribution.entry_points if _ours(point))}


def _places(module: str) -> list[Path]:
    """Return where a module lies: a file, a folder, or the several folders of a namespace."""
    spec = find_spec(module)
    if spec is None:
        return []
    places = spec.submodule_search_locations or ([spec.origin] if spec.origin else [])
    return [Path(place).resolve() for place in places if Path(place).exists()]


def _installed(path: Path) -> bool:
    return any(path.is_relative_to(home) for home in _homes())


@cache
def _homes() -> set[Path]:
    paths = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    return {Path(home).resolve() for home in (*site.getsitepackages(), site.getusersitepackages(), *paths)}


def _ours(point: metadata.EntryPoint) -> bool:
    return point.group.startswith(GROUPS)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
