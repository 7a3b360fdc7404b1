"""A study of many trials, made in bulk, and what it costs to go on with it.

    python benchmarks/large.py URL TRIALS [STRATEGY]

makes one: `kan_vision` architectures, 8 epochs of 5 metrics, values, attempts, files and the events of a search, as the
driver of a search on digits writes them, with some trials that failed, broke a constraint or lost their worker.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import sqlalchemy as sa
from common import Results
from servers import postgres

from nas.execution.inline import Inline
from nas.job import Evaluation, Job, Outcome
from nas.plans import Bench
from nas.plans.search import TURNS
from nas.settings import Settings
from nas.store import State, Store
from nas.store.models import Artifact, Attempt, Base, Event, Metric, Trial, Value
from nas.study import Study, open_study
from nas.tasks import find_content
from search_spaces.decisions import identity
from search_spaces.space import find_space

NAME, EPOCHS, PART = "large", 8, 1000
# By strategy, how many new trials are made: of TPE as many as its window takes to move on, since they cost the more
# the fuller that is.
MORE = {"random": 500, "tpe": 250}
TABLES = (Trial, Attempt, Metric, Value, Artifact, Event)


@dataclass(frozen=True)
class Cost:
    """What going on took: seconds to the first new trial, seconds for each, bytes at the most."""

    ready: float
    trial: float
    peak: int


def make(url: str, trials: int, strategy: str = "random") -> None:
    """Make a store with a study that has so many trials, all of them ended."""
    store = Store.open(url, create=True)
    settings = Settings(strategy=strategy, trials=trials, epochs=EPOCHS)
    study = Study.create(store, settings, NAME)
    bench = Bench(settings, find_content(settings.task, 0), store.folder(NAME))
    for first in range(0, trials, PART):
        rows: dict[type[Base], list[dict[str, Any]]] = {table: [] for table in TABLES}
        for number in range(first, min(first + PART, trials)):
            for table, row in written(study.row.id, bench, number):
                rows[table].append(row)
        with store.engine.begin() as connection:
            for table in TABLES:
                connection.execute(sa.insert(table), rows[table])
    with store.engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            for name in ("trial", "attempt", "event"):
                last = f"SELECT setval(pg_get_serial_sequence('{name}', 'id'), (SELECT max(id) FROM {name}))"
                connection.execute(sa.text(last))
    with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("ANALYZE"))
    store.engine.dispose()


def written(study: int, bench: Bench, number: int) -> Iterator[tuple[type[Base], dict[str, Any]]]:
    """Give the rows that a driver writes of one trial."""
    random = Random(f"trial {number}")
    architecture, seed = find_space(bench.settings.space).draw(random), bench.seed(number)
    key, begin = number + 1, 1.7e9 + 20.0 * number
    state = random.choices((State.COMPLETED, State.INFEASIBLE, State.FAILED), (96, 2, 2))[0]
    reason = {State.INFEASIBLE: "the loss is not finite in epoch 1", State.FAILED: "RuntimeError: shapes"}.get(state)
    yield (
        Trial,
        {
            "id": key,
            "study_id": study,
            "number": number,
            "kind": "search",
            "state": state,
            "architecture": architecture,
            "identity": identity(architecture),
            "key": bench.key(architecture),
            "repeat": 0,
            "parent": None,
            "seed": seed,
            "reason": reason,
            "created": begin,
            "ended": begin + 20.0,
            "forked_at": None,
            "driver": None,
        },
    )
    lost = number % 100 == 50
    for attempt in (1, 2) if lost else (1,):
        error = "the worker was lost: its process ended" if attempt == 1 and lost else reason
        yield (
            Attempt,
            {
                "id": 2 * key + attempt,
                "trial_id": key,
                "number": attempt,
                "worker": f"ray-{number % 2}",
                "device": "cpu",
                "started": begin,
                "ended": begin + 20.0,
                "error": error,
            },
        )
    best, params = random.betavariate(8, 2), float(round(10 ** random.uniform(3, 5)))
    yield Metric, {"trial_id": key, "step": 0, "name": "params", "value": params}
    if state is State.COMPLETED:
        for epoch in range(1, EPOCHS + 1):
            accuracy = best * epoch / EPOCHS
            measured = {"val_accuracy": accuracy, "val_loss": 2.3 - 2 * accuracy, "train_loss": 2.2 - 2 * accuracy}
            clocked = {"rate": 0.01 * (1 - epoch / EPOCHS), "seconds": 1.0 + random.random()}
            for name, value in (measured | clocked).items():
                yield Metric, {"trial_id": key, "step": epoch, "name": name, "value": value}
        for name, value in {"accuracy": best, "params": params}.items():
            yield Value, {"trial_id": key, "name": name, "value": value}
        path = f"{number:05d}/weights-1.safetensors"
        signed = {"path": path, "sha256": identity(architecture), "size": int(4 * params)}
        yield Artifact, {"trial_id": key, "kind": "weights"} | signed
    common = {"study_id": study, "trial_id": key, "at": begin}
    turn = number * TURNS
    yield Event, common | {"id": 2 * number + 1, "kind": "asked", "payload": {"turn": turn, "note": {}}}
    yield Event, common | {"id": 2 * number + 2, "kind": "told", "payload": {"turn": turn}}


def drive(url: str, begun: float, more: int) -> None:
    """Go on with the study for some more trials that do nothing, as a process of its own, and print what it cost."""
    import ray  # noqa: F401  a driver has it in memory

    times: list[float] = []

    def noting(job: Job) -> Evaluation:
        times.append(time.time())
        return Outcome({"accuracy": Random(job.seed).random(), "params": 1000.0})
        yield

    study = open_study(NAME, url)
    study.extend(study.settings.trials + more)
    study.run(Inline(noting))
    seconds = (times[-1] - times[0]) / (len(times) - 1)
    print(json.dumps([times[0] - begun, seconds, 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]))


def cost(url: str, strategy: str, more: int) -> Cost:
    """Go on with the study by a strategy, in a process of its own."""
    study = open_study(NAME, url)
    with study.store.driving(NAME) as seat, seat.writing(study.row.id) as writer:
        writer.settings(study.row.settings | {"strategy": strategy})
    study.store.engine.dispose()
    return Cost(*json.loads(_python(f"import large; large.drive({url!r}, {time.time()}, {more})")))


def show(url: str) -> float:
    """Return the seconds that `nas show` takes."""
    begin = time.perf_counter()
    _python(f"import sys; sys.argv = ['nas', 'show', {NAME!r}, '--store', {url!r}]; from nas.cli import main; main()")
    return time.perf_counter() - begin


def large(results: Results) -> None:
    """Go on with studies of several sizes, in turns; the sizes' ratios are of trials made in the same round."""
    sizes = results.size.pick((500, 2000), (1000, 10_000, 100_000))
    share, rounds = results.size.pick(5, 1), results.size.pick(1, 3, 5)
    with TemporaryDirectory() as folder, postgres(results) as server:
        stores = {"SQLite": {size: f"sqlite:///{folder}/{size}.db" for size in sizes}}
        if server is not None:
            stores["PostgreSQL"] = {size: server.create() for size in sizes}
        for store, urls in stores.items():
            for size, url in urls.items():
                begin = time.perf_counter()
                make(url, size)
                results.add(f"{store}: making {size:,} trials", time.perf_counter() - begin, "s")
            _measure(results, store, urls, {name: more // share for name, more in MORE.items()}, rounds)


def _measure(results: Results, store: str, urls: dict[int, str], strategies: dict[str, int], rounds: int) -> None:
    most = max(urls)
    results.add(f"{store}: nas show of {most:,}", [show(urls[most]) for _ in range(rounds)], "s", most=2)
    for strategy, more in strategies.items():
        found = [{size: cost(url, strategy, more) for size, url in urls.items()} for _ in range(rounds)]
        head = f"{store}, {strategy}"
        results.add(f"{head}: resume of {most:,} is ready", [each[most].ready for each in found], "s", most=10)
        peaks = [each[most].peak / 2**20 for each in found]
        results.add(f"{head}: driver's memory at {most:,}", peaks, "MiB", most=1000)
        for size in urls:
            milliseconds = [1000 * each[size].trial for each in found]
            results.add(f"{head}: a trial after {size:,}", milliseconds, "ms")
        for size in sorted(urls)[1:]:
            ratios = [each[size].trial / each[min(urls)].trial for each in found]
            results.add(f"{head}: a trial after {size:,} / {min(urls):,}", ratios, "x", most=1.3)


def _python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


if __name__ == "__main__":
    make(sys.argv[1], int(sys.argv[2]), *sys.argv[3:4])
