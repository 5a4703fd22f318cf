"""Week 1: one layer, its cost, slopes, backpropagation by hand, a step downhill, random labels, one attention head."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.polynomial import Polynomial

from coursekit.experiments.neural_networks import analysis
from coursekit.lab.exercises import Exercise, Misconception

Arguments = list[tuple[Any, ...]]


# 1. One layer


def layer(weights: np.ndarray, biases: np.ndarray, left: np.ndarray) -> np.ndarray:
    """Return the activations of a column of units: σ(W a + b)."""
    network = analysis.Network((analysis.Layer(np.asarray(weights), np.asarray(biases)),))
    return analysis.forward(network, np.asarray(left)[None])[-1][0]


LAYER = Exercise(
    "neural_networks.layer",
    layer,
    # As many units on both sides: rows and columns exchanged then give a wrong answer, not an error of NumPy's
    inputs=lambda rng: [(rng.normal(size=(n, n)), rng.normal(size=n), rng.random(n)) for n in (2, 3, 5)],
    difficulty=1,
    importance=5,
    minutes=8,
    misconceptions=(
        Misconception(
            "no bias",
            lambda w, b, a: analysis.sigmoid(w @ a),
            "the biases are missing: each unit adds its own to the sum, before the sigmoid.",
        ),
        Misconception(
            "no sigmoid",
            lambda w, b, a: w @ a + b,
            "these are the sums z. An activation is what the sigmoid makes of them, a number between 0 and 1.",
        ),
        Misconception(
            "bias after the sigmoid",
            lambda w, b, a: analysis.sigmoid(w @ a) + b,
            "the bias is added after the sigmoid, so activations leave the range from 0 to 1. It belongs inside.",
        ),
        Misconception(
            "the sigmoid upside down",
            lambda w, b, a: analysis.sigmoid(-(w @ a + b)),
            "this is 1 / (1 + e^z), which falls as z grows. The sigmoid has e^−z.",
        ),
        Misconception(
            "ReLU",
            lambda w, b, a: analysis.relu(w @ a + b),
            "this is the ReLU. The network of the videos has sigmoids.",
        ),
        Misconception(
            "brackets missing",
            lambda w, b, a: 1 + np.exp(-(w @ a + b)),
            "Python divides before it adds: 1 / 1 + e^−z is 1 + e^−z. Put the sum below the line in brackets.",
        ),
        Misconception(
            "bias subtracted",
            lambda w, b, a: analysis.sigmoid(w @ a - b),
            "the bias is subtracted. (In e^(−W a + b) the minus sign stops before b: write −(W a + b).)",
        ),
        Misconception(
            "rows and columns exchanged",
            lambda w, b, a: analysis.sigmoid(a @ w + b),
            "rows and columns are exchanged: a row of W belongs to a unit on the right. That is W @ a, with W first.",
        ),
        Misconception(
            "one sum for all",
            lambda w, b, a: analysis.sigmoid((w * a).sum() + b),
            "you add up the products of all units at once. Each unit has a sum of its own, along its row: W @ a.",
        ),
    ),
)


# 2. The cost of one image


def cost(outputs: np.ndarray, label: int) -> float:
    """Return Σ (a_j − y_j)² over the ten outputs, where y is 1 for the label and 0 elsewhere."""
    return float(((np.asarray(outputs) - analysis.one_hot(np.array(label))) ** 2).sum())


def _draw_outputs(rng: np.random.Generator) -> Arguments:
    labels = rng.permutation(np.arange(1, 10))[:3]  # with a 0, "the label itself" would be right by luck
    return [(rng.random(10).round(2), int(label)) for label in labels]


COST = Exercise(
    "neural_networks.cost",
    cost,
    inputs=_draw_outputs,
    difficulty=1,
    importance=5,
    minutes=6,
    misconceptions=(
        Misconception(
            "the mean",
            lambda a, label: cost(a, label) / 10,
            "this is the mean over the ten outputs. The videos add the ten squares up.",
        ),
        Misconception(
            "half",
            lambda a, label: cost(a, label) / 2,
            "this is half the cost. Many books write a ½ so that it cancels in the derivative; the videos do not.",
        ),
        Misconception(
            "the label as a target",
            lambda a, label: float(((a - label) ** 2).sum()),
            "you compare every output with the label itself. What the outputs should be is 1 for that digit, and 0 "
            "for the other nine.",
        ),
        Misconception(
            "the right output only",
            lambda a, label: float((a[label] - 1) ** 2),
            "only the output of the right digit counts here. The other nine should be 0, and cost when they are not.",
        ),
        Misconception(
            "no square",
            lambda a, label: float(np.abs(a - np.eye(10)[label]).sum()),
            "these are distances. The cost adds up their squares.",
        ),
        Misconception(
            "not added up",
            lambda a, label: (a - np.eye(10)[label]) ** 2,
            "these are ten squares. The cost of the image is one number, their sum.",
        ),
        Misconception(
            "summed, then squared",
            lambda a, label: float((a - np.eye(10)[label]).sum() ** 2),
            "you add up first, so that an output that is too large makes up for one that is too small. Square each "
            "difference first.",
        ),
        Misconception(
            "the root",
            lambda a, label: float(np.linalg.norm(a - np.eye(10)[label])),
            "this is the root of the cost. Leave the root out.",
        ),
        Misconception(
            "all ten should be 0",
            lambda a, label: float((a**2).sum()),
            "here all ten outputs should be 0. That of the digit shown should be 1: set it in the targets.",
        ),
    ),
)


# 3. A slope without calculus


def slope(f: Callable[[Any], Any], w: float, nudge: float) -> float:
    """Return (f(w + ε) − f(w − ε)) / 2ε."""
    return float((f(w + nudge) - f(w - nudge)) / (2 * nudge))


SLOPE = Exercise(
    "neural_networks.slope",
    slope,
    inputs=lambda rng: [
        (Polynomial(rng.integers(1, 5, 4)), float(rng.integers(2, 5)), nudge) for nudge in (0.5, 0.1, 0.01)
    ],
    difficulty=2,
    importance=4,
    minutes=6,
    misconceptions=(
        Misconception(
            "one-sided",
            lambda f, w, nudge: float((f(w + nudge) - f(w)) / nudge),
            "you nudge upward only. That works too, but its error shrinks like ε, that of two sides like ε²: nudge "
            "up and down, and divide by the distance between the two.",
        ),
        Misconception(
            "half the distance",
            lambda f, w, nudge: float((f(w + nudge) - f(w - nudge)) / nudge),
            "twice too steep: from w − ε to w + ε it is 2ε, not ε.",
        ),
        Misconception(
            "not divided",
            lambda f, w, nudge: float(f(w + nudge) - f(w - nudge)),
            "this is how much the cost changes. A slope is that divided by how far you went, 2ε.",
        ),
        Misconception(
            "downhill",
            lambda f, w, nudge: -slope(f, w, nudge),
            "the sign is turned around. The slope is positive where the cost grows with w.",
        ),
        Misconception(
            "brackets missing",
            lambda f, w, nudge: float((f(w + nudge) - f(w - nudge)) / 2 * nudge),
            "Python reads / 2 * nudge from left to right: halved, then multiplied by ε. Put 2 * nudge in brackets.",
        ),
        Misconception(
            "downward only",
            lambda f, w, nudge: float((f(w) - f(w - nudge)) / nudge),
            "you nudge downward only. Look ε above and ε below, and divide by the distance between the two.",
        ),
    ),
)


# 4. The gradient of the last layer


def last_gradient(left: np.ndarray, outputs: np.ndarray, label: int) -> np.ndarray:
    """Return ∂C/∂w_jk = 2 (a_j − y_j) a_j (1 − a_j) a_k for the weights of the last layer, [10, units on the left]."""
    outputs = np.asarray(outputs)
    error = 2 * (outputs - analysis.one_hot(np.array(label))) * outputs * (1 - outputs)
    return np.outer(error, left)


def _draw_last(rng: np.random.Generator) -> Arguments:
    return [(rng.random(n).round(2), rng.random(10).round(2), int(rng.integers(10))) for n in (1, 3, 16)]


LAST_GRADIENT = Exercise(
    "neural_networks.last_gradient",
    last_gradient,
    inputs=_draw_last,
    difficulty=3,
    importance=5,
    minutes=12,
    misconceptions=(
        Misconception(
            "no slope of the sigmoid",
            lambda left, a, label: np.outer(2 * (a - np.eye(10)[label]), left),
            "the sigmoid's slope a (1 − a) is missing: a weight moves the sum z, and the sum moves the output only as "
            "far as the sigmoid is steep there.",
        ),
        Misconception(
            "no 2",
            lambda left, a, label: last_gradient(left, a, label) / 2,
            "half of it: the derivative of a square is twice what was squared.",
        ),
        Misconception(
            "downhill",
            lambda left, a, label: -last_gradient(left, a, label),
            "the sign is turned around: y − a points downhill. The gradient points uphill, and the minus comes with "
            "the step.",
        ),
        Misconception(
            "the left activations left out",
            lambda left, a, label: np.outer(2 * (a - np.eye(10)[label]) * a * (1 - a), np.ones_like(left)),
            "this is the gradient of the biases, once for each weight. A weight's part also has the activation on its "
            "left: a weight from a silent unit changes nothing.",
        ),
        Misconception(
            "transposed",
            lambda left, a, label: last_gradient(left, a, label).T,
            "rows and columns are exchanged: w_jk leads from unit k on the left to output j, so there is one row for "
            "each output.",
        ),
        Misconception(
            "the difference only",
            lambda left, a, label: np.outer(a - np.eye(10)[label], left),
            "two factors are missing: the slope of a square is 2 (a − y), and the sigmoid's slope is a (1 − a).",
        ),
        Misconception(
            "the square in place of its slope",
            lambda left, a, label: np.outer((a - np.eye(10)[label]) ** 2 * a * (1 - a), left),
            "you multiply by the square itself. How fast it grows is its slope, 2 (a − y).",
        ),
        Misconception(
            "a second sigmoid",
            lambda left, a, label: np.outer(
                2 * (a - np.eye(10)[label]) * analysis.sigmoid(a) * (1 - analysis.sigmoid(a)), left
            ),
            "the outputs have been through the sigmoid already. Its slope there is a (1 − a), with a as it is.",
        ),
        Misconception(
            "the label as a target",
            lambda left, a, label: np.outer(2 * (a - label) * a * (1 - a), left),
            "you subtract the label itself. What the ten outputs should be is 1 for that digit, and 0 for the others.",
        ),
        Misconception(
            "the errors only",
            lambda left, a, label: 2 * (a - np.eye(10)[label]) * a * (1 - a),
            "these are the errors δ of the ten outputs. Each weight's slope is the error on its right times the "
            "activation on its left: np.outer makes the table.",
        ),
    ),
)


# 5. The error, one column further to the left


def hidden_error(error: np.ndarray, weights: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """Return δ_k = (Σ_j δ_j w_jk) a_k (1 − a_k) for the hidden units on the left of a layer."""
    hidden = np.asarray(hidden)
    return (np.asarray(error) @ np.asarray(weights)) * hidden * (1 - hidden)


HIDDEN_ERROR = Exercise(
    "neural_networks.hidden_error",
    hidden_error,
    # As many units on both sides: a weight matrix that is not turned around then gives a wrong answer, not an error
    inputs=lambda rng: [(rng.normal(size=n), rng.normal(size=(n, n)), rng.random(n)) for n in (2, 3, 5)],
    difficulty=4,
    importance=5,
    minutes=12,
    misconceptions=(
        Misconception(
            "weights not turned around",
            lambda error, w, hidden: (w @ error) * hidden * (1 - hidden),
            "you multiply by W as on the way forward. Going back, unit k collects from all units j that it feeds, so "
            "it needs the column k of W: Wᵀ δ.",
        ),
        Misconception(
            "no slope of the sigmoid",
            lambda error, w, hidden: error @ w,
            "this is ∂C/∂a, by the activations. To get to the sum z of each hidden unit, multiply by the slope of its "
            "sigmoid, a (1 − a).",
        ),
        Misconception(
            "the activation in place of the slope",
            lambda error, w, hidden: (error @ w) * hidden,
            "you multiply by the activation. That is for the gradient of the weights; here it is the slope, a (1 − a).",
        ),
        Misconception(
            "the sign of the weights lost",
            lambda error, w, hidden: (error @ np.abs(w)) * hidden * (1 - hidden),
            "the signs of the weights got lost. A negative weight turns blame into praise.",
        ),
        Misconception(
            "weights not turned around, no slope",
            lambda error, w, hidden: w @ error,
            "two things: going back it is Wᵀ δ, since unit k collects from all units that it feeds; and then the slope "
            "of its own sigmoid, a (1 − a).",
        ),
        Misconception(
            "a second sigmoid",
            lambda error, w, hidden: (error @ w) * analysis.sigmoid(hidden) * (1 - analysis.sigmoid(hidden)),
            "the activations have been through the sigmoid already. Its slope there is a (1 − a), with a as it is.",
        ),
        Misconception(
            "the 2 once more",
            lambda error, w, hidden: 2 * (error @ w) * hidden * (1 - hidden),
            "twice too much. The 2 came from the square in the cost, and the errors on the right contain it already.",
        ),
        Misconception(
            "the weights left out",
            lambda error, w, hidden: error * hidden * (1 - hidden),
            "the weights are missing: each error on the right comes back through the weight that joins the two units.",
        ),
    ),
)


# 6. A step


def step(weights: np.ndarray, gradients: np.ndarray, learning_rate: float) -> np.ndarray:
    """Return w − η times the mean of the images' gradients."""
    return np.asarray(weights) - learning_rate * np.mean(gradients, axis=0)


STEP = Exercise(
    "neural_networks.step",
    step,
    inputs=lambda rng: [
        (rng.normal(size=(2, 3)), rng.normal(size=(n, 2, 3)), float(rng.choice([0.1, 0.5, 3.0])))
        for n in (2, 4, 10)
    ],
    difficulty=1,
    importance=5,
    minutes=5,
    misconceptions=(
        Misconception(
            "uphill",
            lambda w, g, rate: w + rate * g.mean(0),
            "that goes uphill, and the cost grows. The gradient points up; go the other way.",
        ),
        Misconception(
            "the sum",
            lambda w, g, rate: w - rate * g.sum(0),
            "you add the images' gradients up. With their mean, η means the same whatever the size of the batch.",
        ),
        Misconception(
            "the first image only",
            lambda w, g, rate: w - rate * g[0],
            "only the first image has a say. Take the mean over the whole batch, along the first axis.",
        ),
        Misconception(
            "no learning rate",
            lambda w, g, rate: w - g.mean(0),
            "the learning rate is missing: η decides how far to go.",
        ),
        Misconception(
            "one number",
            lambda w, g, rate: w - rate * g.mean(),
            "you take the mean over everything, so that every weight moves alike. Mean over images only: axis 0.",
        ),
        Misconception(
            "a step for each image",
            lambda w, g, rate: w - rate * g,
            "these are new weights for each image by itself. Take the mean of the slopes over images first: axis 0.",
        ),
        Misconception(
            "the change only",
            lambda w, g, rate: -rate * g.mean(0),
            "this is the change. Return the weights as they are after it.",
        ),
    ),
)


# 7. What random labels allow


def without_memory(share: float) -> float:
    """Return the share of given labels that the true digits match: 1 − 0.9 s, if s of the labels were drawn anew."""
    return 1 - 0.9 * share


WITHOUT_MEMORY = Exercise(
    "neural_networks.without_memory",
    without_memory,
    inputs=lambda rng: [(1.0,), (0.5,), (float(rng.uniform(0.1, 0.9)),)],
    difficulty=2,
    importance=4,
    minutes=6,
    misconceptions=(
        Misconception(
            "never right by luck",
            lambda share: 1 - share,
            "a label drawn from all ten digits is the true one in one case of ten. Count that luck.",
        ),
        Misconception(
            "the wrong ones",
            lambda share: 0.9 * share,
            "this is the share that it gets wrong.",
        ),
        Misconception(
            "guessing",
            lambda share: 0.1,
            "this is what guessing gives. This network knows every digit; only some of its labels do not agree.",
        ),
        Misconception(
            "luck for all",
            lambda share: 1 - share + 0.1,
            "that counts the luck of all labels. Only those that were drawn anew, a share s, need it: s / 10.",
        ),
        Misconception(
            "luck only",
            lambda share: share / 10,
            "these are the labels that were drawn anew and are right by luck. Those that stayed agree as well.",
        ),
    ),
)


# 8. An attention head


def attention_head(x: np.ndarray, w_query: np.ndarray, w_key: np.ndarray, w_value: np.ndarray) -> np.ndarray:
    """Return softmax(q kᵀ / √d_head) v, [seq, d_head], where no position sees a later one."""
    return analysis.attention_head(*map(np.asarray, (x, w_query, w_key, w_value)))[0]


def _head(
    *,
    root: str = "d_head",
    mask: str = "before",
    first: int = 1,
    score: float = -np.inf,
    axis: int = -1,
    swap: bool = False,
) -> Callable[..., Any]:
    """Return an attention head with something wrong: root, mask, axis of the softmax, or q and k swapped."""

    def head(x: np.ndarray, w_query: np.ndarray, w_key: np.ndarray, w_value: np.ndarray) -> np.ndarray:
        q, k, v = x @ w_query.T, x @ w_key.T, x @ w_value.T
        length = {"d_head": q.shape[-1], "d_model": x.shape[-1], "d_head²": q.shape[-1] ** 2, "none": 1}[root]
        scores = (k @ q.T if swap else q @ k.T) / np.sqrt(length)
        hidden = np.triu(np.ones_like(scores, dtype=bool), first)
        if mask == "before":
            scores = np.where(hidden, score, scores)
        with np.errstate(invalid="ignore"):  # where everything is hidden, NaN, as a student gets
            pattern = np.exp(scores - scores.max(axis, keepdims=True))
        pattern = pattern / pattern.sum(axis, keepdims=True)
        return (np.where(hidden, 0, pattern) if mask == "after" else pattern) @ v

    return head


def _draw_heads(rng: np.random.Generator) -> Arguments:
    return [
        (rng.normal(size=(seq, 4)), *rng.normal(size=(3, d_head, 4)))
        for seq, d_head in ((2, 2), (3, 2), (6, 3))
    ]


ATTENTION_HEAD = Exercise(
    "neural_networks.attention_head",
    attention_head,
    inputs=_draw_heads,
    difficulty=4,
    importance=5,
    minutes=20,
    misconceptions=(
        Misconception(
            "no mask",
            _head(mask="none"),
            "every token sees the whole text, later tokens too. A model that is to predict the next token must not see "
            "it: set those scores to minus infinity before the softmax.",
        ),
        Misconception(
            "the mask after the softmax",
            _head(mask="after"),
            "later tokens are struck out after the softmax, so the rows no longer add up to 1. Set their scores to "
            "minus infinity before it.",
        ),
        Misconception(
            "no square root",
            _head(root="none"),
            "the scores are not divided by √d_head. Without that they grow with the width of the head, and the softmax "
            "gets so sure that it has no slope left to learn from.",
        ),
        Misconception(
            "softmax down the columns",
            _head(axis=0),
            "the softmax runs down the columns. It is each token's own shares, the row, that add up to 1.",
        ),
        Misconception(
            "queries and keys swapped",
            _head(swap=True),
            "queries and keys changed places. Row i belongs to the token that asks: its query, with everybody's keys.",
        ),
        Misconception(
            "zero in place of minus infinity",
            _head(score=0),
            "the scores of later tokens are 0, and e^0 is 1, so they still get a share. Minus infinity gives e^−∞ = 0.",
        ),
        Misconception(
            "a token hidden from itself",
            _head(first=0),
            "a token may look at itself, and here it may not; so the first has nothing to look at, and gets NaN. The "
            "tokens to hide begin one to the right of the diagonal: k=1.",
        ),
        Misconception(
            "the root of the width",
            _head(root="d_model"),
            "you divide by the root of the width of the stream. d is the length of a query, the number of rows of W_Q.",
        ),
        Misconception(
            "no root",
            _head(root="d_head²"),
            "you divide by d. It is the root of d: that is how the size of a sum of d random products grows.",
        ),
        Misconception(
            "the shares only",
            lambda x, w_query, w_key, w_value: analysis.attention_head(x, w_query, w_key, w_value)[1],
            "these are the shares. The head hands over values: multiply the shares by them.",
        ),
    ),
)


EXERCISES = (LAYER, COST, SLOPE, LAST_GRADIENT, HIDDEN_ERROR, STEP, WITHOUT_MEMORY, ATTENTION_HEAD)
