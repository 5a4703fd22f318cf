"""Check an exercise: against the package, on fresh random input, with a word about what went wrong."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

from coursekit.lab import journal
from coursekit.lab.exercises import Exercise, all_exercises
from coursekit.lab.session import suggestion


def check(name: str, answer: Any, *, seed: int | None = None) -> None:
    """Compare a student's answer with the package's, print what was found, and keep the progress.

    Prints ``✓`` right; ``○`` not attempted yet; or ``✗`` with the misconception that gives the same answers,
    the error that the function raised, or an input on which it is wrong. Never raises.

    Parameters
    ----------
    name : str
        The exercise, such as ``"grokking.division_table"``.
    answer : function or value
        The student's function, or the value where the exercise asks for one.
    seed : int or None
        Of the random inputs; None draws fresh ones at every call.

    Examples
    --------
    >>> def division_table(p):
    ...     raise NotImplementedError
    >>> check("grokking.division_table", division_table)
    ○ grokking.division_table: not attempted yet.
    """
    known = {exercise.name: exercise for exercise in all_exercises()}
    if name not in known:
        print(f"✗ There is no exercise {name!r}{suggestion(name, known)}")
        return
    symbol, message = judge(known[name], answer, np.random.default_rng(seed))
    print(f"{symbol} {name}: {message}")
    if symbol != "○":
        kept = journal.recall("exercises", name)
        attempts, passed, met = kept.get("attempts", 0) + 1, symbol == "✓", kept.get("misconceptions", {})
        new: dict[str, Any] = {"attempts": attempts, "passed": passed or kept.get("passed", False)}
        if passed and not kept.get("passed"):
            new["needed"] = attempts
        for misconception in known[name].misconceptions:
            if misconception.message == message:
                new["misconceptions"] = met | {misconception.name: met.get(misconception.name, 0) + 1}
        journal.record("exercises", name, **new)


def judge(exercise: Exercise, answer: Any, rng: np.random.Generator) -> tuple[str, str]:
    """Return the symbol and the message for an answer to an exercise."""
    if answer is None or answer is ...:
        return "○", "not attempted yet."
    if exercise.inputs is None:
        return _judge_value(exercise, answer)
    if not callable(answer):
        return "✗", "this exercise wants the function itself, without calling it."
    inputs = exercise.inputs(rng)
    expected = _outputs(exercise.reference, inputs)
    yours = []
    for arguments in inputs:
        try:
            yours.extend(_outputs(answer, [arguments]))
        except NotImplementedError:
            return "○", "not attempted yet."
        except Exception as error:  # whatever a student's function does, the notebook goes on
            reason = f"{type(error).__name__}: {error}".strip(": ")
            return (
                "✗",
                f"your function raises {reason}, for {_call(answer, arguments)}.{_shapes(error, arguments)}",
            )
        if yours[-1] is None or yours[-1] is ...:
            return "○", "not attempted yet: your function returns nothing. (Is the return missing?)"
    wrong = [i for i in range(len(inputs)) if not agree(yours[i], expected[i], exercise.tolerance)]
    if not wrong:
        return "✓", f"right, on {len(inputs)} random inputs."
    for misconception in exercise.misconceptions:
        theirs = _outputs(misconception.answer, inputs)
        if all(agree(*pair, exercise.tolerance) for pair in zip(yours, theirs, strict=True)):
            return "✗", misconception.message
    i = wrong[0]
    difference = _difference(yours[i], expected[i], exercise.tolerance)
    return "✗", f"not yet. For {_call(answer, inputs[i])}, {difference}"


def agree(yours: Any, expected: Any, tolerance: float) -> bool:
    """Tell whether two results are the same numbers in the same shape; infinity and NaN equal themselves.

    >>> agree([1.0, float("inf")], np.array([1.0, float("inf")]), tolerance=0)
    True
    >>> agree(3, [3], tolerance=0), agree("3", 3, tolerance=0)
    (False, False)
    """
    try:
        a, b = _numbers(yours), _numbers(expected)
    except (TypeError, ValueError):
        return False
    return a.shape == b.shape and np.allclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True)


def _judge_value(exercise: Exercise, answer: Any) -> tuple[str, str]:
    if callable(answer):
        return "✗", "this exercise wants a value, not a function."
    if agree(answer, exercise.reference, exercise.tolerance):
        return "✓", "right."
    for misconception in exercise.misconceptions:
        if agree(answer, misconception.answer, exercise.tolerance):
            return "✗", misconception.message
    return "✗", f"{_short(answer)} is not right yet."


def _outputs(function: Any, inputs: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Call a function on copies, so that one that changes its arguments harms nobody else."""
    return [function(*copy.deepcopy(arguments)) for arguments in inputs]


def _numbers(result: Any) -> np.ndarray:
    """Return a result (number, list, array, tensor) as an array of numbers; text is refused."""
    if hasattr(result, "detach"):
        result = result.detach().cpu()
    array = np.asarray(result)
    if array.dtype.kind not in "biufc":
        raise TypeError(f"expected numbers, got {array.dtype}")
    return array.astype(complex if array.dtype.kind == "c" else float)


def _shapes(error: Exception, arguments: tuple[Any, ...]) -> str:
    """Say which shapes were given, where NumPy's own words are about shapes that do not fit.

    >>> _shapes(ValueError("shapes (2,3) and (2,) not aligned"), (np.ones((2, 3)), np.ones(2)))
    ' It was given the shapes (2, 3) and (2,): is one to be turned around (.T), or do two stand in the wrong order?'
    >>> _shapes(ZeroDivisionError("division by zero"), (np.ones(2),))
    ''
    """
    given = [str(one.shape) for one in arguments if isinstance(one, np.ndarray)]
    if not given or not any(word in str(error) for word in ("shape", "dimension", "broadcast")):
        return ""
    told = " and ".join(given)
    return f" It was given the shapes {told}: is one to be turned around (.T), or do two stand in the wrong order?"


def _call(function: Any, arguments: tuple[Any, ...]) -> str:
    return f"{getattr(function, '__name__', 'your function')}({', '.join(map(_short, arguments))})"


def _difference(yours: Any, expected: Any, tolerance: float) -> str:
    """Say in one line where two results differ: in kind, in shape, or in the first unequal entry."""
    target = _numbers(expected)
    try:
        a = _numbers(yours)
    except (TypeError, ValueError):
        return f"yours is {_short(yours)}, where numbers of shape {target.shape} are expected."
    if a.shape != target.shape:
        return f"yours has shape {a.shape}, expected {target.shape}."
    if a.ndim == 0:
        return f"yours is {a:.6g}, expected {target:.6g}."
    where = tuple(int(i[0]) for i in np.nonzero(~np.isclose(a, target, tolerance, tolerance, equal_nan=True)))
    return f"at {list(where)} yours is {a[where]:.6g}, expected {target[where]:.6g}."


def _short(value: Any) -> str:
    """Return a value in one line, cut where it gets long."""
    text = " ".join(repr(value.tolist() if hasattr(value, "tolist") else value).split())
    return text if len(text) <= 120 else f"{text[:100]} … {text[-15:]}"
