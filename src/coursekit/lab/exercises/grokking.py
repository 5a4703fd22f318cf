"""Week 5: the table, the delay, the leak, the decay, where float32 ends, the circle and the clock."""

from __future__ import annotations

from typing import Any

import numpy as np

from coursekit.experiments.grokking import analysis
from coursekit.experiments.grokking.data import mirror_equations, operation_table
from coursekit.lab.exercises import Exercise, Misconception

Arguments = list[tuple[Any, ...]]


# 1. The table


def division_table(p: int) -> np.ndarray:
    """Return a / b mod p at row a and column b - 1: the one c with b c = a."""
    pairs, answers = operation_table("div", p)
    table = np.empty((p, p - 1), int)
    table[pairs[:, 0], pairs[:, 1] - 1] = answers
    return table


def _draw_primes(rng: np.random.Generator) -> Arguments:
    return [(5,), (7,), (int(rng.choice([19, 23, 29, 31])),)]


def _each(p: int, entry: Any) -> np.ndarray:
    """Fill the table by a rule for one entry."""
    return np.array([[entry(a, b) for b in range(1, p)] for a in range(p)])


DIVISION_TABLE = Exercise(
    "grokking.division_table",
    division_table,
    inputs=_draw_primes,
    difficulty=1,
    importance=4,
    minutes=8,
    misconceptions=(
        Misconception(
            "integer division",
            lambda p: _each(p, lambda a, b: a // b),
            "this is whole-number division, a // b. Modulo p there is no rounding: a / b is the one c with b "
            "c = a (mod p), so that 1 / 2 = 3 for p = 5.",
        ),
        Misconception(
            "fractions",
            lambda p: _each(p, lambda a, b: a / b % p),
            "these are fractions. The answer has to be one of the p symbols 0 ... p - 1: the c with b c = a "
            "(mod p).",
        ),
        Misconception(
            "multiplication",
            lambda p: _each(p, lambda a, b: a * b % p),
            "this is the multiplication table. To divide by b, multiply by its inverse, the number with b · "
            "inverse = 1.",
        ),
        Misconception(
            "Fermat, off by one",
            lambda p: _each(p, lambda a, b: a * b ** (p - 1) % p),
            "b ** (p - 1) is 1 for every b (Fermat's little theorem), so every column became a. The inverse "
            "is b ** (p - 2).",
        ),
        Misconception(
            "overflow",
            lambda p: np.arange(p)[:, None] * np.arange(1, p) ** (p - 2) % p,
            "right for small p only: b ** (p - 2) has outgrown NumPy's 64 bits. pow(b, p - 2, p), or pow(b, "
            "-1, p), takes the remainder along the way.",
        ),
        Misconception(
            "upside down",
            lambda p: _each(p, lambda a, b: b * a ** (p - 2) % p),
            "this is b / a. Rows are a, columns are b, and the entry is a / b.",
        ),
        Misconception(
            "column b = 0",
            lambda p: np.hstack([np.zeros((p, 1), int), division_table(p)]),
            "the column b = 0 is in it. Nothing divides by 0: the table has p (p - 1) equations, which is "
            "why Power et al. have 9,312 for division mod 97, and 9,409 for addition.",
        ),
    ),
)


# 2. Accuracy


def answer_accuracy(logits: np.ndarray, tokens: np.ndarray) -> float:
    """Return the share of equations `a op b = c` in which c is the likeliest token after `=`."""
    return float((logits[:, -2].argmax(axis=-1) == tokens[:, -1]).mean())


def _draw_logits(rng: np.random.Generator) -> Arguments:
    """Draw equations, and logits that are right at each position with a probability of its own."""
    drawn: Arguments = []
    for n, vocab_size in ((5, 4), (40, 9), (60, 13)):
        tokens = rng.integers(vocab_size, size=(n, 5))
        following = np.hstack([tokens[:, 1:], tokens[:, -1:]])  # the last column, c after c, is a trap
        right = rng.random((n, 5)) < [0.8, 0.9, 0.9, 0.5, 0.2]
        logits = rng.normal(size=(n, 5, vocab_size))
        logits[right, following[right]] += 20
        drawn.append((logits, tokens))
    return drawn


ANSWER_ACCURACY = Exercise(
    "grokking.answer_accuracy",
    answer_accuracy,
    inputs=_draw_logits,
    difficulty=2,
    importance=4,
    minutes=8,
    misconceptions=(
        Misconception(
            "reads at the answer",
            lambda logits, tokens: (logits[:, -1].argmax(-1) == tokens[:, -1]).mean(),
            "you read the logits at the answer's own position. Logits at position t predict token t + 1: the "
            "prediction of c stands at `=`, and the network has not seen c there.",
        ),
        Misconception(
            "all positions",
            lambda logits, tokens: (logits[:, :-1].argmax(-1) == tokens[:, 1:]).mean(),
            "you average over all positions. op and = are always the same, hence trivial, and b cannot be "
            "known; only the answer says whether the operation was learned.",
        ),
        Misconception(
            "whole equation",
            lambda logits, tokens: (logits[:, :-1].argmax(-1) == tokens[:, 1:]).all(axis=1).mean(),
            "you ask for the whole equation. Nobody can guess b from a, so this stays near 0 in a network "
            "that knows every answer.",
        ),
        Misconception(
            "a count",
            lambda logits, tokens: (logits[:, -2].argmax(-1) == tokens[:, -1]).sum(),
            "this is the number of right answers. Accuracy is their share: divide by the number of "
            "equations.",
        ),
    ),
)


# 3. Steps to 99 %


def median_steps(steps: np.ndarray, accuracy: np.ndarray) -> float:
    """Return the median over runs of the first step at 99 %; a run that never arrives counts as infinity."""
    return float(np.median(_arrivals(steps, accuracy, never=np.inf)))


def _arrivals(steps: np.ndarray, accuracy: np.ndarray, never: float) -> np.ndarray:
    there = accuracy >= 0.99
    return np.where(there.any(axis=1), steps[there.argmax(axis=1)], never)


def _last_crossings(steps: np.ndarray, accuracy: np.ndarray) -> np.ndarray:
    below = [np.flatnonzero(run < 0.99)[-1] for run in accuracy]
    return np.array([steps[i + 1] if i + 1 < len(steps) else np.inf for i in below])


def _draw_curves(rng: np.random.Generator) -> Arguments:
    """Draw runs that arrive, dip once and stay; in all inputs but the first some runs never arrive."""
    drawn: Arguments = []
    for n_runs, n_never in ((3, 0), (5, 2), (5, 3)):
        steps = np.cumsum(rng.integers(5, 15, size=30)) * 10
        accuracy = rng.uniform(0.0, 0.2, size=(n_runs, 30))
        for run, arrival in enumerate(rng.choice(np.arange(3, 24), n_runs - n_never, replace=False)):
            accuracy[run, arrival:] = rng.uniform(0.995, 1.0)
            accuracy[run, arrival + 2] = 0.7
        drawn.append((steps, rng.permutation(accuracy)))
    return drawn


MEDIAN_STEPS = Exercise(
    "grokking.median_steps",
    median_steps,
    inputs=_draw_curves,
    difficulty=2,
    importance=5,
    minutes=12,
    misconceptions=(
        Misconception(
            "an index",
            lambda steps, accuracy: np.median(_arrivals(np.arange(len(steps)), accuracy, never=np.inf)),
            "this counts evaluations, not steps: look the index up in `steps`. (Evaluations need not be "
            "evenly spaced.)",
        ),
        Misconception(
            "never is at once",
            lambda steps, accuracy: np.median(_arrivals(steps, accuracy, never=float(steps[0]))),
            "a run that never arrives counts as the fastest of all: argmax over False, False, ... is 0. Ask "
            "`any` first.",
        ),
        Misconception(
            "survivors only",
            lambda steps, accuracy: np.median(_arrivals(steps, accuracy[(accuracy >= 0.99).any(axis=1)], 0)),
            "you left out the runs that never arrive. That is survivorship bias: the harder the setting, the "
            "fewer runs are left, and the faster it looks. Count them as infinity; the median can take it.",
        ),
        Misconception(
            "never is the budget",
            lambda steps, accuracy: np.median(_arrivals(steps, accuracy, never=float(steps[-1]))),
            "a run that never arrives counts as arriving at the last step, so a larger budget would change "
            "the answer. Where most runs never arrive, the honest median is infinity.",
        ),
        Misconception(
            "mean",
            lambda steps, accuracy: np.mean(_arrivals(steps, accuracy, never=np.inf)),
            "this is the mean: a single run that never arrives makes it infinite. The median needs only half "
            "of them.",
        ),
        Misconception(
            "average curve",
            lambda steps, accuracy: _arrivals(steps, accuracy.mean(axis=0, keepdims=True), never=np.inf)[0],
            "you average the curves first. The average of three sudden jumps is a staircase that no run ever "
            "climbed, and it reaches 99 % only when the slowest run does.",
        ),
        Misconception(
            "the last crossing",
            lambda steps, accuracy: np.median(_last_crossings(steps, accuracy)),
            "this is when accuracy is above 99 % for good. Runs dip now and then (slingshots); Power et al. "
            "count the first time.",
        ),
    ),
)


# 4. The leak


def mirror_leak(train: np.ndarray, val: np.ndarray) -> float:
    """Return the share of validation pairs (a, b) whose mirror image (b, a) was trained on."""
    mirrors = mirror_equations(np.vstack([train, val]))[len(train) :]
    return float((mirrors < len(train)).mean())


def _share(pairs: np.ndarray, among: np.ndarray) -> float:
    known = set(map(tuple, among.tolist()))
    return float(np.mean([tuple(pair) in known for pair in pairs.tolist()]))


def _draw_splits(rng: np.random.Generator) -> Arguments:
    drawn: Arguments = []
    for p, fraction in ((4, 0.5), (11, 0.3), (13, 0.7)):
        pairs = rng.permutation([(a, b) for a in range(p) for b in range(p)])
        n_train = round(fraction * len(pairs))
        drawn.append((pairs[:n_train], pairs[n_train:]))
    return drawn


MIRROR_LEAK = Exercise(
    "grokking.mirror_leak",
    mirror_leak,
    inputs=_draw_splits,
    difficulty=2,
    importance=5,
    minutes=10,
    misconceptions=(
        Misconception(
            "the same pair",
            lambda train, val: _share(val, train),
            "you look for (a, b) itself: always 0, since the split is disjoint. The leak is the mirror image "
            "(b, a).",
        ),
        Misconception(
            "share of the training set",
            lambda train, val: _share(train[:, ::-1], val),
            "this is the share of training pairs with a mirror image in validation. The question is how much "
            "of the validation score is a gift: divide by the number of validation pairs.",
        ),
        Misconception(
            "mirror anywhere",
            lambda train, val: _share(val[:, ::-1], np.vstack([train, val])),
            "every pair has a mirror image somewhere, so this is 1. It helps the network only if it is in "
            "the training set.",
        ),
        Misconception(
            "without the diagonal",
            lambda train, val: _share(val[val[:, 0] != val[:, 1]][:, ::-1], train),
            "you left out the pairs (a, a). They are their own mirror image, so they cannot leak, but they "
            "are validation pairs and count below the line.",
        ),
    ),
)


# 5. Weight decay


def adamw_step(
    weight: np.ndarray,
    gradient: np.ndarray,
    m: np.ndarray,
    v: np.ndarray,
    step: int,
    learning_rate: float,
    weight_decay: float,
) -> np.ndarray:
    """Return the weight after AdamW's step number `step` (1 is the first), betas 0.9 and 0.98, eps 1e-8."""
    return weight - learning_rate * (_adam_direction(gradient, m, v, step) + weight_decay * weight)


def _adam_direction(gradient: np.ndarray, m: np.ndarray, v: np.ndarray, step: int) -> np.ndarray:
    m = 0.9 * m + 0.1 * gradient
    v = 0.98 * v + 0.02 * gradient**2
    return m / (1 - 0.9**step) / (np.sqrt(v / (1 - 0.98**step)) + 1e-8)


def _decay_after(weight: np.ndarray, *rest: Any) -> np.ndarray:
    gradient, m, v, step, learning_rate, weight_decay = rest
    moved = weight - learning_rate * _adam_direction(gradient, m, v, step)
    return moved - learning_rate * weight_decay * moved


def _draw_steps(rng: np.random.Generator) -> Arguments:
    drawn: Arguments = []
    for size, step in ((1, 1), (3, 2), (5, int(rng.integers(3, 50)))):
        weight, gradient, m = rng.normal(size=(3, size)).round(2) + 0.005
        v = rng.uniform(0.5, 2.0, size=size).round(2)
        zero_at_first = float(step > 1)
        drawn.append((weight, gradient, m * zero_at_first, v * zero_at_first, step, 0.1, 0.5))
    return drawn


ADAMW_STEP = Exercise(
    "grokking.adamw_step",
    adamw_step,
    inputs=_draw_steps,
    difficulty=3,
    importance=5,
    minutes=15,
    misconceptions=(
        Misconception(
            "L2 in the gradient",
            lambda w, g, m, v, t, lr, wd: w - lr * _adam_direction(g + wd * w, m, v, t),
            "you add the decay to the gradient (L2 regularization). Adam then divides it by the gradient's "
            "usual size, so that the weights with large gradients hardly decay. That is Adam with L2; the W "
            "in AdamW means that the decay stays outside.",
        ),
        Misconception(
            "no learning rate",
            lambda w, g, m, v, t, lr, wd: w - lr * _adam_direction(g, m, v, t) - wd * w,
            "the decay lacks the learning rate. A weight shrinks by the factor 1 - learning_rate · "
            "weight_decay a step: with weight decay 1, yours would be 0 after a single step.",
        ),
        Misconception(
            "decay of the new weight",
            _decay_after,
            "you decay the weight after Adam has moved it, so the step itself is decayed too. AdamW takes "
            "both from the old weight.",
        ),
        Misconception(
            "no bias correction",
            lambda w, g, m, v, t, lr, wd: w - lr * (_adam_direction(g, m, v, 10**6) + wd * w),
            "the bias correction is missing. m and v begin at 0, so early averages are too small: divide "
            "them by 1 - beta ** step.",
        ),
        Misconception(
            "no decay",
            lambda w, g, m, v, t, lr, wd: w - lr * _adam_direction(g, m, v, t),
            "this is Adam without weight decay.",
        ),
    ),
)


# 6. The edge of float32

SILENT_MARGIN = Exercise(
    "grokking.silent_margin",
    17,
    difficulty=3,
    importance=3,
    minutes=10,
    misconceptions=(
        Misconception(
            "float64",
            37,
            "that is where float64 ends (Python's own numbers, NumPy's default). Networks train in float32: "
            "np.float32(...).",
        ),
        Misconception(
            "underflow",
            104,
            "that is where exp(-m) itself becomes 0, or log1p gives 0. But softmax first adds it to 1, and 1 "
            "+ exp(-m) is rounded to 1 long before.",
        ),
        Misconception(
            "one short",
            16,
            "that is the last margin that still has a loss. The question is the first one without.",
        ),
    ),
)


# 7. The spectrum
def _power(embedding: np.ndarray, *, turn: float = 2 * np.pi, scale: float | None = None) -> np.ndarray:
    """Return the power on the cosine and on the sine of each frequency, [2, (p - 1) / 2]."""
    p = len(embedding)
    angles = turn * np.outer(np.arange(1, p // 2 + 1), np.arange(p)) / p
    waves = np.stack([np.cos(angles), np.sin(angles)]) * (np.sqrt(2 / p) if scale is None else scale)
    return ((waves @ embedding) ** 2).sum(axis=-1)


def _draw_embeddings(rng: np.random.Generator) -> Arguments:
    """Draw embeddings made of two waves and some noise, away from the origin."""
    drawn: Arguments = []
    for p, d in ((5, 2), (11, 3), (23, 8)):
        angles = (
            2 * np.pi * np.outer(np.arange(p), rng.choice(np.arange(1, p // 2 + 1), 2, replace=False)) / p
        )
        waves = np.hstack([np.cos(angles), np.sin(angles)]) @ rng.normal(size=(4, d))
        drawn.append(((1 + waves + 0.1 * rng.normal(size=(p, d))).round(2),))
    return drawn


FOURIER_POWER = Exercise(
    "grokking.fourier_power",
    analysis.fourier_power,
    inputs=_draw_embeddings,
    difficulty=3,
    importance=4,
    minutes=15,
    misconceptions=(
        Misconception(
            "no 2 pi",
            lambda embedding: _power(embedding, turn=1.0).sum(axis=0),
            "the angle lacks 2 pi: a wave of frequency k goes around k times while the symbol goes from 0 to "
            "p, so its angle is 2 pi k a / p.",
        ),
        Misconception(
            "cosine only",
            lambda embedding: _power(embedding)[0],
            "you project on the cosines alone. A wave that begins at another point of the circle is then "
            "missed: add the power on the sines.",
        ),
        Misconception(
            "not of length 1",
            lambda embedding: _power(embedding, scale=1.0).sum(axis=0),
            "your waves are not of length 1: over p symbols the squares of cos add up to p / 2, so multiply "
            "each wave by sqrt(2 / p). Otherwise the power grows with p.",
        ),
        Misconception(
            "frequency 0",
            lambda embedding: np.hstack(
                [(embedding.sum(axis=0) ** 2).sum() / len(embedding), analysis.fourier_power(embedding)]
            ),
            "your first entry is frequency 0, the mean of the embedding, where nothing turns. Begin at k = "
            "1.",
        ),
        Misconception(
            "columns first",
            lambda embedding: _power(embedding.sum(axis=1, keepdims=True)).sum(axis=0),
            "you add the columns before squaring, so waves in different directions of the embedding cancel. "
            "Square first, then add.",
        ),
        Misconception(
            "amplitude",
            lambda embedding: np.sqrt(analysis.fourier_power(embedding)),
            "this is the amplitude. Power is its square; only powers add up to the squared length of the "
            "matrix (Parseval).",
        ),
    ),
)


# 8. The clock


def clock_logits(circle_a: np.ndarray, circle_b: np.ndarray, circles: np.ndarray) -> np.ndarray:
    """Return the sum over k of cos(w_k (a + b - c)) for every c, from the cosines and sines of a, b and c."""
    a, b = circle_a @ [1, 1j], circle_b @ [1, 1j]
    return ((a * b) * (circles @ [1, -1j])).real.sum(axis=-1)


def _points(numbers: Any, p: int, frequencies: np.ndarray) -> np.ndarray:
    """Return (cos, sin) of each number's angle at each frequency."""
    angles = 2 * np.pi * np.multiply.outer(numbers, frequencies) / p
    return np.stack([np.cos(angles), np.sin(angles)], axis=-1)


def _draw_clocks(rng: np.random.Generator) -> Arguments:
    drawn: Arguments = []
    for p, n_frequencies in ((5, 1), (11, 2), (23, 4)):
        frequencies = rng.choice(np.arange(1, (p + 1) // 2), n_frequencies, replace=False)
        a, b = rng.choice(np.arange(1, p), 2, replace=False)
        drawn.append(tuple(_points(x, p, frequencies) for x in (a, b, np.arange(p))))
    return drawn


def _clock(turn: Any) -> Any:
    """Make logits from a rule for the hand at a + b, given cos a, sin a, cos b, sin b."""

    def logits(circle_a: np.ndarray, circle_b: np.ndarray, circles: np.ndarray) -> np.ndarray:
        cos, sin = turn(*circle_a.T, *circle_b.T)
        return circles[..., 0] @ cos + circles[..., 1] @ sin

    return logits


CLOCK_LOGITS = Exercise(
    "grokking.clock_logits",
    clock_logits,
    inputs=_draw_clocks,
    difficulty=4,
    importance=5,
    minutes=20,
    misconceptions=(
        Misconception(
            "minus",
            _clock(lambda ca, sa, cb, sb: (ca * cb + sa * sb, sa * cb - ca * sb)),
            "your hand points at a - b: cos(x + y) = cos x cos y - sin x sin y, with a minus. You have built "
            "a network that subtracts.",
        ),
        Misconception(
            "sum of the circles",
            _clock(lambda ca, sa, cb, sb: (ca + cb, sa + sb)),
            "you add the two points. Their sum points half way between a and b, at (a + b) / 2, and is short "
            "when they are opposite. To add angles, multiply. (Some networks do learn a variant of this: "
            "Zhong et al. 2023 call it the pizza.)",
        ),
        Misconception(
            "cosine only",
            lambda circle_a, circle_b, circles: (
                circles[..., 0] @ (circle_a[:, 0] * circle_b[:, 0] - circle_a[:, 1] * circle_b[:, 1])
            ),
            "you use the cosine alone: cos w(a + b) · cos wc is as large at -(a + b) as at a + b. The "
            "product of the sines tells the two apart.",
        ),
        Misconception(
            "entry by entry",
            _clock(lambda ca, sa, cb, sb: (ca * cb, sa * sb)),
            "you multiply cosine by cosine and sine by sine. That is not a rotation: the hand at a + b needs "
            "all four products.",
        ),
    ),
)


EXERCISES = (
    DIVISION_TABLE,
    ANSWER_ACCURACY,
    MEDIAN_STEPS,
    MIRROR_LEAK,
    ADAMW_STEP,
    SILENT_MARGIN,
    FOURIER_POWER,
    CLOCK_LOGITS,
)
