"""Week 7: what ignorance costs, the split, the bilinear model's gradient, orthogonality, the chain."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from coursekit.experiments.reversal_dynamics import analysis
from coursekit.lab.exercises import Exercise, Misconception

Arguments = list[tuple[Any, ...]]


# 1. What ignorance costs


def loss_of_ignorance(n: int) -> float:
    """Return the loss, in nats, of a model that finds n answers equally likely: ln n."""
    return math.log(n)


LOSS_OF_IGNORANCE = Exercise(
    "reversal_dynamics.loss_of_ignorance",
    loss_of_ignorance,
    inputs=lambda rng: [(802,), (200,), (int(rng.integers(3, 100)),)],
    difficulty=1,
    importance=4,
    minutes=4,
    misconceptions=(
        Misconception(
            "bits",
            lambda n: math.log2(n),
            "these are bits, logarithms to base 2. The course counts in nats: natural logarithms.",
        ),
        Misconception(
            "the probability",
            lambda n: 1 / n,
            "this is the probability of the right answer. The loss is minus its logarithm.",
        ),
        Misconception(
            "the wrong sign",
            lambda n: -math.log(n),
            "this is the log-probability, which is negative. The loss is minus that: what is sure costs 0.",
        ),
        Misconception(
            "base 10",
            lambda n: math.log10(n),
            "these are logarithms to base 10. np.log is the natural one.",
        ),
    ),
)


# 2. The split


def reverse_trained(train: np.ndarray, val: np.ndarray) -> float:
    """Return the share of held-out sentences [a, arrow, b] whose reverse [b, other arrow, a] is trained on."""
    trained = set(map(tuple, np.asarray(train).tolist()))
    return float(np.mean([(b, 1 - arrow, a) in trained for a, arrow, b in np.asarray(val).tolist()]))


def _draw_sentences(rng: np.random.Generator) -> Arguments:
    """Draw sentences of which some, but not all, held-out ones have what each rule below looks for."""
    drawn: Arguments = []
    for n in (6, 12, 24):
        x, y = 2 + rng.permutation(n), 2 + n + rng.permutation(n)
        forward = np.stack([x, 0 * x, y], 1)
        backward = np.stack([y, 1 + 0 * y, x], 1)
        wrong_arrow = np.stack([y, 0 * y, x], 1)
        third, sixth = n // 3, n // 6
        train = np.concatenate([backward[:third], wrong_arrow[third : third + sixth], forward[-1:]])
        drawn.append((rng.permutation(train), rng.permutation(forward)))
    return drawn


def _share(found: Callable[[set[tuple[int, ...]], int, int, int], bool]) -> Callable[..., float]:
    def share(train: np.ndarray, val: np.ndarray) -> float:
        trained = set(map(tuple, np.asarray(train).tolist()))
        return float(np.mean([found(trained, *sentence) for sentence in np.asarray(val).tolist()]))

    return share


REVERSE_TRAINED = Exercise(
    "reversal_dynamics.reverse_trained",
    reverse_trained,
    inputs=_draw_sentences,
    difficulty=2,
    importance=4,
    minutes=10,
    misconceptions=(
        Misconception(
            "the sentence itself",
            _share(lambda trained, a, arrow, b: (a, arrow, b) in trained),
            "you look for the held-out sentence itself among the training sentences. That should find none; the "
            "question is whether its reverse is there.",
        ),
        Misconception(
            "the arrow stays",
            _share(lambda trained, a, arrow, b: (b, arrow, a) in trained),
            "you swap the two entities and keep the arrow. The reverse of a → b is b ← a: 0 becomes 1, 1 "
            "becomes 0.",
        ),
        Misconception(
            "any sentence with the two",
            _share(lambda trained, a, arrow, b: any({a, b} == {s[0], s[2]} for s in trained)),
            "you count every training sentence with the same two entities, whatever its order and its arrow.",
        ),
        Misconception(
            "a count",
            lambda train, val: reverse_trained(train, val) * len(val),
            "this is the number of such sentences. Divide by the number of held-out sentences.",
        ),
    ),
)


# 3. The gradient


def bilinear_gradient(theta: np.ndarray, embeddings: np.ndarray, x: int, y: int) -> np.ndarray:
    """Return the gradient of -ln p(y | x) at Θ, for p(v | x) = softmax over v of e_xᵀ Θ e_v: e_x (Σ p_v e_v - e_y)ᵀ."""
    return analysis.bilinear_gradient(
        np.asarray(theta), analysis.Embeddings(embeddings, embeddings), np.array([[x, y]])
    )


def _draw_bilinear(rng: np.random.Generator) -> Arguments:
    drawn: Arguments = []
    for n, d in ((3, 2), (4, 3), (6, 5)):
        x, y = (int(i) for i in rng.choice(n, 2, replace=False))
        drawn.append((rng.normal(size=(d, d)), rng.normal(size=(n, d)), x, y))
    return drawn


def _probabilities(theta: np.ndarray, embeddings: np.ndarray, x: int) -> np.ndarray:
    scores = embeddings[x] @ theta @ embeddings.T
    weights = np.exp(scores - scores.max())
    return weights / weights.sum()


BILINEAR_GRADIENT = Exercise(
    "reversal_dynamics.bilinear_gradient",
    bilinear_gradient,
    inputs=_draw_bilinear,
    difficulty=4,
    importance=5,
    minutes=20,
    misconceptions=(
        Misconception(
            "uphill",
            lambda theta, embeddings, x, y: -bilinear_gradient(theta, embeddings, x, y),
            "this is the gradient of ln p(y | x). The loss is minus that: the answer's vector comes with a "
            "minus, and what the model expects with a plus.",
        ),
        Misconception(
            "transposed",
            lambda theta, embeddings, x, y: bilinear_gradient(theta, embeddings, x, y).T,
            "transposed: in e_xᵀ Θ e_v the source multiplies the rows of Θ, so e_x is the left factor.",
        ),
        Misconception(
            "only the answer",
            lambda theta, embeddings, x, y: -np.outer(embeddings[x], embeddings[y]),
            "you have the gradient of the answer's score alone. The softmax also divides by the sum over all "
            "answers: its gradient adds the average of their vectors, weighted by p.",
        ),
        Misconception(
            "only the answer's error",
            lambda theta, embeddings, x, y: np.outer(
                embeddings[x], (_probabilities(theta, embeddings, x)[y] - 1) * embeddings[y]
            ),
            "you move the answer's score by p - 1 and forget the other answers: each is pushed down by its own "
            "p.",
        ),
        Misconception(
            "an average with equal weights",
            lambda theta, embeddings, x, y: np.outer(embeddings[x], embeddings.mean(0) - embeddings[y]),
            "you average all vectors with equal weights. That is right only at Θ = 0: in general each has its "
            "softmax probability as its weight.",
        ),
    ),
)


# 4. What one step does to the reverse


def reverse_score_change(
    theta: np.ndarray, embeddings: np.ndarray, x: int, y: int, learning_rate: float
) -> float:
    """Return by how much e_yᵀ Θ e_x changes in one step of gradient descent on -ln p(y | x)."""
    step = -learning_rate * bilinear_gradient(theta, embeddings, x, y)
    return float(embeddings[y] @ step @ embeddings[x])


def _draw_steps(rng: np.random.Generator) -> Arguments:
    return [(*arguments, float(rng.uniform(0.1, 1))) for arguments in _draw_bilinear(rng)]


REVERSE_SCORE_CHANGE = Exercise(
    "reversal_dynamics.reverse_score_change",
    reverse_score_change,
    inputs=_draw_steps,
    difficulty=3,
    importance=5,
    minutes=12,
    misconceptions=(
        Misconception(
            "the forward score",
            lambda theta, embeddings, x, y, learning_rate: (
                -learning_rate * embeddings[x] @ bilinear_gradient(theta, embeddings, x, y) @ embeddings[y]
            ),
            "this is the change of the forward score, e_xᵀ Θ e_y: the one that is being taught. The reverse "
            "starts from y.",
        ),
        Misconception(
            "uphill",
            lambda theta, embeddings, x, y, learning_rate: (
                -reverse_score_change(theta, embeddings, x, y, learning_rate)
            ),
            "the sign is wrong: gradient descent moves against the gradient, Θ ← Θ - η times it.",
        ),
        Misconception(
            "no learning rate",
            lambda theta, embeddings, x, y, learning_rate: reverse_score_change(theta, embeddings, x, y, 1.0),
            "the learning rate is missing: the step is η times the gradient.",
        ),
        Misconception(
            "the whole score",
            lambda theta, embeddings, x, y, learning_rate: (
                embeddings[y]
                @ (theta - learning_rate * bilinear_gradient(theta, embeddings, x, y))
                @ embeddings[x]
            ),
            "this is the reverse score after the step. Asked is its change: subtract what it was before.",
        ),
    ),
)


# 5. Nearly orthogonal


def typical_cosine(d: int) -> float:
    """Return the root mean square of the cosine between two random Gaussian vectors in d dimensions: 1/√d."""
    return 1 / math.sqrt(d)


TYPICAL_COSINE = Exercise(
    "reversal_dynamics.typical_cosine",
    typical_cosine,
    inputs=lambda rng: [(4,), (768,), (int(rng.integers(10, 500)),)],
    difficulty=3,
    importance=4,
    minutes=10,
    misconceptions=(
        Misconception(
            "1/d",
            lambda d: 1 / d,
            "this is the mean of the squared cosine. Its root is the size of a typical cosine.",
        ),
        Misconception(
            "the mean",
            lambda d: 0.0,
            "the mean cosine is indeed 0, since positive and negative ones cancel. How far from 0 a typical one "
            "lies is the question.",
        ),
        Misconception(
            "the inner product",
            lambda d: math.sqrt(d),
            "this is the typical inner product of vectors whose numbers have variance 1. The cosine divides it by "
            "both lengths, each about √d.",
        ),
    ),
)


# 6. The chain


def chain_loss(p_middle: np.ndarray, p_end: np.ndarray, c: int) -> float:
    """Return -ln p(c) for a model that first writes b with p_middle[b], then c with p_end[b, c]."""
    return float(-np.log(np.asarray(p_middle) @ np.asarray(p_end)[:, c]))


def _draw_chains(rng: np.random.Generator) -> Arguments:
    drawn: Arguments = []
    for n in (2, 3, 6):
        middle = rng.dirichlet(np.ones(n))
        drawn.append((middle, rng.dirichlet(np.ones(n + 1), size=n), int(rng.integers(n + 1))))
    return drawn


CHAIN_LOSS = Exercise(
    "reversal_dynamics.chain_loss",
    chain_loss,
    inputs=_draw_chains,
    difficulty=3,
    importance=4,
    minutes=12,
    misconceptions=(
        Misconception(
            "the likeliest middle only",
            lambda p_middle, p_end, c: -np.log(p_middle.max() * p_end[p_middle.argmax(), c]),
            "you follow the likeliest middle alone. The end can be reached through every middle: add the "
            "probabilities of all ways.",
        ),
        Misconception(
            "a sum of logarithms",
            lambda p_middle, p_end, c: -(p_middle * np.log(p_end[:, c])).sum(),
            "you average the logarithms over the middle. First average the probabilities, then take the "
            "logarithm: ways add up, their logarithms do not.",
        ),
        Misconception(
            "the second step only",
            lambda p_middle, p_end, c: -np.log(p_end[:, c].mean()),
            "every middle counts the same in yours. Weigh each by how likely the first step is to write it.",
        ),
        Misconception(
            "the probability",
            lambda p_middle, p_end, c: p_middle @ p_end[:, c],
            "this is the probability of c. The loss is minus its logarithm.",
        ),
    ),
)


EXERCISES = (
    LOSS_OF_IGNORANCE,
    REVERSE_TRAINED,
    BILINEAR_GRADIENT,
    REVERSE_SCORE_CHANGE,
    TYPICAL_COSINE,
    CHAIN_LOSS,
)
