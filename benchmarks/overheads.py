"""No-op trials through Ray and the store, beside Ray Tune and beside a bare pool of Ray actors.

The bare pool does no more than call: as many reused actors, one call under way on each, no store, no strategy; what is
sent is the trial's number and what comes back its values. It is measured twice, as `ray.util.ActorPool` and as a loop
around `ray.wait`, and the faster counts.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import ray
from common import Results
from loop import SPACE, nothing, study_rate, values
from ray.util import ActorPool
from servers import postgres

from nas.execution.ray import RayWorkers
from search_spaces.decisions import Architecture

WORKERS = 2


def overhead(results: Results) -> None:
    """Random search on two Ray workers with each kind of store, Ray Tune and the bare pool, in turns on one Ray."""
    ours, theirs, bare = results.size.pick(400, 1000), results.size.pick(12, 60), results.size.pick(1000, 3000)
    with one_ray(), postgres(results) as server:
        makers: dict[str, Callable[[], float]] = {
            "bare": lambda: max(pool_rate(bare), wait_rate(bare)),
            "SQLite": lambda: study_rate("random", ours, RayWorkers(WORKERS, evaluate=nothing)),
        }
        if server is not None:
            makers["PostgreSQL"] = lambda: study_rate(
                "random", ours, RayWorkers(WORKERS, evaluate=nothing), server.create()
            )
        makers["Tune"] = lambda: tune_rate(theirs)
        rounds = [{name: rate() for name, rate in makers.items()} for _ in range(results.size.pick(3, 7))]
    _report(results, rounds)
    results.peer(
        "Ray Tune",
        f"tune.Tuner(class Trainable that reports once, num_samples={theirs}, max_concurrent_trials={WORKERS}, "
        "reuse_actors=True), its default loggers; from the first trial's end to the last's",
    )
    results.peer(
        "bare pool",
        f"{WORKERS} Ray actors, {bare} calls, ray.wait loop or ray.util.ActorPool.map_unordered, the faster",
    )


def _report(results: Results, rounds: list[dict[str, float]]) -> None:
    def ratios(ours: str, peer: str) -> list[float]:
        return [each[ours] / each[peer] for each in rounds]

    for name, title in {"bare": "bare pool, 2 actors", "Tune": "Ray Tune random, 2 reused actors"}.items():
        results.add(title, [each[name] for each in rounds], "trials/s")
    for store in ("SQLite", "PostgreSQL"):
        if store in rounds[0]:
            results.add(f"Ray random, 2 workers, {store}", [each[store] for each in rounds], "trials/s")
            results.add(f"{store} / Ray Tune", ratios(store, "Tune"), "x", least=10)
            results.add(f"{store} / bare pool", ratios(store, "bare"), "x", least=0.7)


@contextmanager
def one_ray() -> Iterator[None]:
    """Start the Ray that ours and the peers share."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    ray.init("local", num_cpus=WORKERS, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()


@ray.remote(num_cpus=1)
class Idle:
    """An actor that does nothing, and says so."""

    def evaluate(self, number: int) -> dict[str, float]:
        return values(number)


@contextmanager
def idle_actors() -> Iterator[list[Any]]:
    """Give actors that are up."""
    actors = [Idle.remote() for _ in range(WORKERS)]
    ray.get([actor.evaluate.remote(0) for actor in actors])
    try:
        yield actors
    finally:
        for actor in actors:
            ray.kill(actor)


def wait_rate(count: int) -> float:
    """Return calls a second of a loop around `ray.wait`."""
    with idle_actors() as actors:
        begin = time.perf_counter()
        busy = {actor.evaluate.remote(number): actor for number, actor in enumerate(actors)}
        for number in range(len(actors), count + len(actors)):
            (done,), _ = ray.wait(list(busy), num_returns=1)
            actor = busy.pop(done)
            ray.get(done)
            if number < count:
                busy[actor.evaluate.remote(number)] = actor
        return count / (time.perf_counter() - begin)


def pool_rate(count: int) -> float:
    """Return calls a second of Ray's own pool."""
    with idle_actors() as actors:
        begin = time.perf_counter()
        for _ in ActorPool(actors).map_unordered(lambda actor, number: actor.evaluate.remote(number), range(count)):
            pass
        return count / (time.perf_counter() - begin)


def tune_rate(trials: int) -> float:
    """Return trials a second of Ray Tune between the ends of its first and its last trial."""
    from ray import tune

    class Nothing(tune.Trainable):
        def step(self) -> dict[str, Any]:
            number: int = self.config["number"]
            return values(number) | {"done": True}

        def reset_config(self, config: dict[str, Any]) -> bool:
            return True

    ends: list[float] = []

    class Clock(tune.Callback):
        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            ends.append(time.perf_counter())

    def draw(spec: Any) -> Architecture:
        return SPACE.draw(Random(spec.config.number))

    with TemporaryDirectory() as folder:
        tune.Tuner(
            Nothing,
            param_space={"number": tune.randint(0, 2**31), "architecture": tune.sample_from(draw)},
            tune_config=tune.TuneConfig(num_samples=trials, max_concurrent_trials=WORKERS, reuse_actors=True),
            run_config=tune.RunConfig(
                storage_path=folder,
                verbose=0,
                callbacks=[Clock()],
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        ).fit()
    return (trials - 1) / (ends[-1] - ends[0])
