"""Which form of a kernel is used: the one in Triton, or its reference of torch operators.

The environment variable NAS_KERNELS decides:

    auto        Triton on CUDA devices where Triton is installed, else the reference; the default
    reference   the reference everywhere
    triton      Triton, or an error where it cannot run

What is exported is always the reference, so that an exported network needs nothing but torch's own operators.
"""

from __future__ import annotations

import os
from importlib.util import find_spec

import torch

VARIABLE = "NAS_KERNELS"
ALLOWED = ("auto", "reference", "triton")
INSTALLED = find_spec("triton") is not None
# Before torch 2.7, which has no is_exporting, what is compiled takes the reference too.
exporting = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)


def chosen(device: torch.device) -> str:
    """Return which form is used on a device: "triton" or "reference".

    Raises ValueError for an unknown value of NAS_KERNELS, and RuntimeError where Triton is asked for and cannot run.
    """
    asked = os.environ.get(VARIABLE) or "auto"
    if asked not in ALLOWED:
        raise ValueError(f"{VARIABLE} is {asked!r}, but {', '.join(ALLOWED[:-1])} or {ALLOWED[-1]} is allowed")
    if asked == "reference" or exporting():
        return "reference"
    if asked == "auto":
        return "triton" if INSTALLED and device.type == "cuda" else "reference"
    if not INSTALLED:
        raise RuntimeError(f"{VARIABLE} is 'triton', but Triton is not installed: pip install 'nas[triton]'")
    if device.type != "cuda" and not interpreted():
        raise RuntimeError(
            f"{VARIABLE} is 'triton', but Triton does not run on {device.type}: "
            "move to a CUDA device, or set NAS_KERNELS=auto, or TRITON_INTERPRET=1 to try it out slowly"
        )
    return "triton"


def interpreted() -> bool:
    """Tell whether Triton's interpreter, which runs on any device, is asked for."""
    return os.environ.get("TRITON_INTERPRET", "").lower() in ("1", "true", "on", "yes", "y")
