"""Predictors against networks that were trained; the parts are in `predictor_bars.py`.

This script has the name of a package, and Python looks into the folder of a script before all others. Imported from
any benchmark, or from a process that one of them starts, it therefore gives way to the package.
"""

import importlib
import sys
from pathlib import Path


def give_way() -> None:
    """Import the package in the place of this file."""
    folder, before = Path(__file__).resolve().parent, sys.path[:]
    sys.path[:] = [each for each in before if Path(each).resolve() != folder]
    del sys.modules[__name__]
    try:
        importlib.import_module(__name__)
    finally:
        sys.path[:] = before


if __name__ == "predictors":
    give_way()
elif __name__ == "__main__":
    from predictor_bars import main

    sys.exit(main())
