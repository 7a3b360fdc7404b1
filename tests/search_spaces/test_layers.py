import copy
import math
import pickle

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from search_spaces.layers.ckconv import CKConv
from search_spaces.layers.convolution import LINEAR, RECTIFIED, SILU, conv2d, convolution, depthwise_separable, linear
from search_spaces.layers.kan import KanConv2d
from search_spaces.layers.kan_attention import KanAttention
from search_spaces.layers.mbconv import SqueezeExcitation, mbconv
from search_spaces.layers.mlp_kan_moe import MlpKanMoe
from search_spaces.layers.parameter_free import parameter_free
from search_spaces.layers.subsampled_attention import SubsampledAttention
from search_spaces.layers.tokens import join, split
from search_spaces.layers.wavemix import WaveMix, haar
from search_spaces.moments import gain
from search_spaces.registry import make

Numbers = np.ndarray


def drawn(module: nn.Module) -> nn.Module:
    """Draw all parameters anew, biases included, in float64."""
    module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            nn.init.normal_(parameter, std=0.5)
    return module


def numbers(parameter: object) -> Numbers:
    assert isinstance(parameter, Tensor)
    return parameter.detach().numpy()


def mapped(layer: nn.Module, x: Numbers) -> Numbers:
    """Apply a 1x1 convolution to [channels, ...] with NumPy."""
    weight, bias = numbers(layer.weight)[:, :, 0, 0], numbers(layer.bias)
    return np.tensordot(weight, x, 1) + bias.reshape(-1, *[1] * (x.ndim - 1))


def silu(x: Numbers) -> Numbers:
    return x / (1 + np.exp(-x))


def convolutions(module: nn.Module) -> list[nn.Conv2d]:
    return [layer for layer in module.modules() if isinstance(layer, nn.Conv2d)]


def slopes_agree(layer: nn.Module, x: Tensor) -> bool:
    return torch.autograd.gradcheck(layer, x.requires_grad_())


def test_linear_is_one_matrix_at_each_place() -> None:
    layer, x = drawn(linear(3, 5)), torch.randn(2, 3, 4, 6, dtype=torch.float64)
    wanted = functional.linear(x.permute(0, 2, 3, 1), layer.weight[:, :, 0, 0], layer.bias).permute(0, 3, 1, 2)
    torch.testing.assert_close(layer(x), wanted)


@pytest.mark.parametrize("kernel", [3, 5])
def test_depthwise_separable_is_one_convolution_a_channel_and_then_a_mixture(kernel: int) -> None:
    torch.manual_seed(0)
    layer = depthwise_separable(4, 6, kernel=kernel)
    x = torch.randn(2, 4, 9, 7)
    depthwise, pointwise = convolutions(layer)
    each = [functional.conv2d(x[:, [i]], depthwise.weight[[i]], padding=kernel // 2) for i in range(4)]
    wanted = torch.einsum("oi,nihw->nohw", pointwise.weight[:, :, 0, 0], torch.cat(each, 1))
    torch.testing.assert_close(layer(x), wanted, rtol=1e-4, atol=1e-5)


def test_a_convolution_after_a_relu_keeps_the_mean_square() -> None:
    torch.manual_seed(0)
    y = convolution(64, 64, 3)(torch.randn(8, 64, 16, 16).relu())[..., 1:-1, 1:-1]
    assert y.square().mean().item() == pytest.approx(1.0, abs=0.1)


LOCAL = [
    "linear",
    "conv2d",
    {"depthwise_separable": {"kernel": 3}},
    {"mbconv": {"expansion": 2, "squeeze": True}},
    {"mbconv": {"expansion": 4, "squeeze": False}},
    {"parameter_free": {"kernel": 3}},
    {"ckconv": {"kernel": 7}},
    {"ckconv": {"kernel": "global"}},
    {"wavemix": {"levels": 1}},
    {"wavemix": {"levels": 3}},
    {"mlp_kan_moe": {"experts": 4}},
]


@pytest.mark.parametrize("activation", ["identity", "relu", "silu"])
@pytest.mark.parametrize("chosen", LOCAL, ids=str)
def test_layers_keep_the_variance_of_normal_inputs(chosen: object, activation: str) -> None:
    torch.manual_seed(0)
    before = {"identity": nn.Identity(), "relu": nn.ReLU(), "silu": nn.SiLU()}[activation]
    squares = [
        make("layer", chosen, 64, 64, gain(before, 1))(before(torch.randn(2, 64, 16, 16)))[..., 3:-3, 3:-3]
        .square()
        .mean()
        .item()
        for _ in range(5)
    ]
    assert 0.45 < sum(squares) / 5 < 2


@pytest.mark.parametrize("chosen", [{"subsampled_attention": {"keep": 0.25}}, {"kan_attention": {"basis": "fourier"}}])
def test_attention_keeps_the_variance_of_inputs_that_are_alike_at_all_places(chosen: object) -> None:
    torch.manual_seed(0)
    layers = [make("layer", chosen, 64, 64, LINEAR) for _ in range(5)]
    squares = [layer(torch.randn(16, 64, 1, 1).expand(-1, -1, 6, 6)).square().mean().item() for layer in layers]
    assert 0.6 < sum(squares) / 5 < 1.6


@pytest.mark.parametrize(
    ("refused", "message"),
    [
        (lambda: conv2d(4, 4, kernel=4), "kernel is 4, but an odd number"),
        (lambda: mbconv(4, 4, expansion=0), "expansion is 0, but"),
        (lambda: parameter_free(4, 4, kernel=2), "kernel is 2, but an odd number"),
        (lambda: CKConv(4, 4, kernel="whole"), "kernel is whole, but an odd number of places from 1 up or 'global'"),
        (lambda: CKConv(4, 4, omega=0), "hidden and omega are 16 and 0, but"),
        (lambda: WaveMix(4, 4, levels=0), "levels is 0, but"),
        (lambda: SubsampledAttention(4, 4, keep=0), "keep is 0, but a share above 0 up to 1"),
        (lambda: SubsampledAttention(4, 4, heads=0), "heads is 0, but"),
        (lambda: KanAttention(4, 4, rank=0), "heads, rank, cells are 4, 0, 4, but"),
        (lambda: MlpKanMoe(4, 4, experts=3), "experts is 3, but an even number"),
        (lambda: MlpKanMoe(4, 4, experts=4, active=5), "active is 5, but 2 to 4"),
    ],
)
def test_what_is_out_of_range_is_refused(refused: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        refused()  # type: ignore[operator]


# mbconv


def test_squeeze_excitation_weighs_channels_by_their_means() -> None:
    layer, x = drawn(SqueezeExcitation(8)), torch.randn(2, 8, 3, 5, dtype=torch.float64)
    reduce, enlarge = convolutions(layer)
    for got, sample in zip(layer(x), x.numpy(), strict=True):
        weights = 2 / (1 + np.exp(-mapped(enlarge, silu(mapped(reduce, sample.mean((1, 2)))))))
        np.testing.assert_allclose(got.detach().numpy(), sample * weights[:, None, None])


def test_mbconv_expands_filters_each_channel_and_projects() -> None:
    layer, x = drawn(mbconv(3, 5, expansion=2, squeeze=False)), torch.randn(1, 3, 4, 5, dtype=torch.float64)
    expand, filters, project = convolutions(layer)
    assert [part.weight.shape for part in (expand, filters, project)] == [(6, 3, 1, 1), (6, 1, 3, 3), (5, 6, 1, 1)]
    padded = np.pad(silu(mapped(expand, x.numpy()[0])), ((0, 0), (1, 1), (1, 1)))
    filtered = sum(
        numbers(filters.weight)[:, 0, u, v, None, None] * padded[:, u : u + 4, v : v + 5]
        for u in range(3)
        for v in range(3)
    )
    wanted = mapped(project, silu(filtered + numbers(filters.bias)[:, None, None]))
    np.testing.assert_allclose(layer(x)[0].detach().numpy(), wanted)
    assert slopes_agree(layer, x)


def test_the_constant_of_silu_is_its_second_moment() -> None:
    z = np.linspace(-12, 12, 100_001)
    density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    assert 1 / np.trapezoid(density * silu(z) ** 2, z) == pytest.approx(SILU, rel=1e-4)


# parameter_free


@pytest.mark.parametrize("kernel", [3, 5])
def test_parameter_free_is_the_largest_of_each_window_and_then_a_matrix(kernel: int) -> None:
    layer, x = drawn(parameter_free(3, 4, kernel=kernel)), torch.randn(1, 3, 6, 5, dtype=torch.float64)
    (mix,) = convolutions(layer)
    reach, maps = kernel // 2, x.numpy()[0]
    largest = np.empty_like(maps)
    for row in range(6):
        for column in range(5):
            window = maps[:, max(0, row - reach) : row + reach + 1, max(0, column - reach) : column + reach + 1]
            largest[:, row, column] = window.max((1, 2))
    np.testing.assert_allclose(layer(x)[0].detach().numpy(), mapped(mix, largest))
    assert slopes_agree(layer, x)


# attention


def test_tokens_are_the_places_of_each_head_and_go_back() -> None:
    maps = torch.arange(2.0 * 6 * 4 * 5).view(2, 6, 4, 5)
    tokens = split(maps, 3)
    assert tokens.shape == (2, 3, 20, 2)
    assert torch.equal(tokens[1, 2, 7], maps[1, 4:6, 1, 2])
    assert torch.equal(join(tokens, 4, 5), maps)


def test_subsampled_attention_is_ordinary_attention_in_evaluation() -> None:
    """The reference is torch's own multi-head attention, given the same weights."""
    layer, x = drawn(SubsampledAttention(8, 8, keep=0.25, heads=4)).eval(), torch.randn(2, 8, 3, 5, dtype=torch.float64)
    weight = torch.cat([part.weight[:, :, 0, 0] for part in (layer.query, layer.key, layer.value)])
    bias = torch.cat([part.bias for part in (layer.query, layer.key, layer.value)])
    tokens = x.flatten(2).permute(2, 0, 1)
    wanted, _ = functional.multi_head_attention_forward(
        *(tokens, tokens, tokens),
        8,
        4,
        weight,
        bias,
        None,
        None,
        False,
        0.0,
        layer.mix.weight[:, :, 0, 0],
        layer.mix.bias,
    )
    torch.testing.assert_close(layer(x), wanted.permute(1, 2, 0).unflatten(2, (3, 5)))
    assert slopes_agree(layer, x)


def test_subsampled_attention_sees_only_the_drawn_places_in_training() -> None:
    layer, x = drawn(SubsampledAttention(8, 4, keep=0.25)).train(), torch.randn(1, 8, 4, 4, dtype=torch.float64)
    torch.manual_seed(3)
    kept = set(torch.randperm(16)[:4].tolist())
    x.requires_grad_()
    torch.manual_seed(3)
    place = 9
    (reached,) = torch.autograd.grad(layer(x)[0, :, place // 4, place % 4].square().sum(), x)
    assert set(reached.abs().sum((0, 1)).flatten().nonzero().flatten().tolist()) == kept | {place}


def test_each_training_pass_draws_other_places_and_evaluation_none() -> None:
    layer, x = SubsampledAttention(8, 8, keep=0.5), torch.randn(1, 8, 4, 4)
    assert not torch.allclose(layer(x), layer(x))
    layer.eval()
    assert torch.equal(layer(x), layer(x))
    whole = SubsampledAttention(8, 8, keep=1)
    assert torch.equal(whole(x), whole(x))


def test_kan_attention_is_a_row_operator_of_learned_functions() -> None:
    """Fourier series from each logit of a row to rank numbers, and back to weights, worked out with NumPy."""
    layer = drawn(KanAttention(6, 5, basis={"fourier": {"frequencies": 2}}, heads=2, rank=3, cells=2))
    x = torch.randn(1, 6, 4, 6, dtype=torch.float64)
    maps, places, size = x.numpy()[0], 4, 3
    pooled = maps.reshape(6, 2, 2, 2, 3).mean((2, 4)).reshape(6, places)
    query = mapped(layer.query, maps.reshape(6, 24))
    key, value = mapped(layer.key, pooled), mapped(layer.value, pooled)
    attended = np.zeros((6, 24))
    for head in range(2):
        rows = slice(head * size, (head + 1) * size)
        coefficients = numbers(layer.coefficients)[head].reshape(places, 4, 3)
        for i in range(24):
            logits = query[rows, i] @ key[rows] / math.sqrt(size)
            series = [np.cos(logits), np.cos(2 * logits), np.sin(logits), np.sin(2 * logits)]
            functions = [sum(series[m] @ coefficients[:, m, r] for m in range(4)) for r in range(3)]
            attended[rows, i] = value[rows] @ (np.array(functions) @ numbers(layer.back)[head])
    wanted = mapped(layer.mix, attended).reshape(5, 4, 6)
    np.testing.assert_allclose(layer(x)[0].detach().numpy(), wanted)
    assert slopes_agree(layer, torch.randn(1, 6, 2, 3, dtype=torch.float64))


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (5, 9)])
def test_one_kan_attention_serves_maps_of_any_size(size: tuple[int, int]) -> None:
    assert KanAttention(8, 4)(torch.randn(2, 8, *size)).shape == (2, 4, *size)


@pytest.mark.parametrize("chosen", ["subsampled_attention", "kan_attention"])
def test_attention_over_3136_places_takes_little_memory(chosen: str) -> None:
    """All logits of 4 heads would be 4·3136²·4 bytes, 150 MiB."""
    saved = 0

    def keep(tensor: Tensor) -> Tensor:
        nonlocal saved
        saved = max(saved, tensor.untyped_storage().nbytes())
        return tensor

    layer = make("layer", {chosen: {}}, 48, 48, RECTIFIED)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        layer(torch.randn(1, 48, 56, 56)).sum().backward()
    assert 0 < saved < 10 * 2**20


# mlp_kan_moe


def test_a_mixture_of_all_experts_is_their_sum_weighted_by_the_router() -> None:
    layer = drawn(MlpKanMoe(3, 4, experts=4, active=4))
    x = torch.randn(2, 3, 2, 3, dtype=torch.float64)
    wanted = torch.zeros(2, 4, 2, 3, dtype=torch.float64)
    for n, row, column in np.ndindex(2, 2, 3):
        place = x[n, :, row, column]
        scores = layer.router.weight[:, :, 0, 0] @ place + layer.router.bias
        shares = scores.exp() / scores.exp().sum()
        for share, expert in zip(shares, layer.experts, strict=True):
            wanted[n, :, row, column] += share * expert(place.view(1, 3, 1, 1)).flatten()
    torch.testing.assert_close(layer(x), wanted)


def test_each_place_goes_to_its_most_probable_experts_only() -> None:
    torch.manual_seed(0)
    layer, x = MlpKanMoe(3, 4, experts=8), torch.randn(1, 3, 4, 4)
    scores = functional.conv2d(x, layer.router.weight)[0].flatten(1)
    outputs = torch.stack([expert(x)[0].flatten(1) for expert in layer.experts])
    got = layer(x)[0].flatten(1)
    for place in range(16):
        first, second = scores[:, place].sort(descending=True).indices[:2].tolist()
        share = 1 / (1 + (scores[second, place] - scores[first, place]).exp())
        wanted = share * outputs[first, :, place] + (1 - share) * outputs[second, :, place]
        torch.testing.assert_close(got[:, place], wanted)


def test_the_slopes_of_a_mixture_agree_with_finite_differences() -> None:
    assert slopes_agree(drawn(MlpKanMoe(2, 2, experts=4)), torch.randn(1, 2, 1, 2, dtype=torch.float64))


def test_half_of_the_experts_are_perceptrons_and_half_are_kans() -> None:
    layer = MlpKanMoe(3, 4, experts=8)
    kinds = [isinstance(expert, nn.Sequential) for expert in layer.experts]
    assert kinds == [True] * 4 + [False] * 4
    assert all(isinstance(expert, KanConv2d) for expert in layer.experts[4:])


def test_the_balance_is_least_when_all_experts_are_used_alike() -> None:
    """By hand: logits ±s send every place to experts 0 and 1, so f = (1/2, 1/2, 0, 0) and P is their softmax."""
    layer = MlpKanMoe(2, 2, experts=4, balance=0.1)
    with torch.no_grad():
        layer.router.weight.zero_()
        layer.router.bias.copy_(torch.tensor([1.0, 1.0, -1.0, -1.0]))
    x = torch.randn(3, 2, 2, 2)
    layer(x)
    probability = math.e / (2 * math.e + 2 / math.e)
    assert layer.auxiliary_loss is not None
    assert layer.auxiliary_loss.item() == pytest.approx(0.1 * 4 * probability)
    layer.auxiliary_loss.backward()
    slope = layer.router.bias.grad
    assert slope is not None and slope[0] > 0 > slope[3]
    with torch.no_grad():
        layer.router.weight.copy_(100 * torch.tensor([[1.0, 0], [1, 0], [-1, 0], [-1, 0]])[..., None, None])
        layer.router.bias.zero_()
    layer(torch.tensor([1.0, -1.0]).view(2, 1, 1, 1).expand(2, 2, 1, 1))
    assert layer.auxiliary_loss.item() == pytest.approx(0.1)


def test_the_auxiliary_loss_is_for_training_only_and_never_copied() -> None:
    layer, x = MlpKanMoe(4, 4), torch.randn(1, 4, 2, 2)
    layer(x)
    assert layer.auxiliary_loss is not None
    assert copy.deepcopy(layer).auxiliary_loss is None
    assert pickle.loads(pickle.dumps(layer)).auxiliary_loss is None
    assert not any("auxiliary" in name for name in layer.state_dict())
    layer.eval()(x)
    assert layer.auxiliary_loss is None


# ckconv


def by_hand(layer: CKConv, rows: int, columns: int, places: int) -> Tensor:
    """Work the kernel [channels, 1, rows, columns] out with NumPy, place by place."""
    net = layer.network
    weights = [numbers(part.weight) for part in (net.first, net.second, net.last)]
    phases = [numbers(part.bias) for part in (net.first, net.second)]
    kernel = np.empty((len(weights[2]), rows, columns))
    for u, v in np.ndindex(rows, columns):
        position = np.array([2 * u / (rows - 1) - 1, 2 * v / (columns - 1) - 1])
        inside = np.sin(weights[1] @ np.sin(net.omega * weights[0] @ position + phases[0]) + phases[1])
        kernel[:, u, v] = weights[2] @ inside
    kernel -= kernel.mean((1, 2), keepdims=True)
    kernel = kernel / math.sqrt(places) + numbers(layer.level)[:, None, None] / places
    return torch.from_numpy(kernel[:, None]).float()


def test_ckconv_is_a_convolution_with_the_kernel_of_its_network() -> None:
    layer, x = CKConv(3, 2, kernel=5), torch.randn(2, 3, 6, 4)
    wanted = functional.conv2d(x, by_hand(layer, 5, 5, 25), padding=2, groups=3)
    wanted = functional.conv2d(wanted, layer.mix.weight, layer.mix.bias)
    torch.testing.assert_close(layer(x), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(6, 4), (5, 7), (2, 3)])
def test_a_global_ckconv_is_a_convolution_with_a_kernel_over_all_differences(height: int, width: int) -> None:
    layer, x = CKConv(3, 2, kernel="global"), torch.randn(2, 3, height, width)
    kernel = by_hand(layer, 2 * height - 1, 2 * width - 1, height * width)
    wanted = functional.conv2d(x, kernel, padding=(height - 1, width - 1), groups=3)
    wanted = functional.conv2d(wanted, layer.mix.weight, layer.mix.bias)
    torch.testing.assert_close(layer(x), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("kernel", "largest"), [(3, 2.0), (7, 2.0), ("global", 4.0)])
def test_ckconv_keeps_the_variance_of_maps_that_are_alike_at_all_places(kernel: int | str, largest: float) -> None:
    """Less so with a kernel over the whole map, of which each place sees another part."""
    torch.manual_seed(0)
    x = torch.randn(4, 64, 1, 1).expand(-1, -1, 16, 16)
    squares = [CKConv(64, 64, LINEAR, kernel=kernel)(x)[..., 3:-3, 3:-3].square().mean().item() for _ in range(10)]
    assert 0.5 < sum(squares) / 10 < largest


@pytest.mark.parametrize("kernel", [3, "global"])
def test_the_slopes_of_ckconv_agree_with_finite_differences(kernel: int | str) -> None:
    layer = CKConv(2, 2, kernel=kernel)
    x = torch.randn(1, 2, 3, 3, requires_grad=True)
    parameter = layer.network.first.weight
    (slope,) = torch.autograd.grad(layer(x).square().sum(), parameter)
    nudge = torch.zeros_like(parameter)
    nudge[1, 0] = 1e-3
    with torch.no_grad():
        parameter += nudge
        higher = layer(x).double().square().sum()
        parameter -= 2 * nudge
        lower = layer(x).double().square().sum()
    assert slope[1, 0].item() == pytest.approx((higher - lower).item() / 2e-3, rel=2e-2, abs=1e-3)


def test_the_parameters_of_ckconv_do_not_grow_with_its_kernel() -> None:
    counts = {sum(p.numel() for p in CKConv(8, 8, kernel=kernel).parameters()) for kernel in (3, 11, "global")}
    assert counts == {(2 * 16 + 16) + (16 * 16 + 16) + 16 * 8 + 8 + (8 * 8 + 8)}


# wavemix


def test_a_haar_step_by_hand() -> None:
    x = torch.tensor([[1.0, 2.0], [3.0, 5.0]]).view(1, 1, 2, 2)
    assert haar(x).flatten().tolist() == [5.5, -1.5, -2.5, 0.5]


def test_the_haar_transform_is_orthonormal_and_inverted_by_its_transpose() -> None:
    n, h, w = 2, 4, 6
    identity = torch.eye(n * h * w, dtype=torch.float64)
    matrix = haar(identity.view(-1, n, h, w)).flatten(1)
    torch.testing.assert_close(matrix @ matrix.T, identity)
    x = torch.randn(3, n, h, w, dtype=torch.float64)
    torch.testing.assert_close((haar(x).flatten(1) @ matrix.T).view_as(x), x)


def test_wavemix_of_two_levels_by_hand() -> None:
    layer, x = drawn(WaveMix(3, 8, levels=2)), torch.randn(1, 3, 5, 6, dtype=torch.float64)
    reduced = functional.conv2d(x, layer.reduce.weight, layer.reduce.bias)
    padded = torch.zeros(1, 2, 8, 8, dtype=torch.float64)
    padded[..., :5, :6] = reduced
    first = haar(padded)
    second = haar(first[:, :2])
    assert first.shape == (1, 8, 4, 4) and second.shape == (1, 8, 2, 2)

    def up(part: nn.Module, bands: Tensor) -> Tensor:
        widen, narrow = convolutions(part)
        inside = functional.conv2d(bands, widen.weight, widen.bias)
        inside = inside / 2 * (1 + torch.erf(inside / math.sqrt(2)))
        enlarge = part.get_submodule("3")
        return functional.conv_transpose2d(
            functional.conv2d(inside, narrow.weight, narrow.bias), enlarge.weight, enlarge.bias, stride=2, padding=1
        )

    lower = up(layer.up[1], second)
    assert lower.shape == (1, 4, 4, 4)
    wanted = up(layer.up[0], torch.cat([first, lower], 1))[..., :5, :6]
    torch.testing.assert_close(layer(x), wanted)
    assert slopes_agree(drawn(WaveMix(2, 4, levels=2)), torch.randn(1, 2, 3, 2, dtype=torch.float64))


@pytest.mark.parametrize("size", [(1, 1), (7, 7), (9, 5), (8, 12)])
@pytest.mark.parametrize("levels", [1, 3])
def test_wavemix_takes_any_size(size: tuple[int, int], levels: int) -> None:
    layer = WaveMix(4, 6, levels=levels)
    x = torch.randn(1, 4, *size, requires_grad=True)
    y = layer(x)
    assert y.shape == (1, 6, *size)
    (slope,) = torch.autograd.grad(y.square().sum(), x)
    assert (slope.abs().sum((0, 1)) > 0).all()
