"""Why a Tune trial failed, from the file in which Tune keeps its errors."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ray.tune.experiment import Trial

OWN = re.compile(r"TrialFailed: (.+)")
BEGIN = re.compile(r"^Failure # \d+ \(occurred at .+\)\n", re.MULTILINE)
LONGEST = 500
UNKNOWN = "Ray Tune left no error"


def failure(trial: Trial) -> tuple[str, str]:
    """Return the reason of a trial's last error, in a line, and its text with the traceback."""
    path = trial.error_file
    text = Path(path).read_text(errors="replace") if path and Path(path).exists() else UNKNOWN
    last = BEGIN.split(text)[-1].strip()
    return _reason(last)[:LONGEST], last


def _reason(text: str) -> str:
    own = OWN.search(text)
    if own is not None:
        return own.group(1)
    lines = text.splitlines() or [UNKNOWN]
    frames = [number for number, line in enumerate(lines) if line.startswith('  File "')]
    if not frames:
        return f"the worker was lost: {lines[0]}"
    raised = [line for line in lines[frames[-1] :] if line and not line[0].isspace()]
    return raised[0] if raised else lines[-1].strip()
