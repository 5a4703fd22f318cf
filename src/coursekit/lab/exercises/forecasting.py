"""Week 8: tokens per second, what the memory allows, years of work, the same hardware, uncertainty, scores."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from coursekit.experiments.forecasting import analysis
from coursekit.experiments.forecasting.data import MINUTES_PER_YEAR
from coursekit.lab.exercises import Exercise, Misconception
from coursekit.stats import brier_score

Arguments = list[tuple[Any, ...]]


# 1. Tokens per second


def tokens_per_second(n_tokens: np.ndarray, seconds: np.ndarray) -> float:
    """Return the speed v of a line seconds = latency + tokens / v."""
    return analysis.fit_speed(n_tokens, seconds).tokens_per_second


def _draw_counts(rng: np.random.Generator) -> Arguments:
    """Draw counts on a line, so that every way to fit one gives the same."""
    drawn: Arguments = []
    for m in (3, 6, 19):
        n = 20 * np.arange(1, m + 1)
        drawn.append((n, rng.uniform(0.5, 3) + n / rng.uniform(5, 80)))
    return drawn


TOKENS_PER_SECOND = Exercise(
    "forecasting.tokens_per_second",
    tokens_per_second,
    inputs=_draw_counts,
    difficulty=2,
    importance=5,
    minutes=8,
    misconceptions=(
        Misconception(
            "tokens by time",
            lambda n_tokens, seconds: n_tokens.sum() / seconds.sum(),
            "this divides all tokens by all seconds. The seconds before the first token are in it, so short "
            "counts look slow: fit a line with a constant.",
        ),
        Misconception(
            "mean of ratios",
            lambda n_tokens, seconds: (n_tokens / seconds).mean(),
            "this is the mean speed of the counts, each with its waiting time. Fit a line with a constant, which "
            "takes the waiting time.",
        ),
        Misconception(
            "through the origin",
            lambda n_tokens, seconds: (n_tokens @ n_tokens) / (n_tokens @ seconds),
            "this line goes through 0 seconds at 0 tokens: it has no constant term for the latency.",
        ),
        Misconception(
            "seconds per token",
            lambda n_tokens, seconds: 1 / tokens_per_second(n_tokens, seconds),
            "this is the slope in seconds per token. The speed is its inverse.",
        ),
        Misconception(
            "the latency",
            lambda n_tokens, seconds: analysis.fit_speed(n_tokens, seconds).latency,
            "this is the constant of the line, the latency. np.polyfit gives the slope first, then the constant.",
        ),
    ),
)


# 2. What the memory allows


def memory_bound(n_params: float, bytes_per_weight: float, bytes_per_second: float, batch: int) -> float:
    """Return the most tokens a second that a batch can get when every weight is read once a pass."""
    return batch * bytes_per_second / (bytes_per_weight * n_params)


def _draw_memory(rng: np.random.Generator) -> Arguments:
    return [
        (float(n), bytes_per_weight, float(rng.uniform(0.5, 3) * 1e12), batch)
        for n, bytes_per_weight, batch in ((175e9, 2, 3), (rng.uniform(1e8, 1e10), 4, 8), (7e9, 0.5, 16))
    ]


MEMORY_BOUND = Exercise(
    "forecasting.memory_bound",
    memory_bound,
    inputs=_draw_memory,
    difficulty=2,
    importance=5,
    minutes=8,
    misconceptions=(
        Misconception(
            "one byte a weight",
            lambda n, w, b, batch: batch * b / n,
            "you divide the bandwidth by the number of weights, as footnote 15 of the post does: that is one byte "
            "a weight. Count the bytes.",
        ),
        Misconception(
            "the footnote's quotient",
            lambda n, w, b, batch: b / n,
            "this is footnote 15 of the post: bandwidth by the number of weights. It leaves out the bytes of a weight "
            "(one, it assumes) and the batch, for which a pass writes a token each.",
        ),
        Misconception(
            "one sequence",
            lambda n, w, b, batch: b / (w * n),
            "this is the number of passes a second. One pass writes a token for every sequence of the batch.",
        ),
        Misconception(
            "weights for every sequence",
            lambda n, w, b, batch: b / (w * n) / batch,
            "in yours a larger batch is slower, as if every sequence had weights of its own. A pass reads them "
            "once, for all sequences.",
        ),
        Misconception(
            "seconds a pass",
            lambda n, w, b, batch: w * n / b,
            "these are the seconds that a pass takes at least. Asked is how many tokens come in a second.",
        ),
    ),
)


# 3. Years of work


def human_years(
    flops: float, flops_per_token: float, words_per_minute: float, tokens_per_word: float
) -> float:
    """Return the years that a human would think for the tokens that so many FLOPs can pay."""
    return flops / flops_per_token / (words_per_minute * tokens_per_word) / MINUTES_PER_YEAR


def _draw_work(rng: np.random.Generator) -> Arguments:
    return [(3.1e23, 3.5e11, 380.0, 4 / 3)] + [
        (
            float(10 ** rng.uniform(23, 28)),
            float(10 ** rng.uniform(11, 13)),
            float(rng.uniform(150, 4000)),
            1.5,
        )
        for _ in range(2)
    ]


HUMAN_YEARS = Exercise(
    "forecasting.human_years",
    human_years,
    inputs=_draw_work,
    difficulty=2,
    importance=5,
    minutes=8,
    tolerance=2e-3,
    misconceptions=(
        Misconception(
            "minutes",
            lambda c, f, h, w: c / f / (h * w),
            "these are minutes. A year has 365.25 · 24 · 60 of them.",
        ),
        Misconception(
            "words for tokens",
            lambda c, f, h, w: c / f / h / MINUTES_PER_YEAR,
            "you count a word as one token. A human who thinks h words a minute thinks h · w tokens.",
        ),
        Misconception(
            "upside down",
            lambda c, f, h, w: c / f / (h / w) / MINUTES_PER_YEAR,
            "tokens per word are upside down: more tokens a word means that a human thinks more tokens a minute, "
            "so the same tokens are fewer years.",
        ),
        Misconception(
            "days",
            lambda c, f, h, w: c / f / (h * w) / (24 * 60),
            "these are days. Divide by 365.25 more.",
        ),
    ),
)


# 4. The same hardware


def same_hardware(work_years: float, speed: float, k: float) -> float:
    """Return what the hardware does while one copy, sped up k² times at 1/k of the throughput, works for a year."""
    throughput = work_years * speed / k  # human-years a year: all the work takes 1 / speed of a year at first
    return throughput / (speed * k**2)


def _draw_speedups(rng: np.random.Generator) -> Arguments:
    return [(1.8e6, 5.0, 5.0)] + [
        (float(10 ** rng.uniform(4, 7)), float(rng.uniform(2, 20)), float(rng.uniform(2, 8)))
        for _ in range(2)
    ]


SAME_HARDWARE = Exercise(
    "forecasting.same_hardware",
    same_hardware,
    inputs=_draw_speedups,
    difficulty=4,
    importance=5,
    minutes=15,
    misconceptions=(
        Misconception(
            "the same FLOPs",
            lambda work, speed, k: work / k,
            "this is the post's number: the work that the same FLOPs buy. But the hardware has less time: a "
            "year's work takes a fast copy only 1/k² as long as before. What does it deliver in that time?",
        ),
        Misconception(
            "the time only",
            lambda work, speed, k: work / k**2,
            "you took the shorter time into account and forgot that throughput falls by k as well.",
        ),
        Misconception(
            "all the work in one year",
            lambda work, speed, k: work / k / (speed * k**2),
            "you take `work_years` for what the hardware does in a year. It does it sooner: in 1 / speed of a year.",
        ),
        Misconception(
            "throughput for a year",
            lambda work, speed, k: work * speed / k,
            "this is what the hardware does in a whole year. Asked is what it does in the time of one fast copy's "
            "year of work: 1 / (speed · k²) of a year.",
        ),
        Misconception(
            "no loss",
            lambda work, speed, k: work,
            "nothing is free here: k² times the speed costs a factor of k in throughput, and there is less time.",
        ),
    ),
)


# 5. How uncertainties add up


def quartile_factor(factors: ArrayLike, powers: ArrayLike) -> float:
    """Return the factor from median to quartile of a product of powers of independent log-normal inputs."""
    spreads = np.asarray(powers) * np.log(factors)
    return float(np.exp(np.sqrt((spreads**2).sum())))


def _draw_factors(rng: np.random.Generator) -> Arguments:
    drawn: Arguments = [(np.array([11.5, 2.0]), np.array([0.5, 1.0]))]
    for n in (3, 5):
        drawn.append((rng.uniform(1.2, 10, n), rng.choice([-1.0, 0.5, 2.0, -0.5], n)))
    return drawn


QUARTILE_FACTOR = Exercise(
    "forecasting.quartile_factor",
    quartile_factor,
    inputs=_draw_factors,
    difficulty=4,
    importance=4,
    minutes=15,
    misconceptions=(
        Misconception(
            "all at once",
            lambda factors, powers: np.exp(np.abs(np.asarray(powers) * np.log(factors)).sum()),
            "you multiply all factors: that is the case in which everything is at its upper quartile at the same "
            "time, which is far rarer than one in four. Independent spreads add up in squares.",
        ),
        Misconception(
            "powers forgotten",
            lambda factors, powers: np.exp(np.sqrt((np.log(factors) ** 2).sum())),
            "the powers are missing: a square root halves the spread of an input's logarithm, a square doubles it.",
        ),
        Misconception(
            "no logarithms",
            lambda factors, powers: np.sqrt(((np.asarray(factors) ** powers) ** 2).sum()),
            "you add the factors themselves in squares. It is the logarithms whose spreads add up so: the "
            "logarithm of a product is a sum.",
        ),
        Misconception(
            "variances",
            lambda factors, powers: np.exp(((np.asarray(powers) * np.log(factors)) ** 2).sum()),
            "squares are added and no root is taken. What adds up is the variance; the spread is its root.",
        ),
        Misconception(
            "the logarithm",
            lambda factors, powers: np.sqrt(((np.asarray(powers) * np.log(factors)) ** 2).sum()),
            "this is the logarithm of the answer. Take np.exp of it.",
        ),
        Misconception(
            "signs cancel",
            lambda factors, powers: np.exp((np.asarray(powers) * np.log(factors)).sum()),
            "you add the logarithms with their signs, so that uncertainties cancel or add in full. Independent "
            "spreads add up in squares.",
        ),
    ),
)


# 6. Scores


def scores(probability: np.ndarray, outcome: np.ndarray) -> np.ndarray:
    """Return the mean Brier score and the mean logarithmic score (nats) of forecasts of yes-or-no questions."""
    return np.array([brier_score(probability, outcome), analysis.log_score(probability, outcome)])


def _draw_forecasts(rng: np.random.Generator) -> Arguments:
    drawn: Arguments = []
    for n in (2, 5, 12):
        outcome = rng.permutation(np.arange(n) < (n + 1) // 2)
        drawn.append((rng.uniform(0.05, 0.95, n), outcome))
    return drawn


SCORES = Exercise(
    "forecasting.scores",
    scores,
    inputs=_draw_forecasts,
    difficulty=2,
    importance=5,
    minutes=10,
    misconceptions=(
        Misconception(
            "only what happened",
            lambda p, o: np.array([((p - o) ** 2).mean(), -np.log(p).mean()]),
            "your logarithmic score takes ln p for every question. Where the answer was no, what happened had the "
            "probability 1 - p.",
        ),
        Misconception(
            "only what was a yes",
            lambda p, o: np.array([scores(p, o)[0], -(o * np.log(p)).mean()]),
            "your logarithmic score leaves out the questions whose answer was no. There, what happened had the "
            "probability 1 - p.",
        ),
        Misconception(
            "the other order",
            lambda p, o: scores(p, o)[::-1],
            "both numbers are right and change places: first the Brier score, then the logarithmic score.",
        ),
        Misconception(
            "distance",
            lambda p, o: np.array([np.abs(p - o).mean(), scores(p, o)[1]]),
            "your first number is the mean distance. The Brier score squares it: with the plain distance, saying "
            "0 or 1 would always pay better than saying what one believes.",
        ),
        Misconception(
            "sums",
            lambda p, o: scores(p, o) * len(p),
            "these are sums. Take the means, so that who forecasts more is not punished.",
        ),
        Misconception(
            "bits",
            lambda p, o: scores(p, o) / np.array([1, np.log(2)]),
            "your logarithmic score is in bits, base 2. The course counts in nats.",
        ),
        Misconception(
            "the wrong sign",
            lambda p, o: scores(p, o) * np.array([1, -1]),
            "your logarithmic score is negative. It is minus a logarithm: 0 is perfect, more is worse.",
        ),
    ),
)


EXERCISES = (
    TOKENS_PER_SECOND,
    MEMORY_BOUND,
    HUMAN_YEARS,
    SAME_HARDWARE,
    QUARTILE_FACTOR,
    SCORES,
)
