"""Scores against trained results as a page of one file, in which each point tells its architecture."""

from __future__ import annotations

import math

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from nas.drawing.picture import VALUE
from nas.scoring.architectures import written
from nas.scoring.evaluation import Evaluation
from nas.scoring.scatter import ACROSS, COLUMNS, DEGENERATE, figures, shares
from predictors.evaluate import ALL

HEIGHT = 330
MOST = 160


def page(evaluation: Evaluation) -> str:
    """Return the HTML, which needs nothing else."""
    trained, names = evaluation.trained, list(evaluation.scores)
    columns = min(COLUMNS, len(names))
    rows = math.ceil(len(names) / columns)
    titles = [f"{name}: {figures(evaluation.agreements[ALL][name])}" for name in names]
    figure = make_subplots(rows, columns, subplot_titles=titles, shared_yaxes=True, vertical_spacing=0.2 / rows)
    results, flags = np.array(trained.results), np.array(trained.degenerate or [False] * len(trained.results))
    texts = np.array([written(each, trained.space)[:MOST] for each in trained.architectures])
    for i, name in enumerate(names):
        scores = np.array(evaluation.scores[name], np.float64)
        places = shares(scores)
        for picked, colour, label in ((~flags, VALUE, "sound"), (flags, DEGENERATE, "degenerate")):
            picked = picked & ~np.isnan(scores)
            if picked.any():
                points = go.Scattergl(
                    x=places[picked],
                    y=results[picked],
                    mode="markers",
                    marker={"size": 5, "color": colour, "opacity": 0.5},
                    name=label,
                    legendgroup=label,
                    showlegend=i == 0 and bool(flags.any()),
                    customdata=np.column_stack([texts[picked], scores[picked].astype(str)]),
                    hovertemplate="%{customdata[0]}<br>score %{customdata[1]}, result %{y}<extra></extra>",
                )
                figure.add_trace(points, row=i // columns + 1, col=i % columns + 1)
    figure.update_layout(
        title=f"{trained.space.name}: scores of untrained networks beside {trained.what}",
        height=HEIGHT * rows + 120,
        template="plotly_white",
    )
    figure.update_xaxes(title=ACROSS, range=[-0.02, 1.02])
    figure.update_yaxes(title=trained.what, col=1)
    return str(figure.to_html(include_plotlyjs=True, full_html=True))
