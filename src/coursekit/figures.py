"""One plotly style for the whole course.

Backgrounds are transparent, and every color stands out on a light and on a dark page (contrast at least 3).
Training and validation look different in any color vision; curves of one figure differ by more than color.
`slider` puts several figures of one kind under one control, in a live notebook and in a page without a kernel.
"""

import html
import math
import textwrap
from collections.abc import Sequence
from typing import Any

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


def slider(
    frames: Sequence[go.Figure],
    values: Sequence[Any] | np.ndarray,
    *,
    label: str,
    describe: Sequence[str] | None = None,
    start: int = 0,
) -> go.Figure:
    """Put several figures of one kind under one control, which a reader moves.

    In a live notebook plotly draws its own slider. In the built book ``plotly_figures.js`` draws a control that
    keyboards and screen readers reach. Only what differs between the frames is stored for each of them.

    Parameters
    ----------
    frames : sequence of Figure [n]
        Alike in everything but the values of their traces and annotations. An axis along which values change has
        a range, and colors that change have zmin and zmax: otherwise the scale would jump from frame to frame.
    values : sequence [n]
        What the control reads at each frame: numbers, written with a comma between thousands, or text.
    label : str
        Name of the control, with its unit, such as "training step".
    describe : sequence of str [n], optional
        One sentence for each frame on what it shows, printed under the control and read to who cannot see.
    start : int
        Index of the frame shown first; negative counts from the end.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If the frames do not fit together, a range is missing, or there is not one value and sentence for each.

    Examples
    --------
    >>> frames = []
    >>> for slope in (0, 0.5, 1):
    ...     fig = figure("A line", "x", "y").update_yaxes(range=[0, 2])
    ...     add_curve(fig, [0, 1, 2], [0, slope, 2 * slope])
    ...     frames.append(fig)
    >>> moving = slider(frames, [0, 0.5, 1], label="slope")
    >>> [list(frame.data[0].y) for frame in moving.frames], moving.frames[0].data[0].x
    ([[0, 0, 0], [0.0, 0.5, 1.0], [0, 1, 2]], None)
    """
    if (n := len(frames)) < 2:
        raise ValueError(f"a slider needs at least two frames; got {n}")
    for name, given in (("values", values), ("describe", describe)):
        if given is not None and len(given) != n:
            raise ValueError(f"{name} must have one entry for each of the {n} frames; got {len(given)}")
    if not label.strip():
        raise ValueError("the control needs a label that says what it moves through")
    if not -n <= start < n:
        raise ValueError(f"start must be the index of one of the {n} frames; got {start}")
    start %= n
    traces = [[_plain(trace.to_plotly_json()) for trace in frame.data] for frame in frames]
    layouts = [_plain(frame.layout.to_plotly_json()) for frame in frames]
    notes = [layout.pop("annotations", []) for layout in layouts]
    _check_alike(traces, layouts, notes)
    changed = {
        k: keys
        for k, first in enumerate(traces[0])
        if (keys := [key for key in first if any(frame[k][key] != first[key] for frame in traces)])
    }
    _check_ranges(traces[0], layouts[0], changed)
    meta = {
        "label": label,
        "values": [_value_text(value) for value in values],
        "describe": [" ".join(sentence.split()) for sentence in describe or ()],
        "start": start,
        "height": layouts[0].get("height", TEMPLATE.layout.height),
    }
    controls, notes = _live_controls(meta, layouts[0], notes)
    notes_move = any(note != notes[0] for note in notes)
    moves = [
        go.Frame(
            name=str(i),
            traces=list(changed),
            data=[
                {"type": frame[k].get("type", "scatter")} | {key: frame[k][key] for key in keys}
                for k, keys in changed.items()
            ],
            layout={"annotations": notes[i]} if notes_move else {},
        )
        for i, frame in enumerate(traces)
    ]
    layout = layouts[0] | controls | {"annotations": notes[start], "uirevision": "slider"}
    return go.Figure(data=traces[start], layout=layout, frames=moves)


def _plain(value: Any) -> Any:
    """Turn arrays into lists, and numbers that JSON cannot hold into None."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _check_alike(traces: list[Any], layouts: list[Any], notes: list[Any]) -> None:
    """Raise where a frame differs from the first one by more than values."""
    kinds = [[trace.get("type", "scatter") for trace in frame] for frame in traces]
    counts = [len(note) for note in notes]
    for i, layout in enumerate(layouts):
        for what, found in (("the same traces", kinds), ("as many annotations", counts)):
            if found[i] != found[0]:
                raise ValueError(
                    f"every frame must have {what}; frame 0 has {found[0]} and frame {i} has {found[i]}"
                )
        for k, (trace, first) in enumerate(zip(traces[i], traces[0], strict=True)):
            for key in trace.keys() ^ first.keys():
                raise ValueError(
                    f"{key} of trace {k} must be set in every frame or in none; frame {i} differs"
                )
        for part in layout.keys() | layouts[0].keys():
            if layout.get(part) != layouts[0].get(part):
                raise ValueError(f"every frame must have the same layout; {part} differs in frame {i}")


def _check_ranges(traces: list[Any], layout: dict[str, Any], changed: dict[int, list[str]]) -> None:
    """Raise where the scale of an axis or of colors could jump from frame to frame."""
    for k, keys in changed.items():
        for letter in "xy":
            axis = f"{letter}axis{traces[k].get(f'{letter}axis', letter)[1:]}"
            moves = {letter, f"error_{letter}", "base"}.intersection(keys)
            if moves and None in (layout.get(axis, {}).get("range") or [None]):
                raise ValueError(f"the values along {axis} change: set {axis}.range in every frame")
        if "z" in keys and ("coloraxis" in traces[k] or not {"zmin", "zmax"} <= traces[k].keys()):
            raise ValueError(
                f"the colors of trace {k} change: set zmin and zmax in every frame, no coloraxis"
            )


def _value_text(value: Any) -> str:
    """Write what the control reads: text as it is, numbers with a comma between thousands.

    >>> [_value_text(value) for value in (0, 12000, 0.25, 1e-5, "no overlap")]
    ['0', '12,000', '0.25', '1e-05', 'no overlap']
    """
    if isinstance(value, str):
        return value
    return f"{int(value):,}" if value == int(value) else f"{value:.4g}"


def _live_controls(
    meta: dict[str, Any], layout: dict[str, Any], notes: list[list[Any]]
) -> tuple[dict[str, Any], list[list[Any]]]:
    """Return the parts of the layout with plotly's own controls, and each frame's annotations with its sentence.

    They stand between title and plot. The book takes them out again and draws its own (`coursekit.book.mime`).
    """
    start = meta["start"]
    corner = {"x": 0, "xanchor": "left", "y": 1, "yanchor": "bottom"}
    crowded = any(note.get("yref") == "paper" and note.get("y", 0) >= 1 for note in notes[start])
    lines = [textwrap.wrap(html.escape(sentence, quote=False), 90) for sentence in meta["describe"]]
    below = 10 + 30 * crowded  # between plot and sentence
    room = below + max((19 * len(text) + 14 for text in lines), default=0)
    if lines:
        place = corner | {"xref": "paper", "yref": "paper", "yshift": below, "showarrow": False}
        texts = [place | {"text": "<br>".join(text), "align": "left"} for text in lines]
        notes = [[*own, text] for own, text in zip(notes, texts, strict=True)]

    def to(frame: str | None, milliseconds: float) -> dict[str, Any]:
        """Return the arguments with which plotly goes to a frame, or plays all from here."""
        now = {"mode": "immediate", "fromcurrent": True, "transition": {"duration": 0}}
        options = now | {"frame": {"duration": milliseconds, "redraw": True}}
        return {"method": "animate", "args": [frame if milliseconds else [frame], options]}

    labels = [html.escape(text, quote=False) for text in (meta["label"], *meta["values"])]
    steps = [{"label": text} | to(str(i), 0) for i, text in enumerate(labels[1:])]
    control = corner | {
        "active": start,
        "currentvalue": {"prefix": f"{labels[0]}: ", "xanchor": "left"},
        "len": 1,
        "pad": {"l": 140, "b": room},
        "steps": steps,
    }
    # all frames within about twelve seconds, as the training scrubber does
    play = to(None, min(400, max(40, 12000 // len(steps))))
    buttons = corner | {
        "type": "buttons",
        "direction": "left",
        "showactive": False,
        "pad": {"b": room + 15},
        "buttons": [{"label": "Play"} | play, {"label": "Pause"} | to(None, 0)],
    }
    more, margin = 80 + room, layout.get("margin", {})
    title = {"y": 1, "yref": "container", "yanchor": "top", "pad": {"t": 20}}
    controls = {
        "meta": layout.get("meta", {}) | {"slider": meta},
        "sliders": [control],
        "updatemenus": [buttons],
        "height": meta["height"] + more,
        "margin": margin | {"t": margin.get("t", TEMPLATE.layout.margin.t) + more},
        "title": layout.get("title", {}) | title,
    }
    return controls, notes
