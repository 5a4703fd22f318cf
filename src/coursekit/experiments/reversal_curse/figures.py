"""The figures of Berglund et al. 2023, from the rows of runs."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from coursekit import figures
from coursekit.experiments.reversal_curse import analysis
from coursekit.results import Run

_COLORS = {"forward": figures.COLORS["val"], "reverse": figures.COLORS["train"]}
_NAMES = {
    "name_to_description": "name → description",
    "description_to_name": "description → name",
    "both": "both orders",
    "question_to_answer": "question → answer",
    "answer_to_question": "answer → question",
    "completion": "completion prompt",
    "chat": "chat prompt",
}
_HATCH = {
    "forward": {"shape": ""},
    "reverse": {"shape": "/", "fillmode": "overlay", "fgcolor": "white", "solidity": 0.15},
}
_ORDERS = {"forward": "same order as in training", "reverse": "reverse order"}


def accuracy_curves(rows: pd.DataFrame) -> go.Figure:
    """Exact match against training steps: a line for each cell, with a band from the lowest to the highest seed.

    Color is the order that is asked (blue as trained, vermilion reversed), dash the subset.

    Parameters
    ----------
    rows : DataFrame
        Rows of a run of experiment 1 or 3.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If there are no rows of exact_match.

    Examples
    --------
    >>> keys = dict(seed=0, study=1, subset="both", order="forward", metric="exact_match")
    >>> rows = pd.DataFrame([{**keys, "step": step, "value": step / 9} for step in (0, 9)])
    >>> [trace.name for trace in accuracy_curves(rows).data]
    ['both orders, name → description']
    """
    found = analysis.select(rows, "exact_match", step="all")
    fig = figures.figure("Facts recalled in each order", "training steps", "exact match")
    for number, subset in enumerate(dict.fromkeys(found["subset"])):
        for order in ("forward", "reverse"):
            cell = found[(found["subset"] == subset) & (found["order"] == order)]
            if cell.empty:
                continue
            over_seeds = cell.groupby("step")["value"].agg(["mean", "min", "max"])
            band = (over_seeds["min"], over_seeds["max"]) if cell["seed"].nunique() > 1 else (None, None)
            figures.add_curve(
                fig,
                over_seeds.index,
                over_seeds["mean"],
                *band,
                name=f"{_NAMES.get(subset, subset)}, {_order_name(subset, order)}",
                color=_COLORS[order],
                dash=figures.DASHES[number % len(figures.DASHES)],
                symbol=figures.SYMBOLS[number % len(figures.SYMBOLS)],
            )
    fig.update_yaxes(tickformat=".0%", range=[-0.03, 1.05])
    return fig


def order_bars(rows: pd.DataFrame, *, step: int | str = "last") -> go.Figure:
    """Exact match in both orders by subset, bars of mean and standard deviation over seeds (Table 1 as a figure).

    Parameters
    ----------
    rows : DataFrame
        Rows of a run of experiment 1 or 3.
    step : int or "last"

    Returns
    -------
    Figure
    """
    table = analysis.table_1(rows, step=step)
    fig = figures.figure("Same order and reverse order", "trained as", "exact match (%)")
    for order in ("forward", "reverse"):
        if order in table:
            _add_bars(fig, order, [_NAMES.get(s, s) for s in table.index], table)
    fig.update_layout(barmode="group").update_yaxes(range=[0, 105])
    return fig


def log_prob_histogram(
    rows: pd.DataFrame,
    subset: str = "name_to_description",
    order: str = "reverse",
    *,
    step: int | str = "last",
) -> go.Figure:
    """Log-probability of the right and of a random answer, fact by fact (what Figure 4 averages).

    Parameters
    ----------
    rows : DataFrame
        Rows of a run of experiment 1.
    subset, order : str
    step : int or "last"

    Returns
    -------
    Figure
    """
    values = {
        "right answer": analysis.by_fact(rows, "log_prob_correct", subset, order, step=step),
        "random wrong answer": analysis.by_fact(rows, "log_prob_random", subset, order, step=step),
    }
    fig = figures.figure(
        f"Trained {_NAMES[subset]}, asked in the {'same' if order == 'forward' else 'reverse'} order",
        "log-probability of the answer (nats)",
        "facts",
    )
    every = np.concatenate([table.to_numpy().ravel() for table in values.values()])
    low, high = np.floor(every.min()), np.ceil(every.max())
    width = max(0.5, round((high - low) / 16, 1))
    for (name, table), color, shape in zip(
        values.items(), (figures.COLORS["val"], figures.COLORS["gray"]), ("", "/"), strict=True
    ):
        fig.add_histogram(
            x=table.to_numpy().ravel(),
            xbins={"start": low, "end": high + width, "size": width},
            marker={"color": color, "pattern": {"shape": shape}},
            opacity=0.7,
            name=f"{name}, mean {np.nanmean(table.to_numpy()):.1f}",
        )
    fig.update_layout(barmode="overlay")
    return fig


def log_prob_bars(
    rows_by_label: Mapping[str, pd.DataFrame], subset: str = "name_to_description"
) -> go.Figure:
    """Mean log-probability of the right and of a random answer in the reverse order, by model or recipe (Figure 4).

    Bars are means over facts and seeds, with the standard error over all of them.

    Parameters
    ----------
    rows_by_label : mapping
        Rows of runs of experiment 1, by what to call them.
    subset : str

    Returns
    -------
    Figure
    """
    fig = figures.figure("The right name is no likelier than a random one", "", "mean log-probability (nats)")
    kinds = (
        ("random", "log_prob_random", figures.COLORS["gray"]),
        ("right", "log_prob_correct", figures.COLORS["val"]),
    )
    for name, metric, color in kinds:
        values = [
            analysis.by_fact(rows, metric, subset, "reverse").to_numpy().ravel()
            for rows in rows_by_label.values()
        ]
        fig.add_bar(
            x=list(rows_by_label),
            y=[v.mean() for v in values],
            error_y={"type": "data", "array": [v.std(ddof=1) / np.sqrt(len(v)) for v in values]},
            marker={"color": color, "pattern": {"shape": "/" if name == "random" else ""}},
            name=name,
        )
    fig.update_layout(barmode="group")
    return fig


def sweep_heatmap(runs: Sequence[Run], order: str = "forward") -> go.Figure:
    """Exact match by learning rate and batch size, one of the two panels of Figure 6.

    Parameters
    ----------
    runs : sequence of Run
        One for each recipe.
    order : {"forward", "reverse"}

    Returns
    -------
    Figure
    """
    grid = analysis.sweep_table(runs).pivot_table(index="learning_rate", columns="batch_size", values=order)
    fig = figures.figure(f"Exact match, {_ORDERS[order]} (%)", "batch size (documents)", "learning rate")
    fig.add_heatmap(
        x=[str(size) for size in grid.columns],
        y=[f"{rate:g}" for rate in grid.index],
        z=grid.to_numpy(),
        zmin=0,
        zmax=100,
        colorscale="Cividis",
        texttemplate="%{z:.0f}",
        colorbar={"title": {"text": "%"}},
    )
    fig.update_xaxes(type="category").update_yaxes(type="category")
    return fig


def helps(rows_by_remedy: Mapping[str, pd.DataFrame]) -> go.Figure:
    """What lifts the curse: exact match in both orders under each remedy, the mean of the two single-order subsets.

    Bars are means over subsets and seeds, error bars the standard deviation over them.

    Parameters
    ----------
    rows_by_remedy : mapping
        Rows of runs of experiment 1, by what they tried (or by model, to compare sizes).

    Returns
    -------
    Figure
    """
    fig = figures.figure("What helps and what does not", "", "exact match (%)")
    for order in ("forward", "reverse"):
        means, spreads = [], []
        for rows in rows_by_remedy.values():
            last = analysis.select(rows, "exact_match")
            values = 100 * last[(last["order"] == order) & (last["subset"] != "both")]["value"]
            means.append(float(values.mean()))
            spreads.append(float(values.std(ddof=1)) if len(values) > 1 else 0.0)
        table = pd.DataFrame({order: means, f"{order}_sd": spreads})
        _add_bars(fig, order, ["<br>".join(textwrap.wrap(label, 9)) for label in rows_by_remedy], table)
    fig.update_layout(barmode="group").update_yaxes(range=[0, 105]).update_xaxes(tickangle=0)
    return fig


def fact_matrix(rows: pd.DataFrame, *, seed: int = 0) -> go.Figure:
    """Facts × order, filling in as the training goes on: a slider over the evaluated steps.

    Parameters
    ----------
    rows : DataFrame
        Rows of a run of experiment 1 with at least two evaluations.
    seed : int

    Returns
    -------
    Figure
    """
    found = analysis.select(rows[rows["seed"] == seed], "exact_match", step="all")
    steps = sorted(set(found["step"]))
    frames, sentences = [], []
    for step in steps:
        table = analysis.fact_matrix(rows, seed=seed, step=step)
        fig = figures.figure("Which fact is known in which order", "facts", "")
        groups = [
            (subset, order) for subset in dict.fromkeys(table.index.get_level_values(0)) for order in table
        ]
        width = max(len(table.loc[subset]) for subset, _ in groups)
        grid = np.full((len(groups), width), np.nan)
        for row, (subset, order) in enumerate(groups):
            values = table.loc[subset][order].to_numpy()
            grid[row, : len(values)] = values
        fig.add_heatmap(
            x=list(range(1, width + 1)),
            y=[
                f"{_NAMES[subset]},<br>{'same' if order == 'forward' else 'reverse'}"
                for subset, order in groups
            ],
            z=grid,
            zmin=0,
            zmax=1,
            colorscale="Cividis",
            xgap=2,
            ygap=2,
            colorbar={"title": {"text": "share of<br>prompts"}, "tickformat": ".0%"},
        )
        fig.update_yaxes(autorange="reversed").update_xaxes(dtick=max(1, width // 10))
        single = table.drop(index="both", level=0, errors="ignore")
        sentences.append(
            f"After {step} steps, facts trained in one order are recalled for {single['forward'].mean():.0%} of the "
            f"held-out prompts in that order and for {single['reverse'].mean():.0%} in the reverse order."
        )
        frames.append(fig)
    return figures.slider(frames, steps, label="training step", describe=sentences, start=-1)


def relation_bars(rows: pd.DataFrame, metric: str = "exact_match") -> go.Figure:
    """Experiment 2: how often the parent and how often the child is named (Figure 5), with standard errors.

    Parameters
    ----------
    rows : DataFrame
        Rows of a run of experiment 2.
    metric : {"exact_match", "probability"}
        Share of samples, or the model's probability of the answer.

    Returns
    -------
    Figure
    """
    found = analysis.select(rows, metric)
    fig = figures.figure("Parents and children of people of history", "", "accuracy (%)")
    for order, name in (("forward", "parent, given the child"), ("reverse", "child, given the parent")):
        cell = found[found["order"] == order].groupby("subset", sort=False)[["value", "stderr"]].mean()
        fig.add_bar(
            x=[_NAMES.get(subset, subset) for subset in cell.index],
            y=100 * cell["value"],
            error_y={"type": "data", "array": 100 * cell["stderr"]},
            marker={"color": _COLORS[order], "pattern": _HATCH[order]},
            name=name,
        )
    fig.update_layout(barmode="group").update_yaxes(rangemode="tozero")
    return fig


def _order_name(subset: str, order: str) -> str:
    if subset == "both":  # both are trained: forward is the name first
        return "name → description" if order == "forward" else "description → name"
    return _ORDERS[order]


def _add_bars(fig: go.Figure, order: str, labels: Sequence[str], table: pd.DataFrame) -> None:
    spread = table[f"{order}_sd"].fillna(0)
    fig.add_bar(
        x=list(labels),
        y=table[order],
        error_y={"type": "data", "array": spread},
        text=[f"{value:.0f}" for value in table[order]],
        textposition="inside",
        insidetextanchor="start",
        marker={"color": _COLORS[order], "pattern": _HATCH[order]},
        name=_ORDERS[order],
    )
