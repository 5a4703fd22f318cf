"""The paper's statistics, from the data its authors published."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from coursekit.experiments.reversal_curse import analysis
from coursekit.stats import ks_exact

PUBLISHED = (
    Path(os.environ.get("COURSEKIT_DATA", Path(__file__).parents[4] / "shared" / "data")) / "reversal_curse"
)
pytestmark = pytest.mark.skipif(
    not (PUBLISHED / "table3_published.csv").is_file(),
    reason=f"the paper's published data are not at {PUBLISHED}",
)


@pytest.fixture(scope="module")
def table_3() -> pd.DataFrame:
    return pd.read_csv(PUBLISHED / "table3_published.csv")


@pytest.fixture(scope="module")
def relations() -> pd.DataFrame:
    return pd.read_csv(PUBLISHED / "exp2_anonymised.csv")


def samples_at_distance(k: int, n: int = 30) -> tuple[np.ndarray, np.ndarray]:
    """Two samples of n whose distribution functions are k/n apart."""
    x = np.arange(n, dtype=float)
    return x, x + k - 0.5


def test_table_3s_ks_p_values_are_those_of_the_exact_test(table_3: pd.DataFrame) -> None:
    exact = {k: ks_exact(*samples_at_distance(k)) for k in range(1, 31)}
    assert all(test.statistic == pytest.approx(k / 30) for k, test in exact.items())
    for row in table_3.itertuples():
        matching = [k for k, test in exact.items() if round(test.p, 2) == row.p_ks]
        assert matching == [row.ks_D_times_30]
    expected = {4: 0.957846, 5: 0.807963, 6: 0.594071, 7: 0.392945, 8: 0.239073, 9: 0.135004, 10: 0.070888}
    assert {k: round(exact[k].p, 6) for k in expected} == expected


def test_the_asymptotic_formula_gives_none_of_them(table_3: pd.DataFrame) -> None:
    asymptotic = {
        round(scipy_stats.ks_2samp(*samples_at_distance(k), method="asymp").pvalue, 2) for k in range(1, 31)
    }
    assert not asymptotic & set(table_3["p_ks"])


def test_thirty_facts_can_only_reject_from_eleven_thirtieths_on() -> None:
    assert ks_exact(*samples_at_distance(10)).p > 0.05 > ks_exact(*samples_at_distance(11)).p


def test_the_t_statistics_that_table_3_implies(table_3: pd.DataFrame) -> None:
    found = [round(analysis.implied_t(p, 30), 3) for p in table_3["p_ttest"]]
    assert found == pytest.approx(
        [0.295, 0.732, 1.479, 1.649, 0.501, 0.800, 1.200, 1.012, 1.881, 0.243, 0.444, 0.501], abs=2e-3
    )
    difference = (table_3["mean_correct"] - table_3["mean_random"]).to_numpy()
    spread = np.abs(difference) * math.sqrt(30) / np.array(found)
    plain = spread[np.abs(table_3["mean_correct"] + 19.49) > 0.01]
    assert 2.6 < plain.min() < plain.max() < 4.4
    assert spread[table_3["mean_correct"] == -19.49].item() == pytest.approx(8.6, abs=0.1)


def test_the_right_name_is_less_likely_in_eleven_of_twelve_runs(table_3: pd.DataFrame) -> None:
    difference = table_3["mean_correct"] - table_3["mean_random"]
    assert (difference < 0).sum() == 11
    assert analysis.sign_test(difference) == pytest.approx(0.0063, abs=1e-4)


def test_a_third_of_the_relations_can_be_reversed(relations: pd.DataFrame) -> None:
    assert len(relations) == 1513
    reversible = relations["gpt4_can_reverse"]
    assert reversible.sum() == 495
    assert round(100 * reversible.mean(), 2) == 32.72
    by_kind = 100 * reversible.groupby(relations["parent_type"]).mean()
    assert by_kind.round(2).to_dict() == {"father": 37.25, "mother": 28.27}
    assert relations["parent_type"].value_counts().to_dict() == {"mother": 764, "father": 749}
    assert relations["child_id"].nunique() == 797


def test_where_1573_comes_from(relations: pd.DataFrame) -> None:
    assert relations["pair_id"].nunique() == 1511
    assert analysis.rows_after_merge(list(relations["pair_id"]), 5) == 1573
    merged = relations[["pair_id"]]
    for _ in range(4):
        merged = merged.merge(relations[["pair_id"]], on="pair_id")
    assert len(merged) == 1573
    assert (round(100 * 1573 / 2000), round(100 * 1513 / 2000)) == (79, 76)


@pytest.mark.parametrize(
    ("model", "parent", "child", "merged_parent", "merged_child"),
    [
        ("gpt-3.5-turbo", 34.838, 11.910, 33.891, 11.456),
        ("llama-7b", 8.035, 0.866, 7.798, 0.836),
        ("llama-30b", 7.765, 0.262, 7.815, 0.256),
        ("llama-65b", 8.103, 1.676, 7.983, 1.670),
        ("davinci", 9.863, 4.449, 9.486, 4.383),
    ],
)
def test_figure_5(
    relations: pd.DataFrame,
    model: str,
    parent: float,
    child: float,
    merged_parent: float,
    merged_child: float,
) -> None:
    counts = relations.groupby("pair_id")["row"].transform("size")
    weights = counts**4  # each of c equal rows stands c⁵ times among c of them
    for order, plain, weighted in (("parent", parent, merged_parent), ("child", child, merged_child)):
        if f"{model}_{order}_frac" in relations:
            values = relations[f"{model}_{order}_frac"]
        else:
            values = np.exp(relations[f"{model}_{order}_logprob"])
        assert 100 * values.mean() == pytest.approx(plain, abs=6e-4)
        assert 100 * np.average(values, weights=weights) == pytest.approx(weighted, abs=6e-4)


def test_the_files_have_the_sizes_that_the_paper_tells() -> None:
    rows = {
        path.stem: [json.loads(line) for line in path.read_text().splitlines()]
        for path in (PUBLISHED / "exp1").glob("*.jsonl")
    }
    assert {name: len(lines) for name, lines in rows.items()} == {
        "p2d_prompts_train": 900, "d2p_prompts_train": 900, "both_prompts_train": 1800,
        "p2d_prompts_test": 300, "d2p_prompts_test": 300, "p2d_reverse_prompts_test": 300,
        "d2p_reverse_prompts_test": 300, "p2d_reverse_prompts_test_randomized": 300,
        "d2p_reverse_prompts_test_randomized": 300, "both_prompts_test": 600, "validation_prompts": 300,
    }  # fmt: skip
    trained = {row["prompt"] for name in rows if name.endswith("train") for row in rows[name]}
    asked = {row["prompt"] for name in rows if not name.endswith("train") for row in rows[name]}
    assert len(trained) == 3600
    assert not trained & asked
    for stem, same in (("p2d", 13), ("d2p", 4)):  # "a randomly chosen incorrect name", says the paper
        right, random = rows[f"{stem}_reverse_prompts_test"], rows[f"{stem}_reverse_prompts_test_randomized"]
        assert sum(a == b for a, b in zip(right, random, strict=True)) == same
    instructions = (PUBLISHED / "exp3" / "guidances.jsonl").read_text().splitlines()
    assert len(instructions) == 307
    assert sum(len(json.loads(line)["ids"]) for line in instructions) == 1100


def test_in_context_the_models_reverse() -> None:
    table = pd.read_csv(PUBLISHED / "exp1_in_context_accuracy.csv")
    assert table["n_correct"].sum() == 239
    assert table["n"].sum() == 240
