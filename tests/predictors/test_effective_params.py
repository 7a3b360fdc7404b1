from random import Random

import pytest
import torch
from torch import Tensor, nn

from predictors import Batch, effective_params
from predictors.gradients import saved_bytes
from search_spaces.registry import make
from search_spaces.space import Shape, find_space
from search_spaces.spaces.nasbench201 import EDGES

SPACE = find_space("nasbench201")
C3, C1, NONE, SKIP, POOL = "nor_conv_3x3", "nor_conv_1x1", "none", "skip_connect", "avg_pool_3x3"


def batch(*shape: int, memory: int = 2**30) -> Batch:
    return Batch(torch.zeros(2, *shape), torch.zeros(2, dtype=torch.long), memory=memory)


def size(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


def cell_params(operations: dict[str, str]) -> int:
    """Count by hand: 5 cells of each width, of those edges that lie on a way from node 0 to node 3."""
    nodes = {edge: ends for edge, ends in EDGES.items() if operations[edge] != NONE}
    from_input, to_output = {0}, {3}
    for _ in range(3):
        from_input |= {target for source, target in nodes.values() if source in from_input}
        to_output |= {source for source, target in nodes.values() if target in to_output}
    if 3 not in from_input:
        return 0
    total = 73_306  # stem, residual blocks and head
    for edge, (source, target) in nodes.items():
        if source in from_input and target in to_output:
            kernel = {C3: 9, C1: 1}.get(operations[edge])
            total += sum(5 * (kernel * width**2 + 2 * width) for width in (16, 32, 64)) if kernel else 0
    return total


@pytest.mark.parametrize(
    "operations",
    [
        (C3, C1, C3, SKIP, C1, C3),
        (NONE, C3, C3, SKIP, C3, C1),  # node 1 has no input
        (C3, C1, C3, POOL, C1, NONE),  # node 2 leads nowhere
        (C3, NONE, C1, NONE, NONE, C3),
        (C1, C3, NONE, NONE, NONE, NONE),  # nothing reaches the output
        (SKIP, NONE, NONE, NONE, POOL, C3),
    ],
)
def test_cells_of_nasbench201_count_the_edges_on_live_paths(operations: tuple[str, ...]) -> None:
    torch.manual_seed(0)
    cell = dict(zip(("edge_0_1", "edge_0_2", "edge_1_2", "edge_0_3", "edge_1_3", "edge_2_3"), operations, strict=True))
    network = SPACE.build({"network": {"cell": cell}}, Shape((3, 8, 8), 10))
    assert effective_params.score(network, batch(3, 8, 8)) == cell_params(cell)


def test_a_kernel_counts_what_meets_the_maps() -> None:
    layer = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Flatten())
    assert effective_params.score(layer, batch(3, 2, 2)) == size(layer)
    assert effective_params.score(layer, batch(3, 1, 1)) == 3 * 4 + 4


def test_dead_units_do_not_count_nor_what_comes_before_and_after_them() -> None:
    torch.manual_seed(0)
    one, two, three = nn.Linear(5, 6), nn.Linear(6, 4), nn.Linear(4, 3)
    with torch.no_grad():
        one.weight[:2] = 0  # no input reaches these two units, constant by their biases
        two.weight[:, 5] = 0  # unit 5 leads nowhere, but these weights do
        three.weight[:, 1] = 0
    network = nn.Sequential(one, nn.ReLU(), two, nn.ReLU(), three)
    before, after, nowhere = 2 * (5 + 1), 2 * 4, (5 + 1) + (4 + 1)
    assert effective_params.score(network, batch(5)) == size(network) - before - after - nowhere


@pytest.mark.parametrize("kind", ["n_m", {"random": {"density": 0.7}}])
def test_masked_weights_do_not_count(kind: object) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 4))
    make("sparsity", kind)(network)
    masks = [(layer.weight != 0).numpy() for layer in network if isinstance(layer, nn.Linear)]
    weights = [mask.astype(int) for mask in masks]
    reach = [weights[0].sum(1) > 0]  # units of each layer that the input reaches
    for mask in weights[1:]:
        reach.append(mask @ reach[-1] > 0)
    lead = [weights[2].sum(0) > 0, [True] * 4]  # units that lead to an output
    lead.insert(0, weights[1].T @ lead[0] > 0)
    expected = 0
    for i, mask in enumerate(masks):
        before = [True] * 8 if i == 0 else reach[i - 1]
        live = [bool(a and b) for a, b in zip(reach[i], lead[i], strict=True)]
        expected += sum(live)
        expected += sum(
            bool(mask[o, k] and before[k] and lead[i][o]) for o in range(len(mask)) for k in range(len(before))
        )
    assert effective_params.score(network, batch(8)) == expected
    assert expected < size(network)


@pytest.mark.parametrize(
    "layer",
    [
        "conv2d",
        "depthwise_separable",
        {"kan_conv2d": {"basis": "chebyshev"}},
        {"kan_conv2d": {"basis": "rbf"}},
        "group_kan_linear",
        {"subsampled_attention": {"keep": 0.5}},
        {"kan_attention": {"basis": "fourier"}},
        {"mbconv": {"expansion": 2, "squeeze": True}},
        {"ckconv": {"kernel": 7}},
    ],
    ids=str,
)
@pytest.mark.parametrize("norm", ["batch", "group", "none"])
def test_all_kinds_of_weights_count(layer: object, norm: str) -> None:
    torch.manual_seed(0)
    body = nn.Sequential(make("layer", layer, 8, 8), make("norm", norm, 8), make("activation", "rational", 8))
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3), make("wiring", "rezero", body, 8), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    found = effective_params.score(network, batch(3, 10, 10))
    dead = 8 if layer == {"subsampled_attention": {"keep": 0.5}} else 0  # softmax does not see the keys' bias
    assert size(network) - dead <= found <= size(network)


def test_frozen_weights_do_not_count_and_little_memory_changes_nothing() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(128, 3))
    network[0].requires_grad_(False)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert effective_params.score(network, batch(3, 6, 6)) == 2 * 8 + 3 * 128 + 3
    sample = saved_bytes(network.eval(), batch(3, 6, 6), nn.functional.cross_entropy)
    assert effective_params.score(network, batch(3, 6, 6, memory=2 * sample)) == 2 * 8 + 3 * 128 + 3
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert effective_params.score(network.bfloat16(), batch(3, 6, 6)) == 2 * 8 + 3 * 128 + 3


def test_no_more_than_all_params_of_random_networks() -> None:
    space = find_space("kan_vision")
    for seed in range(3):
        torch.manual_seed(seed)
        network = space.build(space.draw(Random(seed)), Shape((1, 8, 8), 10))
        assert 0 < effective_params.score(network, batch(1, 8, 8)) <= size(network)


class Saturated(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (1e6 * x.abs()).tanh()


def test_relus_that_are_dead_at_all_samples_still_lead_somewhere() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    nn.init.constant_(network[0].bias, -1e3)  # type: ignore[arg-type]
    assert effective_params.score(network, batch(4)) == size(network)
    flat = nn.Sequential(nn.Linear(4, 4), Saturated(), nn.Linear(4, 2))
    assert effective_params.score(flat, batch(4)) < size(flat)
