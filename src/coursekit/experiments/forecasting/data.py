"""What was published: the post's numbers, its tables and forecasts, real series, and what became of it.

Numbers are those printed, or say that they are ours; nothing is computed here but units. Below the post's forecasts is
where a reader's own are kept (`keep_forecasts`). "The post" is Steinhardt 2023,
*What will GPT-2030 look like?*, https://bounded-regret.ghost.io/what-will-gpt-2030-look-like/ (7 June 2023).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from coursekit.results import atomic_write

MINUTES_PER_YEAR = 365.25 * 24 * 60
DAYS_PER_YEAR = 365.25

TOKENS_PER_WORD = 4 / 3
"""Section 3 and appendix A; the author's footnote 12 thinks 3/2 or even 2 more realistic."""

MATHEMATICIANS = 3_000
"""In the US (section 6)."""


class Input(NamedTuple):
    """One uncertain number of the forecast.

    Attributes
    ----------
    median, low, high : float
        Median, 25th and 75th percentile: the post's ranges are quartiles (footnote 3). All equal for what is known.
    unit, text : str
    source : str
        Where median and quartiles are from; "ours" where the post has none.
    bounds : (float, float) or None
        The least and the largest value, where the post has some or arithmetic sets them.
    """

    median: float
    low: float
    high: float
    unit: str
    text: str
    source: str
    bounds: tuple[float, float] | None = None


INPUTS: dict[str, Input] = {
    "human_wpm": Input(
        380, 300, 400, "words per minute", "human thinking speed",
        "section 2; quartiles ours, where appendix A says that most measures cluster",
    ),
    "tokens_per_word": Input(
        TOKENS_PER_WORD, TOKENS_PER_WORD, 1.5, "tokens", "tokens per word",
        "appendix A; upper quartile ours, from footnote 12 (3:2 or even 2:1)",
    ),
    "gpt3_flops": Input(3.1e23, 3.1e23, 3.1e23, "FLOPs", "GPT-3's training", "appendix B"),
    "gpt3_pass_flops": Input(3.5e11, 3.5e11, 3.5e11, "FLOPs", "GPT-3's forward pass, one token", "appendix B"),
    "training_flops": Input(
        1.0e28, 1.0e28 / (660 / 5) ** 0.5, 1.0e28 * (660 / 5) ** 0.5, "FLOPs", "training in 2030",
        "appendix B; quartiles as far apart as Metaculus's in footnote 18, 5M to 660M",
    ),
    "oversize": Input(
        4, 3.6, 5.7, "times", "GPT-3 larger than best for its compute",
        "appendix B; quartiles ours: Hoffmann et al. 2022, approaches 1 and 3",
    ),
    "data_limit": Input(
        100 / 180, 12 / 180, 200 / 180, "times", "overhang left when data runs short",
        "appendix B: 12-fold to 200-fold, centrally 100-fold, instead of 180-fold; its bounds are 8-fold and 300-fold",
        (8 / 180, 300 / 180),
    ),
    "training_years": Input(
        1.2, 0.6, 1.2, "years", "length of the training run",
        "section 4, which says less than 1.2; lower quartile ours",
    ),
    "speed": Input(5, 0.5, 20, "times human", "words per minute in 2030, against a human", "section 2"),
    "k": Input(5, 5, 5, "times", "throughput given up for speed, k² times as fast", "section 2, a choice"),
    "daily_users": Input(13e6, 13e6, 13e6, "people", "ChatGPT's users a day, January 2023", "section 4"),
    "user_growth": Input(
        20, 100 / 13, 2000 / 13, "times", "growth of daily users",
        "section 4; quartiles ours: its 100 million users in May 2023, and Facebook's 2 billion a day; bounds ours: no "
        "growth, and 8 billion people",
        (1, 8e9 / 13e6),
    ),
    "user_minutes": Input(
        0.05e6 * 24 * 60 / 13e6, 3, 10, "minutes", "text that a user asks for in a day, at human speed",
        "section 4: 0.05 million person-days for 13 million users; quartiles ours",
    ),
}  # fmt: skip
"""The inputs of the forecast. At the medians it gives the post's numbers but where its arithmetic does not hold."""


class Outcome(NamedTuple):
    """One number that the forecast gives.

    Attributes
    ----------
    text, unit : str
    post : float
        What the post prints; NaN for nothing.
    low, high : float
        The post's own quartiles, or NaN.
    """

    text: str
    unit: str
    post: float
    low: float = float("nan")
    high: float = float("nan")


OUTCOMES: dict[str, Outcome] = {
    "human_tokens_per_minute": Outcome("human thinking speed", "tokens per minute", 500),
    "gpt3_work_years": Outcome("work for GPT-3's training compute", "human-years", 3400),
    "work_years": Outcome("work for the training compute of 2030", "human-years", 1.8e6, 0.4e6, 10e6),
    "copies": Outcome("copies at human speed on the training hardware", "copies", 1.5e6),
    "learning_years": Outcome("learning in a day by these copies", "human-years", 2500),
    "user_person_days": Outcome("text for users in a day", "person-days", 1e6),
    "speed": Outcome("speed", "times human", 5, 0.5, 20),
    "work_months": Outcome("time in which a copy does a year's work", "months", 2.4),
    "fast_speed": Outcome("speed after giving up throughput", "times human", 125),
    "fast_days": Outcome("a year's work at that speed", "days", 3),
    "fast_agent_years": Outcome("work at that speed for the same FLOPs", "human-years", 360_000),
    "fast_agent_years_in_time": Outcome("work in that time on the same hardware", "human-years", 360_000),
}
"""What `coursekit.experiments.forecasting.analysis.forecast` gives, in its order."""

SPEEDS = pd.DataFrame(
    [
        ("gpt-4", None, 493),
        ("gpt-3.5-turbo", None, 1641),
        ("EleutherAI/pythia-12b-deduped", 12e9, 1801),
        ("EleutherAI/pythia-6.9b-deduped", 6.9e9, 2659),
        ("EleutherAI/pythia-2.8b-deduped", 2.8e9, 4568),
        ("EleutherAI/pythia-1.4b-deduped", 1.4e9, 7040),
        ("EleutherAI/pythia-410m-deduped", 410e6, 11039),
        ("EleutherAI/pythia-160m-deduped", 160e6, 21580),
        ("EleutherAI/pythia-70m-deduped", 70e6, 31809),
    ],
    columns=["model", "n_params", "tokens_per_minute"],
)
"""Appendix A, table 1: the API in April 2023; Pythia in float16 with DeepSpeed's kernels on one A100."""

GPUS = pd.DataFrame(
    [
        ("P100", date(2016, 5, 1), 84e12, 720e9, 53e6),
        ("V100", date(2017, 12, 1), 125e12, 900e9, 47e6),
        ("A100 40GB", date(2020, 5, 1), 312e12, 1555e9, 39e6),
        ("A100 80GB", date(2020, 11, 1), 312e12, 2039e9, 87e6),
        ("H100", date(2022, 8, 1), 2000e12, 3072e9, 7.2e6),
    ],
    columns=["gpu", "date", "flops_per_second", "bytes_per_second", "m3_c2"],
)
"""Appendix A's table of GPUs; the V100 with 32 GB, which differs only in its network, is left out. The last column is
the printed M³/C². H100's 2000 TFLOP/s are with sparsity, A100's 312 without (NVIDIA's data sheets): a factor of two in
C and of four in the last column."""


class Point(NamedTuple):
    """One value of a series: when it became known, of what, and where it is printed."""

    when: date
    name: str
    value: float
    source: str


class Series(NamedTuple):
    """A quantity over time, each point a new record.

    Attributes
    ----------
    text : str
        With the unit.
    scale : {"log", "logit"}
        In which change is steady, if it is: "log" for counts, "logit" for shares between 0 and 1.
    points : tuple of Point
    """

    text: str
    scale: str
    points: tuple[Point, ...]


SERIES: dict[str, Series] = {
    "mmlu": Series(
        "accuracy on MMLU", "logit",
        (
            Point(date(2020, 5, 28), "GPT-3", 0.439, "Hoffmann et al. 2022, table 6"),
            Point(date(2021, 12, 8), "Gopher", 0.600, "Hoffmann et al. 2022, table 6"),
            Point(date(2022, 3, 29), "Chinchilla", 0.676, "Hoffmann et al. 2022, table 6"),
            Point(date(2023, 3, 15), "GPT-4", 0.86, "the post, section 1"),
        ),
    ),
    "training_flops": Series(
        "largest training run (FLOPs)", "log",
        (
            Point(date(2020, 5, 28), "GPT-3", 3.1e23, "Wei et al. 2022, table 1"),
            Point(date(2021, 12, 8), "Gopher", 5.0e23, "Wei et al. 2022, table 1"),
            Point(date(2022, 4, 5), "PaLM", 2.5e24, "Wei et al. 2022, table 1"),
            Point(date(2023, 3, 15), "GPT-4", 2.1e25, "an estimate by Epoch AI, not published by OpenAI"),
        ),
    ),
    "n_params": Series(
        "largest dense language model (parameters)", "log",
        (
            Point(date(2020, 5, 28), "GPT-3", 175e9, "Hoffmann et al. 2022, table 1"),
            Point(date(2021, 8, 11), "Jurassic", 178e9, "Hoffmann et al. 2022, table 1"),
            Point(date(2021, 12, 8), "Gopher", 280e9, "Hoffmann et al. 2022, table 1"),
            Point(date(2022, 1, 28), "MT-NLG", 530e9, "Hoffmann et al. 2022, table 1"),
            Point(date(2022, 4, 5), "PaLM", 540e9, "Wei et al. 2022, table 1"),
        ),
    ),
}  # fmt: skip
"""Real series of the packet's papers and the post; the dates are those of the papers' first versions."""

MMLU_FORECASTS = {date(2022, 6, 30): 0.571, date(2023, 6, 30): 0.634}
"""Averages of 73 competitive forecasters, made in 2021 (Steinhardt 2021, in Hoffmann et al. 2022, table 6)."""


class DatedForecast(NamedTuple):
    """A question that a date settles, and a probability that the answer is yes.

    Attributes
    ----------
    question : str
    probability : float
        Between 0 and 1.
    made, due : date
    outcome : bool or None
        None while it is open.
    source : str
        Of the forecast, and of the outcome.
    """

    question: str
    probability: float
    made: date
    due: date
    outcome: bool | None = None
    source: str = ""


POST_DATE = date(2023, 6, 7)

POST_FORECASTS = (
    DatedForecast(
        "92 % on MATH by 30 June 2025", 0.5, POST_DATE, date(2025, 6, 30), True,
        "Metaculus's median, section 1, which says by 2025; question 11675, which fits best, asks for 30 June, "
        "https://www.metaculus.com/questions/11675/math-sota-ai-performance/. "
        "OpenAI's o1: 94.8 % on 500 of its problems, 12 September 2024, "
        "https://openai.com/index/learning-to-reason-with-llms/",
    ),
    DatedForecast(
        "an AI wins gold at the International Mathematical Olympiad by the end of 2028", 0.5, POST_DATE,
        date(2028, 12, 31), True,
        "Metaculus's median, section 1. Gemini Deep Think: 35 of 42 points, graded by the Olympiad's coordinators, "
        "21 July 2025, https://deepmind.google/blog/advanced-version-of-gemini-with-deep-think-officially-achieves-"
        "gold-medal-standard-at-the-international-mathematical-olympiad/. Metaculus's own conditions are narrower",
    ),
    DatedForecast(
        "80 % on APPS by the end of 2027", 0.5, POST_DATE, date(2027, 12, 31), None, "Metaculus's median, section 1"
    ),
    DatedForecast(
        "a general-purpose model assembles a model Ferrari on its own by 2030", 0.4, POST_DATE, date(2030, 12, 31),
        None, "section 5",
    ),
    DatedForecast(
        "GPT-2030 proves more of five random theorems than the median of a mathematics faculty, and faster", 0.5,
        POST_DATE, date(2030, 12, 31), None, "footnote 6",
    ),
)  # fmt: skip
"""Forecasts that the post makes or reports; a median is a probability of one half, that the year comes no later or the
score no lower."""

OPEN_QUESTIONS: dict[str, tuple[str, date]] = {
    "compute": ("Epoch AI lists a training run of 1e28 FLOPs or more", date(2030, 12, 31)),
    "apps": ("80 % on APPS is published, as Metaculus's median had it", date(2027, 12, 31)),
    "ferrari": ("one general-purpose model assembles a model Ferrari on its own", date(2030, 12, 31)),
    "speed": (
        "a company's largest model writes 400 tokens a second, 47 times a human's words",
        date(2030, 12, 31),
    ),
}
"""Questions for forecasts of one's own: what is asked, and by when."""


def keep_forecasts(path: str | Path, new: Sequence[DatedForecast] = ()) -> list[DatedForecast]:
    """Add forecasts to a file and return all that are in it, so that they can be scored when they are due.

    Parameters
    ----------
    path : path
        A CSV file; a person enters True or False under `outcome` when a question is settled.
    new : sequence of DatedForecast
        One that repeats the last forecast of its question, with the same probability, is left out: it keeps its date.
        Another probability is another forecast.

    Returns
    -------
    list of DatedForecast
        In the order in which they were made. A file is written only where there is something to keep.

    Raises
    ------
    ValueError
        If the file is not as this function writes it.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> rain = DatedForecast("rain on Sunday", 0.8, date(2027, 3, 1), date(2027, 3, 7))
    >>> with TemporaryDirectory() as folder:
    ...     _ = keep_forecasts(f"{folder}/mine.csv", [rain])
    ...     later = keep_forecasts(f"{folder}/mine.csv", [rain._replace(probability=0.4, made=date(2027, 3, 4))])
    >>> [(one.made.day, one.probability) for one in later]
    [(1, 0.8), (4, 0.4)]
    """
    path, kept = Path(path), []
    if path.exists():
        try:
            with path.open(encoding="utf-8", newline="") as file:
                kept = [_read_forecast(row) for row in csv.DictReader(file)]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path} is not a file of forecasts ({error}); mend it, or move it away and begin a new one"
            ) from None
    last = {one.question: one.probability for one in kept}
    added = [one for one in new if last.get(one.question) != one.probability]
    if added:
        path.parent.mkdir(parents=True, exist_ok=True)
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerows([DatedForecast._fields, *kept, *added])
        atomic_write(path, text.getvalue().encode())
    return [*kept, *added]


def _read_forecast(row: dict[str, str]) -> DatedForecast:
    made, due = (date.fromisoformat(row[name]) for name in ("made", "due"))
    outcome = {"": None, "true": True, "false": False}[row["outcome"].strip().lower()]
    return DatedForecast(row["question"], float(row["probability"]), made, due, outcome, row["source"])


TODAY = pd.DataFrame(
    [
        (
            "user_growth", "users of ChatGPT", 250e6, "a day, plausible for 2030", 800e6, "a week",
            date(2025, 10, 6), "OpenAI's developer conference",
        ),
        (
            "copies", "tokens a minute, in humans of 500 a minute", 1.5e6, "on one training cluster in 2030",
            6e9 / 500, "read and written through OpenAI's API", date(2025, 10, 6), "OpenAI's developer conference",
        ),
        (
            "training_flops", "largest training run (FLOPs)", 1.0e28, "in 2030", 5e26, "Grok 4, an estimate",
            date(2025, 9, 17), "Epoch AI, as quoted by the RAND Forecasting Initiative, question 1657",
        ),
        (
            "speed", "words a minute, in humans of 380 a minute", 5, "a typical model in 2030",
            70 * 60 / TOKENS_PER_WORD / 380, "GPT-5.3-Codex, 70 tokens per second",
            date(2026, 2, 12), "press reports of OpenAI's announcement of Codex-Spark",
        ),
        (
            "fast_speed", "words a minute, in humans of 380 a minute", 125, "the same model, paying 5 times as much",
            1000 * 60 / TOKENS_PER_WORD / 380,
            "GPT-5.3-Codex-Spark, a smaller model on other hardware, 1000 tokens per second",
            date(2026, 2, 12), "press reports of OpenAI's announcement of Codex-Spark",
        ),
    ],
    columns=["input", "text", "post", "post_meaning", "value", "meaning", "when", "source"],
)  # fmt: skip
"""What is known since, beside the post's number; the two columns of meanings say how far they compare."""
