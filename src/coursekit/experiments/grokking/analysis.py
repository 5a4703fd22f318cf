"""What the runs show: when each network generalized, and what its matrices look like inside.

No torch here: rows (pandas) and arrays (NumPy) go in, so a chapter can use all of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from coursekit.results import stored_matrices as stored_matrices  # chapters read matrices from here
from coursekit.stats import bootstrap_interval

Floats = NDArray[np.floating[Any]]
RUN_KEYS = ["seed", "operation", "modulus", "train_fraction", "variant"]


def steps_to(rows: pd.DataFrame, metric: str = "val_accuracy", threshold: float = 0.99) -> pd.DataFrame:
    """First evaluated step at which a metric reaches a threshold, for every run.

    Parameters
    ----------
    rows : DataFrame
        Rows of a run.
    metric : str
        An accuracy.
    threshold : float

    Returns
    -------
    DataFrame
        One row a run: its keys, `steps` (inf: not within the budget) and `budget` (its last evaluated step).

    Raises
    ------
    ValueError
        If the rows do not have the metric.

    Examples
    --------
    >>> keys = dict(seed=0, operation="div", modulus=97, train_fraction=0.5, variant="adamw", metric="val_accuracy")
    >>> rows = pd.DataFrame([{**keys, "step": 0, "value": 0.01}, {**keys, "step": 100, "value": 1.0}])
    >>> steps_to(rows)["steps"].tolist()
    [100.0]
    """
    curve = rows[rows["metric"] == metric]
    if curve.empty:
        raise ValueError(
            f"expected rows of {metric}, got only {', '.join(sorted(set(rows['metric'])))}; choose one of these"
        )
    reached = curve[curve["value"] >= threshold].groupby(RUN_KEYS)["step"].min()
    budget = curve.groupby(RUN_KEYS)["step"].max().rename("budget")
    return (
        budget.to_frame().join(reached.rename("steps").astype(float)).fillna({"steps": np.inf}).reset_index()
    )


def time_to_generalize(rows: pd.DataFrame) -> pd.DataFrame:
    """Median steps to 99 % validation accuracy over seeds, with a 95 % bootstrap interval (Figure 1 center).

    Returns
    -------
    DataFrame
        One row for each operation, modulus, variant and train_fraction: `median`, `low`, `high` (inf where that part of
        the runs did not generalize within the budget), `n` runs, `n_generalized`, and the median of the steps to
        99 % training accuracy, `train_median`.
    """
    val, train = steps_to(rows, "val_accuracy"), steps_to(rows, "train_accuracy")
    found = []
    groups = ["operation", "modulus", "variant", "train_fraction"]
    for keys, group in val.groupby(groups):
        same = train.loc[group.index, "steps"]
        interval = bootstrap_interval(group["steps"].to_numpy(), np.median)
        found.append(
            dict(zip(groups, keys, strict=True))
            | {"median": interval.value, "low": interval.low, "high": interval.high, "n": len(group)}
            | {
                "n_generalized": int(np.isfinite(group["steps"]).sum()),
                "train_median": float(np.median(same)),
            }
        )
    return pd.DataFrame(found)


def pca(weights: Floats, n_components: int = 2) -> Floats:
    """Rows of a matrix on its first principal components.

    Parameters
    ----------
    weights : array [p, d]
    n_components : int

    Returns
    -------
    array [p, n_components]
        Centered; the sign of a component is arbitrary.

    Examples
    --------
    >>> pca(np.array([[0.0, 0.0], [3.0, 4.0]]), 1).round(6).ravel().tolist() in ([-2.5, 2.5], [2.5, -2.5])
    True
    """
    centered = weights - weights.mean(0)
    left, scale, _ = np.linalg.svd(centered, full_matrices=False)
    return left[:, :n_components] * scale[:n_components]


def tsne(weights: Floats, *, seed: int = 0, perplexity: float = 15.0) -> Floats:
    """Rows of a matrix laid out in the plane by t-SNE, as in Figure 3 (scikit-learn's implementation).

    Parameters
    ----------
    weights : array [p, d]
    seed : int
    perplexity : float
        How many neighbors count; below p.

    Returns
    -------
    array [p, 2]

    Notes
    -----
    t-SNE keeps neighbors together; distances between far points mean nothing. The paper does not print its perplexity.
    """
    from sklearn.manifold import TSNE

    return TSNE(
        perplexity=min(perplexity, (len(weights) - 1) / 3), random_state=seed, init="pca"
    ).fit_transform(weights)


def fourier_basis(p: int) -> Floats:
    """Waves around a circle of p symbols, as orthonormal rows: constant, cos 1, sin 1, cos 2, sin 2 and so on.

    Parameters
    ----------
    p : int
        Odd.

    Returns
    -------
    array [p, p]
        Row 0 is 1/√p; row 2k−1 is √(2/p) cos(2πka/p), row 2k is √(2/p) sin(2πka/p), for k = 1 … (p−1)/2.

    Raises
    ------
    ValueError
        If p is even.

    References
    ----------
    Nanda et al. 2023, section 4.

    Examples
    --------
    >>> basis = fourier_basis(7)
    >>> bool(np.allclose(basis @ basis.T, np.eye(7)))
    True
    """
    if p % 2 == 0:
        raise ValueError(
            f"the basis needs an odd number of symbols, got {p}; the course's moduli are primes above 2"
        )
    angle = 2 * np.pi * np.outer(np.arange(1, p // 2 + 1), np.arange(p)) / p
    waves = np.stack([np.cos(angle), np.sin(angle)], axis=1).reshape(p - 1, p)
    return np.concatenate([np.full((1, p), p**-0.5), waves * np.sqrt(2 / p)])


def fourier_power(weights: Floats) -> Floats:
    """How much of a matrix's rows is a wave of each frequency.

    Parameters
    ----------
    weights : array [p, d]
        One row a symbol, in the order of the circle (0, 1, 2, … for addition).

    Returns
    -------
    array [(p−1)/2]
        Squared length of the cos and sin parts of frequency 1, 2, …; together with the mean they add up to the
        matrix's squared length (Parseval).

    Examples
    --------
    >>> wave = np.cos(2 * np.pi * 3 * np.arange(11) / 11)[:, None]
    >>> int(np.argmax(fourier_power(wave))) + 1
    3
    """
    parts = fourier_basis(len(weights)) @ weights
    return (parts[1:].reshape(-1, 2, weights.shape[1]) ** 2).sum((1, 2))


def key_frequencies(weights: Floats, n: int | None = None, *, share: float = 0.9) -> list[int]:
    """The frequencies that hold the power of a matrix's rows, strongest first.

    Parameters
    ----------
    weights : array [p, d]
    n : int, optional
        How many. Default: as many as hold `share` of the power of all frequencies.
    share : float

    Notes
    -----
    Nanda et al. 2023 choose by the MLP's neurons; the embedding gives the same frequencies with less machinery.
    """
    power = fourier_power(weights)
    order = np.argsort(power)[::-1]
    if n is None:
        n = int(np.searchsorted(np.cumsum(power[order]) / power.sum(), share)) + 1
    return [int(k) + 1 for k in order[:n]]


def split_logits(
    logits: Floats, pairs: NDArray[np.int64], frequencies: Sequence[int]
) -> tuple[Floats, Floats]:
    """Split the logits of modular addition into the part that is a wave in a + b of the frequencies, and the rest.

    Parameters
    ----------
    logits : array [n, p]
        For some or all of the pairs (a, b).
    pairs : int array [n, 2]
    frequencies : sequence of int
        k of cos(2πk(a + b)/p) and sin(2πk(a + b)/p).

    Returns
    -------
    waves, rest : arrays [n, p]
        The least-squares fit of these waves (a constant beside them goes to the rest), and what it leaves. They add up
        to the logits.
    """
    angle = 2 * np.pi * np.outer(pairs.sum(1), frequencies) / logits.shape[1]
    directions = np.concatenate([np.ones((len(pairs), 1)), np.cos(angle), np.sin(angle)], axis=1)
    strengths = np.linalg.lstsq(directions, logits, rcond=None)[0]
    waves = directions[:, 1:] @ strengths[1:]
    return waves, logits - waves


def restricted_and_excluded_loss(
    logits: Floats,
    pairs: NDArray[np.int64],
    answers: NDArray[np.int64],
    frequencies: Sequence[int],
    *,
    train: NDArray[np.int64],
    val: NDArray[np.int64],
) -> dict[str, float]:
    """The two progress measures of Nanda et al. 2023 for modular addition, in nats.

    Parameters
    ----------
    logits, pairs, answers
        Of all p² equations, as `NetworkRecord.logits` and `data.operation_table` give them.
    frequencies : sequence of int
        The key frequencies.
    train, val : int arrays
        Numbers of the equations trained on and held out.

    Returns
    -------
    dict
        `restricted_loss`: cross-entropy on the held-out equations when only the waves of the key frequencies are kept:
        low once the circuit exists. `excluded_loss`: cross-entropy on the training equations when those waves are taken
        out: low while the network lives on what it memorized, high once it does not.

    Notes
    -----
    Nanda et al. fit the waves to all equations at once. A network that has only memorized a large part of the table
    then seems to have a circuit, since most answers with the same a + b are right; so each loss here fits its own
    equations.

    References
    ----------
    Nanda et al. 2023, section 5.1.
    """
    waves, _ = split_logits(logits[val], pairs[val], frequencies)
    _, rest = split_logits(logits[train], pairs[train], frequencies)
    return {
        "restricted_loss": cross_entropy(waves, answers[val]),
        "excluded_loss": cross_entropy(rest, answers[train]),
    }


def cross_entropy(logits: Floats, answers: NDArray[np.int64]) -> float:
    """Mean of −ln softmax(logits)[answer], in nats.

    Examples
    --------
    >>> round(cross_entropy(np.zeros((2, 4)), np.array([0, 3])), 4)  # ln 4
    1.3863
    """
    top = logits.max(1, keepdims=True)
    log_total = np.log(np.exp(logits - top).sum(1)) + top[:, 0]
    return float((log_total - logits[np.arange(len(answers)), answers]).mean())


def primitive_root_powers(p: int) -> NDArray[np.int64]:
    """The order in which multiplication mod p is a circle: the powers g⁰, g¹, g², … of a primitive root g.

    Parameters
    ----------
    p : int
        A prime.

    Returns
    -------
    int array [p − 1]
        All residues but 0. Multiplying two of them adds their places mod p − 1, so ``x · y mod p`` is ``x + y mod p−1``
        in other names (Power et al. 2022, section 3.2).

    Examples
    --------
    >>> primitive_root_powers(7).tolist()
    [1, 3, 2, 6, 4, 5]
    """
    for root in range(1, p):
        powers = np.array([pow(root, k, p) for k in range(p - 1)])
        if len(set(powers.tolist())) == p - 1:
            return powers
    raise ValueError(f"only a prime has a primitive root for all its residues, got {p}; take a prime")


def circle_points(matrices: Mapping[int, Floats], frequency: int | None = None) -> dict[int, Floats]:
    """Watch the symbols' vectors move in the plane in which they end up on a circle.

    Parameters
    ----------
    matrices : mapping
        Step → array [p, d].
    frequency : int, optional
        Default: the strongest one at the last step.

    Returns
    -------
    dict
        Step → array [p, 2]: the vectors along the two directions in which the last matrix has its cos and sin parts of
        that frequency. The plane is the same at all steps.
    """
    last = np.asarray(matrices[max(matrices)], dtype=float)
    frequency = frequency or key_frequencies(last, 1)[0]
    directions = fourier_basis(len(last))[2 * frequency - 1 : 2 * frequency + 1] @ last
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return {step: np.asarray(matrix, dtype=float) @ directions.T for step, matrix in matrices.items()}


def training_frames(rows: pd.DataFrame, points: Mapping[int, Floats]) -> dict[str, Any]:
    """What the training scrubber shows of one run: its curves, and some points as they move.

    Parameters
    ----------
    rows : DataFrame
        Rows of one run.
    points : mapping
        Step → array [p, 2].

    Returns
    -------
    dict
        `steps`, `train_accuracy`, `val_accuracy`, `train_loss`, `val_loss`, `embedding_steps`, `embeddings`.
    """
    metrics = ["train_accuracy", "val_accuracy", "train_loss", "val_loss"]
    curves = rows[rows["metric"].isin(metrics)].pivot(index="step", columns="metric", values="value")
    frames: dict[str, Any] = {"steps": curves.index.tolist(), "embedding_steps": sorted(points)}
    frames |= {metric: curves[metric].tolist() for metric in metrics}
    return frames | {"embeddings": [np.round(points[step], 3).tolist() for step in sorted(points)]}
