"""Statistics of a few runs: intervals, standard errors, rank correlation, tests of two samples."""

import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
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
    if not 0 < level < 1:
        raise ValueError(f"level is a coverage between 0 and 1, such as 0.95; got {level}")
    draws = np.random.default_rng(seed).choice(sample, size=(n_resamples, sample.size))
    # Whole order statistics: interpolating towards infinity would give NaN.
    low, high = np.quantile(statistic(draws, axis=1), [(1 - level) / 2, (1 + level) / 2], method="nearest")
    return Interval(float(statistic(sample, axis=0)), float(low), float(high))


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
        If the lengths differ or are below 3, or if x or y is constant, which has no ranks to compare.

    Examples
    --------
    >>> rho, p = spearman([1, 2, 3, 4, 5], [1, 4, 9, 25, 16])
    >>> round(rho, 3), round(p, 3)
    (0.9, 0.037)
    """
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if x.shape != y.shape or x.ndim != 1 or len(x) < 3:
        raise ValueError(f"expected two lists of one length, at least 3; got shapes {x.shape} and {y.shape}")
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


def _refuse_not_finite(*samples: np.ndarray) -> None:
    if not all(np.isfinite(sample).all() for sample in samples):
        raise ValueError("every value must be a finite number: leave out what was not measured")
