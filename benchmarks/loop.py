"""What the study loop costs: trials a second with an evaluation that does nothing, against peers and against itself.

Every study runs over the tree of `kan_vision` into a fresh SQLite file, so what is measured is asking, writing down
and sending. Ours and the peer take turns, and a ratio is the median of the ratios of such pairs.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from common import Results, run

from nas.execution import Executor
from nas.execution.inline import Inline
from nas.job import Evaluation, Job, Outcome
from nas.plans.search import TURNS
from nas.progress import Progress
from nas.settings import Settings
from nas.store import Store
from nas.strategies import make_strategy
from nas.study import Study
from search_spaces.decisions import Choice, Decision, Integer, Scalar, canonical
from search_spaces.space import find_space

if TYPE_CHECKING:
    import optuna

SPACE = find_space("kan_vision")


def main() -> int:
    parts = {"inline": inline, "samplers": samplers, "flat": flat, "help": startup}
    return run("loop", parts, ["nas", "optuna", "sqlalchemy"])


def inline(results: Results) -> None:
    """Random search in this process, against Optuna's own loop on its own SQLite storage."""
    ours, theirs = results.size.pick(300, 1000), results.size.pick(4, 15)
    pairs = [(study_rate("random", ours), optuna_rate(theirs)) for _ in range(results.size.pick(3, 5))]
    results.add("inline random", [mine for mine, _ in pairs], "trials/s")
    results.add("Optuna random, its SQLite storage", [other for _, other in pairs], "trials/s")
    results.add("inline random / Optuna", [mine / other for mine, other in pairs], "x", least=25)
    results.peer(
        "Optuna", f"study.optimize(define-by-run over the same tree, {theirs}); RandomSampler, RDBStorage sqlite:///"
    )


def samplers(results: Results) -> None:
    """Two samplers in our loop, against the same objects asked and told in memory."""
    for name, count, bar in (("nsga2", results.size.pick(100, 300), 0.8), ("tpe", results.size.pick(30, 100), 0.7)):
        pairs = [(study_rate(name, count), memory_rate(name, count)) for _ in range(results.size.pick(3, 9))]
        results.add(f"{name} in the loop", [mine for mine, _ in pairs], "trials/s")
        results.add(f"{name} in memory alone", [alone for _, alone in pairs], "trials/s")
        results.add(f"{name} in the loop / in memory", [mine / alone for mine, alone in pairs], "x", least=bar)


def flat(results: Results) -> None:
    """The last trials of a long study against its first, after a short warm-up."""
    count, some, warm = results.size.pick(2000, 5000, 20000), 200, 50
    ratios = []
    for _ in range(results.size.pick(3, 5)):
        times = trial_times("random", count)
        first, last = times[warm + some] - times[warm], times[-1] - times[-1 - some]
        ratios.append(last / first)
    results.add(f"last {some} of {count} trials / first {some}", ratios, "x", most=1.3)


def startup(results: Results) -> None:
    """`nas --help`, from the shell."""
    command = [str(Path(sys.executable).parent / "nas"), "--help"]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)

    def seconds() -> float:
        begin = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        return time.perf_counter() - begin

    results.add("nas --help", [seconds() for _ in range(5)], "s", most=0.3)


def nothing(job: Job) -> Evaluation:
    """End at once."""
    return Outcome(values(job.trial))
    yield


def values(number: int) -> dict[str, float]:
    """Make up the objectives of a trial."""
    random = Random(number)
    return {"accuracy": random.random(), "params": float(random.randrange(10**6))}


def study_rate(strategy: str, trials: int, executor: Executor | None = None, url: str | None = None) -> float:
    """Return our trials a second; making the study and the workers is not counted."""
    times = trial_times(strategy, trials, executor, url)
    return trials / (times[-1] - times[0])


def trial_times(strategy: str, trials: int, executor: Executor | None = None, url: str | None = None) -> list[float]:
    """Return when a study began and when each of its trials had ended, by default in a fresh SQLite file."""
    times: list[float] = []

    def watch(progress: Progress) -> None:
        times.extend([time.perf_counter()] * (progress.done + 1 - len(times)))

    with TemporaryDirectory() as folder:
        store = Store.open(url or f"sqlite:///{folder}/nas.db", create=True)
        study = Study.create(store, Settings(strategy=strategy, trials=trials), "loop")
        executor = executor or Inline(nothing)
        warm_up(executor)
        times.append(time.perf_counter())
        study.run(executor, watch, content="none")
        store.engine.dispose()
    return times


def warm_up(executor: Executor) -> None:
    """Wait until every worker has done something."""
    for worker in executor.workers:
        executor.submit(worker, Job(trial=0, attempt=1, architecture={}, seed=0))
    busy = len(executor.workers)
    while busy:
        busy -= sum(event.last for event in executor.events(timeout=1.0))


def memory_rate(strategy: str, trials: int) -> float:
    """Return trials a second of a strategy alone, asked and told as the loop does: a repeat is no new trial."""
    sampler = make_strategy(strategy, SPACE, 2, seed=0)
    known: dict[str, list[float]] = {}
    attempt = 0
    begin = time.perf_counter()
    while len(known) < trials:
        proposal = sampler.ask(len(known) * TURNS + attempt)
        name = canonical(proposal.architecture)
        attempt = attempt + 1 if name in known else 0
        if name not in known:
            made = values(len(known))
            known[name] = [-made["accuracy"], made["params"]]
        sampler.tell(proposal.turn, known[name])
    return trials / (time.perf_counter() - begin)


def optuna_rate(trials: int) -> float:
    """Return trials a second of Optuna's own loop; making its study is not counted."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)

    def objective(trial: optuna.Trial) -> tuple[float, float]:
        SPACE.resolve(suggesting(trial))
        made = values(trial.number)
        return made["accuracy"], made["params"]

    with TemporaryDirectory() as folder:
        study = optuna.create_study(
            storage=optuna.storages.RDBStorage(f"sqlite:///{folder}/optuna.db"),
            sampler=optuna.samplers.RandomSampler(seed=0),
            directions=["maximize", "minimize"],
        )
        begin = time.perf_counter()
        study.optimize(objective, n_trials=trials)
        return trials / (time.perf_counter() - begin)


def suggesting(trial: optuna.Trial) -> Callable[[str, Decision], Scalar]:
    """Decide as an Optuna trial suggests."""

    def decide(path: str, domain: Decision) -> Scalar:
        if isinstance(domain, Choice):
            return trial.suggest_categorical(path, domain.options)
        if isinstance(domain, Integer):
            return trial.suggest_int(path, domain.low, domain.high, step=domain.step, log=domain.log)
        return trial.suggest_float(path, domain.low, domain.high, log=domain.log)

    return decide


if __name__ == "__main__":
    sys.exit(main())
