"""What to train: one network and recipe, over several seeds.

The four presets are the functions `smoke`, `laptop`, `colab` and `paper`; ``dataclasses.replace(config, ...)`` makes
changes, and a config that makes no sense is refused. A sweep is several configs, each a run of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from coursekit.experiments.neural_networks.analysis import ACTIVATIONS, COSTS, N_CLASSES
from coursekit.experiments.neural_networks.data import DATASETS


@dataclass(frozen=True)
class NeuralNetworksConfig:
    """Networks of one shape and recipe; a seed decides the held-out images, the first weights and the batches of each.

    Parameters
    ----------
    dataset : {"digits", "mnist"}
        See `coursekit.experiments.neural_networks.data.load_digits`.
    hidden : tuple of int
        Units of each hidden column; () is no hidden column.
    activation : {"sigmoid", "relu"}
        Of the hidden units.
    cost : {"quadratic", "cross_entropy"}
        Quadratic: sigmoid outputs, summed squares. Cross-entropy: softmax outputs, nats.
    n_train : int, optional
        Training images. Default: all, 1437 small digits or 60,000 of MNIST.
    random_labels : float
        The chance that a training image gets a label drawn at random.
    seeds : tuple of int
    learning_rate : float
        Of stochastic gradient descent, on the mean cost of a batch.
    batch_size : int
        Images a step.
    n_epochs : int
        Passes through the training images.
    eval_every : int
        Epochs between two evaluations.

    Raises
    ------
    ValueError
        If a value is outside its range.
    """

    dataset: str = "digits"
    hidden: tuple[int, ...] = (16, 16)
    activation: str = "sigmoid"
    cost: str = "quadratic"
    n_train: int | None = None
    random_labels: float = 0.0
    seeds: tuple[int, ...] = tuple(range(10))
    learning_rate: float = 3.0
    batch_size: int = 10
    n_epochs: int = 40
    eval_every: int = 1

    def __post_init__(self) -> None:
        for name, allowed in (
            ("dataset", tuple(DATASETS)),
            ("activation", ACTIVATIONS),
            ("cost", COSTS),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}; choose one of them"
                )
        if any(units < 1 for units in self.hidden):
            raise ValueError(f"hidden must be numbers of units of 1 or more, got {self.hidden}; () is none")
        for name in ("batch_size", "n_epochs", "eval_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}; raise it")
        if self.n_train is not None and self.n_train < 1:
            raise ValueError(f"n_train must be 1 or more, got {self.n_train}; None takes all images")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate must be above 0, got {self.learning_rate}; 3 is a good start")
        if not 0 <= self.random_labels <= 1:
            raise ValueError(
                f"random_labels must be a chance from 0 to 1, got {self.random_labels}; 0 is no label"
            )
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds must be one or more and differ, got {self.seeds}; leave repeats out")
        for seed in self.seeds:
            if type(seed) is not int or not 0 <= seed < 2**32:
                raise ValueError(
                    f"seeds must be whole numbers (int) from 0 to 2³² − 1, got {seed!r}; choose another"
                )

    @property
    def sizes(self) -> tuple[int, ...]:
        """Units of every column, from the pixels to the ten outputs."""
        return (DATASETS[self.dataset] ** 2, *self.hidden, N_CLASSES)


def smoke() -> NeuralNetworksConfig:
    """Seconds: everything runs, and most digits are read."""
    return replace(laptop(), seeds=(0, 1), n_train=600, n_epochs=20)


def laptop() -> NeuralNetworksConfig:
    """The network of the videos on small images, 64-16-16-10, with five seeds."""
    return NeuralNetworksConfig(seeds=(0, 1, 2, 3, 4))


def colab() -> NeuralNetworksConfig:
    """The network of the videos itself, 784-16-16-10 on MNIST, for ten epochs and three seeds."""
    return replace(paper(), seeds=(0, 1, 2), n_epochs=10)


def paper() -> NeuralNetworksConfig:
    """The network of the videos on MNIST, with the recipe of the book that their code follows, and ten seeds.

    Batches of 10 and 30 epochs; η = 1.5 on Σ (a − y)² is Nielsen's 3.0 on half of it.
    """
    return NeuralNetworksConfig(dataset="mnist", learning_rate=1.5, n_epochs=30)


def memorizing(random_labels: float = 1.0) -> NeuralNetworksConfig:
    """A network large enough to learn 1437 labels by heart, real or random: 64-512-10, ReLU, cross-entropy.

    Parameters
    ----------
    random_labels : float
        The chance that a training image gets a label drawn at random.
    """
    return NeuralNetworksConfig(
        hidden=(512,),
        activation="relu",
        cost="cross_entropy",
        random_labels=random_labels,
        seeds=(0, 1, 2),
        learning_rate=0.3,
        batch_size=32,
        n_epochs=150,
        eval_every=3,
    )


LEARNING_RATES: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100)
"""Of the measured runs sweep_learning_rate_…"""

BATCH_SIZES: tuple[int, ...] = (3, 10, 30, 100, 300, 1437)
"""Of the measured runs sweep_batch_size_…"""

RANDOM_LABELS: tuple[float, ...] = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Of the measured runs random_labels_…"""


def measured(name: str) -> NeuralNetworksConfig:
    """The configs of the runs in `measured/`, names as its files have.

    Parameters
    ----------
    name : str
        One of `MEASURED`.

    Returns
    -------
    NeuralNetworksConfig

    Raises
    ------
    ValueError
        If the name is unknown.

    Examples
    --------
    >>> measured("sweep_learning_rate_0.3").learning_rate
    0.3
    """
    if name not in _measured():
        raise ValueError(f"name must be one of {', '.join(_measured())}, got {name!r}; choose one of them")
    return _measured()[name]


def _measured() -> dict[str, NeuralNetworksConfig]:
    base = NeuralNetworksConfig()
    sweep = replace(laptop(), seeds=(0, 1, 2), eval_every=8)
    return {
        "digits": base,
        "relu_cross_entropy": replace(base, activation="relu", cost="cross_entropy", learning_rate=0.1),
        "small_random_labels": replace(base, random_labels=1.0),
        **{f"sweep_learning_rate_{rate:g}": replace(sweep, learning_rate=rate) for rate in LEARNING_RATES},
        **{f"sweep_batch_size_{size}": replace(sweep, batch_size=size) for size in BATCH_SIZES},
        **{f"random_labels_{100 * share:.0f}": memorizing(share) for share in RANDOM_LABELS},
    }


MEASURED: tuple[str, ...] = tuple(_measured())
"""Names of the runs in `measured/`; those that begin with sweep_ change one thing of `laptop`, with 3 seeds."""

MINUTES: dict[str, float] = {"smoke": 0.03, "laptop": 0.2, "colab": 2, "paper": 20}
"""Expected minutes of one run of the preset on the hardware of `HARDWARE`."""

HARDWARE: dict[str, str] = {
    "smoke": "2 CPU cores",
    "laptop": "2 CPU cores",
    "colab": "2 CPU cores",
    "paper": "2 CPU cores",
}
"""What each preset is meant for: so small a network leaves a GPU idle."""
