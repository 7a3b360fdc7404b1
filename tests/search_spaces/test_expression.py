"""The activation `expression`: a text or a tree in Python, a family of stable trees in a search space."""

import doctest
import itertools
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from search_spaces.activations import expression as module
from search_spaces.activations.expression import Expression
from search_spaces.decisions import Struct, every, trace_of
from search_spaces.expressions.grammar import OPTIONS, compose
from search_spaces.expressions.simplify import simplify
from search_spaces.expressions.stability import Unstable, instability
from search_spaces.expressions.text import ExpressionError, show
from search_spaces.expressions.tree import evaluate
from search_spaces.registry import choice, find, make
from search_spaces.space import Space

CRRELU = "relu(x)+learned(0.01)*x*exp(-x**2/2)"
DECISIONS = {name: domain.options for name, domain in OPTIONS.fields.items()}  # type: ignore[union-attr]
FAMILY: list[dict[str, Any]] = [
    dict(zip(DECISIONS, options, strict=True)) for options in itertools.product(*DECISIONS.values())
]
SPACE = Space(
    "expressions",
    "one activation",
    Struct(activation=choice("activation", "relu", "expression")),
    lambda architecture, signature: make("activation", architecture["activation"], 4),
)


def crrelu(x: Any, scale: Any) -> Any:
    return np.maximum(x, 0) + scale * x * np.exp(-(x**2) / 2)


@pytest.mark.parametrize("shape", [(5, 3), (2, 3, 4), (2, 3, 4, 5)])
def test_learned_numbers_belong_to_their_channels(shape: tuple[int, ...]) -> None:
    activation = Expression(3, CRRELU).double()
    x, scales = np.random.default_rng(0).normal(size=shape), np.array([0.5, -2.0, 0.0])
    assert activation.learned is not None
    assert activation.learned.tolist() == [[pytest.approx(0.01)] * 3]
    activation.load_state_dict({"learned": torch.from_numpy(scales)[None]})
    wanted = crrelu(x, scales.reshape(3, *[1] * (len(shape) - 2)))
    np.testing.assert_allclose(activation(torch.from_numpy(x)).detach(), wanted, rtol=1e-12)


@pytest.mark.parametrize("text", [CRRELU, "x*sigmoid(learned(1)*x)", "learned(0.5)*x+learned(2)/(1+x**2)", "sin(x)"])
def test_slopes_that_finite_differences_confirm(text: str) -> None:
    activation = Expression(3, text).double()
    x = torch.randn(4, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    learned = [] if activation.learned is None else [activation.learned.detach().clone().requires_grad_()]

    def function(x: Tensor, *learned: Tensor) -> Tensor:
        replaced = {"learned": learned[0]} if learned else {}
        output: Tensor = torch.func.functional_call(activation, replaced, (x,))
        return output

    assert torch.autograd.gradcheck(function, (x, *learned))


def test_two_learned_numbers_are_in_the_order_of_the_canonical_form() -> None:
    activation = Expression(2, "sigmoid(learned(3)*x)*x + learned(1)")
    assert str(activation) == "Expression(learned(1)+x*sigmoid(learned(3)*x))"
    assert activation.learned is not None and activation.learned.tolist() == [[1, 1], [3, 3]]
    assert set(activation.state_dict()) == {"learned"}
    assert not list(Expression(2, "tanh(x)").parameters())


@pytest.mark.parametrize("options", FAMILY, ids=lambda options: "-".join(options.values()))
def test_every_member_of_the_family_is_stable_and_finite(options: dict[str, Any]) -> None:
    activation = find("activation", "expression").make(4, **options)
    assert instability(activation.tree) is None
    x = torch.tensor([[0.0, 1e4, -1e4, 1e-3], [-1.0, 30.0, -30.0, 3.0]], requires_grad=True)
    y = activation(x)
    y.sum().backward()
    assert y.isfinite().all() and y.abs().max() <= 1.1e4
    for gradient in [x.grad, *(each.grad for each in activation.parameters())]:
        assert gradient is not None and gradient.isfinite().all()
    assert x.grad is not None and x.grad.abs().max() <= 3


def test_the_family_is_large_but_its_decisions_are_few() -> None:
    assert len(every(OPTIONS)) == 5 and len(FAMILY) == 324
    x = torch.linspace(-5, 5, 500)
    fixed = {each for each in map(tuple, (options.values() for options in FAMILY)) if each[-1] == "fixed"}
    values = torch.stack([evaluate(simplify(compose(*options)), x) for options in fixed])
    apart = torch.cdist(values, values, p=torch.inf) > 1e-3
    assert sum(bool(apart[i, :i].all()) for i in range(len(values))) > 140


def test_the_family_holds_silu_and_mish() -> None:
    x = torch.randn(3, 4)
    chosen = {"join": "mul", "left": "x", "outer": "sigmoid", "inner": "x", "slope": "fixed"}
    torch.testing.assert_close(make("activation", {"expression": chosen}, 4)(x), nn.SiLU()(x))
    chosen |= {"outer": "tanh", "inner": "softplus"}
    torch.testing.assert_close(make("activation", {"expression": chosen}, 4)(x), nn.Mish()(x))
    assert str(make("activation", {"expression": chosen}, 4)) == "Expression(x*tanh(softplus(x)))"


def test_a_learned_slope_starts_as_the_fixed_one_and_is_swishs_beta() -> None:
    activation = find("activation", "expression").make(2, slope="learned")
    x = torch.randn(5, 2)
    torch.testing.assert_close(activation(x), nn.SiLU()(x))
    activation.learned.data[:] = torch.tensor([[0.5, 3.0]])
    torch.testing.assert_close(activation(x), x * torch.sigmoid(torch.tensor([0.5, 3.0]) * x))


def test_draws_mutations_and_crossovers_of_a_space_build() -> None:
    rng, told = Random(0), set()
    trace = trace_of(SPACE.tree, {"activation": {"expression": FAMILY[0]}})
    other = trace_of(SPACE.tree, {"activation": {"expression": FAMILY[-1]}})
    for _ in range(100):
        architecture, trace = SPACE.mutate(trace, rng)
        mixed, other = SPACE.crossover(trace, other, rng)
        for each in (architecture, mixed, SPACE.draw(rng)):
            told.add(str(SPACE.build(each, None)))  # type: ignore[arg-type]
    assert len(told) > 60


def test_a_mutation_swaps_one_node_of_the_tree() -> None:
    before = trace_of(SPACE.tree, {"activation": {"expression": FAMILY[0]}})
    for seed in range(40):
        _, after = SPACE.mutate(before, Random(seed))
        changed = [path for path in before if after.get(path) != before[path]]
        assert len(changed) == 1 or (changed[0] == "activation" and len(after) == 1)


def test_half_precision_is_worked_out_in_float32() -> None:
    activation = Expression(2, "sqrt(1+x**2)*learned(1)").half()
    x = torch.tensor([[300.0, -300.0], [0.01, 2.0]])
    y = activation(x.half())
    assert y.dtype == torch.float16 and y.isfinite().all()
    torch.testing.assert_close(y.float(), activation.float()(x.half().float()), rtol=1e-3, atol=1e-4)


def test_learned_numbers_go_through_vmap_the_compiler_and_export() -> None:
    activation, x = Expression(3, CRRELU), torch.randn(4, 3, 5)
    wanted = activation(x)
    torch.compiler.reset()
    torch.testing.assert_close(torch.compile(activation, fullgraph=True, backend="aot_eager")(x), wanted)
    torch.testing.assert_close(torch.export.export(activation, (x,)).module()(x), wanted)
    torch.testing.assert_close(torch.func.vmap(lambda sample: activation(sample[None])[0])(x), wanted)


def test_equal_functions_in_other_words_have_one_identity() -> None:
    texts = ["x*sigmoid(x)", "sigmoid(x) * x", "--x*sigmoid(x/1)", "0+x*sigmoid(x)"]
    assert {str(Expression(4, text)) for text in texts} == {"Expression(x*sigmoid(x))"}


def test_trees_are_taken_as_texts_are() -> None:
    assert show(Expression(4, compose("max", "x", "erf", "square", "fixed")).tree) == "max(x, erf(square(x)))"


@pytest.mark.parametrize(
    ("text", "error", "reason"),
    [
        ("x**2", Unstable, r"^square\(x\) is unstable: its slope at x=-1e\+04 is -2e\+04, but at most ±10 is allowed$"),
        ("sinh(x)", ExpressionError, "unknown primitive 'sinh': did you mean sin or min or tanh"),
    ],
)
def test_what_cannot_be_is_refused_at_once(text: str, error: type[Exception], reason: str) -> None:
    with pytest.raises(error, match=reason):
        Expression(4, text)
    assert issubclass(error, ValueError)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"join": "sub", "outer": "tanh"}, r"x-tanh\(x\) is unstable: 12 layers multiply squared gradients by"),
        ({"left": "sinh"}, "unknown primitive 'sinh'; of one argument there are: neg"),
        ({"join": "pow"}, "unknown primitive 'pow'; of two arguments there are: add"),
        ({"slope": "free"}, "slope is 'free', but fixed or learned is allowed"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, str], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        find("activation", "expression").make(4, **options)


def test_the_examples_of_the_documentation() -> None:
    told = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert told.failed == 0 < told.attempted
