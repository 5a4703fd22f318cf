"""The drawing field checks its network, and carries it unchanged."""

import json
from typing import Any

import numpy as np
import pytest

from coursekit.book import digit_drawing
from coursekit.book.digits import DIGITS_MIME, digits_html
from coursekit.book.mime import DigitsRenderer, ScrubberRenderer
from coursekit.experiments.neural_networks.analysis import Layer, Network, drawing_data, forward, new_network
from coursekit.experiments.neural_networks.data import load_digits

from .test_interactive import Output

TEXTS = {"title": "Draw a digit", "description": "A network of two hidden columns."}


def data(**changes: Any) -> dict[str, Any]:
    """Return a network of 64-3-10 units with one example, with some entries changed."""
    network = new_network((64, 3, 10))
    return TEXTS | drawing_data(network, load_digits(), n_examples=1) | changes


def read(sent: dict[str, Any]) -> Network:
    """Return the network that a page gets."""
    layers = tuple(Layer(np.array(layer["weights"]), np.array(layer["biases"])) for layer in sent["layers"])
    return Network(
        layers, sent["activation"], "quadratic" if sent["output"] == "sigmoid" else "cross_entropy"
    )


def test_bundle_is_json_with_text_and_html_beside_it() -> None:
    drawing = digit_drawing(data())
    bundle = drawing._repr_mimebundle_()
    assert set(bundle) == {DIGITS_MIME, "text/html", "text/plain"}
    assert json.loads(json.dumps(bundle[DIGITS_MIME], allow_nan=False)) == drawing.data
    assert bundle["text/plain"] == "<drawing field: Draw a digit: a network of 64-3-10 units>"
    assert ".ck-digits" in bundle["text/html"].split("<script")[0]


@pytest.mark.parametrize(("activation", "cost"), [("sigmoid", "quadratic"), ("relu", "cross_entropy")])
def test_the_network_in_the_page_has_the_activations_of_the_one_trained(activation: str, cost: str) -> None:
    digits = load_digits()
    network = new_network((64, 16, 16, 10), activation=activation, cost=cost)
    made = digit_drawing(TEXTS | drawing_data(network, digits, n_examples=9))
    sent = json.loads(json.dumps(made.data))
    images = np.array([example["pixels"] for example in sent["examples"]])
    np.testing.assert_array_equal(images, digits.val_images[:9])
    assert [example["label"] for example in sent["examples"]] == digits.val_labels[:9].tolist()
    assert sent["side"] == 8
    for mine, theirs in zip(forward(read(sent), images), forward(network, images), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-4)


def test_text_cannot_end_the_script_element() -> None:
    assert digits_html(digit_drawing(data(title="</script><b>")).data).count("</script>") == 1


def test_the_renderer_takes_its_own_type_only() -> None:
    output = Output(DIGITS_MIME, digit_drawing(data()).data)
    (node,) = DigitsRenderer.handle_mime(None, output, False) or []
    assert node.astext() == digits_html(output.content)
    assert ScrubberRenderer.handle_mime(None, output, False) is None
    assert DigitsRenderer.handle_mime(None, Output("text/html", ""), False) is None


def layer(n_out: int, n_in: int, value: float = 0.0) -> dict[str, Any]:
    """Return a layer of equal weights."""
    return {"weights": np.full((n_out, n_in), value), "biases": np.zeros(n_out)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"activation": "tanh"}, "activation: expected sigmoid or relu, got 'tanh'"),
        ({"output": "relu"}, "output: expected sigmoid or softmax, got 'relu'"),
        ({"layers": []}, "layers: expected one or more, got none"),
        ({"layers": [layer(3, 64), layer(10, 4)]}, "layer 1 takes 4 numbers, but 3 come in"),
        ({"layers": [layer(10, 63)]}, "expected a square number of pixels, .* got 63-10"),
        ({"layers": [layer(9, 64)]}, "and 10 outputs, got 64-9"),
        ({"layers": [layer(33, 64), layer(10, 33)]}, "hidden columns of at most 32 units .* got 64-33-10"),
        ({"layers": [layer(10, 64, np.nan)]}, "layer 0: expected finite numbers"),
        (
            {"layers": [{"weights": np.zeros((10, 64)), "biases": np.zeros(9)}]},
            r"layer 0: expected weights \[n_out, n_in\] .* got the shapes \[10, 64\] and \[9\]",
        ),
        ({"layers": [{"weights": np.zeros((10, 64))}]}, "layer 0: expected weights and biases, got weights"),
        ({"examples": [{"label": 3, "pixels": np.zeros(63)}]}, "example 0: expected 64 pixels from 0 to 1"),
        (
            {"examples": [{"label": 3, "pixels": np.full(64, 16)}]},
            "example 0: expected 64 pixels from 0 to 1",
        ),
        ({"examples": [{"pixels": np.zeros(64)}]}, "example 0: expected label and pixels, got pixels"),
        ({"exmaples": []}, "unknown entries: exmaples"),
    ],
)
def test_wrong_data_get_one_clear_sentence(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        digit_drawing(data(**changes))
