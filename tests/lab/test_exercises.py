"""Every exercise: its reference passes, and each authored wrong answer is wrong and recognized as itself."""

import numpy as np
import pytest

from coursekit.lab.checks import judge
from coursekit.lab.exercises import all_exercises, grokking
from coursekit.lab.session import LABS

EXERCISES = {exercise.name: exercise for exercise in all_exercises()}
MISTAKES = [(name, mistake) for name, exercise in EXERCISES.items() for mistake in exercise.misconceptions]


def verdicts(name, answer):
    """Return what an answer gets on 20 different draws of random inputs, without repetition."""
    return {judge(EXERCISES[name], answer, np.random.default_rng(seed)) for seed in range(20)}


def test_names_are_unique_and_say_the_experiment():
    assert len(EXERCISES) == len(all_exercises())
    assert {name.split(".")[0] for name in EXERCISES} == set(LABS)


@pytest.mark.parametrize("name", EXERCISES)
def test_an_exercise_is_rated_and_knows_two_misconceptions(name):
    exercise = EXERCISES[name]
    assert {exercise.difficulty, exercise.importance} <= set(range(1, 6))
    assert len({mistake.message for mistake in exercise.misconceptions}) == len(exercise.misconceptions) >= 2


@pytest.mark.parametrize("name", EXERCISES)
def test_the_reference_passes(name):
    assert {symbol for symbol, _ in verdicts(name, EXERCISES[name].reference)} == {"✓"}


@pytest.mark.parametrize(("name", "mistake"), MISTAKES, ids=[f"{name}: {m.name}" for name, m in MISTAKES])
def test_a_wrong_answer_gets_its_own_message(name, mistake):
    assert verdicts(name, mistake.answer) == {("✗", mistake.message)}


def test_adamw_step_is_torchs():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    weight = torch.nn.Parameter(torch.from_numpy(rng.normal(size=5)))
    optimizer = torch.optim.AdamW([weight], lr=0.1, betas=(0.9, 0.98), eps=1e-8, weight_decay=0.5)
    m = v = np.zeros(5)
    for step in range(1, 4):
        weight.grad = torch.from_numpy(rng.normal(size=5))
        gradient = weight.grad.numpy().copy()
        expected = grokking.adamw_step(weight.detach().numpy().copy(), gradient, m, v, step, 0.1, 0.5)
        optimizer.step()
        np.testing.assert_allclose(weight.detach().numpy(), expected, rtol=1e-12)
        m, v = 0.9 * m + 0.1 * gradient, 0.98 * v + 0.02 * gradient**2


@pytest.mark.parametrize("seed", range(5))
def test_clock_logits_are_a_sum_of_cosines_with_their_peak_at_the_sum(seed):
    rng = np.random.default_rng(seed)
    p, frequencies = 23, rng.choice(np.arange(1, 12), 4, replace=False)
    a, b = rng.integers(p, size=2)
    circles = [grokking._points(x, p, frequencies) for x in (a, b, np.arange(p))]
    angles = 2 * np.pi * np.multiply.outer(a + b - np.arange(p), frequencies) / p
    logits = grokking.clock_logits(*circles)
    np.testing.assert_allclose(logits, np.cos(angles).sum(axis=1), atol=1e-12)
    assert logits.argmax() == (a + b) % p


def test_silent_margin_is_where_float32_loses_the_loss():
    def loss(margin, number):
        return np.log(number(1) + np.exp(number(-margin)))

    first = {
        number: next(m for m in range(200) if loss(m, number) == 0) for number in (np.float32, np.float64)
    }
    underflow = next(m for m in range(200) if np.exp(np.float32(-m)) == 0)
    wrong = {mistake.name: mistake.answer for mistake in grokking.SILENT_MARGIN.misconceptions}
    assert first[np.float32] == grokking.SILENT_MARGIN.reference
    assert (wrong["float64"], wrong["underflow"]) == (first[np.float64], underflow)
    torch = pytest.importorskip("torch")
    logits = torch.tensor([[17.0, 0.0], [16.0, 0.0]])
    losses = torch.nn.functional.cross_entropy(logits, torch.tensor([0, 0]), reduction="none")
    assert (losses == 0).tolist() == [True, False]
