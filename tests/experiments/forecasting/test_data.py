"""The published numbers are those printed, and fit together."""

from __future__ import annotations

import math
from datetime import date

import pytest

from coursekit.experiments.forecasting import data
from coursekit.experiments.forecasting.analysis import forecast


def test_medians_and_quartiles_of_the_post() -> None:
    speed, work = data.INPUTS["speed"], data.OUTCOMES["work_years"]
    assert (speed.low, speed.median, speed.high) == (0.5, 5, 20)
    assert (work.low, work.post, work.high) == (0.4e6, 1.8e6, 10e6)
    limit = data.INPUTS["data_limit"]
    assert [180 * x for x in (limit.low, limit.median, limit.high)] == pytest.approx([12, 100, 200])
    flops = data.INPUTS["training_flops"]
    assert flops.high / flops.low == pytest.approx(660 / 5)
    assert math.sqrt(flops.high * flops.low) == pytest.approx(flops.median) == 1e28


def test_inputs_say_where_they_are_from_and_what_is_ours() -> None:
    for name, one in data.INPUTS.items():
        assert 0 < one.low <= one.median <= one.high, name
        assert one.source
        assert one.unit
    assert sum("ours" in one.source for one in data.INPUTS.values()) == 6


def test_outcomes_are_those_of_the_forecast_in_order() -> None:
    assert list(forecast()) == list(data.OUTCOMES)


@pytest.mark.parametrize("name", data.SERIES)
def test_series_are_in_order_of_time_and_within_their_scale(name: str) -> None:
    series = data.SERIES[name]
    when = [point.when for point in series.points]
    assert when == sorted(when)
    assert all(point.source for point in series.points)
    assert all(0 < point.value < 1 or series.scale == "log" for point in series.points)


def test_only_the_records_of_a_series_of_sizes_are_in_it() -> None:
    for name in ("training_flops", "n_params"):
        values = [point.value for point in data.SERIES[name].points]
        assert values == sorted(values)


def test_a_forecast_with_an_outcome_says_how_that_is_known() -> None:
    for one in data.POST_FORECASTS:
        assert one.made == date(2023, 6, 7) < one.due
        assert (one.outcome is None) == ("https://" not in one.source)


def test_what_is_known_today_names_its_date_and_source() -> None:
    assert set(data.TODAY["input"]) <= data.INPUTS.keys() | data.OUTCOMES.keys()
    assert data.TODAY[["when", "source", "meaning", "post_meaning"]].notna().all(axis=None)
