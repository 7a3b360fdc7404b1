"""Noise passed through a network, forward from its inputs and back from each of its blocks.

Inputs from N(0, 1) go forward. From the features of each block a sign ±1 drawn for every number goes back to those of
the block before, so that all blocks together cost one backward pass, without gradients of weights. `blocks` says what
blocks are, `spectra` how entropies and norms are defined.

FLOPs are live if what a module computed with them differs between samples and some of the noise that came back
reached it: not those on constant inputs, and not those whose results are multiplied by zero. Where a module
works several times, one live result is enough.

Where memory does not allow the batch at once, its chunks pass one after the other: batch normalisation uses the
statistics of a chunk, and entropies and norms are means over the chunks, in proportion to their samples.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from predictors import Batch, Unscorable
from predictors.blocks import Profile, Unit, forward, profile, units
from predictors.spectra import entropies, norms


@dataclass(frozen=True)
class Measured:
    """What noise found: an entropy for each block, and for each but the first what is between it and the one before.

    `norms` has None where the places of two blocks do not correspond. `same` says where a block hands on its input
    as it is. FLOPs are those of one sample.
    """

    entropies: tuple[float, ...]
    norms: tuple[float | None, ...]
    same: tuple[bool, ...]
    flops: int
    live_flops: int


def gaussian(batch: Batch) -> Batch:
    """Return the batch with inputs from N(0, 1), the same for all networks if nothing was drawn before."""
    if not batch.inputs.is_floating_point():
        raise Unscorable(f"inputs are drawn from N(0, 1), but those of this network are {batch.inputs.dtype}")
    return replace(batch, inputs=torch.randn_like(batch.inputs))


def measure(network: nn.Module, noise: Batch) -> Measured:
    """Pass noise forward and back; raises Unscorable for a network without two blocks."""
    known = profile(network, noise)
    parts = units(network, list(known.flops))
    chunks = list(noise.chunks(known.sample_bytes, least=2))
    found = [_pass(network, chunk, parts, known) for chunk in chunks]
    shares = [len(chunk) / len(noise) for chunk in chunks]
    live = set[nn.Module]().union(*(each.live for each in found))
    return Measured(
        tuple(_mean(shares, each) or 0.0 for each in zip(*(each.entropies for each in found), strict=True)),
        tuple(_mean(shares, each) for each in zip(*(each.norms for each in found), strict=True)),
        tuple(all(each) for each in zip(*(each.same for each in found), strict=True)),
        sum(known.flops.values()),
        sum(flops for module, flops in known.flops.items() if module in live),
    )


@dataclass(frozen=True)
class _Found:
    entropies: list[float]
    norms: list[float | None]
    same: list[bool]
    live: set[nn.Module]


def _mean(shares: Sequence[float], values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(share * value for share, value in zip(shares, known, strict=True)) if len(known) == len(values) else None


def _pass(network: nn.Module, batch: Batch, parts: Sequence[Unit], known: Profile) -> _Found:
    passed = forward(network, batch.inputs.detach().requires_grad_(), parts, list(known.flops))
    ends, features = [each.before for each in passed.features], [each.values for each in passed.features]
    within: list[list[tuple[nn.Module, Tensor]]] = [[] for _ in range(len(ends) + 1)]  # the last: after all blocks
    for i, (module, result) in enumerate(passed.computed):
        if result.requires_grad:
            within[bisect_right(ends, i)].append((module, result))
    nodes = [*features, passed.output]
    signs = torch.empty(max(map(Tensor.numel, nodes)), device=nodes[-1].device, dtype=nodes[-1].dtype)
    signs.bernoulli_(0.5).mul_(2).sub_(1)
    pairs, live = list[tuple[Tensor, Tensor]](), set[nn.Module]()
    for at in reversed(range(len(nodes))):
        sent = signs[: nodes[at].numel()].view(nodes[at].shape)
        wanted = [*nodes[:at][-1:], *(result for _, result in within[at])]
        back = torch.autograd.grad(nodes[at], wanted, sent, allow_unused=True) if wanted else ()
        for (module, result), gradient in zip(within[at], back[min(at, 1) :], strict=True):
            if gradient is not None and _any(gradient) and _differs(result, len(batch)):
                live.add(module)
        if 0 < at < len(features):
            pairs.insert(0, (torch.zeros_like(nodes[at - 1]) if back[0] is None else back[0], sent))
    same = [before.shape == after.shape and torch.equal(before, after) for before, after in pairs]
    return _Found(entropies(features), norms(pairs), same, live)


def _any(x: Tensor) -> bool:
    """Say whether any number is not zero; most often the first sample tells."""
    return bool(x[:1].any()) or bool(x.any())


def _differs(x: Tensor, samples: int) -> bool:
    """Say whether samples differ, most often the first two do; what is no batch of samples is taken to."""
    return samples < 2 or len(x) != samples or bool((x[0] != x[1]).any()) or bool((x[1:] != x[:1]).any())
