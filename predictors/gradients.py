"""Gradients of single samples and of a batch, and the memory that passes of samples take.

Passes go in chunks of samples: as many at a time as stay within the batch's memory and, sample by sample on a CPU,
within the working set at which they are fastest. Attention is worked out by matrix products, since torch's fused one
can be neither vectorised over samples nor differentiated twice on a CPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.func import functional_call, replace_all_batch_norm_modules_, vjp, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from predictors import REFUSALS, Batch, Loss, Unscorable

Gradients = tuple[Tensor, dict[str, Tensor]]  # losses [n], and for each parameter its gradients [n, ...]

# Measured on networks of NAS-Bench-201: less leaves an operator too little work, more leaves the caches.
WORKING_SET = 2**27

# torch's hint that an operator within vmap goes sample by sample says nothing that a user could act on.
torch._C._functorch._set_vmap_fallback_warning_enabled(False)  # type: ignore[attr-defined]


def trainable(network: nn.Module) -> dict[str, nn.Parameter]:
    """Return the trainable parameters by name; raises Unscorable when there are none."""
    found = {name: each for name, each in network.named_parameters() if each.requires_grad}
    if not found:
        raise Unscorable("it has no trainable parameters, and the score is one of these")
    if any(each.is_complex() for each in found.values()):
        raise Unscorable("its parameters are complex, and the score is one of real ones")
    return found


def sample_gradients(network: nn.Module, batch: Batch, loss: Loss) -> Iterator[Gradients]:
    """Yield each sample's loss and gradient, a chunk of samples at a time, in their order.

    Each sample passes alone: batch normalisation uses the statistics of that one sample. `loss` takes a batch of
    one. A network with a layer that vmap forbids goes sample by sample. Raises Unscorable for what is not finite.
    """
    alone = deepcopy(network)
    replace_all_batch_norm_modules_(alone)
    # Twice, since the gradients of one chunk may be held until those of the next are there.
    gradient_bytes = 2 * sum(each.nbytes for each in trainable(network).values())
    if batch.inputs.device.type == "cpu":
        batch = replace(batch, memory=min(batch.memory, WORKING_SET))
    for number, chunk in enumerate(batch.chunks(gradient_bytes + saved_bytes(alone, batch, loss))):
        try:
            found = _together(alone, chunk, loss)
        except REFUSALS:
            if number:
                raise
            yield from (_finite(_one(alone, single, loss)) for single in batch.chunks(batch.memory))
            return
        yield _finite(found)


def batch_gradient(network: nn.Module, batch: Batch, loss: Loss) -> dict[str, Tensor]:
    """Return the gradient of the batch's loss by each trainable parameter; `loss` is a mean over samples.

    Where the memory asks for chunks, batch normalisation uses the statistics of a chunk.
    """
    named = trainable(network)
    total = {name: torch.zeros_like(each) for name, each in named.items()}
    for chunk in memory_chunks(network, batch, loss):
        value = loss(network(chunk.inputs), chunk.targets)
        gradients = torch.autograd.grad(value, list(named.values()), materialize_grads=True)
        for each, gradient in zip(total.values(), gradients, strict=True):
            each.add_(gradient, alpha=len(chunk) / len(batch))
    return total


def memory_chunks(network: nn.Module, batch: Batch, loss: Loss, order: int = 1) -> Iterator[Batch]:
    """Part the batch for passes of many samples at once, whose loss is differentiated once or twice."""
    # In evaluation mode, since batch normalisation refuses a single sample without height and width.
    return batch.chunks(saved_bytes(deepcopy(network).eval(), batch, loss, order), least=2)


def saved_bytes(network: nn.Module, batch: Batch, loss: Loss, order: int = 1) -> int:
    """Count the bytes that the pass of one sample, the batch's first, keeps for its backward pass.

    Of order 2 are also those that the backward pass keeps to be differentiated again.
    """
    own = {each.untyped_storage().data_ptr() for each in (*network.parameters(), *network.buffers())}
    kept: dict[int, int] = {}

    def note(saved: Tensor) -> Tensor:
        storage = saved.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return saved

    # With a gradient of its own, so that the passes of frozen layers count; and with a storage of its own.
    sample = batch.inputs[:1].detach().requires_grad_(batch.inputs.is_floating_point()).clone()
    with saved_tensors_hooks(note, lambda saved: saved), sdpa_kernel(SDPBackend.MATH):
        value = loss(network(sample), batch.targets[:1].clone())
        gradients = second_order(value, trainable(network)) if order == 2 else ()
    del value, gradients
    return sum(kept.values())


def second_order(value: Tensor, named: dict[str, nn.Parameter]) -> tuple[Tensor, ...]:
    """Return the gradient of a value by each parameter, which can be differentiated again."""
    return torch.autograd.grad(value, list(named.values()), create_graph=True, materialize_grads=True)


def _together(network: nn.Module, batch: Batch, loss: Loss) -> Gradients:
    def alone(parameters: dict[str, Tensor], sample: Tensor, target: Tensor) -> Gradients:
        def value(parameters: dict[str, Tensor]) -> Tensor:
            return loss(functional_call(network, parameters, (sample[None],)), target[None])

        found, back = vjp(value, parameters)  # type: ignore[misc]
        # torch.func.grad would keep all that a second differentiation takes.
        return found, back(torch.ones_like(found), retain_graph=False, create_graph=False)[0]

    detached = {name: parameter.detach() for name, parameter in trainable(network).items()}
    with sdpa_kernel(SDPBackend.MATH):
        return vmap(alone, in_dims=(None, 0, 0), randomness="different")(detached, batch.inputs, batch.targets)


def _one(network: nn.Module, batch: Batch, loss: Loss) -> Gradients:
    value = loss(network(batch.inputs), batch.targets)
    named = trainable(network)
    gradients = torch.autograd.grad(value, list(named.values()), materialize_grads=True)
    return value.detach()[None], {name: gradient[None] for name, gradient in zip(named, gradients, strict=True)}


def _finite(found: Gradients) -> Gradients:
    losses, gradients = found
    if not all(bool(values.isfinite().all()) for values in (losses, *gradients.values())):
        raise Unscorable("losses and gradients have to be finite, but this network has others at the start")
    return found
