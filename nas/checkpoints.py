"""Which checkpoints of a study stay: all that a trial under way may yet need, and those of the best that have ended.

A trial goes on from its own checkpoint, and a fork begins from one that another trial left at a pause. What no
unfinished trial needs is deleted as soon as that is in the store.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from nas import pareto
from nas.job import Artifact, Job
from nas.objectives import Objective
from nas.storage import StudyFiles
from nas.store import Writer
from nas.store.queries import TrialRow
from nas.training.names import CHECKPOINT, retained

KIND = "checkpoint"
_RETAINED = re.compile(re.escape(retained(0)).replace("0", r"(\d+)"))


class Checkpoints:
    """The checkpoints of one study, of whose ended trials the best `keep` keep theirs."""

    def __init__(self, files: StudyFiles, keep: int, objectives: Sequence[Objective]) -> None:
        self.files = files
        self._keep = keep
        self._objectives = objectives
        self._best: dict[int, tuple[str, list[float]]] = {}
        self._retained: dict[str, set[int]] = defaultdict(set)

    def restore(self, kept: Iterable[tuple[int, str, Mapping[str, float]]], retaining: Iterable[str] = ()) -> None:
        """Take note of what an earlier run left: kept ones by row, path and values, and folders with retained ones."""
        self._best = {row: (path, self._losses(values)) for row, path, values in kept}
        for folder in retaining:
            found = [_RETAINED.fullmatch(name) for name in self.files.names(folder)]
            self._retained[folder] |= {int(match.group(1)) for match in found if match}

    def sweep(self, ended: Iterable[TrialRow]) -> None:
        """Delete what a run left that was killed after it wrote that trials had ended and before it deleted files."""
        for row in ended:
            path = f"{row.number:05d}/{CHECKPOINT}"
            if row.id not in self._best and self.files.exists(path):
                self.files.delete(path)

    def reached(self, job: Job, step: int) -> None:
        """Take note of a pause at which a trial left a checkpoint for others."""
        if job.retain and step in job.pauses:
            self._retained[job.folder.name].add(step)

    def ended(
        self, writer: Writer, row: int, job: Job, values: Mapping[str, float] | None, left: Artifact | None
    ) -> list[str]:
        """Say which files go now that a trial has ended; `left` is its last checkpoint where it may stay."""
        mine = f"{job.folder.name}/{CHECKPOINT}"
        if left is None or values is None or not self._keep:
            return [mine]
        self._best[row] = mine, self._losses(values)
        writer.artifact(row, KIND, left.path, left.sha256, left.size)
        gone = []
        while len(self._best) > self._keep:
            fitness = pareto.fitness([losses for _, losses in self._best.values()])
            worst = max(zip(fitness, self._best, strict=True))[1]
            gone.append(self._best.pop(worst)[0])
            writer.drop_artifact(worst, KIND)
        return gone

    def superfluous(self, unfinished: Iterable[TrialRow], pauses: Iterable[int]) -> list[str]:
        """Say which retained checkpoints no unfinished trial needs, nor any that may be forked from one."""
        needed = set()
        for row in unfinished:
            step = row.step or 0
            if row.forked_at is not None and step <= row.forked_at:
                needed.add((row.parent, row.forked_at))
            needed.add((row.number, max((pause for pause in pauses if pause <= step), default=0)))
        gone = []
        for folder, steps in self._retained.items():
            for step in [each for each in steps if (int(folder), each) not in needed]:
                steps.discard(step)
                gone.append(f"{folder}/{retained(step)}")
        return gone

    def delete(self, paths: Iterable[str]) -> None:
        """Delete files whose end is in the store."""
        for path in paths:
            self.files.delete(path)

    def _losses(self, values: Mapping[str, float]) -> list[float]:
        return [each.loss(values[each.name]) for each in self._objectives]
