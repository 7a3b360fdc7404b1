from __future__ import annotations

import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from nas.tasks import find_task
from nas.tasks.digits import SHARES, split
from search_spaces.registry import UnknownName


def test_the_parts_of_a_split_are_disjoint_and_cover_all_images() -> None:
    parts = split(3)
    assert sorted(row for part in parts.values() for row in part) == list(range(1797))


def test_every_class_is_divided_by_the_shares() -> None:
    labels = load_digits().target
    sizes = Counter(labels.tolist())
    for part, rows in split(0).items():
        for label, count in Counter(labels[rows].tolist()).items():
            assert abs(count - SHARES[part] * sizes[label]) <= 1


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_samples_are_those_of_scikit_learn_standardised_with_train_statistics(part: str) -> None:
    data = load_digits()
    pixels = data.images / 16.0
    known = pixels[split(5)["train"]]
    rows = split(5)[part]
    inputs, targets = getattr(find_task("digits", 5), part)()
    assert inputs.shape == (len(rows), 1, 8, 8) and inputs.dtype == torch.float32 and targets.dtype == torch.int64
    expected = (pixels[rows] - known.mean()) / known.std()
    np.testing.assert_allclose(inputs[:, 0].numpy(), expected, atol=1e-6)
    assert targets.tolist() == data.target[rows].tolist()


def test_blank_is_what_standardisation_makes_of_a_black_pixel() -> None:
    task = find_task("digits", 1)
    assert task.train()[0].min().item() == pytest.approx(task.blank, abs=1e-6)


def test_content_tells_splits_apart_and_is_the_same_each_time() -> None:
    assert find_task("digits", 0).content == find_task("digits", 0).content
    assert find_task("digits", 0).content != find_task("digits", 1).content
    assert split(0) != split(1)


def test_content_is_known_without_torch() -> None:
    code = "import sys; from nas.tasks import find_task; find_task('digits').content; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_task_is_named_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match=r"'digit'.*digits"):
        find_task("digit")
