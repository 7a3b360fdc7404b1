"""Differentiable search: choices relaxed into mixtures, trained by gradient, and made choices again.

Each ask for which nothing is waiting sends a supernet to a worker: the space's mixtures, and everything else drawn. The
network that is found in it becomes `children` trials, trained alone as any other; the first has the training decisions
that the supernet was drawn with, the others have theirs drawn anew.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from nas.job import Method
from nas.settings import SettingsError
from nas.strategies import Proposal
from search_spaces.decisions import Architecture, Choice, Integer, Real, Struct, drawing, every
from search_spaces.mixtures.answers import MIXTURE, Mixture
from search_spaces.mixtures.relaxation import mixing, pattern
from search_spaces.registry import register
from search_spaces.space import Space

DOMAINS: dict[str, Any] = {
    "order": Choice(1, 2),
    "children": Integer(1, 1000),
    "epochs": Integer(1, 10000),
    "warmup": Integer(0, 10000),
    "batch": Integer(1, 65536),
    "rate": Real(1e-6, 10, log=True),
    "strength_rate": Real(1e-6, 10, log=True),
    "cap": Integer(0, 1000),
}
LACKS = ("several objectives",)


class Differentiable:
    """Asks for supernets, and then for the networks that were found in them."""

    def __init__(
        self, name: str, space: Space, seed: int, relax: str, children: int, options: Mapping[str, Any]
    ) -> None:
        self._space = space
        self._seed = seed
        self._children = children
        self._mixtures = mixtures(space, relax, name)
        self._method = Method(name, dict(options))
        self._found: deque[tuple[int, Architecture]] = deque()
        if options["warmup"] >= options["epochs"]:
            raise SettingsError(
                f"--strategy-option warmup={options['warmup']} leaves none of the {options['epochs']} epochs: "
                "lower it, or give more epochs"
            )

    @property
    def plan(self) -> str:
        """What is relaxed, and what a mixture cannot express or was not asked for, and is therefore drawn."""
        domains = every(self._space.tree)
        patterns = [pattern(path) for path in self._mixtures]
        drawn = {
            re.sub(r"\[\d+\]", "[*]", path).partition(":")[0]
            for path in domains
            if not any(each.fullmatch(path.partition(":")[0]) for each in patterns)
        }
        return f"relaxed: {', '.join(self._mixtures)}; drawn for each supernet: {', '.join(sorted(drawn)) or 'nothing'}"

    def ask(self, turn: int) -> Proposal:
        if self._found:
            parent, architecture = self._found.popleft()
            return Proposal(turn, architecture, {"step": "discretised"}, (parent,))
        draw = drawing(Random(f"{self._seed}/{turn}"))
        return Proposal(turn, self._space.resolve(mixing(self._mixtures, draw))[0], method=self._method)

    def remember(self, proposal: Proposal) -> None:
        if proposal.method is None:
            self._found.popleft()

    def tell(self, turn: int, losses: Sequence[float] | None, *, feasible: bool = True) -> None:
        """Nothing to learn: a supernet knows nothing of others."""

    def found(self, turn: int, architectures: Sequence[Architecture]) -> None:
        for architecture in architectures:
            self._found.append((turn, architecture))
            for child in range(1, self._children):
                self._found.append((turn, self._retrained(architecture, Random(f"{self._seed}/{turn}/{child}"))))

    def _retrained(self, architecture: Architecture, rng: Random) -> Architecture:
        """Return the same network with its training decisions drawn anew."""
        trace = self._space.trace(architecture)
        kept = {path: value for path, value in trace.items() if not path.startswith("training")}
        return self._space.resolve(lambda path, domain: kept[path] if path in kept else domain.draw(rng))[0]


def mixtures(space: Space, relax: str, strategy: str) -> dict[str, Mixture]:
    """Return what is relaxed: the named paths, or what the space proposes as far as its part has the options.

    Raises SettingsError for a path that is no decision or cannot be a mixture, and where nothing is left to relax.
    """
    domains = every(space.tree)
    wanted = {path: MIXTURE for path in relax.split(",")} if relax else dict(space.mixtures)
    kept = {}
    for path, mixture in wanted.items():
        met = [(name, domain) for name, domain in domains.items() if pattern(path).fullmatch(name)]
        if relax and not met:
            raise SettingsError(f"--strategy-option relax: {path!r} is no decision of {space.name} (or has one value)")
        if not met:
            continue
        name, domain = met[0]
        if domain.barrier:
            raise SettingsError(f"--strategy-option relax: {name} cannot be a mixture, because {domain.barrier}")
        left = tuple(option for option in mixture.options if domain.check(option) is not None)
        if not mixture.options or len(left) > 1:
            kept[path] = Mixture(*left)
    if not kept:
        raise SettingsError(
            f"strategy {strategy!r} finds nothing to relax in {space.name}: "
            "name paths with --strategy-option relax=PATH,PATH (see `nas spaces`)"
        )
    return kept


@register(
    "strategy",
    "darts",
    paper="Liu et al., DARTS: Differentiable Architecture Search, 2019",
    options=Struct(**DOMAINS),
    lacks=LACKS,
)
def darts(
    space: Space,
    objectives: int,
    seed: int,
    *,
    order: int = 1,
    relax: str = "",
    children: int = 1,
    epochs: int = 20,
    warmup: int = 4,
    batch: int = 64,
    rate: float = 0.1,
    strength_rate: float = 0.01,
    cap: int = 1,
) -> Differentiable:
    """Differentiable search: strengths of all options by the gradient of one half of the training split."""
    options = {"order": order, "epochs": epochs, "warmup": warmup, "batch": batch, "rate": rate}
    return Differentiable("darts", space, seed, relax, children, options | _more(strength_rate, cap))


@register(
    "strategy",
    "rc_darts",
    paper="Jin et al., RC-DARTS: Resource Constrained Differentiable Architecture Search, 2019",
    options=Struct(
        **DOMAINS,
        resource=Choice("params", "flops", "latency"),
        bound=Real(0, 1e18),
        levels=Integer(0, 1000),
    ),
    lacks=LACKS,
)
def rc_darts(
    space: Space,
    objectives: int,
    seed: int,
    *,
    resource: str = "params",
    bound: float = 0.0,
    levels: int = 0,
    order: int = 1,
    relax: str = "",
    children: int = 1,
    epochs: int = 20,
    warmup: int = 4,
    batch: int = 64,
    rate: float = 0.1,
    strength_rate: float = 0.01,
    cap: int = 1,
) -> Differentiable:
    """Differentiable search under a bound: the expected resource of the relaxed network is projected below it.

    `levels` divides the stages into so many runs of neighbours that share strengths; 0: each has its own.
    """
    if not bound:
        raise SettingsError("strategy 'rc_darts' needs a bound on its resource: --strategy-option bound=20000")
    options: dict[str, Any] = {"order": order, "epochs": epochs, "warmup": warmup, "batch": batch, "rate": rate}
    options |= {"resource": resource, "bound": bound, "levels": levels}
    return Differentiable("rc_darts", space, seed, relax, children, options | _more(strength_rate, cap))


@register(
    "strategy",
    "sharp_darts",
    paper="Hundt et al., sharpDARTS: Faster and More Accurate Differentiable Architecture Search, 2019",
    options=Struct(**DOMAINS, power=Real(1.01, 1000, log=True)),
    lacks=LACKS,
)
def sharp_darts(
    space: Space,
    objectives: int,
    seed: int,
    *,
    power: float = 10.0,
    order: int = 1,
    relax: str = "",
    children: int = 1,
    epochs: int = 20,
    warmup: int = 4,
    batch: int = 64,
    rate: float = 0.1,
    strength_rate: float = 0.01,
    cap: int = 1,
) -> Differentiable:
    """Differentiable search with cosine power annealing, in which the strongest option always has the weight 1."""
    options = {"power": power, "order": order, "epochs": epochs, "warmup": warmup, "batch": batch, "rate": rate}
    return Differentiable("sharp_darts", space, seed, relax, children, options | _more(strength_rate, cap))


@register(
    "strategy",
    "amended_darts",
    paper="Bi et al., Stabilizing DARTS with Amended Gradient Estimation on Architectural Parameters, 2019",
    options=Struct(**{name: each for name, each in DOMAINS.items() if name != "order"}, coefficient=Real(1e-6, 1e3)),
    lacks=LACKS,
)
def amended_darts(
    space: Space,
    objectives: int,
    seed: int,
    *,
    coefficient: float = 0.1,
    relax: str = "",
    children: int = 1,
    epochs: int = 20,
    warmup: int = 4,
    batch: int = 64,
    rate: float = 0.1,
    strength_rate: float = 0.01,
    cap: int = 1,
) -> Differentiable:
    """Differentiable search with the amended gradient, which counts what the trained weights owe to the strengths."""
    options = {"coefficient": coefficient, "epochs": epochs, "warmup": warmup, "batch": batch, "rate": rate}
    return Differentiable("amended_darts", space, seed, relax, children, options | _more(strength_rate, cap))


def _more(strength_rate: float, cap: int) -> dict[str, Any]:
    return {"strength_rate": strength_rate, "cap": cap}
