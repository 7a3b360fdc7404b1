"""This process's place in a Ray: one that it starts for itself, or a cluster that it joins.

A Ray that cannot be reached for a while may come back, where its head keeps its state; Ray itself ends this process
after a minute of that, without a word. So the head is looked at every other second, by plain sockets, and given up
before. Nothing of Ray is asked while it is away: such calls do not return.
"""

from __future__ import annotations

import logging
import math
import os
import re
import socket
import time
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import ray
from ray._private.authentication.authentication_token_setup import (
    ensure_token_if_auth_enabled,
    maybe_enable_token_auth_if_token_available,
)
from ray.exceptions import AuthenticationError, RayError

from nas.execution.errors import ClusterError, ClusterLostError
from nas.execution.resources import GRAIN, Resources

EVERY = 2.0  # seconds between two looks
ANSWER = 3.0  # seconds in which a head that is there answers
GIVEN_UP = 15.0  # seconds after which a Ray is lost
TOKEN = "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN here to what they are on its nodes"
QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}

_raylet: Any = import_module("ray._raylet")


class Connection:
    """A Ray that is joined: `ours` was started for this search, `borrowed` is used by this process besides."""

    def __init__(self, *, ours: bool = False, borrowed: bool = False) -> None:
        self.ours = ours
        self._borrowed = borrowed
        self.address = str(ray.get_runtime_context().gcs_address)
        node = ray._private.worker.global_worker.node
        assert node is not None
        self._raylet = str(node.raylet_socket_name)
        self._looked = time.monotonic()
        self._away: float | None = None
        self.lost = False

    def answers(self, *, now: bool = False) -> bool:
        """Tell whether the Ray can be reached, by a look that is not old, or one that is taken `now`.

        Raises ClusterLostError when it could not for long.
        """
        moment = time.monotonic()
        if self._away is None and not now and moment - self._looked < EVERY:
            return True
        self._looked = moment
        if _listens(self.address) and _connects(socket.AF_UNIX, self._raylet):
            self._away = None
            return True
        self._away = moment if self._away is None else self._away
        if time.monotonic() - self._away >= GIVEN_UP:
            self.lost = True
            whose = "the Ray of this search" if self.ours else f"the Ray cluster at {self.address}"
            raise ClusterLostError(
                f"{whose} was lost: it has not answered for {GIVEN_UP:g} s; everything that was reported is kept, "
                "go on with `nas resume` once there is one"
            )
        return False

    def nodes(self) -> list[Mapping[str, float]]:
        """Return what each living node has, by Ray's names."""
        return [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Leave it, unless it is borrowed; one that is ours ends."""
        if self.lost or not self._borrowed:
            ray.shutdown()


def start(workers: int, resources: Resources) -> Connection:
    """Start a Ray on this machine with room for so many trials."""
    # Without this Ray warns of a change to come in how it hides GPUs from actors that ask for none.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    cpus, gpus = (math.ceil(workers * each - GRAIN) for each in (resources.cpus, resources.gpus or 0.0))
    ray.init("local", num_cpus=cpus, num_gpus=gpus, include_dashboard=False, **QUIET)
    return Connection(ours=True)


def join(address: str, environment: Mapping[str, Any]) -> Connection:
    """Join the cluster at an address, `auto` or HOST:PORT, with a runtime environment for the workers.

    Raises ClusterError when there is none, or when it does not let this program in.
    """
    found = _find(address)
    if ray.is_initialized():
        there = str(ray.get_runtime_context().gcs_address)
        if there != found:
            raise ClusterError(
                f"--ray-address {address} cannot be joined: this process is a part of the Ray at {there}; "
                "call ray.shutdown() first, or leave the address out"
            )
        return Connection(borrowed=True)
    if not _listens(found):
        raise ClusterError(
            f"--ray-address {address} cannot be joined: nothing answers at {found}; see with `ray status` on its "
            "head that it is up, and that its port (6379 unless it was given another) is open to this machine"
        )
    try:
        _knock(found, address == "auto")
        ray.init(found, runtime_env=dict(environment), **QUIET)
    except AuthenticationError as error:
        raise ClusterError(f"--ray-address {address} cannot be joined: {_short(error)}; {TOKEN}") from None
    except (RayError, ConnectionError, RuntimeError, ValueError) as error:
        ray.shutdown()
        raise ClusterError(
            f"--ray-address {address} cannot be joined: {_short(error)}; start nas on one of its nodes, with the "
            "versions of Python and Ray that it has"
        ) from error
    return Connection()


def _knock(found: str, auto: bool) -> None:
    """Raise AuthenticationError where a cluster does not let this process in, which ray.init needs 20 s to not say."""
    logging.getLogger("ray").setLevel(logging.ERROR)
    if auto:  # as ray.init does; it never looks for a token by itself where an address is given
        maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
    ensure_token_if_auth_enabled(create_token_if_missing=False)
    _raylet.GcsClient(address=found)


def _find(address: str) -> str:
    """Return HOST:PORT of an address; raises ClusterError."""
    if address.startswith("ray://"):
        raise ClusterError(
            f"--ray-address {address} is not allowed: Ray Client is not made for hours of work; start nas on a node "
            "of the cluster with --ray-address auto, by hand or by `ray job submit`"
        )
    if address != "auto" and not re.fullmatch(r"\S+:\d{1,5}", address):
        raise ClusterError(f"--ray-address {address!r} is not allowed: give auto, or HOST:PORT of the cluster's head")
    try:
        return str(ray._private.services.canonicalize_bootstrap_address_or_die(address))
    except (ConnectionError, ValueError) as error:
        raise ClusterError(
            f"--ray-address {address} finds no cluster: {_short(error)}; start one with `ray start --head`, or give "
            "HOST:PORT of its head"
        ) from None


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    return _connects(socket.AF_INET6 if ":" in host else socket.AF_INET, (host.strip("[]"), int(port)))


def _connects(family: socket.AddressFamily, address: Any) -> bool:
    with socket.socket(family, socket.SOCK_STREAM) as plug:
        plug.settimeout(ANSWER)
        try:
            plug.connect(address)
        except OSError:
            return False
    return True


def _short(error: BaseException) -> str:
    """Return the first sentence of what an error says."""
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return re.split(r"(?<=[^.])\. ", first)[0].rstrip(".")[:200]
