"""JSON as a store keeps it: strict JSON, in which a number that is not finite is an object of one key.

PostgreSQL refuses the words NaN and Infinity, which Python's own JSON has.
"""

from __future__ import annotations

import json
import math
from typing import Any

KEY = "$number"


def dumps(value: Any) -> str:
    """Write data as strict JSON."""
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError:
        return json.dumps(_marked(value), allow_nan=False)


def loads(text: str | bytes) -> Any:
    """Read data back."""
    if isinstance(text, bytes):
        text = text.decode()
    if KEY in text:
        return json.loads(text, object_hook=_number)
    try:
        return _read(text)[0]
    except ValueError:
        return json.loads(text)  # that has white space in front, as a database's own tools may write it


_read = json.JSONDecoder().raw_decode  # half the time of json.loads for what is as short as a proposal's note


def _marked(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return {KEY: str(float(value))}
    if isinstance(value, dict):
        return {name: _marked(each) for name, each in value.items()}
    return [_marked(each) for each in value] if isinstance(value, list | tuple) else value


def _number(found: dict[str, Any]) -> Any:
    return float(found[KEY]) if found.keys() == {KEY} else found
