"""The canonical form of expressions."""

import pytest
import torch
from expression_trees import POINTS, TREES, moderate
from hypothesis import given

from search_spaces.expressions.primitives import BINARY, UNARY
from search_spaces.expressions.simplify import simplify
from search_spaces.expressions.text import parse, show
from search_spaces.expressions.tree import Binary, Constant, Tree, Unary, X, depth, evaluate, size, subtrees


@given(TREES)
def test_the_canonical_form_has_the_same_values(tree: Tree) -> None:
    sure = moderate(tree)
    original, simplified = evaluate(tree, POINTS)[sure], evaluate(simplify(tree), POINTS)[sure]
    torch.testing.assert_close(simplified, original, rtol=1e-8, atol=1e-8)


FREE_OF_CONSTANTS = TREES.filter(lambda tree: not any(isinstance(each, Constant) for each in subtrees(tree)))


@given(FREE_OF_CONSTANTS)
def test_where_no_constant_is_worked_out_not_one_bit_changes(tree: Tree) -> None:
    original, simplified = evaluate(tree, POINTS), evaluate(simplify(tree), POINTS)
    finite = torch.stack([evaluate(each, POINTS) for each in subtrees(tree)]).isfinite().all(0)
    assert torch.equal(simplified[finite], original[finite])


def small_trees() -> list[Tree]:
    leaves: list[Tree] = [X(), *map(Constant, (-1, 0, 1, 2))]
    higher = [X(), Constant(-1), *(Unary(name, X()) for name in UNARY), *(Unary(name, Constant(2)) for name in UNARY)]
    nested = [Unary(name, leaf) for name in UNARY for leaf in leaves]
    joined = [Binary(name, a, b) for name in BINARY for a in leaves for b in leaves]
    return [
        *(Unary(name, below) for name in UNARY for below in [*nested, *joined]),
        *(Binary(name, a, b) for name in BINARY for a in higher for b in higher),
    ]


def test_the_canonical_forms_of_all_small_trees_have_the_same_values_and_slopes() -> None:
    for tree in small_trees():
        simplified, x = simplify(tree), POINTS.clone().requires_grad_()
        values = [evaluate(each, x) + 0 * x for each in (tree, simplified)]
        slopes = [torch.autograd.grad(value.sum(), x)[0] for value in values]
        torch.testing.assert_close(values[1], values[0], rtol=1e-12, atol=1e-12, msg=f"{show(tree)}")
        torch.testing.assert_close(slopes[1], slopes[0], rtol=1e-9, atol=1e-9, msg=f"{show(tree)}")


@given(TREES)
def test_the_canonical_form_is_never_larger_and_its_own(tree: Tree) -> None:
    simplified = simplify(tree)
    assert size(simplified) <= size(tree) and depth(simplified) <= depth(tree)
    assert simplify(simplified) == simplified


@pytest.mark.parametrize(
    ("text", "simplified"),
    [
        ("sigmoid(x)*x", "x*sigmoid(x)"),
        ("x*x*x", "cube(x)"),
        ("x**2*x", "cube(x)"),
        ("0*exp(x) + x/1 - 0", "x"),
        ("-(-x)", "x"),
        ("-(1-x)", "x-1"),
        ("x - -x", "x+x"),
        ("-x + 1", "1-x"),
        ("-x * -tanh(x)", "x*tanh(x)"),
        ("x*(-2)*-1", "-(-2*x)"),
        ("2*-x", "-2*x"),
        ("max(x, 0)", "relu(x)"),
        ("max(-x, x)", "abs(x)"),
        ("min(sin(x), sin(x))", "sin(x)"),
        ("abs(exp(x) + x**2)", "exp(x)+square(x)"),
        ("square(abs(-x))", "square(x)"),
        ("max(-3, sigmoid(x))", "sigmoid(x)"),
        ("2*3 + sqrt(0.999999)", "7"),
        ("x*tanh(0)", "0"),
        ("x - x", "0"),
        ("learned(1) - learned(1)", "learned(1)-learned(1)"),
        ("learned(2)*learned(2)", "learned(2)*learned(2)"),
        ("x/x", "x/x"),
        ("1e20*1e20*x", "x*(1e+20*1e+20)"),
    ],
)
def test_canonical_forms(text: str, simplified: str) -> None:
    assert show(simplify(parse(text))) == simplified
