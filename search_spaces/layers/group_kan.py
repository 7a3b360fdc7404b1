"""The layer of the Kolmogorov-Arnold Transformer: group-wise rational functions, then a linear map."""

from __future__ import annotations

from torch import nn

from search_spaces.activations.rational import Init, Rational, group_rational
from search_spaces.decisions import Choice, Struct
from search_spaces.layers.convolution import LINEAR, convolution
from search_spaces.moments import second_moment
from search_spaces.registry import register


@register(
    "layer",
    "group_kan_linear",
    paper="Kolmogorov-Arnold Transformer",
    options=Struct(init=Choice("identity", "silu")),
)
def group_kan_linear(
    channels_in: int, channels_out: int, gain: float = LINEAR, *, init: Init = "silu", groups: int = 8
) -> nn.Module:
    """y = W·r(x) + b, r a safe Padé function for each of 8 groups of channels: group_rational, then linear.

    Shapes: [batch, channels_in, height, width] to [batch, channels_out, height, width]; the linear map is a 1x1
    convolution, the same at each place. Where 8 does not divide the channels, the largest number below that does is
    taken. KAT starts the first of a block's two layers at the identity and the second at swish, `init` silu.

    W starts at N(0, 1/(channels_in·E[r(z)²])), z normal with E[z²] = 1/gain as the layer's input is said to have, so
    that the outputs have variance 1; b at 0.
    """
    r = Rational(1, 1, init)
    moment = second_moment(lambda z: r(z[:, None] * gain**-0.5)[:, 0]).item()
    return nn.Sequential(
        group_rational(channels_in, groups, init), convolution(channels_in, channels_out, 1, gain=1 / moment)
    )
