"""What to train and what to evaluate: a suite of our own, and checkpoints of pretrained models.

The four presets are the functions `smoke`, `laptop`, `colab` and `paper`; ``dataclasses.replace(config, ...)`` makes
changes, and a config that makes no sense is refused.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from coursekit.experiments.inverse_scaling.analysis import PAPER_TASKS, PYTHIA, STEPS


@dataclass(frozen=True)
class InverseScalingConfig:
    """Byte-level language models of several sizes trained alike on Python source, and published models.

    Parameters
    ----------
    widths : tuple of int
        d_model of each size of the suite; none trains no suite.
    n_layers : int
        Blocks, of all sizes.
    seeds : tuple of int
        Each size is trained once a seed: its weights and batches.
    n_tokens : int
        Bytes that each model is trained on; its learning rate falls over them by a cosine to a tenth.
    n_bytes : int, optional
        Of text to draw them from. Default: all of the standard library.
    window, batch_size : int
        Bytes of a training sequence, and sequences of a step.
    learning_rate : float
        At width 64; that of width d is √(64 / d) times as large.
    n_checkpoints : int
        Each at twice the tokens of the one before, and the last at the end.
    n_items : int
        Questions of each task, see `coursekit.experiments.inverse_scaling.data.make_tasks`.
    models : tuple of str
        Pretrained models to evaluate on the paper's tasks, of `analysis.PYTHIA`, or folders.
    steps : tuple of int
        Which of their checkpoints.
    tasks : tuple of str
        Which of `analysis.PAPER_TASKS`.
    engine : {"coursekit", "lm_eval"}
        Who reads them, see `coursekit.evaluate.score_continuations`.
    forget : bool
        Delete each checkpoint from the hub's cache after its last task, where the disk is small.

    Raises
    ------
    ValueError
        If a value is outside its range, or there is nothing to do.
    """

    widths: tuple[int, ...] = (8, 16, 32, 48, 64)
    n_layers: int = 2
    seeds: tuple[int, ...] = (0,)
    n_tokens: int = 1_000_000
    n_bytes: int | None = None
    window: int = 256
    batch_size: int = 4
    learning_rate: float = 4e-3
    n_checkpoints: int = 8
    n_items: int = 100
    models: tuple[str, ...] = ()
    steps: tuple[int, ...] = STEPS
    tasks: tuple[str, ...] = tuple(PAPER_TASKS)
    engine: str = "coursekit"
    forget: bool = False

    def __post_init__(self) -> None:
        if not self.widths and not self.models:
            raise ValueError(
                "there is nothing to do without widths and models; name at least one size or model"
            )
        for name in ("widths", "models", "steps", "tasks", "seeds"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ValueError(f"{name} must differ, got {values}; leave repeats out")
        for width in self.widths:
            if width < 8 or (width != 8 and width % 16):
                raise ValueError(
                    f"a width must be 8 or a multiple of 16, got {width}; take {max(16, 16 * round(width / 16))}"
                )
        for name in ("n_layers", "batch_size", "n_checkpoints", "n_items"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}; raise it")
        if self.window < 256:
            raise ValueError(
                f"window must be 256 or more, to hold every question, got {self.window}; raise it"
            )
        if self.n_steps < 2**self.n_checkpoints:
            raise ValueError(
                f"{self.n_checkpoints} checkpoints need 2^{self.n_checkpoints} steps, got {self.n_steps}; "
                "raise n_tokens or ask for fewer checkpoints"
            )
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be above 0, got {self.learning_rate}; 4e-3 suits width 64")
        if self.engine not in ("coursekit", "lm_eval"):
            raise ValueError(f"engine must be coursekit or lm_eval, got {self.engine!r}; choose one of them")
        if unknown := [task for task in self.tasks if task not in PAPER_TASKS]:
            raise ValueError(
                f"tasks must be among {', '.join(PAPER_TASKS)}, got {', '.join(unknown)}; choose among them"
            )
        if self.models and not (self.steps and self.tasks):
            raise ValueError(
                "models need steps and tasks to be evaluated at and on; name at least one of each"
            )
        if not self.seeds:
            raise ValueError("seeds must be one or more, got none; take (0,)")
        for seed in self.seeds:
            if type(seed) is not int or not 0 <= seed < 2**32:
                raise ValueError(
                    f"seeds must be whole numbers (int) from 0 to 2³² − 1, got {seed!r}; choose another"
                )

    @property
    def n_steps(self) -> int:
        """Optimizer steps of each model."""
        return self.n_tokens // (self.window * self.batch_size)

    @property
    def checkpoint_steps(self) -> tuple[int, ...]:
        """Optimizer steps of the checkpoints."""
        return tuple(round(self.n_steps / 2**k) for k in reversed(range(self.n_checkpoints)))


def smoke() -> InverseScalingConfig:
    """Seconds: three tiny models, of which the largest learns to spell."""
    return InverseScalingConfig(
        widths=(8, 16, 32), n_tokens=200_000, n_bytes=4_000_000, n_checkpoints=5, n_items=40
    )


def laptop() -> InverseScalingConfig:
    """Falling accuracy seen for real on 2 CPU cores: five sizes from 4 thousand to 117 thousand parameters."""
    return InverseScalingConfig()


def colab() -> InverseScalingConfig:
    """Larger sizes on a free GPU, and one published task on real checkpoints: Pythia 410M."""
    return InverseScalingConfig(
        widths=(16, 32, 64, 128, 256),
        n_tokens=4_000_000,
        batch_size=8,
        models=("EleutherAI/pythia-410m",),
        tasks=("pattern_matching_suppression",),
        forget=True,
    )


def paper() -> InverseScalingConfig:
    """The paper's evaluation: 8 sizes of Pythia, 8 checkpoints, 12 tasks; no suite of our own."""
    return InverseScalingConfig(widths=(), models=tuple(PYTHIA), forget=True)


def measured(name: str) -> InverseScalingConfig:
    """The configs of the runs in `measured/`, names as its files have.

    Raises
    ------
    ValueError
        If the name is unknown.
    """
    if name not in _measured():
        raise ValueError(f"name must be one of {', '.join(_measured())}, got {name!r}; choose one of them")
    return _measured()[name]


def _measured() -> dict[str, InverseScalingConfig]:
    return {
        "suite": replace(
            laptop(), widths=(16, 32, 64, 128, 192), n_tokens=4_000_000, n_checkpoints=10, n_items=150
        ),
        "seeds": replace(laptop(), seeds=(0, 1, 2)),
    }


MEASURED: tuple[str, ...] = tuple(_measured())
"""Names of the runs in `measured/`."""


def parts(config: InverseScalingConfig) -> dict[str, InverseScalingConfig]:
    """Independent runs: the suite of each seed, and each published model."""
    seeds = config.seeds if config.widths else ()
    suites = {f"seed-{seed}": replace(config, seeds=(seed,), models=()) for seed in seeds}
    return suites | {name: replace(config, widths=(), models=(name,)) for name in config.models}


MINUTES: dict[str, float] = {"smoke": 0.3, "laptop": 1.5, "colab": 15, "paper": 2500}
"""Expected minutes of one run of the preset on the hardware of `HARDWARE`."""

HARDWARE: dict[str, str] = {
    "smoke": "2 CPU cores",
    "laptop": "2 CPU cores",
    "colab": "a free T4 GPU",
    "paper": "a GPU with 80 GB",
}
"""What each preset is meant for."""
