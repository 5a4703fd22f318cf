"""The network from scratch: against automatic differentiation, finite differences, and what can be done by hand."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch

from coursekit import results
from coursekit.experiments.neural_networks import analysis
from coursekit.experiments.neural_networks.analysis import (
    Layer,
    Network,
    attention_head,
    backpropagate,
    costs,
    descend,
    forward,
    new_network,
    numerical_gradient,
    train_network,
)
from coursekit.experiments.neural_networks.data import load_digits
from coursekit.experiments.neural_networks.run import TorchNetwork
from coursekit.model import Attention, TransformerConfig, attend

KINDS = [(activation, cost) for activation in analysis.ACTIVATIONS for cost in analysis.COSTS]


def some(activation: str, cost: str, sizes: tuple[int, ...] = (9, 5, 4, 10)) -> Network:
    """A small network with biases that are not 0."""
    network = new_network(sizes, activation=activation, cost=cost, seed=1)
    generator = np.random.default_rng(2)
    layers = tuple(Layer(w, generator.standard_normal(len(b))) for w, b in network.layers)
    return Network(layers, activation, cost)


def batch(n_pixels: int = 9) -> tuple[np.ndarray, np.ndarray]:
    """Seven images and their labels."""
    generator = np.random.default_rng(3)
    return generator.random((7, n_pixels)), generator.integers(10, size=7)


@pytest.mark.parametrize(("activation", "cost"), KINDS)
def test_backpropagation_equals_finite_differences(activation: str, cost: str) -> None:
    network, (images, labels) = some(activation, cost), batch()
    exact, rough = backpropagate(network, images, labels), numerical_gradient(network, images, labels)
    for mine, checked in zip(exact, rough, strict=True):
        np.testing.assert_allclose(mine.weights, checked.weights, atol=1e-9)
        np.testing.assert_allclose(mine.biases, checked.biases, atol=1e-9)


@pytest.mark.parametrize(("activation", "cost"), KINDS)
def test_forward_cost_and_gradient_equal_pytorchs(activation: str, cost: str) -> None:
    network, (images, labels) = some(activation, cost), batch()
    theirs = TorchNetwork(network)
    loss = theirs.loss(torch.from_numpy(images), torch.from_numpy(labels))
    loss.backward()
    assert costs(network, images, labels).mean() == pytest.approx(loss.item(), rel=1e-12)
    z = theirs(torch.from_numpy(images)).detach()
    outputs = torch.sigmoid(z) if cost == "quadratic" else torch.softmax(z, -1)
    np.testing.assert_allclose(forward(network, images)[-1], outputs.numpy(), rtol=1e-12)
    gradient = [array for layer in backpropagate(network, images, labels) for array in layer]
    for mine, parameter in zip(gradient, theirs.parameters(), strict=True):
        assert parameter.grad is not None
        np.testing.assert_allclose(mine, parameter.grad.numpy(), atol=1e-14)


def test_numerical_gradient_leaves_the_network_as_it_is() -> None:
    network, (images, labels) = some("sigmoid", "quadratic"), batch()
    before = [array.copy() for layer in network.layers for array in layer]
    numerical_gradient(network, images, labels)
    after = [array for layer in network.layers for array in layer]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


def test_the_networks_of_the_videos_have_their_number_of_weights() -> None:
    assert new_network().sizes == (784, 16, 16, 10)
    assert new_network().n_params == 13_002
    assert new_network((64, 16, 16, 10)).n_params == 64 * 16 + 16 + 16 * 16 + 16 + 16 * 10 + 10


def test_columns_by_hand() -> None:
    network = Network(
        (Layer(np.array([[1.0, -1.0]]), np.array([0.5])), Layer(np.ones((10, 1)), np.zeros(10))), "relu"
    )
    pixels, hidden, outputs = forward(network, np.array([[1.0, 0.0], [0.0, 1.0]]))
    assert pixels.shape == (2, 2)
    assert hidden.tolist() == [[1.5], [0.0]]
    assert outputs[0] == pytest.approx(1 / (1 + math.exp(-1.5)))
    assert outputs[1] == pytest.approx(0.5)


def test_squashing_never_overflows() -> None:
    large = np.array([-1e4, 0.0, 1e4])
    assert analysis.sigmoid(large).tolist() == [0.0, 0.5, 1.0]
    assert analysis.softmax(large).tolist() == [0.0, 0.0, 1.0]
    certain = Network(
        (Layer(np.zeros((10, 1)), np.where(np.arange(10) == 3, 1e4, 0.0)),), cost="cross_entropy"
    )
    wrong, right = costs(certain, np.zeros((2, 1)), np.array([4, 3]))
    assert right == 0
    assert 700 < wrong < 800


def test_a_step_downhill_lowers_the_cost_by_what_the_gradient_says() -> None:
    network, (images, labels) = some("sigmoid", "quadratic"), batch()
    gradient = backpropagate(network, images, labels)
    square = sum((array**2).sum() for layer in gradient for array in layer)
    fallen = (
        costs(network, images, labels).mean() - costs(descend(network, gradient, 1e-4), images, labels).mean()
    )
    assert fallen == pytest.approx(1e-4 * square, rel=1e-3)


def test_every_epoch_sees_every_image_once_in_an_order_of_its_own() -> None:
    orders = [
        np.concatenate(list(analysis.mini_batches(25, 10, seed=seed, epoch=epoch)))
        for seed, epoch in ((0, 0), (0, 1), (1, 0), (0, 0))
    ]
    assert all(sorted(order) == list(range(25)) for order in orders)
    assert np.array_equal(orders[0], orders[3])
    assert not np.array_equal(orders[0], orders[1])
    assert not np.array_equal(orders[0], orders[2])


def test_training_refuses_nonsense_and_says_when_it_diverges() -> None:
    digits = load_digits(n_train=50)
    for rate in (0, float("nan"), float("inf")):
        with pytest.raises(
            ValueError, match=rf"expected a learning_rate above 0, .* got learning_rate={rate}"
        ):
            train_network(new_network((64, 10)), digits, learning_rate=rate)
    wild = new_network((64, 10, 10), activation="relu", cost="cross_entropy")
    with (
        np.errstate(all="ignore"),
        pytest.raises(FloatingPointError, match="lower learning_rate=1e\\+200"),
    ):
        train_network(wild, digits, learning_rate=1e200)
    with pytest.raises(ValueError, match="sizes must be two numbers"):
        new_network((64,))
    with pytest.raises(ValueError, match="activation must be one of sigmoid, relu, got 'tanh'"):
        new_network(activation="tanh")
    with pytest.raises(ValueError, match="cost must be one of quadratic, cross_entropy"):
        new_network(cost="absolute")


def test_images_and_labels_that_do_not_fit_are_refused() -> None:
    network, (images, labels) = some("sigmoid", "quadratic"), batch()
    for wrong in (images[:, :8], images[0], images[None]):
        with pytest.raises(
            ValueError, match=r"images must be an array \[n, 9\], a row an image, got the shape"
        ):
            forward(network, wrong)
    for function in (costs, backpropagate):
        with pytest.raises(ValueError, match=r"one label for each of 7 images, .* got the shape \(1,\)"):
            function(network, images, labels[:1])  # NumPy would give all images this label
        for nonsense in (-1, 10):
            with pytest.raises(ValueError, match="labels must be from 0 to 9"):
                function(network, images, np.where(labels == labels[0], nonsense, labels))
    with pytest.raises(ValueError, match="nudge must be above 0, got 0"):
        numerical_gradient(network, images, labels, nudge=0)


def test_a_trained_network_reads_digits_it_has_not_seen() -> None:
    digits = load_digits()
    network, rows = train_network(new_network((64, 16, 16, 10)), digits, n_epochs=10)
    accuracy = rows[rows["metric"] == "accuracy"].groupby("split")["value"].last()
    assert accuracy["val"] > 0.9
    matrix = analysis.confusion(network, digits.val_images, digits.val_labels)
    assert matrix.sum() == 360
    assert matrix.trace() / 360 == pytest.approx(accuracy["val"])
    assert matrix.sum(1).tolist() == np.bincount(digits.val_labels, minlength=10).tolist()
    sure = analysis.confidence(network, digits.val_images)
    assert sure.mean() == pytest.approx(
        rows[(rows["metric"] == "confidence") & (rows["split"] == "val")]["value"].iloc[-1]
    )


def test_rows_are_those_of_the_experiment() -> None:
    rows = pd.DataFrame(
        analysis.evaluate(new_network((64, 16, 16, 10)), load_digits(n_train=50), seed=0, step=7)
    )
    assert set(rows.columns) == {*results.KEYS["neural_networks"], *results.VALUE_COLUMNS}
    assert rows.groupby("split")["metric"].agg(list).to_dict() == {
        "noise": ["confidence"],
        "train": ["loss", "accuracy", "confidence"],
        "val": ["loss", "accuracy", "confidence"],
    }
    assert rows.groupby("split")["n"].first().to_dict() == {"noise": 360, "train": 50, "val": 360}


def test_noise_has_as_much_ink_as_asked_for() -> None:
    images = load_digits().val_images[:5]
    shuffled = analysis.noise_images(50, kind="shuffled", images=images)
    inks = {round(total, 6) for total in images.sum(1)}
    assert {round(total, 6) for total in shuffled.sum(1)} <= inks
    assert not any(np.array_equal(noise, image) for noise in shuffled for image in images)
    assert analysis.noise_images(500).mean() == pytest.approx(0.5, abs=0.01)
    with pytest.raises(ValueError, match="kind must be uniform or shuffled, got 'gaussian'"):
        analysis.noise_images(1, kind="gaussian")
    with pytest.raises(ValueError, match="shuffled noise is made of real images"):
        analysis.noise_images(1, kind="shuffled")


def test_a_unit_is_shown_where_its_pixels_are() -> None:
    network = new_network((64, 16, 16, 10))
    assert analysis.unit_images(network)[3][2, 5] == network.layers[0].weights[3, 2 * 8 + 5]
    with pytest.raises(ValueError, match="expected square images, got 65 pixels"):
        analysis.unit_images(new_network((65, 10)))


def test_a_run_carries_a_network() -> None:
    network = some("relu", "cross_entropy")
    rows = pd.DataFrame(analysis.network_rows(network, seed=0, step=9))
    config = {"activation": "relu", "cost": "cross_entropy"}
    header = results.new_header("neural_networks", "custom", config, 0)
    again = analysis.stored_network(results.Run(header, rows))
    images, _ = batch()
    assert (again.activation, again.cost, again.sizes) == ("relu", "cross_entropy", network.sizes)
    np.testing.assert_allclose(forward(again, images)[-1], forward(network, images)[-1], atol=2e-3)
    with pytest.raises(ValueError, match="expected a run that carries a network"):
        analysis.stored_network(results.Run(header, rows.assign(metric="loss")))


def test_the_end_is_the_mean_over_seeds_at_the_last_step() -> None:
    keys = dict(split="val", metric="accuracy")
    rows = pd.DataFrame(
        [
            {**keys, "seed": seed, "step": step, "value": step / 10 - seed / 10}
            for seed in (0, 1)
            for step in (0, 9)
        ]
    )
    (end,) = analysis.at_the_end(rows).to_dict("records")
    assert end["mean"] == pytest.approx(0.85)
    assert (end["lowest"], end["highest"], end["n"], end["step"]) == (pytest.approx(0.8), 0.9, 2, 9)
    both = pd.concat([rows.assign(learning_rate=rate) for rate in (1.0, 3.0)])
    assert analysis.at_the_end(both, by=["learning_rate"])["learning_rate"].tolist() == [1.0, 3.0]
    with pytest.raises(ValueError, match="expected rows of loss, got only accuracy"):
        analysis.at_the_end(rows, "loss")
    with pytest.raises(ValueError, match="with the columns batch_size"):
        analysis.at_the_end(rows, by=["batch_size"])


@pytest.mark.parametrize("n_heads", [1, 2])
@pytest.mark.parametrize("seq", [5, 12])  # model.py adds up short sequences in another way than long ones
def test_the_attention_head_is_the_transformers(seq: int, n_heads: int) -> None:
    shape = TransformerConfig(vocab_size=2, context_length=16, d_model=6, n_heads=n_heads, d_ff=4)
    attention = Attention(shape, ()).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in attention.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator, dtype=torch.float64))
    x = torch.randn(1, seq, 6, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        positions = torch.arange(seq)
        theirs = attention.mix(attention.queries(x, positions), attention.keys_values(x, positions))[0]
    parts = (attention.query, attention.key, attention.value)
    heads = zip(*(np.split(part.weight.detach().numpy(), n_heads) for part in parts), strict=True)
    outputs, patterns = zip(*(attention_head(x[0].numpy(), *weights) for weights in heads), strict=True)
    w_output = attention.output.weight.detach().numpy()
    np.testing.assert_allclose(np.hstack(outputs) @ w_output.T, theirs.numpy(), atol=1e-10)
    for pattern in patterns:
        np.testing.assert_allclose(pattern.sum(1), 1)
        assert np.array_equal(pattern, np.tril(pattern))


@pytest.mark.parametrize("seq", [1, 5, 12])
def test_the_attention_head_is_what_the_models_attend_computes(seq: int) -> None:
    generator = np.random.default_rng(seq)
    x, weights = generator.standard_normal((seq, 4)), generator.standard_normal((3, 2, 4))
    q, k, v = (torch.from_numpy(x @ w.T)[None, :, None] for w in weights)  # one sequence, one head
    np.testing.assert_allclose(attention_head(x, *weights)[0], attend(q, k, v)[0, :, 0].numpy(), atol=1e-12)


def test_shapes_that_do_not_fit_an_attention_head_are_refused() -> None:
    x, w = np.ones((3, 4)), np.ones((2, 4))
    for arguments in ((x, w.T, w.T, w.T), (x[0], w, w, w), (x, w, w[:1], w), (x, w, w, w[:, :3])):
        with pytest.raises(ValueError, match=r"expected x \[seq, d_model\] and weights \[d_head, d_model\]"):
            attention_head(*arguments)


def test_a_later_token_changes_nothing_before_it() -> None:
    generator = np.random.default_rng(0)
    x, (w_query, w_key, w_value) = generator.standard_normal((6, 4)), generator.standard_normal((3, 2, 4))
    changed = x.copy()
    changed[-1] += 1
    before, after = (attention_head(each, w_query, w_key, w_value)[0] for each in (x, changed))
    assert np.array_equal(before[:-1], after[:-1])
    assert not np.allclose(before[-1], after[-1])
