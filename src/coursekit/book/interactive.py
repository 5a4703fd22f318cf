"""Page interactives that need no kernel and no network: Python checks the data, a small script draws it.

In the built book the data travel as JSON under a MIME type of our own and ``scrubber.js`` draws them. In a
live notebook the same object shows itself through HTML that carries the script along.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

SCRUBBER_MIME = "application/vnd.coursekit.scrubber+json"
CURVES = ("train_accuracy", "val_accuracy", "train_loss", "val_loss")
_REQUIRED = ("title", "description", "steps", *CURVES, "embeddings")
_OPTIONAL = ("embedding_steps", "labels", "frequency", "order", "start")


class Scrubber:
    """A training scrubber as a notebook shows it; made by `scrubber`.

    Attributes
    ----------
    data : dict
        The checked data, plain lists and numbers only.
    """

    def __init__(self, data: dict[str, Any]) -> None:
        self.data = data

    def __repr__(self) -> str:
        """Return what is there to see, as one line of text."""
        steps = self.data["steps"]
        recorded = f"{len(steps)} recorded steps from {steps[0]} to {steps[-1]}"
        return f"<training scrubber: {self.data['title']}: {recorded}>"

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        """Return the JSON for the book, HTML for a live notebook and text for everything else."""
        style, script = asset("scrubber.css"), asset("scrubber.js")
        html = f"<style>{style}</style>{scrubber_html(self.data)}<script>{script}</script>"
        return {SCRUBBER_MIME: self.data, "text/html": html, "text/plain": repr(self)}


def scrubber(data: Mapping[str, Any]) -> Scrubber:
    """Return an interactive that moves through one training run: accuracy, loss and embedding together.

    Parameters
    ----------
    data : mapping
        With the entries (lists, tuples or arrays):

        - ``title``, ``description``: text shown above and below;
        - ``steps``: recorded optimization steps, increasing;
        - ``train_accuracy``, ``val_accuracy``: fractions between 0 and 1, one a step; NaN where not measured;
        - ``train_loss``, ``val_loss``: nats, one a step; NaN where not measured;
        - ``embeddings``: for each saved step the ``n`` points ``[x, y]``, all frames on the same axes;
        - ``embedding_steps`` (optional): the saved steps, if they are not ``steps``;
        - ``labels`` (optional): the points' names, by default 0 to n - 1;
        - ``order`` (optional): the points in the order in which a closed line joins them;
        - ``frequency`` (optional): for residues modulo n, the frequency k of the circle: the line then joins
          a to a + k⁻¹ mod n, neighbors on that circle;
        - ``start`` (optional): the step shown first; by default the first with 99 % training accuracy.

    Returns
    -------
    Scrubber
        Shows itself as the last expression of a cell.

    Raises
    ------
    ValueError
        If an entry is missing, unknown, or of the wrong length or range.

    Examples
    --------
    >>> scrubber({
    ...     "title": "A run", "description": "Two steps.", "steps": [1, 10],
    ...     "train_accuracy": [0.1, 1.0], "val_accuracy": [0.1, 0.2],
    ...     "train_loss": [4.6, 0.1], "val_loss": [4.6, 6.0],
    ...     "embeddings": [[[0, 1], [1, 0], [0, -1]], [[0, 2], [2, 0], [0, -2]]],
    ... })
    <training scrubber: A run: 2 recorded steps from 1 to 10>
    >>> scrubber({"title": "A run", "description": "Two steps.", "steps": [1, 10]})
    Traceback (most recent call last):
        ...
    ValueError: scrubber data lacks train_accuracy, val_accuracy, train_loss, val_loss, embeddings.
    """
    missing = [name for name in _REQUIRED if name not in data]
    if missing:
        raise ValueError(f"scrubber data lacks {', '.join(missing)}.")
    unknown = sorted(set(data) - set(_REQUIRED) - set(_OPTIONAL))
    if unknown:
        known = ", ".join((*_REQUIRED, *_OPTIONAL))
        raise ValueError(f"scrubber data has unknown entries: {', '.join(unknown)}; known are {known}.")
    steps = _steps("steps", data["steps"])
    checked: dict[str, Any] = {
        "title": str(data["title"]),
        "description": str(data["description"]),
        "steps": steps,
    }
    for name in CURVES:
        checked[name] = _curve(
            name, data[name], len(steps), upper=1.0 if name.endswith("accuracy") else math.inf
        )
    embedding_steps = data.get("embedding_steps")
    saved = steps if embedding_steps is None else _steps("embedding_steps", embedding_steps)
    frames = [_points(i, frame) for i, frame in enumerate(_plain(data["embeddings"]))]
    if len(frames) != len(saved):
        raise ValueError(
            f"embeddings: expected one frame for each of the {len(saved)} saved steps, got {len(frames)}."
        )
    n = len(frames[0])
    uneven = [i for i, frame in enumerate(frames) if len(frame) != n]
    if uneven:
        raise ValueError(
            f"embeddings: frame {uneven[0]} has {len(frames[uneven[0]])} points and frame 0 has {n}."
        )
    labels = data.get("labels")
    names = [str(i) for i in range(n)] if labels is None else [str(label) for label in _plain(labels)]
    if len(names) != n:
        raise ValueError(f"labels: expected {n}, one for each point, got {len(names)}.")
    frequency = data.get("frequency")
    checked |= {
        "embedding_steps": saved,
        "embeddings": frames,
        "labels": names,
        "frequency": None if frequency is None else int(frequency),
        "order": _order(data.get("order"), frequency, n),
        "start": _start(data.get("start"), steps, checked["train_accuracy"]),
    }
    return Scrubber(checked)


def scrubber_html(data: Mapping[str, Any]) -> str:
    """Return the element that ``scrubber.js`` turns into the interactive.

    Parameters
    ----------
    data : mapping
        Checked data, as in `Scrubber`.

    Returns
    -------
    str
        HTML with the data as JSON inside, safe whatever text they contain.
    """
    return (
        '<div class="ck-scrubber"><script type="application/json">'
        + json_for_html(data)
        + "</script><noscript>This interactive needs JavaScript.</noscript></div>"
    )


def json_for_html(data: object) -> str:
    r"""Return JSON that can stand inside a script element.

    Parameters
    ----------
    data : object
        Anything that JSON can hold.

    Returns
    -------
    str
        JSON in which no ``<`` is left, so that nothing in it can end the element.

    Examples
    --------
    >>> json_for_html({"a": "</script>"})
    '{"a":"\\u003c/script>"}'
    """
    return json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


@cache
def asset(name: str) -> str:
    """Return the text of a script or style sheet that lies beside this file.

    Parameters
    ----------
    name : str
        Such as ``"scrubber.js"``.

    Returns
    -------
    str
    """
    return files("coursekit.book").joinpath(name).read_text(encoding="utf-8")


def _plain(values: Any) -> list[Any]:
    """Return an array, tensor or sequence as nested lists."""
    return list(values.tolist() if hasattr(values, "tolist") else values)


def _steps(name: str, values: Any) -> list[int]:
    """Check increasing step numbers."""
    steps = [int(step) for step in _plain(values)]
    if len(steps) < 2 or steps[0] < 0 or any(b <= a for a, b in itertools.pairwise(steps)):
        raise ValueError(f"{name}: expected at least two increasing step numbers from 0 up, got {steps[:6]}.")
    return steps


def _curve(name: str, values: Any, length: int, *, upper: float) -> list[float | None]:
    """Check one curve; NaN becomes None, since JSON has no NaN."""
    curve = [None if v is None or math.isnan(v) else float(f"{float(v):.5g}") for v in _plain(values)]
    if len(curve) != length:
        raise ValueError(f"{name}: expected {length} values, one for each step, got {len(curve)}.")
    wrong = [v for v in curve if v is not None and not (0 <= v <= upper and math.isfinite(v))]
    if wrong:
        raise ValueError(f"{name}: expected values from 0 to {upper:g}, got {wrong[0]:g}.")
    return curve


def _points(index: int, frame: Any) -> list[list[float]]:
    """Check one frame of points and round to four digits."""
    points = [[float(f"{float(v):.4g}") for v in _plain(point)] for point in _plain(frame)]
    if len(points) < 2 or any(len(point) != 2 or not all(map(math.isfinite, point)) for point in points):
        raise ValueError(f"embeddings: frame {index}: expected at least two points [x, y] of finite numbers.")
    return points


def _order(order: Any, frequency: Any, n: int) -> list[int] | None:
    """Return the joining order, from the frequency where none is given."""
    if order is not None:
        joined = [int(i) for i in _plain(order)]
        if sorted(joined) != list(range(n)):
            raise ValueError(f"order: expected each of 0 to {n - 1} once, got {joined[:8]}.")
        return joined
    if frequency is None:
        return None
    if math.gcd(int(frequency), n) != 1:
        raise ValueError(
            f"frequency: expected a number without a common divisor with {n} points, got {frequency}."
        )
    inverse = pow(int(frequency), -1, n)
    return [i * inverse % n for i in range(n)]


def _start(start: Any, steps: list[int], train_accuracy: list[float | None]) -> int:
    """Return the index of the step shown first."""
    if start is None:
        return next((i for i, accuracy in enumerate(train_accuracy) if (accuracy or 0) >= 0.99), 0)
    if int(start) not in steps:
        raise ValueError(f"start: expected one of the recorded steps, got {start}.")
    return steps.index(int(start))
