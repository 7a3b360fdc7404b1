"""One registry for everything that has a name: components, spaces, tasks, strategies, predictors, ...

A built-in registers itself where it is defined, with the decorator `register`, and is found because its
module lies in the home package of its kind. Other distributions add theirs through entry points: each
entry point names a module, and importing it registers what it defines.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any, TypeVar

from search_spaces.decisions import Architecture, Choice, Struct, mixable
from search_spaces.mixtures.answers import mixed

Made = TypeVar("Made", bound=Callable[..., Any])


class UnknownName(ValueError):
    """A name that nothing is registered under; the message lists the nearest ones."""


@dataclass(frozen=True)
class Entry:
    """A registered thing: what makes it, where it comes from, and which decisions it takes."""

    kind: str
    name: str
    make: Callable[..., Any]
    summary: str
    paper: str = ""
    options: Struct = field(default_factory=Struct)
    lacks: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Home:
    """Where the built-ins of a kind live, and the entry-point group through which others add to it.

    `barrier` says why components of the kind cannot be blended in a mixture; "" where they can.
    """

    package: str
    group: str
    barrier: str = ""


_homes: dict[str, Home] = {}
_entries: dict[str, dict[str, Entry]] = {}
_loaded: set[str] = set()


def home(kind: str, package: str, group: str, barrier: str = "") -> None:
    """Declare where the built-ins of a kind live, which entry-point group extends it, and whether it blends."""
    _homes[kind] = Home(package, group, barrier)


def register(
    kind: str, name: str, *, paper: str = "", options: Struct | None = None, lacks: Iterable[str] = ()
) -> Callable[[Made], Made]:
    """Register what is decorated under a kind and a name.

    `options` declares the decisions it takes as keyword arguments; `lacks` names what it does not do
    (of "bfloat16", "compile", "export", "vmap"). Registering a name twice raises ValueError.
    """

    def keep(made: Made) -> Made:
        summary = (getattr(made, "__doc__", None) or "").strip().split("\n")[0]
        add(Entry(kind, name, made, summary, paper, options or Struct(), frozenset(lacks)))
        return made

    return keep


def add(entry: Entry) -> None:
    """Add an entry; raises ValueError when its kind already has one of that name."""
    known = _entries.setdefault(entry.kind, {})
    if entry.name in known:
        raise ValueError(f"{entry.kind} {entry.name!r} is registered twice: {known[entry.name].make} and {entry.make}")
    known[entry.name] = entry


def kinds() -> list[str]:
    """List the kinds that have a home."""
    return sorted(_homes)


def entries(kind: str) -> dict[str, Entry]:
    """Return all entries of a kind by name, loading its home and its plug-ins first."""
    if kind not in _homes:
        raise UnknownName(_unknown("kind", kind, _homes))
    _load(_homes[kind])
    return dict(sorted(_entries.get(kind, {}).items()))


def find(kind: str, name: str) -> Entry:
    """Return one entry; raises UnknownName with the nearest names."""
    known = entries(kind)
    if name not in known:
        raise UnknownName(_unknown(kind, name, known))
    return known[name]


def choice(kind: str, *names: str, inner: bool = True) -> Choice:
    """Return the Choice among the named entries of a kind (all of them by default), inner decisions included.

    Without `inner` it is one among the names alone, and what is made has its defaults.
    """
    picked = [find(kind, name) for name in names] if names else list(entries(kind).values())
    plain = [entry.name for entry in picked if not (inner and entry.options.fields)]
    nested = {entry.name: entry.options for entry in picked if inner and entry.options.fields}
    return mixable(Choice(*plain, **nested), _homes[kind].barrier)


def make(kind: str, chosen: Architecture, *args: Any) -> Any:
    """Make the component that an architecture names: `"relu"`, or `{"helu": {"alpha": 0.05}}`, or a mixture."""
    if found := mixed(chosen):
        return importlib.import_module("search_spaces.mixtures.components").blend(kind, found, *args)
    name, options = next(iter(chosen.items())) if isinstance(chosen, dict) else (chosen, {})
    return _marked(find(kind, name).make(*args, **options), kind, chosen, args)


def _marked(made: Any, kind: str, chosen: Architecture, args: tuple[Any, ...]) -> Any:
    """Note on a module as what it was made, and on the modules it was given that they are no parts of it."""
    if hasattr(made, "named_modules") and not any(made is given for given in args):
        made.made_as = (kind, chosen)
        for given in args:
            if hasattr(given, "named_modules"):
                given.handed_in = True
    return made


def _load(place: Home) -> None:
    if place.package not in _loaded:
        _loaded.add(place.package)
        package = importlib.import_module(place.package)
        for module in pkgutil.iter_modules(getattr(package, "__path__", ())):
            importlib.import_module(f"{place.package}.{module.name}")
    if place.group not in _loaded:
        _loaded.add(place.group)
        for plugin in entry_points(group=place.group):
            try:
                plugin.load()
            except Exception as error:
                source = plugin.dist.name if plugin.dist else plugin.value
                warnings.warn(f"plug-in {plugin.name!r} of {source} was left out: {error}", stacklevel=2)


def _unknown(kind: str, name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(names)}"
    return f"unknown {kind} {name!r}: {hint}"


_BARRIERS = {
    "sparsity": "masks have no weighted sum",
    "pool": "pools give vectors of different lengths",
}
for _kind, _folder in {
    "activation": "activations",
    "basis": "bases",
    "layer": "layers",
    "wiring": "wirings",
    "sparsity": "sparsity",
    "norm": "norms",
    "stem": "stems",
    "pool": "pools",
    "head": "heads",
}.items():
    home(_kind, f"search_spaces.{_folder}", "nas.components", _BARRIERS.get(_kind, ""))
home("space", "search_spaces.spaces", "nas.spaces")
