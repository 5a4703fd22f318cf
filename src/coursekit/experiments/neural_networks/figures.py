"""The figures of week 1, from the rows of runs and from trained networks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import ArrayLike
from plotly.subplots import make_subplots

from coursekit import figures
from coursekit.experiments.neural_networks import analysis

_SPLITS = {"train": ("training", "dash"), "val": ("held out", "solid"), "noise": ("noise", "dot")}
_METRICS = {
    "loss": "mean cost",
    "accuracy": "share of digits read right",
    "confidence": "mean strongest output",
}


def training_curves(rows: pd.DataFrame, *, metric: str = "accuracy") -> go.Figure:
    """A metric during training, mean over seeds, with bands from the lowest to the highest.

    Parameters
    ----------
    rows : DataFrame
        Rows of one run.
    metric : {"accuracy", "loss", "confidence"}

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If a column or the metric is missing.

    Examples
    --------
    >>> keys = dict(seed=0, metric="accuracy")
    >>> rows = [keys | dict(split=s, step=k, value=v) for s, k, v in (("train", 0, 0.1), ("val", 0, 0.1))]
    >>> [trace.name for trace in training_curves(pd.DataFrame(rows)).data]
    ['training', 'held out']
    """
    analysis.at_the_end(rows, metric)  # which refuses what are no such rows
    chosen = rows[rows["metric"] == metric]
    n_seeds = chosen["seed"].nunique()
    title = f"Training, {n_seeds} seeds" if n_seeds > 1 else "Training, one seed"
    fig = figures.figure(title, "steps of gradient descent", _METRICS[metric])
    for split, part in chosen.groupby("split", sort=False):
        name, dash = _SPLITS[str(split)]
        _add_seeds(fig, part, name=name, color=_color(str(split)), dash=dash)
    _scale(fig, metric)
    return fig


def images(
    pictures: ArrayLike,
    titles: Sequence[str] = (),
    *,
    title: str = "",
    columns: int = 8,
    signed: bool = False,
) -> go.Figure:
    """Small square pictures in rows: digits, noise, or what units listen to.

    Parameters
    ----------
    pictures : array_like [n, side, side] or [n, side²]
    titles : sequence of str [n], optional
        One above each.
    title : str
    columns : int
        Pictures in a row, at most.
    signed : bool
        Numbers of either sign, blue below 0 and red above, all on one scale; otherwise ink from 0 to 1.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If the pictures are not square, there is not one title for each, or no column.

    Examples
    --------
    >>> from coursekit.experiments.neural_networks.data import load_digits
    >>> digits = load_digits()
    >>> len(images(digits.val_images[:10], [str(label) for label in digits.val_labels[:10]]).data)
    10
    """
    array = np.asarray(pictures, dtype=float)
    n, side = (len(array), math.isqrt(math.prod(array.shape[1:]))) if array.ndim in (2, 3) else (0, 0)
    if not n * side or array.size != n * side * side or array.shape[-1] not in (side, side * side):
        raise ValueError(
            f"expected one square picture or more, [n, side, side] or [n, side²], got the shape {array.shape}; "
            "picture[None] is one picture"
        )
    if titles and len(titles) != n:
        raise ValueError(f"expected one title for each of {n} pictures, got {len(titles)}; give all or none")
    if columns < 1:
        raise ValueError(f"columns must be 1 or more, got {columns}; 8 fit on a phone")
    columns = min(columns, n)
    n_rows = math.ceil(n / columns)
    fig = make_subplots(n_rows, columns, subplot_titles=list(titles), vertical_spacing=0.25 / n_rows)
    fig.update_layout(template=figures.TEMPLATE, title_text=title)
    reach = float(np.abs(array).max()) or 1.0
    for number, picture in enumerate(array.reshape(n, side, side)):
        name = titles[number] if titles else f"number {number}"
        fig.add_heatmap(
            z=picture.round(3),
            coloraxis="coloraxis",
            hovertemplate=f"{name}, row %{{y}}, column %{{x}}: %{{z}}<extra></extra>",
            row=number // columns + 1,
            col=number % columns + 1,
        )
        axis = "" if number == 0 else str(number + 1)
        fig.layout[f"yaxis{axis}"].update(scaleanchor=f"x{axis}", autorange="reversed", constrain="domain")
        fig.layout[f"xaxis{axis}"].update(constrain="domain")
    fig.update_xaxes(visible=False)
    fig.update_yaxes(visible=False)
    scale: dict[str, object] = {"colorscale": "Greys", "cmin": 0, "cmax": 1, "showscale": False}
    if signed:
        scale = {"colorscale": "RdBu_r", "cmin": -reach, "cmax": reach, "colorbar": _below("weight", -0.05)}
    fig.update_layout(
        coloraxis=scale, height=90 + 115 * n_rows + 70 * signed, margin={"l": 10, "r": 10, "b": 10}
    )
    return fig


def unit_images(network: analysis.Network) -> go.Figure:
    """What each unit of the first hidden column listens to: its weights, where their pixels are.

    Parameters
    ----------
    network : Network

    Returns
    -------
    Figure

    References
    ----------
    3Blue1Brown 2017, *Gradient descent, how neural networks learn*.
    """
    pictures = analysis.unit_images(network)
    names = [f"unit {number}" for number in range(len(pictures))]
    return images(pictures, names, title="Weights of the first hidden column", columns=4, signed=True)


def confusion(matrix: ArrayLike) -> go.Figure:
    """Which digits are taken for which: a row a digit shown, a column a digit answered.

    Parameters
    ----------
    matrix : array_like [10, 10]
        Of `analysis.confusion`; several seeds' may be added up.

    Returns
    -------
    Figure
        Numbers are counts, and a cell is the darker, the larger its share of the row. The title tells how many were
        read right.

    Raises
    ------
    ValueError
        If the matrix is not square or empty.

    Examples
    --------
    >>> confusion([[9, 1], [0, 10]]).layout.title.text
    '19 of 20 read right'
    """
    counts = np.asarray(matrix)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or not counts.sum():
        raise ValueError(
            f"expected a square matrix of counts that are not all 0, got one of the shape {counts.shape}; "
            "analysis.confusion makes one"
        )
    right = f"{int(counts.trace()):,} of {int(counts.sum()):,} read right"
    fig = figures.figure(right, "digit answered", "digit shown")
    names = [str(digit) for digit in range(len(counts))]
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    fig.add_heatmap(
        z=shares.round(4),
        x=names,
        y=names,
        text=np.where(counts > 0, counts.astype(int).astype(str), ""),
        texttemplate="%{text}",
        zmin=0,
        zmax=1,
        colorscale="Blues",
        showscale=False,
        hovertemplate="%{y} read as %{x}: %{text} (%{z:.1%})<extra></extra>",
    )
    fig.update_yaxes(autorange="reversed", scaleanchor="x", constrain="domain", type="category")
    fig.update_xaxes(constrain="domain", type="category")
    return fig.update_layout(height=560)


def confidence_histogram(confidences: Mapping[str, ArrayLike]) -> go.Figure:
    """How sure the network is of its answers, on real digits and on what shows nothing.

    Parameters
    ----------
    confidences : mapping
        Text for the legend → array [n] of `analysis.confidence`.

    Returns
    -------
    Figure
        Shares of the images in twenty bins from 0 to 1.

    Raises
    ------
    ValueError
        If there is none, or a value is no share.

    Examples
    --------
    >>> [trace.name for trace in confidence_histogram({"real digits": [0.9, 1.0], "noise": [0.7]}).data]
    ['real digits, mean 0.95', 'noise, mean 0.70']
    """
    if not confidences:
        raise ValueError("expected confidences of one kind of images or more, got none; name them in a dict")
    fig = figures.figure("How sure it is", "strongest output", "share of the images")
    edges = np.linspace(0, 1, 21)
    for number, (name, values) in enumerate(confidences.items()):
        array = np.asarray(values, dtype=float)
        if not len(array) or array.min() < 0 or array.max() > 1:
            raise ValueError(
                f"expected confidences from 0 to 1 for {name}, got others or none; use analysis.confidence"
            )
        counts, _ = np.histogram(array, edges)
        curve = figures.style(number)
        fig.add_scatter(
            x=edges,
            y=np.append(counts, counts[-1]) / len(array),
            mode="lines",
            line={"shape": "hv", "color": curve["color"], "dash": figures.DASHES[number % 4], "width": 2},
            fill="tozeroy",
            fillcolor=figures.transparent(curve["color"], 0.2),
            name=f"{name}, mean {array.mean():.2f}",
        )
    fig.update_xaxes(range=[0, 1.02])
    fig.update_yaxes(tickformat=".0%", rangemode="tozero")
    return fig


def sweep(rows: pd.DataFrame, *, by: str = "learning_rate", metric: str = "accuracy") -> go.Figure:
    """Where several recipes end: mean over seeds, bars from the lowest to the highest.

    Parameters
    ----------
    rows : DataFrame
        Rows of several runs, each with its setting in one more column: ``run.rows.assign(learning_rate=3.0)``.
    by : str
        That column, of numbers above 0.
    metric : {"accuracy", "loss"}

    Returns
    -------
    Figure
        The setting's axis is logarithmic.

    Raises
    ------
    ValueError
        If a column or the metric is missing, or the column has a number that is not above 0.

    Examples
    --------
    >>> keys = dict(seed=0, split="val", step=9, metric="accuracy")
    >>> rows = pd.DataFrame([keys | dict(learning_rate=rate, value=rate / 4) for rate in (1.0, 3.0)])
    >>> sweep(rows).layout.xaxis.ticktext
    ('1', '3')
    """
    ends = analysis.at_the_end(rows, metric, by=[by])
    if not (ends[by] > 0).all():
        raise ValueError(f"{by} must be above 0 on a logarithmic axis, got {ends[by].min()}; leave it out")
    fig = figures.figure("At the end of training", by.replace("_", " "), _METRICS[metric], log_x=True)
    for split, part in ends[ends["split"].isin(["train", "val"])].groupby("split", sort=False):
        part = part.sort_values(by)
        name, dash = _SPLITS[str(split)]
        figures.add_curve(
            fig,
            part[by].to_numpy(float),
            part["mean"].to_numpy(),
            name=name,
            color=_color(str(split)),
            dash=dash,
            symbol="circle" if split == "val" else "square",
        )
        fig.data[-1].update(
            error_y={
                "array": (part["highest"] - part["mean"]).to_numpy(),
                "arrayminus": (part["mean"] - part["lowest"]).to_numpy(),
            }
        )
    settings = sorted(set(ends[by]))
    fig.update_xaxes(tickvals=settings, ticktext=[f"{value:g}" for value in settings], minor_ticks="")
    _scale(fig, metric)
    return fig


def random_labels(runs: Mapping[str, pd.DataFrame]) -> go.Figure:
    """Share of digits read right during training, on real and on random labels: solid held out, dashed training.

    Parameters
    ----------
    runs : mapping
        Text for the legend, such as "real labels" → rows of a run.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If there is none, or rows lack a column.

    References
    ----------
    Zhang et al. 2016, *Understanding deep learning requires rethinking generalization*, figure 1a.

    Examples
    --------
    >>> keys = dict(seed=0, metric="accuracy")
    >>> rows = pd.DataFrame([keys | dict(split=s, step=k, value=k / 9) for s in ("train", "val") for k in (0, 9)])
    >>> [trace.name for trace in random_labels({"real labels": rows}).data if trace.showlegend]
    ['real labels', 'guessing']
    """
    if not runs:
        raise ValueError("expected the rows of one run or more, got none; name them in a dict")
    fig = figures.figure(
        "On training images (dashed) and on held-out ones (solid)",
        "steps of gradient descent",
        _METRICS["accuracy"],
    )
    for number, (name, rows) in enumerate(runs.items()):
        analysis.at_the_end(rows)
        chosen = rows[(rows["metric"] == "accuracy") & rows["split"].isin(["train", "val"])]
        for split, part in chosen.groupby("split", sort=False):
            dash = _SPLITS[str(split)][1]
            _add_seeds(fig, part, name=name, color=figures.style(number)["color"], dash=dash)
            fig.data[-1].showlegend = split == "val"  # one entry a run
    last = max(float(rows["step"].max()) for rows in runs.values())
    gray = figures.COLORS["gray"]
    figures.add_curve(fig, [0, last], [0.1, 0.1], name="guessing", color=gray, dash="dot")
    _scale(fig, "accuracy")
    return fig


def attention_pattern(pattern: ArrayLike, tokens: Sequence[str]) -> go.Figure:
    """How much each token takes from each earlier one.

    Parameters
    ----------
    pattern : array_like [seq, seq]
        Of `analysis.attention_head`.
    tokens : sequence of str [seq]

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If the pattern has not one row and one column for each token.

    Examples
    --------
    >>> attention_pattern([[1.0, 0.0], [0.5, 0.5]], ["the", "cat"]).layout.xaxis.ticktext
    ('the', 'cat')
    """
    weights = np.asarray(pattern, dtype=float)
    n = len(tokens)
    if weights.shape != (n, n):
        raise ValueError(
            f"expected a pattern of {n} × {n} for {n} tokens, got the shape {weights.shape}; "
            "it is the second thing that attention_head returns"
        )
    fig = figures.figure("Attention", "looks at", "token")
    fig.add_heatmap(
        z=weights.round(4),
        zmin=0,
        zmax=1,
        colorscale="Blues",
        colorbar=_below("weight", -0.25),
        hovertemplate="%{y} looks at %{x}: %{z:.2f}<extra></extra>",
    )
    ticks = {"tickvals": list(range(n)), "ticktext": list(tokens)}
    fig.update_xaxes(constrain="domain", **ticks)
    fig.update_yaxes(autorange="reversed", scaleanchor="x", constrain="domain", **ticks)
    return fig.update_layout(height=500, margin_b=90)


def _add_seeds(fig: go.Figure, part: pd.DataFrame, *, name: str, color: str, dash: str) -> None:
    """Add the mean over seeds, with a band if there are several."""
    at = part.groupby("step")["value"].agg(["mean", "min", "max"])
    band = (at["min"].to_numpy(), at["max"].to_numpy()) if part["seed"].nunique() > 1 else (None, None)
    figures.add_curve(
        fig, at.index.to_numpy(), at["mean"].to_numpy(), *band, name=name, color=color, dash=dash
    )


def _below(title: str, y: float) -> dict[str, object]:
    """A color bar under the figure, which leaves a phone its width."""
    return {
        "title": {"text": title, "side": "bottom"},
        "orientation": "h",
        "y": y,
        "yanchor": "top",
        "thickness": 12,
    }


def _color(split: str) -> str:
    return figures.COLORS.get(split, figures.COLORS["gray"])


def _scale(fig: go.Figure, metric: str) -> None:
    """Shares from 0 to 1; a cost from 0."""
    if metric == "loss":
        fig.update_yaxes(rangemode="tozero")
    else:
        fig.update_yaxes(range=[-0.02, 1.05], tickformat=".0%" if metric == "accuracy" else None)
