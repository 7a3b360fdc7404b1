"""What all figures share. Marks are mid-toned, so that they are seen on light and on dark paper alike."""

from __future__ import annotations

from typing import Any

POINT = "#7f9bc8"
LEADER = "#e8590c"
CONFIRMED = "#0ca678"
SERIES = ("#3b82f6", "#e8590c", "#0ca678", "#a855f7")
FONT = "Inter, system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', sans-serif"

WEBGL_ABOVE = 5_000
THIN_ABOVE = 1_000

AT_LEFT = {"xref": "paper", "xanchor": "left"}

CONFIG: dict[str, Any] = {
    "displaylogo": False,
    "showSendToCloud": False,
    "plotlyServerURL": "",
    "responsive": True,
    "modeBarButtonsToRemove": ["lasso2d", "select2d", "autoScale2d"],
    "toImageButtonOptions": {"format": "svg", "filename": "nas"},
}


def marker(count: int) -> dict[str, Any]:
    """Return the marks of so many points: the more there are, the smaller and paler."""
    if count > WEBGL_ABOVE:
        return {"color": POINT, "size": 4, "opacity": 0.4}
    if count > THIN_ABOVE:
        return {"color": POINT, "size": 5, "opacity": 0.5}
    return {"color": POINT, "size": 8, "opacity": 0.75}


def layout(title: str, *, keep: str, height: int = 420, **more: Any) -> dict[str, Any]:
    """Return a figure's layout; the user's zoom is kept as long as `keep` stays the same."""
    return {
        "title": {"text": title, "x": 0, "y": 0.99, "yanchor": "top", "font": {"size": 14}, **AT_LEFT},
        "template": "none",
        "font": {"family": FONT, "size": 12, "color": "#6b7a90"},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 64, "r": 16, "t": 44, "b": 52},
        "height": height,
        "hovermode": "closest",
        "hoverlabel": {"font": {"family": FONT, "size": 12}, "align": "left"},
        "legend": {"orientation": "h", "x": 1, "xanchor": "right", "y": 1.02, "yanchor": "bottom"},
        "uirevision": keep,
        **more,
    }


def axis(title: str, *, log: bool = False, **more: Any) -> dict[str, Any]:
    """Return an axis with a thin grid and room for its labels."""
    ticks = {"type": "log", "dtick": "D2" if log else None} if log else {"type": "linear"}
    return {
        "title": {"text": title, "standoff": 10},
        "gridcolor": "rgba(124,147,180,0.22)",
        "zeroline": False,
        "showline": False,
        "automargin": True,
        **ticks,
        **more,
    }


UNDER_TITLE: dict[str, Any] = {
    "margin": {"l": 64, "r": 16, "t": 66, "b": 52},
    "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.01, "yanchor": "bottom"},
}
"""Room for a legend below the title, which then has the whole width of a narrow screen."""

BLANK: dict[str, Any] = {
    "data": [],
    "layout": layout("", keep="", xaxis={"visible": False}, yaxis={"visible": False}),
}
