"""A digit drawn in the page, read by a network that runs there: Python checks the numbers, a script does the rest.

In the built book the network travels as JSON under a MIME type of our own and ``digits.js`` runs it. In a live notebook
the same object shows itself through HTML that carries the script along.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from coursekit.book.interactive import asset, json_for_html

DIGITS_MIME = "application/vnd.coursekit.digits+json"
MOST_UNITS = 32  # of a hidden column, so that each can be seen
_REQUIRED = ("title", "description", "layers", "activation", "output")
_OPTIONAL = ("examples",)


class DigitDrawing:
    """A drawing field with its network as a notebook shows it; made by `digit_drawing`.

    Attributes
    ----------
    data : dict
        The checked network, plain lists and numbers only.
    """

    def __init__(self, data: dict[str, Any]) -> None:
        self.data = data

    def __repr__(self) -> str:
        """Return what is there to see, as one line of text."""
        sizes = [self.data["side"] ** 2, *(len(layer["biases"]) for layer in self.data["layers"])]
        return f"<drawing field: {self.data['title']}: a network of {'-'.join(map(str, sizes))} units>"

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        """Return the JSON for the book, HTML for a live notebook and text for everything else."""
        style, script = asset("scrubber.css") + asset("digits.css"), asset("digits.js")
        html = f"<style>{style}</style>{digits_html(self.data)}<script>{script}</script>"
        return {DIGITS_MIME: self.data, "text/html": html, "text/plain": repr(self)}


def digit_drawing(data: Mapping[str, Any]) -> DigitDrawing:
    """Return a field to draw a digit in, with a trained network beside it that reads along.

    Parameters
    ----------
    data : mapping
        With the entries:

        - ``title``, ``description``: text shown above and below;
        - ``layers``: from the pixels to the ten outputs, each with ``weights`` [n_out, n_in] and ``biases`` [n_out];
        - ``activation``: "sigmoid" or "relu", of the hidden units;
        - ``output``: "sigmoid" or "softmax";
        - ``examples`` (optional): real images to load, each with ``label`` and ``pixels`` from 0 to 1, row by row; the
          first is shown at the start.

    Returns
    -------
    DigitDrawing
        Shows itself as the last expression of a cell.

    Raises
    ------
    ValueError
        If an entry is missing, unknown, or of the wrong shape or range.

    Notes
    -----
    A drawing is moved and scaled as the training images of the course's two data sets were: small digits to all rows
    and the five columns in the middle, MNIST's to 20 of 28 pixels around their center of mass. A box in the page
    switches this off, and then a drawing that is small or off center is seldom read right.

    References
    ----------
    Alpaydin and Kaynak 1998, *Optical Recognition of Handwritten Digits*, UCI; LeCun, Bottou, Bengio and Haffner 1998,
    *Gradient-based learning applied to document recognition*.

    Examples
    --------
    >>> layers = [{"weights": np.zeros((10, 64)), "biases": np.zeros(10)}]
    >>> digit_drawing({
    ...     "title": "No hidden units", "description": "It knows nothing.",
    ...     "layers": layers, "activation": "sigmoid", "output": "sigmoid",
    ... })
    <drawing field: No hidden units: a network of 64-10 units>
    >>> digit_drawing({"title": "No layers", "description": ""})
    Traceback (most recent call last):
        ...
    ValueError: drawing data lacks layers, activation, output.
    """
    missing = [name for name in _REQUIRED if name not in data]
    if missing:
        raise ValueError(f"drawing data lacks {', '.join(missing)}.")
    unknown = sorted(set(data) - set(_REQUIRED) - set(_OPTIONAL))
    if unknown:
        known = ", ".join((*_REQUIRED, *_OPTIONAL))
        raise ValueError(f"drawing data has unknown entries: {', '.join(unknown)}; known are {known}.")
    for name, allowed in (("activation", ("sigmoid", "relu")), ("output", ("sigmoid", "softmax"))):
        if data[name] not in allowed:
            raise ValueError(f"{name}: expected {' or '.join(allowed)}, got {data[name]!r}.")
    layers = [_layer(number, layer) for number, layer in enumerate(data["layers"])]
    if not layers:
        raise ValueError("layers: expected one or more, got none.")
    sizes = [len(layers[0]["weights"][0]), *(len(layer["biases"]) for layer in layers)]
    for number, layer in enumerate(layers):
        if len(layer["weights"][0]) != sizes[number]:
            raise ValueError(
                f"layers: layer {number} takes {len(layer['weights'][0])} numbers, but {sizes[number]} come in."
            )
    side = math.isqrt(sizes[0])
    if side**2 != sizes[0] or sizes[-1] != 10 or max(sizes[1:]) > MOST_UNITS:
        raise ValueError(
            f"layers: expected a square number of pixels, hidden columns of at most {MOST_UNITS} units and 10 outputs, "
            f"got {'-'.join(map(str, sizes))}."
        )
    return DigitDrawing(
        {
            "title": str(data["title"]),
            "description": str(data["description"]),
            "side": side,
            "layers": layers,
            "activation": data["activation"],
            "output": data["output"],
            "examples": [
                _example(number, example, sizes[0]) for number, example in enumerate(data.get("examples", ()))
            ],
        }
    )


def digits_html(data: Mapping[str, Any]) -> str:
    """Return the element that ``digits.js`` turns into the interactive.

    Parameters
    ----------
    data : mapping
        Checked data, as in `DigitDrawing`.

    Returns
    -------
    str
        HTML with the data as JSON inside, safe whatever text they contain.
    """
    return (
        '<div class="ck-digits"><script type="application/json">'
        + json_for_html(data)
        + "</script><noscript>This interactive needs JavaScript.</noscript></div>"
    )


def _layer(number: int, layer: Any) -> dict[str, Any]:
    """Check one layer and round to five digits."""
    if set(layer) != {"weights", "biases"}:
        raise ValueError(
            f"layers: layer {number}: expected weights and biases, got {', '.join(sorted(layer))}."
        )
    weights, biases = (np.asarray(layer[name], dtype=float) for name in ("weights", "biases"))
    if weights.ndim != 2 or biases.shape != weights.shape[:1] or not weights.size:
        raise ValueError(
            f"layers: layer {number}: expected weights [n_out, n_in] and biases [n_out], "
            f"got the shapes {list(weights.shape)} and {list(biases.shape)}."
        )
    if not (np.isfinite(weights).all() and np.isfinite(biases).all()):
        raise ValueError(f"layers: layer {number}: expected finite numbers.")
    return {
        "weights": [[_short(value) for value in row] for row in weights.tolist()],
        "biases": [_short(value) for value in biases.tolist()],
    }


def _example(number: int, example: Any, n_pixels: int) -> dict[str, Any]:
    """Check one real image."""
    if set(example) != {"label", "pixels"}:
        raise ValueError(
            f"examples: example {number}: expected label and pixels, got {', '.join(sorted(example))}."
        )
    pixels = np.asarray(example["pixels"], dtype=float)
    if pixels.shape != (n_pixels,) or not ((pixels >= 0) & (pixels <= 1)).all():
        raise ValueError(f"examples: example {number}: expected {n_pixels} pixels from 0 to 1.")
    return {"label": int(example["label"]), "pixels": [_short(value) for value in pixels.tolist()]}


def _short(value: float) -> float:
    return float(f"{value:.5g}")
