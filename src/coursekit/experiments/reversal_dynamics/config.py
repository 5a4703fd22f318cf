"""What to train: one recipe, over several seeds.

The four presets are the functions `smoke`, `laptop`, `colab` and `paper`; ``dataclasses.replace(config, ...)`` makes
changes, and a config that makes no sense is refused. A sweep is several configs, each a run of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from coursekit.experiments.reversal_dynamics.analysis import EMBEDDINGS
from coursekit.experiments.reversal_dynamics.data import TASKS, validate_task

MODELS = ("bilinear", "one_layer", "transformer")


@dataclass(frozen=True)
class ReversalDynamicsConfig:
    """Networks of one shape and recipe on one task; a seed decides the facts, the weights and the batches of each.

    Parameters
    ----------
    model : {"transformer", "one_layer", "bilinear"}
        "one_layer" is a transformer of one block, whatever `n_layers` says. "bilinear" predicts an entity from an
        entity, without arrow, by softmax(xᵀ Θ y), and learns by gradient descent on all pairs at once.
    task : {"reversal", "chain", "in_context", "related"}
        See `coursekit.experiments.reversal_dynamics.data`. The bilinear model learns reversal only.
    seeds : tuple of int
    vocab_size : int, optional
        Entity tokens; default: the paper's for the task (800; in context 400). The number of facts goes with it.
    word_size : int
        Tokens of an entity, for reversal and chain.
    n_layers, d_model, n_heads : int
        Blocks, width, heads. The MLP is four times as wide. For gaussian bilinear embeddings, `d_model` is d.
    positions : {"learned", "rotary", "sinusoidal", "none"}
    tied : bool
        Whether the output matrix is the embedding matrix.
    frozen_embeddings : bool
        Keep token and position embeddings as they were drawn; the output matrix, if untied, learns.
    dropout : float
        In [0, 1), on every MLP's output.
    loss_on : {"last_word", "whole_sequence"}
        Which tokens the loss is about: the answer, or all but the first.
    embedding : {"one_hot", "gaussian", "roles", "partners", "entities"}
        Bilinear only: vectors of the entities, see `analysis.make_embeddings`.
    overlap : float
        Bilinear only: ρ of roles, partners or entities.
    symmetric : bool
        Bilinear only: keep Θ = Θᵀ.
    init_std : float
        Bilinear only: standard deviation of Θ at the start.
    learning_rate : float
        Of AdamW; of gradient descent on the sum of the losses for the bilinear model.
    weight_decay : float
        Of AdamW; the bilinear model has none.
    batch_size : int
        Sentences a step; the bilinear model takes all.
    n_epochs : int
        Passes through the training sentences.
    eval_every : int
        Epochs between two evaluations.

    Raises
    ------
    ValueError
        If a value is outside its range or does not go with another.
    """

    model: str = "transformer"
    task: str = "reversal"
    seeds: tuple[int, ...] = tuple(range(10))
    vocab_size: int | None = None
    word_size: int = 1
    n_layers: int = 24
    d_model: int = 768
    n_heads: int = 12
    positions: str = "learned"
    tied: bool = False
    frozen_embeddings: bool = False
    dropout: float = 0.1
    loss_on: str = "last_word"
    embedding: str = "one_hot"
    overlap: float = 0.0
    symmetric: bool = False
    init_std: float = 0.01
    learning_rate: float = 0.01
    weight_decay: float = 0.01
    batch_size: int = 64
    n_epochs: int = 3000
    eval_every: int = 50

    def __post_init__(self) -> None:
        for name, allowed in (
            ("model", MODELS),
            ("task", tuple(TASKS)),
            ("positions", ("learned", "rotary", "sinusoidal", "none")),
            ("loss_on", ("last_word", "whole_sequence")),
            ("embedding", EMBEDDINGS),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}; choose one of them"
                )
        validate_task(self.task, self.vocab_size, self.word_size)
        for name in ("n_layers", "d_model", "n_heads", "batch_size", "n_epochs", "eval_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}; raise it")
        if self.d_model % self.n_heads:
            raise ValueError(
                f"d_model must be a multiple of n_heads, got d_model={self.d_model} and n_heads={self.n_heads}; "
                f"take d_model={self.n_heads * -(-self.d_model // self.n_heads)}"
            )
        if self.positions == "rotary" and self.d_model // self.n_heads % 2:
            raise ValueError(
                f"rotary positions need an even d_model / n_heads, got {self.d_model // self.n_heads}; "
                f"take d_model={self.d_model + self.n_heads}"
            )
        if self.learning_rate <= 0:
            raise ValueError(f"learning_rate must be above 0, got {self.learning_rate}; the paper uses 0.01")
        for name in ("weight_decay", "init_std"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or more, got {getattr(self, name)}; 0 switches it off")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be a chance in [0, 1), got {self.dropout}; 0 switches it off")
        if not 0 <= self.overlap <= 1:
            raise ValueError(
                f"overlap must be an inner product from 0 to 1, got {self.overlap}; 0 is orthogonal"
            )
        if self.overlap and self.embedding in ("one_hot", "gaussian"):
            raise ValueError(
                f"{self.embedding} embeddings have no overlap to set, got {self.overlap}; "
                "take the embedding roles, partners or entities"
            )
        if self.model == "bilinear" and (self.task != "reversal" or self.word_size > 1):
            raise ValueError(
                f"the bilinear model predicts one entity from one entity, got the task {self.task} with word_size "
                f"{self.word_size}; take reversal with word_size 1, or another model"
            )
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds must be one or more and differ, got {self.seeds}; leave repeats out")
        for seed in self.seeds:
            if type(seed) is not int or not 0 <= seed < 2**32:
                raise ValueError(
                    f"seeds must be whole numbers (int) from 0 to 2³² − 1, got {seed!r}; choose another"
                )

    @property
    def blocks(self) -> int:
        """Blocks of the transformer: one for "one_layer"."""
        return 1 if self.model == "one_layer" else self.n_layers


def bilinear(config: ReversalDynamicsConfig | None = None) -> ReversalDynamicsConfig:
    """The bilinear model with a recipe that suits it, on the seeds and the vocabulary of `config` (default `laptop`).

    A hundred steps of gradient descent with η = 1 on one-hot entities; change `embedding`, `symmetric` and so on with
    ``dataclasses.replace``.
    """
    return replace(
        config or laptop(),
        model="bilinear",
        task="reversal",
        word_size=1,
        learning_rate=1.0,
        n_epochs=100,
        eval_every=4,
    )


def smoke() -> ReversalDynamicsConfig:
    """Seconds: everything runs, and a few facts are learned."""
    return replace(
        laptop(), seeds=(0, 1), vocab_size=80, d_model=32, learning_rate=5e-3, n_epochs=80, eval_every=5
    )


def laptop() -> ReversalDynamicsConfig:
    """The curse seen for real within half a minute on 2 CPU cores: the paper's facts and seeds, a small network."""
    return ReversalDynamicsConfig(
        n_layers=2, d_model=64, n_heads=4, dropout=0.0, learning_rate=3e-3, n_epochs=60, eval_every=3
    )


def colab() -> ReversalDynamicsConfig:
    """A larger network and more epochs, for a free GPU."""
    return replace(
        laptop(), n_layers=6, d_model=256, n_heads=8, learning_rate=1e-3, n_epochs=300, eval_every=10
    )


def paper() -> ReversalDynamicsConfig:
    """The paper's defaults: 24 layers, width 768, AdamW at 0.01, dropout 0.1, 3000 epochs, ten seeds."""
    return ReversalDynamicsConfig()


def measured(name: str) -> ReversalDynamicsConfig:
    """The configs of the runs in `measured/`, names as its files have.

    Raises
    ------
    ValueError
        If the name is unknown.
    """
    if name not in _measured():
        raise ValueError(f"name must be one of {', '.join(_measured())}, got {name!r}; choose one of them")
    return _measured()[name]


def _measured() -> dict[str, ReversalDynamicsConfig]:
    base = replace(laptop(), d_model=128, learning_rate=1e-3, n_epochs=200, eval_every=5)
    linear = bilinear()
    gaussian = replace(linear, embedding="gaussian", d_model=400)
    sweep = replace(laptop(), seeds=(0, 1, 2), learning_rate=1e-3, n_epochs=200, eval_every=20)
    return {
        "reversal": base,
        "one_layer": replace(base, model="one_layer"),
        "bilinear": linear,
        "bilinear_symmetric": replace(linear, symmetric=True),
        "bilinear_gaussian": gaussian,
        "bilinear_gaussian_symmetric": replace(gaussian, symmetric=True),
        "chain": replace(base, task="chain", n_epochs=100),
        "words": replace(base, word_size=3, n_epochs=100),
        "chain_words": replace(base, task="chain", word_size=2, n_epochs=60, seeds=(0, 1, 2)),
        "in_context": replace(base, task="in_context", n_epochs=100),
        "related": replace(base, task="related", n_epochs=60),
        "sweep_base": sweep,
        "sweep_layers_1": replace(sweep, n_layers=1),
        "sweep_layers_6": replace(sweep, n_layers=6),
        "sweep_width_20": replace(sweep, d_model=20, n_epochs=400, eval_every=40),
        "sweep_width_256": replace(sweep, d_model=256),
        "sweep_heads_1": replace(sweep, n_heads=1),
        "sweep_heads_16": replace(sweep, n_heads=16),
        "sweep_vocab_200": replace(sweep, vocab_size=200, n_epochs=400, eval_every=40),
        "sweep_vocab_2000": replace(sweep, vocab_size=2000, n_epochs=100, eval_every=10),
        "sweep_positions_none": replace(sweep, positions="none"),
        "sweep_positions_rotary": replace(sweep, positions="rotary"),
        "sweep_frozen": replace(sweep, frozen_embeddings=True),
        "sweep_tied": replace(sweep, tied=True),
        "sweep_dropout": replace(sweep, dropout=0.1),
        "sweep_whole_sequence": replace(sweep, loss_on="whole_sequence"),
        "sweep_learning_rate": replace(sweep, learning_rate=1e-2),
    }


MEASURED: tuple[str, ...] = tuple(_measured())
"""Names of the runs in `measured/`; those that begin with sweep_ change one thing of sweep_base each."""

MINUTES: dict[str, float] = {"smoke": 0.05, "laptop": 0.3, "colab": 3, "paper": 600}
"""Expected minutes of one run of the preset on the hardware of `HARDWARE`."""

HARDWARE: dict[str, str] = {
    "smoke": "2 CPU cores",
    "laptop": "2 CPU cores",
    "colab": "a free T4 GPU",
    "paper": "a data-center GPU",
}
"""What each preset is meant for."""
