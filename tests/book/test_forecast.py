"""What the page gets of the forecast: its powers, its quantiles, and points that stand for random ones."""

import json
from typing import Any

import numpy as np
import pytest

from coursekit.book import forecast_explorer
from coursekit.book.forecast import FORECAST_MIME, RANGES, forecast_html
from coursekit.book.mime import ForecastRenderer, ScrubberRenderer
from coursekit.experiments.forecasting import analysis
from coursekit.experiments.forecasting.data import INPUTS, OUTCOMES

from .test_interactive import Output


@pytest.fixture(scope="module")
def sent() -> dict[str, Any]:
    """Return what a page gets, as it arrives there."""
    return json.loads(json.dumps(forecast_explorer().data, allow_nan=False))


def samples(sent: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return the outcomes at the page's points, computed as the page does."""
    n, factor, columns = sent["n"], 1, []
    for one in sent["inputs"]:
        if one["deviations"]:
            columns.append(np.array(one["deviations"])[np.arange(n) * factor % n])
            factor = factor * sent["generator"] % n
        else:
            columns.append(np.zeros(n))
    logs = np.array(columns)
    return {one["name"]: one["at_medians"] * np.exp(one["powers"] @ logs) for one in sent["outcomes"]}


def test_bundle_is_json_with_text_and_html_beside_it() -> None:
    made = forecast_explorer()
    bundle = made._repr_mimebundle_()
    assert set(bundle) == {FORECAST_MIME, "text/html", "text/plain"}
    assert bundle[FORECAST_MIME] == made.data
    assert ".ck-forecast" in bundle["text/html"].split("<script")[0]
    assert len(forecast_html(made.data)) < 125_000


def test_every_input_and_outcome_is_there(sent: dict[str, Any]) -> None:
    assert [one["name"] for one in sent["inputs"]] == list(INPUTS)
    assert [one["name"] for one in sent["outcomes"]] == list(OUTCOMES)
    known = [one["name"] for one in sent["inputs"] if not one["deviations"]]
    assert known == ["gpt3_flops", "gpt3_pass_flops", "k", "daily_users"]


def test_a_slider_holds_the_median_and_its_range(sent: dict[str, Any]) -> None:
    for one in sent["inputs"]:
        low, high = (one["median"] * np.exp(at * one["step"]) for at in (-one["below"], one["above"]))
        least, most = RANGES.get(one["name"], (one["median"] / 2, one["median"] * 2))
        assert low <= least * 1.02, one["name"]
        assert high >= most / 1.02, one["name"]
        if one["name"] in RANGES:
            assert (low, high) == pytest.approx((least, most), rel=0.02)
        assert 110 <= one["below"] + one["above"] <= 130


def test_its_points_give_the_intervals_of_random_ones(sent: dict[str, Any]) -> None:
    random = analysis.monte_carlo(200_000, seed=5).set_index("quantity")
    for name, values in samples(sent).items():
        expected = random.loc[name, ["p05", "p25", "median", "p75", "p95"]].to_numpy(dtype=float)
        got = np.quantile(values, (0.05, 0.25, 0.5, 0.75, 0.95))
        np.testing.assert_allclose(np.log(got), np.log(expected), atol=0.03, err_msg=name)


def test_points_are_a_latin_hypercube_whose_inputs_do_not_depend_on_each_other(sent: dict[str, Any]) -> None:
    n, a = sent["n"], sent["generator"]
    ranks = np.array([np.arange(n) * pow(a, j, n) % n for j in range(9)])
    assert (np.sort(ranks) == np.arange(n)).all()
    correlations = np.corrcoef(ranks) - np.eye(9)
    assert np.abs(correlations).max() < 0.05


def test_other_inputs_change_what_is_sent() -> None:
    inputs = INPUTS | {"speed": INPUTS["speed"]._replace(median=10.0, low=10.0, high=10.0)}
    made = forecast_explorer(inputs=inputs).data
    by_name = {one["name"]: one for one in made["outcomes"]}
    assert by_name["fast_speed"]["at_medians"] == 250
    assert next(one for one in made["inputs"] if one["name"] == "speed")["deviations"] == []


def test_text_cannot_end_the_script_element() -> None:
    assert forecast_html(forecast_explorer(title="</script><b>").data).count("</script>") == 1


def test_the_renderer_takes_its_own_type_only() -> None:
    output = Output(FORECAST_MIME, forecast_explorer().data)
    (node,) = ForecastRenderer.handle_mime(None, output, False) or []
    assert node.astext() == forecast_html(output.content)
    assert ScrubberRenderer.handle_mime(None, output, False) is None
    assert ForecastRenderer.handle_mime(None, Output("text/html", ""), False) is None


def test_missing_and_unknown_inputs_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected the inputs human_wpm.* got speed"):
        forecast_explorer(inputs={"speed": INPUTS["speed"]})
