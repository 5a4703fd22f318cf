"""Week 2: FLOPs, units of loss, the minimum of a parabola, an exponent, the best size for a budget, Huber's loss."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from coursekit import parametric
from coursekit.compute import training_flops_6nd
from coursekit.experiments.scaling_laws import analysis
from coursekit.lab.exercises import Exercise, Misconception
from coursekit.parametric import ParametricFit

Arguments = list[tuple[Any, ...]]


# 1. The budget


def training_flops(n_params: int, n_tokens: int) -> int:
    """Return the FLOPs of training: 2 a parameter and token forward, twice as many backward."""
    return training_flops_6nd(n_params, n_tokens)


TRAINING_FLOPS = Exercise(
    "scaling_laws.training_flops",
    training_flops,
    inputs=lambda rng: [(1000, 1000), (14_000, 300_000), tuple(int(n) for n in rng.integers(100, 10_000, 2))],
    difficulty=1,
    importance=5,
    minutes=5,
    misconceptions=(
        Misconception(
            "the forward pass only",
            lambda n_params, n_tokens: 2 * n_params * n_tokens,
            "this is the forward pass: what it costs to use the model. Training also computes gradients, for the "
            "inputs of every layer and for its weights.",
        ),
        Misconception(
            "the backward pass only",
            lambda n_params, n_tokens: 4 * n_params * n_tokens,
            "this is the backward pass alone. There is no gradient without a forward pass before it.",
        ),
        Misconception(
            "a multiply-add as one",
            lambda n_params, n_tokens: 3 * n_params * n_tokens,
            "you count a multiplication and the addition after it as one operation. FLOPs count both.",
        ),
        Misconception(
            "one operation a parameter",
            lambda n_params, n_tokens: n_params * n_tokens,
            "this counts one operation a parameter and token. Each weight is multiplied and added, forward once and "
            "backward twice.",
        ),
    ),
)


# 2. Units of loss


def bits_per_byte(nats_per_token: float, bytes_per_token: float) -> float:
    """Return a loss in bits per byte: a nat is 1 / ln 2 bits, and a token spreads over its bytes."""
    return nats_per_token / math.log(2) / bytes_per_token


BITS_PER_BYTE = Exercise(
    "scaling_laws.bits_per_byte",
    bits_per_byte,
    inputs=lambda rng: [(2.0, 4.0), (1.69, 4.3), (float(rng.uniform(1, 4)), float(rng.uniform(2, 5)))],
    difficulty=2,
    importance=3,
    minutes=6,
    misconceptions=(
        Misconception(
            "still nats",
            lambda nats_per_token, bytes_per_token: nats_per_token / bytes_per_token,
            "these are nats per byte. A bit is smaller than a nat: one nat is 1 / ln 2, about 1.44, bits.",
        ),
        Misconception(
            "per token",
            lambda nats_per_token, bytes_per_token: nats_per_token / math.log(2),
            "these are bits per token. A token stands for several bytes, which share its cost.",
        ),
        Misconception(
            "the wrong way from nats to bits",
            lambda nats_per_token, bytes_per_token: nats_per_token * math.log(2) / bytes_per_token,
            "you multiply by ln 2. A bit is ln 2 nats, so the same loss has more bits than nats: divide.",
        ),
        Misconception(
            "times the bytes",
            lambda nats_per_token, bytes_per_token: nats_per_token / math.log(2) * bytes_per_token,
            "you multiply by the bytes per token. The loss of one token is spread over its bytes: divide.",
        ),
    ),
)


# 3. The bottom of a parabola


def parabola_minimum(n_params: np.ndarray, losses: np.ndarray) -> float:
    """Return the number of parameters at the minimum of a parabola through losses against log10 of parameters."""
    curvature, slope, _ = np.polyfit(np.log10(n_params), losses, 2)
    return float(10 ** (-slope / (2 * curvature)))


def _draw_profiles(rng: np.random.Generator) -> Arguments:
    drawn: Arguments = []
    for n in (5, 5, 7):
        best, width = rng.uniform(4.1, 4.4), rng.uniform(0.1, 0.4)
        sizes = np.round(10 ** np.linspace(3.5, 5.2, n))
        losses = 2 + width * (np.log10(sizes) - best) ** 2 + rng.normal(0, 0.002, n)
        drawn.append((sizes, losses))
    return drawn


def _by_size(n_params: np.ndarray, losses: np.ndarray) -> float:
    curvature, slope, _ = np.polyfit(np.asarray(n_params) / 1e4, losses, 2)
    return float(-1e4 * slope / (2 * curvature))


PARABOLA_MINIMUM = Exercise(
    "scaling_laws.parabola_minimum",
    parabola_minimum,
    inputs=_draw_profiles,
    difficulty=2,
    importance=5,
    minutes=10,
    tolerance=1e-5,
    misconceptions=(
        Misconception(
            "the best run",
            lambda n_params, losses: n_params[np.argmin(losses)],
            "this is the best of the sizes that were tried. The parabola says where between them the best one lies.",
        ),
        Misconception(
            "the logarithm",
            lambda n_params, losses: np.log10(parabola_minimum(n_params, losses)),
            "this is log10 of the number of parameters: raise 10 to it.",
        ),
        Misconception(
            "parameters, not their logarithm",
            _by_size,
            "you fit the parabola against the parameters themselves. Sizes spread over factors, and the profile is a "
            "parabola in their logarithm.",
        ),
        Misconception(
            "a factor of two",
            lambda n_params, losses: parabola_minimum(n_params, losses) ** 2,
            "the minimum of a x² + b x + c lies at -b / (2a): the 2 is missing.",
        ),
    ),
)


# 4. The exponent


def scaling_exponent(flops: np.ndarray, n_params: np.ndarray) -> float:
    """Return a in N = k Cᵃ: the slope of log N against log C, by least squares."""
    return analysis.fit_power_law(flops, n_params).exponent


def _draw_frontiers(rng: np.random.Generator) -> Arguments:
    drawn: Arguments = []
    for n in (4, 4, 6):
        flops = 10.0 ** np.linspace(10, 13, n)
        noise = np.exp(rng.normal(0, 0.1, n))
        drawn.append((flops, 1e-2 * flops ** rng.uniform(0.4, 0.7) * noise))
    return drawn


def _through_ends(flops: np.ndarray, n_params: np.ndarray) -> float:
    return float(np.log(n_params[-1] / n_params[0]) / np.log(flops[-1] / flops[0]))


SCALING_EXPONENT = Exercise(
    "scaling_laws.scaling_exponent",
    scaling_exponent,
    inputs=_draw_frontiers,
    difficulty=2,
    importance=5,
    minutes=8,
    misconceptions=(
        Misconception(
            "no logarithms",
            lambda flops, n_params: np.polyfit(flops, n_params, 1)[0],
            "this is the slope of N against C. A power law is a straight line only when both axes are logarithmic.",
        ),
        Misconception(
            "one logarithm",
            lambda flops, n_params: np.polyfit(np.log(flops), n_params, 1)[0],
            "you took the logarithm of the FLOPs only. log N = log k + a log C: both sides.",
        ),
        Misconception(
            "upside down",
            lambda flops, n_params: np.polyfit(np.log(n_params), np.log(flops), 1)[0],
            "this is the slope of log C against log N, about 1 / a: `polyfit` takes x first, and C is what you choose.",
        ),
        Misconception(
            "first and last only",
            _through_ends,
            "you draw the line through the first and the last point. The points between them count as much.",
        ),
    ),
)


# 5. The best size for a budget


def optimal_n_params(flops: float, a: float, b: float, alpha: float, beta: float) -> float:
    """Return N that minimizes E + A/N^α + B/D^β with 6ND = C: (αA / βB)^(1 / (α+β)) (C/6)^(β / (α+β))."""
    return parametric.compute_optimal(ParametricFit(a, b, 0.0, alpha, beta), flops).n_params


def _draw_fits(rng: np.random.Generator) -> Arguments:
    paper = (5.76e23, 406.4, 410.7, 0.34, 0.28)
    refit = (1e21, 477.8, 2143.4, 0.347, 0.367)
    own = (
        float(10 ** rng.uniform(12, 20)),
        float(rng.uniform(100, 500)),
        float(rng.uniform(600, 2000)),
        float(rng.uniform(0.2, 0.3)),
        float(rng.uniform(0.35, 0.5)),
    )
    return [paper, refit, own]


def _swapped(flops: float, a: float, b: float, alpha: float, beta: float) -> float:
    return optimal_n_params(flops, a, b, alpha, beta) / (flops / 6) ** ((beta - alpha) / (alpha + beta))


OPTIMAL_N_PARAMS = Exercise(
    "scaling_laws.optimal_n_params",
    optimal_n_params,
    inputs=_draw_fits,
    difficulty=4,
    importance=5,
    minutes=15,
    misconceptions=(
        Misconception(
            "the tokens",
            lambda flops, a, b, alpha, beta: flops / 6 / optimal_n_params(flops, a, b, alpha, beta),
            "this is D, the number of tokens that belongs to the budget. N is C / (6 D).",
        ),
        Misconception(
            "C in place of C/6",
            lambda flops, a, b, alpha, beta: optimal_n_params(6 * flops, a, b, alpha, beta),
            "the budget is 6ND, so it is C / 6 that is shared between N and D.",
        ),
        Misconception(
            "the exponents swapped",
            _swapped,
            "your exponent of C / 6 is α / (α+β), which belongs to the tokens. If loss falls fast with size (large α), "
            "little size is enough, and more of the budget goes to data: N grows with β / (α+β).",
        ),
        Misconception(
            "equal slopes forgotten",
            lambda flops, a, b, alpha, beta: (
                (a / b) ** (1 / (alpha + beta)) * (flops / 6) ** (beta / (alpha + beta))
            ),
            "this makes the two terms A/N^α and B/D^β equal. At the minimum it is their slopes that balance: "
            "α A / N^α = β B / D^β.",
        ),
        Misconception(
            "an equal split",
            lambda flops, a, b, alpha, beta: math.sqrt(flops / 6),
            "you give N and D the same number. The exponents of both are near one half, but a token and a parameter "
            "are not worth the same.",
        ),
    ),
)


# 6. Huber's loss


def huber(residuals: np.ndarray, delta: float) -> float:
    """Return the sum of ½ r² where |r| ≤ δ, and of δ (|r| - ½ δ) beyond."""
    size = np.abs(residuals)
    return float(np.where(size <= delta, 0.5 * size**2, delta * (size - 0.5 * delta)).sum())


def _draw_residuals(rng: np.random.Generator) -> Arguments:
    return [
        (
            np.concatenate(
                [rng.uniform(-0.9, 0.9, n) * delta, rng.choice([-1, 1], n) * rng.uniform(2, 9, n) * delta]
            ),
            delta,
        )
        for n, delta in ((2, 1.0), (4, 0.5), (9, float(rng.uniform(0.1, 2))))
    ]


HUBER = Exercise(
    "scaling_laws.huber",
    huber,
    inputs=_draw_residuals,
    difficulty=2,
    importance=3,
    minutes=8,
    misconceptions=(
        Misconception(
            "squares everywhere",
            lambda residuals, delta: 0.5 * (residuals**2).sum(),
            "these are squares for all residuals: one bad run would then outweigh all good ones.",
        ),
        Misconception(
            "a jump at δ",
            lambda residuals, delta: np.where(
                np.abs(residuals) <= delta, 0.5 * residuals**2, delta * np.abs(residuals)
            ).sum(),
            "beyond δ the line must begin where the parabola ends, at ½ δ²: subtract ½ δ² from δ |r|.",
        ),
        Misconception(
            "no half",
            lambda residuals, delta: np.where(
                np.abs(residuals) <= delta, residuals**2, delta * (np.abs(residuals) - 0.5 * delta)
            ).sum(),
            "the parabola is ½ r²: without the half its slope at δ is twice that of the line.",
        ),
        Misconception(
            "the mean",
            lambda residuals, delta: huber(residuals, delta) / len(residuals),
            "this is the mean. The paper's objective is the sum; with the mean, a fitting routine with the usual "
            "tolerances stops too early, and that is what happened to the paper's own fit.",
        ),
        Misconception(
            "signs cancel",
            lambda residuals, delta: np.where(
                residuals <= delta, 0.5 * residuals**2, delta * (residuals - 0.5 * delta)
            ).sum(),
            "a large negative residual is as bad as a large positive one: compare its absolute value with δ.",
        ),
    ),
)


EXERCISES = (
    TRAINING_FLOPS,
    BITS_PER_BYTE,
    PARABOLA_MINIMUM,
    SCALING_EXPONENT,
    OPTIMAL_N_PARAMS,
    HUBER,
)
