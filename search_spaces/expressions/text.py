"""Expressions as text, in Python's notation: `x*sigmoid(x)`, `max(x, 0.1*x)`, `x/(1+exp(-learned(1)*x))`.

Only what is named here is read; nothing is ever run. `x**2` and `x**3` are square and cube.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterable

from search_spaces.expressions.primitives import BINARY, UNARY
from search_spaces.expressions.tree import LARGEST, Binary, Constant, Learned, Tree, Unary, X, depth

LONGEST = 1000
DEEPEST = 40
OPERATORS: dict[type[ast.operator], str] = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "div"}
POWERS = {2: "square", 3: "cube"}
SYMBOLS = {"add": "+", "sub": "-", "mul": "*", "div": "/"}
BINDING = {"add": 1, "sub": 1, "mul": 2, "div": 2}
UNARY_MINUS, CALL = 3, 4


class ExpressionError(ValueError):
    """A text that is no expression; the message says in one line what is wrong and what is allowed."""


def parse(text: str) -> Tree:
    """Read an expression; raises ExpressionError."""
    if len(text) > LONGEST:
        raise ExpressionError(f"an expression has at most {LONGEST} characters, but got {len(text)}")
    try:
        tree = _read(ast.parse(text.strip(), mode="eval").body)
        levels = depth(tree)
    except SyntaxError as error:
        raise ExpressionError(f"{text!r} is no expression: {error.msg}") from None
    except (RecursionError, MemoryError):
        raise ExpressionError(f"an expression has at most {DEEPEST} levels, but got more") from None
    except ExpressionError as error:
        raise ExpressionError(f"{text!r}: {error}") from None
    except ValueError as error:
        raise ExpressionError(f"{text!r} is no expression: {error}") from None
    if levels > DEEPEST:
        raise ExpressionError(f"an expression has at most {DEEPEST} levels, but got {levels}")
    return tree


def show(tree: Tree) -> str:
    """Write an expression; `parse` reads the same tree from it."""
    return _write(tree)[0]


def _read(node: ast.expr) -> Tree:
    if isinstance(node, ast.Constant):
        return Constant(_number(node))
    if isinstance(node, ast.Name):
        if node.id != "x":
            raise ExpressionError(f"unknown name {node.id!r}: the input is x")
        return X()
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        plus = isinstance(node.op, ast.UAdd)
        if isinstance(node.operand, ast.Constant):
            return Constant(_number(node.operand) * (1 if plus else -1))
        return _read(node.operand) if plus else Unary("neg", _read(node.operand))
    if isinstance(node, ast.BinOp):
        return _operation(node)
    if isinstance(node, ast.Call):
        return _call(node)
    raise ExpressionError(f"{_brief(node)} is not allowed; there are x, numbers, + - * / ** and calls of primitives")


def _operation(node: ast.BinOp) -> Tree:
    if isinstance(node.op, ast.Pow):
        power = node.right.value if isinstance(node.right, ast.Constant) else None
        if type(power) is not int or power not in POWERS:
            raise ExpressionError(f"the power {_brief(node.right)} is not allowed; there are **2 and **3")
        return Unary(POWERS[power], _read(node.left))
    if type(node.op) not in OPERATORS:
        raise ExpressionError(f"the operator of {_brief(node)} is not allowed; there are + - * / **2 **3")
    return Binary(OPERATORS[type(node.op)], _read(node.left), _read(node.right))


def _call(node: ast.Call) -> Tree:
    name = node.func.id if isinstance(node.func, ast.Name) else _brief(node.func)
    if node.keywords or any(isinstance(argument, ast.Starred) for argument in node.args):
        raise ExpressionError(f"{name} takes plain arguments only, but got {_brief(node)}")
    if name == "learned":
        _count(name, node, 1)
        start = _read(node.args[0])
        if not isinstance(start, Constant):
            raise ExpressionError(f"learned takes the number it starts at, but got {_brief(node.args[0])}")
        return Learned(start.value)
    if name in UNARY:
        _count(name, node, 1)
        return Unary(name, _read(node.args[0]))
    if name in BINARY:
        _count(name, node, 2)
        return Binary(name, _read(node.args[0]), _read(node.args[1]))
    raise ExpressionError(_unknown(name, [*UNARY, *BINARY, "learned"]))


def _count(name: str, node: ast.Call, wanted: int) -> None:
    if len(node.args) != wanted:
        raise ExpressionError(f"{name} takes {wanted} argument{'s' * (wanted > 1)}, but got {len(node.args)}")


def _number(node: ast.Constant) -> float:
    value = node.value
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ExpressionError(f"{_brief(node)} is not allowed; a constant is a number")
    if not abs(value) <= LARGEST:
        raise ExpressionError(f"{_brief(node)} is not allowed; a constant is at most ±{LARGEST:g}")
    return float(value)


def _write(tree: Tree) -> tuple[str, int]:
    """Return the text of a tree and how tightly its outermost operator binds."""
    if isinstance(tree, X):
        return "x", CALL
    if isinstance(tree, Constant):
        return _digits(tree.value), UNARY_MINUS if tree.value < 0 else CALL
    if isinstance(tree, Learned):
        return f"learned({_digits(tree.start)})", CALL
    if isinstance(tree, Unary):
        if tree.name == "neg" and not isinstance(tree.argument, Constant):
            return f"-{_enclosed(tree.argument, UNARY_MINUS)}", UNARY_MINUS
        return f"{tree.name}({show(tree.argument)})", CALL
    if tree.name not in SYMBOLS:
        return f"{tree.name}({show(tree.left)}, {show(tree.right)})", CALL
    binding = BINDING[tree.name]
    right = _enclosed(tree.right, CALL if _write(tree.right)[1] == UNARY_MINUS else binding + 1)
    return f"{_enclosed(tree.left, binding)}{SYMBOLS[tree.name]}{right}", binding


def _enclosed(tree: Tree, least: int) -> str:
    text, binding = _write(tree)
    return text if binding >= least else f"({text})"


def _digits(value: float) -> str:
    return repr(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)


def _brief(node: ast.AST) -> str:
    text = ast.unparse(node)
    return text if len(text) <= 40 else text[:37] + "..."


def _unknown(name: str, known: Iterable[str]) -> str:
    names = list(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(names)}"
    return f"unknown primitive {name!r}: {hint}"
