from __future__ import annotations

import math

import pytest

from nas.objectives import Constraint, ConstraintError, objective
from search_spaces.registry import UnknownName, entries


def test_a_loss_is_smaller_where_an_objective_is_better() -> None:
    assert objective("accuracy").loss(0.9) < objective("accuracy").loss(0.8)
    for name in ("loss", "params", "flops", "latency", "memory"):
        assert objective(name).loss(1.0) < objective(name).loss(2.0)


@pytest.mark.parametrize("name", ["accuracy", "loss", "params", "flops", "latency", "memory"])
def test_not_a_number_is_the_worst_of_all(name: str) -> None:
    figure = objective(name)
    assert figure.loss(math.nan) == math.inf
    assert all(figure.loss(math.nan) >= figure.loss(value) for value in (math.inf, -math.inf, 0.0))


def test_trained_objectives_are_read_from_the_validation_split() -> None:
    read = {name: objective(name).metric for name in entries("objective")}
    trained = {"accuracy": "val_accuracy", "loss": "val_loss"}
    assert read == {"params": None, "flops": None, "latency": None, "memory": None} | trained
    assert [objective(name).cheap for name in ("accuracy", "params")] == [False, True]


@pytest.mark.parametrize(
    ("text", "name", "relation", "bound"),
    [
        ("params<=200000", "params", "<=", 200_000),
        (" flops  <= 1e6 ", "flops", "<=", 1e6),
        ("memory>=1.5", "memory", ">=", 1.5),
        ("params<=inf", "params", "<=", math.inf),
        ("latency>=-3", "latency", ">=", -3),
    ],
)
def test_a_constraint_is_read(text: str, name: str, relation: str, bound: float) -> None:
    assert Constraint.parse(text) == Constraint(name, relation, bound)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "does not parse: write it as 'params<=200000'"),
        ("params", "does not parse"),
        ("params<200000", "does not parse"),
        ("params<=", "does not parse"),
        ("params<=many", "does not parse"),
        ("params<=1<=2", "does not parse"),
        ("params==3", "does not parse"),
        ("<=3", "does not parse"),
        ("params<=nan", "compares with nan"),
        ("accuracy>=0.9", "needs training: constrain params, flops, latency or memory"),
    ],
)
def test_what_is_no_constraint_is_refused_with_its_text(text: str, message: str) -> None:
    with pytest.raises(ConstraintError, match=message) as raised:
        Constraint.parse(text)
    assert repr(text) in str(raised.value) and "\n" not in str(raised.value)


def test_a_constraint_on_an_unknown_objective_names_the_nearest() -> None:
    with pytest.raises(UnknownName, match=r"unknown objective 'param': did you mean params"):
        Constraint.parse("param<=3")


@pytest.mark.parametrize(
    ("text", "value", "holds"),
    [
        ("params<=10", 10, True),
        ("params<=10", 10.5, False),
        ("params>=10", 10, True),
        ("params>=10", 9, False),
        ("latency<=1", math.nan, False),
        ("latency>=1", math.nan, False),
    ],
)
def test_a_bound_holds_up_to_itself_and_never_for_nan(text: str, value: float, holds: bool) -> None:
    constraint = Constraint.parse(text)
    assert constraint.holds({constraint.name: value}) is holds


def test_a_constraint_is_written_as_it_is_read() -> None:
    for text in ("params<=200000", "flops<=1234567", "latency>=0.125", "memory<=1e+20"):
        assert Constraint.parse(str(Constraint.parse(text))) == Constraint.parse(text)
