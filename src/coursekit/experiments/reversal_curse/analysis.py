"""What the answers show: Table 1, Table 3, the sweep, and which facts can be asked in which order.

No torch here: rows (pandas) go in, so a chapter can use all of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats as scipy_stats

from coursekit.results import Run
from coursekit.stats import ks_exact, paired_t_test

PUBLISHED_TABLE_1 = pd.DataFrame(
    {"forward": [50.0, 96.7], "forward_sd": [2.1, 1.2], "reverse": [0.0, 0.1], "reverse_sd": [0.0, 0.1]},
    index=pd.Index(["name_to_description", "description_to_name"], name="subset"),
)
"""Berglund et al. 2023, Table 1: GPT-3-175B, percent, mean and standard deviation over three seeds."""


def select(rows: pd.DataFrame, metric: str, *, step: int | str = "last") -> pd.DataFrame:
    """Rows of one metric, at one step of each seed and subset.

    Parameters
    ----------
    rows : DataFrame
        Rows of a run.
    metric : str
    step : int or "last" or "all"

    Returns
    -------
    DataFrame

    Raises
    ------
    ValueError
        If there are no such rows.

    Examples
    --------
    >>> keys = dict(seed=0, study=1, subset="both", order="forward", metric="exact_match")
    >>> rows = pd.DataFrame([{**keys, "step": 0, "value": 0.0}, {**keys, "step": 9, "value": 0.5}])
    >>> select(rows, "exact_match")["value"].tolist()
    [0.5]
    """
    found = rows[rows["metric"] == metric]
    if step == "last" and len(found):
        found = found[found["step"] == found.groupby(["seed", "subset"])["step"].transform("max")]
    elif step not in ("last", "all"):
        found = found[found["step"] == step]
    if found.empty:
        known = sorted({m for m in rows["metric"] if not str(m).startswith("fact_")})
        raise ValueError(
            f"there are no rows of {metric} at step {step}; the metrics here are {', '.join(known)}"
        )
    return found


def table_1(rows: pd.DataFrame, *, step: int | str = "last") -> pd.DataFrame:
    """Exact match by subset and order, in percent: mean and standard deviation over seeds (Table 1's layout).

    Parameters
    ----------
    rows : DataFrame
        Rows of a run.
    step : int or "last"

    Returns
    -------
    DataFrame
        A row for each subset, with forward, forward_sd, reverse, reverse_sd; a standard deviation of one seed is NaN.

    Raises
    ------
    ValueError
        If there are no rows of exact_match.

    Examples
    --------
    >>> keys = dict(study=1, subset="name_to_description", step=9, metric="exact_match")
    >>> rows = pd.DataFrame(
    ...     [{**keys, "seed": seed, "order": "forward", "value": value} for seed, value in enumerate([0.4, 0.6])]
    ...     + [{**keys, "seed": seed, "order": "reverse", "value": 0.0} for seed in (0, 1)]
    ... )
    >>> table_1(rows).round(1).to_dict("records")
    [{'forward': 50.0, 'forward_sd': 14.1, 'reverse': 0.0, 'reverse_sd': 0.0}]
    """
    grouped = select(rows, "exact_match", step=step).groupby(["subset", "order"], sort=False)["value"]
    percent = 100 * grouped.agg(["mean", "std"]).unstack("order")
    columns = {}
    for order in ("forward", "reverse"):
        if order in percent["mean"]:
            columns[order], columns[f"{order}_sd"] = percent["mean"][order], percent["std"][order]
    table = pd.DataFrame(columns)
    known = [s for s in ("name_to_description", "description_to_name", "both") if s in table.index]
    return table.loc[known + [s for s in table.index if s not in known]]


def by_fact(
    rows: pd.DataFrame, metric: str, subset: str, order: str, *, step: int | str = "last"
) -> pd.DataFrame:
    """One number for each fact: a table with a row for each seed and a column for each fact.

    Parameters
    ----------
    rows : DataFrame
        Rows of a run.
    metric : {"exact_match", "log_prob_correct", "log_prob_random"}
    subset, order : str
    step : int or "last"

    Returns
    -------
    DataFrame

    Raises
    ------
    ValueError
        If there are no such rows.
    """
    cell = rows[(rows["subset"] == subset) & (rows["order"] == order)]
    numbers = cell["metric"].str.extract(rf"^fact_(\d+)_{metric}$", expand=False)
    found = cell[numbers.notna()].assign(fact=numbers.dropna().astype(int))
    if step == "last":
        found = found[found["step"] == found.groupby("seed")["step"].transform("max")]
    else:
        found = found[found["step"] == step]
    if found.empty:
        raise ValueError(
            f"there are no rows of {metric} fact by fact for {subset}, {order}, step {step}; choose another cell or "
            "the first or the last step"
        )
    return found.pivot_table(index="seed", columns="fact", values="value")


def table_3(
    rows: pd.DataFrame,
    subset: str = "name_to_description",
    order: str = "reverse",
    *,
    step: int | str = "last",
) -> pd.DataFrame:
    """Log-probability of the right against a random answer, with both tests: a row for each seed (Table 3).

    Parameters
    ----------
    rows : DataFrame
        Rows of a run of experiment 1.
    subset, order : str
    step : int or "last"

    Returns
    -------
    DataFrame
        mean_correct and mean_random (nats), t and t_p of the paired t-test, ks_d and ks_p of the exact test.

    Raises
    ------
    ValueError
        If there are no such rows.
    """
    correct = by_fact(rows, "log_prob_correct", subset, order, step=step)
    random = by_fact(rows, "log_prob_random", subset, order, step=step)
    found = []
    for seed in correct.index:
        right, wrong = correct.loc[seed].to_numpy(), random.loc[seed].to_numpy()
        (t, t_p), (d, ks_p) = paired_t_test(right, wrong), ks_exact(right, wrong)
        means = {"mean_correct": right.mean(), "mean_random": wrong.mean()}
        found.append({"seed": seed, **means, "t": t, "t_p": t_p, "ks_d": d, "ks_p": ks_p})
    return pd.DataFrame(found).set_index("seed")


def implied_t(p: float, n: int) -> float:
    """Size of the paired t statistic that a two-sided p-value of n pairs implies.

    Parameters
    ----------
    p : float
    n : int
        Pairs; n - 1 degrees of freedom.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If p is not in (0, 1] or n is below 2.

    Examples
    --------
    >>> round(implied_t(0.77, 30), 3)
    0.295
    """
    if not 0 < p <= 1 or n < 2:
        raise ValueError(f"expected p in (0, 1] and n of 2 or more, got p={p} and n={n}")
    return float(scipy_stats.t.isf(p / 2, n - 1))


def fact_matrix(rows: pd.DataFrame, *, seed: int, step: int | str = "last") -> pd.DataFrame:
    """Which fact is known in which order: share of the held-out prompts answered, by fact.

    Parameters
    ----------
    rows : DataFrame
        Rows of a run of experiment 1.
    seed : int
    step : int or "last"

    Returns
    -------
    DataFrame
        A row for each (subset, fact), with forward and reverse, between 0 and 1.
    """
    mine = rows[rows["seed"] == seed]
    parts = {
        (subset, order): by_fact(mine, "exact_match", subset, order, step=step).loc[seed]
        for subset in ("name_to_description", "description_to_name", "both")
        for order in ("forward", "reverse")
        if ((mine["subset"] == subset) & (mine["order"] == order)).any()
    }
    table = pd.DataFrame(pd.concat(parts, names=["subset", "order", "fact"]).unstack("order"))
    return table.reindex(list(dict.fromkeys(k[0] for k in parts)), level="subset")


def sweep_table(runs: Sequence[Run]) -> pd.DataFrame:
    """Exact match of several recipes, the mean over seeds and both single-order subsets (Figure 6).

    Parameters
    ----------
    runs : sequence of Run
        Their headers tell the recipes.

    Returns
    -------
    DataFrame
        learning_rate, batch_size, forward, reverse (percent).
    """
    found = []
    for made in runs:
        table = table_1(made.rows).drop(index="both", errors="ignore")
        recipe = {name: made.header.config[name] for name in ("learning_rate", "batch_size")}
        found.append(recipe | {order: float(table[order].mean()) for order in ("forward", "reverse")})
    return pd.DataFrame(found).sort_values(["learning_rate", "batch_size"], ignore_index=True)


def help_table(rows_by_remedy: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Exact match of the two single-order subsets under each remedy, in percent, over seeds.

    Parameters
    ----------
    rows_by_remedy : mapping
        Rows of runs by what they tried.

    Returns
    -------
    DataFrame
        remedy, subset, forward, forward_sd, reverse, reverse_sd.
    """
    parts = []
    for remedy, rows in rows_by_remedy.items():
        table = table_1(rows).drop(index="both", errors="ignore").reset_index()
        parts.append(table.assign(remedy=remedy))
    return pd.concat(parts, ignore_index=True)


def rows_after_merge(keys: Sequence[Hashable], n_tables: int) -> int:
    r"""Rows that joining a table with itself gives, :math:`\sum_k c_k^n` with :math:`c_k` the count of each key.

    This is how 1,513 rows became the paper's 1,573: two pairs stand in the table twice, and five tables were joined.

    Parameters
    ----------
    keys : sequence
        The key of each row.
    n_tables : int
        Tables joined, all with these keys.

    Returns
    -------
    int

    Examples
    --------
    >>> rows_after_merge(["a", "b", "b"], 5)
    33
    """
    return sum(count**n_tables for count in Counter(keys).values())


def sign_test(differences: ArrayLike) -> float:
    """Two-sided p-value of the sign test, that positive and negative differences are equally frequent.

    Parameters
    ----------
    differences : array_like [n]
        Zeros are left out.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If no difference is other than zero.

    Examples
    --------
    >>> round(sign_test([-1] * 11 + [1]), 4)
    0.0063
    """
    signs = np.sign(np.asarray(differences, dtype=float))
    signs = signs[signs != 0]
    if not len(signs):
        raise ValueError("the sign test needs a difference other than zero")
    return float(scipy_stats.binomtest(int((signs > 0).sum()), len(signs)).pvalue)
