"""Looking over an installation: versions, devices, import names that others own too, the folder."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sqlite3
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

OURS = ("nas", "search_spaces", "predictors", "dashboard", "kernels")
REQUIRED = (
    "torch",
    "optuna",
    "ray",
    "sqlalchemy",
    "alembic",
    "plotly",
    "dash",
    "dash-ag-grid",
    "matplotlib",
    "scikit-learn",
)
LEAST_DISK = 2**30


@dataclass(frozen=True)
class Finding:
    """One thing looked at: fine, worth knowing, or wrong (then with the remedy)."""

    level: Literal["ok", "note", "error"]
    text: str


def examine() -> list[Finding]:
    """Look at everything and return the findings."""
    return [*_python(), *_packages(), *_names(), *_devices(), *_kernels(), *_folder()]


def _python() -> list[Finding]:
    version = f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {platform.platform()}"
    return [Finding("ok", version)]


def _packages() -> list[Finding]:
    findings = []
    for name in REQUIRED:
        try:
            findings.append(Finding("ok", f"{name} {metadata.version(name)}"))
        except metadata.PackageNotFoundError:
            findings.append(Finding("error", f"{name} is not installed: pip install nas"))
    return findings


def _names() -> list[Finding]:
    """Find other distributions that own one of our import names (Hugging Face's `kernels` does)."""
    owners = metadata.packages_distributions()
    findings = []
    for name in OURS:
        others = sorted({each for each in owners.get(name, []) if _normal(each) != "nas"})
        if others:
            remedy = f"pip uninstall {' '.join(others)}, or use an environment of its own"
            findings.append(Finding("error", f"the import name {name!r} belongs to {', '.join(others)} too: {remedy}"))
    return findings or [Finding("ok", f"import names {', '.join(OURS)} are ours alone")]


def _devices() -> list[Finding]:
    import torch

    cores = Finding("ok", f"{len(os.sched_getaffinity(0))} cores")
    if not torch.cuda.is_available():
        return [cores, Finding("note", "no GPU that torch can use: trials run on the CPU, one a core")]
    cards = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return [cores, Finding("ok", f"{len(cards)} GPU: {', '.join(sorted(set(cards)))}, CUDA {torch.version.cuda}")]


def _kernels() -> list[Finding]:
    """Say which form of the kernels runs on the best device here."""
    import torch

    from kernels.choice import VARIABLE, chosen

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        form = chosen(device)
    except (ValueError, RuntimeError) as error:
        return [Finding("error", str(error))]
    return [Finding("ok", f"kernels on {device.type}: {form} ({VARIABLE}={os.environ.get(VARIABLE) or 'auto'})")]


def _folder() -> list[Finding]:
    here = Path.cwd()
    if not os.access(here, os.W_OK):
        return [Finding("error", f"{here} cannot be written to: change to a folder that can, or name a --store")]
    free = shutil.disk_usage(here).free
    if free < LEAST_DISK:
        return [Finding("error", f"{here} has {free / 2**20:.0f} MiB free: a search needs about 1 GiB")]
    return [Finding("ok", f"{here} can be written to, {free / 2**30:.0f} GiB free")]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
