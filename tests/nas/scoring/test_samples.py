"""The samples that networks are scored with."""

from __future__ import annotations

from random import Random

import pytest
import torch

from nas.scoring.samples import Gaussian, draw_samples, find_source
from nas.tasks import Task, TaskError, find_task
from search_spaces.registry import UnknownName

NOISE = Gaussian((3, 8, 4), 5)


def test_noise_is_named_by_its_shape_and_classes() -> None:
    assert find_source("gaussian:3x8x4:5") == NOISE and NOISE.name == "gaussian:3x8x4:5"
    assert find_source("gaussian:1x32x16:100") == Gaussian((1, 32, 16), 100)


@pytest.mark.parametrize(
    "name",
    ["gaussian", "gaussian:", "gaussian:3x8:5", "gaussian:3x8x4", "gaussian:0x8x4:5", "gaussian:3x8x4:5 ",
     "gaussian:3x8x4:0", "gaussian:3x8x4x1:5", "gaussian:ax8x4:5"],
)  # fmt: skip
def test_noise_that_does_not_parse_says_how_to_write_it(name: str) -> None:
    with pytest.raises(TaskError, match="does not parse: write gaussian:CHANNELSxHEIGHTxWIDTH:CLASSES") as caught:
        find_source(name)
    assert f"--task {name!r}" in str(caught.value) and "\n" not in str(caught.value)


def test_what_is_not_noise_is_a_task_of_that_split() -> None:
    found = find_source("digits", 3)
    assert not isinstance(found, Gaussian)
    assert torch.equal(found.train()[1], find_task("digits", 3).train()[1])
    assert not torch.equal(found.train()[1], find_task("digits", 4).train()[1])
    with pytest.raises(UnknownName, match="unknown task 'gaussians'"):
        find_source("gaussians:3x8x4:5")


def test_noise_is_standard_normal_and_its_labels_are_evenly_spread() -> None:
    """Bounds of five standard deviations of the mean, the variance and the counts."""
    inputs, targets = draw_samples(NOISE, 1000, 0)
    assert inputs.shape == (1000, 3, 8, 4) and inputs.dtype == torch.float32
    assert abs(inputs.mean()) < 5 / 96000**0.5 and abs(inputs.var() - 1) < 5 * (2 / 96000) ** 0.5
    counts = torch.bincount(targets)
    assert len(counts) == 5 and targets.dtype == torch.int64
    assert (counts - 200).abs().max() < 5 * (1000 * 0.2 * 0.8) ** 0.5


@pytest.mark.parametrize("source", [NOISE, find_task("digits")], ids=["noise", "task"])
def test_a_draw_depends_on_its_seed_alone(source: Task | Gaussian) -> None:
    first = draw_samples(source, 9, 7)
    state = torch.get_rng_state()
    torch.rand(3)
    again, other = draw_samples(source, 9, 7), draw_samples(source, 9, 8)
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    torch.set_rng_state(state)
    draw_samples(source, 9, 7)
    assert torch.equal(torch.get_rng_state(), state)


def test_samples_of_a_task_are_those_of_its_training_split_each_at_most_once() -> None:
    task = find_task("digits")
    inputs, targets = task.train()
    picked = Random("5/screen").sample(range(len(inputs)), 6)
    drawn = draw_samples(task, 6, 5)
    assert torch.equal(drawn[0], inputs[picked]) and torch.equal(drawn[1], targets[picked])
    everything = draw_samples(task, len(inputs), 5)[0]
    assert torch.equal(everything.double().sum((1, 2, 3)).sort().values, inputs.double().sum((1, 2, 3)).sort().values)


def test_more_samples_than_a_task_has_are_refused_and_noise_has_no_end() -> None:
    task = find_task("digits")
    most = len(task.train()[1])
    with pytest.raises(
        TaskError, match=f"--batch {most + 1} is more than .* digits has: give at most {most}, or noise"
    ):
        draw_samples(task, most + 1, 0)
    assert len(draw_samples(NOISE, most + 1, 0)[1]) == most + 1
