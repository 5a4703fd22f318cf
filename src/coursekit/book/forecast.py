"""The whole forecast of week 8 under sliders: Python computes its powers and quantiles, a script in the page the rest.

Every outcome of the forecast is a constant times a product of powers of its inputs (`analysis.elasticities`). So a
slider moves the logarithms of the outcomes in proportion, and their intervals follow from sums of the inputs'
logarithms over one fixed set of points. In the built book constants, powers and quantiles travel as JSON under a MIME
type of our own and ``forecast.js`` adds them up. In a live notebook the same object shows itself through HTML that
carries the script along.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from coursekit.book.interactive import asset, json_for_html
from coursekit.experiments.forecasting.data import INPUTS, OUTCOMES, Input

FORECAST_MIME = "application/vnd.coursekit.forecast+json"
N_POINTS, GENERATOR = 2039, 766
"""A lattice rule (Korobov 1959): point i has rank i · 766^j mod 2039 in input j, which takes each of its values once.

The percentiles that are shown are within 2 % of those of 400,000 random points, and within 5 % with one input known; of
a random Latin hypercube of 2039 points some are 15 % off."""
RANGES: dict[str, tuple[float, float]] = {
    "human_wpm": (160, 4200),  # from speech to extended thought (the post's appendix A)
    "tokens_per_word": (1, 2),
    "k": (1, 10),
}
"""Ends of the sliders that go by meaning; the others go from the 2nd to the 98th percentile, and at least a factor of 2
to either side."""
_STEPS = 120  # of a slider, about


class ForecastExplorer:
    """The forecast with its sliders as a notebook shows it; made by `forecast_explorer`.

    Attributes
    ----------
    data : dict
        What the page gets, plain lists and numbers only.
    """

    def __init__(self, data: dict[str, Any]) -> None:
        self.data = data

    def __repr__(self) -> str:
        """Return what is there to see, as one line of text."""
        n_inputs, n_outcomes = len(self.data["inputs"]), len(self.data["outcomes"])
        return f"<forecast explorer: {self.data['title']}: {n_inputs} inputs, {n_outcomes} outcomes>"

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        """Return the JSON for the book, HTML for a live notebook and text for everything else."""
        style, script = asset("scrubber.css") + asset("forecast.css"), asset("forecast.js")
        html = f"<style>{style}</style>{forecast_html(self.data)}<script>{script}</script>"
        return {FORECAST_MIME: self.data, "text/html": html, "text/plain": repr(self)}


def forecast_explorer(
    *,
    title: str = "GPT-2030: the whole forecast",
    description: str = (
        "A slider sets the median of an input and shifts its distribution; a box takes its uncertainty away. Bars show "
        "each outcome as a multiple of the number that the post prints (the upright line), from a 10,000th of it to "
        "10,000 times: the thin line holds 90 % of the samples, the thick one half of them, the dot is the median."
    ),
    inputs: Mapping[str, Input] = INPUTS,
) -> ForecastExplorer:
    """Return the whole forecast with a slider for every input, and every outcome with its median and 90 % interval.

    Parameters
    ----------
    title, description : str
        Text shown above and below.
    inputs : mapping of str to Input
        Other medians, quartiles or bounds than those of `coursekit.experiments.forecasting.data.INPUTS`, for all of
        the same names.

    Returns
    -------
    ForecastExplorer
        Shows itself as the last expression of a cell.

    Raises
    ------
    ValueError
        If an input is missing or unknown, or its quartiles make no sense.

    Examples
    --------
    >>> forecast_explorer()
    <forecast explorer: GPT-2030: the whole forecast: 13 inputs, 12 outcomes>
    """
    # here, since SciPy takes a second to load and the command line imports this package
    from coursekit.experiments.forecasting import analysis

    if inputs.keys() != INPUTS.keys():
        raise ValueError(f"expected the inputs {', '.join(INPUTS)}; got {', '.join(inputs)}")
    at_medians = analysis.forecast({name: one.median for name, one in inputs.items()})
    powers = analysis.elasticities().T.to_dict("list")
    return ForecastExplorer(
        {
            "title": title,
            "description": description,
            "n": N_POINTS,
            "generator": GENERATOR,
            "inputs": [_slider(name, inputs[name], analysis.quantile) for name in INPUTS],
            "outcomes": [
                {
                    "name": name,
                    "text": one.text,
                    "unit": one.unit,
                    "post": one.post,
                    "at_medians": float(at_medians[name]),
                    "powers": powers[name],
                }
                for name, one in OUTCOMES.items()
            ],
        }
    )


def forecast_html(data: Mapping[str, Any]) -> str:
    """Return the element that ``forecast.js`` turns into the interactive.

    Parameters
    ----------
    data : mapping
        As in `ForecastExplorer`.

    Returns
    -------
    str
        HTML with the data as JSON inside, safe whatever text they contain.
    """
    return (
        '<div class="ck-forecast"><script type="application/json">'
        + json_for_html(data)
        + "</script><noscript>This interactive needs JavaScript.</noscript></div>"
    )


def _slider(name: str, one: Input, quantile: Callable[..., Any]) -> dict[str, Any]:
    """Return what a slider needs: the median, steps of its logarithm, and ln(quantile / median) at n even shares."""
    low, high = quantile(one, [0.02, 0.98]).tolist()
    least, most = RANGES.get(name, (min(low, one.median / 2), max(high, one.median * 2)))
    step = math.log(most / least) / _STEPS
    shares = (np.arange(N_POINTS) + 0.5) / N_POINTS
    deviations = np.log(quantile(one, shares) / one.median) if one.low < one.high else np.array([])
    return {
        "name": name,
        "text": one.text,
        "unit": one.unit,
        "source": one.source,
        "median": one.median,
        "step": step,
        "below": round(math.log(one.median / least) / step),
        "above": round(math.log(most / one.median) / step),
        "deviations": deviations.round(3).tolist(),
    }
