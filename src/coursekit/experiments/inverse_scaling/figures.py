"""Accuracy that falls while loss falls: figures from the rows of runs and from the published accuracies."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from coursekit import figures, stats
from coursekit.experiments.inverse_scaling import analysis

_TOKENS = "bytes trained on"
_NAMES = {name: name.replace("_", " ") for name in analysis.TASKS}
_MARKS = {"worse": ("train", "diamond"), "better": ("val", "circle"), "no evidence": ("gray", "x")}


def training_curves(
    rows: pd.DataFrame, tasks: Sequence[str] | None = None, *, columns: int = 3, x: str = _TOKENS
) -> go.Figure:
    """Accuracy at each task against training tokens, a curve for each size, with the held-out loss beside it.

    Parameters
    ----------
    rows : DataFrame
        Of a run, or of `analysis.load_published` (which has no loss).
    tasks : sequence of str, optional
        Default: all, in the order of the rows.
    columns : int
        Panels side by side.
    x : str
        Title of the horizontal axis.

    Returns
    -------
    Figure
        Mean over seeds. The dotted line is one half, what guessing gives where there are two choices.

    Raises
    ------
    ValueError
        If there are no accuracies, or none of a task.

    References
    ----------
    Michaelov & Bergen 2023, Figure 1.

    Examples
    --------
    >>> keys = dict(model="a", n_params=1e4, effect="none")
    >>> rows = pd.DataFrame([
    ...     keys | dict(n_tokens=d, task=task, metric=metric, value=value)
    ...     for d in (1e3, 1e4) for task, metric, value in (("trap", "accuracy", 0.5), ("text", "val_loss", 4.0))
    ... ])
    >>> [note.text for note in training_curves(rows).layout.annotations]
    ['held-out loss (bits per byte)', 'trap']
    """
    found = analysis.accuracies(rows)
    shown = _tasks(found, tasks)
    panels = {_NAMES.get(task, task): found[found["task"] == task] for task in shown}
    has_loss = bool((rows["metric"] == "val_loss").any())
    if has_loss:
        panels = {"held-out loss (bits per byte)": analysis.accuracies(rows, "val_loss")} | panels
    lines = -(-len(panels) // columns)
    fig = make_subplots(
        rows=lines,
        cols=min(columns, len(panels)),
        subplot_titles=list(panels),
        horizontal_spacing=0.08,
        vertical_spacing=0.4 / max(2, lines),
        figure=figures.figure(""),
    )
    sizes = sorted(found[found["task"].isin(shown)]["n_params"].unique())
    named: set[float] = set()
    for place, part in enumerate(panels.values()):
        at = {"row": place // columns + 1, "col": place % columns + 1}
        means = part.pivot_table(index="n_tokens", columns="n_params", values="value")
        for number, size in enumerate(sizes):
            if size not in means:  # a published model has other tasks and no loss
                continue
            look = figures.style(number)
            fig.add_scatter(
                x=means.index,
                y=means[size].round(4),
                mode="lines+markers",
                line={"color": look["color"], "dash": look["dash"], "width": 2},
                marker={"symbol": look["symbol"], "size": 6},
                name=f"{size_text(size)} parameters",
                legendgroup=str(number),
                showlegend=size not in named,
                **at,
            )
            named.add(size)
        if not has_loss or place:
            fig.add_hline(y=0.5, line={"dash": "dot", "width": 1, "color": figures.COLORS["gray"]}, **at)
            fig.update_yaxes(range=[-0.03, 1.03], tickformat=".0%", **at)
        title = x if place + columns >= len(panels) else ""
        fig.update_xaxes(type="log", exponentformat="power", dtick=1, title_text=title, **at)
    fig.update_annotations(font_size=13)
    fig.update_layout(height=150 + 230 * lines, margin_t=40, legend_y=-90 / (50 + 230 * lines))
    return fig


def heatmap(rows: pd.DataFrame, task: str) -> go.Figure:
    """Accuracy at one task: a row a size, a column a checkpoint.

    Raises
    ------
    ValueError
        If there are no accuracies of the task.

    Examples
    --------
    >>> keys = dict(model="a", effect="none", metric="accuracy", task="trap", n_params=1e4)
    >>> heatmap(pd.DataFrame([keys | dict(n_tokens=1e6, value=0.25)]), "trap").data[0].z
    array([[0.25]])
    """
    found = analysis.accuracies(rows)
    _tasks(found, [task])
    means = found[found["task"] == task].pivot_table(index="n_params", columns="n_tokens", values="value")
    fig = figures.figure(f"Accuracy: {_NAMES.get(task, task)}", "trained on", "parameters")
    fig.add_heatmap(
        z=means.to_numpy().round(3),
        x=[size_text(float(str(tokens))) for tokens in means.columns],
        y=[size_text(float(str(size))) for size in means.index],
        zmin=0,
        zmax=1,
        colorscale="RdBu",
        colorbar={"title": {"text": "accuracy"}, "tickformat": ".0%"},
        texttemplate="%{z:.0%}",
        hovertemplate="%{y} parameters, %{x}: %{z:.1%}<extra></extra>",
    )
    fig.update_xaxes(type="category")
    fig.update_yaxes(type="category")
    fig.update_layout(height=180 + 45 * len(means))
    return fig


def t_values(rows: pd.DataFrame, *, level: float = 0.05) -> go.Figure:
    """The t-values of Table 1, as printed and with checkpoints clustered by model, a panel an effect.

    Parameters
    ----------
    rows : DataFrame
        As for `analysis.compare_tables`, or the table that it returned.
    level : float
        Filled marks have an adjusted p-value within it, hollow ones have not.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        As `analysis.table_1`.

    References
    ----------
    Michaelov & Bergen 2023, Table 1.
    """
    table = rows if "clustered_t" in rows else analysis.compare_tables(rows, level=level)
    names = [_NAMES.get(task, task) for task in dict.fromkeys(table["task"])]
    fig = make_subplots(
        rows=1, cols=3, shared_yaxes=True, subplot_titles=list(stats.EFFECTS), horizontal_spacing=0.03,
        figure=figures.figure("Effects on accuracy, t-values"),
    )  # fmt: skip
    ways = (("t", "q", "all checkpoints independent", "val", "circle"),
            ("clustered_t", "clustered_q", "clustered by model", "train", "diamond"))  # fmt: skip
    for column, effect in enumerate(stats.EFFECTS, 1):
        part = table[table["effect"] == effect]
        for t, q, name, color, symbol in ways:
            hollow = ["-open" * (value > level) for value in part[q]]
            fig.add_scatter(
                x=part[t].round(2),
                y=names,
                mode="markers",
                marker={
                    "color": figures.COLORS[color],
                    "symbol": [symbol + end for end in hollow],
                    "size": 10,
                },
                customdata=part[q],
                hovertemplate="%{y}: t = %{x}, q = %{customdata:.3f}",
                name=name,
                showlegend=False,
                row=1,
                col=column,
            )
        fig.add_vline(x=0, line={"width": 1, "color": figures.COLORS["gray"]}, row=1, col=column)
    for _, _, name, color, symbol in ways:  # filled marks for the legend
        fig.add_scatter(x=[None], y=names[:1], mode="markers", name=name,
                        marker={"color": figures.COLORS[color], "symbol": symbol, "size": 10})  # fmt: skip
    height = 200 + 28 * len(names)
    fig.update_yaxes(autorange="reversed", type="category")
    fig.update_layout(height=height, margin_t=90, legend_y=-50 / (height - 150))
    return fig


def regression_watch(table: pd.DataFrame, *, names: Mapping[str, str] = _NAMES) -> go.Figure:
    """What `coursekit.evaluate.regression_watch` found: the change at every task with its interval.

    Parameters
    ----------
    table : DataFrame
        What it returned.
    names : mapping, optional
        Task → text.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If a column is missing.

    Examples
    --------
    >>> row = dict(task="trap", difference=-0.3, low=-0.4, high=-0.2, before=0.5, after=0.2, q=0.001, verdict="worse")
    >>> [trace.name for trace in regression_watch(pd.DataFrame([row])).data]
    ['worse']
    """
    needed = {"task", "before", "after", "difference", "low", "high", "q", "verdict"}
    if missing := sorted(needed - set(table.columns)):
        raise ValueError(
            f"the table lacks {', '.join(missing)}; pass what evaluate.regression_watch returned"
        )
    fig = figures.figure("Newer checkpoint minus older one", "change of accuracy", "")
    for verdict, (color, symbol) in _MARKS.items():
        part = table[table["verdict"] == verdict]
        if len(part):
            fig.add_scatter(
                x=part["difference"].round(4),
                y=[names.get(task, task) for task in part["task"]],
                mode="markers",
                marker={"color": figures.COLORS[color], "symbol": symbol, "size": 11},
                error_x={
                    "array": part["high"] - part["difference"],
                    "arrayminus": part["difference"] - part["low"],
                },
                customdata=part[["before", "after", "q"]],
                hovertemplate="%{y}: %{customdata[0]:.0%} → %{customdata[1]:.0%}, q = %{customdata[2]:.3f}",
                name=verdict,
            )
    fig.add_vline(x=0, line={"width": 1, "color": figures.COLORS["gray"]})
    order = [names.get(task, task) for task in table["task"]]
    height = 200 + 28 * len(order)
    fig.update_yaxes(categoryorder="array", categoryarray=order[::-1], type="category")
    fig.update_xaxes(tickformat="+.0%")
    fig.update_layout(height=height, legend_y=-70 / (height - 120))
    return fig


def checkpoint_figure(rows: pd.DataFrame, n_tokens: float, tasks: Sequence[str] | None = None) -> go.Figure:
    """Accuracy at each task against model size, at one checkpoint: one frame of `checkpoint_slider`.

    Raises
    ------
    ValueError
        If there are no accuracies of the checkpoint or a task.
    """
    every = analysis.accuracies(rows)
    shown = _tasks(every, tasks)
    every = every[every["task"].isin(shown)]
    sizes = sorted(every["n_params"].unique())
    found = every[every["n_tokens"] == n_tokens]
    if found.empty:
        known = ", ".join(size_text(tokens) for tokens in sorted(every["n_tokens"].unique()))
        raise ValueError(f"there is no checkpoint of {n_tokens} tokens; choose one of {known}")
    fig = figures.figure("Accuracy by size, as training goes on", "parameters", "accuracy", log_x=True)
    for number, task in enumerate(shown):
        means = found[found["task"] == task].groupby("n_params")["value"].mean().reindex(sizes)
        figures.add_curve(
            fig, sizes, means.round(4).to_numpy(), name=_NAMES.get(task, task), **figures.style(number)
        )
    fig.add_hline(y=0.5, line={"dash": "dot", "width": 1, "color": figures.COLORS["gray"]})
    fig.update_yaxes(range=[-0.03, 1.03], tickformat=".0%")
    fig.update_xaxes(range=[np.log10(sizes[0]) - 0.1, np.log10(sizes[-1]) + 0.1], dtick=1)
    fig.update_layout(height=480)
    return fig


def checkpoint_slider(rows: pd.DataFrame, tasks: Sequence[str] | None = None) -> go.Figure:
    """Move through the checkpoints: loss falls, and with it the accuracy at some tasks. Needs no kernel.

    Parameters
    ----------
    rows : DataFrame
        Of a run, or of `analysis.load_published`.
    tasks : sequence of str, optional
        Default: those of `analysis.TASKS` that fall by design; of other rows, all.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If there are no accuracies, or of one checkpoint only.
    """
    every = analysis.accuracies(rows)
    ours = [task for task in dict.fromkeys(every["task"]) if task in analysis.TASKS]
    shown = _tasks(every, tasks or [task for task in ours if analysis.TASKS[task].kind != "control"])
    every = every[every["task"].isin(shown)]
    losses = rows[rows["metric"] == "val_loss"]
    checkpoints = sorted(every["n_tokens"].unique())
    sentences = []
    for n_tokens in checkpoints:
        here = every[every["n_tokens"] == n_tokens]
        sentence = f"After {size_text(n_tokens)} tokens: mean accuracy {here['value'].mean():.0%}"
        now = losses[losses["n_tokens"] == n_tokens]
        if len(now):
            loss = now.groupby("n_params")["value"].mean().iloc[-1]
            sentence += f", held-out loss {loss:.2f} bits per byte in the largest model"
        sentences.append(sentence + ".")
    return figures.slider(
        [checkpoint_figure(every, n_tokens, shown) for n_tokens in checkpoints],
        [size_text(n_tokens) for n_tokens in checkpoints],
        label="tokens trained on",
        describe=sentences,
    )


def size_text(number: float) -> str:
    """Write a count in two or three digits.

    Examples
    --------
    >>> [size_text(n) for n in (950, 10832, 246_240, 1_400_000, 12e9)]
    ['950', '10.8k', '246k', '1.4M', '12B']
    """
    for unit, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= unit:
            return f"{number / unit:.3g}{letter}"
    return f"{number:.0f}"


def _tasks(found: pd.DataFrame, tasks: Sequence[str] | None) -> list[str]:
    """The tasks to show, all of which have rows."""
    present = list(dict.fromkeys(found["task"]))
    if unknown := [task for task in tasks or () if task not in present]:
        raise ValueError(
            f"there are no accuracies of {', '.join(unknown)}; choose among {', '.join(present)}"
        )
    return list(tasks or present)
