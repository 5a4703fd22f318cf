"""Predict before the run, compare after it.

A prediction is asked in a form where somebody sits at the notebook, and in plain text everywhere else (a
script, nbval, papermill, the built book); it never blocks and never stops *Run all*.
"""

from __future__ import annotations

import html
import math
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

import plotly.graph_objects as go

from coursekit import figures
from coursekit.lab import journal

Kind = Literal["number", "choice", "curve"]
SURE = (10, 25, 50, 60, 70, 80, 90, 99)


@dataclass
class Prediction:
    """One question to the student. ``answer`` is None until there is one.

    Made by :func:`predict`, which documents the fields.
    """

    name: str
    question: str
    kind: Kind = "number"
    choices: Sequence[Any] = ()
    low: float | None = None
    high: float | None = None
    unit: str = ""
    answer: Any = None
    confidence: float | None = None

    def enter(self, answer: Any, confidence: float | None = None) -> None:
        """Take an answer and keep it among the student's progress.

        Raises
        ------
        ValueError
            If it is not an answer to this question, or the confidence no percentage.
        """
        if confidence is not None and not 0 <= confidence <= 100:
            raise ValueError(f"{confidence!r} is not a confidence from 0 to 100 %")
        if answer is None or (isinstance(answer, str) and not answer.strip()):
            raise ValueError("nothing was entered yet")
        if self.kind == "choice":
            if answer not in self.choices:
                raise ValueError(f"{answer!r} is not {self.expected()}")
            self.answer = answer
        elif self.kind == "curve":
            if isinstance(answer, str) or not hasattr(answer, "__len__") or len(answer) != len(self.choices):
                raise ValueError(f"{answer!r} is not {self.expected()}")
            self.answer = [self._number(height) for height in answer]
        else:
            self.answer = self._number(answer)
        self.confidence = confidence
        journal.record("predictions", self.name, answer=_storable(self.answer), confidence=confidence)

    def reveal(self, actual: Any) -> go.Figure | None:
        """Show the result beside the prediction; return a figure where there are two curves to compare.

        Parameters
        ----------
        actual : number, choice or list of numbers
            What happened: a number, one of the choices, or for a curve one number for each position.
            ``inf`` reads as "never", ``nan`` as "not seen in this run".

        Notes
        -----
        The first comparison is kept among the student's progress, and stays: an answer that is changed after the
        result was seen is no prediction.
        """
        self._keep(actual)
        if self.answer is None:
            print("No prediction was entered, so there is nothing to compare. ", end="")
        if self.kind == "curve":
            return self._reveal_curve([float(height) for height in actual])
        if self.answer is None:
            print(f"The result: {self._say(actual)}.")
        elif self.kind == "choice":
            surprise = "and so it is." if self.answer == actual else f"but the result is: {actual}."
            print(f"You predicted: {self.answer}, {surprise}")
        else:
            distance = _distance(self.answer, float(actual))
            print(f"You predicted {self._say(self.answer)}; the result is {self._say(actual)}: {distance}.")
        return None

    def close(self, actual: Any) -> bool | None:
        """Tell whether the answer came as close as :meth:`goal` says; None if there is nothing to compare."""
        if self.answer is None:
            return None
        if self.kind == "choice":
            return bool(self.answer == actual)
        if self.kind == "curve":
            pairs = list(zip(self.answer, map(float, actual), strict=False))
            if self.low is None or self.high is None or any(math.isnan(b) for _, b in pairs):
                return None
            away = [abs(min(a, self.high) - min(b, self.high)) for a, b in pairs]
            return sum(away) / len(away) <= 0.1 * (self.high - self.low)
        a, b = float(self.answer), float(actual)
        if math.isnan(b):
            return None
        if math.isinf(a) or math.isinf(b):
            return a == b
        return abs(a - b) <= (10 if self.unit == "%" else max(abs(a), abs(b)) / 3)

    def goal(self) -> str:
        """Say how close is close: a third of the larger number is a factor of 1.5.

        >>> Prediction("doctest.share", "How many?", unit="%").goal()
        'within 10 points'
        """
        if self.kind == "choice":
            return "right"
        if self.kind == "curve":
            return "within a tenth of the scale on average"
        return "within 10 points" if self.unit == "%" else "within a factor of 1.5"

    def _keep(self, actual: Any) -> None:
        close = self.close(actual)
        if close is None or "revealed" in journal.recall("predictions", self.name):
            return
        if self.kind == "curve":
            result: Any = [float(height) for height in actual]
        else:
            result = str(actual) if self.kind == "choice" else float(actual)
        journal.record(
            "predictions",
            self.name,
            revealed={
                "answer": _storable(self.answer),
                "actual": _storable(result),
                "confidence": self.confidence,
                "close": close,
                "unit": self.unit,
            },
        )

    def expected(self) -> str:
        """Say what kind of answer the question wants."""
        if self.kind == "choice":
            return "one of " + ", ".join(repr(choice) for choice in self.choices)
        between = f" from {_plain(self.low)} to {_plain(self.high)}" if self.low is not None else ""
        if self.kind == "curve":
            positions = ", ".join(str(x) for x in self.choices)
            return f"a list of {len(self.choices)} numbers{between}, one for each of {positions}"
        if self.unit == "%":
            return f"a percentage{between}"
        never = ", or 'never'" if self.unit == "steps" else ""
        return f"a number{f' of {self.unit}' if self.unit else ''}{between}{never}"

    def _number(self, answer: Any) -> float:
        """Read ``3000``, ``"3,000"`` or ``"never"``, and hold it against the limits."""
        text = re.sub(r"(?<=\d),(?=\d{3}\b)", "", str(answer).strip().lower())
        try:
            value = math.inf if text == "never" and self.unit == "steps" else float(text)
        except ValueError:
            raise ValueError(f"{answer!r} is not {self.expected()}") from None
        low = -math.inf if self.low is None else self.low
        high = math.inf if self.high is None else self.high
        if not (low <= value <= high or text == "never"):
            raise ValueError(f"{answer!r} is not {self.expected()}")
        return value

    def _say(self, value: Any) -> str:
        return str(value) if self.kind == "choice" else _plain(float(value), self.unit)

    def _reveal_curve(self, actual: list[float]) -> go.Figure | None:
        print("The result:" if self.answer is None else "Your prediction, and the result:")
        for i, x in enumerate(self.choices):
            yours = "" if self.answer is None else f"{self._say(self.answer[i]):>16}"
            print(f"  at {x!s:<8}{yours}{self._say(actual[i]):>16}")
        if self.answer is None:
            return None
        fig = figures.figure(self.question, "", self.unit)
        x = list(self.choices)
        figures.add_curve(fig, x, self.answer, name="your prediction", color=figures.COLORS["train"])
        figures.add_curve(fig, x, actual, name="the result", color=figures.COLORS["val"])
        return fig


def predict(
    name: str,
    question: str,
    *,
    kind: Kind = "number",
    choices: Sequence[Any] = (),
    low: float | None = None,
    high: float | None = None,
    unit: str = "",
    default: Any = None,
    answer: Any = None,
    confidence: float | None = None,
) -> Prediction:
    """Ask the student for a prediction, before the run that answers it.

    Parameters
    ----------
    name : str
        What the answer is kept under, such as ``"grokking.delay"``.
    question : str
        One question, in plain words.
    kind : "number", "choice" or "curve"
        ``"number"``; ``"choice"`` among ``choices``; ``"curve"``: one number for each of ``choices``.
    choices : sequence
        The options, or the positions of a curve.
    low, high : float
        Limits of a number, of each number of a curve. A curve needs them.
    unit : str
        Of the numbers: ``"%"``, ``"steps"`` (then ``"never"`` is an answer too), or any other.
    default : answer
        Where the form begins.
    answer : answer
        The answer, for those who write it into the cell. It replaces the form.
    confidence : float, optional
        With ``answer``: how sure the student is that it will be close, in percent. A form asks for it.

    Returns
    -------
    Prediction
        Its ``reveal(actual)`` shows the answer beside the result.

    Notes
    -----
    A form begins with the answer that was saved in it before. Without a form the answer is in the cell.

    Examples
    --------
    >>> delay = predict("doctest.delay", "At which step?", low=0, high=5_000)
    Predict: At which step?
    To answer, write answer=... in this cell (a number from 0 to 5,000), and run it again.
    >>> delay.reveal(3_100)
    No prediction was entered, so there is nothing to compare. The result: 3,100.
    """
    prediction = Prediction(name, question, kind, tuple(choices), low, high, unit)
    widgets = _widgets() if answer is None else None
    saved = journal.recall("predictions", name) if widgets else {"answer": answer, "confidence": confidence}
    try:
        if saved.get("answer") is not None:
            prediction.enter(saved["answer"], saved.get("confidence"))
    except ValueError as error:
        print(f"This is no answer to the question: {error}.")
    if widgets:
        _show_form(prediction, widgets, default)
        return prediction
    print(f"Predict: {question}")
    if prediction.answer is None:
        print(f"To answer, write answer=... in this cell ({prediction.expected()}), and run it again.")
    else:
        print(f"Your prediction: {_shown(prediction)}")
    return prediction


def _widgets() -> ModuleType | None:
    """Return ipywidgets where somebody can use them.

    nbval, papermill, nbclient and the book's build run a notebook in a real kernel too, but tell it that
    nobody is there to type. A form would be dead in their output.
    """
    ipython = sys.modules.get("IPython")
    kernel = getattr(ipython.get_ipython(), "kernel", None) if ipython else None
    if not ("google.colab" in sys.modules or getattr(kernel, "_allow_stdin", False)):
        return None
    try:
        import ipywidgets
    except ImportError:
        return None
    return ipywidgets


def _show_form(prediction: Prediction, widgets: ModuleType, default: Any) -> None:
    """Display the question with a field, a button and the answer so far."""
    from IPython.display import display

    field, read = _field(prediction, widgets, default if prediction.answer is None else prediction.answer)
    options = [("I do not say", None), *((f"{percent} %", percent) for percent in SURE)]
    sure = widgets.Dropdown(
        description=f"How sure are you that this is {prediction.goal()}?",
        options=options,
        value=prediction.confidence if prediction.confidence in SURE else None,
        style={"description_width": "initial"},
        layout={"width": "max-content"},
    )
    button = widgets.Button(description="Save my prediction", button_style="primary")
    status = widgets.HTML("" if prediction.answer is None else f"Saved: {html.escape(_shown(prediction))}")

    def save(_: Any) -> None:
        try:
            prediction.enter(read(), sure.value)
            status.value = f"✓ Saved: {html.escape(_shown(prediction))}. Now run the next cell."
        except ValueError as error:
            status.value = html.escape(f"✗ {error}")

    button.on_click(save)
    title = widgets.HTML(f"<b>Predict:</b> {html.escape(prediction.question)}")
    display(widgets.VBox([title, field, sure, widgets.HBox([button, status])]))


def _field(prediction: Prediction, widgets: ModuleType, begin: Any) -> tuple[Any, Callable[[], Any]]:
    """Return the widget for an answer, and how to read it."""
    if prediction.kind == "choice":
        wide = {"width": "max-content"}
        options = widgets.RadioButtons(options=list(prediction.choices), value=begin, layout=wide)
        return options, lambda: options.value
    if prediction.kind == "curve":
        heights = begin or [prediction.low] * len(prediction.choices)
        sliders = [
            widgets.FloatSlider(description=str(x), value=y, min=prediction.low, max=prediction.high)
            for x, y in zip(prediction.choices, heights, strict=True)
        ]
        return widgets.VBox(sliders), lambda: [slider.value for slider in sliders]
    text = widgets.Text(value="" if begin is None else _plain(begin), placeholder=prediction.expected())
    return text, lambda: text.value


def _shown(prediction: Prediction) -> str:
    answer = prediction.answer if prediction.kind == "curve" else [prediction.answer]
    return ", ".join(prediction._say(value) for value in answer)


def _plain(value: float | None, unit: str = "") -> str:
    """Write a number as a person would.

    >>> _plain(3100, "steps"), _plain(0.25), _plain(math.inf, "steps"), _plain(math.nan, "%")
    ('3,100 steps', '0.25', 'never', 'not seen in this run')
    """
    if value is None:
        return ""
    if math.isnan(value):
        return "not seen in this run"
    if math.isinf(value):
        return "never"
    digits = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{digits} {unit}".strip()


def _distance(predicted: float, actual: float) -> str:
    """Say how far two numbers are apart.

    >>> _distance(1000, 3100), _distance(3100, 1000), _distance(1000, 1040), _distance(0, 5)
    ('3.1 times as much', '1 / 3.1 of it', 'within 10 %', 'off by 5')
    """
    if predicted == actual:
        return "exactly"
    if math.isnan(actual):
        return "nothing to compare"
    if math.isinf(predicted) or math.isinf(actual):
        return "not at all the same"
    if min(predicted, actual) <= 0:
        return f"off by {_plain(abs(actual - predicted))}"
    ratio = actual / predicted
    if 1 / 1.1 < ratio < 1.1:
        return "within 10 %"
    return f"{_plain(ratio)} times as much" if ratio > 1 else f"1 / {_plain(1 / ratio)} of it"


def _storable(answer: Any) -> Any:
    """Replace infinity, which JSON lacks, by a word that ``enter`` reads back."""
    if isinstance(answer, list):
        return [_storable(height) for height in answer]
    return "never" if answer == math.inf else answer
