"""For tests of executors: an evaluation that does what its job says, and what to wait for from a worker."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nas.execution import Event, Executor
from nas.job import Evaluate, Evaluation, Job, Origin, Report

PATIENCE = 90.0


def evaluations() -> Evaluate:
    """An evaluation that does what its job's architecture says, and keeps a diary in the job's folder.

    Made inside a function, so that Ray sends it along rather than the name of this module. An order is done before
    the step of its number: die, fail, infeasible, crowd (out of memory), cuda (a broken context), unsendable, and
    `sleep` for so many seconds at each. An attempt that began to train goes on with the next step.
    """

    def obey(job: Job) -> Evaluation:
        import os
        import threading
        import time

        from nas.job import Infeasible, Outcome, OutOfMemory, Report

        def note(line: str) -> None:
            job.folder.mkdir(parents=True, exist_ok=True)
            with open(job.folder / "diary", "a") as diary:
                diary.write(f"{line}\n")

        orders = job.architecture
        (job.folder / "pids").parent.mkdir(parents=True, exist_ok=True)
        with open(job.folder / "pids", "a") as pids:
            pids.write(f"{os.getpid()}\n")
        try:
            first = 1 + (job.origin.step if job.origin else 0)
            for step in (0, *range(first, job.epochs + 1)):
                note(str(step))
                time.sleep(orders.get("sleep", 0))
                if orders.get("die") == step and not (job.folder / "died").exists():
                    if orders.get("once"):
                        (job.folder / "died").touch()
                    os._exit(9)
                if orders.get("fail") == step:
                    raise ValueError("a bad shape\nand more")
                if orders.get("infeasible") == step:
                    raise Infeasible("params 7 breaks params<=3")
                if orders.get("crowd") == step:
                    raise OutOfMemory("out of memory: no room")
                if orders.get("cuda") == step:
                    raise RuntimeError("CUDA error: an illegal memory access was encountered")
                if orders.get("starve") == step:
                    raise MemoryError
                if orders.get("hog") == step:
                    hoard = [b"x" * 2**26 for _ in range(orders["megabytes"] // 64)]
                    time.sleep(60)
                    note(f"survived with {len(hoard)}")
                metrics: dict[str, Any] = {"params": 7.0, "val_accuracy": step / 10, "trial": float(job.trial)}
                if orders.get("unsendable") == step:
                    metrics["lock"] = threading.Lock()
                yield Report(step, metrics)
            note("done")
            return Outcome({"accuracy": 0.5, "params": 7.0})
        finally:
            note("closed")

    return obey


def job(
    folder: Path,
    number: int = 0,
    epochs: int = 4,
    pauses: set[int] = frozenset(),  # type: ignore[assignment]
    begun: int | None = None,
    **orders: Any,
) -> Job:
    """A job of these orders; with `begun` it goes on from another's checkpoint after so many epochs."""
    own = folder / f"{number:05d}"
    origin = None if begun is None else Origin(folder / "other", begun, {}, 0)
    return Job(number, 1, orders, number, epochs=epochs, pauses=frozenset(pauses), folder=own, origin=origin)


def diary(job: Job) -> list[str]:
    file = job.folder / "diary"
    return file.read_text().split() if file.exists() else []


def process(job: Job) -> int:
    """Return the process that works, or worked, on the last attempt of a job."""
    return int((job.folder / "pids").read_text().split()[-1])


def gone(pid: int) -> bool:
    """Tell whether a process has ended, though nobody may have taken note of it yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def within(seconds: float, holds: Callable[[], bool]) -> None:
    """Wait until something holds, and fail if it does not in so many seconds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def following(executor: Executor, until: Callable[[list[Event]], bool], patience: float = PATIENCE) -> list[Event]:
    """Collect events until there are those that are waited for."""
    found: list[Event] = []
    deadline = time.monotonic() + patience
    while not until(found):
        assert time.monotonic() < deadline, f"only {found}"
        found += executor.events(0.2)
    return found


def ended(count: int) -> Callable[[list[Event]], bool]:
    return lambda events: sum(event.last for event in events) >= count


def reached(step: int) -> Callable[[list[Event]], bool]:
    return lambda events: any(isinstance(each.what, Report) and each.what.step == step for each in events)


def steps(events: list[Event], worker: str) -> list[Any]:
    told = [event.what for event in events if event.worker == worker]
    return [what.step if isinstance(what, Report) else type(what).__name__ for what in told]


def ready(executor: Executor, count: int, patience: float = PATIENCE) -> tuple[str, ...]:
    """Wait for so many workers, and name them; nothing may be under way."""
    deadline = time.monotonic() + patience
    while len(executor.workers) < count:
        assert time.monotonic() < deadline, f"only {executor.workers}"
        assert executor.events(0.2) == []
        time.sleep(0.05)
    return tuple(executor.workers)
