"""The sentences, against those of the authors' code."""

from __future__ import annotations

import numpy as np
import pytest

from coursekit.experiments.reversal_dynamics.data import (
    DIRECTIONS,
    TASKS,
    Sentences,
    in_context_sentences,
    make_sentences,
    related_sentences,
    unseen_reverses,
)

# The first training and held-out sentences of the authors' generators with their seed, 1234.
PUBLISHED = {
    ("reversal", 1): (
        [[247, 0, 303], [303, 1, 247], [502, 0, 154], [154, 1, 502]],
        [[654, 0, 620], [150, 0, 204]],
    ),
    ("reversal", 2): (
        [[784, 503, 0, 535, 321], [535, 321, 1, 784, 503]],
        [[250, 686, 0, 337, 19], [399, 716, 1, 66, 706]],
    ),
    ("reversal", 3): (
        [[149, 126, 354, 0, 255, 739, 396], [255, 739, 396, 1, 149, 126, 354]],
        [[329, 752, 453, 1, 60, 292, 273], [230, 133, 91, 0, 291, 182, 670]],
    ),
    ("chain", 1): ([[783, 0, 535], [535, 0, 660]], [[46, 1, 33], [26, 1, 136]]),
    ("in_context", 1): (
        [[47, 0, 223, 2, 223, 1, 47], [47, 0, 165, 2, 165, 1, 47]],
        [[47, 0, 137, 2, 137, 1, 47], [47, 0, 351, 2, 351, 1, 47]],
    ),
    ("related", 1): (
        [[194, 62, 0, 67, 62], [67, 62, 0, 607, 62]],
        [[194, 375, 1, 607, 375], [194, 97, 1, 607, 97]],
    ),
}
COUNTS = {
    ("reversal", 1): (340, 60, 802),
    ("reversal", 2): (680, 120, 802),
    ("reversal", 3): (250, 50, 802),
    ("chain", 1): (540, 60, 802),
    ("chain", 3): (400, 50, 802),
    ("in_context", 1): (700, 300, 403),
    ("related", 1): (700, 50, 803),
}


@pytest.mark.parametrize(("task", "word_size"), PUBLISHED)
def test_the_first_sentences_are_the_authors(task: str, word_size: int) -> None:
    sentences = make_sentences(task, 1234, word_size=word_size)
    train, val = PUBLISHED[task, word_size]
    assert sentences.tokens[sentences.train[: len(train)]].tolist() == train
    assert sentences.tokens[sentences.val[: len(val)]].tolist() == val


@pytest.mark.parametrize(("task", "word_size"), COUNTS)
def test_the_sizes_are_the_papers(task: str, word_size: int) -> None:
    sentences = make_sentences(task, 1234, word_size=word_size)
    assert (len(sentences.train), len(sentences.val), sentences.n_tokens) == COUNTS[task, word_size]


def test_the_published_split_holds_out_35_forward_and_25_backward() -> None:
    sentences = make_sentences("reversal", 1234)
    ways = ("forward", "backward")
    assert [len(sentences.select(split="val", direction=way)) for way in ways] == [35, 25]


def rows(sentences: Sentences, numbers: np.ndarray) -> set[tuple[int, ...]]:
    return {tuple(row) for row in sentences.tokens[numbers].tolist()}


@pytest.mark.parametrize("seed", [0, 1234])
@pytest.mark.parametrize("word_size", [1, 2])
def test_every_held_out_sentence_has_its_reverse_in_training(seed: int, word_size: int) -> None:
    sentences = make_sentences("reversal", seed, word_size=word_size)
    trained = rows(sentences, sentences.train)
    for row in sentences.tokens[sentences.val].tolist():
        source, arrow, target = row[:word_size], row[word_size], row[word_size + 1 :]
        assert (*target, 1 - arrow, *source) in trained
        assert tuple(row) not in trained


def test_every_held_out_conclusion_has_its_two_steps_in_training() -> None:
    sentences = make_sentences("chain", 3)
    trained = rows(sentences, sentences.train)
    follows = {row[0]: row[2] for row in trained if row[1] == 0}
    for x, arrow, z in sentences.tokens[sentences.val].tolist():
        assert arrow == 1
        assert follows[follows[x]] == z


def test_in_context_every_source_is_trained_with_seven_of_ten() -> None:
    sentences = in_context_sentences(5)
    assert (sentences.tokens[:, 0] == sentences.tokens[:, -1]).all()
    assert (sentences.tokens[:, 2] == sentences.tokens[:, 4]).all()
    _, times = np.unique(sentences.tokens[sentences.train, 0], return_counts=True)
    assert times.tolist() == [7] * 100


def test_related_entities_share_their_second_token() -> None:
    sentences = related_sentences(5)
    assert (sentences.tokens[:, 1] == sentences.tokens[:, 4]).all()
    assert len(np.unique(sentences.tokens[:, 0])) == 2


@pytest.mark.parametrize("task", TASKS)
def test_all_is_consistent(task: str) -> None:
    sentences = make_sentences(task, 0, vocab_size=80)
    assert sentences.tokens.max() < sentences.n_tokens
    assert set(sentences.direction.tolist()) == set(DIRECTIONS[task])
    assert sorted([*sentences.train.tolist(), *sentences.val.tolist()]) == list(range(len(sentences.tokens)))
    parts = [sentences.select(split=s, direction=d) for s in ("train", "val") for d in DIRECTIONS[task]]
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(sentences.tokens)))
    answers = len(
        np.unique(sentences.tokens[sentences.select(direction=DIRECTIONS[task][0]), -sentences.word_size])
    )
    assert answers <= sentences.n_candidates
    other = make_sentences(task, 1, vocab_size=80)
    assert not np.array_equal(sentences.tokens, other.tokens)


def test_seen_and_unseen_are_of_one_pair() -> None:
    sentences = make_sentences("reversal", 0)
    seen, unseen = unseen_reverses(sentences)
    assert len(seen) == 60
    assert sentences.is_train[seen].all()
    assert not sentences.is_train[unseen].any()
    assert (sentences.tokens[seen, 0] == sentences.tokens[unseen, 2]).all()


def test_pairs_are_for_sentences_of_three_tokens() -> None:
    sentences = make_sentences("reversal", 0)
    assert sentences.pairs(np.array([0])).tolist() == [[sentences.tokens[0, 0], sentences.tokens[0, 2]]]
    with pytest.raises(ValueError, match="only sentences of three tokens are a pair"):
        make_sentences("related", 0).pairs()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("reverse", None, 1), "task must be one of reversal"),
        (("reversal", 12, 1), "vocab_size must be 40 or more"),
        (("reversal", None, 0), "word_size must be 1 or more"),
        (("related", None, 2), "word_size is for the tasks reversal and chain"),
        (("chain", None, 4), "more than 10,000,000 words"),
    ],
)
def test_nonsense_is_refused(arguments: tuple[str, int | None, int], message: str) -> None:
    task, vocab_size, word_size = arguments
    with pytest.raises(ValueError, match=message):
        make_sentences(task, 0, vocab_size=vocab_size, word_size=word_size)
