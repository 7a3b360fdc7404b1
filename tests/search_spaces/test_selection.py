import numpy as np
import pytest
import torch

from search_spaces.bases.selectable import Selectable
from search_spaces.layers.kan import KanConv2d, KanLinear
from search_spaces.layers.selection import advance, contributions, prune
from search_spaces.registry import make

CHOSEN = ["bspline", {"chebyshev": {"degree": 2}}]


def layers() -> list[KanLinear | KanConv2d]:
    torch.manual_seed(0)
    return [
        KanLinear(3, 4, Selectable(CHOSEN)),
        KanLinear(3, 4, Selectable(CHOSEN), base=False, bias=False),
        KanConv2d(3, 4, basis=Selectable(CHOSEN)),
    ]


def points(layer: KanLinear | KanConv2d) -> torch.Tensor:
    return torch.randn(5, 3) if isinstance(layer, KanLinear) else torch.randn(2, 3, 6, 6)


def test_the_mixture_is_the_candidates_by_their_gates() -> None:
    basis, x = Selectable(CHOSEN), torch.randn(7)
    basis.strength.data[:] = torch.tensor([0.3, -0.7])
    basis.temperature.fill_(0.5)
    gates = torch.tensor([0.6, -1.4]).exp() / torch.tensor([0.6, -1.4]).exp().sum()
    wanted = torch.cat([gates[0] * make("basis", CHOSEN[0])(x), gates[1] * make("basis", CHOSEN[1])(x)], -1)
    torch.testing.assert_close(basis(x), wanted)
    assert basis.count == 8 + 3 and basis.chosen is None


def test_the_chosen_gate_is_exactly_one_and_training_goes_on() -> None:
    basis = Selectable(["rbf", "fourier", "chebyshev"])
    basis.strength.data[:] = torch.tensor([3.0, -5.0, 0.0])
    basis.choose(1)
    assert basis.gates().tolist() == [0, 1, 0] and basis.chosen == 1
    basis(torch.randn(5)).sum().backward()
    assert basis.strength.grad is not None and basis.strength.grad.isfinite().all()


@pytest.mark.parametrize("index", [0, 1])
def test_a_pruned_layer_computes_the_same_and_is_one_of_the_chosen_basis_alone(index: int) -> None:
    for layer in layers():
        assert isinstance(layer.basis, Selectable)
        layer.basis.choose(index)
        x = points(layer)
        pruned = prune(layer)
        torch.testing.assert_close(pruned(x), layer(x), rtol=1e-6, atol=1e-6)
        assert type(pruned.basis) is type(make("basis", CHOSEN[index]))
        assert sum(p.numel() for p in pruned.parameters()) < sum(p.numel() for p in layer.parameters())
        alone = KanLinear(3, 4, CHOSEN[index]) if isinstance(layer, KanLinear) else KanConv2d(3, 4, basis=CHOSEN[index])
        if pruned.expansion.base:
            alone.load_state_dict(pruned.state_dict())
            assert torch.equal(alone(x), pruned(x))


def test_nothing_is_pruned_before_the_choice() -> None:
    for layer in (layers()[0], KanLinear(3, 4, "rbf")):
        with pytest.raises(ValueError, match="train it for three epochs or more"):
            prune(layer)


def test_contributions_are_variances_of_what_each_candidate_adds() -> None:
    torch.manual_seed(0)
    layer = KanLinear(64, 64, Selectable(CHOSEN), base=False, bias=False)
    basis = layer.basis
    assert isinstance(basis, Selectable)
    basis.strength.data[:] = torch.tensor([0.5, -0.5])
    x = torch.randn(4000, 64)
    functions = basis(x, -2).detach()
    first = functions.clone()
    first[:, 8:] = 0
    weight = layer.linear.weight.detach()
    parts = [(first.flatten(1) @ weight.T), ((functions - first).flatten(1) @ weight.T)]
    # A weight is drawn independently of the others, so the squares add up but for chance.
    measured = torch.tensor([part.square().sum(1).mean().item() for part in parts])
    torch.testing.assert_close(contributions(layer).float(), measured, rtol=0.25, atol=0)


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_the_candidate_that_adds_most_is_chosen_after_the_three_phases(kind: int) -> None:
    layer = layers()[kind]
    basis = layer.basis
    assert isinstance(basis, Selectable)
    inner = layer.linear if isinstance(layer, KanLinear) else layer.convolution
    slabs = inner.weight.data.unflatten(1, (layer.expansion.count, 3))
    slabs[:, int(layer.expansion.base) : int(layer.expansion.base) + 8] = 0.01
    temperatures, chosen = [], []
    for progress in (0.0, 0.3, 0.5, 0.6, 0.7, 0.9):
        advance(layer, progress)
        temperatures.append(basis.temperature.item())
        chosen.append(basis.chosen)
    assert temperatures[:2] == [1, 1] and 1 > temperatures[2] > temperatures[3] > 0.1
    assert chosen == [None, None, None, None, 1, 1]


def test_the_phase_is_part_of_the_state() -> None:
    layer, other = layers()[0], layers()[0]
    advance(layer, 0.8)
    other.load_state_dict(layer.state_dict())
    assert other.basis.chosen == layer.basis.chosen is not None
    assert torch.equal(other.basis.temperature, layer.basis.temperature)


def test_a_selection_needs_two_candidates() -> None:
    with pytest.raises(ValueError, match=r"two bases at least, but got \['rbf'\]"):
        Selectable(["rbf"])


def test_gates_sum_to_one_and_sharpen_as_the_temperature_falls() -> None:
    basis = Selectable(["rbf", "fourier", "chebyshev"])
    basis.strength.data[:] = torch.tensor([0.2, 0.1, -0.4])
    strongest = []
    for temperature in (1.0, 0.5, 0.1):
        basis.temperature.fill_(temperature)
        gates = basis.gates()
        assert gates.sum().item() == pytest.approx(1, abs=1e-6) and (gates > 0).all()
        strongest.append(gates[0].item())
    assert strongest == sorted(strongest)


def test_the_temperature_falls_evenly_in_its_logarithm_from_one_to_a_tenth() -> None:
    found = []
    for progress in (1 / 3, 1 / 2, 2 / 3):
        layer = layers()[0]
        advance(layer, progress)
        found.append(layer.basis.temperature.item())
    assert found == pytest.approx([1, 10**-0.5, 0.1])


def test_a_choice_is_for_good() -> None:
    layer = layers()[0]
    advance(layer, 0.7)
    chosen, temperature = layer.basis.chosen, layer.basis.temperature.item()
    layer.linear.weight.data[:, 3:].zero_()
    advance(layer, 1.0)
    assert layer.basis.chosen == chosen and layer.basis.temperature.item() == temperature


def test_contributions_by_hand() -> None:
    """One weight for one function of each candidate: w²·g²·E[b²], T_0 = 1 and E[tanh²] by quadrature."""
    layer = KanLinear(1, 1, Selectable([{"chebyshev": {"degree": 2}}, {"chebyshev": {"degree": 3}}]))
    basis = layer.basis
    basis.strength.data[:] = torch.tensor([1.0, 0.0])
    gates = torch.softmax(torch.tensor([1.0, 0.0]), 0).tolist()
    weight = layer.linear.weight.data.zero_()
    weight[0, 0], weight[0, 1 + 0], weight[0, 1 + 3 + 1] = 100.0, 3.0, 2.0
    z = np.linspace(-12, 12, 20001)
    tanh = np.trapezoid(np.tanh(z) ** 2 * np.exp(-(z**2) / 2), z) / np.sqrt(2 * np.pi)
    wanted = [9 * gates[0] ** 2, 4 * gates[1] ** 2 * tanh]
    assert contributions(layer).tolist() == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("kernel", [1, 5])
def test_kernels_of_any_size_are_pruned(kernel: int) -> None:
    torch.manual_seed(0)
    layer, x = KanConv2d(2, 3, kernel=kernel, basis=Selectable(CHOSEN)), torch.randn(2, 2, 6, 5)
    layer.basis.choose(1)
    torch.testing.assert_close(prune(layer)(x), layer(x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_a_pruned_layer_has_the_dtype_of_the_whole_one_and_shares_nothing_with_it(dtype: torch.dtype) -> None:
    layer = KanLinear(3, 4, Selectable(["rbf", "wavelet"])).to(dtype)
    layer.basis.choose(1)
    pruned, x = prune(layer), torch.randn(5, 3, dtype=dtype)
    assert {p.dtype for p in pruned.parameters()} == {dtype}
    torch.testing.assert_close(pruned(x), layer(x))
    whole = {p.data_ptr() for p in layer.parameters()}
    assert not whole & {p.data_ptr() for p in pruned.parameters()}
    before = layer(x).detach()
    with torch.no_grad():
        for parameter in pruned.parameters():
            parameter.add_(1)
    assert torch.equal(layer(x), before)


def test_a_placed_grid_is_pruned_with_its_knots() -> None:
    layer = KanLinear(3, 4, Selectable([{"bspline": {"intervals": 5, "order": 3, "grid": "quantile"}}, "rbf"]))
    layer.basis.bases[0].place(torch.randn(100))
    layer.basis.choose(0)
    x = torch.randn(6, 3)
    torch.testing.assert_close(prune(layer)(x), layer(x), rtol=1e-6, atol=1e-6)
