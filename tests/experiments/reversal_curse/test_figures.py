"""The figures hold what the rows say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from coursekit import results
from coursekit.experiments.reversal_curse import analysis, figures
from tests.experiments.reversal_curse.test_analysis import made_up

ROWS = made_up(
    {
        ("name_to_description", "forward"): [0.4, 0.8],
        ("description_to_name", "forward"): [1.0, 1.0],
        ("name_to_description", "reverse"): [0.0, 0.0],
        ("description_to_name", "reverse"): [0.0, 0.1],
    },
    steps=(0, 5, 10),
)


def test_accuracy_curves_have_a_line_and_a_band_a_cell() -> None:
    fig = figures.accuracy_curves(ROWS)
    lines = {trace.name: list(trace.y) for trace in fig.data if trace.fill is None}
    assert len(lines) == 6
    assert lines["name → description, same order as in training"] == pytest.approx([0, 0, 0.6])
    assert sum(trace.fill == "toself" for trace in fig.data) == 6
    assert len(figures.accuracy_curves(ROWS[ROWS["seed"] == 0]).data) == 6


def test_order_bars_are_table_1() -> None:
    fig = figures.order_bars(ROWS)
    table = analysis.table_1(ROWS)
    for trace, order in zip(fig.data, ("forward", "reverse"), strict=True):
        assert list(trace.y) == pytest.approx(table[order].tolist())
        assert list(trace.error_y.array) == pytest.approx(table[f"{order}_sd"].tolist())
    one_seed = figures.order_bars(ROWS[ROWS["seed"] == 0])
    assert list(one_seed.data[0].error_y.array) == [0, 0, 0]


def test_the_histogram_holds_every_fact_of_every_seed() -> None:
    fig = figures.log_prob_histogram(ROWS)
    assert [len(trace.x) for trace in fig.data] == [12, 12]
    mean = analysis.table_3(ROWS)["mean_correct"].mean()
    assert fig.data[0].name == f"right answer, mean {mean:.1f}"
    for trace in fig.data:
        assert trace.xbins.start <= min(trace.x)
        assert max(trace.x) < trace.xbins.end
    assert "same order" in figures.log_prob_histogram(ROWS, "both", "forward").layout.title.text


def test_log_prob_bars_are_means_with_standard_errors() -> None:
    fig = figures.log_prob_bars({"small": ROWS, "large": ROWS})
    random, right = fig.data
    values = analysis.by_fact(ROWS, "log_prob_correct", "name_to_description", "reverse").to_numpy().ravel()
    assert list(right.x) == ["small", "large"]
    assert right.y[0] == pytest.approx(values.mean())
    assert right.error_y.array[0] == pytest.approx(values.std(ddof=1) / np.sqrt(12))
    assert random.name == "random"


def test_the_sweep_is_a_grid() -> None:
    runs = []
    for rate, size in ((1e-3, 4), (1e-3, 16), (2e-3, 4), (2e-3, 16)):
        config = {"learning_rate": rate, "batch_size": size}
        runs.append(results.Run(results.new_header("reversal_curse", "custom", config, seed=0), ROWS))
    heat = figures.sweep_heatmap(runs).data[0]
    assert (list(heat.x), list(heat.y)) == (["4", "16"], ["0.001", "0.002"])
    np.testing.assert_allclose(heat.z, np.full((2, 2), 80))
    np.testing.assert_allclose(figures.sweep_heatmap(runs, "reverse").data[0].z, np.full((2, 2), 2.5))


def test_helps_has_a_pair_of_bars_a_remedy() -> None:
    fig = figures.helps({"nothing": ROWS, "in the prompt": ROWS})
    forward, reverse = fig.data
    assert list(forward.x) == ["nothing", "in the<br>prompt"]  # room for five on a phone
    assert list(forward.y) == pytest.approx([80, 80])
    assert list(reverse.y) == pytest.approx([2.5, 2.5])
    assert forward.error_y.array[0] == pytest.approx(np.std([40, 80, 100, 100], ddof=1))


def test_the_matrix_fills_in() -> None:
    fig = figures.fact_matrix(ROWS, seed=0)
    assert len(fig.frames) == 3
    first, last = fig.frames[0].data[0].z, fig.frames[-1].data[0].z
    assert np.nansum(np.asarray(first, dtype=float)) == 0
    rows = dict(zip(fig.data[0].y, np.asarray(last, dtype=float), strict=True))
    assert next(iter(rows)) == "name → description,<br>same"
    assert rows["description → name,<br>same"].tolist() == [1] * 6
    assert rows["description → name,<br>reverse"].tolist() == [0] * 6


def test_relation_bars_show_parent_and_child() -> None:
    rows = []
    for subset in ("completion", "chat"):
        for order, value in (("forward", 0.3), ("reverse", 0.1)):
            keys = {"seed": 0, "study": 2, "subset": subset, "order": order, "step": 0}
            rows.append({**keys, "metric": "exact_match", "value": value, "stderr": 0.05, "n": 38})
    fig = figures.relation_bars(pd.DataFrame(rows))
    assert [list(trace.y) for trace in fig.data] == [[30, 30], [10, 10]]
    assert list(fig.data[0].error_y.array) == [5, 5]
    with pytest.raises(ValueError, match="no rows of probability"):
        figures.relation_bars(pd.DataFrame(rows), "probability")
