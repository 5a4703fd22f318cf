"""The figures of Hoffmann et al. 2022, from our runs or from the published points, and the budget planner."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from coursekit import figures, parametric
from coursekit.experiments.scaling_laws import analysis
from coursekit.experiments.scaling_laws.data import (
    BESIROGLU,
    GOPHER_FLOPS,
    HOFFMANN,
    TABLE_1,
    TABLE_2,
)
from coursekit.parametric import ParametricFit

BITS = "held-out loss (bits per byte)"
NATS = "loss (nats per token)"

_APPROACHES = {
    "training_curves": "1. envelope of training curves",
    "isoflop": "2. IsoFLOP parabolas",
    "parametric": "3. parametric fit",
}


def training_curves(rows: pd.DataFrame, *, show_envelope: bool = True) -> go.Figure:
    """Draw held-out loss against compute for every run, colored by size, and the envelope of all: approach 1.

    Parameters
    ----------
    rows : DataFrame
        Of a run, see README.md.
    show_envelope : bool

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If there are no training curves among the rows.

    References
    ----------
    Hoffmann et al. 2022, figure 2 (left).

    Examples
    --------
    >>> keys = dict(approach="isoflop", n_params=100, horizon=20, seed=0, metric="val_loss")
    >>> rows = pd.DataFrame([keys | dict(n_tokens=d, flops=600 * d, value=v) for d, v in ((10, 4.0), (20, 3.5))])
    >>> [trace.name for trace in training_curves(rows).data]
    ['100 parameters', 'envelope']
    """
    curves = _some(analysis.training_curves(rows))
    fig = figures.figure("Loss along every run", "compute C = 6ND (FLOPs)", BITS, log_x=True)
    sizes = sorted(curves["n_params"].unique())
    for keys, curve in curves.groupby(["n_params", "horizon", "seed", "approach"], sort=True):
        size = float(keys[0])  # type: ignore[arg-type]
        name = f"{_count(size)} parameters"
        fig.add_scatter(
            x=curve["flops"],
            y=curve["loss"],
            mode="lines",
            line={"color": _shade(sizes.index(size), len(sizes)), "width": 1.5},
            name=name,
            legendgroup=name,
            showlegend=all(trace.name != name for trace in fig.data),
        )
    if show_envelope:
        best = analysis.envelope(curves, n_budgets=200)
        figures.add_curve(
            fig, best["flops"], best["loss"], name="envelope", color=figures.COLORS["gray"], dash="dot"
        )
    return fig


def isoflop_parabolas(
    points: pd.DataFrame,
    *,
    budgets: tuple[float, ...] | None = None,
    tolerance: float = 0.03,
    unit: str = BITS,
) -> go.Figure:
    """Draw final loss against size at each compute budget, with the parabolas and their minima: approach 2.

    Parameters
    ----------
    points : DataFrame
        `n_params`, `flops`, `loss` of finished runs: ``analysis.final_losses(rows)``, or the published points.
    budgets : tuple of float, optional
        Default: those in the column `budget` that three sizes or more share.
    tolerance : float
        As in `analysis.isoflop_minima`.
    unit : str
        Title of the loss axis.

    Returns
    -------
    Figure

    References
    ----------
    Hoffmann et al. 2022, figure 3 (left).

    Examples
    --------
    >>> sizes = np.logspace(3, 5, 5)
    >>> points = pd.DataFrame({"n_params": sizes, "flops": 1e10, "loss": 2 + np.log10(sizes / 1e4) ** 2})
    >>> [trace.name for trace in isoflop_parabolas(points, budgets=(1e10,)).data]
    ['10¹⁰ FLOPs', None, 'minima']
    """
    if budgets is None:
        points = points.dropna(subset="budget")
        shared = points.groupby("budget")["n_params"].nunique()
        budgets = tuple(shared.index[shared >= 3])
    minima = analysis.isoflop_minima(
        points["n_params"], points["flops"], points["loss"], budgets=budgets, tolerance=tolerance
    )
    fig = figures.figure(
        f"Loss at equal compute ({tolerance:g} decades either way)", "parameters N", unit, log_x=True
    )
    for number, row in enumerate(minima.to_dict("records")):
        here = points[np.abs(np.log10(points["flops"] / row["flops"])) <= tolerance]
        color = _shade(number, len(minima))
        name = f"{_power(row['flops'])} FLOPs"
        fig.add_scatter(
            x=here["n_params"],
            y=here["loss"],
            mode="markers",
            marker={"color": color, "size": 7},
            name=name,
            legendgroup=name,
        )
        if np.isfinite(row["n_params"]):
            x = np.geomspace(here["n_params"].min(), here["n_params"].max(), 60)
            y = row["loss"] + row["curvature"] * np.log10(x / row["n_params"]) ** 2
            fig.add_scatter(
                x=x,
                y=y,
                mode="lines",
                line={"color": color, "width": 1.5},
                legendgroup=name,
                showlegend=False,
            )
    fig.add_scatter(
        x=minima["n_params"],
        y=minima["loss"],
        mode="markers",
        marker={"color": figures.COLORS["train"], "symbol": "x", "size": 10},
        name="minima",
    )
    return fig


def power_laws(rows: pd.DataFrame, *, flops: float | None = None) -> go.Figure:
    """Draw the best size against compute by all three approaches, and where they point at a larger budget.

    Parameters
    ----------
    rows : DataFrame
        Of a run, with the summary rows exponent_n and optimal_n_params.
    flops : float, optional
        Where the lines end. Default: the budget of the rows optimal_n_params.

    Returns
    -------
    Figure
        Bars are 95 % bootstrap intervals. An approach that found no exponent is left out.

    Raises
    ------
    ValueError
        If the rows have no such summary.

    References
    ----------
    Hoffmann et al. 2022, figures 1, 2 and 3 (center).
    """
    curves, last = analysis.training_curves(rows), analysis.final_losses(rows)
    summary = _summary(rows)
    ends = np.array([curves["flops"].quantile(0.2), flops or summary["flops"].iloc[0]])
    fig = figures.figure(
        "The best size for a budget",
        "compute C (FLOPs)",
        "best number of parameters N",
        log_x=True,
        log_y=True,
    )
    best = analysis.envelope(curves, n_budgets=60)
    minima = analysis.shared_minima(last)
    seen = {"training_curves": best, "isoflop": minima.dropna(subset="n_params")}
    for number, row in enumerate(summary.to_dict("records")):
        look = figures.style(number)
        y = row["n_params"] * (ends / row["flops"]) ** row["exponent"]
        label = f"{_APPROACHES[row['approach']]}: N ∝ C^{row['exponent']:.2f} ({row['low']:.2f} to {row['high']:.2f})"
        figures.add_curve(fig, ends, y, name=label, color=look["color"], dash=look["dash"])
        if row["approach"] in seen:
            fig.add_scatter(
                x=seen[row["approach"]]["flops"],
                y=seen[row["approach"]]["n_params"],
                mode="markers",
                marker={"color": look["color"], "symbol": look["symbol"], "size": 6},
                showlegend=False,
                hovertemplate="%{y:.3s} parameters at %{x:.2e} FLOPs<extra></extra>",
            )
        _add_interval(
            fig,
            row["flops"] * 1.05**number,
            row["n_low"],
            row["n_params"],
            row["n_high"],
            look,
            showlegend=False,
        )
    fig.update_layout(height=520)
    return fig


def prediction(rows: pd.DataFrame) -> go.Figure:
    """Draw the larger run beside what was predicted for its end before it began.

    Parameters
    ----------
    rows : DataFrame
        Of a run.

    Returns
    -------
    Figure
        Bars are 95 % bootstrap intervals.

    Raises
    ------
    ValueError
        If the rows have no prediction.
    """
    part = _some(rows[rows["approach"] == "prediction"], "a prediction")
    run = part[part["metric"] == "val_loss"]
    said = part.set_index("metric")["value"]
    curves = analysis.training_curves(rows)
    fig = figures.figure("A larger run, predicted and then trained", "compute C (FLOPs)", BITS, log_x=True)
    best = analysis.envelope(curves, n_budgets=200)
    figures.add_curve(
        fig,
        best["flops"],
        best["loss"],
        name="envelope of the runs before",
        color=figures.COLORS["gray"],
        dash="dot",
    )
    if len(run):
        figures.add_curve(
            fig,
            run["flops"],
            run["value"],
            name="the larger run",
            color=figures.COLORS["val"],
            symbol="circle",
        )
    names = {
        "predicted_val_loss": "predicted by the parametric fit",
        "frontier_val_loss": "predicted by the lowest losses at the budgets",
    }
    for number, (metric, name) in enumerate(names.items()):
        x = part["flops"].max() * (1.15 + 0.15 * number)
        low, middle, high = (float(said[metric + end]) for end in ("_low", "", "_high"))
        _add_interval(fig, x, low, middle, high, figures.style(number + 1), name=name)
    return fig


def contour(
    fit: ParametricFit,
    points: pd.DataFrame | None = None,
    *,
    flops: tuple[float, float] = (1e18, 1e24),
    unit: str = NATS,
) -> go.Figure:
    """Draw lines of equal loss over compute and size, with the best size at each compute: approach 3.

    Parameters
    ----------
    fit : ParametricFit
    points : DataFrame, optional
        `n_params`, `flops`, `loss`, drawn on top.
    flops : pair of float
        Ends of the compute axis.
    unit : str

    Returns
    -------
    Figure

    References
    ----------
    Hoffmann et al. 2022, figure 4 (left).

    Examples
    --------
    >>> [trace.name for trace in contour(HOFFMANN).data]
    ['loss', 'best size, N ∝ C^0.46']
    """
    c = np.geomspace(*flops, 61)
    best = np.array([parametric.compute_optimal(fit, one).n_params for one in c])
    n = np.geomspace(best.min() / 30, best.max() * 30, 61)
    z = parametric.predict_loss(fit, n[:, None], c / (6 * n[:, None]))
    low, high = float(z.min()), float(np.quantile(z, 0.8))
    fig = figures.figure(
        "Loss that the fit predicts", "compute C (FLOPs)", "parameters N", log_x=True, log_y=True
    )
    fig.add_contour(
        x=c,
        y=n,
        z=np.minimum(z, high),
        name="loss",
        colorscale="Viridis",
        reversescale=True,
        contours={"start": low, "end": high, "size": (high - low) / 14, "coloring": "lines"},
        colorbar={"title": {"text": unit}},
        hovertemplate="%{y:.3s} parameters, %{x:.2e} FLOPs: %{z:.3f}<extra></extra>",
    )
    if points is not None:
        fig.add_scatter(
            x=points["flops"],
            y=points["n_params"],
            mode="markers",
            marker={"color": points["loss"], "colorscale": "Viridis", "reversescale": True, "cmin": low, "cmax": high,
                    "size": 6},
            name="runs",
            hovertemplate="%{y:.3s} parameters, %{x:.2e} FLOPs<extra></extra>",
        )  # fmt: skip
    a = parametric.exponents(fit)[0]
    figures.add_curve(fig, c, best, name=f"best size, N ∝ C^{a:.2f}", color=figures.COLORS["train"])
    return fig


def residuals(rows: pd.DataFrame) -> go.Figure:
    """Draw how far two fits lie from the published points, by compute: log of predicted less log of observed loss.

    Parameters
    ----------
    rows : DataFrame
        Of `analysis.published_rows`.

    Returns
    -------
    Figure
        Bars are standard errors of the mean within a tenth of the runs.

    Raises
    ------
    ValueError
        If the rows hold no residuals.
    """
    part = _some(rows[rows["metric"] == "mean_residual"], "mean residuals")
    fig = figures.figure(
        "Residuals on the published points",
        "compute C (FLOPs)",
        "log predicted − log observed loss",
        log_x=True,
    )
    names = {"hoffmann": "as published", "huber": "fitted again"}
    for number, (name, one) in enumerate(part.groupby("approach", sort=False)):
        look = figures.style(number)
        fig.add_scatter(
            x=one["flops"],
            y=one["value"],
            error_y={"type": "data", "array": one["stderr"]},
            mode="lines+markers",
            line={"color": look["color"], "dash": look["dash"]},
            marker={"symbol": look["symbol"], "size": 8},
            name=names.get(str(name), str(name)),
        )
    fig.add_hline(y=0, line={"color": figures.COLORS["gray"], "width": 1})
    return fig


def early_stopping(rows: pd.DataFrame) -> go.Figure:
    """Draw the objective on the optimizer's way from the paper's values: where it stops, and where it could have gone.

    Parameters
    ----------
    rows : DataFrame
        Of `analysis.published_rows`.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If the rows hold no such way.

    References
    ----------
    Besiroglu et al. 2024, section 4.
    """
    part = _some(rows[rows["metric"] == "objective_at_step"], "objective_at_step")
    fig = figures.figure(
        "The same objective, from the paper's values", "optimizer's steps", "sum of Huber losses"
    )
    names = {
        "stopped_mean": "L-BFGS-B on the mean, “converged”",
        "stopped_sum": "L-BFGS-B on the sum, “converged”",
        "continued": "the sum × 1000, BFGS to a gradient of 10⁻¹²",
    }
    for number, (name, one) in enumerate(part.groupby("approach", sort=False)):
        look = figures.style(number)
        figures.add_curve(fig, one["seed"], one["value"], name=names.get(str(name), str(name)), **look)
    return fig


def bootstrap_exponents(rows: pd.DataFrame) -> go.Figure:
    """Draw the exponent a in resamples of the published points, beside the intervals of table 2.

    Parameters
    ----------
    rows : DataFrame
        Of `analysis.published_rows`.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If the rows hold no resamples.
    """
    draws = _some(rows[rows["approach"] == "bootstrap"], "resamples of approach bootstrap")["value"]
    counts, edges = np.histogram(draws, bins=30)
    fig = figures.figure("Exponent a of N ∝ C^a", "a", "share of resamples")
    fig.add_bar(
        x=(edges[1:] + edges[:-1]) / 2,
        y=counts / counts.sum(),
        marker={"color": figures.transparent(figures.COLORS["val"], 0.5)},
        name="published points, fitted again",
    )
    top = float(counts.max() / counts.sum())
    for number, row in enumerate(TABLE_2.dropna().to_dict("records")):
        look = figures.style(number + 1)
        height = top * (1.1 + 0.1 * number)
        fig.add_scatter(
            x=[row["a_low"], row["a"], row["a_high"]],
            y=[height] * 3,
            mode="lines+markers",
            line={"color": look["color"], "width": 3},
            marker={"symbol": look["symbol"], "size": 8},
            name=f"table 2: {row['approach']}",
        )
    return fig


def budget_planner(fits: Mapping[str, ParametricFit] | None = None, *, per_decade: int = 4) -> go.Figure:
    """Let a reader drag the compute budget, and see what each fit would buy with it: N, D and the loss.

    Parameters
    ----------
    fits : mapping, optional
        Name → fit, two of them. Default: the paper's and Besiroglu et al.'s. Kaplan et al.'s rule is always there.
    per_decade : int
        Budgets in a decade, from 10¹⁸ to 10²⁶ FLOPs.

    Returns
    -------
    Figure
        Left: sizes and tokens, with the models of table 1, all ways to spend the budget, and each choice. Right: the
        loss that each fit predicts along that line. Works without a kernel.

    Notes
    -----
    Kaplan et al. give no loss in these units, so what their choice costs is read off the second fit.

    Examples
    --------
    >>> planner = budget_planner(per_decade=1)
    >>> len(planner.frames), planner.layout.meta["slider"]["describe"][3]
    (9, 'With 10²¹ FLOPs ...')
    """
    fits = dict(fits or {"Hoffmann et al.": HOFFMANN, "fitted again": BESIROGLU})
    budgets = 10 ** np.linspace(18, 26, 8 * per_decade + 1)
    laws = {
        name: np.array([parametric.compute_optimal(fit, c)[:2] for c in budgets])
        for name, fit in fits.items()
    }
    laws["Kaplan et al."] = np.array([analysis.kaplan_optimal(c) for c in budgets])
    frames, sentences = [], []
    for number, flops in enumerate(budgets):
        frames.append(_planner_frame(flops, fits, laws, number))
        sentences.append(_planner_sentence(flops, fits, {name: law[number] for name, law in laws.items()}))
    start = int(np.argmin(np.abs(np.log(budgets / GOPHER_FLOPS))))
    return figures.slider(
        frames, [_power(c) for c in budgets], label="compute budget (FLOPs)", describe=sentences, start=start
    )


def _planner_frame(
    flops: float, fits: Mapping[str, ParametricFit], laws: Mapping[str, np.ndarray], number: int
) -> go.Figure:
    fig = make_subplots(
        cols=2, horizontal_spacing=0.12, subplot_titles=("what to buy", NATS),
        figure=figures.figure("Plan a training run"),
    )  # fmt: skip
    n = np.geomspace(1e6, 1e14, 81)
    fig.add_scatter(
        x=TABLE_1["n_params"], y=TABLE_1["n_tokens"], customdata=TABLE_1["model"], mode="markers+text",
        text=TABLE_1["model"].where(TABLE_1["model"].isin(("Chinchilla", "Gopher")), ""), textposition="middle left",
        marker={"color": figures.COLORS["gray"], "symbol": "star", "size": 9}, name="models trained",
        hovertemplate="%{customdata}: %{x:.3s} parameters, %{y:.3s} tokens<extra></extra>", row=1, col=1,
    )  # fmt: skip
    fig.add_scatter(
        x=n, y=flops / (6 * n), mode="lines", name="this budget", row=1, col=1,
        line={"color": figures.COLORS["gray"], "dash": "dot"},
    )  # fmt: skip
    yardstick = list(fits.values())[-1]
    for order, (name, law) in enumerate(laws.items()):
        look = figures.style(order)
        size, tokens = law[number]
        fig.add_scatter(
            x=law[:, 0], y=law[:, 1], mode="lines", line={"color": look["color"], "width": 1, "dash": look["dash"]},
            showlegend=False, hoverinfo="skip", row=1, col=1,
        )  # fmt: skip
        marker = {"color": look["color"], "symbol": look["symbol"], "size": 12}
        fig.add_scatter(x=[size], y=[tokens], mode="markers", marker=marker, name=name, row=1, col=1)
        if name in fits:
            fig.add_scatter(
                x=n, y=parametric.predict_loss(fits[name], n, flops / (6 * n)), mode="lines", showlegend=False,
                line={"color": look["color"], "dash": look["dash"]}, row=1, col=2,
            )  # fmt: skip
        loss = parametric.predict_loss(fits.get(name, yardstick), size, tokens)
        fig.add_scatter(
            x=[size], y=[float(loss)], mode="markers", marker=marker, showlegend=False, row=1, col=2
        )
    log = {"type": "log", "exponentformat": "power"}
    fig.update_xaxes(title_text="parameters N", range=[6, 14], dtick=2, **log)
    fig.update_yaxes(title_text="tokens D", range=[8, 14.5], col=1, **log)
    fig.update_yaxes(range=[1.5, 5], col=2)
    return fig.update_layout(height=480)


def _planner_sentence(
    flops: float, fits: Mapping[str, ParametricFit], choices: Mapping[str, np.ndarray]
) -> str:
    yardstick = list(fits)[-1]
    parts = []
    for name, (n, d) in choices.items():
        loss = float(parametric.predict_loss(fits.get(name, fits[yardstick]), n, d))
        judged = "" if name in fits else f" by the fit of “{yardstick}”"
        per = d / n
        each = f"{per:.0f}" if per >= 10 else f"{per:.2g}"
        parts.append(
            f"{name}: {_count(n)} parameters, {_count(d)} tokens ({each} each), loss {loss:.2f}{judged}"
        )
    return f"With {_power(flops)} FLOPs — " + "; ".join(parts) + "."


def _add_interval(
    fig: go.Figure,
    x: float,
    low: float,
    middle: float,
    high: float,
    look: Mapping[str, str],
    **options: object,
) -> None:
    """A point with bars from low to high."""
    bars = {"type": "data", "symmetric": False, "array": [high - middle], "arrayminus": [middle - low]}
    marker = {"color": look["color"], "symbol": look["symbol"], "size": 10}
    fig.add_scatter(x=[x], y=[middle], error_y=bars, mode="markers", marker=marker, **options)


def _summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Exponents and best sizes with their intervals, a row an approach, named as in `analysis.three_approaches`."""
    named = {
        "exponent_n": "exponent", "exponent_n_low": "low", "exponent_n_high": "high",
        "optimal_n_params": "n_params", "optimal_n_params_low": "n_low", "optimal_n_params_high": "n_high",
    }  # fmt: skip
    part = rows[rows["approach"].isin(_APPROACHES) & rows["metric"].isin(named)]
    wide = _some(part, "exponent_n and optimal_n_params").pivot(
        index="approach", columns="metric", values="value"
    )
    wide["flops"] = part.groupby("approach")["flops"].max()
    return wide.rename(columns=named).reindex(list(_APPROACHES)).dropna(subset="exponent").reset_index()


def _some(part: pd.DataFrame, what: str = "training curves (val_loss)") -> pd.DataFrame:
    if part.empty:
        raise ValueError(f"expected rows with {what}, got none; pass the rows of a run that has them")
    return part


def _shade(number: int, n: int) -> str:
    """Color number of n, from blue to orange."""
    share = number / max(1, n - 1)
    ends = ((0, 114, 178), (230, 120, 0))
    return "#" + "".join(f"{round(a + share * (b - a)):02x}" for a, b in zip(*ends, strict=True))


def _count(value: float) -> str:
    """A count in words.

    >>> [_count(number) for number in (850, 14_200, 7.24e10, 1.4e12, 3e15)]
    ['850', '14 thousand', '72 billion', '1.4 trillion', '3,000 trillion']
    """
    for size, word in (
        (1e12, " trillion"),
        (1e9, " billion"),
        (1e6, " million"),
        (1e3, " thousand"),
        (1, ""),
    ):
        if value >= size:
            amount = float(f"{value / size:.2g}") if value / size < 100 else round(value / size)
            return f"{amount:,.0f}{word}" if amount >= 10 or amount == int(amount) else f"{amount:g}{word}"
    return f"{value:.2g}"


def _power(value: float) -> str:
    """A number as a power of ten.

    >>> _power(1e21), _power(5.76e23)
    ('10²¹', '5.8·10²³')
    """
    digits, _, exponent = f"{value:.1e}".partition("e")
    power = "10" + str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return power if digits == "1.0" else f"{digits.removesuffix('.0')}·{power}"
