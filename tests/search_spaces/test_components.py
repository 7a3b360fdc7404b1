"""The contract of every registered component, plug-ins included: what it lacks, it says in its registration."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from search_spaces import registry
from search_spaces.registry import Entry

CHANNELS, WIDTH, SIDE = 16, 8, 8


def body() -> nn.Module:
    return nn.Sequential(nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1), nn.Tanh())


def sparse(entry: Entry) -> nn.Module:
    network = nn.Sequential(nn.Conv2d(CHANNELS, 8, 3), nn.Tanh(), nn.Flatten(), nn.Linear(8 * 6 * 6, 4))
    entry.make()(network)
    return network


BUILDERS: dict[str, Callable[[Entry], nn.Module]] = {
    "activation": lambda entry: entry.make(CHANNELS),
    "basis": lambda entry: entry.make(),
    "layer": lambda entry: entry.make(CHANNELS, WIDTH),
    "wiring": lambda entry: entry.make(body(), CHANNELS),
    "norm": lambda entry: entry.make(CHANNELS),
    "sparsity": sparse,
    "stem": lambda entry: entry.make(CHANNELS, WIDTH, 2),
    "pool": lambda entry: entry.make(CHANNELS, (SIDE, SIDE)),
    "head": lambda entry: entry.make(CHANNELS, WIDTH),
}
COMPONENTS = [entry for kind in BUILDERS for entry in registry.entries(kind).values()]
every_component = pytest.mark.parametrize("entry", COMPONENTS, ids=lambda entry: f"{entry.kind}-{entry.name}")


def built(entry: Entry) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    component = BUILDERS[entry.kind](entry)
    return component, torch.randn(3, CHANNELS) if entry.kind == "head" else torch.randn(3, CHANNELS, SIDE, SIDE)


def seeded(component: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Apply a component that may draw at random in training."""
    torch.manual_seed(1)
    return component(x)


def output_shape(entry: Entry, component: nn.Module, x: Tensor) -> tuple[int, ...]:
    shapes: dict[str, tuple[object, ...]] = {
        "basis": (*x.shape, component.__dict__.get("count")),
        "layer": (3, WIDTH, SIDE, SIDE),
        "sparsity": (3, 4),
        "stem": (3, WIDTH, SIDE // 2, SIDE // 2),
        "pool": (3, component.__dict__.get("out_features")),
        "head": (3, WIDTH),
    }
    return shapes.get(entry.kind, tuple(x.shape))  # type: ignore[return-value]


@every_component
def test_shapes_and_gradients(entry: Entry) -> None:
    component, x = built(entry)
    x.requires_grad_()
    y = component(x)
    assert tuple(y.shape) == output_shape(entry, component, x)
    y.square().mean().backward()
    for gradient in [x.grad, *(parameter.grad for parameter in component.parameters())]:
        assert gradient is not None and gradient.isfinite().all()


@every_component
def test_bfloat16(entry: Entry) -> None:
    component, x = built(entry)
    rounded = seeded(component.bfloat16(), x.bfloat16())
    exact = seeded(component.float(), x.bfloat16().float())
    assert rounded.dtype == torch.bfloat16
    assert (rounded.float() - exact).abs().mean() <= 0.02 * exact.abs().mean()


@every_component
def test_per_sample_gradients(entry: Entry) -> None:
    component, x = built(entry)

    def loss(parameters: dict[str, Tensor], sample: Tensor) -> Tensor:
        output: Tensor = functional_call(component, parameters, (sample[None],))
        return output.sin().sum()

    per_sample = vmap(grad(loss, argnums=(0, 1)), in_dims=(None, 0))
    if "vmap" in entry.lacks:
        with pytest.raises(RuntimeError):
            per_sample(dict(component.named_parameters()), x)
        return
    parameters, inputs = per_sample(dict(component.named_parameters()), x)
    for i, sample in enumerate(x):
        alone = sample[None].clone().requires_grad_()
        wanted = torch.autograd.grad(component(alone).sin().sum(), [alone, *component.parameters()])
        for got, gradient in zip([inputs[[i]], *(p[i] for p in parameters.values())], wanted, strict=True):
            torch.testing.assert_close(got, gradient, rtol=1e-3, atol=1e-4)


@every_component
def test_tracing_for_the_compiler(entry: Entry) -> None:
    """One graph forward and backward, run by torch itself: generating code would take minutes here."""
    component, x = built(entry)
    x.requires_grad_()
    torch.compiler.reset()
    traced = torch.compile(component, fullgraph=True, backend="aot_eager")
    slopes = [torch.autograd.grad(seeded(f, x).sin().sum(), x) for f in (component, traced)]
    torch.testing.assert_close(*slopes)


@every_component
def test_export(entry: Entry) -> None:
    component, x = built(entry)
    component.eval()
    exported = torch.export.export(component, (x,))
    torch.testing.assert_close(exported.module()(x), component(x))


@every_component
def test_an_output_does_not_depend_on_other_samples(entry: Entry) -> None:
    component, x = built(entry)
    component.eval()
    alone = torch.cat([component(sample[None]) for sample in x])
    torch.testing.assert_close(component(x), alone, rtol=1e-4, atol=1e-5)


@every_component
def test_large_inputs_and_zeros_are_finite(entry: Entry) -> None:
    component, _ = built(entry)
    shape = (CHANNELS,) if entry.kind == "head" else (CHANNELS, SIDE, SIDE)
    x = torch.stack([torch.full(shape, value) for value in (0.0, 1e4, -1e4)]).requires_grad_()
    y = component(x)
    y.sum().backward()
    for values in [y, x.grad, *(parameter.grad for parameter in component.parameters())]:
        assert values is not None and values.isfinite().all()
