"""The folders in which Tune keeps checkpoints, as our trials write them: whose they are lies beside the checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nas.errors import UserError
from nas.job import Job

FACTS = "trial.json"
FORMAT = "nas tune checkpoint 1"


class CheckpointFolderError(UserError):
    """A checkpoint of Tune that a trial cannot go on from; the message names it and what is wrong."""


def write_facts(folder: Path, job: Job, step: int) -> None:
    """Note whose checkpoint lies in a folder, and after how many epochs."""
    facts = {
        "format": FORMAT,
        "space": job.space,
        "task": job.task,
        "epochs": job.epochs,
        "architecture": job.architecture,
        "seed": job.seed,
        "step": step,
    }
    (folder / FACTS).write_text(json.dumps(facts))


def read_facts(folder: Path, job: Job) -> dict[str, Any]:
    """Return architecture, seed and step of a checkpoint; raises CheckpointFolderError for one of other work."""
    try:
        facts: dict[str, Any] = json.loads((folder / FACTS).read_text())
    except (OSError, ValueError) as error:
        raise CheckpointFolderError(f"{folder} is no checkpoint of a trial ({error}): begin the trial anew") from None
    if facts.get("format") != FORMAT:
        raise CheckpointFolderError(f"{folder} is a {facts.get('format')!r}, but {FORMAT!r} is read here")
    for name in ("space", "task", "epochs"):
        if facts[name] != getattr(job, name):
            raise CheckpointFolderError(
                f"{folder} belongs to {name} {facts[name]!r}, but this trial has {getattr(job, name)!r}: begin it anew"
            )
    return facts
