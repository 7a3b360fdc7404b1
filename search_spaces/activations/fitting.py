"""Start any trainable activation from another function, by least squares on its parameters.

`Rational` has fits of its own, from a table (`rational_fit`); here is what does for all the others: Levenberg and
Marquardt's method on the module as it is, with the derivatives that autograd gives.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev

from search_spaces.decisions import Architecture
from search_spaces.registry import make

REACH = 5.0
POINTS = 401


def fit(activation: nn.Module, function: Architecture | Callable[[Tensor], Tensor], channels: int) -> float:
    """Bring the parameters of an activation to where it is nearest to a function on [-5, 5], in every channel.

    `function` is another activation, named as an architecture does, or any function from a tensor to a tensor of its
    shape. Returns the greatest error left on [-5, 5]. Raises ValueError for an activation without parameters, and for
    one that mixes its channels, which is no function of one input.
    """
    from scipy.optimize import least_squares

    if not list(activation.parameters()):
        raise ValueError(f"{type(activation).__name__} has no parameters to fit: name an activation that has")
    wide = deepcopy(activation).double().eval()
    if mixes(wide, channels):
        raise ValueError(f"{type(activation).__name__} mixes its channels: name an activation of one input at a time")
    x = torch.linspace(-REACH, REACH, POINTS, dtype=torch.float64)
    target = function if callable(function) else make("activation", function, 1).double()
    with torch.no_grad():
        wanted = target(x[:, None, None])[:, 0, 0] if isinstance(target, nn.Module) else target(x)
    # What channels have in common is fitted once: a parameter is moved by one number for each of its other places.
    shared = _shared(wide, x, channels)
    start = torch.cat([values.flatten() for values, _ in shared.values()])

    def values(vector: Tensor) -> Tensor:
        parameters, done = {}, 0
        for name, (value, full) in shared.items():
            part = vector[done : done + value.numel()].view(value.shape)
            parameters[name] = part.expand(full)
            done += value.numel()
        y: Tensor = functional_call(wide, parameters, (x[:, None, None].expand(-1, channels, 1),))
        return y[:, 0, 0]

    def error(vector: np.ndarray) -> np.ndarray:
        return (values(torch.from_numpy(vector)).detach() - wanted).numpy()

    def slopes(vector: np.ndarray) -> np.ndarray:
        found: Tensor = jacrev(values)(torch.from_numpy(vector))
        return found.detach().numpy()

    best = least_squares(error, start.detach().numpy(), jac=slopes, max_nfev=500, xtol=1e-12, ftol=1e-12)
    done = 0
    with torch.no_grad():
        for name, parameter in activation.named_parameters():
            value, full = shared[name]
            part = torch.from_numpy(best.x[done : done + value.numel()]).view(value.shape)
            parameter.copy_(part.expand(full))
            done += value.numel()
    return float(np.abs(best.fun).max())


def mixes(activation: nn.Module, channels: int) -> bool:
    """Tell whether the first channel of what comes out depends on the others that go in, for other parameters too."""
    activation = deepcopy(activation)
    x = torch.linspace(-2, 2, 8 * channels, dtype=torch.float64).view(8, channels, 1)
    other = torch.cat([x[:, :1], -3 * x[:, 1:] + 1], 1)
    with torch.no_grad():
        for parameter in activation.parameters():
            parameter.add_(0.1)
        return not torch.equal(activation(x)[:, 0], activation(other)[:, 0])


def _shared(activation: nn.Module, x: Tensor, channels: int) -> dict[str, tuple[Tensor, torch.Size]]:
    """Return each parameter with one entry where it has one for each channel, and its full shape.

    A dimension is that of the channels if only its first entry has a part in the first channel; its size alone would
    not tell six channels from six coefficients.
    """
    names, parameters = zip(*activation.named_parameters(), strict=True)
    first = activation(x[:, None, None].expand(-1, channels, 1))[:, 0]
    slopes = torch.autograd.grad(first.square().sum(), parameters)
    found = {}
    for name, parameter, slope in zip(names, parameters, slopes, strict=True):
        value = parameter.detach()
        for dim, size in enumerate(value.shape):
            if size == channels > 1 and not slope.narrow(dim, 1, size - 1).any():
                value, slope = value.narrow(dim, 0, 1), slope.narrow(dim, 0, 1)
        found[name] = value.clone(), parameter.shape
    return found
