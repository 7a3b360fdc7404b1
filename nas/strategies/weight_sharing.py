"""Weight sharing: a supernet is trained once and searched with its inherited weights; the most promising are trained.

The first ask sends the supernet to a worker, which trains and searches it; the following asks propose what was found,
in the order of the search, to be trained alone as any other trial. Further asks for what is still under way wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nas.job import Method
from nas.settings import SURROGATE, Ensemble, SettingsError
from nas.strategies import Proposal
from search_spaces.decisions import Architecture, Choice, Integer, Real, Struct
from search_spaces.registry import find, register
from search_spaces.space import Space

MEASURED = ("params", "flops", "latency", "memory")
SEARCH: dict[str, Any] = {"evaluations": Integer(1, 1000000), "population": Integer(1, 10000)}
TRAINING: dict[str, Any] = {
    "epochs": Integer(1, 100000),
    "batch": Integer(1, 65536),
    "optimizer": Choice("sgd", "adamw"),
    "rate": Real(1e-6, 10, log=True),
}


class Sharing:
    """Asks for a supernet, and then for what was found in it."""

    def __init__(self, name: str, targets: str, predictors: str, options: dict[str, Any]) -> None:
        self._method = Method(name, options | {"targets": targets, "predictors": predictors})
        self._found: deque[Architecture] = deque()
        self._supernet: int | None = None
        costs = targets.replace("+", ", ")
        self.plan = f"one supernet, searched for small error and small {costs}; the most promising are trained alone"
        for target in targets.split("+"):
            if target not in MEASURED:
                raise SettingsError(
                    f"--strategy-option targets={targets} names {target!r}, but {', '.join(MEASURED)} are measured: "
                    "join several with +"
                )
        if predictors:
            _refuse(predictors)

    def ask(self, turn: int) -> Proposal | None:
        if self._found:
            parents = () if self._supernet is None else (self._supernet,)
            return Proposal(turn, self._found.popleft(), {"step": "subnetwork"}, parents)
        if self._supernet is not None:
            return None
        self._supernet = turn
        return Proposal(turn, {}, method=self._method)

    def remember(self, proposal: Proposal) -> None:
        if proposal.method is None:
            self._found.popleft()
        else:
            self._supernet = proposal.turn

    def tell(self, turn: int, losses: Sequence[float] | None, *, feasible: bool = True) -> None:
        """Begin again after a supernet that came to nothing; of a trial there is nothing to learn."""
        if turn == self._supernet and not self._found:
            self._supernet = None

    def found(self, turn: int, architectures: Sequence[Architecture]) -> None:
        self._found.extend(architectures)


@register(
    "strategy",
    "one_shot",
    paper="Guo et al., Single Path One-Shot Neural Architecture Search with Uniform Sampling, 2020",
    options=Struct(**SEARCH, **TRAINING),
)
def one_shot(
    space: Space,
    objectives: int,
    seed: int,
    *,
    epochs: int = 200,
    batch: int = 64,
    optimizer: str = "sgd",
    rate: float = 0.1,
    evaluations: int = 200,
    population: int = 32,
    targets: str = "params",
    predictors: str = "",
) -> Sharing:
    """Weight sharing: a supernet trained one random path a step, searched with the weights that its parts inherit."""
    training = {"rule": "one_shot", "epochs": epochs, "batch": batch, "optimizer": optimizer, "rate": rate}
    return Sharing("one_shot", targets, predictors, training | _search(evaluations, population))


@register(
    "strategy",
    "sorted_subnets",
    paper="Valipour et al., SortedNet, 2023; Yu and Huang, Universally Slimmable Networks, 2019",
    options=Struct(**SEARCH, **TRAINING, between=Integer(0, 64), distilled=Choice(True, False)),
)
def sorted_subnets(
    space: Space,
    objectives: int,
    seed: int,
    *,
    epochs: int = 60,
    batch: int = 64,
    optimizer: str = "sgd",
    rate: float = 0.1,
    between: int = 2,
    distilled: bool = True,
    evaluations: int = 200,
    population: int = 32,
    targets: str = "params",
    predictors: str = "",
) -> Sharing:
    """Weight sharing by the sandwich rule: each step trains the largest, the smallest and some subnetworks between.

    With `distilled` the largest teaches the others.
    """
    training = {"rule": "sorted_subnets", "epochs": epochs, "batch": batch, "optimizer": optimizer, "rate": rate}
    training |= {"between": between, "distilled": distilled}
    return Sharing("sorted_subnets", targets, predictors, training | _search(evaluations, population))


@register(
    "strategy",
    "subnet_search",
    paper="Cummings et al., A Hardware-Aware System for Accelerating Deep Neural Network Optimization, 2022",
    options=Struct(**SEARCH),
)
def subnet_search(
    space: Space,
    objectives: int,
    seed: int,
    *,
    supernet: str = "",
    evaluations: int = 200,
    population: int = 32,
    targets: str = "params",
    predictors: str = "",
) -> Sharing:
    """Search in a supernet that another study trained: its file, and the costs that are to be small, joined with +."""
    if not supernet or not Path(supernet).is_file():
        raise SettingsError(
            f"strategy 'subnet_search' needs a trained supernet, but there is no file {supernet!r}: "
            "train one with one_shot or sorted_subnets, and name it with --strategy-option supernet=FILE"
        )
    options = {"supernet": str(Path(supernet).absolute())}
    return Sharing("subnet_search", targets, predictors, options | _search(evaluations, population))


def _refuse(predictors: str) -> None:
    """Refuse what cannot rank subnetworks: predictors that are not known, and those that learn from trained ones."""
    ensemble = Ensemble.parse(predictors)
    if ensemble.learned or SURROGATE in ensemble.names:
        raise SettingsError(
            f"--strategy-option predictors={predictors} learns from finished trials, but a supernet is searched before "
            "there are any: name zero-cost predictors joined by +, as gradsign+synflow"
        )
    for name in ensemble.names:
        find("predictor", name)


def _search(evaluations: int, population: int) -> dict[str, Any]:
    return {"evaluations": evaluations, "population": population}
