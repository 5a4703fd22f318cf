"""check: what it says to every kind of answer, and that it never raises."""

import numpy as np
import pytest

from coursekit import lab
from coursekit.lab import checks, journal
from coursekit.lab.exercises import Exercise, Misconception

SQUARE = Exercise(
    "toy.square",
    lambda x: x**2,
    inputs=lambda rng: [(2,), (rng.integers(3, 9),), (np.arange(3),)],
    misconceptions=(Misconception("double", lambda x: 2 * x, "you doubled."),),
    difficulty=1,
    importance=1,
    minutes=1,
)
ANSWER = Exercise(
    "toy.answer",
    42,
    misconceptions=(Misconception("near", 41, "one short."),),
    difficulty=1,
    importance=1,
    minutes=1,
)


@pytest.fixture(autouse=True)
def toys(monkeypatch):
    monkeypatch.setattr(checks, "all_exercises", lambda: [SQUARE, ANSWER])


def said(capsys, name, answer, seed=None):
    lab.check(name, answer, seed=seed)
    return capsys.readouterr().out


def unfinished(x):
    raise NotImplementedError


def broken(x):
    return 1 / 0


def doubles_in_place(x):
    x *= 2
    return x


@pytest.mark.parametrize("answer", [unfinished, None, ..., lambda x: None, lambda x: ...])
def test_not_attempted_is_no_attempt(capsys, home, answer):
    assert said(capsys, "toy.square", answer).startswith("○ toy.square: not attempted yet")
    assert not home.exists()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda x: x * x, "✓ toy.square: right, on 3 random inputs.\n"),
        (lambda x: 2 * x, "✗ toy.square: you doubled.\n"),
        (doubles_in_place, "✗ toy.square: you doubled.\n"),
        (broken, "✗ toy.square: your function raises ZeroDivisionError: division by zero, for broken(2).\n"),
        (4, "✗ toy.square: this exercise wants the function itself, without calling it.\n"),
        (lambda: 4, "✗ toy.square: your function raises TypeError: "),
        (lambda x: x + 1, "✗ toy.square: not yet. For <lambda>(2), yours is 3, expected 4.\n"),
        (lambda x: "4", "not yet. For <lambda>(2), yours is '4', where numbers of shape () are expected.\n"),
        (lambda x: [4, [4]], "yours is [4, [4]], where numbers of shape () are expected.\n"),
        (lambda x: [x**2], "✗ toy.square: not yet. For <lambda>(2), yours has shape (1,), expected ().\n"),
        (lambda x: abs(x**2 - 1) + 1, "For <lambda>([0, 1, 2]), at [0] yours is 2, expected 0.\n"),
    ],
)
def test_messages(capsys, answer, message):
    assert message in said(capsys, "toy.square", answer)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (42, "✓ toy.answer: right."),
        (np.float32(42), "✓ toy.answer: right."),
        (41, "✗ toy.answer: one short."),
        (7, "✗ toy.answer: 7 is not right yet."),
        ("forty-two", "✗ toy.answer: 'forty-two' is not right yet."),
        (lambda: 42, "✗ toy.answer: this exercise wants a value, not a function."),
        (None, "○ toy.answer: not attempted yet."),
        (..., "○ toy.answer: not attempted yet."),
    ],
)
def test_value_exercises(capsys, answer, message):
    assert said(capsys, "toy.answer", answer) == message + "\n"


def test_tensors_are_numbers_too(capsys):
    torch = pytest.importorskip("torch")
    weight = torch.ones(3, requires_grad=True)
    assert "right" in said(capsys, "toy.square", lambda x: torch.as_tensor(x) ** 2)
    assert checks.agree(weight * 2, [2, 2, 2], 1e-6)


def test_a_long_input_is_cut(capsys):
    assert len(checks._short(np.arange(1000))) < 130


def test_inputs_are_fresh_at_every_call_and_repeatable_by_seed(capsys):
    seen = []

    def remember(x):
        seen.append(int(np.sum(x)))
        return x * x

    for seed in [None] * 20 + [5, 5]:
        lab.check("toy.square", remember, seed=seed)
    drawn = seen[1::3]
    assert len(set(drawn[:20])) > 1
    assert drawn[20] == drawn[21]


def test_unknown_exercise_gets_one_sentence(capsys):
    assert said(capsys, "toy.sqare", len) == "✗ There is no exercise 'toy.sqare'; did you mean toy.square?\n"


def test_attempts_are_counted_and_a_pass_stays_a_pass(capsys):
    for answer in (lambda x: x + 1, lambda x: x * x, lambda x: x + 1):
        lab.check("toy.square", answer)
    assert journal.recall("exercises", "toy.square") == {"attempts": 3, "needed": 2, "passed": True}


def test_recognized_misconceptions_are_kept_and_counted(capsys):
    journal.record("exercises", "toy.square", attempts=1, passed=False)  # as an older version wrote it
    for answer in (lambda x: 2 * x, lambda x: x + 1, lambda x: 2 * x, lambda x: x * x):
        lab.check("toy.square", answer)
    lab.check("toy.answer", 41)
    assert journal.recall("exercises", "toy.square") == {
        "attempts": 5,
        "needed": 5,
        "passed": True,
        "misconceptions": {"double": 2},
    }
    assert journal.recall("exercises", "toy.answer")["misconceptions"] == {"near": 1}
