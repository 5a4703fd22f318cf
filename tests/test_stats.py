import itertools
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


def test_the_paired_t_test_is_its_formula_and_scipys():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=12), rng.normal(size=12) + 0.4
    t, p = stats.paired_t_test(x, y)
    d = x - y
    assert t == pytest.approx(d.mean() * math.sqrt(12) / d.std(ddof=1))
    assert p == pytest.approx(2 * scipy_stats.t.sf(abs(t), 11))
    assert stats.paired_t_test(y, x) == pytest.approx((-t, p))


@pytest.mark.parametrize("n", [4, 7])
def test_the_exact_ks_test_counts_all_orders(n):
    """Its p-value is the share of all C(2n, n) ways to order two samples that are at least as far apart."""
    places = range(2 * n)
    steps = np.array(
        [[1 if k in chosen else -1 for k in places] for chosen in itertools.combinations(places, n)]
    )
    distances = np.abs(steps.cumsum(1)).max(1) / n
    for k in range(1, n + 1):
        d, p = stats.ks_exact(np.arange(n), np.arange(n) + k - 0.5)
        assert d == pytest.approx(k / n)
        assert p == pytest.approx((distances >= k / n - 1e-9).mean())


def test_the_exact_ks_test_at_its_ends():
    assert stats.ks_exact([1, 2, 3], [1, 2, 3]) == (0, 1)
    assert stats.ks_exact(np.arange(30), np.arange(30) + 0.5) == pytest.approx(
        (1 / 30, 1)
    )  # scipy gives up here
    assert stats.ks_exact([1, 2], [3, 4, 5]) == pytest.approx((1, 2 / math.comb(5, 2)))
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="cannot be computed for samples of 50021 and 50023"):
        stats.ks_exact(rng.normal(size=50021), rng.normal(size=50023))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: stats.paired_t_test([1, 2], [1, 2, 3]), "one length, at least 2"),
        (lambda: stats.paired_t_test([1], [2]), "one length, at least 2"),
        (lambda: stats.paired_t_test([1, 2], [2, 3]), "all differences are equal"),
        (lambda: stats.paired_t_test([1, math.nan], [2, 3]), "finite number"),
        (lambda: stats.ks_exact([], [1]), "not empty"),
        (lambda: stats.ks_exact([[1]], [1]), "flat lists"),
        (lambda: stats.ks_exact([math.inf], [1]), "finite number"),
    ],
)
def test_samples_that_cannot_be_compared_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
