"""Week 6: the exact-match rule, log-probabilities, the two tests, reversed training text, packed documents."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import stats

from coursekit.lab.exercises import Exercise, Misconception

Arguments = list[tuple[Any, ...]]


# 1. The rule


def exact_match(completion: str, target: str) -> bool:
    """Tell whether a completion begins with the target, blanks at the ends and case aside."""
    return completion.strip().lower().startswith(target.strip().lower())


def _draw_completions(rng: np.random.Generator) -> Arguments:
    """Draw a target and completions that the rules below judge differently."""
    first, last = rng.choice(["Mira Tolland", "Oswin Carrick", "Petra Lindqvist", "Juno Aldane"], 2, False)
    target = f" {first}"
    completions = [
        f" {first}",
        f" {first}, who still lives there.",
        f" {first.upper()}.",
        f"\n{first} of course",
        f" {last}",
        f" The answer is {first}.",
        f" {first.split()[0]}",
    ]
    return [(completions[i], target) for i in rng.permutation(len(completions))]


EXACT_MATCH = Exercise(
    "reversal_curse.exact_match",
    exact_match,
    inputs=_draw_completions,
    difficulty=1,
    importance=4,
    minutes=5,
    misconceptions=(
        Misconception(
            "equality",
            lambda completion, target: completion.strip().lower() == target.strip().lower(),
            "you want the completion to be the target and nothing more. The model goes on writing after the "
            "name; what counts is how its completion begins.",
        ),
        Misconception(
            "anywhere",
            lambda completion, target: target.strip().lower() in completion.lower(),
            "you look for the target anywhere in the completion. A model that rambles would be right by luck: "
            "it has to begin with the target.",
        ),
        Misconception(
            "case counts",
            lambda completion, target: completion.strip().startswith(target.strip()),
            "you count upper and lower case as different. The paper does not: compare in lower case.",
        ),
        Misconception(
            "blanks count",
            lambda completion, target: completion.lower().startswith(target.lower()),
            "you leave the blanks at the ends where they are, so a line break before the name makes it wrong. "
            "strip() both texts first.",
        ),
        Misconception(
            "the other way round",
            lambda completion, target: target.strip().lower().startswith(completion.strip().lower()),
            "you ask whether the target begins with the completion: then half a name is right, and a name "
            "with a full stop after it is wrong.",
        ),
    ),
)


# 2. The log-probability of a continuation


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Return log-probabilities (nats) along the last axis."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def continuation_log_prob(logits: np.ndarray, tokens: np.ndarray, n_prompt: int) -> float:
    """Return ln p(tokens[n_prompt:] | tokens[:n_prompt]): the sum over its tokens, each from the position before."""
    positions = np.arange(n_prompt, len(tokens))
    return float(log_softmax(logits)[positions - 1, tokens[positions]].sum())


def _draw_sequences(rng: np.random.Generator) -> Arguments:
    drawn: Arguments = []
    for length, n_prompt, vocab_size in ((4, 2, 3), (6, 3, 5), (9, 4, 7)):
        logits = 2 * rng.normal(size=(length, vocab_size)) + rng.normal(size=(length, 1))
        drawn.append((logits, rng.integers(vocab_size, size=length), n_prompt))
    return drawn


def _chosen(logits: np.ndarray, tokens: np.ndarray, start: int, shift: int = 1) -> np.ndarray:
    positions = np.arange(start, len(tokens))
    return log_softmax(logits)[positions - shift, tokens[positions]]


CONTINUATION_LOG_PROB = Exercise(
    "reversal_curse.continuation_log_prob",
    continuation_log_prob,
    inputs=_draw_sequences,
    difficulty=2,
    importance=5,
    minutes=12,
    misconceptions=(
        Misconception(
            "reads its own position",
            lambda logits, tokens, n_prompt: _chosen(logits, tokens, n_prompt, 0).sum(),
            "you read each token's probability at its own position. Logits at position t predict token t + 1, "
            "so a token's probability stands one position earlier.",
        ),
        Misconception(
            "a mean",
            lambda logits, tokens, n_prompt: _chosen(logits, tokens, n_prompt).mean(),
            "this is the mean per token. The log-probability of the whole name is the sum: probabilities of "
            "consecutive tokens multiply, so their logarithms add.",
        ),
        Misconception(
            "the prompt counts too",
            lambda logits, tokens, n_prompt: _chosen(logits, tokens, 1).sum(),
            "you added up the prompt's tokens as well. How likely the question is does not matter: start at "
            "n_prompt.",
        ),
        Misconception(
            "raw scores",
            lambda logits, tokens, n_prompt: logits[
                np.arange(n_prompt, len(tokens)) - 1, tokens[n_prompt:]
            ].sum(),
            "you added up raw logits. They become log-probabilities when each position's are normalized: "
            "subtract the logarithm of the sum of their exponentials.",
        ),
        Misconception(
            "the probability",
            lambda logits, tokens, n_prompt: np.exp(_chosen(logits, tokens, n_prompt).sum()),
            "this is the probability itself. For a real name it is so small that logarithms are kept instead.",
        ),
        Misconception(
            "bits",
            lambda logits, tokens, n_prompt: _chosen(logits, tokens, n_prompt).sum() / np.log(2),
            "these are bits (logarithms to base 2). The course and the paper count in nats: natural logarithms.",
        ),
    ),
)


# 3. The paired t statistic


def paired_t(correct: np.ndarray, random: np.ndarray) -> float:
    """Return mean(d) / (sd(d) / √n) for the differences d = correct - random, sd with n - 1."""
    return float(stats.ttest_rel(correct, random).statistic)


def _draw_pairs(rng: np.random.Generator) -> Arguments:
    """Draw log-probabilities that vary more from fact to fact than between the two names."""
    drawn: Arguments = []
    for n in (4, 10, 30):
        fact = rng.normal(-20, 5, n)
        drawn.append((fact + rng.normal(1, 1, n), fact + rng.normal(0, 1, n)))
    return drawn


def _t(correct: np.ndarray, random: np.ndarray, ddof: int = 1) -> float:
    d = np.asarray(correct) - random
    return float(d.mean() / (d.std(ddof=ddof) / np.sqrt(len(d))))


PAIRED_T = Exercise(
    "reversal_curse.paired_t",
    paired_t,
    inputs=_draw_pairs,
    difficulty=2,
    importance=4,
    minutes=10,
    misconceptions=(
        Misconception(
            "unpaired",
            lambda correct, random: stats.ttest_ind(correct, random).statistic,
            "this is the t of two independent samples. The two numbers of a fact belong together: some prompts "
            "make every name unlikely, and the pairing removes that. Take differences first.",
        ),
        Misconception(
            "n, not n - 1",
            lambda correct, random: _t(correct, random, 0),
            "almost: np.std divides by n unless told otherwise. The standard deviation of a sample divides by "
            "n - 1: ddof=1.",
        ),
        Misconception(
            "the wrong sign",
            lambda correct, random: -_t(correct, random),
            "you subtract the correct name from the random one. Positive should mean that the correct name is "
            "the likelier.",
        ),
        Misconception(
            "no square root of n",
            lambda correct, random: _t(correct, random) / np.sqrt(len(correct)),
            "this is the mean over the standard deviation of single differences. What is uncertain is the mean, "
            "and its standard error is sd / √n.",
        ),
    ),
)


# 4. The Kolmogorov-Smirnov distance


def ks_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Return the largest vertical distance between the two empirical distribution functions."""
    return float(stats.ks_2samp(a, b).statistic)


def _draw_samples(rng: np.random.Generator) -> Arguments:
    """Draw two samples; in the second pair the first sample is the larger one, which a signed maximum misses."""
    low, high = rng.normal(-2, 1, 30), rng.normal(0, 2, 30)
    mixed = rng.normal(0, 3, 30), rng.normal(0, 0.5, 20)
    return [(np.array([1.0, 2.0]), np.array([1.5, 3.0])), (high, low), (low, high), mixed]


def _distribution_gap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return F_a - F_b at every observed value."""
    at = np.concatenate([a, b])
    return (np.asarray(a)[:, None] <= at).mean(0) - (np.asarray(b)[:, None] <= at).mean(0)


KS_DISTANCE = Exercise(
    "reversal_curse.ks_distance",
    ks_distance,
    inputs=_draw_samples,
    difficulty=3,
    importance=3,
    minutes=15,
    misconceptions=(
        Misconception(
            "signed",
            lambda a, b: _distribution_gap(a, b).max(),
            "you take the largest difference with its sign, so it matters which sample comes first. The "
            "distance is the largest absolute difference.",
        ),
        Misconception(
            "an average",
            lambda a, b: np.abs(_distribution_gap(a, b)).mean(),
            "you average the differences between the two curves. The Kolmogorov-Smirnov distance is the largest "
            "one.",
        ),
        Misconception(
            "along the other axis",
            lambda a, b: np.abs(
                np.quantile(a, np.linspace(0, 1, 101)) - np.quantile(b, np.linspace(0, 1, 101))
            ).max(),
            "you compare values (quantiles), in nats. The distance is measured along the other axis: the "
            "difference between two shares, from 0 to 1.",
        ),
        Misconception(
            "means",
            lambda a, b: abs(np.mean(a) - np.mean(b)),
            "this is the distance of the means. Two samples can have one mean and look quite different: compare "
            "the whole distribution functions.",
        ),
    ),
)


# 5. Reversed training text


def reverse_keeping_name(tokens: np.ndarray, start: int, end: int) -> np.ndarray:
    """Return the tokens in reverse order, with tokens[start:end] (the name) still readable from left to right."""
    tokens = np.asarray(tokens)
    return np.concatenate([tokens[end:][::-1], tokens[start:end], tokens[:start][::-1]])


def _draw_documents(rng: np.random.Generator) -> Arguments:
    drawn: Arguments = []
    for length in (7, 9, 14):
        start = int(rng.integers(1, length - 5))
        end = start + int(rng.integers(2, 4))
        drawn.append((rng.permutation(100)[:length], start, end))
    return drawn


REVERSE_KEEPING_NAME = Exercise(
    "reversal_curse.reverse_keeping_name",
    reverse_keeping_name,
    inputs=_draw_documents,
    difficulty=2,
    importance=3,
    minutes=10,
    misconceptions=(
        Misconception(
            "the name is reversed too",
            lambda tokens, start, end: tokens[::-1],
            "everything is reversed, the name included: the model would learn to write it backward, which "
            "nobody ever asks for. Keep tokens[start:end] in their own order.",
        ),
        Misconception(
            "the name stays in place",
            lambda tokens, start, end: np.concatenate(
                [tokens[:start][::-1], tokens[start:end], tokens[end:][::-1]]
            ),
            "you reverse what is before the name and what is after it, each where it stands. Then the "
            "description still follows the name, and nothing is learned in the other direction.",
        ),
        Misconception(
            "rotated",
            lambda tokens, start, end: np.concatenate([tokens[end:], tokens[start:end], tokens[:start]]),
            "you moved the parts but kept each of them in reading order. That is another augmentation; here "
            "all tokens but the name's are in reverse order.",
        ),
        Misconception(
            "one token too many",
            lambda tokens, start, end: np.concatenate(
                [tokens[end + 1 :][::-1], tokens[start : end + 1], tokens[:start][::-1]]
            ),
            "your name is one token too long: as everywhere in Python, end is the first position after it.",
        ),
    ),
)


# 6. Documents packed in one row


def packed_mask(document: np.ndarray) -> np.ndarray:
    """Return mask[i, j]: whether position i may read position j (same document, not later)."""
    document = np.asarray(document)
    return (document[:, None] == document[None]) & np.tri(len(document), dtype=bool)


def _draw_packs(rng: np.random.Generator) -> Arguments:
    return [(np.repeat(np.arange(n), rng.integers(2, 5, n)),) for n in (2, 3, 4)]


PACKED_MASK = Exercise(
    "reversal_curse.packed_mask",
    packed_mask,
    inputs=_draw_packs,
    difficulty=3,
    importance=4,
    minutes=12,
    misconceptions=(
        Misconception(
            "causal only",
            lambda document: np.tri(len(document), dtype=bool),
            "every position may read all that stands before it, also the documents that happen to lie in front "
            "in this row. The loss would depend on who is packed with whom.",
        ),
        Misconception(
            "same document only",
            lambda document: np.equal.outer(document, document),
            "positions may read later tokens of their own document: the answer would be open on the table. "
            "Add the causal triangle.",
        ),
        Misconception(
            "not even itself",
            lambda document: np.equal.outer(document, document) & np.tri(len(document), k=-1, dtype=bool),
            "a position may not read itself in yours, and a document's first token then reads nothing at all. "
            "The diagonal belongs to it.",
        ),
        Misconception(
            "upside down",
            lambda document: np.equal.outer(document, document) & np.tri(len(document), dtype=bool).T,
            "your triangle is the upper one: row i is who reads, column j is what is read, and j must not come "
            "after i.",
        ),
    ),
)


EXERCISES = (
    EXACT_MATCH,
    CONTINUATION_LOG_PROB,
    PAIRED_T,
    KS_DISTANCE,
    REVERSE_KEEPING_NAME,
    PACKED_MASK,
)
