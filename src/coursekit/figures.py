"""One plotly style for the whole course.

Backgrounds are transparent, and every color stands out on a light and on a dark page (contrast at least 3).
Training and validation look different in any color vision; curves of one figure differ by more than color.
`slider` puts several figures of one kind under one control, in a live notebook and in a page without a kernel.
"""

import html
import itertools
import math
import textwrap
from collections.abc import Iterator, Sequence
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
    keyboards and screen readers reach. Only what differs between the frames is stored for each of them; numbers
    that are no integers are rounded to four significant digits, finer where an array spans little.

    Parameters
    ----------
    frames : sequence of Figure [n]
        Alike in everything but the values of their traces, the annotations and the shapes. Where an axis or a
        color scale has no limits and its values change, limits that hold all frames are set, so that nothing
        jumps.
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
        If the frames do not fit together, or there is not one value and one sentence for each.

    Examples
    --------
    >>> frames = []
    >>> for slope in (0, 0.5, 1):
    ...     fig = figure("A line", "x", "y")
    ...     add_curve(fig, [0, 1, 2], [0, slope, 2 * slope])
    ...     frames.append(fig)
    >>> moving = slider(frames, [0, 0.5, 1], label="slope")
    >>> [list(frame.data[0].y) for frame in moving.frames], moving.frames[0].data[0].x
    ([[0, 0, 0], [0, 0.5, 1], [0, 1, 2]], None)
    >>> moving.layout.yaxis.range
    (-0.1, 2.1)
    """
    n = len(frames)
    if n < 2:
        raise ValueError(f"a slider needs at least two frames; got {n}")
    for name, given in (("values", values), ("describe", describe)):
        if given is not None and len(given) != n:
            raise ValueError(f"{name} must have one entry for each of the {n} frames; got {len(given)}")
    if not label.strip():
        raise ValueError("the control needs a label that says what it moves through")
    if not -n <= start < n:
        raise ValueError(f"start must be the index of one of the {n} frames; got {start}")
    traces = [[_plain(trace.to_plotly_json()) for trace in frame.data] for frame in frames]
    layouts = [_plain(frame.layout.to_plotly_json()) for frame in frames]
    _check_frames(frames, traces, layouts)
    leaves = [[dict(_leaves(trace)) for trace in frame] for frame in traces]
    changed = [
        [path for path in of_first if any(frame[k][path] != of_first[path] for frame in leaves)]
        for k, of_first in enumerate(leaves[0])
    ]
    moving = [
        part
        for part in ("annotations", "shapes")
        if any(lay.get(part) != layouts[0].get(part) for lay in layouts)
    ]
    if not any(changed) and not moving:
        raise ValueError("all frames show the same: there is nothing to move")
    start %= n
    layout = {key: value for key, value in layouts[start].items() if key != "template"}
    layout |= _fixed_axes(layout, traces, changed)
    fixed = _fixed_colors(layout, traces, changed)
    texts = [_value_text(value) for value in values]
    sentences = [] if describe is None else [" ".join(sentence.split()) for sentence in describe]
    height = layout.get("height") or frames[0].layout.template.layout.height or 450
    meta = {"label": label, "values": texts, "describe": sentences, "start": start, "height": height}
    above = [frame.get("annotations", []) for frame in layouts]
    controls, notes = _live_controls(meta, layout, above)
    steps = [
        go.Frame(
            name=str(i),
            traces=[k for k, paths in enumerate(changed) if paths],
            data=[
                _nested(
                    {("type",): frame[k].get("type", "scatter")}
                    | {path: leaves[i][k][path] for path in paths}
                )
                for k, paths in enumerate(changed)
                if paths
            ],
            layout={part: layouts[i][part] for part in moving}
            | ({"annotations": notes[i]} if sentences else {}),
        )
        for i, frame in enumerate(traces)
    ]
    first = [_nested(dict(_leaves(trace)) | fixed[k]) for k, trace in enumerate(traces[start])]
    return go.Figure(
        data=first,
        layout=layout | controls | {"template": frames[0].layout.template, "uirevision": "slider"},
        frames=steps,
    )


_Path = tuple[str, ...]
_Leaves = dict[_Path, Any]


def _plain(value: Any) -> Any:
    """Return lists, dicts, text and numbers only, short enough to be sent; what JSON cannot hold becomes None."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        if any(isinstance(part, dict) for part in value):
            return [_plain(part) for part in value]
        finite = [number for number in _numbers(value) if math.isfinite(number)]
        return _rounded(value, max(finite, default=0.0) - min(finite, default=0.0))
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, (str, int)) or value is None else str(value)


def _rounded(value: Any, span: float) -> Any:
    """Round to four significant digits of the number or of the span of its array, whichever is finer."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [_rounded(part, span) for part in value]
    if not isinstance(value, float) or not math.isfinite(value):
        return _plain(value)
    if value.is_integer():
        return int(value)
    sizes = [abs(value)] + [span] * (span > 0)
    return round(value, max(3 - math.floor(math.log10(size)) for size in sizes))


def _numbers(values: Any) -> Iterator[float]:
    """Give every number in nested lists."""
    if isinstance(values, (list, tuple)) or hasattr(values, "tolist"):
        for part in values:
            yield from _numbers(part)
    elif isinstance(values, (int, float)) and not isinstance(values, bool):
        yield values


def _leaves(tree: dict[str, Any], path: _Path = ()) -> Iterator[tuple[_Path, Any]]:
    """Give each path through nested dicts with what stands at its end."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key), value


def _nested(leaves: _Leaves) -> dict[str, Any]:
    """Undo `_leaves`.

    >>> _nested({("type",): "bar", ("marker", "color"): [1, 2]})
    {'type': 'bar', 'marker': {'color': [1, 2]}}
    """
    tree: dict[str, Any] = {}
    for path, value in leaves.items():
        branch = tree
        for key in path[:-1]:
            branch = branch.setdefault(key, {})
        branch[path[-1]] = value
    return tree


def _check_frames(frames: Sequence[go.Figure], traces: list[Any], layouts: list[Any]) -> None:
    """Raise where a frame differs from the first one by more than values."""
    kinds = [[trace.get("type", "scatter") for trace in frame] for frame in traces]
    for i, layout in enumerate(layouts):
        if frames[i].frames or layout.get("sliders") or layout.get("updatemenus"):
            raise ValueError(
                f"frame {i} has controls of its own; give figures without frames, sliders and menus"
            )
        if kinds[i] != kinds[0]:
            raise ValueError(
                f"every frame must have the same traces; frame 0 has {kinds[0]} and frame {i} has {kinds[i]}"
            )
        for k, (trace, first) in enumerate(zip(traces[i], traces[0], strict=True)):
            uneven = {path for path, _ in _leaves(trace)} ^ {path for path, _ in _leaves(first)}
            if uneven:
                raise ValueError(
                    f"{'.'.join(min(uneven))} of trace {k} must be set in every frame or in none; "
                    f"frame 0 and frame {i} differ"
                )
        for part in ("annotations", "shapes"):
            counts = [len(lay.get(part, [])) for lay in (layouts[0], layout)]
            if counts[0] != counts[1]:
                raise ValueError(
                    f"every frame must have the same number of {part}; "
                    f"frame 0 has {counts[0]} and frame {i} has {counts[1]}"
                )
        mine, first = (
            {p: v for p, v in _leaves(lay) if p[0] not in ("annotations", "shapes")}
            for lay in (layout, layouts[0])
        )
        if mine != first:
            path = min(
                p
                for p in mine.keys() | first.keys()
                if mine.get(p) != first.get(p) or (p in mine) != (p in first)
            )
            raise ValueError(
                f"every frame must have the same layout; {'.'.join(path)} is {first.get(path)!r} in frame 0 "
                f"and {mine.get(path)!r} in frame {i}"
            )


def _fixed_axes(layout: dict[str, Any], traces: list[Any], changed: list[list[_Path]]) -> dict[str, Any]:
    """Return each axis whose values change and that has no range, with one that holds all frames."""
    groups: dict[str, dict[str, list[int]]] = {}  # axes that match share a range
    for k, letter in itertools.product(range(len(changed)), "xy"):
        axis = f"{letter}axis{traces[0][k].get(f'{letter}axis', letter)[1:]}"
        matched = layout.get(axis, {}).get("matches")
        group = groups.setdefault(f"{letter}axis{matched[1:]}" if matched else axis, {})
        group.setdefault(axis, []).append(k)
    fixed: dict[str, Any] = {}
    for root, group in groups.items():
        letter, members = root[0], [k for part in group.values() for k in part]
        axis = layout.get(root, {})
        given = axis.get("range") or [None, None]
        moves = any(path[0] in (letter, f"error_{letter}", "base") for k in members for path in changed[k])
        if None not in given or not moves:
            continue
        ends = [end for frame in traces for k in members for end in _reach(frame[k], letter, layout, root)]
        log = axis.get("type") == "log"
        ends = [math.log10(end) for end in ends if end > 0] if log else ends
        if not ends:
            raise ValueError(f"no frame has a value along {root}: set {root}.range in every frame")
        if not log and axis.get("rangemode") == "tozero":
            ends.append(0)
        low, high = min(ends), max(ends)
        pad = 0.05 * (high - low) or 0.5
        # bars and filled areas stand on zero
        low, high = (
            end if end == 0 and _stands(traces[0], members, letter) else end + side * pad
            for end, side in ((low, -1), (high, 1))
        )
        reach = [end if wish is None else wish for end, wish in zip((low, high), given, strict=True)]
        if str(axis.get("autorange", "")).endswith("reversed"):
            reach.reverse()
        for name in group | {root: []}:
            kept = {key: value for key, value in layout.get(name, {}).items() if key != "autorange"}
            fixed[name] = kept | {"range": [_rounded(end, high - low) for end in reach]}
    return fixed


def _stands(traces: list[Any], members: list[int], letter: str) -> bool:
    """Return whether bars or filled areas along this letter begin at zero."""
    return any(_on_zero(traces[k], letter) for k in members)


def _on_zero(trace: dict[str, Any], letter: str) -> bool:
    """Return whether a trace reaches from zero along x or y."""
    along = "x" if trace.get("orientation") == "h" else "y"
    return trace.get("fill") == f"tozero{letter}" or (trace.get("type") == "bar" and along == letter)


def _reach(trace: dict[str, Any], letter: str, layout: dict[str, Any], axis: str) -> Iterator[float]:
    """Give numbers that the range of an axis must hold for one trace."""
    values = trace.get(letter, [])
    numbers = list(_numbers(values))
    stacked = trace.get("type") == "bar" and layout.get("barmode") in ("stack", "relative")
    if (
        trace.get("type", "scatter") not in ("scatter", "scattergl", "bar")
        or stacked
        or "stackgroup" in trace
        or "base" in trace
        or len(numbers) < sum(value is not None for value in values)
    ):
        raise ValueError(
            f"the values along {axis} change from frame to frame: set {axis}.range in every frame"
        )
    yield from numbers
    error = trace.get(f"error_{letter}", {})
    for sign, name in ((1, "array"), (-1, "arrayminus" if "arrayminus" in error else "array")):
        both = zip(values, error.get(name, []), strict=False)
        yield from (value + sign * size for value, size in both if None not in (value, size))
    if _on_zero(trace, letter):
        yield 0


def _fixed_colors(layout: dict[str, Any], traces: list[Any], changed: list[list[_Path]]) -> list[_Leaves]:
    """Return limits for each trace whose color scale has none; color axes get theirs in the layout, in place."""
    fixed: list[_Leaves] = [{} for _ in changed]
    shared: dict[str, list[list[float]]] = {}
    for k, (parent, values, letter) in itertools.product(
        range(len(changed)), (((), "z", "z"), (("marker",), "color", "c"))
    ):
        leaves = [dict(_leaves(frame[k])) for frame in traces]
        path = (*parent, values)
        numbers = [number for frame in leaves for number in _numbers(frame.get(path))]
        if path not in changed[k] or not numbers:
            continue
        axis = leaves[0].get((*parent, "coloraxis"))
        if axis:
            shared.setdefault(axis, []).append(numbers)
            continue
        limits = _limits(numbers, leaves[0].get((*parent, f"{letter}mid")))
        for end, limit in zip(("min", "max"), limits, strict=True):
            name = (*parent, letter + end)
            fixed[k][name] = leaves[0].get(name, limit)
    for axis, lists in shared.items():
        given = layout.get(axis, {})
        low, high = _limits([number for numbers in lists for number in numbers], given.get("cmid"))
        layout[axis] = {"cmin": low, "cmax": high} | given
    return fixed


def _limits(numbers: Sequence[float], middle: float | None) -> tuple[float, float]:
    """Return ends of a color scale, as far from its middle if it has one."""
    if middle is None:
        return min(numbers), max(numbers)
    reach = max(abs(number - middle) for number in numbers)
    return middle - reach, middle + reach


def _value_text(value: Any) -> str:
    """Write what the control reads: text as it is, numbers with a comma between thousands.

    >>> [_value_text(value) for value in (0, 12000, 0.25, 1e-5, "no overlap")]
    ['0', '12,000', '0.25', '1e-05', 'no overlap']
    """
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _live_controls(
    meta: dict[str, Any], layout: dict[str, Any], annotations: list[list[Any]]
) -> tuple[dict[str, Any], list[list[Any]]]:
    """Return the parts of the layout with plotly's own controls, and each frame's annotations with its sentence.

    They stand between title and plot. The book takes them out again and draws its own (`coursekit.book.mime`).
    """
    n, start = len(meta["values"]), meta["start"]
    crowded = any(note.get("yref") == "paper" and note.get("y", 0) >= 1 for note in annotations[start])
    lines = [textwrap.wrap(html.escape(sentence, quote=False), 90) for sentence in meta["describe"]]
    below = 10 + 30 * crowded  # between plot and sentence
    room = below + max((19 * len(text) + 14 for text in lines), default=0)
    notes = [
        [
            *frame,
            {
                "text": "<br>".join(text),
                "showarrow": False,
                "align": "left",
                "x": 0,
                "xref": "paper",
                "xanchor": "left",
                "y": 1,
                "yref": "paper",
                "yanchor": "bottom",
                "yshift": below,
            },
        ]
        for frame, text in zip(annotations, lines, strict=False)
    ]

    def to(frame: str | None, seconds: float) -> dict[str, Any]:
        """Return the arguments with which plotly goes to a frame, or plays all from here."""
        options = {
            "mode": "immediate",
            "fromcurrent": True,
            "frame": {"duration": round(1000 * seconds), "redraw": True},
            "transition": {"duration": 0},
        }
        return {"method": "animate", "args": [frame if seconds else [frame], options]}

    control = {
        "active": start,
        "currentvalue": {"prefix": f"{html.escape(meta['label'], quote=False)}: ", "xanchor": "left"},
        "x": 0,
        "len": 1,
        "y": 1,
        "yanchor": "bottom",
        "pad": {"l": 140, "b": room},
        "steps": [
            {"label": html.escape(text, quote=False)} | to(str(i), 0) for i, text in enumerate(meta["values"])
        ],
    }
    # all frames within about twelve seconds, as the training scrubber does
    seconds = min(0.4, max(0.04, 12 / n))
    play = {
        "type": "buttons",
        "direction": "left",
        "showactive": False,
        "x": 0,
        "xanchor": "left",
        "y": 1,
        "yanchor": "bottom",
        "pad": {"b": room + 15},
        "buttons": [{"label": "Play"} | to(None, seconds), {"label": "Pause"} | to(None, 0)],
    }
    margin = layout.get("margin", {})
    title = {"y": 1, "yref": "container", "yanchor": "top", "pad": {"t": 20}}
    more = 80 + room
    controls = {
        "meta": layout.get("meta", {}) | {"slider": meta},
        "sliders": [control],
        "updatemenus": [play],
        "height": meta["height"] + more,
        "margin": margin | {"t": margin.get("t", 60) + more},
        "title": layout.get("title", {}) | title,
    }
    return controls | ({"annotations": notes[start]} if notes else {}), notes
