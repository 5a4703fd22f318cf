"""What each figure draws."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from coursekit.experiments.forecasting import analysis, data, figures


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return analysis.monte_carlo(2000)


def rows() -> pd.DataFrame:
    """Counts of two models at 50 and 20 tokens per second, and batches in two precisions."""
    counts = [
        dict(quantity="count", model=model, n=n, metric="seconds", value=1 + n / v)
        for model, v in (("fast", 50), ("slow", 20))
        for n in (100, 200, 300)
    ]
    batches = [
        dict(
            quantity=f"{phase}, {precision}, batch {b}",
            model="fast",
            n=b,
            metric="tokens_per_second",
            value=v * b,
        )
        for phase, v in (("decode", 20), ("prefill", 300))
        for precision in ("float32", "float16")
        for b in (8, 1)
    ]
    return pd.DataFrame(counts + batches)


def test_the_line_of_the_counts_has_their_slope() -> None:
    fig = figures.speed_regression(rows())
    points, line, _, slow = fig.data
    assert list(points.x) == [100, 200, 300]
    assert line.x[0] == 0
    assert line.y[0] == pytest.approx(1)  # the latency
    assert (line.y[1] - line.y[0]) / line.x[1] == pytest.approx(1 / 50)
    assert slow.name == "slow: 20.0 tokens per second<br>(20.0 to 20.0), 900 words per minute"
    assert line.line.color != slow.line.color


def test_counts_without_a_speed_say_so() -> None:
    counts = rows().head(3).assign(value=[3.0, 2.0, 1.0])
    assert (
        figures.speed_regression(counts).data[1].name
        == "fast: longer counts took<br>no longer, time them again"
    )


def test_batches_are_in_order_beside_proportion() -> None:
    for phase, first in (("decode", 20), ("prefill", 300)):
        fig = figures.batches(rows(), phase)
        assert [trace.name for trace in fig.data] == [
            "fast, float32", "fast, float16", "in proportion to the batch",
        ]  # fmt: skip
        assert list(fig.data[0].x) == [1, 8]
        assert list(fig.data[0].y) == list(fig.data[2].y) == [first, 8 * first]


def test_published_speeds_lie_below_what_the_memory_allows() -> None:
    measured, bound, *lines = figures.published_speeds().data
    assert (np.asarray(measured.y) < np.asarray(bound.y)).all()
    assert [line.y[0] for line in lines] == pytest.approx([369.75, 1230.75, 380])


def test_intervals_are_multiples_of_the_posts_numbers(table: pd.DataFrame) -> None:
    fig = figures.intervals(table)
    by_name = {trace.name: trace for trace in fig.data}
    speed = list(by_name["median"].y).index("speed (times human)")
    assert by_name["median"].x[speed] == pytest.approx(1, rel=0.01)
    assert set(by_name["the post"].x) == {1}
    ends = np.array(by_name["the post's quartiles"].x, dtype=float)
    assert np.nanmin(ends) == pytest.approx(0.1)  # 0.5 of 5
    assert np.nanmax(ends) == pytest.approx(10 / 1.8)
    wide = np.array(by_name["90 % of the samples"].x, dtype=float).reshape(-1, 3)
    narrow = np.array(by_name["50 % of the samples"].x, dtype=float).reshape(-1, 3)
    assert (wide[:, 0] <= narrow[:, 0]).all()
    assert (narrow[:, 1] <= wide[:, 1]).all()
    assert len(wide) == len(by_name["median"].x) == 8


def test_the_widest_swing_is_on_top() -> None:
    fig = figures.tornado("work_years", analysis.sensitivity("work_years", n=1000))
    low, high = (np.array(trace.x, dtype=float).reshape(-1, 3) for trace in fig.data)
    middle = float(analysis.forecast()["work_years"])
    assert (low[:, 0] == middle).all()
    swing = np.abs(np.log(high[:, 1] / low[:, 1]))
    assert (np.diff(swing) > 0).all()
    assert "+0.7" in fig.data[0].y[-1]


@pytest.mark.parametrize("name", data.SERIES)
def test_orders_show_what_came_and_what_was_forecast(name: str) -> None:
    fig = figures.orders(name)
    came, zeroth, first = fig.data[:3]
    assert list(zeroth.y) == list(came.y)[1:-1]
    assert len(first.y) == len(came.y) - 2
    assert (len(fig.data) == 4) == (name == "mmlu")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: figures.speed_regression(rows().tail(8)), "expected rows with counts"),
        (lambda: figures.batches(rows().head(6)), "expected rows with tokens_per_second of decode"),
        (lambda: figures.intervals(analysis.monte_carlo(100).head(2)), "got none of work_years"),
        (lambda: figures.orders("flops"), "unknown series 'flops'"),
        (lambda: figures.tornado("work"), "unknown outcome 'work'"),
    ],
)
def test_what_cannot_be_drawn_is_refused(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]
