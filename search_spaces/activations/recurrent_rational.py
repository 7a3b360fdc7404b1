"""One rational activation that all layers of a network share (Adaptive Rational Activations)."""

from __future__ import annotations

from torch import Tensor, nn

from search_spaces.activations.rational import OPTIONS, Init, Rational
from search_spaces.registry import register


@register(
    "activation",
    "recurrent_rational",
    paper="Adaptive Rational Activations to Boost Deep Reinforcement Learning",
    options=OPTIONS,
)
class RecurrentRational(nn.Module):
    """P(x)/(1+Σ|b_i|·|x|^i) of degrees (5, 4), one and the same for all layers of a network.

    Shapes: [batch, channels, ...] to the same; ten coefficients for the whole network. Each instance starts with its
    own; `share` makes them one, and what builds a network calls it at the end. In a network whose instances were made
    with different `init`, the first one's holds.
    """

    def __init__(self, channels: int, init: Init = "silu") -> None:
        super().__init__()
        self.rational = Rational(channels, 1, init)

    def forward(self, x: Tensor) -> Tensor:
        activated: Tensor = self.rational(x)
        return activated


def share(network: nn.Module) -> None:
    """Make all RecurrentRational instances in a network one and the same module, the first one.

    `parameters()` then lists its coefficients once and `state_dict()` under the name of every place.
    """
    places = [
        (name, module)
        for name, module in network.named_modules(remove_duplicate=False)
        if isinstance(module, RecurrentRational)
    ]
    for name, _ in places[1:]:
        network.set_submodule(name, places[0][1])
