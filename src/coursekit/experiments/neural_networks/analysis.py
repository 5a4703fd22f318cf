"""A neural network from scratch: what it computes, how wrong it is, and how it learns. NumPy only.

Read it in this order, which is that of the videos:

1. `new_network`: layers of numbers, drawn at random.
2. `forward`: an image goes in on the left, activations flow to the right, ten of them come out.
3. `costs`: how far these ten are from what they should be.
4. `backpropagate`: in which direction, and how strongly, each weight and bias should be nudged.
5. `train_network`: nudge them, many times, each time for a few images.

Then what the trained network does: `confusion`, `unit_images`, `confidence` on `noise_images`. At the end
`attention_head`, the one part of a transformer that this network does not have.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix

from coursekit import results, stats
from coursekit.experiments.neural_networks.data import Digits

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]

ACTIVATIONS = ("sigmoid", "relu")
COSTS = ("quadratic", "cross_entropy")
N_CLASSES = 10


class Layer(NamedTuple):
    """The connections from one column of units to the next.

    Attributes
    ----------
    weights : array [n_out, n_in]
        w_jk: how strongly unit k on the left acts on unit j on the right. A row is all that one unit listens to.
    biases : array [n_out]
        b_j: how easily unit j becomes active.
    """

    weights: Floats
    biases: Floats


@dataclass(frozen=True, eq=False)
class Network:
    """A fully connected network.

    Attributes
    ----------
    layers : tuple of Layer
        From the pixels to the ten outputs.
    activation : {"sigmoid", "relu"}
        What a hidden unit makes of the sum that it receives.
    cost : {"quadratic", "cross_entropy"}
        What is made small. With "quadratic" the ten outputs are sigmoids, as in the videos; with "cross_entropy" they
        are a softmax, as in language models.
    """

    layers: tuple[Layer, ...]
    activation: str = "sigmoid"
    cost: str = "quadratic"

    @property
    def sizes(self) -> tuple[int, ...]:
        """Units a column, from the pixels to the outputs."""
        return (self.layers[0].weights.shape[1], *(len(layer.biases) for layer in self.layers))

    @property
    def n_params(self) -> int:
        """How many weights and biases there are."""
        return sum(layer.weights.size + layer.biases.size for layer in self.layers)


def new_network(
    sizes: Sequence[int] = (784, 16, 16, 10),
    *,
    activation: str = "sigmoid",
    cost: str = "quadratic",
    seed: int = 0,
) -> Network:
    """Draw a network at random: weights from N(0, 1/n_in), for ReLU from N(0, 2/n_in), biases 0.

    The more numbers a unit adds up, the smaller each must be, or every sigmoid would start at 0 or 1, where it is flat
    and learns nothing.

    Parameters
    ----------
    sizes : sequence of int
        Units a column: pixels, hidden columns, 10.
    activation, cost : str
        See `Network`.
    seed : int

    Returns
    -------
    Network

    Raises
    ------
    ValueError
        If there are fewer than two columns, one is empty, or a choice is unknown.

    References
    ----------
    3Blue1Brown 2017, *But what is a neural network?*; He et al. 2015, section 2.2, for ReLU.

    Examples
    --------
    >>> network = new_network()
    >>> network.n_params  # the number in the video
    13002
    >>> new_network((64, 16, 16, 10)).n_params
    1482
    """
    if len(sizes) < 2 or min(sizes) < 1:
        raise ValueError(f"sizes must be two numbers of units or more, 1 or above, got {tuple(sizes)}")
    for name, value, allowed in (("activation", activation, ACTIVATIONS), ("cost", cost, COSTS)):
        if value not in allowed:
            raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}; choose one of them")
    generator = np.random.default_rng(seed)
    gain = 2 if activation == "relu" else 1
    layers = tuple(
        Layer(generator.standard_normal((n_out, n_in)) * np.sqrt(gain / n_in), np.zeros(n_out))
        for n_in, n_out in pairwise(sizes)
    )
    return Network(layers, activation, cost)


def sigmoid(z: Floats) -> Floats:
    """σ(z) = 1 / (1 + e^−z): any number becomes one between 0 and 1.

    Examples
    --------
    >>> sigmoid(np.array([-5.0, 0.0, 5.0])).round(2).tolist()
    [0.01, 0.5, 0.99]
    """
    return 0.5 * (1 + np.tanh(z / 2))  # the same, and e^−z cannot overflow


def relu(z: Floats) -> Floats:
    """max(0, z): silent below a threshold.

    Examples
    --------
    >>> relu(np.array([-5.0, 0.0, 5.0])).tolist()
    [0.0, 0.0, 5.0]
    """
    return np.maximum(z, 0)


def softmax(z: Floats) -> Floats:
    """e^z_j / Σ e^z_k along the last axis: any numbers become probabilities, which add up to 1.

    Examples
    --------
    >>> softmax(np.array([0.0, 0.0, np.log(2)])).tolist()
    [0.25, 0.25, 0.5]
    """
    powers = np.exp(z - z.max(-1, keepdims=True))  # a common factor changes nothing, and nothing overflows
    return powers / powers.sum(-1, keepdims=True)


def forward(network: Network, images: Floats) -> list[Floats]:
    """Let activations flow from the pixels to the outputs: a⁽ˡ⁾ = σ(W a⁽ˡ⁻¹⁾ + b), one column after the other.

    Parameters
    ----------
    network : Network
    images : array [n, n_pixels]
        From 0 to 1.

    Returns
    -------
    list of array [n, units]
        The activations of every column, pixels first, outputs last.

    Raises
    ------
    ValueError
        If the images do not have as many pixels as the network takes.

    References
    ----------
    3Blue1Brown 2017, *But what is a neural network?*

    Examples
    --------
    >>> network = Network((Layer(np.array([[2.0, -2.0]]), np.array([1.0])),))
    >>> forward(network, np.array([[1.0, 0.0], [0.0, 1.0]]))[-1].round(2).tolist()
    [[0.95], [0.27]]
    """
    if np.ndim(images) != 2 or images.shape[1] != network.sizes[0]:
        raise ValueError(
            f"images must be an array [n, {network.sizes[0]}], a row an image, got the shape {np.shape(images)}; "
            "image[None] makes a row of one image"
        )
    columns = [images]
    for number, (weights, biases) in enumerate(network.layers, start=1):
        z = columns[-1] @ weights.T + biases
        is_output = number == len(network.layers)
        columns.append(_output(network, z) if is_output else _hidden(network, z))
    return columns


def _hidden(network: Network, z: Floats) -> Floats:
    return sigmoid(z) if network.activation == "sigmoid" else relu(z)


def _output(network: Network, z: Floats) -> Floats:
    return sigmoid(z) if network.cost == "quadratic" else softmax(z)


def one_hot(labels: Ints) -> Floats:
    """What the outputs should be: 1 for the digit shown and 0 for the other nine.

    Parameters
    ----------
    labels : int array [n]
        0 to 9.

    Returns
    -------
    array [n, 10]

    Raises
    ------
    ValueError
        If a label is not from 0 to 9.

    Examples
    --------
    >>> one_hot(np.array([3])).tolist()
    [[0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]]
    """
    if not ((labels >= 0) & (labels < N_CLASSES)).all():
        raise ValueError(f"labels must be from 0 to {N_CLASSES - 1}, got {labels}; leave others out")
    return np.eye(N_CLASSES)[labels]


def costs(network: Network, images: Floats, labels: Ints) -> Floats:
    """How wrong the network is about each image.

    Quadratic: Σ_j (a_j − y_j)² over the ten outputs a and what they should be, y. Cross-entropy: −log of the
    probability of the right digit, in nats.

    Parameters
    ----------
    network : Network
    images : array [n, n_pixels]
    labels : int array [n]

    Returns
    -------
    array [n]
        Their mean is the cost of the network.

    Raises
    ------
    ValueError
        If images and labels do not fit the network or each other.

    References
    ----------
    3Blue1Brown 2017, *Gradient descent, how neural networks learn*.

    Examples
    --------
    >>> undecided = Network((Layer(np.zeros((10, 64)), np.zeros(10)),))
    >>> costs(undecided, np.zeros((1, 64)), np.array([3])).tolist()  # ten outputs of 0.5, each off by 0.5
    [2.5]
    """
    outputs = forward(network, images)[-1]
    targets = _targets(images, labels)
    if network.cost == "quadratic":
        return ((outputs - targets) ** 2).sum(-1)
    right = (outputs * targets).sum(-1)
    return -np.log(np.maximum(right, np.finfo(float).tiny))  # a probability may be rounded to 0


def _targets(images: Floats, labels: Ints) -> Floats:
    """What the outputs should be for some images."""
    if np.shape(labels) != (len(images),) or not len(images):
        raise ValueError(
            f"expected one label for each of {len(images)} images, at least one, got the shape {np.shape(labels)}; "
            "take as many of both"
        )
    return one_hot(labels)


def backpropagate(network: Network, images: Floats, labels: Ints) -> tuple[Layer, ...]:
    """The gradient of the mean cost: for each weight and bias, how fast the cost grows when it grows.

    An error δ_j = ∂C/∂z_j is found for every unit, from right to left. At the outputs it comes from the cost. A hidden
    unit's is the sum of those that it caused, each by its weight, times the slope of its own activation. Then a
    weight's part of the gradient is the error on its right times the activation on its left, ∂C/∂w_jk = δ_j a_k, and a
    bias's is the error itself, ∂C/∂b_j = δ_j.

    Parameters
    ----------
    network : Network
    images : array [n, n_pixels]
    labels : int array [n]

    Returns
    -------
    tuple of Layer
        Shaped like the network's own layers.

    Raises
    ------
    ValueError
        If images and labels do not fit the network or each other.

    References
    ----------
    3Blue1Brown 2017, *Backpropagation calculus*; Rumelhart, Hinton and Williams 1986.

    Examples
    --------
    One weight, 0.5, and one bias, 0; the input is 1 and the output should be 1 for digit 0:

    >>> network = Network((Layer(np.vstack([[0.5], np.zeros((9, 1))]), np.zeros(10)),))
    >>> gradient = backpropagate(network, np.array([[1.0]]), np.array([0]))
    >>> (a,) = sigmoid(np.array([0.5]))
    >>> bool(np.isclose(gradient[0].weights[0, 0], 2 * (a - 1) * a * (1 - a)))
    True
    """
    columns = forward(network, images)
    outputs, targets = columns[-1], _targets(images, labels)
    error = (outputs - targets) / len(images)  # of a softmax and its logarithm, for the mean over the images
    if network.cost == "quadratic":
        error = 2 * error * outputs * (1 - outputs)  # a square, and then σ' = σ (1 − σ)

    gradient: list[Layer] = []
    for layer, left in zip(reversed(network.layers), reversed(columns[:-1]), strict=True):
        gradient.append(Layer(weights=error.T @ left, biases=error.sum(0)))
        slope = left * (1 - left) if network.activation == "sigmoid" else left > 0
        error = (error @ layer.weights) * slope
    return tuple(reversed(gradient))


def numerical_gradient(
    network: Network, images: Floats, labels: Ints, *, nudge: float = 1e-5
) -> tuple[Layer, ...]:
    """The same gradient without any calculus: nudge each number, and see what becomes of the cost.

    (C(w + ε) − C(w − ε)) / 2ε for every weight and bias, so it takes two forward passes for each of them, where
    `backpropagate` takes one pass forward and one backward for all. Good for checking, and for small networks only.

    Parameters
    ----------
    network : Network
    images : array [n, n_pixels]
    labels : int array [n]
    nudge : float
        ε, above 0.

    Returns
    -------
    tuple of Layer
        Shaped like the network's own layers.

    Raises
    ------
    ValueError
        If `nudge` is not above 0, or images and labels do not fit the network or each other.

    Examples
    --------
    >>> network = new_network((4, 3, 10))
    >>> images, labels = np.eye(4), np.array([0, 1, 2, 3])
    >>> exact, rough = (f(network, images, labels)[0].weights for f in (backpropagate, numerical_gradient))
    >>> bool(np.allclose(exact, rough, atol=1e-9))
    True
    """
    if not nudge > 0:
        raise ValueError(f"nudge must be above 0, got {nudge}; 1e-5 is a good one")
    layers = [Layer(weights.copy(), biases.copy()) for weights, biases in network.layers]
    nudged = replace(network, layers=tuple(layers))
    gradient = [Layer(np.zeros_like(weights), np.zeros_like(biases)) for weights, biases in layers]
    for layer, part in zip(layers, gradient, strict=True):
        for numbers, slopes in zip(layer, part, strict=True):
            for place, value in np.ndenumerate(numbers):
                numbers[place] = value + nudge
                above = costs(nudged, images, labels).mean()
                numbers[place] = value - nudge
                below = costs(nudged, images, labels).mean()
                numbers[place] = value
                slopes[place] = (above - below) / (2 * nudge)
    return tuple(gradient)


def descend(network: Network, gradient: Sequence[Layer], learning_rate: float) -> Network:
    """One step downhill: w ← w − η ∂C/∂w for every weight and bias.

    Parameters
    ----------
    network : Network
    gradient : sequence of Layer
        Of `backpropagate`.
    learning_rate : float
        η.

    Returns
    -------
    Network
        A new one; the old one stays as it is.

    Examples
    --------
    >>> network, images, labels = new_network((4, 3, 10)), np.eye(4), np.array([0, 1, 2, 3])
    >>> lower = descend(network, backpropagate(network, images, labels), learning_rate=1.0)
    >>> bool(costs(lower, images, labels).mean() < costs(network, images, labels).mean())
    True
    """
    return replace(
        network,
        layers=tuple(
            Layer(layer.weights - learning_rate * slope.weights, layer.biases - learning_rate * slope.biases)
            for layer, slope in zip(network.layers, gradient, strict=True)
        ),
    )


def mini_batches(n: int, batch_size: int, *, seed: int, epoch: int) -> Iterator[Ints]:
    """Deal all images into small heaps, in an order of its own for every seed and epoch.

    Parameters
    ----------
    n : int
        Images.
    batch_size : int
        Images a heap; the last may have fewer.
    seed, epoch : int

    Yields
    ------
    int array [≤ batch_size]
        Numbers of images.

    Examples
    --------
    >>> [len(batch) for batch in mini_batches(25, 10, seed=0, epoch=0)]
    [10, 10, 5]
    """
    order = np.random.default_rng([seed, epoch]).permutation(n)
    for start in range(0, n, batch_size):
        yield order[start : start + batch_size]


def train_network(
    network: Network,
    digits: Digits,
    *,
    learning_rate: float = 3.0,
    batch_size: int = 10,
    n_epochs: int = 10,
    seed: int = 0,
) -> tuple[Network, pd.DataFrame]:
    """Stochastic gradient descent: go through the images again and again, and take a step after every few of them.

    Parameters
    ----------
    network : Network
    digits : Digits
    learning_rate : float
        η, on the mean cost of a heap.
    batch_size : int
        Images a step.
    n_epochs : int
        How many times every image is seen.
    seed : int
        Of the order of the images.

    Returns
    -------
    Network
        As trained.
    DataFrame
        The rows of `evaluate` before the first epoch and after each, as a run has them.

    Raises
    ------
    ValueError
        If a number makes no sense.
    FloatingPointError
        If the cost is no longer a finite number.

    Examples
    --------
    >>> from coursekit.experiments.neural_networks.data import load_digits
    >>> network, rows = train_network(new_network((64, 16, 16, 10)), load_digits(n_train=500), n_epochs=20)
    >>> last = rows[(rows["metric"] == "accuracy") & (rows["split"] == "train")]["value"]
    >>> bool(last.iloc[0] < 0.3), bool(last.iloc[-1] > 0.9)
    (True, True)
    """
    if not 0 < learning_rate < np.inf or batch_size < 1 or n_epochs < 1:
        raise ValueError(
            "expected a learning_rate above 0, a batch_size and n_epochs of 1 or more, "
            f"got learning_rate={learning_rate}, batch_size={batch_size}, n_epochs={n_epochs}; 3, 10 and 10 are a start"
        )
    images, labels = digits.train_images, digits.train_labels
    step = 0
    rows = evaluate(network, digits, seed=seed, step=step)
    for epoch in range(n_epochs):
        for batch in mini_batches(len(images), batch_size, seed=seed, epoch=epoch):
            gradient = backpropagate(network, images[batch], labels[batch])
            network = descend(network, gradient, learning_rate)
            step += 1
        rows += evaluate(network, digits, seed=seed, step=step)
        if not np.isfinite(network.layers[-1].biases).all():
            raise FloatingPointError(
                f"the weights are no longer finite numbers at step {step}: lower learning_rate={learning_rate}"
            )
    return network, pd.DataFrame(rows)


def evaluate(network: Network, digits: Digits, *, seed: int, step: int) -> list[dict[str, Any]]:
    """Measure a network on all training and all held-out images, and on as many images of noise as are held out.

    Parameters
    ----------
    network : Network
    digits : Digits
    seed, step : int
        Keys of the rows; the seed is that of the noise, too.

    Returns
    -------
    list of rows
        Metrics `loss` (mean cost), `accuracy` (share of images whose strongest output is the right one) and
        `confidence` (mean strongest output); splits train and val, and noise, which has a confidence only.

    Examples
    --------
    >>> from coursekit.experiments.neural_networks.data import load_digits
    >>> rows = evaluate(new_network((64, 16, 16, 10)), load_digits(), seed=0, step=0)
    >>> [(row["split"], row["metric"]) for row in rows][:3]
    [('train', 'loss'), ('train', 'accuracy'), ('train', 'confidence')]
    """
    rows = []
    for split, images, labels in (
        ("train", digits.train_images, digits.train_labels),
        ("val", digits.val_images, digits.val_labels),
    ):
        keys, n = {"seed": seed, "split": split}, len(labels)
        right = int((answers(network, images) == labels).sum())
        rows += [
            results.mean_row(keys, step, "loss", costs(network, images, labels)),
            results.row(keys, step, "accuracy", right / n, stats.proportion_stderr(right, n), n),
            results.mean_row(keys, step, "confidence", confidence(network, images)),
        ]
    noise = noise_images(len(digits.val_labels), digits.side**2, seed=seed)
    keys = {"seed": seed, "split": "noise"}
    return [*rows, results.mean_row(keys, step, "confidence", confidence(network, noise))]


def answers(network: Network, images: Floats) -> Ints:
    """The digit that the network reads in each image: argmax_j a_j, its strongest output.

    Parameters
    ----------
    network : Network
    images : array [n, n_pixels]

    Returns
    -------
    int array [n]

    Examples
    --------
    >>> always_seven = Network((Layer(np.zeros((10, 64)), np.eye(10)[7]),))
    >>> answers(always_seven, np.zeros((2, 64))).tolist()
    [7, 7]
    """
    return forward(network, images)[-1].argmax(-1)


def confidence(network: Network, images: Floats) -> Floats:
    """How sure the network seems of each image: max_j a_j, its strongest output.

    With a softmax it is the probability that the network gives to its answer. The ten sigmoids of the quadratic cost
    need not add up to 1, but each is trained to be 1 for its digit and 0 otherwise.

    Parameters
    ----------
    network : Network
    images : array [n, n_pixels]

    Returns
    -------
    array [n]
        From 0 to 1.

    Examples
    --------
    >>> undecided = Network((Layer(np.zeros((10, 64)), np.zeros(10)),))
    >>> confidence(undecided, np.zeros((1, 64))).tolist()
    [0.5]
    """
    return forward(network, images)[-1].max(-1)


def confusion(network: Network, images: Floats, labels: Ints) -> Ints:
    """How often each digit was read as each: rows are what is shown, columns what was answered.

    Parameters
    ----------
    network : Network
    images : array [n, n_pixels]
    labels : int array [n]

    Returns
    -------
    int array [10, 10]

    Examples
    --------
    >>> always_zero = Network((Layer(np.zeros((10, 64)), np.eye(10)[0]),))
    >>> confusion(always_zero, np.zeros((3, 64)), np.array([0, 7, 7]))[7].tolist()
    [2, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    """
    return confusion_matrix(labels, answers(network, images), labels=range(N_CLASSES))


def unit_images(network: Network) -> Floats:
    """What each unit of the first hidden column listens to: its weights, put where their pixels are.

    Parameters
    ----------
    network : Network

    Returns
    -------
    array [units, side, side]
        Ink where a weight is positive makes the unit more active, ink where it is negative less.

    Raises
    ------
    ValueError
        If the images are not square.

    References
    ----------
    3Blue1Brown 2017, *Gradient descent, how neural networks learn*: almost random patterns, no edges and no loops.

    Examples
    --------
    >>> unit_images(new_network((64, 16, 16, 10))).shape
    (16, 8, 8)
    """
    weights = network.layers[0].weights
    side = round(weights.shape[1] ** 0.5)
    if side**2 != weights.shape[1]:
        raise ValueError(f"expected square images, got {weights.shape[1]} pixels; 64 and 784 are squares")
    return weights.reshape(-1, side, side)


def noise_images(
    n: int, n_pixels: int = 64, *, kind: str = "uniform", images: Floats | None = None, seed: int = 0
) -> Floats:
    """Make images that show nothing.

    Parameters
    ----------
    n : int
    n_pixels : int
        Of uniform noise; shuffled noise has as many as the real images.
    kind : {"uniform", "shuffled"}
        "uniform": every pixel anything from 0 to 1. "shuffled": the pixels of a real image in a random order, another
        one for each, so that there is as much ink as in a digit.
    images : array [m, n_pixels], optional
        The real ones, for "shuffled".
    seed : int

    Returns
    -------
    array [n, n_pixels]

    Raises
    ------
    ValueError
        If the kind is unknown, or "shuffled" gets no images.

    Examples
    --------
    >>> noise_images(2).shape
    (2, 64)
    >>> sorted(noise_images(1, 3, kind="shuffled", images=np.array([[0.0, 1.0, 0.0]]))[0].tolist())
    [0.0, 0.0, 1.0]
    """
    generator = np.random.default_rng([seed, 2])
    if kind == "uniform":
        return generator.random((n, n_pixels))
    if kind != "shuffled":
        raise ValueError(f"kind must be uniform or shuffled, got {kind!r}; choose one of them")
    if images is None or not len(images):
        raise ValueError("shuffled noise is made of real images: pass images, an array [m, n_pixels]")
    return generator.permuted(images[generator.integers(len(images), size=n)], axis=1)


def network_rows(network: Network, *, seed: int, step: int) -> list[dict[str, Any]]:
    """A network's weights and biases as rows of the split train, so that a run can carry them.

    Metrics are layer_1[i,j], layer_2[i,j], … with the biases as one more column.

    Parameters
    ----------
    network : Network
    seed, step : int
        Keys of the rows.

    Returns
    -------
    list of rows

    Examples
    --------
    >>> rows = network_rows(new_network((64, 16, 16, 10)), seed=0, step=5760)
    >>> len(rows), rows[0]["metric"]
    (1482, 'layer_1[0,0]')
    """
    keys = {"seed": seed, "split": "train"}
    return [
        results.row(keys, step, place, value)
        for number, layer in enumerate(network.layers, start=1)
        for place, value in results.matrix_rows(f"layer_{number}", np.column_stack(layer))
    ]


def stored_network(run: results.Run) -> Network:
    """The network that a run carries, rounded to four digits.

    Parameters
    ----------
    run : Run
        Such as ``read_measured("neural_networks", "digits")``.

    Returns
    -------
    Network

    Raises
    ------
    ValueError
        If the run carries none.

    Examples
    --------
    >>> network = stored_network(results.read_measured("neural_networks", "digits"))
    >>> network.sizes
    (64, 16, 16, 10)
    """
    metrics = map(str, run.rows["metric"])
    names = sorted({metric.partition("[")[0] for metric in metrics if metric.startswith("layer_")})
    if not names:
        raise ValueError(
            "expected a run that carries a network, got one without: measure it with its weights"
        )
    layers = []
    for name in names:
        matrix = list(results.stored_matrices(run.rows, name).values())[-1]
        layers.append(Layer(matrix[:, :-1], matrix[:, -1]))
    return Network(tuple(layers), run.header.config["activation"], run.header.config["cost"])


def drawing_data(network: Network, digits: Digits | None = None, *, n_examples: int = 10) -> dict[str, Any]:
    """What `coursekit.book.digit_drawing` needs to run a network in a page: its numbers, and real images to try.

    Parameters
    ----------
    network : Network
    digits : Digits, optional
        Whose first held-out images go along. Default: none do.
    n_examples : int
        How many.

    Returns
    -------
    dict
        `layers`, `activation`, `output`, `examples`.

    Examples
    --------
    >>> sorted(drawing_data(new_network((64, 16, 16, 10))))
    ['activation', 'examples', 'layers', 'output']
    """
    layers = [
        {"weights": layer.weights.tolist(), "biases": layer.biases.tolist()} for layer in network.layers
    ]
    shown = () if digits is None else zip(digits.val_images, digits.val_labels, strict=True)
    return {
        "layers": layers,
        "activation": network.activation,
        "output": "sigmoid" if network.cost == "quadratic" else "softmax",
        "examples": [
            {"label": int(label), "pixels": image.round(4).tolist()}
            for image, label in islice(shown, n_examples)
        ],
    }


def at_the_end(rows: pd.DataFrame, metric: str = "accuracy", by: Sequence[str] = ()) -> pd.DataFrame:
    """Mean of a metric over seeds at the last measured step, with a 95 % bootstrap interval.

    Parameters
    ----------
    rows : DataFrame
        Rows of one run, or of several with columns that tell them apart.
    metric : {"loss", "accuracy", "confidence"}
    by : sequence of str
        Such columns.

    Returns
    -------
    DataFrame
        One row for each of `by` and each split: `mean`, `low`, `high`, `lowest` and `highest` seed, `n` seeds, `step`.

    Raises
    ------
    ValueError
        If the rows do not have the metric or a column.
    """
    return stats.at_the_end(rows, metric, [*by, "split"])


def attention_head(x: Floats, w_query: Floats, w_key: Floats, w_value: Floats) -> tuple[Floats, Floats]:
    """One causal attention head: softmax(q kᵀ / √d_head) v, where no position sees a later one.

    The network above always adds up its inputs with the same weights. A head makes its weights anew for every text:
    each position asks (its query q), every position up to it offers (its key k), and where question and offer match,
    much of what is said there (the value v) is carried over.

    Parameters
    ----------
    x : array [seq, d_model]
        The residual stream: one vector a token.
    w_query, w_key, w_value : array [d_head, d_model]
        As `coursekit.model.Attention` keeps its weights: q = x W_Qᵀ, and so on. One head of several is such a slice of
        d_head rows.

    Returns
    -------
    output : array [seq, d_head]
    pattern : array [seq, seq]
        How much position i takes from position j; rows add up to 1, and all is 0 above the diagonal.

    Raises
    ------
    ValueError
        If the shapes do not fit.

    References
    ----------
    Vaswani et al. 2017, section 3.2.1; the mask: section 3.2.3.

    Examples
    --------
    Two tokens. The first can attend to itself only; without any preference the second takes the mean.

    >>> x, nothing = np.array([[1.0, 0.0], [0.0, 1.0]]), np.zeros((2, 2))
    >>> output, pattern = attention_head(x, nothing, nothing, np.eye(2))
    >>> pattern.tolist(), output.tolist()
    ([[1.0, 0.0], [0.5, 0.5]], [[1.0, 0.0], [0.5, 0.5]])
    """
    shapes = [np.shape(array) for array in (x, w_query, w_key, w_value)]
    if any(len(shape) != 2 or shape[1] != shapes[0][-1] for shape in shapes) or shapes[1] != shapes[2]:
        raise ValueError(
            "expected x [seq, d_model] and weights [d_head, d_model], those of query and key alike, got the shapes "
            f"{', '.join(map(str, shapes))}; a matrix [d_model, d_head] has to be transposed"
        )
    queries, keys, values = x @ w_query.T, x @ w_key.T, x @ w_value.T
    scores = queries @ keys.T / np.sqrt(queries.shape[-1])
    is_later = np.triu(np.ones_like(scores, dtype=bool), k=1)
    pattern = softmax(np.where(is_later, -np.inf, scores))
    return pattern @ values, pattern
