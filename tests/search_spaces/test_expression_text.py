"""Expressions as text."""

import pytest
from expression_trees import TREES
from hypothesis import given
from hypothesis import strategies as st

from search_spaces.expressions.text import DEEPEST, ExpressionError, parse, show
from search_spaces.expressions.tree import Binary, Constant, Learned, Tree, Unary, X, depth


@given(TREES)
def test_a_text_is_read_as_it_was_written(tree: Tree) -> None:
    assert parse(show(tree)) == tree


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("x*sigmoid(x)", Binary("mul", X(), Unary("sigmoid", X()))),
        (" -x**2 ", Unary("neg", Unary("square", X()))),
        ("x**3 - -2", Binary("sub", Unary("cube", X()), Constant(-2))),
        ("+x/2e-3", Binary("div", X(), Constant(0.002))),
        ("max(learned(-1)*x, 0)", Binary("max", Binary("mul", Learned(-1), X()), Constant(0))),
        ("1-x-x", Binary("sub", Binary("sub", Constant(1), X()), X())),
    ],
)
def test_texts_as_trees(text: str, tree: Tree) -> None:
    assert parse(text) == tree


@pytest.mark.parametrize(
    ("tree", "text"),
    [
        (Binary("sub", X(), Binary("sub", X(), X())), "x-(x-x)"),
        (Binary("mul", Binary("add", X(), Constant(1)), X()), "(x+1)*x"),
        (Binary("mul", X(), Unary("neg", X())), "x*(-x)"),
        (Unary("neg", Binary("mul", X(), X())), "-(x*x)"),
        (Unary("neg", Constant(2)), "neg(2)"),
        (Binary("min", Constant(-0.5), Learned(2)), "min(-0.5, learned(2))"),
    ],
)
def test_trees_as_texts(tree: Tree, text: str) -> None:
    assert show(tree) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "'' is no expression: invalid syntax"),
        ("x*", "'x*' is no expression: invalid syntax"),
        ("x\0", "'x\\x00' is no expression: source code string cannot contain null bytes"),
        ("y", "'y': unknown name 'y': the input is x"),
        ("sigmiod(x)", "'sigmiod(x)': unknown primitive 'sigmiod': did you mean sigmoid?"),
        ("__import__('os')", "'__import__': there are: neg, abs"),
        ("x.real", "x.real is not allowed; there are x, numbers, + - * / ** and calls of primitives"),
        ("(lambda: x)()", "unknown primitive 'lambda: x'"),
        ("[x for x in x][0]", "is not allowed; there are x"),
        ("x if x else 1", "x if x else 1 is not allowed"),
        ("x < 1", "x < 1 is not allowed"),
        ("~x", "~x is not allowed"),
        ("x % 2", "the operator of x % 2 is not allowed; there are + - * / **2 **3"),
        ("x**4", "the power 4 is not allowed; there are **2 and **3"),
        ("x**x", "the power x is not allowed"),
        ("x**True", "the power True is not allowed"),
        ("tanh(x, x)", "tanh takes 1 argument, but got 2"),
        ("max(x)", "max takes 2 arguments, but got 1"),
        ("max(*x)", "max takes plain arguments only, but got max(*x)"),
        ("tanh(x=1)", "tanh takes plain arguments only, but got tanh(x=1)"),
        ("learned(x)", "learned takes the number it starts at, but got x"),
        ("'x'", "'x' is not allowed; a constant is a number"),
        ("True", "True is not allowed; a constant is a number"),
        ("1j", "1j is not allowed; a constant is a number"),
        ("-'x'", "'x' is not allowed; a constant is a number"),
        ("1e999", "is not allowed; a constant is at most ±1e+30"),
        ("1" + "0" * 400, "is not allowed; a constant is at most ±1e+30"),
        ("x+" * 60 + "x", "an expression has at most 40 levels, but got 61"),
        ("-" * 900 + "x", "an expression has at most 40 levels, but got"),
        ("(" * 400 + "x" + ")" * 400, "is no expression: too many nested parentheses"),
        ("x" * 1001, "an expression has at most 1000 characters, but got 1001"),
    ],
)
def test_a_wrong_text_is_refused_in_one_line(text: str, reason: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse(text)
    assert reason in str(caught.value) and "\n" not in str(caught.value)


@given(st.text(alphabet="x01.+-*/(), sigmodeprtanh\n\\'\"", max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        assert depth(parse(text)) <= DEEPEST
    except ExpressionError as error:
        assert "\n" not in str(error)
