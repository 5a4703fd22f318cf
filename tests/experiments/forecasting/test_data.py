"""The published numbers are those printed, and fit together."""

from __future__ import annotations

import math
from datetime import date
from pathlib import Path

import pytest

from coursekit.experiments.forecasting import data
from coursekit.experiments.forecasting.analysis import forecast, score_forecasts


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


def test_bounds_are_the_posts_or_everybody() -> None:
    bounds = {name: one.bounds for name, one in data.INPUTS.items() if one.bounds}
    assert set(bounds) == {"data_limit", "user_growth"}
    assert [180 * bound for bound in bounds["data_limit"]] == pytest.approx([8, 300])
    assert [data.INPUTS["daily_users"].median * bound for bound in bounds["user_growth"]] == [13e6, 8e9]


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


def mine(**changes: object) -> data.DatedForecast:
    made = data.DatedForecast('so it is, "yes"', 0.25, date(2026, 11, 1), date(2027, 1, 1))
    return made._replace(**changes)


def test_forecasts_are_kept_with_the_date_of_their_making(tmp_path: Path) -> None:
    path = tmp_path / "home" / "forecasts.csv"
    assert data.keep_forecasts(path) == []
    assert not path.parent.exists()
    first = data.keep_forecasts(path, [mine(), mine(question="other")])
    assert first == [mine(), mine(question="other")]
    # said again later it is the same forecast; another probability is another one
    again = data.keep_forecasts(path, [mine(made=date(2026, 12, 1)), mine(question="other", probability=0.5)])
    assert again == [*first, mine(question="other", probability=0.5)] == data.keep_forecasts(path)


def test_an_outcome_entered_by_hand_is_scored(tmp_path: Path) -> None:
    path = tmp_path / "forecasts.csv"
    data.keep_forecasts(path, [mine()])
    path.write_text(
        path.read_text(encoding="utf-8").replace("2027-01-01,,", "2027-01-01,TRUE,"), encoding="utf-8"
    )
    table = score_forecasts(data.keep_forecasts(path), today=date(2027, 2, 1))
    assert table[["state", "brier"]].to_numpy().tolist() == [["yes", 0.5625]]


@pytest.mark.parametrize(
    "text", ["question\nrain\n", "question,probability,made,due,outcome,source\na,0.5,today,2027-01-01,,\n",
             "question,probability,made,due,outcome,source\na,0.5,2026-01-01,2027-01-01,perhaps,\n"],
)  # fmt: skip
def test_a_foreign_file_is_refused_and_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "forecasts.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"is not a file of forecasts .* mend it, or move it away"):
        data.keep_forecasts(path, [mine()])
    assert path.read_text(encoding="utf-8") == text


def test_questions_for_the_reader_are_open_for_a_while() -> None:
    assert all(due > date(2027, 1, 1) and text for text, due in data.OPEN_QUESTIONS.values())
