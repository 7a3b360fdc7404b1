"""What is known about a registered name: its options with their defaults, what it supports, how it is built."""

from __future__ import annotations

import difflib
import inspect
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nas.errors import UserError
from nas.strategies import FEATURES
from search_spaces import decisions, registry
from search_spaces.decisions import Choice, Domain, Repeat, Struct
from search_spaces.registry import Entry, UnknownName

if TYPE_CHECKING:
    from torch import nn

CHANNELS, SIDES, CLASSES = 16, (8, 8), 10
SUPPORTS = ("float32", "bfloat16", "compile", "export", "vmap")
NOT_MODULES = frozenset({"space", "task", "objective", "strategy", "schedule", "predictor"})
WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}


class CatalogError(UserError):
    """A name or a setting that the catalog cannot show; one line that names the value and what is allowed."""


@dataclass(frozen=True)
class Option:
    """A keyword argument of an entry; its domain is None where no search decides it."""

    name: str
    default: Any
    domain: Domain | None = None


def listed(kind: str | None = None) -> list[Entry]:
    """Return all entries, or those of a kind."""
    if kind is not None and kind not in registry.kinds() and (found := _named(kind)):
        raise CatalogError(f"unknown kind {kind!r}: it is {_kinds(found)}, try `nas catalog show {kind}`")
    return [entry for each in ([kind] if kind else registry.kinds()) for entry in registry.entries(each).values()]


def find(name: str, kind: str | None = None) -> Entry:
    """Return the entry of a name, whatever its kind.

    Raises CatalogError when several kinds have the name, and UnknownName with the nearest names of all kinds.
    """
    if kind is not None:
        return registry.find(kind, name)
    found = _named(name)
    if len(found) > 1:
        remedy = " or ".join(f"--kind {entry.kind}" for entry in found)
        raise CatalogError(f"{name!r} is {_kinds(found)}: add {remedy}")
    if found:
        return found[0]
    if name in registry.kinds():
        raise UnknownName(f"unknown name {name!r}: it is a kind, try `nas catalog {name}`")
    near = difflib.get_close_matches(name, {entry.name for entry in listed()}, n=3, cutoff=0.6)
    hints = [f"{each} ({', '.join(entry.kind for entry in _named(each))})" for each in near]
    raise UnknownName(
        f"unknown name {name!r}: " + (f"did you mean {' or '.join(hints)}?" if hints else "`nas catalog` lists all")
    )


def options(entry: Entry) -> list[Option]:
    """Return what a search decides about an entry, each with the default of what makes it."""
    defaults = _defaults(entry)
    return [Option(name, defaults.get(name), domain) for name, domain in entry.options.fields.items()]


def arguments(entry: Entry) -> list[Option]:
    """Return the further keyword arguments, which no search decides."""
    return [
        Option(name, default)
        for name, default in _defaults(entry).items()
        if name not in entry.options.fields and isinstance(default, str | int | float | bool | None)
    ]


def supports(entry: Entry) -> dict[str, bool] | None:
    """Say which number types and transformations a component works with, or what a strategy does; else None."""
    if entry.kind in NOT_MODULES and entry.kind != "strategy":
        return None
    return {each: each not in entry.lacks for each in (FEATURES if entry.kind == "strategy" else SUPPORTS)}


def about(entry: Entry) -> str:
    """Return the documentation in full: of the entry and, where it has more than a line, of a component's module."""
    own = inspect.cleandoc(getattr(entry.make, "__doc__", None) or entry.summary)
    family = inspect.cleandoc(getattr(sys.modules.get(entry.make.__module__), "__doc__", None) or "")
    return own if entry.kind in NOT_MODULES or "\n\n" not in family else f"{own}\n\n{family}"


def domain_text(domain: Domain) -> str:
    """Write what a decision may be as people read it."""
    if isinstance(domain, Choice):
        return "one of " + ", ".join(str(option) for option in domain.options)
    if isinstance(domain, decisions.Integer | decisions.Real):
        return f"{domain}, logarithmic" if domain.log else str(domain)
    return f"{len(decisions.every(domain))} decisions"


def read_settings(entry: Entry, texts: Sequence[str], flag: str = "--set") -> dict[str, Any]:
    """Read `option=value` texts as keyword arguments; raises CatalogError that says what is allowed."""
    known = {each.name: each for each in [*options(entry), *arguments(entry)]}
    settings: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise CatalogError(f"{flag} {text!r} does not parse: write it as option=value")
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(known) or 'none'}"
            raise CatalogError(f"{entry.kind} {entry.name} has no option {name!r}: {hint}")
        settings[name] = _read(known[name], value, flag)
    return settings


def build(entry: Entry, settings: dict[str, Any] | None = None) -> nn.Module | None:
    """Make a component for 16 channels, with fixed random numbers; None for what is no module.

    A wiring gets a body without weights. Raises CatalogError when the settings do not go together.
    """
    import torch
    from torch import nn

    sizes: dict[str, Any] = {"channels": CHANNELS, "channels_in": CHANNELS, "channels_out": CHANNELS}
    sizes |= {"features": CHANNELS, "classes": CLASSES, "size": SIDES, "body": nn.Identity()}
    needed = [each.name for each in _parameters(entry) if each.default is each.empty]
    if entry.kind in NOT_MODULES or not sizes.keys() >= set(needed):
        return None
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        try:
            made = entry.make(**{name: sizes[name] for name in needed}, **(settings or {}))
        except Exception as error:
            if not settings:
                raise
            given = ", ".join(f"{name}={value}" for name, value in settings.items())
            raise CatalogError(f"{entry.kind} {entry.name} cannot be made with {given}: {error}") from error
    return made if isinstance(made, nn.Module) else None


def _named(name: str) -> list[Entry]:
    return [entry for entry in listed() if entry.name == name]


def _kinds(found: list[Entry]) -> str:
    return " and ".join(f"a {entry.kind}" if entry.kind[0] not in "aeiou" else f"an {entry.kind}" for entry in found)


def _parameters(entry: Entry) -> list[inspect.Parameter]:
    either = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [each for each in inspect.signature(entry.make).parameters.values() if each.kind in either]


def _defaults(entry: Entry) -> dict[str, Any]:
    return {each.name: each.default for each in _parameters(entry) if each.default is not each.empty}


def _read(option: Option, text: str, flag: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    domain = option.domain
    if domain is None:
        return _like(option, value, text, flag)
    if isinstance(domain, Choice) and text in domain.options:
        return text
    try:
        if isinstance(value, str | int | float | None) and not isinstance(domain, Struct | Repeat):
            return decisions.accept(option.name, domain, value)
        decisions.trace_of(Struct(**{option.name: domain}), {option.name: value})
        return value
    except decisions.DecisionError as error:
        raise CatalogError(f"{flag} {error}") from None


def _like(option: Option, value: Any, text: str, flag: str) -> Any:
    """Return a value of the same type as the default."""
    wanted = type(option.default)
    if wanted is str:
        return text
    whole = isinstance(value, int) and not isinstance(value, bool)
    if wanted is float and (whole or (isinstance(value, float) and math.isfinite(value))):
        return float(value)
    if (option.default is not None and type(value) is not wanted) or wanted is float:
        raise CatalogError(f"{flag} {option.name} is {text!r}, but {WORDS[wanted]} is asked")
    return value
