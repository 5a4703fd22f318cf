"""One plotly style for the whole course.

Backgrounds are transparent, and every color stands out on a light and on a dark page (contrast at least 3).
Training and validation look different in any color vision; curves of one figure differ by more than color.
"""

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike

COLORS = {
    "train": "#d55e00",
    "val": "#0072b2",
    "green": "#009e73",
    "pink": "#c46a9c",
    "gray": "#7a7a7a",
    "brown": "#8c6d1f",
}
"""Vermilion is training and blue is validation in every figure of the course (after Okabe and Ito 2008)."""

COLORWAY = (COLORS["val"], COLORS["train"], *list(COLORS.values())[2:])
DASHES = ("solid", "dash", "dot", "dashdot")
SYMBOLS = ("circle", "square", "diamond", "cross", "x", "star")

_TEXT = "#767676"  # readable on white and on black, where no page restyles the figure
_GRID = "rgba(128, 128, 128, 0.25)"
_AXIS = {
    "automargin": True,
    "gridcolor": _GRID,
    "linecolor": _GRID,
    "showline": True,
    "zeroline": False,
    "ticks": "outside",
    "tickcolor": _GRID,
    "title": {"standoff": 10},
}

TEMPLATE = go.layout.Template(
    layout={
        "colorway": COLORWAY,
        "font": {"size": 14, "color": _TEXT},
        "paper_bgcolor": "rgba(0, 0, 0, 0)",
        "plot_bgcolor": "rgba(0, 0, 0, 0)",
        "title": {"x": 0, "xref": "paper", "xanchor": "left", "font": {"size": 16}},
        "legend": {"bgcolor": "rgba(0, 0, 0, 0)", "orientation": "h", "x": 0, "y": -0.25, "yanchor": "top"},
        "margin": {"l": 60, "r": 20, "t": 60, "b": 60},
        "height": 450,
        "hovermode": "closest",
        "xaxis": _AXIS,
        "yaxis": _AXIS,
    }
)


def figure(title: str, x: str = "", y: str = "", *, log_x: bool = False, log_y: bool = False) -> go.Figure:
    """Make an empty figure in the style of the course.

    Parameters
    ----------
    title, x, y : str
        Titles of the figure and of its axes, with units.
    log_x, log_y : bool
        Logarithmic axes.

    Returns
    -------
    Figure

    Examples
    --------
    >>> fig = figure("Grokking", "optimization steps", "accuracy", log_x=True)
    >>> fig.layout.xaxis.type
    'log'
    """
    fig = go.Figure(layout={"template": TEMPLATE, "title": {"text": title}})
    for axis, text, log in ((fig.layout.xaxis, x, log_x), (fig.layout.yaxis, y, log_y)):
        axis.title.text = text
        if log:
            axis.update(type="log", exponentformat="power")
    return fig


def add_curve(
    fig: go.Figure,
    x: ArrayLike,
    y: ArrayLike,
    low: ArrayLike | None = None,
    high: ArrayLike | None = None,
    *,
    name: str = "",
    color: str | None = None,
    dash: str = "solid",
    symbol: str | None = None,
) -> None:
    """Add a line, with a band between `low` and `high` if they are given.

    Parameters
    ----------
    fig : Figure
    x, y : array_like [n]
    low, high : array_like [n], optional
        Ends of the band, both or neither.
    name : str
        For the legend; without it the line has no entry.
    color : str, optional
        Such as `COLORS["val"]`; the next unused of `COLORWAY` by default.
    dash : str
        One of `DASHES`.
    symbol : str, optional
        One of `SYMBOLS`, to mark the points.

    Raises
    ------
    ValueError
        If the lengths differ, or only one end of the band is given.

    Examples
    --------
    >>> fig = figure("Loss", "step", "loss (nats)")
    >>> add_curve(fig, [1, 2, 3], [3.0, 2.0, 1.5], [2.9, 1.8, 1.4], [3.1, 2.2, 1.6], name="validation")
    >>> [(trace.name, trace.fill) for trace in fig.data]
    [('validation', 'toself'), ('validation', None)]
    """
    if (low is None) != (high is None):
        raise ValueError("a band has two ends: give both low and high, or neither")
    lengths = [len(np.asarray(values)) for values in (x, y, low, high) if values is not None]
    if len(set(lengths)) > 1:
        raise ValueError(f"x, y, low and high must have one length; got {lengths}")
    color = color or COLORWAY[sum(getattr(trace, "fill", None) is None for trace in fig.data) % len(COLORWAY)]
    if low is not None and high is not None:
        fig.add_scatter(
            x=np.concatenate([x, np.flip(x)]),
            y=np.concatenate([high, np.flip(low)]),
            fill="toself",
            fillcolor=transparent(color, 0.2),
            line={"width": 0},
            mode="lines",
            hoverinfo="skip",
            name=name,
            legendgroup=name,
            showlegend=False,
        )
    fig.add_scatter(
        x=np.asarray(x),
        y=np.asarray(y),
        mode="lines+markers" if symbol else "lines",
        line={"color": color, "dash": dash, "width": 2},
        marker={"symbol": symbol, "size": 8} if symbol else None,
        name=name,
        legendgroup=name,
        showlegend=bool(name),
    )


def transparent(color: str, opacity: float) -> str:
    """Give a `#rrggbb` color an opacity between 0 and 1.

    >>> transparent("#0072b2", 0.2)
    'rgba(0, 114, 178, 0.2)'
    """
    red, green, blue = bytes.fromhex(color.removeprefix("#"))
    return f"rgba({red}, {green}, {blue}, {opacity})"


def style(number: int) -> dict[str, str]:
    """Choose color, dash and symbol of the n-th of several curves; the first 24 all differ.

    >>> style(0)
    {'color': '#0072b2', 'dash': 'solid', 'symbol': 'circle'}
    >>> len({tuple(style(number).values()) for number in range(12)})
    12
    """
    return {
        "color": COLORWAY[number % len(COLORWAY)],
        "dash": DASHES[number // len(COLORWAY) % len(DASHES)],
        "symbol": SYMBOLS[number % len(SYMBOLS)],
    }
