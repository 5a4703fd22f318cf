"""The twelve operations, the split and the tokens, against openai/grok's conventions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from coursekit.experiments.grokking.data import (
    OPENAI_OPERATORS,
    OPERATIONS,
    PERMUTATIONS,
    Vocabulary,
    cosets,
    mirror_equations,
    operation_table,
    split_equations,
)

P = 97


def test_the_twelve_operations_have_openai_groks_equations() -> None:
    counts = {name: len(operation_table(name)[0]) for name in OPERATIONS}
    assert len(counts) == 12
    assert counts.pop("div") == 9312
    assert {counts.pop(name) for name in ("s5", "s5_conj", "s5_aba")} == {14400}
    assert set(counts.values()) == {9409}


FORMULAS = {
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "div": lambda x, y: x * pow(y, -1, P),
    "div_odd_else_sub": lambda x, y: x * pow(y, -1, P) if y % 2 else x - y,
    "x2_y2": lambda x, y: x * x + y * y,
    "x2_xy_y2": lambda x, y: x * x + x * y + y * y,
    "x2_xy_y2_x": lambda x, y: x * x + x * y + y * y + x,
    "x3_xy": lambda x, y: x**3 + x * y,
    "x3_xy2_y": lambda x, y: x**3 + x * y * y + y,
}


@pytest.mark.parametrize("operation", FORMULAS)
def test_residues_follow_the_formula(operation: str) -> None:
    pairs, answers = operation_table(operation, P)
    for (x, y), z in list(zip(pairs.tolist(), answers.tolist(), strict=True))[::37]:
        assert z == FORMULAS[operation](x, y) % P


def permute(first: tuple[int, ...], then: tuple[int, ...]) -> tuple[int, ...]:
    """Apply one, then the other, element by element."""
    return tuple(then[first[i]] for i in range(5))


@pytest.mark.parametrize("operation", ["s5", "s5_conj", "s5_aba"])
def test_permutations_compose_from_left_to_right(operation: str) -> None:
    group = list(itertools.permutations(range(5)))
    pairs, answers = operation_table(operation)
    for i in range(0, len(pairs), 97):
        a, b = (group[s] for s in pairs[i])
        inverse = tuple(a.index(k) for k in range(5))
        expected = {
            "s5": permute(a, b),
            "s5_conj": permute(permute(a, b), inverse),
            "s5_aba": permute(permute(a, b), a),
        }[operation]
        assert group[answers[i]] == expected
    assert [tuple(p) for p in PERMUTATIONS] == group


def test_the_split_is_openai_groks() -> None:
    """The first training equations there, for division at 50 % (read from its code and executed)."""
    pairs, answers = operation_table("div", P)
    train, val = split_equations(len(pairs), 0.5, 0)
    assert [(*pairs[i], answers[i]) for i in train[:3]] == [(77, 47, 78), (11, 23, 30), (18, 3, 6)]
    assert (len(train), len(val)) == (4656, 4656)
    train, val = split_equations(9409, 0.05, 0)
    assert (len(train), len(val)) == (470, 8939)


def test_a_split_has_every_equation_once() -> None:
    train, val = split_equations(100, 0.3, seed=4)
    assert sorted([*train, *val]) == list(range(100))
    assert train.tolist() != split_equations(100, 0.3, seed=5)[0].tolist()


def test_mirrors_stay_on_one_side() -> None:
    pairs, _ = operation_table("add", 11)
    mirrors = mirror_equations(pairs)
    for fraction, seed in itertools.product((0.01, 0.3, 0.5, 0.99), range(50)):
        train, val = split_equations(len(pairs), fraction, seed, mirrors=mirrors)
        assert set(mirrors[train]) == set(train)
        assert sorted([*train, *val]) == list(range(len(pairs)))
        assert len(train) - round(fraction * len(pairs)) in ((0, 1) if fraction < 0.99 else (0, -1))
    loose, _ = split_equations(len(pairs), 0.5, 1)
    assert len([i for i in loose if mirrors[i] not in set(loose.tolist())]) > 10


def test_a_last_pair_of_mirrors_is_validated_on() -> None:
    sizes = {len(split_equations(3, 0.7, seed, mirrors=np.array([1, 0, 2]))[0]) for seed in range(20)}
    assert sizes == {1, 2}  # two of three wanted: the pair, or the single equation where the pair comes last
    with pytest.raises(ValueError, match="needs more than one pair of them, got 2 equations"):
        split_equations(2, 0.5, 0, mirrors=np.array([1, 0]))


def test_commutative_is_what_it_says() -> None:
    for name, operation in OPERATIONS.items():
        pairs, answers = operation_table(name, 11)
        same = answers[mirror_equations(pairs)] == answers
        assert bool(same.all()) == operation.commutative, name


def test_openai_tokens() -> None:
    assert len(OPENAI_OPERATORS) == len(set(OPENAI_OPERATORS)) == 20
    vocabulary = Vocabulary("openai", "div", P)
    assert vocabulary.size == 2 + 20 + 97 + 120
    row = vocabulary.encode(np.array([[77, 47]]), np.array([78]))[0]
    names = [
        "<|eos|>",
        "=",
        *OPENAI_OPERATORS,
        *map(str, range(97)),
        *("".join(map(str, p)) for p in PERMUTATIONS),
    ]
    assert [names[t] for t in row] == ["<|eos|>", "77", "/", "47", "=", "78", "<|eos|>"]
    row = Vocabulary("openai", "s5", P).encode(np.array([[0, 119]]), np.array([119]))[0]
    assert [names[t] for t in row] == ["<|eos|>", "01234", "s5", "43210", "=", "43210", "<|eos|>"]


def test_compact_tokens() -> None:
    vocabulary = Vocabulary("compact", "add", 7)
    assert vocabulary.size == 9
    assert vocabulary.encode(np.array([[3, 5]]), np.array([1])).tolist() == [[3, 7, 5, 8, 1]]


def test_an_unknown_vocabulary_is_refused() -> None:
    with pytest.raises(ValueError, match="kind must be compact or openai, got 'bytes'"):
        Vocabulary("bytes", "add", 7)


@pytest.mark.parametrize(
    ("operation", "modulus", "message"),
    [
        ("plus", 97, "operation must be one of add, sub, div"),
        ("div", 96, "div divides, so modulus must be prime, got 96; take 97"),
        ("div_odd_else_sub", 8, "modulus must be prime, got 8; take 11"),
        ("add", 1, "modulus must be a whole number from 3 on, got 1"),
    ],
)
def test_bad_operations_are_refused(operation: str, modulus: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        operation_table(operation, modulus)


@pytest.mark.parametrize("fraction", [0.0, 1.2, -0.5, 1.0, 1e-9, float("nan")])
def test_bad_fractions_are_refused(fraction: float) -> None:
    message = "leaves 0 to train on" if fraction == 1e-9 else "must lie between 0 and 1"
    with pytest.raises(ValueError, match=message):
        split_equations(9409, fraction, 0)


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_coset_is_one_element_times_the_subgroup(side: str) -> None:
    group = list(itertools.permutations(range(5)))
    generators = np.array([[3, 4, 2, 0, 1], [0, 2, 1, 4, 3]])
    numbers = cosets(generators, side=side)
    for x in range(0, 120, 7):
        for h in generators.tolist():
            moved = permute(group[x], tuple(h)) if side == "left" else permute(tuple(h), group[x])
            assert numbers[group.index(moved)] == numbers[x]
