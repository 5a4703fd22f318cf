"""The symbolic facts of Zhu et al. 2024: sentences about entities that are nothing but tokens.

The random draws are those of the authors' code, in its order, so that a seed gives its sentences one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

FORWARD_ARROW, BACKWARD_ARROW, EQUIVALENT = 0, 1, 2
"""Reserved tokens: → (0), ← (1; in a chain it is ⇝, "indirectly leads to"), and ⟺ (2; in-context sentences only)."""

TASKS: dict[str, int] = {"reversal": 800, "chain": 800, "in_context": 400, "related": 800}
"""The tasks, and how many entity tokens each has in the authors' code."""

DIRECTIONS: dict[str, tuple[str, ...]] = {
    "reversal": ("forward", "backward"),
    "chain": ("first_step", "second_step", "indirect"),
    "in_context": ("in_context",),
    "related": ("first_step", "second_step", "indirect"),
}
"""What kinds of sentences a task has."""

MOST_WORDS = 10_000_000  # all words of three tokens of an alphabet of 200 are 8,000,000
TRAIN_FRACTION = 0.7


@dataclass(frozen=True, eq=False)
class Sentences:
    """All sentences of one task and seed, and which of them are trained on.

    Attributes
    ----------
    task : str
        A key of `TASKS`.
    tokens : int array [n, seq]
        One sentence a row. The last `word_size` tokens are the answer.
    fact : int array [n]
        Which fact (pair or triple of entities) a sentence states.
    direction : str array [n]
        An entry of `DIRECTIONS[task]`.
    is_train : bool array [n]
        Training sentences stand first, each part in the order of the authors' code.
    word_size : int
        Tokens of an entity.
    n_tokens : int
        Size of the vocabulary, reserved tokens included.
    n_candidates : int
        Tokens that can stand first in an answer: a model that knows the kind of the answer and no more has −log p of
        ln(n_candidates).

    Notes
    -----
    ``train`` and ``val`` are the numbers of the sentences of either part.
    """

    task: str
    tokens: Ints
    fact: Ints
    direction: NDArray[Any]
    is_train: NDArray[np.bool_]
    word_size: int
    n_tokens: int
    n_candidates: int

    @property
    def train(self) -> Ints:
        """Numbers of the sentences trained on."""
        return np.flatnonzero(self.is_train)

    @property
    def val(self) -> Ints:
        """Numbers of the sentences held out."""
        return np.flatnonzero(~self.is_train)

    def select(self, *, split: str | None = None, direction: str | None = None) -> Ints:
        """Numbers of the sentences of one split ("train" or "val") and one direction; all by default."""
        chosen = np.ones(len(self.tokens), dtype=bool)
        if split is not None:
            chosen &= self.is_train == (split == "train")
        if direction is not None:
            chosen &= self.direction == direction
        return np.flatnonzero(chosen)

    def pairs(self, numbers: Ints | None = None) -> Ints:
        """Source and target entity of sentences of three tokens, without the arrow between them, [n, 2]."""
        if self.tokens.shape[1] != 3:
            raise ValueError(
                f"only sentences of three tokens are a pair of entities, got {self.tokens.shape[1]} tokens; "
                "take the task reversal or chain with word_size 1"
            )
        return self.tokens[:, [0, 2]] if numbers is None else self.tokens[numbers][:, [0, 2]]


def make_sentences(task: str, seed: int, *, vocab_size: int | None = None, word_size: int = 1) -> Sentences:
    """Make one task's sentences, with the paper's sizes or scaled to another vocabulary.

    Parameters
    ----------
    task : {"reversal", "chain", "in_context", "related"}
    seed : int
    vocab_size : int, optional
        Entity tokens, without the reserved ones; default: the authors' (`TASKS`). The number of facts goes with it.
    word_size : int
        Tokens of an entity, for reversal and chain.

    Returns
    -------
    Sentences

    Raises
    ------
    ValueError
        If the task is unknown or a size does not suit it.

    Examples
    --------
    >>> sentences = make_sentences("reversal", 1234)
    >>> len(sentences.train), len(sentences.val), sentences.n_tokens
    (340, 60, 802)
    """
    validate_task(task, vocab_size, word_size)
    size = TASKS[task] if vocab_size is None else vocab_size
    if task == "reversal":
        return reversal_sentences(seed, vocab_size=size, word_size=word_size)
    if task == "chain":
        return chain_sentences(seed, vocab_size=size, word_size=word_size)
    if task == "in_context":
        return in_context_sentences(seed, vocab_size=size, n_x=size // 4)
    return related_sentences(
        seed, vocab_size=size, n_entities=3 * size // 4, n_train=size // 4, n_val=size // 16
    )


def validate_task(task: str, vocab_size: int | None = None, word_size: int = 1) -> None:
    """Refuse an unknown task, or sizes that do not suit it, with a ValueError that says what would."""
    if task not in TASKS:
        raise ValueError(f"task must be one of {', '.join(TASKS)}, got {task!r}; choose one of them")
    if vocab_size is not None and vocab_size < 40:
        raise ValueError(
            f"vocab_size must be 40 or more, so that every split has facts, got {vocab_size}; the paper has "
            f"{TASKS[task]}"
        )
    if word_size < 1:
        raise ValueError(f"word_size must be 1 or more, got {word_size}; 1 is one token an entity")
    if word_size > 1 and task not in ("reversal", "chain"):
        raise ValueError(
            f"word_size is for the tasks reversal and chain, got {word_size} for {task}; leave it at 1"
        )
    if ((TASKS[task] if vocab_size is None else vocab_size) // 4) ** word_size > MOST_WORDS:
        raise ValueError(
            f"vocab_size and word_size make more than {MOST_WORDS:,} words, got {vocab_size} and {word_size}; "
            "lower one of them"
        )


@lru_cache(maxsize=64)
def reversal_sentences(
    seed: int, *, vocab_size: int = 800, word_size: int = 1, train_fraction: float = TRAIN_FRACTION
) -> Sentences:
    """Pairs of entities in both directions, ``x → y`` and ``y ← x``.

    Of 70 % of the pairs both sentences are trained on. Of every other pair one, in a random direction, is trained on,
    and the other is held out: it says nothing new.

    Parameters
    ----------
    seed : int
    vocab_size : int
        Entity tokens; a quarter of them make up the words x, another quarter the words y.
    word_size : int
        Tokens of an entity. There are as many pairs as tokens a side, but twice as many for longer words; words of
        three tokens are cut to 100 + 50 pairs at most.
    train_fraction : float

    Returns
    -------
    Sentences
        With directions forward and backward.

    References
    ----------
    Zhu et al. 2024, section 5.1; the authors' ReverseDataset.py.

    Examples
    --------
    >>> sentences = reversal_sentences(1234)
    >>> sentences.tokens[sentences.train[:2]].tolist(), sentences.tokens[sentences.val[:1]].tolist()
    ([[247, 0, 303], [303, 1, 247]], [[654, 0, 620]])
    """
    rng = np.random.RandomState(seed)
    x, y = _words(rng, 2, vocab_size, word_size)
    whole, held = _split(rng, len(x), train_fraction, word_size)
    forward, backward = _sentence(x, FORWARD_ARROW, y), _sentence(y, BACKWARD_ARROW, x)
    keeps_forward = np.array([bool(rng.randint(2)) for _ in held])  # the direction that is trained on
    train = [(fact, way) for fact in whole for way in ("forward", "backward")]
    train += [
        (fact, "forward" if kept else "backward") for fact, kept in zip(held, keeps_forward, strict=True)
    ]
    val = [(fact, "backward" if kept else "forward") for fact, kept in zip(held, keeps_forward, strict=True)]
    return _collect(
        "reversal",
        {"forward": forward, "backward": backward},
        train,
        val,
        word_size,
        vocab_size + 2,
        vocab_size // 4,
    )


@lru_cache(maxsize=64)
def chain_sentences(
    seed: int, *, vocab_size: int = 800, word_size: int = 1, train_fraction: float = TRAIN_FRACTION
) -> Sentences:
    """Triples of entities: two steps ``x → y`` and ``y → z``, and what follows, ``x ⇝ z``.

    Of 70 % of the triples all three sentences are trained on; of the others the two steps, and ``x ⇝ z`` is held out.

    Parameters, references and errors are those of `reversal_sentences`.

    Returns
    -------
    Sentences
        With directions first_step, second_step and indirect.

    Examples
    --------
    >>> sentences = chain_sentences(1234)
    >>> len(sentences.train), len(sentences.val), set(sentences.direction[sentences.val].tolist())
    (540, 60, {'indirect'})
    """
    rng = np.random.RandomState(seed)
    x, y, z = _words(rng, 3, vocab_size, word_size)
    whole, held = _split(rng, len(x), train_fraction, word_size)
    kinds = {
        "first_step": _sentence(x, FORWARD_ARROW, y),
        "second_step": _sentence(y, FORWARD_ARROW, z),
        "indirect": _sentence(x, BACKWARD_ARROW, z),
    }
    train = [(fact, way) for fact in whole for way in kinds]
    train += [(fact, way) for fact in held for way in ("first_step", "second_step")]
    val = [(fact, "indirect") for fact in held]
    return _collect("chain", kinds, train, val, word_size, vocab_size + 2, vocab_size // 4)


@lru_cache(maxsize=64)
def in_context_sentences(
    seed: int,
    *,
    vocab_size: int = 400,
    n_x: int = 100,
    n_y: int = 10,
    train_fraction: float = TRAIN_FRACTION,
) -> Sentences:
    """Reversal inside one sentence: ``x → y ⟺ y ← x``, where the answer x stands at the beginning.

    Every x is seen with most of the y; the combinations left over are held out.

    Parameters
    ----------
    seed : int
    vocab_size : int
    n_x, n_y : int
        Entities on either side.
    train_fraction : float
        Share of the y that each x is trained with.

    Returns
    -------
    Sentences
        With the one direction in_context.

    References
    ----------
    The authors' ReverseDataset_ICL.py.

    Examples
    --------
    >>> sentences = in_context_sentences(1234)
    >>> len(sentences.train), len(sentences.val)
    (700, 300)
    """
    rng = np.random.RandomState(seed)
    tokens = rng.choice(vocab_size, n_x + n_y, replace=False) + 3
    x_tokens, y_tokens = tokens[:n_x], tokens[n_x:]
    n_train = int(n_y * train_fraction)
    parts: tuple[list[Ints], list[Ints]] = ([], [])
    for x in x_tokens:
        shuffled = rng.permutation(
            np.array([[x, FORWARD_ARROW, y, EQUIVALENT, y, BACKWARD_ARROW, x] for y in y_tokens])
        )
        parts[0].append(shuffled[:n_train])
        parts[1].append(shuffled[n_train:])
    train, val = (np.concatenate(part) for part in parts)
    n = len(train) + len(val)
    return Sentences(
        "in_context",
        np.concatenate([train, val]).astype(np.int64),
        np.arange(n),
        np.full(n, "in_context"),
        np.arange(n) < len(train),
        1,
        vocab_size + 3,
        n_x,
    )


@lru_cache(maxsize=64)
def related_sentences(
    seed: int, *, vocab_size: int = 800, n_entities: int = 600, n_train: int = 200, n_val: int = 50
) -> Sentences:
    """A chain whose entities share a token: ``a i → b i``, ``b i → c i``, ``a i ⇝ c i``, with a, b and c fixed.

    Parameters
    ----------
    seed : int
    vocab_size : int
    n_entities : int
        Tokens i to draw from.
    n_train, n_val : int
        Triples with all sentences trained on, and triples whose indirect sentence is held out.

    Returns
    -------
    Sentences
        With directions first_step, second_step and indirect, and answers of two tokens.

    References
    ----------
    The authors' ChainDataset_related_tokens.py.

    Examples
    --------
    >>> sentences = related_sentences(1234)
    >>> len(sentences.train), len(sentences.val)
    (700, 50)
    """
    rng = np.random.RandomState(seed)
    drawn = rng.choice(vocab_size, n_entities + 3, replace=False) + 2
    (a, b, c), i = drawn[:3], drawn[3 : 3 + n_train + n_val]
    same = np.ones_like(i)
    kinds = {
        "first_step": np.stack([a * same, i, FORWARD_ARROW * same, b * same, i], 1),
        "second_step": np.stack([b * same, i, FORWARD_ARROW * same, c * same, i], 1),
        "indirect": np.stack([a * same, i, BACKWARD_ARROW * same, c * same, i], 1),
    }
    train = [(fact, way) for fact in range(n_train) for way in kinds]
    held = range(n_train, n_train + n_val)
    train += [(fact, way) for fact in held for way in ("first_step", "second_step")]
    # The authors' vocabulary has three reserved places here, of which two are used.
    return _collect("related", kinds, train, [(fact, "indirect") for fact in held], 2, vocab_size + 3, 1)


def unseen_reverses(sentences: Sentences) -> tuple[Ints, Ints]:
    """Sentences of the pairs that were trained on in one direction only, for the paper's logit heat-maps.

    Parameters
    ----------
    sentences : Sentences
        Of the task reversal.

    Returns
    -------
    seen, unseen : int arrays [n_val]
        Numbers of the trained sentence and of its held-out reverse, pair by pair.

    Examples
    --------
    >>> sentences = reversal_sentences(1234)
    >>> seen, unseen = unseen_reverses(sentences)
    >>> sentences.tokens[seen[0]].tolist(), sentences.tokens[unseen[0]].tolist()
    ([620, 1, 654], [654, 0, 620])
    """
    unseen = sentences.val
    trained = {int(sentences.fact[number]): number for number in sentences.train}
    return np.array([trained[int(sentences.fact[number])] for number in unseen]), unseen


def _words(rng: np.random.RandomState, n_kinds: int, vocab_size: int, word_size: int) -> list[Ints]:
    """Words of each kind, paired by their place: alphabets, all words, shuffled, and a sample of them."""
    alphabet = vocab_size // 4
    letters = rng.choice(vocab_size, (n_kinds, alphabet), replace=False) + 2
    n_words = alphabet**word_size
    orders = []
    for _ in range(n_kinds):
        order = np.arange(n_words)
        rng.shuffle(order)
        orders.append(order)
    size = min(n_words, 2 * alphabet)
    chosen = [order[rng.choice(n_words, size=size, replace=False)] for order in orders]
    place = alphabet ** np.arange(word_size - 1, -1, -1)  # word number n in the order of itertools.product
    return [mine[number[:, None] // place % alphabet] for mine, number in zip(letters, chosen, strict=True)]


def _split(
    rng: np.random.RandomState, n: int, train_fraction: float, word_size: int
) -> tuple[list[int], list[int]]:
    """Facts that are trained on whole, and facts with a sentence held out."""
    order = np.arange(n)
    rng.shuffle(order)
    cut = round(n * train_fraction)
    whole, held = order[:cut].tolist(), order[cut:].tolist()
    return (whole[:100], held[:50]) if word_size == 3 else (whole, held)


def _sentence(source: Ints, arrow: int, target: Ints) -> Ints:
    return np.concatenate([source, np.full((len(source), 1), arrow), target], axis=1)


def _collect(
    task: str,
    kinds: dict[str, Ints],
    train: Sequence[tuple[int, str]],
    val: Sequence[tuple[int, str]],
    word_size: int,
    n_tokens: int,
    n_candidates: int,
) -> Sentences:
    stated = [*train, *val]
    return Sentences(
        task,
        np.stack([kinds[way][fact] for fact, way in stated]).astype(np.int64),
        np.array([fact for fact, _ in stated]),
        np.array([way for _, way in stated]),
        np.arange(len(stated)) < len(train),
        word_size,
        n_tokens,
        n_candidates,
    )
