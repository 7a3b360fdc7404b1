"""Our spaces in Tune's words, and what its PBT makes of them."""

from __future__ import annotations

import random
from collections import Counter
from random import Random
from typing import Any

import numpy as np
import pytest
from ray.tune.schedulers.pbt import _explore
from ray.tune.search.sample import Categorical, Domain

from nas.integrations.tune import bounds, clamping, mutations, param_space
from nas.integrations.tune.configs import read
from nas.integrations.tune.spaces import SpaceError
from search_spaces.decisions import Choice, Integer, Real, Struct, changeable, every
from search_spaces.space import Space, find_space

KAN = find_space("kan_vision")
OPTIMIZER = "training.optimizer"


def space(**fields: Any) -> Space:
    return Space("made", "for tests", Struct(**fields), lambda architecture, signature: pytest.fail("not built"))


def drawn(domains: dict[str, Domain], seed: int) -> dict[str, Any]:
    np.random.seed(seed)
    return {path: domain.sample() for path, domain in domains.items()}


def test_every_decision_is_a_domain_whose_draws_belong_to_it() -> None:
    domains = param_space(KAN)
    assert domains.keys() == every(KAN.tree).keys()
    for seed in range(30):
        config = drawn(domains, seed)
        for path, decision in every(KAN.tree).items():
            value = config[path].item() if isinstance(config[path], np.generic) else config[path]
            assert value is None or decision.check(value) is not None, (path, value)
        reading = read(KAN, config)
        KAN.trace(reading.architecture)
        assert reading.moved == {}


def test_the_ends_of_a_range_can_be_drawn() -> None:
    domains = param_space(space(few=Integer(1, 3), steps=Integer(8, 24, step=8), log=Integer(1, 4, log=True)))
    seen = {path: {drawn(domains, seed)[path] for seed in range(200)} for path in domains}
    assert seen == {"few": {1, 2, 3}, "steps": {8, 16, 24}, "log": {1, 2, 3, 4}}


def test_random_search_in_tune_draws_as_our_own_does() -> None:
    """Shares of options in 600 draws of each: the difference of two has a standard deviation below 0.03."""
    count = 600

    def shares(values: list[Any]) -> dict[Any, float]:
        return {value: number / count for value, number in Counter(values).items()}

    np.random.seed(0)
    domains = param_space(KAN)
    ours = [KAN.trace(KAN.draw(Random(seed))) for seed in range(count)]
    for path in ("network.stages#", "training.augmentation", "network.head.pool"):
        one = shares([domains[path].sample() for _ in range(count)])
        other = shares([each[path] for each in ours])
        assert one.keys() == other.keys()
        assert all(abs(one[value] - other[value]) < 0.12 for value in one)


def test_a_part_of_a_space() -> None:
    domains = param_space(KAN, (f"{OPTIMIZER}=adamw", "training.label_smoothing=0.05..0.1"))
    assert OPTIMIZER not in domains and not [path for path in domains if ":sgd" in path]
    assert (domains["training.label_smoothing"].lower, domains["training.label_smoothing"].upper) == (0.05, 0.1)


def test_what_may_change_in_mid_training_and_no_more() -> None:
    marked = {path for path, decision in every(KAN.tree).items() if decision.changeable}
    found = mutations(KAN)
    assert found.keys() == marked and f"{OPTIMIZER}:sgd.momentum" in marked
    choices = {path for path in marked if isinstance(every(KAN.tree)[path], Choice)}
    for path, each in found.items():
        assert isinstance(each, list) == (path in choices)
        assert not isinstance(each, Categorical)  # which Tune's PBT takes for a number
    if choices:
        assert all(tuple(found[path]) == every(KAN.tree)[path].options for path in choices)


def test_of_one_optimizer() -> None:
    kept = mutations(KAN, optimizer="adamw")
    lead = f"{OPTIMIZER}:"
    assert {path for path in kept if path.startswith(lead)} == {f"{lead}adamw.rate", f"{lead}adamw.weight_decay"}
    assert kept.keys() < mutations(KAN).keys()


def test_bounds_are_the_ends_of_the_numbers() -> None:
    found = bounds(KAN, optimizer="sgd")
    assert found[f"{OPTIMIZER}:sgd.momentum"] == [0.7, 0.98]
    assert all(low < high for low, high in found.values())
    assert found.keys() == {
        path for path, each in mutations(KAN, optimizer="sgd").items() if not isinstance(each, list)
    }


@pytest.mark.parametrize("clamped", [True, False])
def test_what_tune_perturbs_stays_in_its_domain_only_if_it_is_clamped(clamped: bool) -> None:
    made = space(
        rate=changeable(Real(1e-4, 1e-1, log=True)),
        steps=changeable(Integer(8, 48, step=8)),
        batch=changeable(Choice(32, 64, 128)),
        fixed=Integer(1, 3),
    )
    random.seed(1)
    config, known, outside = {"rate": 0.05, "steps": 24, "batch": 64, "fixed": 2}, every(made.tree), 0
    for _ in range(60):
        config, _ = _explore(config, mutations(made), 0.1, (1.2, 0.8), clamping(made) if clamped else None)
        outside += any(known[path].check(value) is None for path, value in config.items())
        assert config["fixed"] == 2
    assert (outside == 0) == clamped


def test_what_cannot_be_given_to_tune_is_refused_in_a_line() -> None:
    still = space(rate=Real(0, 1))
    with pytest.raises(SpaceError, match="nothing in space 'made' may change in mid-training: use another schedule"):
        mutations(still)
    with pytest.raises(SpaceError, match="PB2 changes numbers alone"):
        bounds(space(batch=changeable(Choice(1, 2))))
    with pytest.raises(SpaceError, match="optimizer 'lion' is not known in space 'kan_vision': it has adamw, sgd"):
        mutations("kan_vision", optimizer="lion")
    with pytest.raises(SpaceError, match=r"slash in 'ratio:1/2\.x'"):
        param_space(space(ratio=Choice("1", **{"1/2": Struct(x=Real(0, 1))})))
