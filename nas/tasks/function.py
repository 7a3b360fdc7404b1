"""Functions: what a function of the user's own says of an architecture, in the place of a training.

`function:MODULE:NAME` imports it, from the folder where the command runs too. It takes an architecture and returns a
dictionary of metrics, or a list of such dictionaries, one for each epoch from the first on:

    def score(architecture):
        return {"val_accuracy": 0.9, "params": 1200, "seconds": 12.5}

Metrics have the names that the columns of a table have (see `nas.tasks.table`); `seconds` is how long it would take.
One that has a parameter `parts` knows of trainings that change on their way, as schedules such as pbt make them: it is
given a list of pairs, after how many epochs which architecture went on, the first of them 0, and of such a training it
returns a list.

    def score(architecture, parts):
        return [{"val_accuracy": ...}, ...]

A function that raises `nas.job.Infeasible` says that an architecture cannot be.
"""

from __future__ import annotations

import importlib
import inspect
import math
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from nas.tasks import Known, Part, TaskError
from search_spaces.decisions import Architecture
from search_spaces.registry import register
from search_spaces.space import Space

if TYPE_CHECKING:
    from collections.abc import Iterator


@register("task", "function")
class Function:
    """What a function of the user's own says: `function:MODULE:NAME`."""

    argument: ClassVar[str] = "MODULE:NAME"

    def __init__(self, function: str | Callable[..., Any]) -> None:
        self._function = _imported(function) if isinstance(function, str) else function
        self.name = f"function:{function if isinstance(function, str) else _named(function)}"

    @property
    def content(self) -> str:
        """The SHA-256 of the function's source, of its name alone where there is none."""
        try:
            source = inspect.getsource(self._function)
        except (OSError, TypeError):
            source = ""
        return sha256(f"{self.name}\n{source}".encode()).hexdigest()

    def metrics(self, space: Space) -> Collection[str] | None:
        return None

    def epochs(self, space: Space) -> Collection[int] | None:
        return range(1, sys.maxsize)

    @property
    def forks(self) -> bool:
        return "parts" in inspect.signature(self._function).parameters

    def look_up(
        self, space: Space, architecture: Architecture, seed: int, epochs: int, parts: Sequence[Part] = ()
    ) -> Known:
        if self.forks:
            result = self._function(architecture, parts=list(parts) or [(0, architecture)])
        else:
            result = self._function(architecture)
        if isinstance(result, Mapping):
            numbered = {epochs: self._figures(result)}
        else:
            listed = [self._figures(each) for each in self._list(result)]
            if len(listed) < epochs:
                raise TaskError(f"{self.name} returned {len(listed)} epochs, but {epochs} are asked: give --epochs")
            numbered = dict(enumerate(listed[:epochs], 1))
        return Known.of(numbered)

    def untrained(self, space: Space, architecture: Architecture) -> Mapping[str, float]:
        return {}

    def _list(self, result: Any) -> list[Any]:
        if not isinstance(result, list):
            raise TaskError(
                f"{self.name} returned {type(result).__name__}, but a dictionary of metrics, or a list, is asked"
            )
        return result

    def _figures(self, result: Any) -> dict[str, float]:
        if not isinstance(result, Mapping):
            raise TaskError(f"{self.name} returned a list of {type(result).__name__}, but dictionaries are asked")
        for name, value in result.items():
            try:
                float(value)
            except (TypeError, ValueError):
                raise TaskError(f"{self.name} returned {name} {value!r}, but a number is asked") from None
        figures = {str(name): float(value) for name, value in result.items()}
        if not 0 <= figures.get("seconds", 0) < math.inf:
            raise TaskError(f"{self.name} returned {figures['seconds']:g} seconds, but a number from 0 up is asked")
        return figures


def _imported(text: str) -> Callable[..., Any]:
    module, _, name = text.partition(":")
    if not module or not name:
        raise TaskError(f"task 'function:{text}' is not complete: write it as function:MODULE:NAME")
    try:
        with _from_here():
            function = getattr(importlib.import_module(module), name, None)
    except ImportError as error:
        raise TaskError(f"task 'function:{text}' cannot be imported: {error}; see that {module} is here") from None
    if not callable(function):
        raise TaskError(f"task 'function:{text}' cannot be used: {module} has no function {name}")
    found: Callable[..., Any] = function
    return found


@contextmanager
def _from_here() -> Iterator[None]:
    """Let modules of the folder where the command runs be found, as `python` itself does."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)


def _named(function: Callable[..., Any]) -> str:
    return f"{getattr(function, '__module__', '')}:{getattr(function, '__qualname__', type(function).__name__)}"
