"""What to train: a family of small language models, sizes at equal compute and sizes over several horizons.

The four presets are the functions `smoke`, `laptop`, `colab` and `paper`; ``dataclasses.replace(config, ...)`` makes
changes, and a config that makes no sense is refused.
"""

from __future__ import annotations

from dataclasses import dataclass

TEXTS = ("standard_library", "wikitext-103")


@dataclass(frozen=True)
class ScalingLawsConfig:
    """Byte-level transformers that differ in width and in how long they train.

    Parameters
    ----------
    isoflop : tuple of (float, tuple of int)
        Compute budgets C in FLOPs, each with the widths trained at it; a model of N parameters sees C / 6N bytes.
    curves : tuple of (int, tuple of int)
        Widths, each with its horizons: bytes of text of whole runs, every one with a learning rate schedule of its own.
    larger : tuple of float and int
        Budget in FLOPs and width of the run whose loss is predicted from all others before it begins.
    seeds : tuple of int
        Every run is made once a seed; the larger one with the first seed only.
    text : {"standard_library", "wikitext-103"}
        The running Python's own source, or Wikipedia articles, see `coursekit.hub.load_text`.
    n_layers : int
        Blocks, the same for all widths; the MLP is 8/3 times as wide, gated, as in Llama.
    d_head : int
        Least width of an attention head; a model has as many as fit, see `n_heads`.
    context_length : int
        Bytes that a prediction can see.
    batch_size : int
        Sequences of `context_length` bytes a step.
    learning_rate : float
        Peak for width 64; others have it times (64 / width)^½. Without such a rule the best size is an artefact.
    warmup_fraction : float
        Share of a run's steps with a rising learning rate; then half a cosine down to a tenth.
    n_val : int
        Held-out sequences to evaluate on.
    n_points : int
        Evaluations along a run, evenly spaced in the logarithm of its steps; the last at its end.

    Raises
    ------
    ValueError
        If a value is outside its range. (That a run would be too short, only `run.planned_runs` can say.)
    """

    isoflop: tuple[tuple[float, tuple[int, ...]], ...]
    curves: tuple[tuple[int, tuple[int, ...]], ...]
    larger: tuple[float, int]
    seeds: tuple[int, ...] = (0,)
    text: str = "standard_library"
    n_layers: int = 2
    d_head: int = 16
    context_length: int = 64
    batch_size: int = 8
    learning_rate: float = 8e-3
    warmup_fraction: float = 0.05
    n_val: int = 1024
    n_points: int = 10

    def __post_init__(self) -> None:
        if self.text not in TEXTS:
            raise ValueError(f"text must be one of {', '.join(TEXTS)}, got {self.text!r}; choose one of them")
        least = dict.fromkeys(("n_layers", "d_head", "context_length", "batch_size"), 1) | {
            "n_val": 2,
            "n_points": 2,
        }
        for name, low in least.items():
            if getattr(self, name) < low:
                raise ValueError(f"{name} must be {low} or more, got {getattr(self, name)}; raise it")
        if self.learning_rate <= 0:
            raise ValueError(
                f"learning_rate must be above 0, got {self.learning_rate}; 0.008 is a good start"
            )
        if not 0 <= self.warmup_fraction < 1:
            raise ValueError(
                f"warmup_fraction must be a share in [0, 1), got {self.warmup_fraction}; 0 is none"
            )
        for width in self.widths:
            if width < 4 or width % (2 * self.n_heads(width)):
                raise ValueError(
                    f"a width must be 4 or more and an even number for each of its {self.n_heads(width)} heads, "
                    f"got {width}; choose a multiple of {2 * self.n_heads(width)}"
                )
        budgets = [budget for budget, _ in self.isoflop]
        if not budgets or len(set(budgets)) < len(budgets) or min(*budgets, self.larger[0]) <= 0:
            raise ValueError(
                f"isoflop needs budgets above 0 that differ, and larger one above 0, got {budgets} and {self.larger[0]}"
            )
        if any(len(set(widths)) < 3 for _, widths in self.isoflop):
            raise ValueError(
                "every budget of isoflop needs three widths or more: a parabola has three numbers"
            )
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds must be one or more and differ, got {self.seeds}; leave repeats out")
        for seed in self.seeds:
            if type(seed) is not int or not 0 <= seed < 2**32:
                raise ValueError(
                    f"seeds must be whole numbers (int) from 0 to 2³² − 1, got {seed!r}; choose another"
                )

    @property
    def widths(self) -> tuple[int, ...]:
        """All widths, ascending."""
        at_budgets = {width for _, widths in self.isoflop for width in widths}
        return tuple(sorted(at_budgets | {width for width, _ in self.curves} | {self.larger[1]}))

    def n_heads(self, width: int) -> int:
        """Attention heads of a model: as many of at least `d_head` as fit, and one in the narrowest.

        >>> [laptop().n_heads(width) for width in (8, 24, 48)]
        [1, 1, 3]
        """
        return max(1, width // self.d_head)

    @property
    def tokens_a_step(self) -> int:
        """Bytes predicted in one step."""
        return self.batch_size * self.context_length

    def learning_rate_of(self, width: int) -> float:
        """Peak learning rate of a model.

        >>> laptop().learning_rate_of(64), laptop().learning_rate_of(16)
        (0.008, 0.016)
        """
        return self.learning_rate * (64 / width) ** 0.5


def smoke() -> ScalingLawsConfig:
    """Seconds: everything runs, on models too small and too short to learn much about scaling from."""
    return ScalingLawsConfig(
        isoflop=((1e8, (4, 6, 8)), (2e8, (4, 6, 8))),
        curves=((8, (5_000, 10_000)),),
        larger=(4e8, 8),
        context_length=32,
        n_val=128,
        n_points=5,
    )


def laptop() -> ScalingLawsConfig:
    """About a minute on 2 CPU cores: three budgets with five sizes each, and a larger run that is predicted."""
    return ScalingLawsConfig(
        isoflop=(
            (1e10, (6, 8, 12, 16, 24)),
            (3e10, (8, 12, 16, 24, 32)),
            (1e11, (12, 16, 24, 32, 48)),
        ),
        curves=((16, (80_000, 320_000)), (32, (80_000, 320_000))),
        larger=(2e11, 24),
        n_val=512,
        n_points=8,
    )


def colab() -> ScalingLawsConfig:
    """Larger budgets on Wikipedia articles, for a free GPU."""
    return ScalingLawsConfig(
        isoflop=(
            (1e12, (16, 32, 48, 64, 96)),
            (4e12, (32, 48, 64, 96, 128)),
            (1.6e13, (32, 64, 96, 128, 192)),
        ),
        curves=((64, (1_000_000, 4_000_000)), (96, (2_000_000,))),
        larger=(6.4e13, 128),
        text="wikitext-103",
        batch_size=16,
        context_length=128,
    )


def paper() -> ScalingLawsConfig:
    """Nine budgets up to 3·10²¹ FLOPs like the paper's, in our family: described here, not run by anyone."""
    widths = (512, 768, 1024, 1280, 1792, 2304, 3072, 4096)
    budgets = (6e18, 1e19, 3e19, 6e19, 1e20, 3e20, 6e20, 1e21, 3e21)
    return ScalingLawsConfig(
        isoflop=tuple((budget, widths) for budget in budgets),
        curves=tuple((width, tuple(int(d) for d in (5e9, 2e10, 8e10, 3.2e11))) for width in widths),
        larger=(5.76e23, 8192),
        text="wikitext-103",
        n_layers=24,
        d_head=128,
        context_length=2048,
        batch_size=256,
        n_points=50,
    )


def measured(name: str) -> ScalingLawsConfig:
    """The configs of the trained runs in `measured/`, names as its files have.

    Raises
    ------
    ValueError
        If the name is unknown, or is "published", which trains nothing.
    """
    if name not in _measured():
        raise ValueError(f"name must be one of {', '.join(_measured())}, got {name!r}; choose one of them")
    return _measured()[name]


def _measured() -> dict[str, ScalingLawsConfig]:
    family = ScalingLawsConfig(
        isoflop=(
            (3e10, (8, 12, 16, 24, 32)),
            (1e11, (12, 16, 24, 32, 48)),
            (3e11, (12, 16, 24, 32, 48, 64)),
            (1e12, (24, 32, 48, 64, 96)),
        ),
        curves=tuple((width, (250_000, 1_000_000, 4_000_000)) for width in (16, 32, 64)),
        larger=(3e12, 48),
        seeds=(0, 1),
    )
    return {"family": family}


MEASURED: tuple[str, ...] = (*_measured(), "published")
"""Names of the runs in `measured/`; "published" holds what was computed from the published points, see the card."""


def parts(config: ScalingLawsConfig) -> dict[str, ScalingLawsConfig]:
    """Nothing to cut: the fits and the prediction are made from the models of all seeds."""
    return {"whole": config}


MINUTES: dict[str, float] = {"smoke": 0.1, "laptop": 1.5, "colab": 15, "paper": 1e7}
"""Expected minutes of one run of the preset on the hardware of `HARDWARE`."""

HARDWARE: dict[str, str] = {
    "smoke": "2 CPU cores",
    "laptop": "2 CPU cores",
    "colab": "a free T4 GPU",
    "paper": "a cluster of TPUs for months",
}
"""What each preset is meant for."""
