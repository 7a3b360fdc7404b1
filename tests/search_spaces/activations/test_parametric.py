from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from search_spaces.registry import make


def test_prelu_has_a_slope_a_channel(matches: Callable[..., None]) -> None:
    activation = make("activation", "prelu", 3)
    assert isinstance(activation, nn.PReLU) and activation.weight.tolist() == [0.25] * 3
    activation.weight.data[:] = torch.tensor([0.5, -1.0, 0.0])

    def reference(x: np.ndarray) -> np.ndarray:
        return np.stack([np.where(x[:, i] > 0, 1, (0.5, -1.0, 0.0)[i]) * x[:, i] for i in range(3)], 1)

    matches(activation, reference, channels=3)
