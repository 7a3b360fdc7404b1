"""GradSign (Model Performance Inference with Theoretical Insights): do the samples' gradients agree in sign?

    score = Σ_k |Σ_i sign(∂loss_i/∂θ_k)|        θ_k over all trainable parameters, i over the samples

at initialisation; higher is better. The signs are summed as they come, a chunk of samples at a time, and the
matrix of samples by parameters is never held. The official code takes the weights of convolutions and linear
layers only; this one takes every trainable parameter, as the paper's sum does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, replace_all_batch_norm_modules_, vmap

from predictors import Unscorable

Loss = Callable[[Tensor, Tensor], Tensor]
Gradients = tuple[Tensor, list[Tensor]]  # losses [n], and for each parameter its gradients [n, ...]

CHUNK_SAMPLES = 32
CHUNK_GRADIENTS = 2**24
REFUSALS = (RuntimeError, NotImplementedError, ValueError, TypeError)


def score(network: nn.Module, inputs: Tensor, targets: Tensor, loss: Loss) -> float:
    """Return the GradSign score of a network on samples [n, ...] with targets [n, ...].

    `loss(outputs, targets)` takes a batch of one. As in the official code each sample passes alone in training
    mode, so batch normalisation uses the statistics of that one sample; dropout is off. All work is done on a
    copy: the network's parameters, gradients, buffers and modes, and torch's random state, stay bit for bit.

    Raises Unscorable when there is nothing to score, when a sample cannot pass alone (as through batch
    normalisation of a 1x1 map), and when a loss or a gradient is not finite.
    """
    if len(inputs) != len(targets) or not len(inputs):
        raise Unscorable(f"gradsign needs samples with targets, but got {len(inputs)} samples, {len(targets)} targets")
    devices = {p.device.index for p in network.parameters() if p.device.type == "cuda"}
    try:
        with torch.random.fork_rng(list(devices)), torch.enable_grad():
            copied = _prepared(network)
            try:
                return _agreement(_chunks(copied, inputs, targets, loss))
            except Unscorable:
                raise
            except REFUSALS:  # a layer that vmap forbids
                return _agreement(_one_by_one(copied, inputs, targets, loss))
    except Unscorable:
        raise
    except REFUSALS as error:
        raise Unscorable(f"gradsign cannot score this network: {' '.join(str(error).split())}") from error


def _prepared(network: nn.Module) -> nn.Module:
    copied = deepcopy(network).train()
    replace_all_batch_norm_modules_(copied)
    for module in copied.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.eval()
    return copied


def _chunks(network: nn.Module, inputs: Tensor, targets: Tensor, loss: Loss) -> Iterator[Gradients]:
    trainable: dict[str, Tensor] = {name: p for name, p in network.named_parameters() if p.requires_grad}

    def alone(parameters: dict[str, Tensor], sample: Tensor, target: Tensor) -> Tensor:
        return loss(functional_call(network, parameters, (sample[None],)), target[None])

    per_sample = vmap(grad_and_value(alone), in_dims=(None, 0, 0), randomness="different")
    size = min(CHUNK_SAMPLES, max(1, CHUNK_GRADIENTS // max(1, sum(p.numel() for p in trainable.values()))))
    for samples, wanted in zip(torch.split(inputs, size), torch.split(targets, size), strict=True):
        gradients, losses = per_sample(trainable, samples, wanted)
        yield losses, list(gradients.values())


def _one_by_one(network: nn.Module, inputs: Tensor, targets: Tensor, loss: Loss) -> Iterator[Gradients]:
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for sample, target in zip(inputs, targets, strict=True):
        value = loss(network(sample[None]), target[None])
        gradients = torch.autograd.grad(value, trainable, materialize_grads=True)
        yield value[None], [gradient[None] for gradient in gradients]


def _agreement(chunks: Iterable[Gradients]) -> float:
    votes: list[Tensor] = []
    for losses, gradients in chunks:
        if not gradients:
            raise Unscorable("gradsign needs trainable parameters, but this network has none")
        if not all(bool(values.isfinite().all()) for values in (losses, *gradients)):
            raise Unscorable("gradsign needs finite losses and gradients, but this network has others at the start")
        # Sums of signs are exact in float32, and not in the parameters' own bfloat16.
        signs = [gradient.sign().sum(0, dtype=torch.float32) for gradient in gradients]
        votes = [vote.add_(sign) for vote, sign in zip(votes, signs, strict=True)] if votes else signs
    return float(sum(vote.abs().sum(dtype=torch.float64).item() for vote in votes))
