"""The bilinear model with its gradient, and what the runs show.

No torch here: rows (pandas) and arrays (NumPy) go in, so a chapter can use all of it.

The bilinear model predicts an entity y from an entity x by p(y | x) = softmax over y of ``xᵀ Θ y``. Its gradient can
be written down, and with it the reason of the reversal curse: a step that teaches x → y moves Θ by a multiple of
``x (y − ȳ)ᵀ``, and the score of the reverse, ``yᵀ Θ x``, by ``(y · x)`` times something. Where embeddings are
orthogonal that is 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from coursekit import stats
from coursekit.results import stored_matrices

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]

EMBEDDINGS = ("one_hot", "gaussian", "roles", "partners", "entities")
"""Kinds of `make_embeddings`."""

OVERLAPS = tuple(round(0.05 * k, 2) for k in range(21))
"""0, 0.05, … 1."""


class Embeddings(NamedTuple):
    """Vectors of V entities in their two roles: what is asked about (`source`) and what is answered (`target`).

    Arrays [*runs, V, d]; in most kinds the two are the same array.
    """

    source: Floats
    target: Floats


def make_embeddings(
    kind: str,
    n: int,
    *,
    d: int | None = None,
    overlap: float = 0.0,
    pairs: Ints | None = None,
    seed: int = 0,
) -> Embeddings:
    """Unit vectors for n entities with exactly the overlap ρ (an inner product) asked for.

    Parameters
    ----------
    kind : {"one_hot", "gaussian", "roles", "partners", "entities"}
        "one_hot": orthonormal, d = n. "gaussian": every number from N(0, 1/d), so that vectors are of length about 1
        and *nearly* orthogonal, with inner products of size about 1/√d, as in the paper. "roles": an entity's vector as
        a source and its vector as a target have inner product ρ, d = 2n. "partners": the two entities of a pair have
        inner product ρ, d = n. "entities": any two entities have inner product ρ, d = n + 1. All other inner products
        are 0.
    n : int
    d : int, optional
        Dimension of "gaussian"; default n.
    overlap : float
        ρ, from 0 to 1 ("one_hot" and "gaussian" have none to set).
    pairs : int array [m, 2], optional
        For "partners": who belongs together; no entity twice.
    seed : int
        Of "gaussian".

    Returns
    -------
    Embeddings
        Arrays [n, d].

    Raises
    ------
    ValueError
        If the kind is unknown, or ρ, d or the pairs do not suit it.

    Examples
    --------
    >>> source, target = make_embeddings("roles", 3, overlap=0.6)
    >>> (source @ target.T).round(2).tolist()
    [[0.6, 0.0, 0.0], [0.0, 0.6, 0.0], [0.0, 0.0, 0.6]]
    """
    if kind not in EMBEDDINGS:
        raise ValueError(f"kind must be one of {', '.join(EMBEDDINGS)}, got {kind!r}; choose one of them")
    if not 0 <= overlap <= 1:
        raise ValueError(f"overlap must be an inner product from 0 to 1, got {overlap}; 0 is orthogonal")
    if overlap and kind in ("one_hot", "gaussian"):
        raise ValueError(
            f"{kind} embeddings have no overlap to set, got {overlap}; take roles, partners or entities"
        )
    if d is not None and kind != "gaussian":
        raise ValueError(f"d is for gaussian embeddings, got {d} for {kind}; leave it out")
    if kind == "gaussian":
        size = n if d is None else d
        both = np.random.default_rng(seed).standard_normal((n, size)) / np.sqrt(size)
        return Embeddings(both, both)
    one = np.eye(n)
    rest = np.sqrt(1 - overlap**2)
    if kind == "roles":
        return Embeddings(np.hstack([one, 0 * one]), np.hstack([overlap * one, rest * one]))
    if kind == "entities":
        shared = np.full((n, 1), np.sqrt(overlap))
        one = np.hstack([shared, np.sqrt(1 - overlap) * one])
    if kind == "partners":
        if pairs is None or len(np.unique(pairs)) < np.size(pairs):
            raise ValueError("partners need pairs with no entity twice: pass pairs, an array [m, 2]")
        first, second = np.asarray(pairs).T
        one[second] = overlap * one[first] + rest * one[second]
    return Embeddings(one, one)


def bilinear_logits(theta: Floats, embeddings: Embeddings, sources: Ints) -> Floats:
    """Score every entity as the answer for some sources: ``xᵀ Θ y``.

    Parameters
    ----------
    theta : array [*runs, d, d]
    embeddings : Embeddings
    sources : int array [n]

    Returns
    -------
    array [*runs, n, V]

    References
    ----------
    Zhu et al. 2024, section 3.

    Examples
    --------
    >>> theta = np.array([[0.0, 2.0], [0.0, 0.0]])
    >>> bilinear_logits(theta, make_embeddings("one_hot", 2), np.array([0, 1])).tolist()
    [[0.0, 2.0], [0.0, 0.0]]
    """
    return embeddings.source[..., sources, :] @ theta @ np.swapaxes(embeddings.target, -1, -2)


def bilinear_loss(theta: Floats, embeddings: Embeddings, pairs: Ints) -> Floats:
    """−log softmax(xᵀ Θ)_y of every pair, in nats.

    Parameters
    ----------
    theta : array [*runs, d, d]
    embeddings : Embeddings
    pairs : int array [n, 2]
        Numbers of source x and target y.

    Returns
    -------
    array [*runs, n]

    Examples
    --------
    >>> loss = bilinear_loss(np.zeros((4, 4)), make_embeddings("one_hot", 4), np.array([[0, 1]]))
    >>> round(float(loss[0]), 4)  # ln 4: nothing is known
    1.3863
    """
    logits = bilinear_logits(theta, embeddings, pairs[:, 0])
    top = logits.max(-1, keepdims=True)
    log_total = np.log(np.exp(logits - top).sum(-1)) + top[..., 0]
    return log_total - logits[..., np.arange(len(pairs)), pairs[:, 1]]


def bilinear_gradient(theta: Floats, embeddings: Embeddings, pairs: Ints) -> Floats:
    """Gradient of the loss summed over pairs, in closed form: ``Σ x (ȳ − y)ᵀ`` with ``ȳ = Σ_v p(v | x) v``.

    Parameters and shapes are those of `bilinear_loss`.

    Returns
    -------
    array [*runs, d, d]

    Notes
    -----
    The left factor is the source x alone. So a step of gradient descent changes the scores of another source x' by its
    inner product with x, and not at all if the two are orthogonal.

    Examples
    --------
    >>> embeddings = make_embeddings("one_hot", 3)
    >>> gradient = bilinear_gradient(np.zeros((3, 3)), embeddings, np.array([[0, 1]]))
    >>> gradient.round(2).tolist()  # only the row of the source moves, towards the answer
    [[0.33, -0.67, 0.33], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    """
    logits = bilinear_logits(theta, embeddings, pairs[:, 0])
    p = np.exp(logits - logits.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    p[..., np.arange(len(pairs)), pairs[:, 1]] -= 1
    x = embeddings.source[..., pairs[:, 0], :]
    return np.swapaxes(x, -1, -2) @ (p @ embeddings.target)


@dataclass(frozen=True, eq=False)
class BilinearRun:
    """What `train_bilinear` returns.

    Attributes
    ----------
    theta : array [n_seeds, d, d]
        At the end.
    embeddings : Embeddings
    steps : list of int
    losses : dict
        Name of a set of pairs → array [n_steps, n_seeds, n_pairs], nats.
    """

    theta: Floats
    embeddings: Embeddings
    steps: list[int]
    losses: dict[str, Floats]

    def probability(self, name: str) -> Floats:
        """Mean probability of the right answer over a set of pairs, [n_steps, n_seeds]."""
        return np.exp(-self.losses[name]).mean(-1)


def train_bilinear(
    pairs: Ints,
    embeddings: Embeddings,
    *,
    watch: Mapping[str, Ints] | None = None,
    n_steps: int = 100,
    learning_rate: float = 1.0,
    symmetric: bool = False,
    init_std: float = 0.01,
    seeds: Sequence[int] = (0,),
    every: int = 1,
) -> BilinearRun:
    """Gradient descent on the pairs, Θ ← Θ − η ∂L/∂Θ with L the sum of the pairs' losses, for all seeds at once.

    Parameters
    ----------
    pairs : int array [n, 2]
        Trained on, all in every step.
    embeddings : Embeddings
        Arrays [V, d], or [n_seeds, V, d].
    watch : mapping, optional
        Name → pairs to measure, besides "train": for example the reverses, ``{"reverse": pairs[:, ::-1]}``.
    n_steps : int
    learning_rate : float
        η. The loss is a sum, so it does not depend on how many pairs there are.
    symmetric : bool
        Keep Θ = Θᵀ: start from, and step along, symmetric parts (M + Mᵀ)/2.
    init_std : float
        Standard deviation of the Gaussian start Θ₀.
    seeds : sequence of int
        Of the start.
    every : int
        Measure at this distance in steps, at the start and at the end.

    Returns
    -------
    BilinearRun

    Raises
    ------
    ValueError
        If a size makes no sense, or the loss is no longer a finite number.

    References
    ----------
    Zhu et al. 2024, section 3; discrete steps instead of gradient flow.

    Examples
    --------
    >>> pairs = np.array([[0, 2], [1, 3]])
    >>> run = train_bilinear(pairs, make_embeddings("one_hot", 4), watch={"reverse": pairs[:, ::-1]}, init_std=0.0)
    >>> run.probability("train")[-1].round(2).tolist(), run.probability("reverse")[-1].round(2).tolist()
    ([0.99], [0.25])
    """
    if n_steps < 1 or every < 1 or learning_rate <= 0 or init_std < 0 or not len(seeds) or not len(pairs):
        raise ValueError(
            "expected pairs, seeds, n_steps and every of 1 or more, a learning_rate above 0 and an init_std of 0 or "
            f"more, got {len(pairs)} pairs, {len(seeds)} seeds, n_steps={n_steps}, every={every}, "
            f"learning_rate={learning_rate}, init_std={init_std}"
        )
    d = embeddings.source.shape[-1]
    theta: Floats = np.stack(
        [init_std * np.random.default_rng(seed).standard_normal((d, d)) for seed in seeds]
    )
    theta = _symmetric_part(theta) if symmetric else theta
    sets = {"train": np.asarray(pairs)} | {name: np.asarray(some) for name, some in (watch or {}).items()}
    steps: list[int] = []
    losses: dict[str, list[Floats]] = {name: [] for name in sets}
    for step in range(n_steps + 1):
        if step % every == 0 or step == n_steps:
            steps.append(step)
            for name, some in sets.items():
                losses[name].append(bilinear_loss(theta, embeddings, some))
            if not np.isfinite(losses["train"][-1]).all():
                raise ValueError(
                    f"the loss is not a finite number at step {step}: lower learning_rate={learning_rate}"
                )
        if step < n_steps:
            gradient = bilinear_gradient(theta, embeddings, sets["train"])
            theta = theta - learning_rate * (_symmetric_part(gradient) if symmetric else gradient)
    return BilinearRun(theta, embeddings, steps, {name: np.stack(parts) for name, parts in losses.items()})


def overlap_sweep(
    overlaps: Sequence[float] | Floats = OVERLAPS,
    *,
    kind: str = "roles",
    symmetric: bool = True,
    n_pairs: int = 20,
    n_steps: int = 60,
    learning_rate: float = 1.0,
    seeds: Sequence[int] = (0, 1, 2),
    every: int = 2,
) -> pd.DataFrame:
    """Train the bilinear model on x → y alone at several overlaps, and ask both ways.

    Parameters
    ----------
    overlaps : sequence of float, or array
        ρ of `make_embeddings`.
    kind : {"roles", "partners", "entities"}
        What overlaps.
    symmetric : bool
        Whether Θ = Θᵀ.
    n_pairs : int
        Pairs of entities, none twice; the vocabulary is all of them, 2 · n_pairs.
    n_steps, learning_rate, seeds, every
        As in `train_bilinear`.

    Returns
    -------
    DataFrame
        A row for every overlap and step: `overlap`, `step`, `forward` and `reverse`, the mean probability of the right
        answer over pairs and seeds.

    Notes
    -----
    The step that teaches x → y adds some s to its score ``xᵀ Θ y``. What it adds to the reverse, ``yᵀ Θ x``: with
    overlapping roles nothing if Θ is free, whatever ρ is, and ρ² s if Θ is symmetric; with overlapping partners ρ² s
    even if Θ is free. An overlap that all entities share adds the same to all answers: nothing that tells them apart.

    Examples
    --------
    >>> table = overlap_sweep((0.0, 1.0), n_pairs=4, seeds=(0,))
    >>> last = table[table["step"] == 60]
    >>> last["reverse"].round(1).tolist()
    [0.1, 0.9]
    """
    if kind not in ("roles", "partners", "entities"):
        raise ValueError(f"kind must be roles, partners or entities, got {kind!r}; choose one of them")
    pairs = np.arange(2 * n_pairs).reshape(2, n_pairs).T
    parts = []
    for overlap in np.asarray(overlaps, dtype=float).tolist():
        embeddings = make_embeddings(kind, 2 * n_pairs, overlap=overlap, pairs=pairs)
        run = train_bilinear(
            pairs,
            embeddings,
            watch={"reverse": pairs[:, ::-1]},
            n_steps=n_steps,
            learning_rate=learning_rate,
            symmetric=symmetric,
            seeds=seeds,
            every=every,
        )
        parts.append(
            pd.DataFrame(
                {
                    "overlap": overlap,
                    "step": run.steps,
                    "forward": run.probability("train").mean(-1),
                    "reverse": run.probability("reverse").mean(-1),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def _symmetric_part(matrix: Floats) -> Floats:
    return (matrix + np.swapaxes(matrix, -1, -2)) / 2


def baselines(n_tokens: int = 802, n_candidates: int = 200) -> dict[str, float]:
    """−log p of two kinds of ignorance, in nats: any token of the vocabulary, and any token of the right kind.

    Examples
    --------
    >>> {name: round(value, 3) for name, value in baselines().items()}
    {'any of 802 tokens': 6.687, 'any of 200 candidates': 5.298}
    """
    return {
        f"any of {n_tokens} tokens": math.log(n_tokens),
        f"any of {n_candidates} candidates": math.log(n_candidates),
    }


def at_the_end(rows: pd.DataFrame, metric: str = "negative_log_prob", by: Sequence[str] = ()) -> pd.DataFrame:
    """Mean of a metric over seeds at the last measured step, with a 95 % bootstrap interval.

    Parameters
    ----------
    rows : DataFrame
        Rows of one run, or of several with a column that tells them apart.
    metric : str
    by : sequence of str
        Such columns.

    Returns
    -------
    DataFrame
        One row for every model, split and direction: `mean`, `low`, `high`, `lowest` and `highest`
        seed, `n` seeds, `step`.

    Raises
    ------
    ValueError
        If the rows do not have the metric or a column.
    """
    return stats.at_the_end(rows, metric, [*by, "model", "split", "direction"])


def cosine_similarities(vectors: Floats) -> Floats:
    """Cosines of the angles between all rows of a matrix, [n, n].

    Examples
    --------
    >>> cosine_similarities(np.array([[1.0, 0.0], [1.0, 1.0]])).round(3).tolist()
    [[1.0, 0.707], [0.707, 1.0]]
    """
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit @ unit.T


def stored_matrix(rows: pd.DataFrame, name: str) -> Floats:
    """The matrix that a run stored under a name, at one step only; see `coursekit.results.stored_matrices`."""
    [matrix] = stored_matrices(rows, name).values()
    return matrix
