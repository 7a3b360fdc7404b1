"""The benchmarks are scripts beside the packages, not installed with them."""

import sys
from pathlib import Path

from postgres import database, databases, postgres

__all__ = ["database", "databases", "postgres"]

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
