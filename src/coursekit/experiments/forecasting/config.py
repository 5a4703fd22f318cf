"""What to time and how often to draw: models, lengths of the count, batch sizes, precisions, Monte Carlo samples.

The four presets are the functions `smoke`, `laptop`, `colab` and `paper`; ``dataclasses.replace(config, ...)`` makes
changes, and a config that makes no sense is refused.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from coursekit.hub import COLAB_DEFAULT, PACKAGED

PRECISIONS = ("float32", "bfloat16", "float16")
POST_LENGTHS = tuple(range(100, 2000, 100))
"""Tokens of the post's 19 counts: 100, 200, …, 1900."""


@dataclass(frozen=True)
class ForecastingConfig:
    """A measurement of inference speed and a Monte Carlo forecast.

    Parameters
    ----------
    models : tuple of str
        As `coursekit.hub.load_model` takes them; none for the forecast alone.
    lengths : tuple of int
        Tokens n of every count from 1 to n; two or more, for the regression.
    batch_sizes : tuple of int
        Sequences side by side, each timed in every precision.
    precisions : tuple of {"float32", "bfloat16", "float16"}
        Of the weights; the counts are made in the first.
    n_prompt : int
        Tokens, about, of the prompt whose prefill is timed.
    n_new : int
        Tokens written by each sequence of a batch.
    n_samples : int
        Monte Carlo samples of the forecast.
    seeds : tuple of int
        One, of the Monte Carlo.

    Raises
    ------
    ValueError
        If a value is outside its range.
    """

    models: tuple[str, ...] = (PACKAGED,)
    lengths: tuple[int, ...] = POST_LENGTHS
    batch_sizes: tuple[int, ...] = (1, 2, 4, 8)
    precisions: tuple[str, ...] = ("float32",)
    n_prompt: int = 128
    n_new: int = 16
    n_samples: int = 100_000
    seeds: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        for name in ("models", "lengths", "batch_sizes", "precisions"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ValueError(f"{name} must differ, got {values}; leave repeats out")
        if len(self.lengths) < 3 or min(self.lengths) < 2:
            raise ValueError(
                f"lengths must be three or more of at least 2 tokens, got {self.lengths}: a line has two numbers"
            )
        if not self.batch_sizes or min(self.batch_sizes) < 1:
            raise ValueError(f"batch_sizes must be 1 or more, got {self.batch_sizes}; take (1,)")
        if not self.precisions or not set(self.precisions) <= set(PRECISIONS):
            raise ValueError(f"precisions must be among {', '.join(PRECISIONS)}, got {self.precisions}")
        for name, least in (("n_prompt", 1), ("n_new", 2), ("n_samples", 100)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be {least} or more, got {getattr(self, name)}; raise it")
        if len(self.seeds) != 1 or type(self.seeds[0]) is not int or not 0 <= self.seeds[0] < 2**32:
            raise ValueError(
                f"seeds must be one whole number (int) from 0 to 2³² − 1, got {self.seeds}; take (0,)"
            )


def smoke() -> ForecastingConfig:
    """Seconds: everything runs, on counts too short to say much about latency."""
    return replace(laptop(), lengths=(4, 8, 12), batch_sizes=(1, 4), n_prompt=32, n_new=4, n_samples=10_000)


def laptop() -> ForecastingConfig:
    """The packaged model on 2 CPU cores, counts of 20 to 100 tokens, in two precisions."""
    return ForecastingConfig(lengths=tuple(range(20, 101, 20)), precisions=("float32", "bfloat16"))


def colab() -> ForecastingConfig:
    """The post's 19 counts by a model of 360 million parameters on a free GPU, in two precisions."""
    return ForecastingConfig(
        models=(COLAB_DEFAULT,),
        batch_sizes=(1, 4, 16, 64),
        precisions=("float16", "float32"),
        n_new=64,
    )


def paper() -> ForecastingConfig:
    """The post's seven Pythia models in float16 on one large GPU."""
    sizes = ("70m", "160m", "410m", "1.4b", "2.8b", "6.9b", "12b")
    return ForecastingConfig(
        models=tuple(f"EleutherAI/pythia-{size}-deduped" for size in sizes),
        batch_sizes=(1, 4, 16, 64),
        precisions=("float16",),
        n_new=64,
    )


def measured(name: str) -> ForecastingConfig:
    """The configs of the runs in `measured/`, names as its files have.

    Raises
    ------
    ValueError
        If the name is unknown.
    """
    if name not in _measured():
        raise ValueError(f"name must be one of {', '.join(_measured())}, got {name!r}; choose one of them")
    return _measured()[name]


def _measured() -> dict[str, ForecastingConfig]:
    return {
        "laptop": laptop(),
        "counts": replace(laptop(), lengths=POST_LENGTHS, batch_sizes=(1, 2, 4, 8, 16, 32), n_new=32),
    }


MEASURED: tuple[str, ...] = tuple(_measured())
"""Names of the runs in `measured/`: the laptop preset, and the post's 19 counts on the same hardware."""

MINUTES: dict[str, float] = {"smoke": 0.5, "laptop": 1, "colab": 15, "paper": 120}
"""Expected minutes of one run of the preset on the hardware of `HARDWARE`."""

HARDWARE: dict[str, str] = {
    "smoke": "2 CPU cores",
    "laptop": "2 CPU cores",
    "colab": "a free T4 GPU",
    "paper": "a GPU with 40 GB",
}
"""What each preset is meant for."""

NEEDS = ("transformers", "gguf")
"""Packages that a run takes besides PyTorch."""
