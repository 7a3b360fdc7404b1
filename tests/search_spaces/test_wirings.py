import pytest
import torch
from torch import Tensor, nn

from search_spaces.registry import make


class Squared(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.square()


X = torch.tensor([2.0, -3.0]).view(1, 2, 1, 1)


@pytest.mark.parametrize(("name", "wanted"), [("plain", [4, 9]), ("residual", [6, 6]), ("rezero", [2, -3])])
def test_wirings_by_hand(name: str, wanted: list[float]) -> None:
    assert make("wiring", name, Squared(), 2)(X).flatten().tolist() == wanted


def test_rezero_adds_its_body_by_a_trainable_factor() -> None:
    wiring = make("wiring", "rezero", Squared(), 2)
    wiring.alpha.data.fill_(0.5)
    y = wiring(X)
    y.sum().backward()
    assert y.flatten().tolist() == [4, 1.5]
    assert wiring.alpha.grad.item() == 13


def test_dense_mixes_input_and_body() -> None:
    wiring = make("wiring", "dense", Squared(), 2)
    wiring.mix.weight.data = torch.tensor([[1.0, 0, 0, 2], [0, 10, 1, 0]])[..., None, None]
    assert wiring(X).flatten().tolist() == [2 + 2 * 9, -30 + 4]
