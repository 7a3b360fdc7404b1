"""What a Tune run needs around it, and what is as before when it is over: a Ray, a place for files, quiet, signals."""

from __future__ import annotations

import logging
import os
import random
import shutil
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import ray

from nas.execution.carrying import runtime_environment
from nas.execution.connection import Connection, join, start
from nas.execution.resources import Resources
from nas.integrations.tune.rows import TUNE
from nas.study import Study

QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
}
LOUD = ("ray.tune", "ray.train", "ray.air")


@contextmanager
def connected(workers: int | None, resources: Resources, address: str | None) -> Iterator[tuple[Connection, Resources]]:
    """Have a Ray, and settle what a trial takes of it; one that is started, or joined, here is left at the end.

    Raises ClusterError, and SettingsError where so many trials have no place here.
    """
    settled: Resources | None = None
    if address is not None:
        environment = runtime_environment()
        environment["env_vars"] |= {"RAY_CHDIR_TO_TRIAL_DIR": QUIET["RAY_CHDIR_TO_TRIAL_DIR"]}
        connection = join(address, environment)
    elif ray.is_initialized():
        connection = Connection(borrowed=True)
    else:
        count = resources.usual_workers() if workers is None else workers
        settled = resources.here(count)
        connection = start(count, settled)
    try:
        yield connection, settled or resources.on_nodes(connection.nodes())
    finally:
        connection.close()


@contextmanager
def files(study: Study) -> Iterator[str]:
    """Give a place for Tune's files, in the study's folder or storage; they are removed afterwards."""
    if study.settings.storage is None:
        folder = study.store.folder(study.name) / TUNE
        try:
            yield str(folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return
    import fsspec

    place = f"{study.settings.storage.rstrip('/')}/{study.name}/{TUNE}"
    try:
        yield place
    finally:
        system, path = fsspec.url_to_fs(place)
        if system.exists(path):
            system.rm(path, recursive=True)


@contextmanager
def quiet(verbose: bool) -> Iterator[None]:
    """Keep Tune from printing, from leaving files, and from taking Ctrl-C, for as long as it runs."""
    before = {name: os.environ.get(name) for name in QUIET}
    levels = {name: logging.getLogger(name).level for name in LOUD}
    os.environ.update(QUIET)
    try:
        with warnings.catch_warnings():
            if not verbose:
                warnings.simplefilter("ignore")
                for name in LOUD:
                    logging.getLogger(name).setLevel(logging.CRITICAL)
            yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the global generators, from which Tune's schedulers draw, and give the caller's states back."""
    python, numpy = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


@contextmanager
def noting_signals() -> Iterator[Callable[[], bool]]:
    """Give a function that says whether Ctrl-C or SIGTERM came; a second one raises KeyboardInterrupt at once.

    So the run can be ended between two steps, at which Tune gives back what it has of the Ray.
    """
    came = threading.Event()

    def note(number: int, frame: Any) -> None:
        if came.is_set():
            raise KeyboardInterrupt
        came.set()

    if threading.current_thread() is not threading.main_thread():
        yield came.is_set
        return
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield came.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
