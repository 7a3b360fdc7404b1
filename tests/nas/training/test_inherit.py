"""What may be inherited, from whom, and what comes out."""

from __future__ import annotations

from copy import deepcopy
from random import Random
from typing import Any

import pytest
import torch
from heirs import IMAGES, SPACE, chosen, difference, heir, parent, vision
from tiny_space import TINY
from torch import nn

from nas.errors import UserError
from nas.training.inherit import InheritanceError, inherit, inheritable
from nas.training.inheritance import activations
from nas.training.inheritance.widths import widen
from search_spaces.decisions import Architecture, Choice, Decision, Integer, Scalar, Struct, every
from search_spaces.limits import limited
from search_spaces.space import Space, find_space
from search_spaces.sparsity.masking import live_parameters


def test_widths_depths_and_activations_are_inheritable_and_nothing_else() -> None:
    for path, domain in every(SPACE.tree).items():
        last = path.rpartition("]")[2] if path.startswith("network.stages") else path
        wanted = last in ("network.stem.width", ".width", ".depth") or last.startswith(".activation")
        assert inheritable(SPACE, path, domain) == wanted, path


def test_in_the_tiny_space_the_width_is_inheritable() -> None:
    assert [path for path, domain in every(TINY.tree).items() if inheritable(TINY, path, domain)] == ["network.width"]


class Foreign(nn.Module):
    """A layer of another package, that nothing here knows."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.rand(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.scale[:, None, None]


def foreign() -> Space:
    """Return a space with a layer that has a width of its own, and an activation of another package."""

    def build(architecture: Any, signature: Any) -> nn.Module:
        width, inside = architecture["width"], architecture["layer"]["foreign"]["width"]
        parts = [nn.Conv2d(1, inside, 1), Foreign(inside), nn.Conv2d(inside, width, 1), nn.ReLU(), nn.Flatten()]
        return nn.Sequential(*parts, nn.Linear(width * 64, 10))

    layer = Choice(foreign=Struct(width=Integer(2, 4)))
    return Space("foreign", "for tests", Struct(width=Integer(4, 8), layer=layer, activation=Choice("a", "b")), build)


def test_a_width_inside_a_component_and_activations_that_are_not_registered_are_not_inheritable() -> None:
    found = {path: inheritable(foreign(), path, domain) for path, domain in every(foreign().tree).items()}
    assert found == {"width": True, "layer:foreign.width": False, "activation": False}
    blocks = Integer(1, 3)
    tree = Struct(depth=Choice("shallow", deep=Struct(blocks=blocks)), width=Choice(8, 16))
    space = Space("named", "for tests", tree, lambda *_: nn.Identity())
    assert not inheritable(space, "depth", every(tree)["depth"])
    assert not inheritable(space, "depth:deep.blocks", blocks)
    assert inheritable(space, "width", every(tree)["width"])


def test_a_module_without_a_rule_keeps_its_tensors_while_its_width_stays_and_names_the_remedy_otherwise() -> None:
    before = {"width": 4, "layer": {"foreign": {"width": 3}}, "activation": "a"}
    network = foreign().build(before, IMAGES).double().eval()
    child = inherit(foreign(), IMAGES, before, network.state_dict(), before | {"width": 8}, 0).eval()
    assert difference(network, child) < 1e-11
    wider: Any = foreign().build(before | {"layer": {"foreign": {"width": 4}}}, IMAGES).double()
    with pytest.raises(InheritanceError, match=r"^in 1: Foreign has no rule for other widths: keep this width"):
        widen(wider, network)


@pytest.mark.parametrize("name", ["nasbench201", "nasbench_macro"])
def test_cells_of_operations_have_nothing_to_inherit_through(name: str) -> None:
    space = find_space(name)
    assert not any(inheritable(space, path, domain) for path, domain in every(space.tree).items())


def test_options_of_an_activation_are_inheritable_where_the_activation_is_fixed() -> None:
    space = limited(SPACE, ["network.stages[*].activation=shifted_relu"])
    path = "network.stages[0].activation:shifted_relu.tau"
    assert inheritable(space, path, every(space.tree)[path])


def test_the_depth_of_a_stage_is_judged_with_its_architecture() -> None:
    path = "network.stages[0].depth"
    domain = every(SPACE.tree)[path]
    attention = vision(layer=chosen("layer", "kan_attention"), wiring="plain")
    assert inheritable(SPACE, path, domain)
    assert not inheritable(SPACE, path, domain, attention)
    assert inheritable(SPACE, path, domain, vision(layer=chosen("layer", "kan_attention")))
    assert inheritable(SPACE, path, domain, vision(wiring="plain"))
    assert inheritable(SPACE, "network.stages[0].width", domain, attention)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"layer": "linear"}, "network.stages[0].layer is 'conv2d' in the parent and 'linear' in the child, but"),
        ({"norm": "group"}, "network.stages[0].norm"),
        ({"wiring": "plain"}, "network.stages[0].wiring"),
        ({"sparsity": "n_m"}, "network.stages[0].sparsity"),
        ({"widths": (16, 16)}, "network.stages# is 1 in the parent and 2 in the child"),
    ],
)
def test_other_differences_are_refused(change: dict[str, Any], named: str) -> None:
    with pytest.raises(InheritanceError) as raised:
        heir(vision(), vision(**change))
    assert named in str(raised.value) and "\n" not in str(raised.value)
    assert isinstance(raised.value, UserError)


def test_a_state_of_another_network_is_refused() -> None:
    state = parent(vision(widths=(24,))).state_dict()
    with pytest.raises(InheritanceError, match="the weights are not those of the parent's architecture"):
        inherit(SPACE, IMAGES, vision(), state, vision(widths=(32,)), 0)


def test_other_trainings_alone_leave_the_network_as_it_is() -> None:
    after = deepcopy(vision())
    after["training"]["batch"] = 128
    assert difference(*heir(vision(), after)) == 0


def test_the_same_seed_gives_the_same_child_and_the_parent_s_precision() -> None:
    state = parent(vision()).float().state_dict()
    kept = {name: value.clone() for name, value in state.items()}
    first, again, other = (inherit(SPACE, IMAGES, vision(), state, vision(widths=(40,)), seed) for seed in (3, 3, 4))
    same = [torch.equal(a, b) for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True)]
    assert all(same)
    assert not torch.equal(first.state_dict()["head.layer.weight"], other.state_dict()["head.layer.weight"])
    assert {p.dtype for p in first.parameters()} == {torch.float32}
    assert first.training
    assert all(torch.equal(state[name], kept[name]) for name in state)


def test_the_caller_s_random_numbers_are_left_alone() -> None:
    state = parent(vision()).state_dict()
    before = torch.get_rng_state()
    inherit(SPACE, IMAGES, vision(), state, vision(widths=(40,), depths=(2,), activation="prelu"), 3)
    assert torch.equal(torch.get_rng_state(), before)


def relative(architecture: Architecture, rng: Random) -> Architecture:
    """Return an architecture in which each inheritable decision is another with probability one half."""
    trace = SPACE.trace(architecture)

    def decide(path: str, domain: Decision) -> Scalar:
        if path not in trace or (inheritable(SPACE, path, domain) and rng.random() < 0.5):
            return domain.draw(rng)
        return trace[path]

    return SPACE.resolve(decide)[0]


def losses(network: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the outputs in evaluation, and the loss in training, after which gradients are there."""
    inputs = torch.randn(8, *IMAGES.input_shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        outputs = network.eval()(inputs)
    loss = nn.functional.cross_entropy(network.train()(inputs), torch.arange(8))
    loss.backward()  # type: ignore[no-untyped-call]
    return outputs, loss


def check_pair(before: Architecture, after: Architecture, seed: int) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network, fresh = SPACE.build(before, IMAGES), SPACE.build(after, IMAGES)
    child = inherit(SPACE, IMAGES, before, network.state_dict(), after, seed)
    for name, value in fresh.state_dict().items():
        assert (child.state_dict()[name].shape, child.state_dict()[name].dtype) == (value.shape, value.dtype), name
    assert child.state_dict().keys() == fresh.state_dict().keys()
    assert live_parameters(child) == live_parameters(fresh)
    outputs, loss = losses(child)
    assert outputs.isfinite().all() and loss.isfinite()
    assert all(p.grad.isfinite().all() for p in child.parameters() if p.grad is not None)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_random_pairs_fit(part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fits of activations take most of the time and change no shape: they are real in every tenth pair."""
    rng = Random(part)
    fit = activations.fit_alike
    for i in range(50):
        monkeypatch.setattr(activations, "fit_alike", (lambda *_: None) if i % 10 else fit)
        before = SPACE.draw(rng)
        check_pair(before, relative(before, rng), i)
