from dataclasses import dataclass
from random import Random

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from search_spaces.decisions import drawing
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
        "stem": {"width": 16, "norm": "batch"},
        "stages": [
            {
                "depth": 2,
                "width": 16,
                "layer": {"kan_conv2d": {"basis": {"bspline": {"intervals": 5, "order": 3}}}},
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
        "head": {"pool": 2, "dropout": 0.1},
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
