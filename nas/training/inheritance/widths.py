"""Widths: one walk through the parent and the child, module by module, that finds axes and pieces.

`follow` has a rule for each kind of module: it is given the layout of the channels that come in, lays down how the
module's tensors come from the parent's, and returns the layout of what goes out. Layout None is that of maps whose
channels are known to stay. Activations without a rule are taken as functions of each channel. What else has no rule, as
layers of other packages, inherits while its channels stay; those packages say theirs with `follow.register`.

Wider is exact in evaluation where functions see each channel alone or sum over channels: all layers, stems, pools and
heads of ours, KAN layers on any basis, attention (whose logits are scaled with the size of a head), batch
normalisation, element-wise activations, gdn. It is exact, too, for what works in groups or over all channels, if every
group has all its channels equally often, as when the width is doubled or trebled: group and layer normalisation,
polynorm, topk whose k is doubled, the direction in grassmann_head, a tridiagonal matrix_relu without groups, evonorm_s0
where it has as many groups as before or a group for each channel. Groups of neighbours (maxmin, groupsort,
product_gate, 2:4 masks) are copied as wholes where their size divides both widths and no other groups stand in the way.
Fixed masks drop copies first, and other weights only where the child's density leaves no room.

Narrower is never exact. The mean of what is gone goes to the biases of what read it, and running variances shrink by
its share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import singledispatch

from torch import Tensor, nn

from nas.training.inheritance.axes import Layout, layout
from nas.training.inheritance.errors import InheritanceError
from nas.training.inheritance.masks import kind, own, read, transfer
from nas.training.inheritance.pieces import Groups, Piece, lay

Flow = Layout | None


@dataclass
class Walk:
    """What a walk has found: the pieces, by module and name."""

    names: dict[int, str]
    pieces: dict[tuple[int, str], Piece] = field(default_factory=dict)

    def keep(
        self,
        new: nn.Module,
        old: nn.Module,
        name: str,
        dims: Mapping[int, Layout | Groups],
        shared: int | None = None,
        even: Mapping[int, float] | None = None,
        factor: float = 1.0,
        mended: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        """Lay down how the tensor `name` of a module comes from that of the parent's, if the module has it."""
        if getattr(new, name, None) is not None:
            self.pieces[id(new), name] = Piece(new, name, read(old, name), dims, shared, even or {}, factor, mended)

    def through(self, new: nn.Module, old: nn.Module, flow: Flow) -> Flow:
        """Follow the channels through a module and its counterpart; raises InheritanceError naming the place."""
        name = self.names.get(id(new), "the network")
        if kind(new) is not kind(old):
            raise InheritanceError(
                f"{name} is a {kind(old).__name__} in the parent and a {kind(new).__name__} in the child: "
                "a network inherits through widths, depths and activations alone"
            )
        try:
            return follow(new, old, flow, self)
        except InheritanceError as error:
            if str(error).startswith("in "):
                raise
            raise InheritanceError(f"in {name}: {error}") from None


def widen(child: nn.Module, parent: nn.Module) -> None:
    """Give the child what it can have of the parent's tensors; both have the same modules, of other widths maybe."""
    walk = Walk({id(module): name for name, module in child.named_modules() if name})
    walk.through(child, parent, None)
    counterparts = dict(parent.named_modules(remove_duplicate=False))
    for place, module in child.named_modules(remove_duplicate=False):
        for name in own(module):
            piece = walk.pieces.get((id(module), name))
            if piece and piece.moves:
                lay(piece)
                continue
            if read(module, name).shape != read(counterparts[place], name).shape:
                raise InheritanceError(
                    f"{place}.{name} has another shape and no rule for it: keep this width, "
                    "or add a rule with nas.training.inheritance.widths.follow.register"
                )
            transfer(module, counterparts[place], name)


@singledispatch
def follow(new: nn.Module, old: nn.Module, flow: Flow, walk: Walk) -> Flow:
    """Lay down how a module's tensors come from its counterpart's, and return the layout of what goes out."""
    if is_activation(new):
        return channelwise(new, old, flow, walk)
    if flow is not None and not flow.stays:
        raise InheritanceError(
            f"{type(new).__name__} has no rule for other widths: keep this width, "
            "or add a rule with nas.training.inheritance.widths.follow.register"
        )
    return None


def is_activation(module: nn.Module) -> bool:
    """Tell whether a module was made as an activation of the registry."""
    return bool(getattr(module, "made_as", ("",))[0] == "activation")


def channelwise(new: nn.Module, old: nn.Module, flow: Flow, walk: Walk) -> Flow:
    """Follow channels through an activation; a dimension of its tensors is theirs if it grows or shrinks as they do."""
    if flow is not None and not flow.stays:
        for name in own(new):
            sizes = zip(read(old, name).shape, read(new, name).shape, strict=True)
            dims = {i: flow for i, pair in enumerate(sizes) if pair == (flow.old, flow.new)}
            walk.keep(new, old, name, dims)
    return through(new, old, flow, walk)


def through(new: nn.Module, old: nn.Module, flow: Flow, walk: Walk) -> Flow:
    """Follow channels through a function of each that has no tensors for them."""
    return flow and flow.looking(flow.statistics.through(old))


def sized(flow: Flow, old: int, new: int) -> Layout:
    """Return the layout of `old` entries that become `new`: that of the channels, spread over cells where it must.

    Raises InheritanceError where they are not so many cells for each channel.
    """
    if flow is None:
        if old != new:
            raise InheritanceError(f"{old} inputs become {new}, and nothing says which: keep this width")
        return layout(old, new)
    cells = old // flow.old
    if (flow.old * cells, flow.new * cells) != (old, new):
        raise InheritanceError(f"{flow.old} channels that become {flow.new} do not make {old} inputs that become {new}")
    return flow if cells == 1 else flow.spread(cells)
