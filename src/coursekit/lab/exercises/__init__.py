"""What an exercise is. One file a week, named like the experiment, holds that week's ``EXERCISES``.

Text, hint and solution of an exercise are in the notebook. Here are the right answer, and the wrong answers
that students give, each as a function with the message that helps whoever wrote it.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Misconception:
    """A wrong answer that is recognized, and what to say to it.

    Parameters
    ----------
    name : str
        A word or two, such as ``"integer division"``.
    answer : function or value
        The wrong function (or value): whoever gives the same answers gets ``message``.
    message : str
        What this answer assumes, and why that is not so; one or two sentences.
    """

    name: str
    answer: Any
    message: str


@dataclass(frozen=True)
class Exercise:
    """An exercise that a function (or a value) solves.

    Parameters
    ----------
    name : str
        Experiment and exercise, such as ``"grokking.division_table"``.
    reference : function or value
        A right answer: a function, or for an exercise that asks for one value that value.
    misconceptions : sequence of Misconception
        The wrong answers that are recognized, the first match wins.
    difficulty, importance : int
        From 1 to 5.
    minutes : int
        What a student needs.
    inputs : function or None
        Draws argument tuples for the function, small ones first; None if the exercise asks for one value.
    tolerance : float
        Relative and absolute, when numbers are compared.
    """

    name: str
    reference: Any
    misconceptions: Sequence[Misconception]
    difficulty: int
    importance: int
    minutes: int
    inputs: Callable[[np.random.Generator], Sequence[tuple[Any, ...]]] | None = None
    tolerance: float = 1e-6

    def stars(self) -> str:
        """Difficulty and importance, as a notebook's heading shows them.

        >>> Exercise("doctest.one", 1, (), difficulty=2, importance=5, minutes=5).stars()
        'difficulty ●●○○○ · importance ●●●●●'
        """
        difficulty, importance = ("●" * n + "○" * (5 - n) for n in (self.difficulty, self.importance))
        return f"difficulty {difficulty} · importance {importance}"


def all_exercises() -> list[Exercise]:
    """Return the exercises of every week, week by week in the alphabet's order."""
    names = [module.name for module in pkgutil.iter_modules(__path__)]
    weeks = [importlib.import_module(f"{__name__}.{name}") for name in names]
    return [exercise for week in weeks for exercise in week.EXERCISES]
