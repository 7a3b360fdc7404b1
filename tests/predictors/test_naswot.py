import numpy as np
import pytest
import torch
from torch import Tensor, nn

from predictors import Batch, Unscorable, naswot
from search_spaces.registry import make
from search_spaces.space import find_space

SPACE = find_space("nasbench201")
CELL = {
    "edge_0_1": "nor_conv_3x3",
    "edge_0_2": "none",
    "edge_1_2": "nor_conv_1x1",
    "edge_0_3": "skip_connect",
    "edge_1_3": "avg_pool_3x3",
    "edge_2_3": "nor_conv_3x3",
}


def batch(*shape: int, seed: int = 1) -> Batch:
    rng = torch.Generator().manual_seed(seed)
    return Batch(torch.randn(*shape, generator=rng), torch.zeros(shape[0], dtype=torch.long))


def kernel(codes: list[Tensor]) -> "np.ndarray[tuple[int, int], np.dtype[np.float64]]":
    rows = np.concatenate([part.flatten(1).numpy() for part in codes], 1)
    return np.array([[float((one == other).sum()) for other in rows] for one in rows])


def test_the_score_is_that_of_explicit_codes_where_nasbench201_has_relu() -> None:
    torch.manual_seed(0)
    network = SPACE.build({"network": {"cell": CELL}}, SPACE.signature).train()  # type: ignore[arg-type]
    given = batch(4, 3, 8, 8)
    score = naswot.score(network, given)
    codes: list[Tensor] = []
    for module in network.modules():
        if isinstance(module, nn.ReLU):
            module.register_forward_hook(lambda module, given, output: codes.append(given[0] > 0))
    with torch.no_grad():
        network(given.inputs)
    assert len(codes) == 15 * 3 + 2 * 2 + 1
    assert score == pytest.approx(np.linalg.slogdet(kernel(codes))[1], abs=1e-9)


def test_a_case_by_hand() -> None:
    network = nn.Sequential(nn.Identity(), nn.ReLU(), nn.Linear(3, 2))
    inputs = torch.tensor([[1.0, -1.0, 2.0], [1.0, 1.0, 0.0]])
    # Codes 101 and 110 agree in one of three units: det [[3, 1], [1, 3]] = 8.
    assert naswot.score(network, Batch(inputs, torch.zeros(2, dtype=torch.long))) == pytest.approx(np.log(8))


def test_blocks_of_units_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network, given = nn.Sequential(nn.Linear(5, 70), nn.SiLU(), nn.Linear(70, 2)), batch(6, 5)
    whole = naswot.score(network, given)
    monkeypatch.setattr(naswot, "BLOCK", 6 * 16)
    assert naswot.score(network, given) == pytest.approx(whole, abs=1e-12)


@pytest.mark.parametrize("layer", ["rational", "helu", "tanh"])
def test_smooth_functions_have_the_codes_of_their_inputs(layer: str) -> None:
    torch.manual_seed(0)
    first, last = nn.Linear(5, 64), nn.Linear(64, 2)
    activation = make("activation", layer, 64)
    found = naswot.score(nn.Sequential(first, activation, last), batch(4, 5))
    assert found == naswot.score(nn.Sequential(first, nn.ReLU(), last), batch(4, 5))


def test_order_of_samples_dtype_and_repetition_do_not_matter() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(96, 3))
    given = batch(7, 2, 6, 6)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    score = naswot.score(network, given)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert naswot.score(network, given) == score
    turned = Batch(given.inputs.flip(0), given.targets)
    assert naswot.score(network, turned) == pytest.approx(score, abs=0.1)
    assert naswot.score(network.bfloat16(), given) == pytest.approx(score, abs=0.5)


def test_samples_of_one_region_cannot_be_scored() -> None:
    network = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2))
    inputs = torch.ones(2, 2)
    with pytest.raises(Unscorable, match="naswot cannot score this network: some samples have the same code"):
        naswot.score(network, Batch(inputs, torch.zeros(2, dtype=torch.long)))
