"""What many workers, a large store and a rough life cost a study: Ray, PostgreSQL, 100,000 trials, kills.

In `overhead` and `large` evaluations are no-ops, so the figures are the cost of driving alone; trials are of
`kan_vision`. Ours and the peers take turns, and a ratio is the median of the ratios of such rounds.
"""

from __future__ import annotations

import sys

from common import run
from large import large
from overheads import overhead


def main() -> int:
    return run("cluster", {"overhead": overhead, "large": large}, ["nas", "ray", "sqlalchemy", "psycopg", "optuna"])


if __name__ == "__main__":
    sys.exit(main())
