"""For tests on real Ray clusters: nodes that are `ray start` processes, one of them on a host of its own.

Such a host is a network namespace with a cable to this machine; the disk is shared. Nodes are ended by their process
ids, never by `ray stop`, which ends every Ray on the machine.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

import pytest
from ray._raylet import AuthenticationTokenLoader, Config
from ray.util import get_node_ip_address

TOKEN = "0123456789abcdef" * 4
# This process joins clusters as well. Ray has read these when it was imported, or does so at its first start.
os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=TOKEN)
Config.initialize("")
AuthenticationTokenLoader.instance().reset_cache()
# A node that does not answer is given up after 10 seconds instead of 66.
WATCHFUL = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
}
STARTING = 90.0
RAY = Path(sys.executable).with_name("ray")
NO_NODE_HERE = ["--include-dashboard=false", "--disable-usage-stats"]


class Node:
    """A node of a cluster: the process of `ray start` and all that it started."""

    def __init__(self, *options: str, host: Host | None = None, variables: Mapping[str, str] | None = None) -> None:
        within = ["ip", "netns", "exec", host.name] if host else []
        command = [*within, str(RAY), "start", "--block", *options, "--min-worker-port=0", "--max-worker-port=0"]
        self._log = tempfile.TemporaryFile("w+")
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN, **WATCHFUL, **(variables or {})}
        # Ray adds a driver's folder to its workers' paths; a folder that is not this one shows what it carries besides.
        self.process = subprocess.Popen(
            command, stdout=self._log, stderr=subprocess.STDOUT, env=environment, cwd="/", start_new_session=True
        )
        self._wait()

    def kill(self) -> None:
        """End all its processes at once, as when the power fails."""
        for _ in range(3):  # what a process started as it was looked at is there the next time
            for pid in [*descendants(self.process.pid), self.process.pid]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + STARTING
        while "Ray runtime started" not in self._said():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"ray start did not: {self._said()}")
            time.sleep(0.1)

    def _said(self) -> str:
        self._log.seek(0)
        return self._log.read()


class Head(Node):
    """The head of a cluster, with a temporary folder whose name is short, as Ray's sockets lie there."""

    def __init__(
        self, cpus: int, *options: str, port: int | None = None, variables: Mapping[str, str] | None = None
    ) -> None:
        self.folder = tempfile.mkdtemp(dir="/tmp", prefix="nr")
        self.address = f"{own_address()}:{port or free_port()}"
        address, _, number = self.address.rpartition(":")
        place = [f"--node-ip-address={address}", f"--port={number}", f"--temp-dir={self.folder}"]
        super().__init__("--head", f"--num-cpus={cpus}", *NO_NODE_HERE, *place, *options, variables=variables)

    def kill(self) -> None:
        super().kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def node(self, cpus: int, host: Host | None = None) -> Node:
        """Add a node."""
        place = [f"--node-ip-address={host.address}"] if host else []
        return Node(f"--address={self.address}", f"--num-cpus={cpus}", *place, host=host)


class Host:
    """A network namespace with a cable to this machine."""

    _made = count()

    def __init__(self) -> None:
        number, again = os.getpid(), next(self._made)
        self.name = f"nas{number}x{again}"
        self._here, self._there = f"{self.name}a", f"{self.name}b"
        net = f"10.{200 + number % 50}.{(number // 50 + again) % 250}"
        self.address = f"{net}.2"
        _ip("netns", "add", self.name)
        try:
            _ip("link", "add", self._here, "type", "veth", "peer", "name", self._there, "netns", self.name)
            _ip("addr", "add", f"{net}.1/24", "dev", self._here)
            _ip("link", "set", self._here, "up")
            _ip("-n", self.name, "addr", "add", f"{self.address}/24", "dev", self._there)
            for device in ("lo", self._there):
                _ip("-n", self.name, "link", "set", device, "up")
            _ip("-n", self.name, "route", "add", "default", "via", f"{net}.1")
        except subprocess.CalledProcessError:
            self.remove()
            raise

    def pids(self) -> set[int]:
        return {int(pid) for pid in _ip("netns", "pids", self.name).split()}

    def kill(self) -> None:
        """End all that runs on it at once."""
        for pid in self.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def cut(self) -> None:
        _ip("link", "set", self._here, "down")

    def mend(self) -> None:
        _ip("link", "set", self._here, "up")

    def remove(self) -> None:
        self.kill()
        _ip("netns", "del", self.name)


@contextmanager
def host() -> Iterator[Host]:
    """Make a host for a test, which is skipped where that is not permitted."""
    try:
        made = Host()
    except FileNotFoundError as error:
        pytest.skip(f"this needs a network namespace, and the command ip: {error}")
    except subprocess.CalledProcessError as error:
        if not any(word in error.stderr.lower() for word in ("permitted", "denied")):
            raise AssertionError(error.stderr) from error
        pytest.skip(f"this needs a network namespace, which is not permitted here: {error.stderr}")
    try:
        yield made
    finally:
        made.remove()


@contextmanager
def started(make: Callable[[], Head]) -> Iterator[Head]:
    """Start a head for some tests."""
    made = make()
    try:
        yield made
    finally:
        made.kill()


@contextmanager
def autoscaling(most: int) -> Iterator[Head]:
    """Start a head without a CPU, whose autoscaler adds up to so many nodes of one CPU on demand."""
    port = free_port()
    worker = {"resources": {"CPU": 1, "object_store_memory": 10**8}, "node_config": {}, "max_workers": most}
    nobody = {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0}
    provider = {
        "type": "fake_multinode",
        "gcs_address": f"{own_address()}:{port}",
        "launch_multiple": True,
        "foreground_node_launch": True,
        "disable_node_updaters": True,
        "disable_launch_config_check": True,
        "worker_liveness_check": False,
    }
    commands = ("initialization", "setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray")
    lists = [*(f"{each}_commands" for each in commands), "cluster_synced_files", "rsync_exclude", "rsync_filter"]
    config = {
        "cluster_name": "fake",
        "max_workers": most,
        "idle_timeout_minutes": 5,
        "upscaling_speed": 10,
        "provider": provider,
        "available_node_types": {"head": nobody, "worker": worker},
        "head_node_type": "head",
        **{name: {} for name in ("auth", "docker", "file_mounts")},
        **{name: [] for name in lists},
        "file_mounts_sync_continuously": False,
    }
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(config, file)
        file.flush()
        option = f"--autoscaling-config={file.name}"
        variables = {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
        with started(lambda: Head(0, option, port=port, variables=variables)) as head:
            yield head


def own_address() -> str:
    return str(get_node_ip_address())


def free_port() -> int:
    with socket.socket() as plug:
        plug.bind(("", 0))
        return int(plug.getsockname()[1])


def descendants(pid: int) -> set[int]:
    """Return the processes that a process started, and those that these did."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def _ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout
