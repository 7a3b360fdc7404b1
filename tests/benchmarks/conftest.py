"""The benchmarks are scripts beside the packages, not installed with them."""

import sys
from pathlib import Path

from postgres import database, postgres

__all__ = ["database", "postgres"]

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
