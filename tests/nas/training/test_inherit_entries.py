"""Stages that begin with a convolution in the child alone, or in the parent alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from heirs import chosen, difference, heir, images, parent, vision

from search_spaces.registry import entries

EXACT = 1e-11


@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize("stem_norm", entries("norm"))
def test_a_stage_that_now_begins_with_a_convolution_computes_the_same(stem_norm: str, norm: str) -> None:
    before = vision(16, (16, 24), norm=norm, stem_norm=stem_norm)
    network = parent(before)
    for stem, width in ((16, 24), (24, 16)):
        if (stem, stem_norm) in ((24, "group"), (24, "layer")):
            continue  # These get wider unevenly, and are not exact by themselves.
        after = vision(stem, (width, 24), norm=norm, stem_norm=stem_norm)
        assert difference(*heir(before, after, network)) < EXACT


def test_a_beginning_reads_what_is_left_of_its_channels() -> None:
    """Eight of sixteen channels are gone; their places in the stage are nearly constant, at the mean that they had."""
    before, after = vision(16, (16,), norm="none"), vision(8, (16,), norm="none")
    network, child = heir(before, after)
    with torch.no_grad():
        theirs = network.get_submodule("stem")(images())
        mine = child.get_submodule("stages.0.entry")(child.get_submodule("stem")(images()))
    kept = [bool((mine[:, c] - theirs[:, c]).abs().max() < EXACT) for c in range(16)]
    assert sum(kept) == 8
    for channel in range(16):
        if not kept[channel]:
            assert 0 < mine[:, channel].var() < 0.2 * theirs[:, channel].var()


@pytest.mark.parametrize("stem_layer", entries("stem"))
@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize("stem_norm", ["batch", "none"])
def test_a_stem_does_what_it_and_a_convolution_of_single_places_did(stem_norm: str, norm: str, stem_layer: str) -> None:
    """There is no border then, and the two are one linear map."""
    parts: dict[str, Any] = {"norm": norm, "stem_norm": stem_norm, "stem_layer": chosen("stem", stem_layer)}
    before, after = vision(8, (16,), **parts), vision(16, (16,), **parts)
    network = parent(before)
    entry: Any = network.get_submodule("stages.0.entry.0")
    with torch.no_grad():
        entry.weight *= torch.zeros(3, 3).index_put((torch.tensor(1), torch.tensor(1)), torch.tensor(1.0))
    assert difference(*heir(before, after, network)) < EXACT


def test_a_stem_does_in_a_flat_image_what_it_and_a_convolution_did() -> None:
    """All pixels are alike, so the taps that went to the border lose nothing, but at the border of the maps."""
    parts: dict[str, Any] = {"norm": "batch", "stem_norm": "batch"}
    network, child = heir(vision(8, (16,), **parts), vision(16, (16,), **parts))
    flat = torch.full((1, 1, 8, 8), 0.7, dtype=torch.float64)
    with torch.no_grad():
        theirs = network.get_submodule("stages.0.entry")(network.get_submodule("stem")(flat))
        mine = child.get_submodule("stem")(flat)
    assert torch.allclose(mine[..., 3:5, 3:5], theirs[..., 3:5, 3:5], atol=EXACT)
    assert not torch.allclose(mine, theirs, atol=1e-3)


def test_a_stem_answers_to_a_single_pixel_at_its_place_as_it_and_a_convolution_did() -> None:
    """Only taps beyond the border of the stem's kernel are moved, and they are none of this place's."""
    parts: dict[str, Any] = {"norm": "none", "stem_norm": "none"}
    network, child = heir(vision(8, (16,), **parts), vision(16, (16,), **parts))
    pixel = torch.zeros(2, 1, 8, 8, dtype=torch.float64)
    pixel[1, :, 4, 3] = 1
    with torch.no_grad():
        theirs = network.get_submodule("stages.0.entry")(network.get_submodule("stem")(pixel)).diff(dim=0)
        mine = child.get_submodule("stem")(pixel).diff(dim=0)
    assert torch.allclose(mine[..., 4, 3], theirs[..., 4, 3], atol=EXACT)


def test_after_another_stage_the_rest_is_inherited() -> None:
    """Maps of 2 by 2 are not halved, so that a fourth stage of the third's width has no beginning of its own."""
    before, after = vision(8, (16, 16, 16, 24)), vision(8, (16, 16, 16, 16))
    network, child = heir(before, after)
    mine, theirs = (each.get_parameter("stages.3.block0.body.1.weight") for each in (child, network))
    assert set(mine.tolist()) < set(theirs.tolist())
    assert difference(network, child) < 5
    assert difference(*heir(after, before)) < EXACT
