"""A subspace for each class (Grassmann Class Representation)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from search_spaces.decisions import Choice, Struct
from search_spaces.registry import register

SMALLEST = 1e-6


@register(
    "head",
    "grassmann_head",
    paper="Get the Best of Both Worlds: Improving Accuracy and Transferability by Grassmann Class Representation",
    options=Struct(dimension=Choice(1, 2, 4)),
)
class GrassmannHead(nn.Module):
    """logit_c = scale·‖S_cᵀ·x/‖x‖‖, the norm of the projection of the feature's direction on the subspace of class c.

    Shapes: [batch, features] to [batch, classes]. S_c is an orthonormal basis of `dimension` vectors, or of
    features // 2 if that is less (a subspace that fills the space knows nothing), but at least one. It is the Q of the
    QR decomposition of free parameters, worked out in float32 in each forward pass, so that it is orthonormal after
    any step of any optimizer; the paper steps on the manifold instead (Riemannian SGD). The scale is the 25 of the
    authors' code. A feature of norm below 1e-6 has smaller logits, 0 at 0.
    """

    def __init__(self, features: int, classes: int, dimension: int = 4, scale: float = 25.0) -> None:
        super().__init__()
        if dimension < 1:
            raise ValueError(f"dimension is {dimension}, but a whole number from 1 up is allowed")
        self.scale = scale
        self.free = nn.Parameter(torch.randn(classes, features, max(1, min(dimension, features // 2))))

    def subspaces(self) -> Tensor:
        """Return the orthonormal bases [classes, features, dimension]."""
        basis: Tensor = torch.linalg.qr(self.free.to(torch.promote_types(self.free.dtype, torch.float32)))[0]
        return basis

    def forward(self, x: Tensor) -> Tensor:
        bases = self.subspaces()
        direction = functional.normalize(x.to(bases.dtype), dim=-1, eps=SMALLEST)
        projected = torch.einsum("bf,cfd->bcd", direction, bases)
        logits: Tensor = self.scale * torch.linalg.vector_norm(projected, dim=-1)
        return logits.to(x.dtype)

    def extra_repr(self) -> str:
        return f"dimension={self.free.shape[-1]}, scale={self.scale:g}"
