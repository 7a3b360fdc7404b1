"""Scores against trained results as a picture file: a panel for each predictor, PNG or SVG.

Across stands the rank of the score as a share of all ranks, so that predictors of different units look alike; upwards
the result, as it is. Results far below the others, such as those of networks that learned nothing, lie on the lower
edge.
"""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from nas.drawing.picture import DPI, GREY, GRID, STYLE, VALUE
from nas.scoring.evaluation import Evaluation
from predictors.evaluate import ALL, Agreement

DEGENERATE = "#ea580c"
ACROSS = "rank of the score, as a share"
COLUMNS, SIDE = 4, 2.6
LOWEST = 0.1  # of the sound results lie on the lower edge or below it
Values = NDArray[np.float64]


def picture(evaluation: Evaluation, form: str) -> bytes:
    """Return a PNG or SVG (`form` is ".png" or ".svg")."""
    trained, names = evaluation.trained, list(evaluation.scores)
    results, flags = np.array(trained.results), np.array(trained.degenerate or [False] * len(trained.results))
    columns = min(COLUMNS, len(names))
    rows = math.ceil(len(names) / columns)
    with rc_context(STYLE):
        figure = Figure((columns * SIDE + 0.6, rows * SIDE + 1.0), dpi=DPI, layout="constrained")
        figure.suptitle(f"{trained.space.name}: scores of untrained networks beside {trained.what}", fontsize=11)
        axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        window = limits(results[~flags] if (~flags).any() else results)
        for axis, name in zip(axes.flat, names, strict=False):
            agreement = evaluation.agreements[ALL][name]
            _panel(axis, np.array(evaluation.scores[name], np.float64), results, flags, window)
            axis.set_title(f"{name}\n{figures(agreement)}", fontsize=9, color=GREY, loc="left")
        for axis in axes.flat[len(names) :]:
            axis.set_visible(False)
        for axis in axes.flat[max(0, len(names) - columns) : len(names)]:
            axis.xaxis.set_tick_params(labelbottom=True)
        beyond = "; triangles: results further down" if (results < window[0]).any() else ""
        figure.supxlabel(ACROSS + beyond, fontsize=9, color=GREY)
        figure.supylabel(trained.what, fontsize=9, color=GREY)
        if flags.any():
            axes[0, 0].legend(loc="lower right", fontsize=7.5, frameon=True, edgecolor=GRID, handletextpad=0.1)
        buffer = io.BytesIO()
        stamps: Any = {"Date": None} if form == ".svg" else {}
        figure.savefig(buffer, format=form[1:], metadata=stamps)
    return buffer.getvalue()


def shares(scores: Values) -> Values:
    """Return the ranks of the known scores as shares of their number, equal ones in their middle; NaN stays NaN."""
    known = np.sort(scores[~np.isnan(scores)])
    if not len(known):
        return scores
    below, upto = np.searchsorted(known, scores, "left"), np.searchsorted(known, scores, "right")
    return np.where(np.isnan(scores), np.nan, (below + upto + 1) / 2 / len(known))


def limits(results: Values) -> tuple[float, float]:
    """Return a window of results: down to where a tenth is below, as far again below that, up to the greatest."""
    low, middle, high = np.quantile(results, [LOWEST, 0.5, 1])
    low = max(float(results.min()), float(low - (middle - low)))
    margin = 0.04 * (high - low) or 0.5
    return float(low - margin), float(high + margin)


def figures(agreement: Agreement) -> str:
    """Write the correlations over all architectures."""
    known = [("\N{GREEK SMALL LETTER RHO}", agreement.spearman), ("\N{GREEK SMALL LETTER TAU}", agreement.kendall)]
    return "   ".join(f"{sign} {'-' if found is None else f'{found.value:.2f}'}" for sign, found in known)


def _panel(axis: Axes, scores: Values, results: Values, degenerate: NDArray[np.bool_], window: Any) -> None:
    places = shares(scores)
    low, high = window
    shown = np.maximum(results, low)
    size = float(np.clip(3000 / max(1, len(scores)), 2, 14))
    for flags, colour, label in ((~degenerate, VALUE, "sound"), (degenerate, DEGENERATE, "degenerate")):
        for there, marker in ((results >= low, "o"), (results < low, "v")):
            picked = flags & there
            named = label if flags is degenerate or marker == "o" else None
            if picked.any():
                axis.scatter(
                    places[picked],
                    shown[picked],
                    s=size,
                    color=colour,
                    alpha=0.5,
                    linewidths=0,
                    marker=marker,
                    label=named,
                    clip_on=marker == "o",
                )
    axis.set_xlim(-0.02, 1.02)
    axis.set_ylim(low, high)
    axis.set_xticks([0, 0.5, 1], ["0", "½", "1"])
    axis.grid(color=GRID, linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
