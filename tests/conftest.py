"""What holds for all tests: how they share a machine, whatever the order and the process they run in.

`make test` runs them in several processes. Tests in a browser stay together in one of these, and tests that start a
real Ray (marked `ray`) in one: within such a group one runs after the other. Nothing here may take its time for
granted: the cores are shared.
"""

from __future__ import annotations

import os
import signal
from glob import glob

import pytest
import setuptools  # noqa: F401 (before distutils, which it must replace for torch.compile)
from hypothesis import settings

# Before torch, numpy or scipy is imported anywhere; processes that tests start inherit it.
for _library in ("OMP", "OPENBLAS", "MKL"):
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")

# Triton asks for it when it is imported, and whichever test comes first may do that.
if not glob("/dev/nvidia[0-9]*"):
    os.environ.setdefault("TRITON_INTERPRET", "1")

settings.register_profile("nas", deadline=None, max_examples=80)
settings.load_profile("nas")


def pytest_configure() -> None:
    """Let Ctrl-C reach what tests start: the processes of pytest-xdist, and their children with them, ignore it."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Name the groups, and begin with the tests that may take longest, so that none is left for the end alone.

    Before pytest-xdist reads them: it writes a test's group into its name.
    """
    for item in items:
        if "chromium" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("browser"))
        elif item.get_closest_marker("ray"):
            item.add_marker(pytest.mark.xdist_group("ray"))
    items.sort(key=lambda item: item.get_closest_marker("timeout") is None)
