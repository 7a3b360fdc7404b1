"""The executor on Ray: one reused actor a worker, on this machine or on a cluster.

Actors are asked for, and Ray finds places for them: those that have none yet are demand that an autoscaling cluster
sees, and no workers until they have one. A worker whose process or node dies loses its trial (STALE); another actor
is asked for in its place. What a lost actor still says is not heard.
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from nas.execution import Event, Problem
from nas.execution.carrying import runtime_environment
from nas.execution.connection import Connection, join, start
from nas.execution.errors import ClusterError, ClusterLostError
from nas.execution.losses import problem_of, unmendable, unstarted
from nas.execution.resources import Resources
from nas.execution.slot import Slot
from nas.execution.worker import Worker
from nas.job import Evaluate, Job, Report, ScoreJob
from nas.schedules import Verdict
from nas.settings import SettingsError
from nas.store.models import State

SETTLING = 60.0  # seconds in which workers on this machine have started
FIRST = 10.0  # seconds in which the first worker on a cluster has, if it has a place
GRACE = 1.0  # seconds in which a cancelled trial may end by itself
REST = 0.2  # seconds between two tries while the head of the cluster is away
FAILURES = 5


class RayWorkers:
    """Actors on a Ray that this program starts, on one that is up in this process, or on a cluster at an address.

    `count` workers are asked for; without it there are as many as this machine usually has, and on a cluster as many
    as it has room for, always with one more asked for, so that they become more when nodes join; `most` bounds them.
    Raises ClusterError where the cluster cannot be joined, and SettingsError for what has no room on this machine.
    """

    def __init__(
        self,
        count: int | None = None,
        resources: Resources | None = None,
        *,
        address: str | None = None,
        most: int | None = None,
        evaluate: Evaluate | None = None,
    ) -> None:
        self._count, self._most, self._evaluate = count, sys.maxsize if most is None else max(1, most), evaluate
        self._slots: dict[str, Slot] = {}
        self._trouble = ""
        self._connection, self._resources = self._connect(resources or Resources(), address)
        self._gpus = self._resources.gpus or 0.0
        self._actor_class = ray.remote(num_cpus=self._resources.cpus, num_gpus=self._gpus)(Worker)
        try:
            self._ask()
            self._settle(SETTLING if self._connection.ours else FIRST)
        except BaseException:
            self.close()
            raise

    @property
    def workers(self) -> tuple[str, ...]:
        return tuple(name for name, slot in self._slots.items() if slot.ready)

    @property
    def lack(self) -> str:
        """Say why there are less workers than were asked for; "" when there are not."""
        there, wanted = len(self.workers), len(self._slots)
        if self._trouble:
            return f"{wanted - there} of {wanted} workers are not there: {self._trouble}"
        if there == wanted or (self._count is None and there):
            return ""
        return f"{wanted - there} of {wanted} workers wait for a place in the cluster, {self._resources.text} each"

    def device_of(self, worker: str) -> str:
        return self._slots[worker].device

    def submit(self, worker: str, job: Job | ScoreJob) -> None:
        self._slots[worker].begin(job)

    def events(self, timeout: float) -> list[Event]:
        there = self._connection.answers()
        first = {slot.calls[0]: slot for slot in self._slots.values() if slot.calls}
        worth_waiting = first or not self.workers
        first |= {slot.placing: slot for slot in self._slots.values() if slot.placing is not None}
        if not first:
            return []
        ready, _ = ray.wait(list(first), num_returns=len(first), timeout=0, fetch_local=True)
        if not ready:
            ready, _ = ray.wait(list(first), num_returns=1, timeout=timeout if worth_waiting else 0, fetch_local=True)
        events = [event for ref in ready if (event := self._hear(first[ref], ref)) is not None]
        if ready and not events and not there:
            time.sleep(REST)
        return events

    def answer(self, worker: str, verdict: Verdict) -> None:
        slot = self._slots[worker]
        if verdict is Verdict.CONTINUE:
            slot.go_on()
        else:
            slot.stop()

    def cancel(self, worker: str) -> None:
        slot = self._slots[worker]
        if not slot.ready:
            return
        stopped = slot.stop()
        if not ray.wait([stopped], timeout=GRACE)[0] and self._connection.answers(now=True):
            self._replace(slot)

    def close(self) -> None:
        with suppress(ClusterLostError):
            if self._connection.answers(now=True):
                for slot in self._slots.values():
                    if not slot.given_up:
                        ray.kill(slot.actor)
        self._connection.close()

    def _connect(self, resources: Resources, address: str | None) -> tuple[Connection, Resources]:
        """Join or start a Ray, and settle what a trial takes there."""
        if address is not None:
            connection = join(address, runtime_environment())
            return connection, resources.on_nodes(connection.nodes())
        if ray.is_initialized():
            connection = Connection(borrowed=True)
            settled = resources.on_nodes(connection.nodes())
            room = sum(map(settled.room, connection.nodes()))
            if self._count is not None and room < self._count:
                raise SettingsError(
                    f"--workers {self._count} is not allowed: the Ray that is up has room for {room}, "
                    f"{settled.text} each"
                )
            return connection, settled
        if self._count is None:
            self._count = min(resources.usual_workers(), self._most)
        settled = resources.here(self._count)
        return start(self._count, settled), settled

    def _ask(self) -> None:
        """Ask for as many actors as there are to be."""
        if self._count is not None:
            wanted = self._count
        else:
            room = sum(map(self._resources.room, self._connection.nodes()))
            wanted = min(self._most, max(room, len(self.workers)) + 1)
        while len(self._slots) < wanted:
            slot = Slot(f"ray-{len(self._slots)}")
            self._slots[slot.name] = slot
            slot.place(self._new_actor())

    def _settle(self, patience: float) -> None:
        """Wait for the workers: on this machine for all, on a cluster for the first."""
        deadline = time.monotonic() + patience
        while (patience := deadline - time.monotonic()) > 0 and (self._connection.ours or not self.workers):
            waiting = {slot.placing: slot for slot in self._slots.values() if slot.placing is not None}
            if not waiting:
                return
            ready, _ = ray.wait(list(waiting), num_returns=1, timeout=patience)
            for ref in ready:
                self._placed(waiting[ref], ref)

    def _hear(self, slot: Slot, ref: Any) -> Event | None:
        """Take what a call gave; None for what is no event, or cannot be told from the head's being away."""
        if ref is slot.placing:
            self._placed(slot, ref)
            return None
        if not slot.calls or ref is not slot.calls[0]:
            return None
        try:
            what = ray.get(ref)
        except RayError as error:
            if not isinstance(error, RayTaskError) and not self._connection.answers(now=True):
                return None
            what = problem_of(error)
        slot.calls.popleft()
        event = Event(slot.name, what)
        if isinstance(what, Report):
            slot.top_up()
        elif isinstance(what, Problem) and (what.soiled or what.state is State.STALE):
            self._replace(slot)
        else:
            slot.clear()
        return event

    def _placed(self, slot: Slot, ref: Any) -> None:
        """Take in a worker that has started, or ask anew for one that has not.

        One that never will is given up; raises ClusterError where there is no other.
        """
        try:
            slot.placed(ray.get(ref))
        except RayError as error:
            if not self._connection.answers(now=True):
                return
            slot.failures += 1
            if not unmendable(error) and slot.failures < FAILURES:
                self._replace(slot)
                return
            self._trouble = unstarted(error)
            slot.give_up()
            if not self.workers:
                raise ClusterError(self._trouble) from None
        else:
            self._ask()

    def _replace(self, slot: Slot) -> None:
        """Have a new process in the place of a worker's."""
        ray.kill(slot.actor)
        slot.place(self._new_actor())

    def _new_actor(self) -> Any:
        return self._actor_class.remote(self._evaluate, self._resources.cpus, self._gpus)
