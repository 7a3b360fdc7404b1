"""What many workers, a large store and a rough life cost a study: Ray, PostgreSQL, 100,000 trials, kills.

In `overhead` and `large` evaluations are no-ops, so the figures are the cost of driving alone; trials are of
`kan_vision`. Ours and the peers take turns, and a ratio is the median of the ratios of such rounds. In `chaos` and
`pbt` networks are trained.
"""

from __future__ import annotations

import sys

from chaos import chaos
from common import run
from large import large
from overheads import overhead
from population import pbt


def main() -> int:
    parts = {"overhead": overhead, "large": large, "chaos": chaos, "pbt": pbt}
    return run("cluster", parts, ["nas", "ray", "sqlalchemy", "psycopg", "optuna", "torch"])


if __name__ == "__main__":
    sys.exit(main())
