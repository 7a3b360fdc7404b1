"""A search on a Ray cluster of two nodes and PostgreSQL, of which something is killed again and again.

Every so many seconds it is a process that trains, a node with all that runs on it, the driver, or the database: in
random order, none again before each of the others had its turn. Nodes and database come back after some seconds; the
driver is started anew whenever it has ended before its study.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import torch
from common import Results
from servers import TESTS, postgres
from tally import WATCH, Tally, summary, tally

from nas.plans import Bench
from nas.settings import Settings
from nas.store import State, Store, queries
from nas.store.queries import TrialRow
from nas.study import Study, open_study
from nas.tasks import find_content
from nas.training.evaluate import evaluate

if TYPE_CHECKING:
    from postgres import Postgres
    from ray_nodes import Head, Node

NAME, EPOCHS, NODES = "chaos", 2, 2
METRICS = ("train_loss", "val_loss", "val_accuracy", "rate", "seconds")
SMALL = (
    "network.stages#=1",
    "network.stages[*].depth=1",
    "network.stages[*].width=8",
    "network.stages[*].layer=conv2d,linear,mbconv",
    "network.stages[*].activation=relu,gelu,silu,tanh,elu,mish",
    "training.batch=128",
)
BACK = 3.0  # seconds until a node or the database is there again
PATIENCE = 900.0
REPEATED, MORE = 5, 20
KINDS = ("worker", "node", "driver", "database")


@dataclass
class Scene:
    """What there is to kill, and how often each was."""

    server: Postgres
    database: str
    head: Head
    folder: Path
    random: Random
    trials: int
    nodes: list[Node] = field(default_factory=list)
    driver: subprocess.Popen[str] | None = None
    kills: Counter[str] = field(default_factory=Counter)
    said: list[str] = field(default_factory=list)
    bag: list[str] = field(default_factory=list)
    back: list[tuple[float, str]] = field(default_factory=list)

    def ask(self, statement: str) -> list[tuple[object, ...]]:
        return self.server.sql(self.database, statement)

    def resume(self) -> None:
        """Start the driver."""
        command = ["from nas.cli import main; main()", "resume", NAME, "-q", "--workers", str(NODES)]
        command += ["--trials", str(self.trials)]
        command += ["--store", self.server.url(self.database), "--ray-address", self.head.address]
        self.driver = subprocess.Popen(
            [sys.executable, "-c", *command],
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def kill(self) -> bool:
        """Kill the next of what is there, and say whether anything was; what is not there comes first the next time."""
        killers = dict(zip(KINDS, (self._worker, self._node, self._driver, self._database), strict=True))
        if not self.bag:
            self.bag = self.random.sample(KINDS, len(KINDS))
        for kind in self.bag:
            if killers[kind]():
                self.bag.remove(kind)
                self.kills[kind] += 1
                print(f"{time.strftime('%X')} killed a {kind}", file=sys.stderr, flush=True)
                return True
        return False

    def rough(self, begin: float, seconds: float) -> bool:
        """Say whether it has not been so many seconds, or something of what is killed is still to come."""
        return time.monotonic() - begin <= seconds or len(self.kills) < len(KINDS)

    def mend(self) -> None:
        """Bring back what has been away for long enough."""
        due = [kind for at, kind in self.back if at <= time.monotonic()]
        self.back = [(at, kind) for at, kind in self.back if kind not in due]
        if "database" in due:
            self.server.start()
        if "node" in due:
            self.nodes.append(self.head.node(1))

    def ended(self) -> bool:
        """Say whether the study has ended; a driver that gave up before is started anew."""
        assert self.driver is not None
        if self.driver.poll() is None:
            return False
        if self.driver.returncode == 0:
            return True
        if self.driver.returncode != -signal.SIGKILL:
            assert self.driver.stderr is not None
            lines = self.driver.stderr.read().strip().splitlines() or [f"exit code {self.driver.returncode}"]
            self.said.append(lines[-1])
            time.sleep(1.0)
        self.resume()
        return False

    def more(self) -> None:
        """Give a study that has ended more trials, and drive it on."""
        assert self.driver is not None
        if self.driver.poll() == 0:
            self.trials += MORE
            self.resume()

    def _worker(self) -> bool:
        trainers = [pid for node in self.nodes for pid in _descendants(node) if _title(pid).startswith("ray::Worker")]
        if trainers:
            os.kill(self.random.choice(trainers), signal.SIGKILL)
        return bool(trainers)

    def _node(self) -> bool:
        there = len(self.nodes) == NODES
        if there:
            self.nodes.pop(self.random.randrange(NODES)).kill()
            self.back.append((time.monotonic() + BACK, "node"))
        return there

    def _driver(self) -> bool:
        there = self.driver is not None and self.driver.poll() is None
        if self.driver is not None and there:
            self.driver.kill()
            self.driver.wait()
        return there

    def _database(self) -> bool:
        there = all(kind != "database" for _, kind in self.back)
        if there:
            self.server.stop("immediate")
            self.back.append((time.monotonic() + BACK, "database"))
        return there


@dataclass(frozen=True)
class Report:
    """How a rough life went: what was killed, how long it took, what a driver said that gave up, what is wrong.

    `unlike` are the trials whose metrics a calm training of the same network does not give again to the last bit.
    """

    kills: dict[str, int]
    seconds: float
    said: list[str]
    trials: int
    summary: dict[str, int]
    tally: Tally
    unlike: list[int]


def live(server: Postgres, trials: int, every: float, seconds: float, seed: int = 0) -> Report:
    """Search with so many trials, and kill something every so many seconds for as long as is said, all kinds at least.

    A study that ends before that is given more trials.
    """
    with _scene(server, trials, seed) as scene:
        begin = time.monotonic()
        last = begin
        scene.resume()
        while not scene.ended() or scene.rough(begin, seconds):
            now = time.monotonic()
            scene.more()
            if now - begin > PATIENCE + seconds:
                raise AssertionError(f"the study has not ended: {summary(scene.ask)}, {scene.said}")
            if now - last >= every and scene.rough(begin, seconds) and scene.kill():
                last = now
            scene.mend()
            time.sleep(0.1)
        took = time.monotonic() - begin
        if scene.back:
            time.sleep(BACK)
            scene.mend()
        found = tally(scene.ask, scene.trials, EPOCHS, METRICS, objectives=2)
        unlike = _unlike(server.url(scene.database))
        return Report(dict(scene.kills), took, scene.said, scene.trials, summary(scene.ask), found, unlike)


def _unlike(url: str) -> list[int]:
    """Train the trials that were interrupted most once more, in peace; return the numbers of those that differ."""
    torch.set_num_threads(1)
    study = open_study(NAME, url)
    completed = [row for row in study if row.state is State.COMPLETED]
    completed.sort(key=lambda row: -len(queries.attempts(study.store, row.id)))
    different = [row.number for row in completed[:REPEATED] if _kept(study, row) != _calm(study, row)]
    study.store.engine.dispose()
    return different


def _kept(study: Study, row: TrialRow) -> set[tuple[int, str, float]]:
    """Return what a trial measured, by step and name, less what depends on the clock."""
    curves = queries.curves(study.store, row.id)
    return {(step, name, value) for name in curves if name != "seconds" for step, value in curves[name]}


def _calm(study: Study, row: TrialRow) -> set[tuple[int, str, float]]:
    """Train a trial's network as its job says, and return what it measured."""
    with TemporaryDirectory() as folder:
        bench = Bench(study.settings, find_content(study.settings.task, 0), Path(folder))
        reports = list(evaluate(bench.job(row.number, row.architecture, row.seed)))
    return {(each.step, name, each.metrics[name]) for each in reports for name in each.metrics if name != "seconds"}


@contextmanager
def _scene(server: Postgres, trials: int, seed: int) -> Iterator[Scene]:
    """Set up a study, a head that trains nothing and two nodes that do; at the end all of it is gone."""
    sys.path.append(str(TESTS / "nas"))
    from ray_nodes import Head

    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        url = server.create()
        here = os.getcwd()
        stack.callback(os.chdir, here)
        os.chdir(folder)
        store = Store.open(url, create=True)
        settings = Settings(strategy="random", trials=trials, epochs=EPOCHS, only=SMALL, seed=seed)
        Study.create(store, settings, NAME)
        store.engine.dispose()
        head = Head(0)
        stack.callback(head.kill)
        scene = Scene(server, url.rpartition("/")[2], head, folder, Random(seed), trials)
        stack.callback(lambda: [node.kill() for node in scene.nodes])
        scene.nodes += [head.node(1) for _ in range(NODES)]
        scene.ask(WATCH)
        stack.callback(scene._driver)
        yield scene


def _descendants(node: Node) -> set[int]:
    from ray_nodes import descendants

    found: set[int] = descendants(node.process.pid)
    return found


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def chaos(results: Results) -> None:
    """200 trials on two nodes, with something killed every 10 seconds for five minutes."""
    trials, every, seconds = results.size.pick((16, 5.0, 25.0), (200, 10.0, 300.0))
    with postgres(results) as server:
        if server is None:
            return
        report = live(server, trials, every, seconds)
    print(json.dumps({"kills": report.kills, "given up": report.said, **report.summary}, indent=1))
    results.add(f"chaos: {report.trials} trials took", report.seconds, "s")
    results.add("chaos: kills", sum(report.kills.values()), "kills")
    results.add("chaos: trials that a calm training does not repeat", len(report.unlike), "", most=0)
    for name, faults in report.tally.faults.items():
        results.add(f"chaos: {WRONG[name]}", faults, "", most=0)


WRONG = {
    "lost": "trials not accounted for",
    "twice": "trained twice to completion",
    "again": "epochs trained again though in the store",
    "missing": "metrics missing",
    "unlike": "attempts or values that do not add up",
}
