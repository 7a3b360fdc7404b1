import copy
from dataclasses import dataclass
from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from search_spaces.decisions import Choice, Integer, Real, drawing, resolve
from search_spaces.registry import choice, entries
from search_spaces.space import find_space

SPACE = find_space("kan_vision")


@dataclass(frozen=True)
class Images:
    input_shape: tuple[int, int, int] = (1, 8, 8)
    classes: int = 10


def built(seed: int, images: Images = Images(), weights: int = 0) -> nn.Module:
    torch.manual_seed(weights)
    return SPACE.build(SPACE.draw(Random(seed)), images)


def batch(images: Images, n: int = 4) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(0)
    return torch.randn(n, *images.input_shape, generator=rng), torch.randint(images.classes, (n,), generator=rng)


def check_learns(network: nn.Module, images: Images, n: int = 4) -> None:
    x, y = batch(images, n)
    logits = network(x)
    assert logits.shape == (n, images.classes)
    assert logits.isfinite().all()
    functional.cross_entropy(logits, y).backward()  # type: ignore[no-untyped-call]
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("seed", range(60))
def test_drawn_networks_have_finite_outputs_and_gradients(seed: int) -> None:
    check_learns(built(seed), Images())


@pytest.mark.parametrize(
    "images",
    [
        Images((1, 28, 28)),
        Images((3, 32, 32), 100),
        Images((2, 17, 23), 2),
        Images((1, 8, 40), 3),
        Images((3, 64, 64), 200),
        Images((3, 224, 224), 1000),
    ],
    ids=lambda images: "x".join(map(str, images.input_shape)),
)
def test_any_size_and_number_of_classes(images: Images) -> None:
    for seed in range(3):
        check_learns(built(seed, images), images, n=2)


def test_too_small_an_input_is_refused() -> None:
    with pytest.raises(ValueError, match="kan_vision needs inputs of 8x8 or more, but got 7x9"):
        built(0, Images((1, 7, 9)))


@pytest.mark.parametrize("seed", range(8))
def test_a_state_carries_everything_over(seed: int) -> None:
    x, _ = batch(Images())
    network, other = built(seed), built(seed, weights=1)
    network(x)
    other.load_state_dict(network.state_dict())
    assert torch.equal(network.eval()(x), other.eval()(x))


@pytest.mark.parametrize("seed", range(8))
def test_the_weights_come_from_torchs_seed(seed: int) -> None:
    one, same, other = (built(seed, weights=weights).state_dict() for weights in (0, 0, 1))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


ARCHITECTURE = {
    "network": {
        "stem": {"layer": "convolution", "width": 16, "norm": "batch"},
        "stages": [
            {
                "depth": 2,
                "width": 16,
                "layer": {"kan_conv2d": {"basis": {"rbf": {"centres": 8}}}},
                "norm": "layer",
                "activation": {"helu": {"alpha": 0.05}},
                "wiring": "rezero",
                "sparsity": "n_m",
            },
            {
                "depth": 1,
                "width": 32,
                "layer": "conv2d",
                "norm": "none",
                "activation": {"group_rational": {"init": "silu"}},
                "wiring": "dense",
                "sparsity": "dense",
            },
        ],
        "head": {"pool": {"average": {"cells": 2}}, "dropout": 0.1, "layer": "linear"},
    },
    "training": {
        "optimizer": {"adamw": {"rate": 0.003, "weight_decay": 0.01}},
        "batch": 32,
        "schedule": "cosine",
        "warmup": 0.1,
        "label_smoothing": 0.1,
        "augmentation": {"mixup": {"alpha": 0.2}},
    },
}


def test_the_parameters_of_an_architecture_counted_by_hand() -> None:
    network = SPACE.build(ARCHITECTURE, Images())
    stem = (9 * 1 * 16 + 16) + 2 * 16
    kan = (9 * 16 * (1 + 8) * 16 + 16) + 2 * 16 + 1
    transition = 9 * 16 * 32 + 32
    convolution = (9 * 32 * 32 + 32) + 8 * (6 + 4) + (2 * 32 * 32 + 32)
    head = 2 * 2 * 32 * 10 + 10
    assert sum(p.numel() for p in network.parameters()) == stem + 2 * kan + transition + convolution + head


@pytest.mark.parametrize(
    ("shape", "maps"),
    [
        ((1, 8, 8), [8, 4, 2, 2]),
        ((3, 32, 32), [32, 16, 8, 4]),
        ((3, 64, 64), [32, 16, 8, 4]),
        ((3, 224, 224), [56, 28, 14, 7]),
    ],
)
def test_the_maps_shrink_from_stage_to_stage(shape: tuple[int, int, int], maps: list[int]) -> None:
    network = ARCHITECTURE["network"] | {"stages": [ARCHITECTURE["network"]["stages"][1]] * 4}  # type: ignore[index, operator]
    built = SPACE.build(ARCHITECTURE | {"network": network}, Images(shape))
    sides: list[int] = []
    for stage in built.get_submodule("stages").children():
        stage.register_forward_hook(lambda module, inputs, output: sides.append(output.shape[-1]))
    built(torch.randn(1, *shape))
    assert sides == maps


def with_parts(**parts: Any) -> Any:
    """Return the architecture with one stage of width 32, in which the named parts are replaced."""
    network = copy.deepcopy(ARCHITECTURE["network"])
    stage = network["stages"][1]  # type: ignore[index]
    for name, part in parts.items():
        place = stage if name in stage else network[{"stem": "stem"}.get(name, "head")]  # type: ignore[index]
        place[{"stem": "layer", "head": "layer"}.get(name, name)] = part
    return ARCHITECTURE | {"network": network | {"stages": [stage]}}  # type: ignore[operator]


def first(kind: str, name: str) -> Any:
    """Return a component with the first value of each of its decisions."""
    return resolve(choice(kind, name), lambda path, domain: FIRST[type(domain)](domain))[0]


FIRST: dict[type, Any] = {Choice: lambda d: d.options[0], Integer: lambda d: d.low, Real: lambda d: d.low}
EVERY = [(kind, name) for kind in ("layer", "activation", "stem", "pool", "head") for name in entries(kind)]


@pytest.mark.parametrize(("kind", "name"), EVERY, ids="-".join)
def test_networks_of_each_component_have_finite_outputs_and_gradients(kind: str, name: str) -> None:
    torch.manual_seed(0)
    images = Images((3, 16, 12), 5)
    check_learns(SPACE.build(with_parts(**{kind: first(kind, name)}), images), images)


@pytest.mark.parametrize("name", entries("layer"))
def test_each_layer_takes_images_of_224_by_224(name: str) -> None:
    torch.manual_seed(0)
    images = Images((3, 224, 224), 10)
    check_learns(SPACE.build(with_parts(layer=first("layer", name)), images), images, n=2)


def test_a_layer_is_told_the_gain_of_the_activation_before_it() -> None:
    """After a convolution without activation nothing is made up for, after a ReLU half of the mean square is."""
    torch.manual_seed(0)
    stage = ARCHITECTURE["network"]["stages"][1] | {"layer": "conv2d", "activation": "relu", "wiring": "plain"}  # type: ignore[index]
    stages = [stage | {"depth": 3, "width": 16}, stage | {"depth": 2, "width": 48}]
    network = SPACE.build(ARCHITECTURE | {"network": ARCHITECTURE["network"] | {"stages": stages}}, Images((3, 8, 8)))  # type: ignore[operator]
    kernels = [m.weight for m in network.get_submodule("stages").modules() if isinstance(m, nn.Conv2d)]
    scales = [(kernel[0].numel() * kernel.square().mean()).item() for kernel in kernels]
    assert scales == pytest.approx([1, 2, 2, 2, 1, 2], rel=0.15)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_whole_network_exports(seed: int) -> None:
    network, (x, _) = built(seed).eval(), batch(Images())
    torch.testing.assert_close(torch.export.export(network, (x,)).module()(x), network(x))


def test_a_network_trains() -> None:
    x, y = batch(Images(), 16)
    torch.manual_seed(0)
    network = SPACE.build(ARCHITECTURE, Images())
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3)
    for _ in range(40):
        optimizer.zero_grad()
        functional.cross_entropy(network(x), y).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert (network.eval()(x).argmax(1) == y).float().mean() > 0.9


def test_a_draw_has_some_forty_decisions_and_those_of_training_may_change_midway() -> None:
    counts, changing = [], set()
    for seed in range(200):
        rng = Random(seed)
        draw = drawing(rng)

        def decide(path: str, domain: object, draw: object = draw) -> object:
            if domain.changeable:  # type: ignore[attr-defined]
                changing.add(path)
            return draw(path, domain)  # type: ignore[operator]

        counts.append(len(SPACE.resolve(decide)[1]))  # type: ignore[arg-type]
    assert 30 <= sum(counts) / len(counts) <= 46
    assert "training.optimizer:adamw.rate" in changing
    assert all(path.startswith("training.") for path in changing)
