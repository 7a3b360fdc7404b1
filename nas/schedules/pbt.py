"""Population based training (Jaderberg et al., Population Based Training of Neural Networks, 2017).

Truncation selection, in generations: in the paper members are judged as they come, here they wait for each other, so
that the same study gives the same population whatever the workers' speed. A fork is a trial of its own, with the
weights of the one it came from; what came of a population is therefore a chain of trials, each with its decisions from
one epoch to another: a schedule of hyperparameters.
"""

from __future__ import annotations

from dataclasses import dataclass

from nas.schedules import Schedule
from nas.schedules.explore import Explorable, explore, explored_decisions, midway
from nas.schedules.generations import Generation, Generations
from nas.settings import SettingsError
from search_spaces.decisions import Architecture, Choice, Integer, Real, Struct
from search_spaces.registry import register
from search_spaces.space import Space


@dataclass(frozen=True)
class Perturbation:
    """Explores each fork by itself: decisions drawn anew with probability `resample`, the others moved a little."""

    space: Space
    explorable: Explorable
    resample: float

    def explore(self, generation: Generation) -> list[Architecture]:
        return [
            explore(self.space, exploit.source.architecture, exploit.rng, self.resample, self.explorable)
            for exploit in generation.exploits
        ]


@register(
    "schedule",
    "pbt",
    paper="Jaderberg et al., Population Based Training of Neural Networks, 2017",
    options=Struct(
        interval=Integer(1, 10_000),
        quantile=Real(0.01, 0.5),
        resample=Real(0.0, 1.0),
        architecture=Choice(True, False),
    ),
)
def pbt(
    epochs: int,
    space: Space,
    seed: int,
    interval: int = 1,
    quantile: float = 0.25,
    resample: float = 0.25,
    architecture: bool = False,
) -> Schedule:
    """Replace the worst trials by copies of the best that go on with other training decisions.

    Every `interval` epochs (by default each) the worst `quantile` (a quarter) of a population take the weights of the
    best quarter; each decision that may change in mid-training is then drawn anew with probability `resample` (a
    quarter), or moved: numbers by a fifth, choices to a neighbour. With `architecture` one decision of the network
    changes too, of those through whose change it can inherit its weights (by default none).
    """
    explorable = midway(space, architecture)
    require_changes("pbt", space, explorable)
    return Generations(epochs, seed, interval, quantile, Perturbation(space, explorable, resample))


def require_changes(name: str, space: Space, explorable: Explorable) -> None:
    """Raise SettingsError where nothing in a space may change in mid-training."""
    if not explored_decisions(space, explorable):
        raise SettingsError(
            f"--schedule {name} changes decisions in mid-training, but space {space.name!r} marks none as changeable: "
            "use another schedule, such as asha"
        )
