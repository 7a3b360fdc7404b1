"""Options of registered strategies and schedules: what is given must be in the domain that its entry declares."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from typing import Any

from nas.settings import SettingsError
from search_spaces.decisions import DecisionError, Struct, trace_of
from search_spaces.registry import Entry


def accepted(entry: Entry, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options that are in their domains; raises SettingsError naming the value and what is allowed.

    Words that an entry takes without a domain (arguments whose default is a str) are accepted as they are.
    """
    domains = entry.options.fields
    words = [each.name for each in signature(entry.make).parameters.values() if isinstance(each.default, str)]
    for name, value in options.items():
        if name in words and name not in domains and isinstance(value, str):
            continue
        if name not in domains:
            known = ", ".join([*domains, *(word for word in words if word not in domains)]) or "none"
            raise SettingsError(f"{entry.kind} {entry.name!r} has no option {name!r}: it has {known}")
        try:
            trace_of(Struct(**{name: domains[name]}), {name: value})
        except DecisionError as error:
            raise SettingsError(f"--{entry.kind}-option {error}") from None
    return dict(options)
