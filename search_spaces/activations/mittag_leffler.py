"""The member between tanh and the identity of the Mittag-Leffler activations, with trainable shape.

The paper's gated form is x·x^(γ-1)·E_{α1,β1}[f(x)] / E_{α2,β2}[g(x)] on E_{α,β}(z) = Σ_k z^k/Γ(αk + β). Its row for
tanh has γ = 1, f = g = x², α1 = α2 = 2, β1 = 2, β2 = 1; the paper shows that β2 leads from there to a line, and this
β2 = β is what is trained here. The rows for sigmoid, swish, softsign and the others, which are functions of their own,
and the training of α are left out.

    y = x·E_{2,2}(x²)/E_{2,β}(x²) = sinh(x)/E_{2,β}(x²);   tanh(x) at β = 1, x at β = 2, sign(x)·|x|^(β-1) far out

All terms of the series are positive, so nothing cancels. It is summed up to |x| = 16, where 24 terms leave an error
of 1e-10; from there on the asymptotic form is right to 1e-9.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from search_spaces.activations.channels import at_least_single
from search_spaces.decisions import Real, Struct
from search_spaces.registry import register

REACH = 16.0
TERMS = 24


@register(
    "activation",
    "mittag_leffler",
    paper="Unification of popular artificial neural network activation functions",
    options=Struct(beta=Real(1.1, 1.9)),
)
class MittagLeffler(nn.Module):
    """x·E_{2,2}(x²)/E_{2,β}(x²), β trainable between 1 (tanh) and 2 (identity), 1.5 at the start.

    Any shape; one β for the layer, kept as the logit of β - 1. Training keeps about 25 tensors of the input's size for
    the gradient, one a term.
    """

    def __init__(self, channels: int, beta: float = 1.5) -> None:
        super().__init__()
        if not 1 < beta < 2:
            raise ValueError(f"beta lies between 1 and 2, both left out, but got {beta}")
        self.logit = nn.Parameter(torch.tensor(math.log((beta - 1) / (2 - beta))))

    def forward(self, x: Tensor) -> Tensor:
        wide = at_least_single(x)
        beta = 1 + self.logit.to(wide.dtype).sigmoid()
        size, inner = wide.abs(), wide.clamp(-REACH, REACH)
        near = inner.sinh() / series(beta, inner)
        far = wide.sign() * size.clamp(min=REACH) ** (beta - 1)
        return torch.where(size < REACH, near, far).to(x.dtype)


def series(beta: Tensor, x: Tensor) -> Tensor:
    """Return E_{2,β}(x²), for |x| up to 16."""
    k = torch.arange(1, TERMS + 1, dtype=x.dtype, device=x.device)
    ratios = 2 * math.log(REACH) - torch.log((beta + 2 * k - 2) * (beta + 2 * k - 1))
    coefficients = torch.exp(ratios.cumsum(0) - beta.lgamma())  # 16^2k/Γ(2k + β): without 16^2k, float32 underflows
    squared = (x / REACH).square()
    value = coefficients[-1]
    for coefficient in coefficients[:-1].flip(0):
        value = torch.addcmul(coefficient, value, squared)
    return torch.addcmul(torch.exp(-beta.lgamma()), value, squared)
