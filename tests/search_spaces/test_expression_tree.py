"""The primitives and the nodes of expressions."""

import ast
from typing import Any

import numpy as np
import pytest
import torch
from expression_trees import POINTS, TREES, moderate
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from search_spaces.expressions.primitives import BINARY, UNARY
from search_spaces.expressions.text import parse, show
from search_spaces.expressions.tree import Binary, Constant, Learned, Tree, Unary, X, evaluate, replaced, size, subtrees

NUMPY: dict[str, Any] = {
    "neg": np.negative,
    "abs": np.abs,
    "square": np.square,
    "cube": lambda x: x**3,
    "sqrt": lambda x: np.sqrt(np.abs(x) + 1e-6),
    "exp": lambda x: np.exp(np.minimum(x, 30)),
    "log1p": lambda x: np.log1p(np.abs(x)),
    "sigmoid": special.expit,
    "tanh": np.tanh,
    "erf": special.erf,
    "softplus": lambda x: np.logaddexp(0, x),
    "relu": lambda x: np.maximum(x, 0),
    "sin": np.sin,
    "cos": np.cos,
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": lambda a, b: a / np.where(b < 0, np.minimum(b, -1e-6), np.maximum(b, 1e-6)),
    "max": np.maximum,
    "min": np.minimum,
    "learned": lambda start: start,
}


class Division(ast.NodeTransformer):
    """Write a/b as div(a, b), whose guard NumPy's own division lacks."""

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        self.generic_visit(node)
        if not isinstance(node.op, ast.Div):
            return node
        return ast.Call(ast.Name("div", ast.Load()), [node.left, node.right], [])


def by_python(text: str, x: Any) -> Any:
    """Work out a text with Python's own grammar and NumPy."""
    rewritten = ast.fix_missing_locations(Division().visit(ast.parse(text, mode="eval")))
    return np.broadcast_to(eval(compile(rewritten, "", "eval"), NUMPY | {"x": x}), x.shape)


@pytest.mark.parametrize("name", [*UNARY, *BINARY])
def test_a_primitive_has_its_value_and_slope(name: str) -> None:
    x = torch.tensor([-1e4, -40.0, -2.5, -0.3, 0.0, 0.7, 3.1, 40.0, 1e4], dtype=torch.float64, requires_grad=True)
    b = torch.tensor([2.0, -0.3, 1e-9, -1e-9, 0.0, 5.0, -7.0, 1e4, -1e4], dtype=torch.float64)
    arguments = (x,) if name in UNARY else (x, b)
    y = (UNARY | BINARY)[name](*arguments)  # type: ignore[operator]
    plain = [argument.detach().numpy() for argument in arguments]
    np.testing.assert_allclose(y.detach(), NUMPY[name](*plain), rtol=1e-8, atol=1e-12)
    (slope,) = torch.autograd.grad(y.sum(), x)
    assert slope.isfinite().all()
    step = 1e-7 * np.maximum(abs(plain[0]), 1)
    sides = [NUMPY[name](plain[0] + sign * step, *plain[1:]) for sign in (1, -1)]
    smooth = plain[0] != (0 if name == "relu" else np.nan)
    np.testing.assert_allclose(slope[smooth], ((sides[0] - sides[1]) / (2 * step))[smooth], rtol=2e-5, atol=2e-6)


@given(TREES)
def test_a_tree_is_worked_out_as_python_and_numpy_do_with_its_text(tree: Tree) -> None:
    sure = moderate(tree).numpy()
    got, wanted = evaluate(tree, POINTS).numpy(), by_python(show(tree), POINTS.numpy())
    np.testing.assert_allclose(got[sure], wanted[sure], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: Unary("sinh", X()), "unknown primitive 'sinh'; of one argument there are: neg, abs,"),
        (lambda: Binary("pow", X(), X()), "unknown primitive 'pow'; of two arguments there are: add, sub,"),
        (lambda: Constant(float("nan")), "a constant is at most ±1e\\+30, but got nan"),
        (lambda: Learned(1e31), "a learned number is at most ±1e\\+30, but got 1e\\+31"),
    ],
)
def test_a_node_that_cannot_be_is_refused(make: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        make()


def test_learned_numbers_are_taken_from_left_to_right() -> None:
    tree = parse("learned(1)*x + max(learned(2), learned(3)*x)")
    x = torch.tensor([1.0, 2.0])
    assert evaluate(tree, x).tolist() == [4, 8]
    given = [torch.tensor(10.0), torch.tensor([0.0, 90.0]), torch.tensor(1.0)]
    assert evaluate(tree, x, given).tolist() == [11, 110]


@given(TREES, st.data())
def test_a_place_in_preorder_is_replaced_and_nothing_else(tree: Tree, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, size(tree) - 1))
    nodes, marker = subtrees(tree), parse("max(x, 99)")
    assert replaced(tree, place, nodes[place]) == tree
    changed = replaced(tree, place, marker)
    assert subtrees(changed)[place] == marker
    assert size(changed) == size(tree) - size(nodes[place]) + 3
    assert replaced(changed, place, nodes[place]) == tree
