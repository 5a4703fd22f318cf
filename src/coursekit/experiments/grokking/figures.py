"""The figures of Power et al. 2022, from the rows of runs and from the weights of networks."""

from collections.abc import Iterator, Sequence
from math import gcd

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import ArrayLike, NDArray

from coursekit import figures
from coursekit.experiments.grokking import analysis, data
from coursekit.results import KEYS
from coursekit.stats import spearman

_RUN = KEYS["grokking"][:-1]  # what identifies one network: all keys but the step
_SETTING = ("operation", "modulus", "train_fraction", "variant")


def learning_curves(rows: pd.DataFrame) -> go.Figure:
    """Figure 1, left: training and validation accuracy against optimization steps, a line per seed.

    Parameters
    ----------
    rows : DataFrame
        Long rows with the metrics train_accuracy and val_accuracy. Several settings differ by dash. Step 0 is
        left out: it has no place on a logarithmic axis.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If a column or a metric is missing.

    Examples
    --------
    >>> run = dict(seed=0, operation="div", modulus=97, train_fraction=0.5, variant="adamw", step=100)
    >>> measured = {"train_accuracy": 1.0, "val_accuracy": 0.1}
    >>> rows = [run | dict(metric=metric, value=value) for metric, value in measured.items()]
    >>> fig = learning_curves(pd.DataFrame(rows))
    >>> fig.layout.title.text, [trace.name for trace in fig.data]
    ('Accuracy: x / y, mod 97, 50% of the data, adamw', ['training', 'validation'])
    """
    fig = _curves(rows, "accuracy")
    fig.update_yaxes(tickformat=".0%", range=[-0.02, 1.05])
    return fig


def loss_curves(rows: pd.DataFrame) -> go.Figure:
    """Figure 4: training and validation loss against optimization steps, a line per seed.

    Parameters, result and errors are those of `learning_curves`, with the metrics train_loss and val_loss.
    """
    return _curves(rows, "loss", unit=" (nats)")


def time_to_generalize(rows: pd.DataFrame) -> go.Figure:
    """Figure 1, center: median steps to 99% validation accuracy against the fraction of data trained on.

    Bars are 95% bootstrap intervals over seeds; dotted lines are the median steps to 99% training accuracy. A
    median that was not reached stands at the last step tried, in an open triangle.

    Parameters
    ----------
    rows : DataFrame
        Long rows with the metrics train_accuracy and val_accuracy.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If a column or a metric is missing.
    """
    selected = _select(rows, "train_accuracy", "val_accuracy")
    fig = _by_fraction(f"Time to 99% accuracy: {_constants(selected)}", "optimization steps (median)")
    fig.update_yaxes(type="log", exponentformat="power")
    key = ["operation", "modulus", "variant", "train_fraction"]
    budget = selected.groupby(key)["step"].max().rename("budget")
    points = analysis.time_to_generalize(selected).join(budget, on=key).sort_values("train_fraction")
    for number, (label, setting) in enumerate(_groups(points, key[:3])):
        x, style = setting["train_fraction"], figures.style(number)
        y, low, high = (setting[name].clip(upper=setting["budget"]) for name in ("median", "low", "high"))
        _add_with_errors(fig, number, label or "validation", x, y, low, high)
        fig.data[-1].hovertext = [
            f"{n - done} of {n} seeds not within {limit:,} steps"
            for n, done, limit in setting[["n", "n_generalized", "budget"]].itertuples(index=False)
        ]
        train = setting["train_median"].replace(np.inf, np.nan)
        figures.add_curve(fig, x, train, color=style["color"], dash="dot")
    for limit, never in points[np.isinf(points["median"])].groupby("budget"):
        fig.add_scatter(
            x=never["train_fraction"],
            y=never["budget"],
            mode="markers",
            marker={"symbol": "triangle-up-open", "size": 16, "color": figures.COLORS["gray"]},
            name=f"not within {limit:,} steps",
            hoverinfo="skip",
        )
    figures.add_curve(fig, [np.nan], [np.nan], name="training", color=figures.COLORS["gray"], dash="dot")
    return fig


def data_efficiency(rows: pd.DataFrame) -> go.Figure:
    """Figure 2: best validation accuracy against the fraction of data trained on, by operation or by variant.

    Points are means over seeds, bars reach from the worst to the best seed.

    Parameters
    ----------
    rows : DataFrame
        Long rows with the metric val_accuracy.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If a column or the metric is missing.

    Examples
    --------
    >>> run = dict(seed=0, operation="div", modulus=97, train_fraction=0.5, variant="adamw", step=100)
    >>> rows = pd.DataFrame([run | dict(metric="val_accuracy", value=value, step=value) for value in (0, 1)])
    >>> float(data_efficiency(rows).data[0].y[0])
    1.0
    """
    return _best_accuracy(rows, ("operation", "modulus", "variant"), "Data efficiency")


def outliers(rows: pd.DataFrame) -> go.Figure:
    """Figure 6: best validation accuracy against the fraction of data trained on, by number of outliers.

    Parameters
    ----------
    rows : DataFrame
        As for `data_efficiency`, with one more column, `n_outliers`: `run.rows.assign(n_outliers=...)`.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If a column or the metric is missing.
    """
    return _best_accuracy(rows, ("n_outliers",), "Outliers in the training data")


def embedding_circle(
    weights: ArrayLike, frequency: int | None = None, *, step: int | None = None
) -> go.Figure:
    r"""Figure 3, right: the symbols' vectors in one plane, each joined to the symbol `step` further.

    The plane is spanned by :math:`\sum_j \cos(2\pi k j/n)\, w_j` and the same with sines, for frequency k: a
    network that computes modulo n with this frequency puts the symbols on a circle there.

    Parameters
    ----------
    weights : array_like [n_symbols, d]
        Rows of the embedding or of the output matrix, or points of a t-SNE.
    frequency : int, optional
        k, from 1 to n // 2; by default the plane of the first two principal components.
    step : int, optional
        By default the step to the neighbor on the circle, k⁻¹ modulo n; else 1. The paper's is 8.

    Returns
    -------
    Figure
        Its title says which share of the variance lies in the plane.

    Raises
    ------
    ValueError
        If the weights are not a matrix of at least 3 rows and 2 columns, or there is no such frequency.

    Notes
    -----
    The paper shows t-SNE, which bends distances; a projection does not.

    Examples
    --------
    >>> angle = 2 * np.pi * 3 * np.arange(7) / 7
    >>> fig = embedding_circle(np.stack([np.cos(angle), np.sin(angle)], axis=1), frequency=3)
    >>> fig.layout.title.text
    'Symbols, frequency 3 (100% of the variance), lines add 5'
    """
    centered = _centered(weights)
    n = len(centered)
    if frequency is None:
        points = analysis.pca(centered)
        share = (points**2).sum() / (centered**2).sum()
        plane, axes = "first two principal components", ("component 1", "component 2")
    else:
        if not 1 <= frequency <= n // 2:
            raise ValueError(
                f"{n} symbols have the frequencies 1 to {n // 2}; got {frequency}: choose one of these"
            )
        directions = analysis.fourier_basis(n)[2 * frequency - 1 : 2 * frequency + 1] @ centered
        points = centered @ (directions / np.linalg.norm(directions, axis=1, keepdims=True)).T
        share = _power_shares(centered)[frequency - 1]
        plane, axes = f"frequency {frequency}", ("cosine direction", "sine direction")
    if step is None:
        step = pow(frequency, -1, n) if frequency and gcd(frequency, n) == 1 else 1
    fig = figures.figure(f"Symbols, {plane} ({share:.0%} of the variance), lines add {step}", *axes)
    n_cycles = gcd(step, n)
    cycles = [[(start + i * step) % n for i in range(n // n_cycles + 1)] for start in range(n_cycles)]
    for cycle in cycles:
        figures.add_curve(fig, points[cycle, 0], points[cycle, 1], color=figures.COLORS["gray"])
        fig.data[-1].update(line_width=1, hoverinfo="skip")
    fig.add_scatter(
        x=points[:, 0],
        y=points[:, 1],
        mode="markers+text",
        text=[str(symbol) for symbol in range(n)],
        textposition="top center",
        textfont_size=10,
        marker={"color": figures.COLORS["val"], "size": 6},
        hovertemplate="symbol %{text}<extra></extra>",
        showlegend=False,
    )
    fig.update_yaxes(scaleanchor="x")
    fig.update_layout(height=560)
    return fig


def coset_map(points: ArrayLike, cosets: ArrayLike, *, labels: Sequence[str] = ()) -> go.Figure:
    """Figure 3, left: permutations in the plane, one color and mark for each coset of a subgroup.

    Parameters
    ----------
    points : array_like [n, 2]
        Such as those of `analysis.tsne`.
    cosets : array_like of int [n]
        Such as those of `data.cosets`.
    labels : sequence of str, optional
        What to show of a point on hover.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If there is not one coset for every point.

    Examples
    --------
    >>> fig = coset_map([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0]], [0, 0, 1])
    >>> [trace.name for trace in fig.data]
    ['coset 1', 'coset 2']
    """
    points, cosets = np.asarray(points), np.asarray(cosets)
    if points.shape != (len(cosets), 2):
        raise ValueError(
            f"expected points of shape ({len(cosets)}, 2), one for each coset number, got {points.shape}"
        )
    fig = figures.figure("Permutations by coset", "first coordinate", "second coordinate")
    for number, coset in enumerate(np.unique(cosets)):
        mine = np.flatnonzero(cosets == coset)
        turn = number // len(figures.COLORWAY)  # the colors again, with other marks
        fig.add_scatter(
            x=points[mine, 0],
            y=points[mine, 1],
            mode="markers",
            marker={
                "color": figures.COLORWAY[number % len(figures.COLORWAY)],
                "symbol": figures.SYMBOLS[(number + turn) % len(figures.SYMBOLS)],
                "size": 9,
            },
            text=np.asarray(labels)[mine].tolist() if len(labels) else None,
            name=f"coset {number + 1}",
        )
    return fig


def fourier_spectrum(weights: ArrayLike) -> go.Figure:
    """Show which share of the symbols' variance is a wave of each frequency (Nanda et al. 2023, figure 3).

    Parameters
    ----------
    weights : array_like [n_symbols, d]
        An odd number of symbols.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If the weights are not a matrix of at least 3 rows and 2 columns, or the number of symbols is even.

    Examples
    --------
    >>> angle = 2 * np.pi * 3 * np.arange(7) / 7
    >>> fig = fourier_spectrum(np.stack([np.cos(angle), np.sin(angle)], axis=1))
    >>> [round(float(share), 3) for share in fig.data[0].y]
    [0.0, 0.0, 1.0]
    """
    shares = _power_shares(_centered(weights))
    fig = figures.figure("Fourier spectrum of the symbols", "frequency", "share of the variance")
    fig.add_bar(x=np.arange(1, len(shares) + 1), y=shares, marker_color=figures.COLORS["val"])
    fig.update_yaxes(tickformat=".0%")
    return fig


def operation_table(operation: str, modulus: int = 97, *, hidden: Sequence[int] | NDArray = ()) -> go.Figure:
    """Figure 1, right, and Figure 5: the table of a binary operation, with some cells blank.

    Parameters
    ----------
    operation : str
        A key of `data.OPERATIONS`.
    modulus : int
    hidden : sequence of int
        Numbers of equations to leave blank, such as the validation part of `data.split_equations`.

    Returns
    -------
    Figure
        A heat map, with the answers written into tables of up to 13 symbols.

    Raises
    ------
    ValueError
        If the operation is unknown, or the modulus does not suit it.

    Examples
    --------
    >>> operation_table("add", 3).data[0].z
    array([[0., 1., 2.],
           [1., 2., 0.],
           [2., 0., 1.]])
    """
    pairs, answers = data.operation_table(operation, modulus)
    n = int(answers.max()) + 1
    table = np.full((n, n), np.nan)
    table[pairs[:, 0], pairs[:, 1]] = answers
    x, y = pairs[np.asarray(hidden, dtype=int)].T
    table[x, y] = np.nan
    shown = pd.DataFrame({"operation": [operation], "modulus": [modulus]})
    fig = figures.figure(f"x ∘ y = {_constants(shown, ('operation', 'modulus'))}", "y", "x")
    text = np.where(np.isnan(table), "", np.nan_to_num(table).astype(int).astype(str)) if n <= 13 else None
    fig.add_heatmap(
        z=table,
        text=text,
        texttemplate=None if text is None else "%{text}",
        colorscale="Viridis",
        hovertemplate="%{y} ∘ %{x} = %{z}<extra></extra>",
        hoverongaps=False,
        colorbar_title_text="x ∘ y",
    )
    fig.update_yaxes(autorange="reversed", scaleanchor="x", constrain="domain")
    fig.update_xaxes(constrain="domain")
    fig.update_layout(height=560)
    return fig


def sharpness(rows: pd.DataFrame) -> go.Figure:
    """Figure 7: validation accuracy against the sharpness of the minimum, a point per network.

    Parameters
    ----------
    rows : DataFrame
        Long rows with the metrics sharpness and val_accuracy at the same step; of several, the last counts.

    Returns
    -------
    Figure
        Its title gives Spearman's rank correlation, where there are three networks that differ.

    Raises
    ------
    ValueError
        If a column or a metric is missing, or no network has both at one step.
    """
    selected = _select(rows, "sharpness", "val_accuracy")
    both = selected.pivot_table(index=list(KEYS["grokking"]), columns="metric", values="value").dropna()
    if both.empty:
        raise ValueError("no network has sharpness and val_accuracy at one step: measure both there")
    networks = both.groupby(level=list(_RUN)).last().reset_index()
    found = f"{len(networks)} networks"
    if len(networks) >= 3 and networks[["sharpness", "val_accuracy"]].nunique().min() > 1:
        rho, p = spearman(networks["sharpness"], networks["val_accuracy"])
        found += f", Spearman's ρ = {rho:.2f} (p = {p:.1g})"
    fig = figures.figure(f"Sharpness and generalization: {found}", "sharpness φ", "validation accuracy")
    fig.update_yaxes(tickformat=".0%")
    for number, (label, setting) in enumerate(_groups(networks, _SETTING)):
        style = figures.style(number)
        fig.add_scatter(
            x=setting["sharpness"],
            y=setting["val_accuracy"],
            mode="markers",
            marker={"color": style["color"], "symbol": style["symbol"], "size": 9},
            text=[f"seed {seed}" for seed in setting["seed"]],
            name=label,
            showlegend=bool(label),
        )
    return fig


def _curves(rows: pd.DataFrame, quantity: str, unit: str = "") -> go.Figure:
    selected = _select(rows, f"train_{quantity}", f"val_{quantity}")
    selected = selected[selected["step"] > 0]
    title = f"{quantity.capitalize()}: {_constants(selected)}"
    fig = figures.figure(title, "optimization steps", quantity + unit, log_x=True)
    for number, (label, setting) in enumerate(_groups(selected, _SETTING)):
        for split, name in (("train", "training"), ("val", "validation")):
            lines = setting[setting["metric"] == f"{split}_{quantity}"]
            for i, (_, line) in enumerate(lines.groupby("seed")):
                figures.add_curve(
                    fig,
                    line["step"],
                    line["value"],
                    name=f"{name}, {label}" if label else name,
                    color=figures.COLORS[split],
                    dash=figures.DASHES[number % len(figures.DASHES)],
                )
                fig.data[-1].showlegend = i == 0  # one entry for all seeds
    return fig


def _best_accuracy(rows: pd.DataFrame, by: Sequence[str], title: str) -> go.Figure:
    selected = _select(rows, "val_accuracy", columns=by)
    fig = _by_fraction(f"{title}: {_constants(selected)}", "best validation accuracy")
    fig.update_yaxes(tickformat=".0%", range=[-0.02, 1.05])
    for number, (label, setting) in enumerate(_groups(selected, by)):
        best = setting.groupby(["train_fraction", "seed"])["value"].max()
        seeds = best.groupby("train_fraction").agg(["mean", "min", "max"])
        _add_with_errors(fig, number, label, seeds.index, seeds["mean"], seeds["min"], seeds["max"])
    return fig


def _by_fraction(title: str, y: str) -> go.Figure:
    fig = figures.figure(title, "fraction of all equations trained on", y)
    fig.update_xaxes(tickformat=".0%")
    return fig


def _add_with_errors(
    fig: go.Figure, number: int, name: str, x: ArrayLike, y: ArrayLike, low: ArrayLike, high: ArrayLike
) -> None:
    """Add the `number`-th curve with bars from `low` to `high`: bands of many curves hide each other."""
    figures.add_curve(fig, x, y, name=name, **figures.style(number))
    above, below = np.asarray(high) - np.asarray(y), np.asarray(y) - np.asarray(low)
    fig.data[-1].error_y = {"array": above, "arrayminus": below, "thickness": 1, "width": 3}


def _select(rows: pd.DataFrame, *metrics: str, columns: Sequence[str] = ()) -> pd.DataFrame:
    """Keep the rows of some metrics, in the order of steps; refuse rows that lack a metric or a column."""
    needed = dict.fromkeys([*KEYS["grokking"], "metric", "value", *columns])
    missing = [name for name in needed if name not in rows]
    if missing:
        raise ValueError(
            f"expected rows of grokking, got a table without {', '.join(missing)}: add these columns"
        )
    absent = [name for name in metrics if name not in set(rows["metric"])]
    if absent:
        there = ", ".join(sorted(set(rows["metric"]))) or "none"
        raise ValueError(f"expected rows of {' and '.join(absent)}, got only {there}: measure it first")
    return rows[rows["metric"].isin(metrics)].sort_values("step")


def _groups(rows: pd.DataFrame, keys: Sequence[str]) -> Iterator[tuple[str, pd.DataFrame]]:
    """Split rows by some keys, each part with a label that names what varies among them."""
    varying = [key for key in keys if rows[key].nunique() > 1]
    if not varying:
        yield "", rows
    for values, group in rows.groupby(varying) if varying else ():
        yield ", ".join(_say(key, value) for key, value in zip(varying, values, strict=True)), group


def _constants(rows: pd.DataFrame, keys: Sequence[str] = _SETTING) -> str:
    """Name what all rows share, for a title."""
    same = {key: rows[key].iloc[0] for key in keys if rows[key].nunique() == 1}
    if str(same.get("operation")).startswith("s5"):
        same.pop("modulus", None)  # permutations have none
    return ", ".join(_say(key, value) for key, value in same.items())


def _say(key: str, value: object) -> str:
    if key == "operation" and value in data.OPERATIONS:
        return data.OPERATIONS[str(value)].formula
    forms = {"modulus": "mod {}", "train_fraction": "{:.0%} of the data", "n_outliers": "{:,} outliers"}
    return forms.get(key, "{}").format(value)


def _centered(weights: ArrayLike) -> NDArray[np.float64]:
    matrix = np.asarray(weights, dtype=float)
    if matrix.ndim != 2 or matrix.shape[0] < 3 or matrix.shape[1] < 2:
        raise ValueError(f"expected weights [n_symbols, d], at least 3 by 2; got the shape {matrix.shape}")
    return matrix - matrix.mean(axis=0)


def _power_shares(centered: NDArray[np.float64]) -> NDArray[np.floating]:
    """Share of the variance at the frequencies 1, 2, …; they sum to 1."""
    return analysis.fourier_power(centered) / (centered**2).sum()
