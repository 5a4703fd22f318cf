"""Statistics of runs and answers: intervals, tests of two samples, regression on scale, false findings, calibration."""

import itertools
import math
import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats as scipy_stats


class Interval(NamedTuple):
    """A statistic of a sample, between the ends of its confidence interval."""

    value: float
    low: float
    high: float


def bootstrap_interval(
    values: ArrayLike,
    statistic: Callable[..., np.ndarray] = np.mean,
    *,
    level: float = 0.95,
    n_resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    r"""Bound a statistic by its quantiles :math:`(1 \mp level) / 2` over resamples (percentile bootstrap).

    Parameters
    ----------
    values : array_like [n]
        One number per independent run. Infinity (a run that never got there in its budget) is allowed when
        the statistic is the median; the ends of the interval are then infinite where the resamples are.
    statistic : callable
        Takes an array and `axis=`, such as `np.mean` or `np.median`.
    level : float
        Coverage, between 0 and 1.
    n_resamples : int
    seed : int

    Returns
    -------
    Interval
        In the unit of the values.

    Raises
    ------
    ValueError
        If there are no values, if any is NaN, or if any is infinite and the statistic is not the median.

    Notes
    -----
    With few runs the interval covers less than its level says. It cannot leave the range of the n values, and
    the median of all possible runs lies outside that range with probability :math:`2^{1-n}`: 25 % for 3 runs.

    References
    ----------
    Efron & Tibshirani, An Introduction to the Bootstrap (1993), section 13.3.

    Examples
    --------
    >>> bootstrap_interval([3100, 3200, 2900, 4000, 3300, 3000, 3500], np.median)
    Interval(value=3200.0, low=3000.0, high=3500.0)
    >>> bootstrap_interval([3100, 3200, float("inf")], np.median)
    Interval(value=3200.0, low=3100.0, high=inf)
    """
    sample = np.asarray(values, dtype=float)
    if sample.ndim != 1 or sample.size == 0 or np.isnan(sample).any():
        raise ValueError(f"expected a flat list of at least one number, none of them NaN; got {values!r}")
    if np.isinf(sample).any() and statistic is not np.median:
        raise ValueError("infinite (censored) values have a median only: pass statistic=np.median")
    _refuse_no_coverage(level)
    draws = np.random.default_rng(seed).choice(sample, size=(n_resamples, sample.size))
    # Whole order statistics: interpolating towards infinity would give NaN.
    low, high = np.quantile(statistic(draws, axis=1), [(1 - level) / 2, (1 + level) / 2], method="nearest")
    return Interval(float(statistic(sample, axis=0)), float(low), float(high))


def at_the_end(rows: pd.DataFrame, metric: str, groups: Sequence[str]) -> pd.DataFrame:
    """Mean of a metric over seeds, each at its last measured step, with a 95 % bootstrap interval.

    Parameters
    ----------
    rows : DataFrame
        With the columns `seed`, `step`, `metric` and `value`, of one run, or of several with columns that tell them
        apart.
    metric : str
    groups : sequence of str
        The columns that tell apart what is not averaged.

    Returns
    -------
    DataFrame
        One row for each of `groups`: `mean`, `low`, `high`, `lowest` and `highest` seed, `n` seeds, `step`.

    Raises
    ------
    ValueError
        If the rows do not have the metric or a column.

    Examples
    --------
    >>> keys = dict(seed=0, split="val", metric="accuracy")
    >>> rows = pd.DataFrame([{**keys, "step": 0, "value": 0.1}, {**keys, "step": 600, "value": 0.9}])
    >>> at_the_end(rows, "accuracy", ["split"])[["split", "mean", "step"]].values.tolist()
    [['val', 0.9, 600]]
    """
    missing = [name for name in ("seed", "step", "metric", "value", *groups) if name not in rows]
    if missing:
        raise ValueError(
            f"expected rows with the columns {', '.join(missing)}, got none: add them with assign"
        )
    chosen = rows[rows["metric"] == metric]
    if chosen.empty:
        there = ", ".join(sorted({str(name).partition("[")[0] for name in rows["metric"]})) or "none"
        raise ValueError(f"expected rows of {metric}, got only {there}: choose one of these")
    table = []
    for names, part in chosen.groupby(list(groups), sort=False):
        last = part[part["step"] == part.groupby("seed")["step"].transform("max")]
        values = last["value"].to_numpy(float)
        mean, low, high = bootstrap_interval(values)
        ends = dict(mean=mean, low=low, high=high, lowest=values.min(), highest=values.max())
        table.append(
            dict(zip(groups, names, strict=True)) | ends | {"n": len(values), "step": last["step"].max()}
        )
    return pd.DataFrame(table)


def proportion_stderr(successes: int, n: int) -> float:
    r"""Return the standard error of a share, :math:`\sqrt{p (1 - p) / n}` with :math:`p = successes / n`.

    Parameters
    ----------
    successes, n : int
        `successes` of `n` independent items.

    Returns
    -------
    float
        Zero at 0 % and 100 %, where it says nothing.

    Raises
    ------
    ValueError
        If n is not positive, or successes is not between 0 and n.

    Examples
    --------
    >>> proportion_stderr(50, 100)
    0.05
    """
    if not (n > 0 and 0 <= successes <= n):
        raise ValueError(f"expected 0 <= successes <= n and n > 0; got successes={successes}, n={n}")
    p = successes / n
    return float(np.sqrt(p * (1 - p) / n))


class Correlation(NamedTuple):
    """A rank correlation and its two-sided p-value."""

    rho: float
    p: float


def spearman(x: ArrayLike, y: ArrayLike) -> Correlation:
    """Spearman's rank correlation: Pearson's correlation of the ranks, ties sharing their mean rank.

    Parameters
    ----------
    x, y : array_like [n]
        Paired measurements, n at least 3.

    Returns
    -------
    Correlation
        rho between -1 and 1, and the p-value of no association (by Student's t with n - 2 degrees of freedom,
        rough below ten pairs).

    Raises
    ------
    ValueError
        If the lengths differ or are below 3, a value is NaN, or x or y is constant, which has no ranks to compare.

    Examples
    --------
    >>> rho, p = spearman([1, 2, 3, 4, 5], [1, 4, 9, 25, 16])
    >>> round(rho, 3), round(p, 3)
    (0.9, 0.037)
    """
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if x.shape != y.shape or x.ndim != 1 or len(x) < 3:
        raise ValueError(f"expected two lists of one length, at least 3; got shapes {x.shape} and {y.shape}")
    if np.isnan([x, y]).any():
        raise ValueError("NaN has no rank: leave out pairs that were not measured")
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        raise ValueError("a constant list has no rank correlation: x and y must both vary")
    rho, p = scipy_stats.spearmanr(x, y)
    return Correlation(float(rho), float(p))


class Comparison(NamedTuple):
    """A test of two samples: its statistic and its two-sided p-value."""

    statistic: float
    p: float


def paired_t_test(x: ArrayLike, y: ArrayLike) -> Comparison:
    r"""Test whether paired samples differ in their mean, :math:`t = \bar d \sqrt n / s_d` with :math:`d = x - y`.

    Parameters
    ----------
    x, y : array_like [n]
        Paired measurements, n at least 2.

    Returns
    -------
    Comparison
        t and the two-sided p-value of Student's distribution with n - 1 degrees of freedom.

    Raises
    ------
    ValueError
        If the lengths differ or are below 2, a value is not finite, or all differences are equal.

    References
    ----------
    Berglund et al. 2023, appendix A.5 and Table 3.

    Examples
    --------
    >>> t, p = paired_t_test([3.0, 5.0, 4.0, 7.0], [2.0, 4.0, 4.0, 4.0])
    >>> round(t, 3), round(p, 3)
    (1.987, 0.141)
    """
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if x.shape != y.shape or x.ndim != 1 or len(x) < 2:
        raise ValueError(f"expected two lists of one length, at least 2; got shapes {x.shape} and {y.shape}")
    _refuse_not_finite(x, y)
    if np.ptp(x - y) == 0:
        raise ValueError("all differences are equal, so their spread tells nothing: a t-test needs some")
    t, p = scipy_stats.ttest_rel(x, y)
    return Comparison(float(t), float(p))


def ks_exact(x: ArrayLike, y: ArrayLike) -> Comparison:
    r"""Two-sample Kolmogorov-Smirnov test, :math:`D = \max_t |F_x(t) - F_y(t)|`, by its exact distribution.

    Parameters
    ----------
    x : array_like [n]
    y : array_like [m]

    Returns
    -------
    Comparison
        D, between 0 and 1, and its exact two-sided p-value.

    Raises
    ------
    ValueError
        If a sample is empty or not a flat list, a value is not finite, or the samples are too many to compute exactly.

    Notes
    -----
    With n = m = 30 only D of 11/30 or more has p below 0.05. The asymptotic formula gives other p-values (0.026 in
    place of 0.035 there); those printed in the paper are the exact ones.

    References
    ----------
    Berglund et al. 2023, appendix A.5 and Table 3.

    Examples
    --------
    >>> d, p = ks_exact([1, 2, 3, 4], [3, 4, 5, 6])
    >>> round(d, 3), round(p, 3)
    (0.5, 0.771)
    """
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if x.ndim != 1 or y.ndim != 1 or not len(x) or not len(y):
        raise ValueError(f"expected two flat lists that are not empty; got shapes {x.shape} and {y.shape}")
    _refuse_not_finite(x, y)
    with warnings.catch_warnings(record=True) as given_up:
        warnings.simplefilter("always", RuntimeWarning)
        d, p = scipy_stats.ks_2samp(x, y, method="exact")
    if given_up and len(x) == len(y) and round(d * len(x)) == 1:
        p = 1.0  # the least distance there is: scipy's sum exceeds 1 by a rounding error, and scipy gives it up
    elif given_up:
        raise ValueError(
            f"the exact test cannot be computed for samples of {len(x)} and {len(y)}: {given_up[0].message}"
        )
    return Comparison(float(d), float(p))


class Difference(NamedTuple):
    """What changed between two sets of answers to the same questions: after minus before, its interval, its p-value."""

    value: float
    low: float
    high: float
    p: float


def mcnemar(before: ArrayLike, after: ArrayLike, *, level: float = 0.95) -> Difference:
    r"""Compare two sets of right and wrong answers to the same questions: McNemar's exact test, with an interval.

    Only questions answered differently count: :math:`g` gained, :math:`l` lost. With no true difference,
    :math:`g \sim Binomial(g + l, 1/2)`. The interval of the difference of the shares is, with
    :math:`p_g = (g + 1) / (n + 2)` and :math:`p_l = (l + 1) / (n + 2)`,
    :math:`p_g - p_l \mp z \sqrt{(p_g + p_l - (p_g - p_l)^2) / (n + 2)}`.

    Parameters
    ----------
    before, after : array_like of bool [n]
        Whether each question was answered rightly; the same questions in the same order.
    level : float
        Coverage of the interval, between 0 and 1.

    Returns
    -------
    Difference
        :math:`(g - l) / n`, the ends of its interval (between -1 and 1), and the exact two-sided p-value, which is 1
        where nothing changed. Close to the level the two may disagree, as they are made differently.

    Raises
    ------
    ValueError
        If the lengths differ or are 0, an entry is not true or false, or the level is no coverage.

    References
    ----------
    McNemar (1947), Psychometrika 12. The interval: Bonett & Price (2012), Journal of Educational and Behavioral
    Statistics 37, recommended in Fagerland, Lydersen & Laake (2014), Statistics in Medicine 33.

    Examples
    --------
    >>> found = mcnemar([True] * 9 + [False], [True] + [False] * 9)
    >>> round(found.value, 2), round(found.low, 2), round(found.high, 2), round(found.p, 4)
    (-0.8, -1.0, -0.31, 0.0078)
    """
    x, y = np.asarray(before), np.asarray(after)
    if x.shape != y.shape or x.ndim != 1 or not len(x):
        raise ValueError(f"expected two lists of one length, not empty; got shapes {x.shape} and {y.shape}")
    if not (np.isin(x, (0, 1)).all() and np.isin(y, (0, 1)).all()):
        raise ValueError("expected answers that are right or wrong: True or False")
    _refuse_no_coverage(level)
    n, gained, lost = len(x), int((y > x).sum()), int((x > y).sum())
    p = scipy_stats.binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    up, down = (gained + 1) / (n + 2), (lost + 1) / (n + 2)
    half = scipy_stats.norm.isf((1 - level) / 2) * np.sqrt((up + down - (up - down) ** 2) / (n + 2))
    low, high = max(up - down - half, -1), min(up - down + half, 1)
    return Difference((gained - lost) / n, float(low), float(high), float(p))


def benjamini_hochberg(p: ArrayLike) -> np.ndarray:
    r"""Adjust p-values for their number, :math:`q_{(i)} = \min_{j \ge i} \frac{m}{j} p_{(j)}` over the sorted p-values.

    Calling every q of at most 5 % a finding keeps the expected share of false findings among the findings at 5 % or
    below, if the tests are independent or positively dependent.

    Parameters
    ----------
    p : array_like [...]
        The p-values of all m tests that were made, in any shape: they are one family.

    Returns
    -------
    np.ndarray [...]
        q-values in the places of their p-values, as R's `p.adjust(p, "BH")`.

    Raises
    ------
    ValueError
        If there are none, or one is not between 0 and 1.

    References
    ----------
    Benjamini & Hochberg (1995), Journal of the Royal Statistical Society B 57. Michaelov & Bergen 2023, Table 1, takes
    all 36 of its p-values as one family.

    Examples
    --------
    >>> benjamini_hochberg([0.01, 0.04, 0.03, 0.5]).round(4).tolist()
    [0.04, 0.0533, 0.0533, 0.5]
    """
    values = np.asarray(p, dtype=float)
    if not values.size or not ((values >= 0) & (values <= 1)).all():
        raise ValueError(
            "expected at least one p-value, all between 0 and 1: leave out tests that were not made"
        )
    order = values.ravel().argsort()
    scaled = values.ravel()[order] * values.size / np.arange(1, values.size + 1)
    q = np.empty(values.size)
    q[order] = np.minimum.accumulate(scaled[::-1])[::-1]
    return q.reshape(values.shape)


EFFECTS = ("parameters", "tokens", "interaction")


class Effect(NamedTuple):
    """A slope of a regression, its standard error, t, degrees of freedom, and two-sided p-value."""

    coefficient: float
    stderr: float
    t: float
    df: float
    p: float


def regress_scaling(
    accuracy: ArrayLike, n_params: ArrayLike, n_tokens: ArrayLike, *, cluster: ArrayLike | None = None
) -> dict[str, Effect]:
    r"""Regress a task's accuracy on model size, training tokens and their product, by least squares.

    .. math:: z(accuracy) = b_0 + b_1\, z(\log_{10} N) + b_2\, z(\log_{10} D) + b_3\, z(\log_{10} N)\, z(\log_{10} D)

    with :math:`z(x) = (x - \bar x) / s_x`. The product is that of the z-scores and is not z-scored again.

    Parameters
    ----------
    accuracy : array_like [n]
        One number a checkpoint, in any unit.
    n_params, n_tokens : array_like [n]
        Parameters N of its model; tokens D it was trained on (steps do as well: a factor cancels).
    cluster : array_like [n], optional
        Labels of what is independent, such as the model's name. The checkpoints of one training run resemble each
        other, and the plain standard errors take them for independent. With labels, they are cluster-robust.

    Returns
    -------
    dict of str to Effect
        For "parameters" (:math:`b_1`), "tokens" (:math:`b_2`) and "interaction" (:math:`b_3`): the slope in standard
        deviations, the same with and without clusters, and t with n - 4 degrees of freedom, or as in the notes.

    Raises
    ------
    ValueError
        If the lengths differ or there are fewer than 5 checkpoints, a number is not finite (not positive, for sizes and
        tokens), one of the three never varies, the effects cannot be told apart, a label is missing, or there are fewer
        than 3 clusters.

    Notes
    -----
    With few clusters the usual sandwich :math:`\sum_g X_g' e_g e_g' X_g` is too small. Here it is CR2: with H the hat
    matrix, the residuals of cluster g are first multiplied by :math:`(I - H_{gg})^{-1/2}`, which makes the variance
    unbiased if the errors are in fact independent. The degrees of freedom are Satterthwaite's, for each slope its own:
    for the 8 sizes of Pythia 3.2 (parameters, interaction) and 5.9 (tokens). `permute_trajectories` assumes less.

    References
    ----------
    Michaelov & Bergen 2023, section 3 and Table 1 (no clusters). Bell & McCaffrey (2002), Survey Methodology 28;
    Pustejovsky & Tipton (2018), Journal of Business & Economic Statistics 36 (CR2 and its degrees of freedom).

    Examples
    --------
    >>> sizes, steps = np.repeat([1e6, 1e7, 1e8], 3), np.tile([10, 100, 1000], 3)
    >>> found = regress_scaling([0.9, 0.8, 0.7, 0.8, 0.6, 0.5, 0.7, 0.4, 0.2], sizes, steps)
    >>> effect = found["tokens"]
    >>> round(effect.coefficient, 3), round(effect.t, 2), effect.df, effect.p < 0.001
    (-0.649, -13.28, 5.0, True)
    """
    y, size, tokens = _scaling_data(accuracy, n_params, n_tokens)
    n = len(y)
    design = np.column_stack([np.ones(n), size, tokens, size * tokens])
    if n < 5 or np.linalg.matrix_rank(design) < 4:
        raise ValueError(
            f"{n} checkpoints cannot tell the effects of size, tokens and both apart: pass at least 5, of several "
            "sizes at several numbers of tokens"
        )
    bread = np.linalg.inv(design.T @ design)
    slopes = bread @ design.T @ y
    residuals = y - design @ slopes
    if cluster is None:
        df = np.full(4, n - 4.0)
        variance = residuals @ residuals / df * bread.diagonal()
    else:
        variance, df = _cluster_robust(design, bread, residuals, cluster)
    stderr = np.maximum(np.sqrt(variance), 1e-9)  # an exact fit leaves rounding errors, of the slopes as well
    t = slopes / stderr
    p = 2 * scipy_stats.t.sf(np.abs(t), df)
    rows = np.column_stack([slopes, stderr, t, df, p])[1:].tolist()
    return {effect: Effect(*row) for effect, row in zip(EFFECTS, rows, strict=True)}


def permute_trajectories(
    accuracy: ArrayLike,
    n_params: ArrayLike,
    n_tokens: ArrayLike,
    cluster: ArrayLike,
    *,
    n_resamples: int = 100_000,
    seed: int = 0,
) -> dict[str, float]:
    r"""Test the three effects of `regress_scaling` with whole training runs as the units, assuming no distribution.

    Each run is reduced to its mean accuracy and its slope on z-scored :math:`\log_{10}` tokens. If size has no effect,
    the means (parameters) or slopes (interaction) could as well have come with the sizes in any other order; if tokens
    have none, every slope could as well have had the other sign. The p-value is the share of orders, or of signs, that
    give a coefficient at least as far from 0.

    Parameters
    ----------
    accuracy, n_params, n_tokens, cluster : array_like [n]
        As for `regress_scaling`; a cluster is a training run. Every run has one size, and all were measured at the
        same numbers of tokens.
    n_resamples : int
        Orders and signs are all tried if there are no more of them than this (8 runs: 40,320 and 256), else as many
        are drawn, and the observed one is counted with them.
    seed : int

    Returns
    -------
    dict of str to float
        Two-sided p-values of "parameters", "tokens" and "interaction". With G runs that of tokens is at least
        :math:`2^{1-G}`: 0.008 for 8 runs.

    Raises
    ------
    ValueError
        As `regress_scaling`, if a run has several sizes or was not measured at the tokens of the others, or if
        n_resamples is not positive.

    Notes
    -----
    Runs are taken for independent. Sizes that saw the same data in the same order, as Pythia's did,
    are so only in part.

    References
    ----------
    Fisher (1935), The Design of Experiments, chapter 3.

    Examples
    --------
    >>> sizes, steps = np.repeat([1e6, 1e7, 1e8], 3), np.tile([10, 100, 1000], 3)
    >>> values = [0.9, 0.8, 0.7, 0.8, 0.6, 0.5, 0.7, 0.4, 0.2]
    >>> found = permute_trajectories(values, sizes, steps, cluster=sizes)
    >>> {effect: round(p, 3) for effect, p in found.items()}
    {'parameters': 0.333, 'tokens': 0.25, 'interaction': 0.333}
    """
    if n_resamples < 1:
        raise ValueError(f"n_resamples is at least 1; got {n_resamples}")
    y, size, tokens = _scaling_data(accuracy, n_params, n_tokens)
    groups = _clusters(cluster, len(y))
    groups = [group[tokens[group].argsort()] for group in groups]
    if any(np.ptp(size[group]) or not np.array_equal(tokens[group], tokens[groups[0]]) for group in groups):
        raise ValueError("every training run needs one size, and the same numbers of tokens as all others")
    curves, sizes, steps = y[groups], size[[group[0] for group in groups]], tokens[groups[0]]
    if np.unique(steps).size < len(steps):
        raise ValueError("a training run has two checkpoints of the same tokens")
    steps, count, rng = steps - steps.mean(), len(groups), np.random.default_rng(seed)
    if math.factorial(count) <= n_resamples:
        orders = np.array(list(itertools.permutations(range(count))))
    else:
        orders = rng.permuted(np.tile(np.arange(count), (n_resamples, 1)), axis=1)
        orders[0] = np.arange(count)
    if 2**count <= n_resamples:
        signs = np.array(list(itertools.product([1, -1], repeat=count)))
    else:
        signs = rng.choice([1, -1], size=(n_resamples, count))
        signs[0] = 1
    means, slopes, sizes = curves.mean(1), curves @ steps, sizes - sizes.mean()
    statistics = (means[orders] @ sizes, signs @ slopes, slopes[orders] @ sizes)  # the observed one first
    return {
        effect: float((np.abs(found) >= abs(found[0]) - 1e-9).mean())  # up to rounding
        for effect, found in zip(EFFECTS, statistics, strict=True)
    }


def _scaling_data(accuracy: ArrayLike, n_params: ArrayLike, n_tokens: ArrayLike) -> list[np.ndarray]:
    """Z-scored accuracy, log parameters and log tokens."""
    columns = [np.asarray(values, dtype=float) for values in (accuracy, n_params, n_tokens)]
    if columns[0].ndim != 1 or len({column.shape for column in columns}) > 1:
        raise ValueError(f"expected three lists of one length; got shapes {[c.shape for c in columns]}")
    _refuse_not_finite(*columns)
    if (np.array(columns[1:]) <= 0).any():
        raise ValueError("parameters and tokens must be positive, as their logarithm is taken")
    columns[1:] = np.log10(columns[1:])
    for name, column in zip(("accuracy", "n_params", "n_tokens"), columns, strict=True):
        if not len(column) or np.ptp(column) == 0:
            raise ValueError(
                f"{name} never varies, so nothing can be regressed: pass checkpoints in which it does"
            )
    return [(column - column.mean()) / column.std(ddof=1) for column in columns]


def _clusters(labels: ArrayLike, n: int) -> list[np.ndarray]:
    """Places of every cluster."""
    found = np.asarray(labels)
    if found.shape != (n,) or pd.isna(found).any():
        raise ValueError(
            f"expected a cluster label for each of {n} checkpoints; got shape {found.shape} or a missing one"
        )
    numbers, names = pd.factorize(found, sort=True)
    if len(names) < 3:
        raise ValueError(
            f"effects of size and tokens need at least 3 clusters (training runs); got {len(names)}"
        )
    return [np.flatnonzero(numbers == k) for k in range(len(names))]


def _cluster_robust(
    design: np.ndarray, bread: np.ndarray, residuals: np.ndarray, cluster: ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
    """CR2 variance of each coefficient and its Satterthwaite degrees of freedom (Pustejovsky & Tipton 2018)."""
    n, rest = len(design), np.eye(len(design)) - design @ bread @ design.T
    weights = []  # of each cluster [n, coefficients]: what it takes of every error
    for group in _clusters(cluster, n):
        values, vectors = np.linalg.eigh(rest[np.ix_(group, group)])
        # 0: in a direction that the fit follows exactly, no error can show
        root = np.where(values > 1e-9, np.maximum(values, 1e-9) ** -0.5, 0)
        weights.append(rest[:, group] @ (vectors * root) @ vectors.T @ design[group] @ bread)
    u = np.stack(weights)  # [clusters, n, coefficients]
    variance = (np.einsum("gnk,n->gk", u, residuals) ** 2).sum(0)
    gram = np.einsum("gnk,hnk->kgh", u, u)
    return variance, np.trace(gram, axis1=1, axis2=2) ** 2 / (gram**2).sum((1, 2))


def brier_score(probability: ArrayLike, outcome: ArrayLike) -> float:
    r"""Mean squared distance of forecasts to what happened, :math:`\frac1n \sum_i \sum_k (p_{ik} - o_{ik})^2`.

    Parameters
    ----------
    probability : array_like [n] or [n k]
        Forecast that an event happens, or over k classes.
    outcome : array_like [n] or [n k]
        1 or true where it happened, or at the right class; else 0.

    Returns
    -------
    float
        0 for perfect forecasts; at most 1 for events, where always saying one half scores 0.25. Over k classes at most
        2, and two classes score twice their event.

    Raises
    ------
    ValueError
        If the shapes differ or are empty, a probability is not between 0 and 1, or an outcome is not 0 or 1.

    References
    ----------
    Brier (1950), Monthly Weather Review 78.

    Examples
    --------
    >>> brier_score([0.75, 0.5], [True, False])
    0.15625
    >>> brier_score([[0.75, 0.25], [0.5, 0.5]], [[1, 0], [0, 1]])
    0.3125
    """
    p, o = _forecasts(probability, outcome)
    return float(((p - o) ** 2).reshape(len(p), -1).sum(1).mean())


def expected_calibration_error(probability: ArrayLike, outcome: ArrayLike, *, n_bins: int = 10) -> float:
    r"""How far forecasts lie from frequencies, :math:`\sum_b \frac{n_b}{n} |\bar o_b - \bar p_b|` over bins b.

    Parameters
    ----------
    probability : array_like [n]
        Forecasts that an event happens.
    outcome : array_like of bool [n]
        Whether it happened.
    n_bins : int
        Bins of equal width between 0 and 1; a forecast on an edge belongs to the bin below.

    Returns
    -------
    float
        Between 0 and 1. With few forecasts a bin it is biased upwards: even forecasts that are perfectly calibrated
        miss by about :math:`\sqrt{p (1 - p) / n_b}` in a bin.

    Raises
    ------
    ValueError
        As `brier_score`, or if n_bins is not positive.

    References
    ----------
    Guo et al. 2017, On Calibration of Modern Neural Networks, equation 3.

    Examples
    --------
    >>> expected_calibration_error([0.75, 0.75, 0.75, 0.75], [True, True, True, False])
    0.0
    >>> round(expected_calibration_error([0.9, 0.9, 0.1, 0.1], [True, False, False, False]), 3)
    0.25
    """
    p, o = _forecasts(probability, outcome)
    if p.ndim != 1 or n_bins < 1:
        raise ValueError(
            f"expected a flat list and at least one bin; got shape {p.shape} and n_bins={n_bins}"
        )
    which = np.searchsorted(np.arange(1, n_bins) / n_bins, p)
    return float(np.abs(np.bincount(which, o - p)).sum() / len(p))


def _forecasts(probability: ArrayLike, outcome: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    p, o = np.asarray(probability, dtype=float), np.asarray(outcome, dtype=float)
    if p.shape != o.shape or not p.size or p.ndim not in (1, 2):
        raise ValueError(
            f"expected forecasts and outcomes of one shape, [n] or [n k]; got {p.shape} and {o.shape}"
        )
    if not ((p >= 0) & (p <= 1)).all() or not np.isin(o, (0, 1)).all():
        raise ValueError("expected probabilities between 0 and 1, and outcomes that are 0 or 1")
    return p, o


def _refuse_no_coverage(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level is a coverage between 0 and 1, such as 0.95; got {level}")


def _refuse_not_finite(*samples: np.ndarray) -> None:
    if not all(np.isfinite(sample).all() for sample in samples):
        raise ValueError("every value must be a finite number: leave out what was not measured")
