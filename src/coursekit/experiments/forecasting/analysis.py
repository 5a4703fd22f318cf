"""The forecast as a model that runs: its arithmetic checked, its uncertainty drawn, its forecasts scored.

No torch here: numbers and tables (pandas) go in and come out, so a chapter can use all of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats as scipy_stats

from coursekit.experiments.forecasting.data import (
    DAYS_PER_YEAR,
    GPUS,
    INPUTS,
    MATHEMATICIANS,
    MINUTES_PER_YEAR,
    OUTCOMES,
    SPEEDS,
    TOKENS_PER_WORD,
    DatedForecast,
    Input,
    Series,
)
from coursekit.stats import brier_score, spearman

Samples = dict[str, NDArray[np.floating[Any]]]
_QUARTILE = float(scipy_stats.norm.ppf(0.75))  # standard deviations from the median to a quartile


class SpeedFit(NamedTuple):
    """A line through times of counts.

    Attributes
    ----------
    latency : float
        Seconds that every count takes besides its tokens (the bias term).
    seconds_per_token : float
    tokens_per_second : float
        The inverse: the speed that long texts approach. NaN, as its error and interval, where longer counts took no
        more time, as happens on a busy machine.
    stderr : float
        Standard error of tokens_per_second.
    low, high : float
        95 % interval of tokens_per_second; high is infinite where the slope's interval reaches 0.
    r_squared : float
    """

    latency: float
    seconds_per_token: float
    tokens_per_second: float
    stderr: float
    low: float
    high: float
    r_squared: float


def fit_speed(n_tokens: ArrayLike, seconds: ArrayLike) -> SpeedFit:
    r"""Fit :math:`t = t_0 + n / v` by least squares: latency t₀, and v tokens per second.

    Parameters
    ----------
    n_tokens : array_like [m]
        Tokens written.
    seconds : array_like [m]
        Until the last of them.

    Returns
    -------
    SpeedFit

    Raises
    ------
    ValueError
        If there are fewer than three times, or the lengths do not differ.

    Notes
    -----
    The post's regression (appendix A). The slope's standard error s gives that of v, :math:`v^2 s`, and the ends of
    its 95 % interval (Student's t, m − 2 degrees of freedom) those of v. A cache that grows makes later tokens slower:
    a line is an approximation.

    References
    ----------
    Steinhardt 2023, appendix A.

    Examples
    --------
    >>> fit = fit_speed([100, 200, 300], [3.0, 5.0, 7.0])
    >>> round(fit.latency, 6), round(fit.tokens_per_second, 6)
    (1.0, 50.0)
    """
    n, t = np.asarray(n_tokens, dtype=float), np.asarray(seconds, dtype=float)
    if n.shape != t.shape or n.ndim != 1 or len(n) < 3 or len(np.unique(n)) < 2:
        raise ValueError(
            "expected three times or more, of counts that differ in length; "
            f"got shapes {n.shape} and {t.shape}, {len(np.unique(n))} lengths: time more counts"
        )
    line = scipy_stats.linregress(n, t)
    slope, spread = float(line.slope), float(line.stderr)
    reach = float(scipy_stats.t.ppf(0.975, len(n) - 2)) * spread
    speed = (math.nan,) * 4
    if slope > 0:
        high = 1 / (slope - reach) if slope > reach else math.inf
        speed = (1 / slope, spread / slope**2, 1 / (slope + reach), high)
    return SpeedFit(float(line.intercept), slope, *speed, float(line.rvalue) ** 2)


def words_per_minute(tokens_per_second: float, tokens_per_word: float = TOKENS_PER_WORD) -> float:
    """Words that so many tokens are, :math:`60 v / w` for w tokens per word.

    Examples
    --------
    GPT-4 in the week before the post (section 2):

    >>> words_per_minute(12)
    540.0
    """
    return 60 * tokens_per_second / tokens_per_word


def bandwidth_bound(
    n_params: ArrayLike, bytes_per_second: float, *, bytes_per_weight: float = 2
) -> NDArray[np.floating[Any]]:
    r"""Tokens per second that one sequence can get when every weight is read for each, :math:`b / (w N)`.

    Parameters
    ----------
    n_params : array_like
        N.
    bytes_per_second : float
        The memory's bandwidth b.
    bytes_per_weight : float
        w; 2 for float16.

    Returns
    -------
    ndarray

    Notes
    -----
    Footnote 15 of the post divides 2039 GB/s by 175 billion and gets 12 a second: one byte a weight. With two it is 6.

    Examples
    --------
    >>> bandwidth_bound([175e9], 2039e9, bytes_per_weight=1).round(2).tolist()
    [11.65]
    """
    return bytes_per_second / (bytes_per_weight * np.asarray(n_params, dtype=float))


def size_exponent(table: pd.DataFrame = SPEEDS) -> float:
    r"""Exponent e of speed :math:`\propto N^{-e}` by least squares on logarithms; the post says about 0.6.

    Parameters
    ----------
    table : DataFrame
        With n_params and tokens_per_minute; rows without n_params are left out.

    Examples
    --------
    >>> round(size_exponent(), 3), round(size_exponent(SPEEDS[SPEEDS["n_params"] > 1e9]), 3)
    (0.547, 0.629)
    """
    known = table.dropna()
    logs = np.log(known[["n_params", "tokens_per_minute"]].to_numpy(dtype=float))
    return -float(np.polyfit(logs[:, 0], logs[:, 1], 1)[0])


# The forecast


def forecast(values: Mapping[str, ArrayLike] | None = None) -> Samples:
    r"""All outcomes from all inputs: sections 2 to 4 of the post and its appendix B as one model.

    Parameters
    ----------
    values : mapping of str to array_like, optional
        Inputs by the names of `data.INPUTS`, numbers or arrays of one shape; the median for those left out.

    Returns
    -------
    dict of str to ndarray
        By the names of `data.OUTCOMES`.

    Raises
    ------
    ValueError
        If a name is unknown, or a value is not above 0.

    Notes
    -----
    With C the FLOPs of training and F those of a forward pass, an organization that trained a model can afford C / F
    tokens. By Chinchilla's rule the best F grows as :math:`\sqrt C`, so C / F grows as :math:`\sqrt C` too, times what
    GPT-3 was too large by, times what is left when data runs short; a human thinks h words of w tokens a minute:

    .. math:: \text{work} = \frac{C_3 / F_3}{h w} \cdot \text{oversize} \cdot \sqrt{C / C_3} \cdot \text{data limit}

    Copies are work a year of training. A copy at s times human speed does a year's work in 1/s years. Giving up
    throughput by k makes it k² times as fast. For the same **FLOPs** that leaves work / k. The same **hardware** does
    in the shorter time only work / k³: throughput falls by k and there is 1/k² of the time. The post counts the former.

    Inputs are independent here. They are not in the world: a larger model is slower.

    References
    ----------
    Steinhardt 2023, sections 2 to 4, appendix B.

    Examples
    --------
    >>> made = forecast()
    >>> round(float(made["gpt3_work_years"])), round(float(made["work_months"]), 1), float(made["fast_speed"])
    (3324, 2.4, 125.0)

    The post has 1.8 million years; its own factors give 1.3 million:

    >>> f"{float(made['work_years']):.2g}"
    '1.3e+06'
    """
    given = dict(values or {})
    if unknown := given.keys() - INPUTS.keys():
        raise ValueError(
            f"unknown input {', '.join(sorted(unknown))}: the inputs are {', '.join(INPUTS)}; mend the name"
        )
    x = {name: np.asarray(given.get(name, one.median), dtype=float) for name, one in INPUTS.items()}
    for name, value in x.items():
        if not (value > 0).all():
            raise ValueError(f"{name} must be above 0, got {value.min():g}; give a positive number")
    tokens_per_minute = x["human_wpm"] * x["tokens_per_word"]
    gpt3_work = x["gpt3_flops"] / x["gpt3_pass_flops"] / tokens_per_minute / MINUTES_PER_YEAR
    growth = np.sqrt(x["training_flops"] / x["gpt3_flops"])
    work = gpt3_work * x["oversize"] * growth * x["data_limit"]
    copies = work / x["training_years"]
    fast = x["speed"] * x["k"] ** 2
    found = {
        "human_tokens_per_minute": tokens_per_minute,
        "gpt3_work_years": gpt3_work,
        "work_years": work,
        "copies": copies,
        "learning_years": copies / DAYS_PER_YEAR,
        "user_person_days": x["daily_users"] * x["user_growth"] * x["user_minutes"] / (24 * 60),
        "speed": x["speed"],
        "work_months": 12 / x["speed"],
        "fast_speed": fast,
        "fast_days": DAYS_PER_YEAR / fast,
        "fast_agent_years": work / x["k"],
        "fast_agent_years_in_time": work / x["k"] ** 3,
    }
    return {name: np.asarray(values) for name, values in found.items()}


def elasticities() -> pd.DataFrame:
    r"""The powers of the forecast: every outcome is a constant times a product of powers of the inputs.

    .. math:: f(x) = c \prod_i x_i^{e_i}, \qquad e_i = \log_2 \frac{f(\dots, 2 x_i, \dots)}{f(\dots, x_i, \dots)}

    Returns
    -------
    DataFrame
        Exponents e: a row an outcome, a column an input. A test checks that `forecast` is such a product.

    Examples
    --------
    Four times the compute is twice the work:

    >>> elasticities().loc["work_years", ["training_flops", "human_wpm", "speed"]].tolist()
    [0.5, -1.0, 0.0]
    """
    medians = {name: one.median for name, one in INPUTS.items()}
    base = forecast(medians)
    powers = {
        name: {
            outcome: round(math.log2(value / base[outcome]), 9) + 0.0
            for outcome, value in forecast(medians | {name: 2 * median}).items()
        }
        for name, median in medians.items()
    }
    return pd.DataFrame(powers)


def quantile(one: Input, share: ArrayLike) -> NDArray[np.floating[Any]]:
    r"""The quantile of an input: log-normal with a spread of its own on either side of the median.

    :math:`m \, e^{z s}` with z the standard normal's quantile and s chosen on each side so that the quartile is the
    one given. Between bounds, a quarter of the probability lies between each two of bound, quartile, median, quartile
    and bound, evenly on the logarithm.

    Parameters
    ----------
    one : Input
    share : array_like
        Between 0 and 1.

    Returns
    -------
    ndarray

    Raises
    ------
    ValueError
        If the input's quartiles are not around its median and within its bounds, or not above 0.

    Examples
    --------
    >>> quantile(INPUTS["speed"], [0.25, 0.5, 0.75]).round(6).tolist()
    [0.5, 5.0, 20.0]
    >>> (180 * quantile(INPUTS["data_limit"], [0, 0.25, 0.5, 0.75, 1])).round(6).tolist()
    [8.0, 12.0, 100.0, 200.0, 300.0]
    """
    least, most = one.bounds or (one.low, one.high)
    if not 0 < least <= one.low <= one.median <= one.high <= most:
        raise ValueError(
            "expected 0 < least <= low <= median <= high <= most, "
            f"got {least:g}, {one.low:g}, {one.median:g}, {one.high:g} and {most:g} for {one.text!r}"
        )
    u = np.asarray(share, dtype=float)
    if one.bounds:
        return np.exp(
            np.interp(u, np.linspace(0, 1, 5), np.log([least, one.low, one.median, one.high, most]))
        )
    z = scipy_stats.norm.ppf(u)
    below, above = math.log(one.median / one.low), math.log(one.high / one.median)
    return one.median * np.exp(z * np.where(z < 0, below, above) / _QUARTILE)


def sample_inputs(
    n: int, seed: int, *, fixed: Mapping[str, float] | None = None, inputs: Mapping[str, Input] = INPUTS
) -> Samples:
    """Draw every input n times, independently of the others, once from each of n equally likely slices of its range.

    Such a Latin hypercube (McKay, Beckman and Conover 1979) has the inputs' quantiles exactly, to 1 / n.

    Parameters
    ----------
    n : int
    seed : int
        Every input's draws follow from it, whichever others are fixed.
    fixed : mapping of str to float, optional
        Inputs that are not uncertain.
    inputs : mapping of str to Input
        Other medians and quartiles than `data.INPUTS`.

    Returns
    -------
    dict of str to ndarray [n]

    Raises
    ------
    ValueError
        If n is not positive, or an input is unknown.

    Examples
    --------
    >>> drawn = sample_inputs(10_000, seed=0, fixed={"k": 2})
    >>> float(np.median(drawn["speed"]).round(1)), set(drawn["k"].tolist())
    (5.0, {2.0})
    """
    given = dict(fixed or {})
    if n < 1 or given.keys() - inputs.keys():
        raise ValueError(
            f"expected n >= 1 and fixed inputs among {', '.join(inputs)}; got n={n} and {', '.join(given) or 'none'}"
        )
    generator = np.random.default_rng(seed)
    strata = generator.permuted(np.tile(np.arange(n), (len(inputs), 1)), axis=1)
    uniform = (strata + generator.random(strata.shape)) / n
    drawn = {name: quantile(one, u) for (name, one), u in zip(inputs.items(), uniform, strict=True)}
    return drawn | {name: np.full(n, float(value)) for name, value in given.items()}


def monte_carlo(
    n: int = 100_000,
    seed: int = 0,
    *,
    fixed: Mapping[str, float] | None = None,
    inputs: Mapping[str, Input] = INPUTS,
) -> pd.DataFrame:
    """Intervals of every outcome, the inputs drawn n times.

    Parameters
    ----------
    n, seed, fixed, inputs
        As in `sample_inputs`.

    Returns
    -------
    DataFrame
        One row an outcome: `quantity`, `text`, `unit`, `post` (what the post prints), `post_low` and `post_high` (its
        quartiles), `at_medians` (all inputs at their medians), and of the samples `median`, `p05`, `p25`, `p75`, `p95`.

    Examples
    --------
    >>> made = monte_carlo(20_000).set_index("quantity")
    >>> made.loc["speed", ["p25", "median", "p75"]].astype(float).round(1).tolist()
    [0.5, 5.0, 20.0]
    """
    drawn = forecast(sample_inputs(n, seed, fixed=fixed, inputs=inputs))
    medians = {name: one.median for name, one in inputs.items()} | dict(fixed or {})
    rows = []
    for (name, values), at_medians in zip(drawn.items(), forecast(medians).values(), strict=True):
        what = OUTCOMES[name]
        p05, p25, median, p75, p95 = np.quantile(values, (0.05, 0.25, 0.5, 0.75, 0.95)).tolist()
        rows.append(
            {
                "quantity": name, "text": what.text, "unit": what.unit, "post": what.post, "post_low": what.low,
                "post_high": what.high, "at_medians": float(at_medians), "median": median, "p05": p05, "p25": p25,
                "p75": p75, "p95": p95,
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def sensitivity(
    outcome: str = "work_years", *, n: int = 20_000, seed: int = 0, inputs: Mapping[str, Input] = INPUTS
) -> pd.DataFrame:
    """What the uncertainty of an outcome comes from: each uncertain input's rank correlation, and its swing alone.

    Parameters
    ----------
    outcome : str
        Of `data.OUTCOMES`.
    n, seed, inputs
        As in `sample_inputs`.

    Returns
    -------
    DataFrame
        The largest swing first; inputs that are known or that the outcome does not depend on are left out. `input`,
        `text`, `rank_correlation` (Spearman's, over the samples), and the outcome at the input's 5th and 95th
        percentile with all others at their medians: `at_p05`, `at_p95`; `swing` is the larger of the two over the
        smaller.

    Raises
    ------
    ValueError
        If the outcome is unknown.

    Examples
    --------
    >>> sensitivity("work_years", n=2000)["input"].tolist()
    ['training_flops', 'data_limit', 'oversize', 'human_wpm', 'tokens_per_word']
    """
    if outcome not in OUTCOMES:
        raise ValueError(
            f"unknown outcome {outcome!r}: the outcomes are {', '.join(OUTCOMES)}; choose one of them"
        )
    drawn = sample_inputs(n, seed, inputs=inputs)
    values = forecast(drawn)[outcome]
    medians = {name: one.median for name, one in inputs.items()}
    rows = []
    for name, one in inputs.items():
        low, high = (
            float(forecast(medians | {name: end})[outcome]) for end in quantile(one, [0.05, 0.95]).tolist()
        )
        if low != high:
            correlation = spearman(drawn[name], values).rho
            swing = max(low, high) / min(low, high)
            rows.append(
                {
                    "input": name, "text": one.text, "rank_correlation": correlation, "at_p05": low, "at_p95": high,
                    "swing": swing,
                }
            )  # fmt: skip
    return pd.DataFrame(rows).sort_values("swing", ascending=False, ignore_index=True)


# The post's arithmetic


class Claim(NamedTuple):
    """A number that the post prints, and what its own inputs give.

    Attributes
    ----------
    place : str
        Section, appendix or footnote.
    text : str
    printed, computed : float
    digits : int
        Significant digits that are printed.
    at_least : bool
        Whether the post says "or more".
    note : str
    """

    place: str
    text: str
    printed: float
    computed: float
    digits: int = 1
    at_least: bool = False
    note: str = ""


def claims() -> list[Claim]:
    """Every number of sections 2 to 4, of section 6 and the appendix that follows from others, computed from them.

    Examples
    --------
    >>> len(claims())
    54
    """
    api, pythia = SPEEDS.set_index("model")["tokens_per_minute"], "EleutherAI/pythia-{}-deduped"
    human, per_word, speed, k, work = 380, TOKENS_PER_WORD, 5, 5, 1.8e6
    tokens = human * per_word
    by_hardware = (
        "the FLOPs are the same, the hardware is not: at 1/5 of the throughput it works 1/25 of the time"
    )
    root = math.sqrt(33_000)
    found = [
        Claim("2", "gpt-3.5-turbo, words per minute", 1200, api["gpt-3.5-turbo"] / per_word, 2),
        Claim("2", "gpt-4, words per minute", 370, api["gpt-4"] / per_word, 2),
        Claim("2", "pythia-12b, words per minute", 1350, api[pythia.format("12b")] / per_word, 3),
        Claim(
            "2, footnote 13", "twice that with further optimization", 2, 80 * 60 / api[pythia.format("6.9b")],
            note="80 tokens per second, which NVIDIA reported for a model like pythia-6.9b, against table 1",
        ),
        Claim("2", "gpt-3.5-turbo against a human", 3, 1200 / human),
        Claim("2", "gpt-4 against a human", 1, 370 / human),
        Claim("2", "gpt-4 in June 2023, words per minute", 540, words_per_minute(12), 3),
        Claim("2", "speed at k = 5, against a human", 125, speed * k**2, 3),
        Claim("2", "throughput of k³ copies over that of one, k² times as fast", 5, k**3 / k**2),
        Claim("3", "tokens per word", 1.33, per_word, 3),
        Claim("3", "GPT-3's work for its training compute, years", 3400, 9e11 / (human * 1.33) / MINUTES_PER_YEAR, 2),
        Claim("3", "a year's work at 5 times human speed, months", 2.4, 12 / speed, 2),
        Claim("4", "1 million hours, years", 114, 1e6 / 24 / DAYS_PER_YEAR, 3),
        Claim(
            "4", "1 million days, years", 2500, 1e6 / DAYS_PER_YEAR, 2,
            note="rounded down; every later figure of 2500 years a day has it",
        ),
        Claim("4", "copies at human speed", 1.5e6, work / 1.2, 2),
        Claim("4", "users a day if 20 times as many", 250e6, 13e6 * 20, 2),
        Claim("4", "person-days of text a day then", 1e6, 0.05e6 * 20),
        Claim("6", "agent-years at k = 5 for the same FLOPs", 360_000, work / k, 2),
        Claim("6", "a year's work at 125 times human speed, days", 3, DAYS_PER_YEAR / 125),
        Claim("6", "agent-years in these 3 days on the same hardware", 360_000, work / k**3, 2, note=by_hardware),
        Claim(
            "6", "a year of the US's mathematicians, times, in these days", 10, 360_000 / MATHEMATICIANS, at_least=True
        ),
        Claim(
            "6", "the same on the same hardware", 10, work / k**3 / MATHEMATICIANS, at_least=True, note=by_hardware
        ),
        Claim("footnote 2", "work of 2030 over GPT-4's", 10, work / 130_000, at_least=True),
        Claim("footnote 2", "learning of 2030 over GPT-4's", 10, 2500 / 125, at_least=True),
        Claim("A", "human thinking, tokens per minute", 500, tokens),
        Claim("A, footnote 9", "reading, words per minute", 300, (250 + 350) / 2, 1),
        Claim("A, footnote 10", "speaking, words per minute", 160, (120 + 200) / 2, 2),
        Claim("A", "listening, words per minute", 400, 2.5 * 160),
        Claim("A", "extended over elliptic thought", 10, 4200 / human),
        Claim("A", "gpt-3.5-turbo against 500 tokens per minute", 3, api["gpt-3.5-turbo"] / 500),
        Claim(
            "A", "exponent of speed over model size", 0.6, size_exponent(),
            note="all seven models give 0.55, the four above a billion parameters 0.63",
        ),
        Claim("A, footnote 14", "GPUs over which GPT-3's matrix is tiled", 576, 12288 * 4 * 12288 / 1024**2, 3),
        Claim("A, footnote 14", "machines of 8 GPUs", 72, 576 / 8, 2),
        Claim(
            "A, footnote 15", "GPT-3's passes a second on an A100", 12, 2039 / 175, 2,
            note="one byte a weight; in float16 it is 5.8",
        ),
        *(
            Claim("A", f"M³/C² of the {gpu}", m3_c2, memory**3 / compute**2, 2)
            for gpu, compute, memory, m3_c2 in GPUS[
                ["gpu", "flops_per_second", "bytes_per_second", "m3_c2"]
            ].itertuples(index=False)
        ),
        Claim("B", "GPT-3's forward passes for its training compute", 9e11, 3.1e23 / 3.5e11),
        Claim("B", "training FLOPs in 2030, geometric mean of two", 1.0e28, math.sqrt(4.7e28 * 2.3e27), 2),
        Claim("B", "over GPT-3's", 33_000, 1.0e28 / 3.1e23, 2),
        Claim("B", "growth of the overhang", 180, root, 2),
        Claim("B", "work, years", 620_000, 3400 * root, 2),
        Claim("B", "with a GPT-3 of the best size, years", 2.5e6, 620_000 * 4, 2),
        Claim(
            "B, footnote 18", "lower end of that, years", 0.8e6, 2.5e6 * (5 / 660) ** 0.25,
            note="quartiles 5M and 660M about their geometric mean",
        ),
        Claim("B, footnote 18", "upper end of that, years", 9e6, 2.5e6 * (660 / 5) ** 0.25),
        Claim("B", "forward passes for an update with synthetic data", 8.4, 2 + 32 / 5, 2),
        Claim("B", "over those without", 2.8, 8.4 / 3, 2),
        Claim("B", "its effect on the overhang", 1.7, math.sqrt(2.8), 2),
        Claim("B", "upper bound of the overhang's growth", 300, root * math.sqrt(2.8)),
        Claim(
            "B", "work with 100-fold growth, years", 1.8e6, 3400 * 4 * 100, 2,
            note="3400 × 4 × 100; 1.8 million would need 132-fold growth",
        ),
        Claim(
            "B, footnote 17", "forward passes of Metaculus's largest model", 9e11, 2.3e27 / 5e15,
            note="2.3e27 / 5e15; the central 1.0e28 gives 2e12",
        ),
        Claim("B", "work with 1e30 FLOPs, years", 18e6, work * math.sqrt(1e30 / 1e28), 2),
    ]  # fmt: skip
    return found


def arithmetic() -> pd.DataFrame:
    """Check every number of `claims`.

    Returns
    -------
    DataFrame
        `place`, `text`, `printed`, `computed`, `ratio` (computed over printed), `verdict`, `note`. The verdict is
        "holds" when the computed number has the printed digits, or is at least the printed one where the post says "or
        more"; "roughly" when it is within 10 %; else "does not hold".

    Examples
    --------
    >>> table = arithmetic()
    >>> wrong = table[table["verdict"] == "does not hold"]
    >>> [f"{place}: {printed:g}, not {computed:g}" for place, _, printed, computed, *_ in wrong.to_numpy().tolist()]
    ['6: 360000, not 14400', '6: 10, not 4.8', 'B: 1.8e+06, not 1.36e+06', 'B, footnote 17: 9e+11, not 4.6e+11']
    """
    rows = []
    for one in claims():
        ratio = one.computed / one.printed
        holds = ratio >= 1 if one.at_least else float(f"{one.computed:.{one.digits - 1}e}") == one.printed
        near = "roughly" if abs(ratio - 1) <= 0.1 else "does not hold"
        rows.append(
            {
                "place": one.place, "text": one.text, "printed": float(one.printed), "computed": float(one.computed),
                "ratio": ratio, "verdict": "holds" if holds else near, "note": one.note,
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


# Zeroth and first order


def year(when: date) -> float:
    """A date as a number of years.

    >>> year(date(2022, 1, 1)), year(date(2024, 7, 2))
    (2022.0, 2024.5)
    """
    start, end = date(when.year, 1, 1).toordinal(), date(when.year + 1, 1, 1).toordinal()
    return when.year + (when.toordinal() - start) / (end - start)


def first_order(when: Sequence[date], values: ArrayLike, at: date, *, scale: str = "log") -> float:
    """Extrapolate the historical rate: a line through all values so far, by least squares, on the series' scale.

    The zeroth-order forecast needs no function: it is the last value.

    Parameters
    ----------
    when : sequence of date [n]
    values : array_like [n]
    at : date
        Of the forecast.
    scale : {"log", "logit"}
        A steady rate is a constant factor a year ("log"), or a constant gain in log-odds ("logit", values between 0
        and 1).

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If there are fewer than two dates, they do not differ, or a value is outside the scale.

    References
    ----------
    Steinhardt 2023, introduction.

    Examples
    --------
    >>> round(first_order([date(2020, 1, 1), date(2021, 1, 1)], [10, 20], date(2023, 1, 1)), 6)
    80.0
    """
    years, y = np.array([year(one) for one in when]), _to_scale(values, scale)
    if len(years) != len(y) or len(np.unique(years)) < 2:
        raise ValueError(
            f"expected values at two dates or more, got {len(y)} at {len(np.unique(years))} dates: a rate needs two"
        )
    slope, bias = np.polyfit(years - years[-1], y, 1)
    return float(_from_scale(np.array(bias + slope * (year(at) - years[-1])), scale))


def backtest(series: Series) -> pd.DataFrame:
    """Forecast every value of a series from those before it, by zeroth and by first order.

    Parameters
    ----------
    series : Series
        Of three points or more.

    Returns
    -------
    DataFrame
        From the third point on: `when`, `name`, `value`, `zeroth_order`, `first_order`, the errors `zeroth_error` and
        `first_error` on the series' scale (natural logarithm or log-odds; forecast minus value), and `closer`.

    Raises
    ------
    ValueError
        If the series is too short.

    Examples
    --------
    >>> from coursekit.experiments.forecasting.data import SERIES
    >>> backtest(SERIES["mmlu"])[["name", "value", "zeroth_order", "first_order"]].round(3).to_numpy().tolist()
    [['Chinchilla', 0.676, 0.6, 0.631], ['GPT-4', 0.86, 0.676, 0.757]]
    """
    points = series.points
    if len(points) < 3:
        raise ValueError(f"expected three points or more, got {len(points)}: the first two make a rate")
    rows = []
    for number in range(2, len(points)):
        past, now = points[:number], points[number]
        values = [point.value for point in past]
        zeroth = values[-1]
        first = first_order([point.when for point in past], values, now.when, scale=series.scale)
        true, low, high = _to_scale([now.value, zeroth, first], series.scale)
        errors = {"zeroth_error": low - true, "first_error": high - true}
        closer = "first order" if abs(high - true) < abs(low - true) else "zeroth order"
        rows.append(
            {
                "when": now.when, "name": now.name, "value": now.value, "zeroth_order": zeroth, "first_order": first,
                **errors, "closer": closer,
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


# Scores


def log_score(probability: ArrayLike, outcome: ArrayLike) -> float:
    r"""Mean surprise of forecasts, :math:`-\frac1n \sum_i \ln(\text{probability of what happened})`, in nats.

    Parameters
    ----------
    probability : array_like [n]
        That an event happens.
    outcome : array_like of bool [n]

    Returns
    -------
    float
        0 for perfect forecasts, 0.693 for always saying one half; infinite where what was called impossible happened.

    Raises
    ------
    ValueError
        As `coursekit.stats.brier_score`.

    References
    ----------
    Good 1952, Rational Decisions.

    Examples
    --------
    >>> round(log_score([0.5, 0.8], [True, False]), 3)
    1.151
    """
    brier_score(probability, outcome)  # refuses what is no forecast
    p, o = np.asarray(probability, dtype=float), np.asarray(outcome, dtype=bool)
    with np.errstate(divide="ignore"):
        return float(-np.log(np.where(o, p, 1 - p)).mean()) + 0.0


def score_forecasts(forecasts: Sequence[DatedForecast], *, today: date | None = None) -> pd.DataFrame:
    """Score the forecasts that are settled, and tell which are open or overdue.

    Parameters
    ----------
    forecasts : sequence of DatedForecast
    today : date, optional
        For the state of those without an outcome. Default: the day it is.

    Returns
    -------
    DataFrame
        A row a forecast, in their order: `question`, `probability`, `made`, `due`, `state` ("yes", "no", "open", or
        "overdue": due, and nobody has entered the outcome), `brier` and `log_score` (NaN where not settled). Means over
        the settled ones are the scores of them all.

    Raises
    ------
    ValueError
        If a probability is not between 0 and 1, or a forecast is due before it was made.

    Examples
    --------
    >>> rain = DatedForecast("rain on Sunday", 0.8, date(2027, 3, 1), date(2027, 3, 7), outcome=True)
    >>> score_forecasts([rain])[["state", "brier", "log_score"]].round(3).to_numpy().tolist()
    [['yes', 0.04, 0.223]]
    """
    now, rows = today or date.today(), []
    for one in forecasts:
        if not 0 <= one.probability <= 1 or one.due < one.made:
            raise ValueError(
                f"{one.question!r}: expected a probability between 0 and 1 and a date due after {one.made}, got "
                f"{one.probability} and {one.due}; mend the forecast"
            )
        state, scores = "overdue" if one.due < now else "open", [math.nan, math.nan]
        if one.outcome is not None:
            state = "yes" if one.outcome else "no"
            scores = [score([one.probability], [one.outcome]) for score in (brier_score, log_score)]
        rows.append((one.question, one.probability, one.made, one.due, state, *scores))
    return pd.DataFrame(
        rows, columns=["question", "probability", "made", "due", "state", "brier", "log_score"]
    )


def _to_scale(values: ArrayLike, scale: str) -> NDArray[np.floating[Any]]:
    y = np.asarray(values, dtype=float)
    if scale not in ("log", "logit") or not ((y > 0) & ((y < 1) | (scale == "log"))).all():
        raise ValueError(
            "expected scale log with values above 0, or logit with values between 0 and 1; "
            f"got {scale!r} and {y.tolist()}"
        )
    return np.log(y) if scale == "log" else np.log(y / (1 - y))


def _from_scale(y: NDArray[np.floating[Any]], scale: str) -> NDArray[np.floating[Any]]:
    return np.asarray(np.exp(y) if scale == "log" else 1 / (1 + np.exp(-y)))
