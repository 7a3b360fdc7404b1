"""Scores beside results, drawn: where points lie, and what stands beside them."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import numpy as np
import pytest

from nas.scoring.evaluation import Evaluation
from nas.scoring.scatter import limits, picture, shares
from nas.scoring.scatter_page import page
from nas.scoring.trained import Trained
from predictors.evaluate import evaluate
from search_spaces.spaces.nasbench201 import SPACE, write


def judged(count: int = 30) -> Evaluation:
    rng = Random(0)
    architectures = tuple(SPACE.draw(rng) for _ in range(count))
    results = tuple([10.0, *(90 + rng.random() for _ in range(count - 1))])
    scores: dict[str, list[float | None]] = {
        "good": [*results],
        "some": [None, *(rng.random() for _ in range(count - 1))],
        "same": [1.0] * count,
        "none": [None] * count,
    }
    trained = Trained(SPACE, "t", architectures, results, "test_accuracy", "")
    agreements = evaluate(scores, results, trained.degenerate, resamples=5)
    return Evaluation(trained, scores, agreements, dict.fromkeys(scores), {name: {} for name in scores})


def test_shares_by_hand() -> None:
    """Of four known scores the least has the rank 1 of 4; equal ones share the mean of their ranks, 2 and 3."""
    found = shares(np.array([7.0, np.nan, 3, 9, 7]))
    assert found[[2, 0, 4, 3]].tolist() == [1 / 4, 2.5 / 4, 2.5 / 4, 1]
    assert np.isnan(found[1]) and np.isnan(shares(np.full(2, np.nan))).all()


@pytest.mark.filterwarnings("error")
def test_a_few_bad_results_do_not_squeeze_the_others() -> None:
    results = np.array([10.0, *np.linspace(85, 94, 99)])
    low, high = limits(results)
    assert 70 < low < 85 and 94 < high < 95
    assert limits(np.full(5, 3.0)) == (2.5, 3.5)
    even = np.linspace(0, 1, 100)
    assert limits(even) == (pytest.approx(-0.04), pytest.approx(1.04))


@pytest.mark.filterwarnings("error")
def test_a_png_and_an_svg_are_drawn_and_the_svg_tells_all() -> None:
    found = judged()
    assert picture(found, ".png").startswith(b"\x89PNG")
    drawn = picture(found, ".svg").decode()
    good = found.agreements["all"]["good"].spearman
    assert good is not None and good.value == 1
    for text in ("good", "some", "same", "none", "test_accuracy", "rank of the score, as a share", "triangles", "1.00"):
        assert text in drawn
    assert drawn == picture(found, ".svg").decode()


def test_degenerate_ones_have_a_colour_and_a_legend_of_their_own() -> None:
    found = judged(200)
    assert any(found.trained.degenerate or ())
    assert "degenerate" in picture(found, ".svg").decode()
    sound = replace(SPACE, degenerate=None)
    assert "degenerate" not in picture(replace(found, trained=replace(found.trained, space=sound)), ".svg").decode()


def test_the_page_needs_nothing_else_and_names_each_architecture() -> None:
    found = judged()
    text = page(found)
    assert "rank of the score, as a share" in text
    assert "<html" in text and '<script src="http' not in text and "test_accuracy" in text
    names = [write(each) for each in found.trained.architectures]
    assert all(name in text for name in names)
