"""What to train: operations × data fractions × variants of the optimizer × seeds, of one network shape.

The four presets are the functions `smoke`, `laptop`, `colab` and `paper`; ``dataclasses.replace(config, ...)`` makes
changes, and a config that makes no sense is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from coursekit.experiments.grokking.data import OPERATIONS, VOCABULARIES, operation_table, split_equations


@dataclass(frozen=True)
class Variant:
    """One way to optimize (Power et al. 2022, section 3.3 and A.1.2). The defaults are Adam's.

    Parameters
    ----------
    name : str
        Goes into the rows.
    learning_rate : float
        Reached after ten updates of linear warm-up.
    weight_decay : float
        AdamW's; 0 makes it Adam.
    decay_towards : {"origin", "init"}
    full_batch : bool
        One batch of all training equations.
    gradient_noise : float
        Standard deviation of the noise added to the update direction.
    dropout : float
        Residual dropout, in [0, 1).
    weight_noise : float
        Standard deviation of the noise added to the weights in every forward pass.

    Raises
    ------
    ValueError
        If a value is outside its range.
    """

    name: str
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    decay_towards: str = "origin"
    full_batch: bool = False
    gradient_noise: float = 0.0
    dropout: float = 0.0
    weight_noise: float = 0.0

    def __post_init__(self) -> None:
        if self.learning_rate <= 0:
            raise ValueError(f"learning_rate must be above 0, got {self.learning_rate}; the paper uses 0.001")
        for name in ("weight_decay", "gradient_noise", "weight_noise"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or more, got {getattr(self, name)}; 0 switches it off")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be a chance in [0, 1), got {self.dropout}; 0 switches it off")
        if self.decay_towards not in ("origin", "init"):
            raise ValueError(
                f"decay_towards must be origin or init, got {self.decay_towards!r}; choose one of them"
            )


VARIANTS = {
    variant.name: variant
    for variant in (
        Variant("adam_full_batch", full_batch=True),
        Variant("adam"),
        Variant("adam_gradient_noise", full_batch=True, gradient_noise=1.0),
        Variant("adam_dropout", dropout=0.1),
        Variant("adamw", weight_decay=1.0),
        Variant("adamw_to_init", weight_decay=1.0, decay_towards="init"),
        Variant("adam_lr_3e-4", learning_rate=3e-4),
        Variant("adam_lr_3e-3", learning_rate=3e-3),
        Variant("adam_weight_noise", weight_noise=0.01),
    )
}
"""The nine variants of Figure 2 left, in the paper's order."""


class Setting(NamedTuple):
    """One network of a config: the keys of its rows."""

    operation: str
    train_fraction: float
    variant: Variant
    seed: int


@dataclass(frozen=True)
class GrokkingConfig:
    """A set of networks to train.

    Parameters
    ----------
    operations : tuple of str
        Keys of `coursekit.experiments.grokking.data.OPERATIONS`.
    modulus : int
        p; prime where an operation divides.
    train_fractions : tuple of float
        Shares of all equations that are trained on, each in (0, 1).
    variants : tuple of Variant
    seeds : tuple of int
        Whole numbers from 0 on. Each decides initial weights, batch order and, unless `split_seed` is given, the split.
    split_seed : int, optional
        One split for all seeds; 0 is openai/grok's. Default: every seed has its own.
    keep_mirrors_together : bool
        Keep x ∘ y and y ∘ x on one side of the split, so that a commutative operation gives nothing away.
    n_outliers : int
        Training equations whose answers are replaced by those of other training equations (A.4).
    n_layers, d_model, n_heads, d_ff : int
        Blocks, width, heads, MLP width.
    norm : {"layer_norm", "none"}
    norm_position : {"post", "pre"}
    vocabulary : {"compact", "openai"}
        "compact": ``x ∘ y = z``. "openai": openai/grok's 239 tokens with <|eos|> at both ends, the last one counted in
        the loss.
    batch_size : int
        Equations a step, at most half of the training set.
    max_steps : int
        Optimizer steps at most.
    stop_at_val_accuracy : float, optional
        End a run once it validates this well, in (0, 1]. Default: never.
    eval_every, eval_growth : int, float
        Evaluate at least this many steps and this factor apart.

    Raises
    ------
    ValueError
        If a value is outside its range, or listed twice, or does not go with another.
    """

    operations: tuple[str, ...] = ("div",)
    modulus: int = 97
    train_fractions: tuple[float, ...] = (0.5,)
    variants: tuple[Variant, ...] = (VARIANTS["adamw"],)
    seeds: tuple[int, ...] = (0, 1, 2)
    split_seed: int | None = None
    keep_mirrors_together: bool = False
    n_outliers: int = 0
    n_layers: int = 2
    d_model: int = 128
    n_heads: int = 4
    d_ff: int = 512
    norm: str = "layer_norm"
    norm_position: str = "post"
    vocabulary: str = "compact"
    batch_size: int = 512
    max_steps: int = 100_000
    stop_at_val_accuracy: float | None = None
    eval_every: int = 100
    eval_growth: float = 1.0

    def __post_init__(self) -> None:
        for name in ("operations", "train_fractions", "variants", "seeds"):
            if not getattr(self, name):
                raise ValueError(f"{name} must hold at least one entry, got none; add one")
        for name in ("operations", "train_fractions", "seeds"):
            entries = getattr(self, name)
            if len(set(entries)) < len(entries):
                raise ValueError(
                    f"{name} must differ, since rows are told apart by them, got {entries}; leave repeats out"
                )
        sizes = ("n_layers", "d_model", "n_heads", "d_ff")
        for name in (*sizes, "batch_size", "max_steps", "eval_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}; raise it")
        if self.d_model % self.n_heads:
            raise ValueError(
                f"d_model must be a multiple of n_heads, got d_model={self.d_model} and n_heads={self.n_heads}; "
                f"take d_model={self.n_heads * -(-self.d_model // self.n_heads)}"
            )
        if self.stop_at_val_accuracy is not None and not 0 < self.stop_at_val_accuracy <= 1:
            raise ValueError(
                "stop_at_val_accuracy must be a share above 0 and at most 1, or None, "
                f"got {self.stop_at_val_accuracy}; None never stops early"
            )
        for name, allowed in (
            ("norm", ("layer_norm", "none")),
            ("norm_position", ("post", "pre")),
            ("vocabulary", VOCABULARIES),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"{name} must be {' or '.join(allowed)}, got {getattr(self, name)!r}; choose one of them"
                )
        for seed in self.seeds:
            if type(seed) is not int or not 0 <= seed < 2**32:
                raise ValueError(
                    f"seeds must be whole numbers (int) from 0 to 2³² − 1, got {seed!r}; choose another"
                )
        if self.eval_growth < 1:
            raise ValueError(
                f"eval_growth must be 1 or more, got {self.eval_growth}; 1 evaluates at even distances"
            )
        names = [variant.name for variant in self.variants]
        if len(set(names)) < len(names):
            raise ValueError(
                f"variants must differ in name, since rows are told apart by it, got {names}; rename one"
            )
        if self.vocabulary == "openai" and self.modulus != 97:
            raise ValueError(
                f"the openai vocabulary has the numbers 0 to 96, got modulus {self.modulus}; take 'compact'"
            )
        for operation in self.operations:
            n = len(operation_table(operation, self.modulus)[0])
            for fraction in self.train_fractions:
                n_train = len(split_equations(n, fraction, 0)[0])
                if not 0 <= self.n_outliers <= n_train // 2:
                    raise ValueError(
                        f"n_outliers must be between 0 and half of the {n_train} training equations, "
                        f"got {self.n_outliers}; lower it"
                    )

    @property
    def settings(self) -> Iterator[Setting]:
        """Every network: operations × fractions × variants × seeds."""
        for operation in self.operations:
            for fraction in self.train_fractions:
                for variant in self.variants:
                    for seed in self.seeds:
                        yield Setting(operation, fraction, variant, seed)


def smoke() -> GrokkingConfig:
    """Seconds: everything runs, nothing generalizes."""
    return replace(laptop(), modulus=23, seeds=(0, 1), d_model=32, d_ff=64, max_steps=200, eval_every=20)


def laptop() -> GrokkingConfig:
    """Delayed generalization seen for real within a minute on 2 CPU cores: a small network and a small table.

    Weight decay is 0.5: at this learning rate and 1, some networks of this size never settle.
    """
    return GrokkingConfig(
        modulus=47,
        train_fractions=(0.7,),
        variants=(replace(VARIANTS["adamw"], learning_rate=3e-3, weight_decay=0.5),),
        n_layers=1,
        d_model=64,
        d_ff=256,
        max_steps=10_000,
        stop_at_val_accuracy=0.99,
        eval_every=50,
    )


def colab() -> GrokkingConfig:
    """The paper's network on its own table, over a range of data fractions, for a free GPU."""
    return GrokkingConfig(
        train_fractions=(0.3, 0.35, 0.4, 0.5, 0.6, 0.8),
        max_steps=20_000,
        stop_at_val_accuracy=0.99,
        eval_growth=1.02,
    )


FIGURES = ("1_left", "1_center", "2_left", "2_right", "6")
_FRACTIONS = tuple(round(0.05 * k, 2) for k in range(1, 20))


def paper(figure: str = "2_right") -> GrokkingConfig:
    """The paper's own grids (A.1.2), with openai/grok's tokens and its one split.

    Parameters
    ----------
    figure : {"1_left", "1_center", "2_left", "2_right", "6"}
        1 left: division, half the data, Adam without decay, 10⁶ steps. 1 center: S5, 7 seeds, 5·10⁵ steps.
        2 left: nine variants on S5. 2 right: all operations. 6: S5 with 1000 outliers (the figure has 0 to 3000).

    Returns
    -------
    GrokkingConfig

    Raises
    ------
    ValueError
        If the figure is none of these.

    Notes
    -----
    ``coursekit run grokking --preset paper`` is figure 2 right. The other figures go through Python:
    ``run(paper("1_left"), folder="figure-1-left", preset="paper")``, with ``run`` from
    `coursekit.experiments.grokking.run`.

    Figure 1 left uses no weight decay, all others but most of 2 left use weight decay 1. The paper does not print the
    exact fractions of its grids: steps of 5 % are ours (1 center: 1 % from 25 to 50 %), and it does not name figure 6's
    operation: S5 is ours.
    """
    base = GrokkingConfig(split_seed=0, vocabulary="openai", eval_growth=1.02)
    if figure == "1_left":
        return replace(base, variants=(VARIANTS["adam"],), max_steps=1_000_000)
    if figure == "1_center":
        fractions = tuple(round(0.01 * k, 2) for k in range(25, 51))
        return replace(
            base, operations=("s5",), train_fractions=fractions, seeds=tuple(range(7)), max_steps=500_000
        )
    if figure == "2_left":
        return replace(
            base, operations=("s5",), train_fractions=_FRACTIONS, variants=tuple(VARIANTS.values())
        )
    if figure == "2_right":
        return replace(base, operations=tuple(OPERATIONS), train_fractions=_FRACTIONS)
    if figure == "6":
        # An outlier takes the answer of another equation, so 1000 need 2000 to train on: 15 % of S5's 14,400, not 10 %.
        return replace(base, operations=("s5",), train_fractions=_FRACTIONS[2:], n_outliers=1000)
    raise ValueError(f"figure must be one of {', '.join(FIGURES)}, got {figure!r}; choose one of them")


def measured(name: str) -> GrokkingConfig:
    """The configs of the runs in `measured/`, for two or three CPU cores and about an hour; names as its files have.

    Raises
    ------
    ValueError
        If the name is unknown.
    """
    table = GrokkingConfig(eval_growth=1.02)
    adamw = replace(VARIANTS["adamw"], learning_rate=3e-3)  # three times the paper's rate, as in `laptop`
    small = replace(laptop(), train_fractions=(0.6,), variants=(adamw,))
    efficiency = replace(
        small, train_fractions=(0.5, 0.6, 0.7, 0.8), seeds=(0, 1), max_steps=6000, eval_every=100
    )
    configs = {
        # Figures 1 left and 4, by the paper's network with weight decay 1, as in most of its figures.
        "division_97": replace(table, max_steps=6000, eval_every=50),
        # Figure 1 center.
        "data_fraction": replace(
            table,
            operations=("add", "sub", "div"),
            train_fractions=(0.4, 0.5, 0.6, 0.8),
            seeds=(0, 1),
            max_steps=6000,
            stop_at_val_accuracy=0.99,
        ),
        # Figure 3 right and the scrubber: one block, so that the circle is all there is to see.
        "addition_97": replace(
            table,
            operations=("add",),
            train_fractions=(0.6,),
            keep_mirrors_together=True,
            seeds=(0,),
            n_layers=1,
            max_steps=6000,
            eval_every=50,
        ),
        # Figure 3 left.
        "s5": replace(
            table,
            operations=("s5",),
            train_fractions=(0.8,),
            seeds=(0,),
            max_steps=5000,
            stop_at_val_accuracy=0.99,
        ),
        # Figure 2 left and figure 6, by the small network on the small table.
        "variants": replace(
            efficiency,
            train_fractions=(0.6, 0.7, 0.8),
            seeds=(0,),
            variants=tuple(replace(v, learning_rate=3 * v.learning_rate) for v in VARIANTS.values()),
        ),
        **{f"outliers_{k}": replace(efficiency, n_outliers=k) for k in (0, 20, 100)},
        # Figure 2 right, at one fraction.
        "operations": replace(
            table,
            operations=tuple(OPERATIONS),
            train_fractions=(0.6,),
            seeds=(0,),
            max_steps=4000,
            stop_at_val_accuracy=0.99,
        ),
        # Figure 7: as many steps as let about half of the networks generalize.
        "sharpness": replace(
            small, seeds=tuple(range(20)), max_steps=4500, stop_at_val_accuracy=None, eval_every=500
        ),
    }
    if name not in configs:
        raise ValueError(f"name must be one of {', '.join(configs)}, got {name!r}; choose one of them")
    return configs[name]


MINUTES: dict[str, float] = {"smoke": 0.1, "laptop": 0.5, "colab": 15, "paper": 60_000}
"""Expected minutes of one run of the preset on the hardware of `HARDWARE`."""

HARDWARE: dict[str, str] = {
    "smoke": "2 CPU cores",
    "laptop": "2 CPU cores",
    "colab": "a free T4 GPU",
    "paper": "a data-center GPU for weeks",
}
"""What each preset is meant for."""
