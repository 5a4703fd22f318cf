"""The figures of Zhu et al. 2024, from the rows of runs and from the weights of networks."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import ArrayLike
from plotly.subplots import make_subplots

from coursekit import figures
from coursekit.experiments.reversal_dynamics import analysis
from coursekit.results import KEYS

_SPLITS = {"train": "training", "val": "held out"}
_DIRECTIONS = {
    "forward": ("forward, x → y", "solid"),
    "backward": ("backward, y ← x", "dash"),
    "first_step": ("first step, x → y", "solid"),
    "second_step": ("second step, y → z", "dash"),
    "indirect": ("indirect, x ⇝ z", "dot"),
    "chain_of_thought": ("chain of thought, x → y → z", "dashdot"),
    "in_context": ("reversal in context", "solid"),
}
_MODELS = {"bilinear": "bilinear model", "one_layer": "one-layer transformer", "transformer": "transformer"}
_METRICS = {
    "negative_log_prob": "−log p of the answer (nats)",
    "word_negative_log_prob": "−log p of the whole answer (nats)",
    "accuracy": "share of right answers",
}


def loss_curves(
    rows: pd.DataFrame,
    *,
    metric: str = "negative_log_prob",
    n_tokens: int | None = 802,
    n_candidates: int | None = 200,
    model: str | None = None,
) -> go.Figure:
    """How improbable the right answers are during training, mean over seeds, with bands from the lowest to the highest.

    Parameters
    ----------
    rows : DataFrame
        Rows of one run.
    metric : {"negative_log_prob", "word_negative_log_prob", "accuracy"}
    n_tokens, n_candidates : int, optional
        For the two baselines, ln of each: knowing nothing, and knowing only what kind of token is asked for. None
        leaves one out; an accuracy has none.
    model : str, optional
        Which of several models to show.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If a column or the metric is missing, or there are rows of several models and none is named.

    References
    ----------
    Zhu et al. 2024, loss curves.

    Examples
    --------
    >>> keys = dict(seed=0, model="transformer", metric="negative_log_prob")
    >>> rows = [keys | dict(split=s, direction="forward", step=0, value=v) for s, v in (("train", 0.1), ("val", 9.0))]
    >>> [trace.name for trace in loss_curves(pd.DataFrame(rows)).data if trace.showlegend]
    ['training: forward, x → y', 'held out: forward, x → y', 'ln 802: any token', 'ln 200: any candidate']
    """
    selected = _select(rows, metric)
    models = list(dict.fromkeys(selected["model"]))
    if model is None and len(models) > 1:
        raise ValueError(f"expected rows of one model, got {', '.join(models)}; name one of them as model")
    selected = selected[selected["model"] == (model or models[0])]
    if selected.empty:
        raise ValueError(
            f"expected rows of the model {model}, got only {', '.join(models)}; choose one of these"
        )
    n_seeds = selected["seed"].nunique()
    seeds = f"{n_seeds} seeds" if n_seeds > 1 else "one seed"
    name = _MODELS.get(model or models[0], model or models[0])
    fig = figures.figure(f"{name.capitalize()}, {seeds}", "optimization steps", _METRICS.get(metric, metric))
    for (split, direction), part in selected.groupby(["split", "direction"], sort=False):
        seeds_at = part.groupby("step")["value"].agg(["mean", "min", "max"])
        label, dash = _DIRECTIONS.get(str(direction), (str(direction), "solid"))
        figures.add_curve(
            fig,
            seeds_at.index.to_numpy(),
            seeds_at["mean"].to_numpy(),
            seeds_at["min"].to_numpy() if n_seeds > 1 else None,
            seeds_at["max"].to_numpy() if n_seeds > 1 else None,
            name=f"{_SPLITS[str(split)]}: {label}",
            color=figures.COLORS["green" if direction == "chain_of_thought" else str(split)],
            dash=dash,
        )
    if metric == "accuracy":
        fig.update_yaxes(tickformat=".0%", range=[-0.02, 1.05])
    else:
        _add_baselines(fig, float(selected["step"].max()), n_tokens, n_candidates)
        fig.update_yaxes(rangemode="tozero")
    return fig


def logit_heatmaps(matrices: Mapping[str, ArrayLike]) -> go.Figure:
    """Heat-maps of scores side by side, on one color scale: a row a question, the right answer on the diagonal.

    Parameters
    ----------
    matrices : mapping
        Title → array [n, n], such as `NetworkRecord.logit_matrices` returns.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If there is none, or one is not a matrix.

    References
    ----------
    Zhu et al. 2024, heat-maps of scores.

    Examples
    --------
    >>> fig = logit_heatmaps({"seen": np.eye(3), "unseen": np.zeros((3, 3))})
    >>> len(fig.data), fig.layout.coloraxis.cmax
    (2, 1.0)
    """
    arrays = {name: np.asarray(matrix, dtype=float) for name, matrix in matrices.items()}
    if not arrays or any(a.ndim != 2 for a in arrays.values()):
        shapes = [a.shape for a in arrays.values()]
        raise ValueError(f"expected one matrix or more, [n, n] each, got shapes {shapes}")
    columns = min(2, len(arrays))
    lines = -(-len(arrays) // columns)
    fig = make_subplots(
        rows=lines,
        cols=columns,
        subplot_titles=list(arrays),
        horizontal_spacing=0.1,
        vertical_spacing=0.14,
        figure=figures.figure("Scores of the answers"),
    )
    for number, array in enumerate(arrays.values()):
        fig.add_heatmap(
            z=np.round(array, 3),
            coloraxis="coloraxis",
            hovertemplate="question %{y}, answer %{x}: %{z}<extra></extra>",
            row=number // columns + 1,
            col=number % columns + 1,
        )
    every = np.concatenate([a.ravel() for a in arrays.values()])
    fig.update_yaxes(autorange="reversed", constrain="domain")
    fig.update_xaxes(constrain="domain")
    for number in range(len(arrays)):
        axis = "" if number == 0 else str(number + 1)
        fig.layout[f"yaxis{axis}"].scaleanchor = f"x{axis}"
    fig.update_layout(
        coloraxis={
            "colorscale": "Viridis",
            "cmin": float(every.min()),
            "cmax": float(every.max()),
            "colorbar": {"title": {"text": "score"}},
        },
        height=120 + 330 * lines,
    )
    return fig


def cosine_heatmap(vectors: ArrayLike, *, title: str = "Cosines between the entities' vectors") -> go.Figure:
    """How far the rows of a matrix point in the same direction: near 0 off the diagonal if they are nearly orthogonal.

    Parameters
    ----------
    vectors : array_like [n, d] or [n, n]
        Vectors; or their cosines (a symmetric matrix with ones on the diagonal).
    title : str

    Returns
    -------
    Figure
        The title gives the mean size of the cosines off the diagonal.

    Raises
    ------
    ValueError
        If it is not a matrix of two rows or more.

    References
    ----------
    Zhu et al. 2024, heat-map of cosines.

    Examples
    --------
    >>> cosine_heatmap(np.eye(3)).layout.title.text
    'Cosines between the entities’ vectors: 0.00 on average'
    """
    matrix = np.asarray(vectors, dtype=float)
    if matrix.ndim != 2 or len(matrix) < 2:
        raise ValueError(f"expected a matrix of two rows or more, got the shape {matrix.shape}")
    square = matrix.shape[0] == matrix.shape[1]
    is_cosines = (
        square and np.allclose(matrix, matrix.T, atol=1e-3) and np.allclose(matrix.diagonal(), 1, atol=1e-3)
    )
    cosines = matrix if is_cosines else analysis.cosine_similarities(matrix)
    off = np.abs(cosines[~np.eye(len(cosines), dtype=bool)]).mean()
    fig = figures.figure(f"{title.replace(chr(39), '’')}: {off:.2f} on average", "entity", "entity")
    fig.add_heatmap(
        z=np.round(cosines, 3),
        zmin=-1,
        zmax=1,
        colorscale="RdBu_r",
        colorbar_title_text="cosine",
        hovertemplate="%{y} and %{x}: %{z}<extra></extra>",
    )
    fig.update_yaxes(autorange="reversed", scaleanchor="x", constrain="domain")
    fig.update_xaxes(constrain="domain")
    fig.update_layout(height=560)
    return fig


def sweep_figure(
    rows: pd.DataFrame, *, by: str = "setting", n_tokens: int | None = 802, n_candidates: int | None = 200
) -> go.Figure:
    """Where several recipes end: −log p of trained and of held-out sentences, mean over directions and seeds.

    Parameters
    ----------
    rows : DataFrame
        Rows of several runs, each with its name in one more column: ``run.rows.assign(setting="4 layers")``.
    by : str
        That column.
    n_tokens, n_candidates : int, optional
        As in `loss_curves`.

    Returns
    -------
    Figure
        Bars reach from the lowest to the highest seed.

    Raises
    ------
    ValueError
        If a column or the metric is missing.

    References
    ----------
    Zhu et al. 2024, appendix, the table of configurations.
    """
    selected = _select(rows, "negative_log_prob", by)
    selected = selected[selected["direction"] != "chain_of_thought"]
    last = selected[selected["step"] == selected.groupby([by, "seed"])["step"].transform("max")]
    seeds = last.groupby([by, "split", "seed"], sort=False)["value"].mean()
    ends = seeds.groupby([by, "split"], sort=False).agg(["mean", "min", "max"]).reset_index()
    settings = list(dict.fromkeys(selected[by]))
    fig = figures.figure("At the end of training", _METRICS["negative_log_prob"], "")
    for split, part in ends.groupby("split", sort=False):
        part = part.set_index(by).reindex(settings)
        fig.add_scatter(
            x=part["mean"],
            y=[str(s) for s in settings],
            mode="markers",
            marker={
                "color": figures.COLORS[str(split)],
                "symbol": "circle" if split == "train" else "diamond",
                "size": 10,
            },
            error_x={"array": part["max"] - part["mean"], "arrayminus": part["mean"] - part["min"]},
            name=_SPLITS[str(split)],
        )
    names = [str(setting) for setting in settings]
    for number, (value, text) in enumerate(_baseline_texts(n_tokens, n_candidates)):
        ends_of_line = ([value] * len(names), names)
        figures.add_curve(
            fig, *ends_of_line, name=text, color=figures.COLORS["gray"], dash=("dash", "dot")[number]
        )
    height = 220 + 32 * len(settings)
    fig.update_yaxes(autorange="reversed", type="category")
    fig.update_xaxes(rangemode="tozero")
    fig.update_layout(height=height, margin_b=120, legend_y=-70 / (height - 180))
    return fig


def bilinear_curves(
    run: analysis.BilinearRun, *, names: Mapping[str, str] | None = None, probability: bool = True
) -> go.Figure:
    """What a bilinear model answers during training, a curve for each set of pairs it was watched on.

    Parameters
    ----------
    run : BilinearRun
    names : mapping, optional
        Set → text for the legend.
    probability : bool
        Show the mean probability of the right answer; otherwise its mean −log p (nats).

    Returns
    -------
    Figure
        Mean over pairs and seeds, bands from the lowest to the highest seed.
    """
    names = {"train": "trained on, x → y", "reverse": "its reverse, y → x"} | dict(names or {})
    y = "probability of the right answer" if probability else _METRICS["negative_log_prob"]
    fig = figures.figure("Bilinear model", "steps of gradient descent", y)
    for number, name in enumerate(run.losses):
        values = run.probability(name) if probability else run.losses[name].mean(-1)
        several = values.shape[1] > 1
        color = {"train": figures.COLORS["train"], "reverse": figures.COLORS["val"]}.get(name)
        figures.add_curve(
            fig,
            run.steps,
            values.mean(1),
            values.min(1) if several else None,
            values.max(1) if several else None,
            name=names.get(name, name),
            color=color or list(figures.COLORS.values())[number % len(figures.COLORS)],
            dash="solid" if number == 0 else figures.DASHES[1 + (number - 1) % 3],
        )
    fig.update_yaxes(range=[-0.02, 1.05]) if probability else fig.update_yaxes(rangemode="tozero")
    return fig


def overlap_figure(table: pd.DataFrame, overlap: float) -> go.Figure:
    """Forward and reverse probability during training at one overlap: one frame of `overlap_slider`.

    Parameters
    ----------
    table : DataFrame
        Of `analysis.overlap_sweep`.
    overlap : float
        One of its overlaps.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If the table lacks a column or the overlap.

    Examples
    --------
    >>> table = analysis.overlap_sweep((0.0, 1.0), n_pairs=4, seeds=(0,))
    >>> [trace.name for trace in overlap_figure(table, 1.0).data]
    ['trained on, x → y', 'its reverse, y → x']
    """
    missing = [name for name in ("overlap", "step", "forward", "reverse") if name not in table]
    if missing:
        raise ValueError(f"expected the table of overlap_sweep, got one without {', '.join(missing)}")
    part = table[np.isclose(table["overlap"], overlap)]
    if part.empty:
        there = ", ".join(f"{value:g}" for value in table["overlap"].unique())
        raise ValueError(f"the table has the overlaps {there}, got {overlap:g}; choose one of these")
    fig = figures.figure(
        "Trained on x → y alone", "steps of gradient descent", "probability of the right answer"
    )
    for name, text, color, dash in (
        ("forward", "trained on, x → y", "train", "solid"),
        ("reverse", "its reverse, y → x", "val", "dash"),
    ):
        figures.add_curve(
            fig, part["step"], part[name].round(4), name=text, color=figures.COLORS[color], dash=dash
        )
    fig.update_yaxes(range=[-0.02, 1.05], tickformat=".0%")
    return fig


def overlap_slider(table: pd.DataFrame, *, start: int = 0) -> go.Figure:
    """Forward and reverse probability during training, with a slider over the overlap; needs no kernel.

    Parameters
    ----------
    table : DataFrame
        Of `analysis.overlap_sweep`.
    start : int
        Which overlap to show first.

    Returns
    -------
    Figure
    """
    overlaps = sorted(table["overlap"].unique())
    frames = [overlap_figure(table, value) for value in overlaps]
    ends = [table[table["overlap"] == value].iloc[-1] for value in overlaps]
    describe = [
        f"At an overlap of {value:g}, after {end['step']:.0f} steps: forward {end['forward']:.0%}, "
        f"reverse {end['reverse']:.0%}."
        for value, end in zip(overlaps, ends, strict=True)
    ]
    return figures.slider(
        frames, [float(value) for value in overlaps], label="overlap ρ", describe=describe, start=start
    )


def overlap_ends(tables: Mapping[str, pd.DataFrame]) -> go.Figure:
    """Reverse probability at the end of training against the overlap, a curve for each kind of overlap.

    Parameters
    ----------
    tables : mapping
        Text for the legend → table of `analysis.overlap_sweep`.

    Returns
    -------
    Figure

    Examples
    --------
    >>> free = analysis.overlap_sweep((0.0, 1.0), n_pairs=4, seeds=(0,), symmetric=False)
    >>> len(overlap_ends({"free": free}).data)
    1
    """
    fig = figures.figure("What lifts the curse", "overlap ρ", "probability of the reverse answer at the end")
    for number, (name, table) in enumerate(tables.items()):
        last = table[table["step"] == table["step"].max()].sort_values("overlap")
        figures.add_curve(fig, last["overlap"], last["reverse"], name=name, **figures.style(number))
    fig.update_yaxes(range=[-0.02, 1.05], tickformat=".0%")
    return fig


def _add_baselines(fig: go.Figure, last: float, n_tokens: int | None, n_candidates: int | None) -> None:
    for number, (value, text) in enumerate(_baseline_texts(n_tokens, n_candidates)):
        figures.add_curve(
            fig,
            [0, last],
            [value, value],
            name=text,
            color=figures.COLORS["gray"],
            dash=("dash", "dot")[number],
        )


def _baseline_texts(n_tokens: int | None, n_candidates: int | None) -> list[tuple[float, str]]:
    texts = [(n_tokens, "any token"), (n_candidates, "any candidate")]
    return [(float(np.log(n)), f"ln {n}: {text}") for n, text in texts if n]


def _select(rows: pd.DataFrame, metric: str, *columns: str) -> pd.DataFrame:
    """Keep the rows of a metric, in the order of steps; refuse rows that lack it or a column."""
    needed: Sequence[str] = [*KEYS["reversal_dynamics"], "metric", "value", *columns]
    missing = [name for name in needed if name not in rows]
    if missing:
        raise ValueError(
            f"expected rows of reversal_dynamics, got a table without {', '.join(missing)}: add these columns"
        )
    chosen = rows[rows["metric"] == metric]
    if chosen.empty:
        there = ", ".join(sorted({str(m).partition("[")[0] for m in rows["metric"]})) or "none"
        raise ValueError(f"expected rows of {metric}, got only {there}: measure it first")
    return chosen.sort_values("step", kind="stable")
