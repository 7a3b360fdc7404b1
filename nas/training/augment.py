"""Augmentations of a batch. Inputs are [N, channels, height, width], targets [N]."""

from __future__ import annotations

from random import Random

import torch
from torch import Tensor
from torch.nn import functional as F

SHIFT_SHARE = 1 / 8


def shift(inputs: Tensor, blank: float, generator: torch.Generator) -> Tensor:
    """Move every sample by up to an eighth of its side along each axis; uncovered pixels become `blank`."""
    count, _, height, width = inputs.shape
    down, right = round(height * SHIFT_SHARE), round(width * SHIFT_SHARE)
    rows = _starts(count, down, generator, inputs.device) + torch.arange(height, device=inputs.device)
    columns = _starts(count, right, generator, inputs.device) + torch.arange(width, device=inputs.device)
    padded = F.pad(inputs, (right, right, down, down), value=blank)
    samples = torch.arange(count, device=inputs.device)[:, None, None]
    return padded.movedim(1, -1)[samples, rows[:, :, None], columns[:, None, :]].movedim(-1, 1).contiguous()


def mixup(inputs: Tensor, alpha: float, rng: Random, generator: torch.Generator) -> tuple[Tensor, Tensor, float]:
    """Blend every sample with another of its batch (Zhang et al. 2018, arXiv 1710.09412).

    Returns the blended inputs, the order [N] of the partners, and the share of the first partner, which is
    drawn from Beta(alpha, alpha) once for the batch.
    """
    share = rng.betavariate(alpha, alpha)
    order = torch.randperm(len(inputs), generator=generator).to(inputs.device)
    return torch.lerp(inputs[order], inputs, share), order, share


def _starts(count: int, reach: int, generator: torch.Generator, device: torch.device) -> Tensor:
    return torch.randint(0, 2 * reach + 1, (count, 1), generator=generator).to(device)
