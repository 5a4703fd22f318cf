"""The post's numbers, one by one; closed forms of the forecast, of its intervals and of its scores."""

from __future__ import annotations

import math
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from coursekit.experiments.forecasting import analysis, data
from coursekit.experiments.forecasting.analysis import arithmetic, forecast, monte_carlo, sample_inputs
from coursekit.experiments.forecasting.data import DatedForecast, Point, Series


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return arithmetic().set_index("text")


# What the post's own inputs give, computed apart from the package
NUMBERS = {
    "human thinking, tokens per minute": (506.7, 0.05, "holds"),
    "GPT-3's work for its training compute, years": (3386, 0.5, "holds"),
    "1 million hours, years": (114.08, 0.005, "holds"),
    "1 million days, years": (2738, 0.5, "roughly"),
    "copies at human speed": (1.5e6, 1, "holds"),
    "gpt-4 in June 2023, words per minute": (540, 1e-9, "holds"),
    "a year's work at 5 times human speed, months": (2.4, 1e-9, "holds"),
    "a year's work at 125 times human speed, days": (2.92, 0.005, "holds"),
    "speed at k = 5, against a human": (125, 1e-9, "holds"),
    "agent-years at k = 5 for the same FLOPs": (360_000, 1e-6, "holds"),
    "agent-years in these 3 days on the same hardware": (14_400, 1e-6, "does not hold"),
    "the same on the same hardware": (4.8, 1e-9, "does not hold"),
    "a year of the US's mathematicians, times, in these days": (120, 1e-9, "holds"),
    "users a day if 20 times as many": (260e6, 1, "roughly"),
    "person-days of text a day then": (1e6, 1e-6, "holds"),
    "GPT-3's forward passes for its training compute": (8.857e11, 5e7, "holds"),
    "training FLOPs in 2030, geometric mean of two": (1.0397e28, 5e23, "holds"),
    "over GPT-3's": (32_258, 0.5, "roughly"),
    "growth of the overhang": (181.66, 0.005, "holds"),
    "work, years": (617_641, 0.5, "holds"),
    "with a GPT-3 of the best size, years": (2.48e6, 1, "holds"),
    "work with 100-fold growth, years": (1.36e6, 1, "does not hold"),
    "forward passes for an update with synthetic data": (8.4, 1e-9, "holds"),
    "its effect on the overhang": (1.673, 0.0005, "holds"),
    "upper bound of the overhang's growth": (304.0, 0.05, "holds"),
    "forward passes of Metaculus's largest model": (4.6e11, 1, "does not hold"),
    "work with 1e30 FLOPs, years": (18e6, 1e-3, "holds"),
    "GPUs over which GPT-3's matrix is tiled": (576, 1e-9, "holds"),
    "GPT-3's passes a second on an A100": (11.65, 0.005, "holds"),
    "exponent of speed over model size": (0.547, 0.0005, "roughly"),
}


@pytest.mark.parametrize("text", NUMBERS)
def test_a_number_of_the_post(table: pd.DataFrame, text: str) -> None:
    value, tolerance, verdict = NUMBERS[text]
    assert table.loc[text, "computed"] == pytest.approx(value, abs=tolerance)
    assert table.loc[text, "verdict"] == verdict


def test_how_much_of_the_arithmetic_holds(table: pd.DataFrame) -> None:
    assert table["verdict"].value_counts().to_dict() == {"holds": 44, "roughly": 6, "does not hold": 4}
    assert table.index.is_unique
    assert (table.loc[table["verdict"] == "does not hold", "note"] != "").all()


def test_two_footnotes_agree_on_a_median_that_the_post_does_not_print() -> None:
    """Both quartiles of footnote 18 and the passes of footnote 17 fit a Metaculus median near 4.5e27, not 2.3e27."""
    petaflop_days = (
        86_400 * 1e15
    )  # FLOPs; the unit of footnote 18 is not printed, and is taken to be this one
    median = 9e11 * 5e15
    low, high = (2.5e6 * math.sqrt(ends * 1e6 * petaflop_days / median) for ends in (5, 660))
    assert (float(f"{low:.0e}"), float(f"{high:.0e}")) == (0.8e6, 9e6)
    low, high = (2.5e6 * math.sqrt(ends * 1e6 * petaflop_days / 2.3e27) for ends in (5, 660))
    assert (float(f"{low:.0e}"), float(f"{high:.0e}")) == (1e6, 1e7)


def test_at_its_medians_the_forecast_gives_the_posts_numbers() -> None:
    made = {name: float(value) for name, value in forecast().items()}
    for name in ("speed", "fast_speed", "work_months", "user_person_days"):
        assert made[name] == pytest.approx(data.OUTCOMES[name].post, rel=1e-9), name
    for name in ("human_tokens_per_minute", "gpt3_work_years", "fast_days"):
        assert made[name] == pytest.approx(data.OUTCOMES[name].post, rel=0.03), name
    # 3400 × 4 × 100 = 1.36 million, with GPT-3's 3324 years and √32,258 for √33,000
    assert made["work_years"] == pytest.approx(1.36e6, rel=0.03)


def test_hardware_and_flops_are_two_accounts() -> None:
    made = forecast({"k": [1, 5, 10]})
    work = made["work_years"]
    assert made["fast_agent_years"].tolist() == pytest.approx((work / [1, 5, 10]).tolist())
    # hardware: throughput in work a year, times the time that a year's work takes
    throughput = work * made["speed"] / np.array([1, 5, 10])
    time = made["fast_days"] / data.DAYS_PER_YEAR
    assert made["fast_agent_years_in_time"].tolist() == pytest.approx((throughput * time).tolist())


def test_the_overhang_grows_as_the_root_of_compute_and_falls_with_what_humans_think() -> None:
    one, hundred = (float(forecast({"training_flops": c})["work_years"]) for c in (1e28, 1e30))
    assert hundred / one == pytest.approx(10)
    slow, fast = (float(forecast({"human_wpm": w})["work_years"]) for w in (190, 380))
    assert slow / fast == pytest.approx(2)


@pytest.mark.parametrize("name", data.INPUTS)
def test_an_input_has_the_median_and_quartiles_it_was_given(name: str) -> None:
    one = data.INPUTS[name]
    drawn = sample_inputs(20_000, seed=3)[name]
    got = np.quantile(drawn, [0.25, 0.5, 0.75])
    assert got.tolist() == pytest.approx([one.low, one.median, one.high], rel=2e-3)
    assert (drawn > 0).all()


def test_a_bounded_input_stays_within_its_bounds_and_has_no_mass_on_them() -> None:
    one = data.INPUTS["data_limit"]
    drawn = 180 * sample_inputs(20_000, seed=3)["data_limit"]
    assert (drawn > 8).all()
    assert (drawn < 300).all()
    assert len(np.unique(drawn)) > 19_000
    # evenly on the logarithm between two quartiles
    assert (180 * analysis.quantile(one, [0.125])).item() == pytest.approx(math.sqrt(8 * 12))


def test_every_outcome_is_a_product_of_powers_of_the_inputs() -> None:
    """What the page's sliders rest on: its exponents and one point give the forecast everywhere."""
    powers, base = analysis.elasticities(), forecast()
    rng = np.random.default_rng(0)
    factors = {name: rng.uniform(0.1, 10, 50) for name in data.INPUTS}
    made = forecast({name: data.INPUTS[name].median * factor for name, factor in factors.items()})
    for name in data.OUTCOMES:
        product = math.prod(factors[one] ** powers.loc[name, one] for one in data.INPUTS)
        assert made[name].tolist() == pytest.approx((base[name] * product).tolist(), rel=1e-9), name


def test_inputs_are_independent_and_follow_from_the_seed() -> None:
    drawn = sample_inputs(5000, seed=1)
    assert abs(scipy_stats.spearmanr(drawn["speed"], drawn["data_limit"]).statistic) < 0.05
    again, other = sample_inputs(5000, seed=1, fixed={"speed": 2}), sample_inputs(5000, seed=2)
    assert (again["data_limit"] == drawn["data_limit"]).all()
    assert (other["data_limit"] != drawn["data_limit"]).any()


def test_a_product_of_log_normals_has_their_summed_variance() -> None:
    """With symmetric inputs the interval has a closed form."""
    inputs = {
        name: one._replace(low=one.median / 2, high=one.median * 2, bounds=None)
        if name in ("training_flops", "data_limit")
        else one._replace(low=one.median, high=one.median, bounds=None)
        for name, one in data.INPUTS.items()
    }
    got = monte_carlo(50_000, inputs=inputs).set_index("quantity").loc["work_years"]
    sd = math.log(2) / 0.67449 * math.sqrt(0.25 + 1)  # the square root halves the spread of compute
    assert got["median"] == pytest.approx(got["at_medians"], rel=0.02)
    assert got["p95"] / got["median"] == pytest.approx(math.exp(1.64485 * sd), rel=0.04)
    assert got["p25"] / got["median"] == pytest.approx(math.exp(-0.67449 * sd), rel=0.04)


def test_the_posts_range_is_shifted_against_what_its_inputs_give() -> None:
    got = monte_carlo(50_000).set_index("quantity").loc["work_years"]
    assert 0.9e6 < got["median"] < 1.0e6 < got["at_medians"] < got["post"]
    assert got["p25"] == pytest.approx(0.20e6, rel=0.05)
    assert got["p75"] == pytest.approx(4.5e6, rel=0.05)
    assert got["p05"] == pytest.approx(22e3, rel=0.05)
    assert got["p95"] == pytest.approx(37e6, rel=0.05)
    assert got["p25"] < got["post_low"]
    assert got["p75"] < got["post_high"]


def test_a_fixed_input_is_fixed_in_the_medians_too() -> None:
    got = monte_carlo(1000, fixed={"speed": 10, "k": 2}).set_index("quantity")
    assert got.loc["fast_speed", ["at_medians", "median", "p05", "p95"]].tolist() == [40] * 4


def test_sensitivity_of_what_has_one_input_is_that_input() -> None:
    found = analysis.sensitivity("fast_days", n=500)
    assert found["input"].tolist() == ["speed"]
    assert found["rank_correlation"].tolist() == pytest.approx([-1])
    assert found["at_p05"][0] > found["at_p95"][0]


def test_sensitivity_is_of_the_right_sign_and_order() -> None:
    found = analysis.sensitivity("learning_years", n=4000).set_index("input")
    assert found["rank_correlation"].abs().idxmax() == found.index[0] == "training_flops"
    for name in ("data_limit", "training_flops", "oversize"):
        assert found.loc[name, "rank_correlation"] > 0
        assert found.loc[name, "at_p95"] > found.loc[name, "at_p05"]
    assert found.loc["training_years", "rank_correlation"] < 0
    assert found["swing"].is_monotonic_decreasing
    assert not {"speed", "k", "gpt3_flops", "user_growth"} & set(found.index)


def test_a_line_is_recovered_with_its_interval() -> None:
    n = np.arange(100, 2000, 100)
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        fit = analysis.fit_speed(n, 0.4 + n / 30 + rng.normal(0, 0.5, len(n)))
        covered += fit.low < 30 < fit.high
        assert fit.low < fit.tokens_per_second < fit.high
        assert fit.tokens_per_second == pytest.approx(1 / fit.seconds_per_token)
    assert 180 <= covered <= 199
    assert fit.stderr == pytest.approx((fit.high - fit.low) / 2 / scipy_stats.t.ppf(0.975, 17), rel=0.01)


def test_latency_does_not_count_as_speed() -> None:
    n = np.array([10, 20, 30])
    fit = analysis.fit_speed(n, 100 + n / 50)
    assert fit.tokens_per_second == pytest.approx(50)
    assert fit.latency == pytest.approx(100)


def test_a_slope_that_may_be_zero_has_no_upper_end() -> None:
    assert analysis.fit_speed([1, 2, 3], [1.0, 3.0, 2.0]).high == math.inf


def test_times_that_do_not_grow_have_no_speed() -> None:
    fit = analysis.fit_speed([1, 2, 3], [3.0, 2.0, 1.0])
    assert fit.seconds_per_token == pytest.approx(-1)
    assert np.isnan([fit.tokens_per_second, fit.stderr, fit.low, fit.high]).all()


def test_the_speed_of_a_model_is_bounded_by_its_bytes() -> None:
    known = data.SPEEDS.dropna()
    bound = 60 * analysis.bandwidth_bound(known["n_params"], 2039e9)
    share = known["tokens_per_minute"].to_numpy() / bound
    assert (share < 1).all()
    assert share[0] == pytest.approx(0.353, abs=5e-4)  # pythia-12b: more than a third
    assert share[-1] < 0.05  # the smallest waits for other things


def test_first_order_finds_a_steady_rate_on_either_scale() -> None:
    start = date(2020, 1, 1)
    when = [start + timedelta(days=365 * k) for k in range(3)]
    odds = [0.5, 1.0, 2.0]
    share = [one / (1 + one) for one in odds]
    got = analysis.first_order(when, share, start + timedelta(days=365 * 3), scale="logit")
    assert got == pytest.approx(0.8, abs=2e-3)
    got = analysis.first_order(when, [3, 30, 300], start + timedelta(days=365 * 3))
    assert got == pytest.approx(3000, rel=0.02)


def test_a_backtest_uses_nothing_of_what_it_forecasts() -> None:
    series = data.SERIES["mmlu"]
    last = series.points[-1]
    changed = series._replace(points=(*series.points[:-1], last._replace(value=0.1)))
    before, after = analysis.backtest(series), analysis.backtest(changed)
    for column in ("zeroth_order", "first_order"):
        assert before[column].tolist() == after[column].tolist()


def test_on_mmlu_first_order_beats_zeroth_order_and_the_forecasters() -> None:
    made = analysis.backtest(data.SERIES["mmlu"]).set_index("name")
    assert (made["closer"] == "first order").all()
    assert (made["first_error"] < 0).all()  # and still falls short
    assert data.MMLU_FORECASTS[date(2022, 6, 30)] < made.loc["Chinchilla", "zeroth_order"]
    assert data.MMLU_FORECASTS[date(2023, 6, 30)] < made.loc["Chinchilla", "value"]


def test_on_parameters_zeroth_order_wins_twice() -> None:
    made = analysis.backtest(data.SERIES["n_params"])
    assert made["closer"].tolist() == ["first order", "zeroth order", "zeroth order"]
    assert made.loc[1, "zeroth_error"] == pytest.approx(math.log(280 / 530))


def test_scores_are_the_textbooks() -> None:
    p, o = np.array([0.9, 0.2, 0.5]), np.array([True, False, True])
    assert analysis.log_score(p, o) == pytest.approx(-(math.log(0.9) + math.log(0.8) + math.log(0.5)) / 3)
    assert analysis.log_score([0.0], [True]) == math.inf
    assert analysis.log_score([1.0], [True]) == 0


@pytest.mark.parametrize("score", [analysis.log_score, analysis.brier_score])
def test_scores_are_best_for_what_one_believes(score: object) -> None:
    happened = np.arange(100) < 70
    expected = [score(np.full(100, p), happened) for p in np.linspace(0.05, 0.95, 19)]  # type: ignore[operator]
    assert np.argmin(expected) == 13  # 0.70


def test_forecasts_are_settled_open_or_overdue() -> None:
    made, due = date(2027, 1, 1), date(2027, 2, 1)
    cases = [DatedForecast("a", 0.9, made, due, outcome) for outcome in (True, False, None)]
    table = analysis.score_forecasts(cases, today=date(2027, 1, 15))
    assert table["state"].tolist() == ["yes", "no", "open"]
    assert table["brier"].tolist()[:2] == pytest.approx([0.01, 0.81])
    assert table["log_score"].tolist()[:2] == pytest.approx([-math.log(0.9), -math.log(0.1)])
    assert table.loc[2, ["brier", "log_score"]].isna().all()
    later = analysis.score_forecasts(cases, today=date(2027, 3, 1))
    assert later["state"].tolist() == ["yes", "no", "overdue"]


def test_were_scarce_data_a_ceiling_the_work_would_spread_far_less() -> None:
    x = sample_inputs(100_000, seed=0)
    work, growth = forecast(x)["work_years"], np.sqrt(x["training_flops"] / x["gpt3_flops"])
    ceiling = work * np.minimum(growth, 180 * x["data_limit"]) / (growth * x["data_limit"])
    # the card's numbers
    assert np.quantile(ceiling, [0.25, 0.5, 0.75]) / 1e6 == pytest.approx([0.19, 0.59, 1.9], rel=0.01)
    assert np.quantile(ceiling, [0.05, 0.95]) == pytest.approx([90e3, 4.7e6], rel=0.01)


def test_the_posts_medians_score_like_coins() -> None:
    table = analysis.score_forecasts(data.POST_FORECASTS, today=date(2026, 1, 1))
    assert table["state"].tolist() == ["yes", "yes", "open", "open", "open"]
    assert table["brier"].mean() == 0.25
    assert table["log_score"].mean() == pytest.approx(math.log(2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: forecast({"sped": 5}), "unknown input sped: the inputs are human_wpm"),
        (lambda: forecast({"speed": [1.0, 0.0]}), "speed must be above 0, got 0"),
        (lambda: sample_inputs(0, seed=0), "expected n >= 1"),
        (lambda: sample_inputs(5, seed=0, fixed={"sped": 1}), "fixed inputs among .* got n=5 and sped"),
        (lambda: analysis.sensitivity("work"), "unknown outcome 'work'"),
        (
            lambda: analysis.quantile(data.INPUTS["speed"]._replace(low=6.0), 0.5),
            "expected 0 < least <= low <= median <= high <= most",
        ),
        (
            lambda: analysis.quantile(data.INPUTS["data_limit"]._replace(bounds=(0.1, 2.0)), 0.5),
            "got 0.1, 0.0666667",
        ),
        (lambda: analysis.fit_speed([1, 2], [1, 2]), "expected three times or more"),
        (lambda: analysis.fit_speed([2, 2, 2], [1, 2, 3]), "1 lengths: time more counts"),
        (lambda: analysis.first_order([date(2020, 1, 1)], [1.0], date(2021, 1, 1)), "a rate needs two"),
        (
            lambda: analysis.first_order(
                [date(2020, 1, 1), date(2021, 1, 1)], [0.5, 1.0], date(2022, 1, 1), scale="logit"
            ),
            "logit with values between 0 and 1",
        ),
        (
            lambda: analysis.backtest(Series("x", "log", (Point(date(2020, 1, 1), "a", 1.0, ""),))),
            "expected three points",
        ),
        (
            lambda: analysis.score_forecasts([DatedForecast("a", 1.5, date(2027, 1, 1), date(2027, 2, 1))]),
            "expected a probability between 0 and 1",
        ),
        (
            lambda: analysis.score_forecasts([DatedForecast("a", 0.5, date(2027, 2, 1), date(2027, 1, 1))]),
            "due after 2027-02-01",
        ),
    ],
)
def test_nonsense_is_refused(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]
