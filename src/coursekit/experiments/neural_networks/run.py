"""The network of `analysis.py` once more, in PyTorch, and a run of it over several seeds.

What is different: nobody writes down `backpropagate`. PyTorch records what `TorchNetwork` computes, and ``backward()``
goes through it from right to left. The arithmetic is in double precision, so that both give the same digits.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from coursekit import results
from coursekit.experiments.neural_networks import config as configs
from coursekit.experiments.neural_networks.analysis import (
    N_CLASSES,
    Layer,
    Network,
    evaluate,
    mini_batches,
    network_rows,
    new_network,
)
from coursekit.experiments.neural_networks.config import NeuralNetworksConfig
from coursekit.experiments.neural_networks.data import Digits, load_digits
from coursekit.train import Row, available_cores, evaluation_steps, train_groups

EXPERIMENT = "neural_networks"


class TorchNetwork(nn.Module):
    """The network of `analysis.Network` as PyTorch has it, with the same weights.

    Examples
    --------
    >>> network = new_network((64, 16, 16, 10))
    >>> TorchNetwork(network)(torch.zeros(1, 64, dtype=torch.float64)).shape
    torch.Size([1, 10])
    """

    def __init__(self, network: Network):
        super().__init__()
        self.activation, self.cost = network.activation, network.cost
        self.layers = nn.ModuleList(
            nn.Linear(n_in, n_out, dtype=torch.float64) for n_in, n_out in pairwise(network.sizes)
        )
        with torch.no_grad():
            for mine, given in zip(self.parameters(), _arrays(network), strict=True):
                mine.copy_(torch.from_numpy(given))

    def forward(self, images: Float[Tensor, "n pixels"]) -> Float[Tensor, "n 10"]:
        """The sums z that the ten outputs receive; a sigmoid or a softmax of them are the outputs."""
        squash = torch.sigmoid if self.activation == "sigmoid" else torch.relu
        *hidden, last = self.layers
        for layer in hidden:
            images = squash(layer(images))
        return last(images)

    def loss(self, images: Float[Tensor, "n pixels"], labels: Int[Tensor, " n"]) -> Float[Tensor, ""]:
        """The mean cost of some images."""
        z = self(images)
        if self.cost == "cross_entropy":
            return F.cross_entropy(z, labels)
        return (torch.sigmoid(z) - F.one_hot(labels, N_CLASSES)).square().sum(-1).mean()

    def to_numpy(self) -> Network:
        """The same network for `analysis`."""
        arrays = [p.detach().numpy().copy() for p in self.parameters()]
        layers = tuple(Layer(*pair) for pair in zip(arrays[::2], arrays[1::2], strict=True))
        return Network(layers, self.activation, self.cost)


class Training:
    """One network with its images: what `coursekit.train.train` trains."""

    def __init__(self, config: NeuralNetworksConfig, seed: int):
        self.config, self.seed = config, seed
        self.step, self.running = 0, [0]
        self.digits = digits_of(config, seed)
        start = new_network(config.sizes, activation=config.activation, cost=config.cost, seed=seed)
        self.network = TorchNetwork(start)
        self.optimizer = torch.optim.SGD(self.network.parameters(), lr=config.learning_rate)
        self._images = torch.from_numpy(self.digits.train_images)
        self._labels = torch.from_numpy(self.digits.train_labels)
        self._epoch = -1
        self._batches: list[Tensor] = []

    @property
    def steps_an_epoch(self) -> int:
        """Batches in one pass through the images."""
        return math.ceil(len(self._labels) / self.config.batch_size)

    def losses(self) -> Float[Tensor, " runs"]:
        """The mean cost of the next batch."""
        epoch, place = divmod(self.step, self.steps_an_epoch)
        if epoch != self._epoch:
            dealt = mini_batches(len(self._labels), self.config.batch_size, seed=self.seed, epoch=epoch)
            self._epoch, self._batches = epoch, [torch.from_numpy(batch) for batch in dealt]
        batch = self._batches[place]
        return self.network.loss(self._images[batch], self._labels[batch])[None]

    def update(self, learning_rate_scale: float = 1.0) -> None:
        """One step of gradient descent."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * learning_rate_scale
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1

    def state(self) -> tuple[dict[str, Tensor], dict[str, object]]:
        """All that a resumed training needs: the order of the images follows from seed and step."""
        return dict(self.network.state_dict()), {"step": self.step, "running": self.running}

    def restore(self, tensors: dict[str, Tensor], facts: dict[str, object]) -> None:
        """Go on from `state`."""
        self.network.load_state_dict(tensors)
        self.step, self.running = facts["step"], list(facts["running"])  # type: ignore[assignment, call-overload]


@dataclass(frozen=True, eq=False)
class NetworkRecord:
    """One trained network.

    Attributes
    ----------
    seed : int
    config : NeuralNetworksConfig
    network : Network
        As it is at the end.
    """

    seed: int
    config: NeuralNetworksConfig
    network: Network

    @property
    def digits(self) -> Digits:
        """The images that it was trained on, and those that were held out."""
        return digits_of(self.config, self.seed)


def digits_of(config: NeuralNetworksConfig, seed: int) -> Digits:
    """The images of one seed of a config: those that `run` trains it on, and those held out.

    Examples
    --------
    >>> digits_of(configs.smoke(), seed=1).train_images.shape
    (600, 64)
    """
    return load_digits(config.dataset, seed=seed, n_train=config.n_train, random_labels=config.random_labels)


def run(
    config: NeuralNetworksConfig,
    *,
    folder: str | Path | None = None,
    resume: bool = False,
    preset: str = "custom",
    progress: bool = True,
    keep_weights: bool = False,
    n_workers: int | None = None,
    checkpoint_seconds: float = 30.0,
) -> results.Run:
    """Train the networks of `config`, one a seed.

    Parameters
    ----------
    config : NeuralNetworksConfig
    folder : path, optional
        Where to keep header, rows and checkpoints. Default: nowhere.
    resume : bool
        Go on from the checkpoints in `folder`.
    preset : str
        Goes into the header.
    progress : bool
        Show a bar with the time left.
    keep_weights : bool
        Keep every network at the end in `Run.networks`, as a `NetworkRecord`.
    n_workers : int, optional
        Networks trained at a time. Default: one a core.
    checkpoint_seconds : float
        Least time between two checkpoints of a network.

    Returns
    -------
    results.Run
        For each seed and evaluated step the rows of `analysis.evaluate`.

    Raises
    ------
    ValueError
        If `folder` holds a run already and `resume` is not asked for, or holds one of another config.
    FloatingPointError
        If every network's cost became NaN; the rows up to there are in `folder`.

    Notes
    -----
    A network whose cost is no longer a number is taken out with a warning; the others go on. On the CPU always: so
    small a network leaves a GPU idle.
    """
    trainings: dict[int, Training] = {}
    each = Training(config, config.seeds[0]).steps_an_epoch
    record_at = [each * epoch for epoch in evaluation_steps(config.n_epochs, every=config.eval_every)]

    def prepare(number: int, rows: list[Row]) -> tuple[Training, Callable[[], list[Row]]]:
        training = trainings[number] = Training(config, config.seeds[number])
        return training, lambda: _record(training)

    made = train_groups(
        results.new_header(EXPERIMENT, preset, config, config.seeds[0] if len(config.seeds) == 1 else None),
        [[{"seed": seed}] for seed in config.seeds],
        prepare,
        record_at=record_at,
        folder=folder,
        resume=resume,
        checkpoint_seconds=checkpoint_seconds,
        label=f"{EXPERIMENT}: {'-'.join(map(str, config.sizes))}, {len(config.seeds)} seeds",
        progress=progress,
        n_workers=n_workers or available_cores(),
    )
    _tell_diverged(made.rows, len(config.seeds))
    kept = [
        NetworkRecord(t.seed, config, t.network.to_numpy()) for _, t in sorted(trainings.items()) if t.running
    ]
    return results.Run(made.header, made.rows, kept if keep_weights else ())


def measure(name: str, folder: str | Path, *, n_workers: int | None = None) -> results.Run:
    """Make a run of `config.measured` again and keep it in `measured/`.

    Parameters
    ----------
    name : str
    folder : path
        Where the run works; an interrupted one goes on from there.
    n_workers : int, optional
        Networks trained at a time. Default: one a core.

    Returns
    -------
    results.Run
        With every network as a `NetworkRecord`.

    Raises
    ------
    ValueError
        If the name is unknown, or `folder` holds a run of another config.

    Notes
    -----
    `digits` and `relu_cross_entropy` carry the network of their first seed; see `analysis.stored_network`.
    """
    made = run(
        configs.measured(name),
        folder=folder,
        resume=True,
        preset="measured",
        n_workers=n_workers,
        keep_weights=True,
    )
    rows = made.rows
    if name in ("digits", "relu_cross_entropy"):
        first = made.networks[0]
        carried = network_rows(first.network, seed=first.seed, step=int(rows["step"].max()))
        rows = pd.concat([rows, pd.DataFrame(carried)], ignore_index=True)
    results.write_measured(EXPERIMENT, name, made.header, rows)
    return results.Run(made.header, rows, made.networks)


def _record(training: Training) -> list[Row]:
    """Measure a running network, and take it out if its cost is no longer a number."""
    with np.errstate(over="ignore", invalid="ignore"):
        rows = evaluate(training.network.to_numpy(), training.digits, seed=training.seed, step=training.step)
    if not all(math.isfinite(row["value"]) for row in rows):
        training.running = []
    return rows


def _tell_diverged(rows: pd.DataFrame, n_networks: int) -> None:
    """Warn of networks whose cost stopped being a number; raise if that is all of them."""
    broken = rows[~np.isfinite(rows["value"].astype(float))].groupby("seed", sort=False)["step"].min()
    if broken.empty:
        return
    shown = ", ".join(f"{seed} (by step {step})" for seed, step in list(broken.items())[:3])
    more = f" and {len(broken) - 3} more" if len(broken) > 3 else ""
    text = f"the cost stopped being a finite number for seed {shown}{more}"
    if len(broken) == n_networks:
        raise FloatingPointError(f"{text}: lower the learning rate; the rows up to there are kept")
    warnings.warn(f"{text}; they were taken out and the others went on", stacklevel=3)


def _arrays(network: Network) -> list[np.ndarray]:
    """Weights and biases in PyTorch's order."""
    return [array for layer in network.layers for array in layer]
