import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from coursekit import stats


def test_bootstrap_of_a_mean_is_the_normal_interval_for_many_values():
    values = np.random.default_rng(0).normal(loc=3.0, scale=2.0, size=2000)
    interval = stats.bootstrap_interval(values, level=0.9)
    half_width = 1.6449 * values.std() / math.sqrt(len(values))
    assert interval.value == values.mean()
    assert interval.high - interval.value == pytest.approx(half_width, rel=0.05)
    assert interval.value - interval.low == pytest.approx(half_width, rel=0.05)


def test_bootstrap_agrees_with_scipy():
    values = np.random.default_rng(1).lognormal(size=40)
    ours = stats.bootstrap_interval(values, np.median, n_resamples=20_000)
    theirs = scipy_stats.bootstrap(
        (values,), np.median, method="percentile", n_resamples=20_000, rng=np.random.default_rng(2)
    ).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), rel=0.05)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([5.0], (5, 5, 5)),
        ([1000, 2000, math.inf], (2000, 1000, math.inf)),
        ([1000, math.inf, math.inf], (math.inf, 1000, math.inf)),
        ([math.inf] * 3, (math.inf, math.inf, math.inf)),
        ([1000] * 20 + [math.inf], (1000, 1000, 1000)),
    ],
)
def test_median_of_censored_runs(values, expected):
    assert stats.bootstrap_interval(values, np.median) == expected


def test_bootstrap_is_reproducible_and_leaves_the_global_generator_alone():
    state = np.random.get_state()[1].tolist()  # noqa: NPY002
    values = [1.0, 2.0, 5.0]
    assert stats.bootstrap_interval(values, seed=3) == stats.bootstrap_interval(values, seed=3)
    assert np.random.get_state()[1].tolist() == state  # noqa: NPY002


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: stats.bootstrap_interval([]), "at least one number"),
        (lambda: stats.bootstrap_interval([1.0, math.nan]), "none of them NaN"),
        (lambda: stats.bootstrap_interval([1.0, math.inf]), "pass statistic=np.median"),
        (lambda: stats.bootstrap_interval([1.0], level=95.0), "between 0 and 1"),
        (lambda: stats.proportion_stderr(0, 0), "n > 0"),
        (lambda: stats.proportion_stderr(3, 2), "successes=3, n=2"),
        (lambda: stats.spearman([1, 2, 3], [1, 2]), "one length"),
        (lambda: stats.spearman([1, 2, 3], [1, 1, 1]), "must both vary"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_proportion_stderr_is_that_of_the_binomial():
    assert stats.proportion_stderr(30, 120) == pytest.approx(scipy_stats.binom(120, 0.25).std() / 120)
    assert stats.proportion_stderr(0, 10) == 0


def test_spearman_closed_form_with_ties():
    # Ranks 1, 2.5, 2.5, 4 against 1, 2, 3, 4: Pearson's correlation of the ranks is sqrt(0.9).
    rho, _ = stats.spearman([10, 20, 20, 30], [1, 2, 3, 4])
    assert rho == pytest.approx(math.sqrt(0.9))
    assert stats.spearman([1, 2, 3, 4], [8, 4, 2, 1]).rho == pytest.approx(-1)
