"""The figures of week 8: speed measured and published, the forecast with its uncertainty, what moves it."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from coursekit import figures
from coursekit.experiments.forecasting import analysis
from coursekit.experiments.forecasting.data import (
    INPUTS,
    MMLU_FORECASTS,
    OUTCOMES,
    SERIES,
    SPEEDS,
    TOKENS_PER_WORD,
)

HUMAN_WPM = INPUTS["human_wpm"].median
_LEFT = {
    "x": 0,
    "xref": "container",
    "xanchor": "left",
    "pad": {"l": 8},
}  # labels leave a title too little room
_SHOWN = (
    "work_years", "copies", "learning_years", "user_person_days", "speed", "fast_speed", "fast_agent_years",
    "fast_agent_years_in_time",
)  # fmt: skip


def speed_regression(rows: pd.DataFrame) -> go.Figure:
    """Seconds of every count against its tokens, with the line whose slope is the speed.

    Parameters
    ----------
    rows : DataFrame
        Of a run: those of the quantity "count".

    Returns
    -------
    Figure
        In the legend each model's tokens per second with a 95 % interval, and words per minute.

    Raises
    ------
    ValueError
        If there are no counts among the rows.

    Examples
    --------
    >>> rows = pd.DataFrame(
    ...     [dict(quantity="count", model="tiny", n=n, metric="seconds", value=1 + n / 50) for n in (100, 200, 300)]
    ... )
    >>> speed_regression(rows).data[1].name
    'tiny: 50.0 tokens per second<br>(50.0 to 50.0), 2,250 words per minute'
    """
    counts = _some(rows[(rows["quantity"] == "count") & (rows["metric"] == "seconds")], "counts")
    fig = figures.figure("Counting from 1 to n, cut off at n tokens", "tokens written, n", "seconds")
    for number, (model, part) in enumerate(counts.groupby("model", sort=False)):
        n, seconds = part["n"].to_numpy(dtype=float), part["value"].to_numpy(dtype=float)
        fit, look = analysis.fit_speed(n, seconds), figures.style(number)
        fig.add_scatter(
            x=n, y=seconds, mode="markers", marker={"color": look["color"], "symbol": look["symbol"], "size": 8},
            showlegend=False, hovertemplate="%{x} tokens: %{y:.2f} s<extra></extra>",
        )  # fmt: skip
        ends = np.array([0, n.max()])
        v, words = fit.tokens_per_second, analysis.words_per_minute(fit.tokens_per_second)
        speed = (
            f"{v:.1f} tokens per second<br>({fit.low:.1f} to {fit.high:.1f}), {words:,.0f} words per minute"
        )
        figures.add_curve(
            fig, ends, fit.latency + fit.seconds_per_token * ends, color=look["color"], dash=look["dash"],
            name=f"{_short(model)}: {speed if v > 0 else 'longer counts took<br>no longer, time them again'}",
        )  # fmt: skip
    return fig.update_xaxes(rangemode="tozero").update_yaxes(rangemode="tozero")


def batches(rows: pd.DataFrame, phase: str = "decode") -> go.Figure:
    """Tokens per second of all sequences together against the batch size.

    Parameters
    ----------
    rows : DataFrame
        Of a run.
    phase : {"decode", "prefill"}

    Returns
    -------
    Figure
        With the line that a speed in proportion to the batch would follow from the first point.

    Raises
    ------
    ValueError
        If the rows have none of that phase.

    Examples
    --------
    >>> rows = pd.DataFrame([
    ...     dict(quantity=f"decode, float32, batch {b}", model="tiny", metric="tokens_per_second", value=20.0 * b**0.8)
    ...     for b in (1, 2, 4)
    ... ])
    >>> [trace.name for trace in batches(rows).data]
    ['tiny, float32', 'in proportion to the batch']
    """
    part = rows[(rows["metric"] == "tokens_per_second") & rows["quantity"].str.startswith(f"{phase},")]
    named = part["quantity"].str.extract(r", (?P<precision>\w+), batch (?P<batch>\d+)$")
    part = _some(part.assign(**named), f"tokens_per_second of {phase}").astype({"batch": int})
    fig = figures.figure(
        f"{phase.capitalize()}: throughput against batch size", "batch size", "tokens per second", log_x=True,
        log_y=True,
    )  # fmt: skip
    for number, ((model, precision), one) in enumerate(part.groupby(["model", "precision"], sort=False)):
        one = one.sort_values("batch")
        figures.add_curve(
            fig, one["batch"], one["value"], name=f"{_short(model)}, {precision}", **figures.style(number)
        )
    sizes, start = np.sort(part["batch"].unique()), part.sort_values("batch")["value"].iloc[0]
    figures.add_curve(
        fig, sizes, start * sizes / sizes[0], name="in proportion to the batch", color=figures.COLORS["gray"],
        dash="dot",
    )  # fmt: skip
    return fig.update_xaxes(tickvals=sizes)


def published_speeds(*, bytes_per_second: float = 2039e9) -> go.Figure:
    """The post's table 1: words per minute against size, beside a human, and what the memory would allow.

    Parameters
    ----------
    bytes_per_second : float
        The A100's bandwidth; the post does not say which of the two A100 it used, the default is the one with 80 GB.

    Examples
    --------
    >>> [trace.name for trace in published_speeds().data][0]
    'Pythia on an A100 in float16'
    """
    fig = figures.figure(
        "Words per minute of the post's models", "parameters", "words per minute", log_x=True, log_y=True
    )
    known = SPEEDS.dropna()
    n = known["n_params"].to_numpy(dtype=float)
    figures.add_curve(
        fig, n, known["tokens_per_minute"] / TOKENS_PER_WORD, symbol="circle",
        name="Pythia on an A100 in float16",
    )  # fmt: skip
    bound = 60 * analysis.bandwidth_bound(n, bytes_per_second) / TOKENS_PER_WORD
    figures.add_curve(
        fig, n, bound, name="if every weight is read once a token", dash="dash", color=figures.COLORS["train"]
    )
    ends = [n.min(), n.max()]
    for number, (model, tokens) in enumerate(
        SPEEDS.loc[SPEEDS["n_params"].isna(), ["model", "tokens_per_minute"]].itertuples(index=False)
    ):
        look = figures.style(number + 2)
        wpm = tokens / TOKENS_PER_WORD
        figures.add_curve(
            fig, ends, [wpm, wpm], name=f"{model}, size unknown", color=look["color"], dash="dot"
        )
    figures.add_curve(fig, ends, [HUMAN_WPM, HUMAN_WPM], name="human thinking", color=figures.COLORS["gray"])
    return fig


def intervals(
    table: pd.DataFrame | None = None, quantities: Sequence[str] = _SHOWN, *, title: str = ""
) -> go.Figure:
    """Every outcome with its 50 % and 90 % intervals, as a multiple of the number that the post prints.

    Parameters
    ----------
    table : DataFrame, optional
        From `analysis.monte_carlo`, made here by default.
    quantities : sequence of str
        Outcomes, from top to bottom.
    title : str

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If the table lacks one of the quantities.

    Examples
    --------
    >>> fig = intervals(analysis.monte_carlo(2000))
    >>> [trace.name for trace in fig.data]
    ['90 % of the samples', '50 % of the samples', 'median', 'the post', "the post's quartiles"]
    """
    found = (analysis.monte_carlo() if table is None else table).set_index("quantity")
    if missing := [name for name in quantities if name not in found.index]:
        raise ValueError(
            f"expected rows of {', '.join(quantities)}, got none of {', '.join(missing)}; pass analysis.monte_carlo()"
        )
    part = found.loc[list(quantities)][::-1]
    labels = [_lines(f"{OUTCOMES[name].text} ({OUTCOMES[name].unit})") for name in part.index]
    post = part["post"].to_numpy(dtype=float)
    fig = figures.figure(
        title or "The forecast, against the post's numbers", "× the post's number", log_x=True
    )
    blue, gray = figures.COLORS["val"], figures.COLORS["gray"]

    def bar(low: str, high: str, name: str, width: int, color: str) -> None:
        x: list[float | None] = []
        y: list[str | None] = []
        for label, left, right, unit in zip(labels, part[low], part[high], post, strict=True):
            x += [left / unit, right / unit, None]
            y += [label, label, None]
        fig.add_scatter(
            x=x, y=y, mode="lines", line={"color": color, "width": width}, name=name, hoverinfo="skip"
        )

    bar("p05", "p95", "90 % of the samples", 2, blue)
    bar("p25", "p75", "50 % of the samples", 8, figures.transparent(blue, 0.5))
    fig.add_scatter(
        x=part["median"] / post, y=labels, mode="markers", marker={"color": blue, "size": 10}, name="median",
        customdata=np.column_stack([part[["median", "p05", "p95"]].to_numpy(), post]),
        hovertemplate="%{customdata[0]:.3s} (%{customdata[1]:.3s} to %{customdata[2]:.3s}); the post: "
        "%{customdata[3]:.3s}<extra></extra>",
    )  # fmt: skip
    star = {"color": figures.COLORS["train"], "symbol": "star", "size": 11}
    fig.add_scatter(
        x=np.ones(len(part)), y=labels, mode="markers", marker=star, name="the post", hoverinfo="skip"
    )
    bar("post_low", "post_high", "the post's quartiles", 2, figures.COLORS["train"])
    fig.add_vline(x=1, line={"color": gray, "width": 1, "dash": "dot"})
    fig.update_xaxes(range=[-4.2, 3], dtick=2, tickangle=0)
    return fig.update_layout(height=220 + 60 * len(part), margin={"l": 20}, title=_LEFT)


def tornado(outcome: str = "work_years", table: pd.DataFrame | None = None) -> go.Figure:
    """How far each input alone moves an outcome, from its 5th to its 95th percentile, the widest on top.

    Parameters
    ----------
    outcome : str
        Of `data.OUTCOMES`.
    table : DataFrame, optional
        From `analysis.sensitivity` for that outcome, made here by default.

    Returns
    -------
    Figure
        With each input's rank correlation written beside it.

    Raises
    ------
    ValueError
        If the outcome is unknown.

    Examples
    --------
    >>> tornado("work_years", analysis.sensitivity("work_years", n=2000)).data[0].y[-1].split("<br>")[0]
    'training in 2030'
    """
    found = (analysis.sensitivity(outcome) if table is None else table)[::-1]
    what = OUTCOMES[outcome]
    labels = [
        _lines(f"{one.text} (ρ\u00a0=\u00a0{one.rank_correlation:+.2f})")
        for one in found.itertuples(index=False)
    ]
    middle = float(analysis.forecast()[outcome])
    fig = figures.figure(what.text[0].upper() + what.text[1:], what.unit, log_x=True)
    for end, name, color in (
        ("at_p05", "input at its 5th percentile", figures.COLORS["val"]),
        ("at_p95", "input at its 95th percentile", figures.COLORS["train"]),
    ):
        values = found[end].to_numpy(dtype=float)
        x = [end for value in values.tolist() for end in (middle, value, None)]
        y = [label for label in labels for _ in range(3)]
        fig.add_scatter(
            x=x, y=y, mode="lines", line={"color": color, "width": 14}, name=name,
            hovertemplate="%{x:.3s}<extra></extra>",
        )  # fmt: skip
    fig.add_vline(x=middle, line={"color": figures.COLORS["gray"], "width": 1})
    fig.update_xaxes(dtick=1)
    return fig.update_layout(height=260 + 56 * len(found), margin={"l": 20}, title=_LEFT)


def orders(name: str = "mmlu") -> go.Figure:
    """A series with, for each value, what zeroth and first order would have forecast from those before.

    Parameters
    ----------
    name : str
        Of `data.SERIES`.

    Returns
    -------
    Figure
        For "mmlu" with what 73 forecasters expected.

    Raises
    ------
    ValueError
        If the series is unknown.

    Examples
    --------
    >>> [trace.name for trace in orders("n_params").data]
    ['what came', 'zeroth order', 'first order']
    """
    if name not in SERIES:
        raise ValueError(f"unknown series {name!r}: choose one of {', '.join(SERIES)}")
    series = SERIES[name]
    made = analysis.backtest(series)
    fig = figures.figure(series.text[0].upper() + series.text[1:], log_y=series.scale == "log")
    fig.add_scatter(
        x=[point.when for point in series.points], y=[point.value for point in series.points],
        text=[point.name for point in series.points], mode="lines+markers+text",
        textposition=["bottom right", *["top left"] * (len(series.points) - 1)],
        name="what came", cliponaxis=False,
        line={"color": figures.COLORS["gray"]}, marker={"size": 9},
    )  # fmt: skip
    for column, symbol, color in (
        ("zeroth_order", "square", figures.COLORS["train"]),
        ("first_order", "diamond", figures.COLORS["val"]),
    ):
        fig.add_scatter(
            x=made["when"], y=made[column], mode="markers", name=column.replace("_", " "),
            marker={"symbol": symbol, "color": color, "size": 11},
        )  # fmt: skip
    if name == "mmlu":
        fig.add_scatter(
            x=list(MMLU_FORECASTS), y=list(MMLU_FORECASTS.values()), mode="markers", name="73 forecasters in 2021",
            marker={"symbol": "x", "color": figures.COLORS["green"], "size": 11},
        )  # fmt: skip
    return fig.update_layout(title=_LEFT)


def _short(model: object) -> str:
    """Return a model's name without that of its owner.

    >>> _short("EleutherAI/pythia-12b-deduped")
    'pythia-12b-deduped'
    """
    return str(model).rpartition("/")[2]


def _lines(label: str) -> str:
    """Break a label of an axis into short lines, for a phone."""
    return "<br>".join(textwrap.wrap(label, 26, break_on_hyphens=False))


def _some(part: pd.DataFrame, what: str) -> pd.DataFrame:
    if part.empty:
        raise ValueError(f"expected rows with {what}, got none; pass the rows of a run that has them")
    return part
