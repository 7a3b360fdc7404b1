"""The figures, on points whose front is known."""

from __future__ import annotations

import numpy as np
import pytest

from dashboard.figures import curves, front, progress
from dashboard.reading import Completed
from dashboard.reading import front as front_of
from nas import pareto


def made(names: tuple[str, ...], values: list[list[float]] | np.ndarray) -> Completed:
    array = np.asarray(values, dtype=float).reshape(-1, len(names))
    return Completed(names, np.arange(len(array), dtype=np.int32), array, front_of(names, array), {})


@pytest.mark.parametrize("names", [("accuracy",), ("accuracy", "params"), ("accuracy", "params", "loss")])
def test_the_front_of_many_points_is_the_general_one(names: tuple[str, ...]) -> None:
    values = np.random.default_rng(0).integers(0, 40, (2000, len(names))).astype(float)
    values[5] = np.nan
    values[7, 0] = np.inf
    signs = np.array([-1.0, 1.0, 1.0])[: len(names)]
    losses = np.where(np.isnan(values), np.inf, values * signs)
    assert front_of(names, values).tolist() == pareto.front(losses)


def test_the_front_line_joins_the_unbeaten_trials_from_small_to_large() -> None:
    found = made(("accuracy", "params"), [[0.9, 1000], [0.7, 10], [0.8, 100], [0.6, 500]])
    line = front.draw(found, "params", "accuracy").data[1]
    assert list(line.x) == [10, 100, 1000]
    assert list(line.y) == [0.7, 0.8, 0.9]
    assert list(line.customdata) == [1, 2, 0]
    assert line.line.shape == "hv"


def test_axes_say_unit_and_direction_and_sizes_are_logarithmic() -> None:
    layout = front.draw(made(("latency", "memory"), [[1, 2]]), "memory", "latency").layout
    assert layout.xaxis.title.text == "memory [bytes], lower is better"
    assert layout.yaxis.title.text == "latency [ms], lower is better"
    assert (layout.xaxis.type, layout.yaxis.type) == ("log", "linear")


def test_a_size_of_zero_is_not_drawn_on_a_logarithmic_axis() -> None:
    figure = front.draw(made(("accuracy", "params"), [[0.5, 0], [0.6, 10]]), "params", "accuracy")
    assert figure.layout.xaxis.type == "linear"


@pytest.mark.parametrize(("count", "kind"), [(5_000, "scatter"), (5_001, "scattergl")])
def test_many_points_are_drawn_by_webgl(count: int, kind: str) -> None:
    values = np.random.default_rng(0).random((count, 2)) + 1
    assert front.draw(made(("accuracy", "params"), values), "params", "accuracy").data[0].type == kind


def test_above_fifty_thousand_a_sample_is_drawn_with_the_whole_front() -> None:
    found = made(("accuracy", "params"), np.random.default_rng(0).random((120_000, 2)) + 1)
    shown = front.sample(found)
    assert 30_000 < len(shown) <= 50_000 + len(found.front)
    assert set(found.front) <= set(shown)
    assert "a sample of" in front.draw(found, "params", "accuracy").layout.title.text


def test_the_cheap_objective_goes_to_the_right() -> None:
    assert front.axes(("params", "accuracy")) == ("params", "accuracy")
    assert front.axes(("accuracy", "loss")) == ("loss", "accuracy")


def test_best_so_far_only_improves() -> None:
    found = made(("accuracy",), [[0.5], [0.4], [float("nan")], [0.7], [0.6]])
    line = progress.draw(found).data[1]
    assert list(zip(line.x, line.y, strict=True)) == [(0, 0.5), (3, 0.7), (4, 0.7)]


def test_a_study_without_completed_trials_has_empty_figures() -> None:
    assert len(front.draw(made(("accuracy", "params"), []), "params", "accuracy").data[0].x) == 0
    assert len(progress.draw(made(("accuracy",), [])).data[1].x) == 0


def test_learning_curves_share_a_panel_by_kind() -> None:
    reported = {name: [(1, 0.5), (2, 0.6)] for name in ("val_accuracy", "val_loss", "train_loss", "rate", "other")}
    drawn = curves.draw(reported | {"params": [(0, 100.0)]})
    assert {key: [line.name for line in each.data] for key, each in drawn.items()} == {
        "accuracy": ["validation"],
        "loss": ["validation", "training"],
        "rate": ["rate"],
        "other": ["other"],
    }


def test_a_few_epochs_are_marked_by_whole_numbers() -> None:
    assert curves.draw({"val_loss": [(1, 0.5), (3, 0.6)]})["loss"].layout.xaxis.dtick == 1
    assert curves.draw({"val_loss": [(1, 0.5), (200, 0.6)]})["loss"].layout.xaxis.dtick is None
