"""The executor on a local Ray: one reused actor a worker.

A worker whose process dies loses its trial (STALE); a new actor takes its place.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from functools import cached_property
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from nas.execution import Event, Problem
from nas.execution.worker import Worker
from nas.job import Evaluate, Job, Report, ScoreJob
from nas.schedules import Verdict
from nas.settings import SettingsError
from nas.store.models import State

AHEAD = 2


class Slot:
    """One actor with the calls that are under way on it, in their order."""

    def __init__(self, actor: Any) -> None:
        self.actor = actor
        self.calls: deque[Any] = deque()
        self.job: Job | None = None
        self.next_step = 0

    def top_up(self) -> None:
        """Have up to AHEAD steps under way, none beyond the next pause or the outcome."""
        while self.job is not None and len(self.calls) < AHEAD and self.next_step <= self.job.epochs + 1:
            if self.next_step - 1 in self.job.pauses:
                return
            self.calls.append(self.actor.advance.remote())
            self.next_step += 1

    def clear(self) -> None:
        self.calls.clear()
        self.job = None


class RayWorkers:
    """Actors on a Ray that this program starts, or joins where one is up in this process already."""

    def __init__(self, count: int, gpus: int = 0, evaluate: Evaluate | None = None) -> None:
        self._evaluate = evaluate
        self._started = not ray.is_initialized()
        if self._started:
            # Without this Ray warns of a change to come in how it hides GPUs from actors that ask for none.
            os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
            ray.init(
                num_cpus=count,
                num_gpus=gpus,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        else:
            cores = ray.cluster_resources().get("CPU", 0)  # type: ignore[no-untyped-call]
            if cores < count:
                raise SettingsError(f"--workers {count} is not allowed: the Ray that is up has {cores:g} CPUs")
        self._actor_class = ray.remote(num_cpus=1, num_gpus=min(1.0, gpus / count))(Worker)
        self._slots = {f"ray-{i}": Slot(self._new_actor()) for i in range(count)}
        self.workers = tuple(self._slots)

    @cached_property
    def device(self) -> str:
        """What the workers compute on; known once the first has started."""
        return str(ray.get(next(iter(self._slots.values())).actor.device.remote()))

    def submit(self, worker: str, job: Job | ScoreJob) -> None:
        slot = self._slots[worker]
        slot.clear()
        if isinstance(job, ScoreJob):
            slot.calls.append(slot.actor.score.remote(job))
        else:
            slot.job, slot.next_step = job, 1
            slot.calls.append(slot.actor.start.remote(job))

    def events(self, timeout: float) -> list[Event]:
        first = {slot.calls[0]: name for name, slot in self._slots.items() if slot.calls}
        if not first:
            return []
        ready, _ = ray.wait(list(first), num_returns=1, timeout=timeout, fetch_local=True)
        if ready and len(first) > 1:
            ready, _ = ray.wait(list(first), num_returns=len(first), timeout=0, fetch_local=True)
        return [event for ref in ready if (event := self._event(first[ref], ref)) is not None]

    def answer(self, worker: str, verdict: Verdict) -> None:
        slot = self._slots[worker]
        if verdict is Verdict.STOP:
            slot.clear()
            slot.actor.stop.remote()
            return
        slot.calls.append(slot.actor.advance.remote())
        slot.next_step += 1
        slot.top_up()

    def close(self) -> None:
        for slot in self._slots.values():
            ray.kill(slot.actor)
        if self._started:
            ray.shutdown()

    def _event(self, name: str, ref: Any) -> Event | None:
        slot = self._slots[name]
        slot.calls.popleft()
        try:
            what = ray.get(ref)
        except RayTaskError as error:
            slot.clear()
            return Event(name, Problem(State.FAILED, f"the worker failed: {type(error.cause).__name__}", str(error)))
        except RayError as error:
            slot.clear()
            slot.actor = self._new_actor()
            cause = (str(error).strip().splitlines() or ["its process ended"])[0]
            return Event(name, Problem(State.STALE, f"the worker was lost: {cause}"))
        event = Event(name, what)
        if event.last:
            slot.clear()
        elif isinstance(what, Report):
            slot.top_up()
        return event

    def _new_actor(self) -> Any:
        return self._actor_class.remote(self._evaluate)
