"""Activations in the place of others: trainable ones are fitted to what the others had become, the rest is swapped.

An activation of the same kind with other options keeps what was trained. What is no function of one input (sorting,
norms in activations) has nothing to fit and nothing to be fitted to. A rational activation that all layers share is
that of the parent if it has one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any, cast

import torch
from torch import Tensor, nn

from nas.training.inheritance.errors import InheritanceError
from nas.training.inheritance.masks import own, transfer
from nas.training.inheritance.widths import is_activation
from search_spaces.activations.expression import Expression
from search_spaces.activations.fitting import fit, mixes
from search_spaces.activations.rational import Rational, starting
from search_spaces.activations.recurrent_rational import RecurrentRational
from search_spaces.registry import make


def exchange(child: nn.Module, parent: nn.Module, channels: Mapping[str, int]) -> None:
    """Give the child all that the parent has, and fit the activations that are others.

    `channels` says how many come to each module of the parent.
    """
    shared = next((module for module in parent.modules() if isinstance(module, RecurrentRational)), None)
    theirs = dict(parent.named_modules(remove_duplicate=False))
    fitted: set[int] = set()
    inside: tuple[str, ...] = ()
    for place, module in child.named_modules(remove_duplicate=False):
        if place.startswith(inside):
            continue
        if is_activation(module):
            inside = (*inside, f"{place}.")
            source = shared if isinstance(module, RecurrentRational) and shared is not None else theirs[place]
            if id(module) not in fitted:
                _become(module, source, channels[place])
            fitted.add(id(module))
        elif place not in theirs:
            raise InheritanceError(f"{place} is in the child alone: only activations may be others")
        else:
            for name in own(module):
                transfer(module, theirs[place], name)


def _become(new: nn.Module, old: nn.Module, channels: int) -> None:
    """Give an activation the tensors of its like, or fit it to another."""
    if _alike(new, old):
        new.load_state_dict(old.state_dict())
        return
    before = deepcopy(old).eval()
    if not any(True for _ in new.parameters()) or mixes(new, channels) or mixes(before, channels):
        return

    def mean(x: Tensor) -> Tensor:
        """Return the mean over channels, which may each have a function of their own."""
        with torch.no_grad():
            values: Tensor = before(x[:, None, None].expand(-1, channels, 1))
        return values[:, :, 0].mean(1)

    fit_alike(new, mean)


def fit_alike(activation: nn.Module, function: Callable[[Tensor], Tensor]) -> None:
    """Fit an activation that does not mix its channels to a function, alike in all channels."""
    rational = activation.rational if isinstance(activation, RecurrentRational) else activation
    if isinstance(rational, Rational):
        found = dict(zip(("numerator", "denominator"), starting(function), strict=True))
        values = {name: torch.tensor(each, dtype=torch.float64) for name, each in found.items()}
    else:
        # One channel has all there is to fit, and is fitted many times as fast.
        narrow: nn.Module = make(*cast(Any, activation).made_as, 1).double()
        fit(narrow, function, 1)
        values = {name: parameter.detach() for name, parameter in narrow.named_parameters()}
    for name, value in values.items():
        parameter = rational.get_parameter(name)
        with torch.no_grad():
            parameter.copy_(value.expand_as(parameter))


def _alike(new: nn.Module, old: nn.Module) -> bool:
    """Tell whether the tensors of one activation mean the same in the other."""
    if type(new) is not type(old) or (isinstance(new, Expression) and isinstance(old, Expression)):
        return isinstance(new, Expression) and isinstance(old, Expression) and new.tree == old.tree
    shapes = ({name: value.shape for name, value in module.state_dict().items()} for module in (new, old))
    return next(shapes) == next(shapes)
