"""Tables from made-up rows with known answers."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from coursekit import results
from coursekit.experiments.reversal_curse import analysis

SUBSETS = ("both", "name_to_description", "description_to_name")
CELLS = list(itertools.product(SUBSETS, ("forward", "reverse")))


def made_up(
    accuracy: dict[tuple[str, str], list[float]] | None = None,
    n_facts: int = 6,
    steps: tuple[int, ...] = (0, 10),
) -> pd.DataFrame:
    """Rows of two seeds: at the last step the accuracies given (one a seed), 0 before."""
    rows: list[dict[str, Any]] = []
    for seed in (0, 1):
        rng = np.random.default_rng(seed)
        for cell, (subset, order) in enumerate(CELLS):
            keys = {"seed": seed, "study": 1, "subset": subset, "order": order}
            for step in steps:
                value = (accuracy or {}).get((subset, order), [0.5, 0.7])[seed] if step == steps[-1] else 0.0
                rows.append({**keys, "step": step, "metric": "exact_match", "value": value, "n": n_facts})
                for k in range(n_facts):
                    share = float(k < value * n_facts)
                    rows.append(
                        {**keys, "step": step, "metric": f"fact_{k}_exact_match", "value": share, "n": 2}
                    )
            for k in range(n_facts):
                for metric in ("log_prob_correct", "log_prob_random"):
                    rows.append(
                        {
                            **keys,
                            "step": steps[-1],
                            "metric": f"fact_{k}_{metric}",
                            "value": rng.normal(-10 - cell),
                        }
                    )
    return pd.DataFrame(rows).assign(stderr=np.nan)


def test_table_1_is_mean_and_sd_over_seeds_in_the_papers_order() -> None:
    table = analysis.table_1(made_up({("name_to_description", "forward"): [0.4, 0.8]}))
    assert list(table.index) == ["name_to_description", "description_to_name", "both"]
    assert table.loc["name_to_description", "forward"] == pytest.approx(60)
    assert table.loc["name_to_description", "forward_sd"] == pytest.approx(np.std([40, 80], ddof=1))
    assert list(table.columns) == list(analysis.PUBLISHED_TABLE_1.columns)
    assert analysis.table_1(made_up(), step=0).to_numpy().sum() == 0


def test_the_last_step_is_each_seeds_own() -> None:
    rows = made_up()
    rows.loc[rows["seed"] == 1, "step"] *= 2
    last = analysis.select(rows, "exact_match")
    assert sorted(zip(last["seed"], last["step"], strict=True)) == [(0, 10)] * 6 + [(1, 20)] * 6


def test_what_is_missing_is_told() -> None:
    with pytest.raises(
        ValueError, match=r"no rows of probability at step last; the metrics here are exact_match$"
    ):
        analysis.select(made_up(), "probability")
    with pytest.raises(ValueError, match="fact by fact for both, forward, step 3"):
        analysis.by_fact(made_up(), "exact_match", "both", "forward", step=3)


def test_by_fact_keeps_facts_in_their_order_beyond_ten() -> None:
    rows = made_up({("both", "forward"): [0.25, 0.75]}, n_facts=12)
    table = analysis.by_fact(rows, "exact_match", "both", "forward")
    assert list(table.columns) == list(range(12))
    assert table.loc[0].tolist() == [1.0] * 3 + [0.0] * 9
    assert table.loc[1].sum() == 9


def test_table_3_agrees_with_scipy() -> None:
    rows = made_up(n_facts=30)
    table = analysis.table_3(rows)
    for seed in (0, 1):
        right, random = (
            analysis.by_fact(rows, f"log_prob_{kind}", "name_to_description", "reverse").loc[seed].to_numpy()
            for kind in ("correct", "random")
        )
        difference = right - random
        t = difference.mean() / (difference.std(ddof=1) / np.sqrt(30))
        assert table.loc[seed, "t"] == pytest.approx(t)
        assert table.loc[seed, "t_p"] == pytest.approx(2 * scipy_stats.t.sf(abs(t), 29))
        assert analysis.implied_t(table.loc[seed, "t_p"], 30) == pytest.approx(abs(t))
        at = np.sort(np.concatenate([right, random]))
        distance = np.abs((right[:, None] <= at).mean(0) - (random[:, None] <= at).mean(0)).max()
        assert table.loc[seed, "ks_d"] == pytest.approx(distance)
        assert table.loc[seed, "mean_correct"] == pytest.approx(right.mean())


def test_fact_matrix_has_a_row_for_each_fact() -> None:
    rows = made_up({("both", "forward"): [1.0, 1.0], ("both", "reverse"): [0.5, 0.5]})
    table = analysis.fact_matrix(rows, seed=1)
    assert table.loc["both"].shape == (6, 2)
    assert table.loc["both"].mean().to_dict() == {"forward": 1.0, "reverse": 0.5}
    assert analysis.fact_matrix(rows, seed=1, step=0).to_numpy().sum() == 0


def test_sweep_and_help_tables() -> None:
    header = results.new_header(
        "reversal_curse", "custom", {"learning_rate": 1e-3, "batch_size": 8}, seed=None
    )
    run = results.Run(header, made_up({("both", "forward"): [9.0, 9.0]}))
    assert analysis.sweep_table([run]).to_dict("records") == [
        {"learning_rate": 1e-3, "batch_size": 8, "forward": pytest.approx(60), "reverse": pytest.approx(60)}
    ]
    table = analysis.help_table({"none": run.rows, "more": run.rows})
    assert table["remedy"].tolist() == ["none", "none", "more", "more"]
    assert set(table["subset"]) == {"name_to_description", "description_to_name"}


def test_rows_after_merge_and_sign_test_against_closed_forms() -> None:
    assert analysis.rows_after_merge(range(10), 5) == 10
    assert analysis.rows_after_merge([1, 1, 1], 2) == 9
    assert analysis.sign_test([1, 1, 1, 0]) == pytest.approx(2 / 8)
    assert analysis.sign_test([1, -1]) == 1
    with pytest.raises(ValueError, match="other than zero"):
        analysis.sign_test([0.0])
    for p, n in ((0.0, 30), (1.1, 30), (0.5, 1)):
        with pytest.raises(ValueError, match="expected p in"):
            analysis.implied_t(p, n)
