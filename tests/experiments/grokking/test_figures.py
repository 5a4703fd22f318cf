import itertools
import math

import numpy as np
import pandas as pd
import pytest

from coursekit.experiments.grokking import data, figures
from coursekit.figures import COLORS


def curve(steps, train, val, **keys):
    """Rows of one network."""
    run = {"seed": 0, "operation": "div", "modulus": 97, "train_fraction": 0.5, "variant": "adamw", **keys}
    return pd.DataFrame(
        [
            {**run, "step": step, "metric": metric, "value": value}
            for step, *pair in zip(steps, train, val, strict=True)
            for metric, value in zip(("train_accuracy", "val_accuracy"), pair, strict=True)
        ]
    )


@pytest.fixture
def sweep():
    """Two fractions, three seeds: at 0.5 all generalize, at 0.3 only one does."""
    parts = [curve([0, 100, 1000, seed + 2000], [0, 1, 1, 1], [0, 0, 0.5, 1], seed=seed) for seed in range(3)]
    for seed, last in enumerate([0.1, 0.2, 1.0]):
        parts.append(curve([0, 100, 5000], [0, 1, 1], [0, 0.1, last], seed=seed, train_fraction=0.3))
    return pd.concat(parts)


def test_learning_curves_have_a_line_a_seed_in_the_colors_of_the_course(sweep):
    fig = figures.learning_curves(sweep[sweep["train_fraction"] == 0.5].iloc[::-1])
    assert [trace.line.color for trace in fig.data] == [COLORS["train"]] * 3 + [COLORS["val"]] * 3
    assert [trace.name for trace in fig.data if trace.showlegend] == ["training", "validation"]
    assert list(fig.data[4].x) == [100, 1000, 2001]  # in order, without step 0
    assert list(fig.data[4].y) == [0, 0.5, 1]
    assert fig.layout.xaxis.type == "log"
    assert fig.layout.title.text == "Accuracy: x / y, mod 97, 50% of the data, adamw"


def test_learning_curves_tell_settings_apart(sweep):
    fig = figures.learning_curves(sweep)
    assert {trace.name for trace in fig.data} == {
        f"{split}, {fraction}% of the data" for split in ("training", "validation") for fraction in (30, 50)
    }
    assert len({trace.line.dash for trace in fig.data}) == 2


def test_loss_curves_take_the_losses(sweep):
    losses = sweep.assign(metric=sweep["metric"].str.replace("accuracy", "loss"))
    fig = figures.loss_curves(losses)
    assert len(fig.data) == 12
    assert fig.layout.yaxis.title.text == "loss (nats)"


def test_time_to_generalize_marks_what_was_not_reached(sweep):
    fig = figures.time_to_generalize(sweep)
    validation, training, never, legend = fig.data
    assert list(validation.x) == [0.3, 0.5]
    assert list(validation.y) == [5000, 2001]
    assert (list(never.x), list(never.y), never.name) == ([0.3], [5000], "not within 5,000 steps")
    assert list(validation.error_y.array) == [0, 1]
    assert list(validation.error_y.arrayminus) == [0, 1]
    assert "2 of 3 seeds not within 5,000" in validation.hovertext[0]
    assert list(training.y) == [100, 100]
    assert legend.name == "training"
    assert "Infinity" not in fig.to_json(engine="json")


def test_data_efficiency_is_the_best_of_a_run_averaged_over_seeds(sweep):
    later = curve([6000], [1.0], [0.4], seed=2, train_fraction=0.3)  # falls again: the best counts
    other = curve([100], [1.0], [0.7], variant="adam")
    fig = figures.data_efficiency(pd.concat([sweep, later, other]))
    adam, adamw = fig.data
    assert [adam.name, adamw.name] == ["adam", "adamw"]
    assert list(adamw.x) == [0.3, 0.5]
    np.testing.assert_allclose(adamw.y, [1.3 / 3, 1])
    np.testing.assert_allclose(adamw.y + adamw.error_y.array, [1, 1])
    np.testing.assert_allclose(adamw.y - adamw.error_y.arrayminus, [0.1, 1])


def test_outliers_have_a_curve_a_number(sweep):
    fig = figures.outliers(pd.concat([sweep.assign(n_outliers=0), sweep.assign(n_outliers=1000)]))
    assert [trace.name for trace in fig.data] == ["0 outliers", "1,000 outliers"]


@pytest.mark.parametrize("frequency", [1, 3, 5])
def test_embedding_circle_is_a_circle_for_a_wave(frequency):
    p = 11
    angle = 2 * np.pi * frequency * np.arange(p) / p
    plane = np.linalg.qr(np.random.default_rng(0).standard_normal((6, 2)))[0].T
    weights = 7.0 + np.stack([np.cos(angle), np.sin(angle)], axis=1) @ plane
    for fig in (figures.embedding_circle(weights, frequency), figures.embedding_circle(weights)):
        symbols = fig.data[-1]
        np.testing.assert_allclose(np.hypot(symbols.x, symbols.y), 1)
        assert "(100% of the variance)" in fig.layout.title.text
    line, symbols = figures.embedding_circle(weights, frequency).data
    sides = np.hypot(np.diff(line.x), np.diff(line.y))
    np.testing.assert_allclose(sides, 2 * math.sin(math.pi / p))  # the line visits neighbors: once around


def test_embedding_circle_joins_each_symbol_to_the_one_a_step_further():
    weights = np.random.default_rng(0).standard_normal((12, 5))
    fig = figures.embedding_circle(weights, step=8)
    *lines, symbols = fig.data
    place = {(x, y): symbol for symbol, (x, y) in enumerate(zip(symbols.x, symbols.y, strict=True))}
    joined = [[place[point] for point in zip(line.x, line.y, strict=True)] for line in lines]
    assert sorted(start for cycle in joined for start in cycle[:-1]) == list(range(12))
    assert all((a + 8) % 12 == b for cycle in joined for a, b in itertools.pairwise(cycle))


def test_fourier_spectrum_finds_the_wave_and_sums_to_one():
    angle = 2 * np.pi * np.arange(13) / 13
    weights = np.stack([3 * np.cos(4 * angle) + 1, np.sin(6 * angle)], axis=1)
    (bars,) = figures.fourier_spectrum(weights).data
    assert list(bars.x) == [1, 2, 3, 4, 5, 6]
    np.testing.assert_allclose(bars.y, [0, 0, 0, 0.9, 0, 0.1], atol=1e-12)


def test_operation_table_shows_the_answers_and_hides_what_it_is_told():
    fig = figures.operation_table("div", 7, hidden=[0, 1])
    (table,) = fig.data
    z = np.array(table.z, dtype=float)
    pairs, answers = data.operation_table("div", 7)
    shown = ~np.isnan(z)
    assert not shown[pairs[:2, 0], pairs[:2, 1]].any()
    np.testing.assert_array_equal(z[pairs[2:, 0], pairs[2:, 1]], answers[2:])
    assert not shown[:, 0].any()  # nothing is divided by 0
    assert (np.array(table.text) != "").tolist() == shown.tolist()
    assert fig.layout.title.text == "x ∘ y = x / y, mod 7"
    permutations = figures.operation_table("s5")
    assert np.shape(permutations.data[0].z) == (120, 120)
    assert permutations.layout.title.text == "x ∘ y = x · y in S5"


def test_sharpness_pairs_each_network_with_its_accuracy_and_ranks_them():
    accuracy = [0.1, 0.2, 0.9, 1.0, 0.95]
    sharp = [9.0, 8.0, 2.0, 1.0, 3.0]
    runs = [curve([10, 20], [1, 1], [0.0, value], seed=seed) for seed, value in enumerate(accuracy)]
    phi = [run.tail(1).assign(metric="sharpness", value=s) for run, s in zip(runs, sharp, strict=True)]
    early = runs[0].head(2).tail(1).assign(metric="sharpness", value=0.0)  # at step 10: the last step counts
    fig = figures.sharpness(pd.concat([*runs, *phi, early]))
    assert list(fig.data[0].x) == sharp
    assert list(fig.data[0].y) == accuracy
    assert (
        fig.layout.title.text == "Sharpness and generalization: 5 networks, Spearman's ρ = -0.90 (p = 0.04)"
    )
    assert figures.sharpness(pd.concat([runs[0], phi[0]])).layout.title.text.endswith("1 networks")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda rows: figures.learning_curves(rows.drop(columns="seed")), "a table without seed: add"),
        (
            lambda rows: figures.loss_curves(rows),
            "train_loss and val_loss, got only train_accuracy, val_accuracy",
        ),
        (lambda rows: figures.data_efficiency(rows.head(0)), "val_accuracy, got only none"),
        (lambda rows: figures.outliers(rows), "a table without n_outliers: add"),
        (lambda rows: figures.sharpness(rows), "expected rows of sharpness"),
        (lambda rows: figures.embedding_circle(np.zeros(5)), r"at least 3 by 2; got the shape \(5,\)"),
        (lambda rows: figures.embedding_circle(np.eye(7), 4), "7 symbols have the frequencies 1 to 3; got 4"),
        (lambda rows: figures.embedding_circle(np.eye(7), 0), "got 0"),
        (lambda rows: figures.operation_table("plus"), "plus"),
    ],
)
def test_wrong_input_is_named(sweep, call, message):
    with pytest.raises(ValueError, match=message):
        call(sweep)


def test_sharpness_needs_both_metrics_at_one_step():
    rows = pd.concat([curve([10], [1], [1]), curve([20], [1], [1]).tail(1).assign(metric="sharpness")])
    with pytest.raises(ValueError, match="no network has sharpness and val_accuracy at one step"):
        figures.sharpness(rows)


def test_coset_map_marks_every_coset_differently() -> None:
    groups = np.repeat(np.arange(12), 10)
    fig = figures.coset_map(
        np.random.default_rng(0).normal(size=(120, 2)), groups, labels=[str(i) for i in range(120)]
    )
    looks = {(trace.marker.color, trace.marker.symbol) for trace in fig.data}
    assert len(looks) == 12
    assert [text for trace in fig.data for text in trace.text] == [str(i) for i in range(120)]
    with pytest.raises(ValueError, match=r"expected points of shape \(119, 2\).* got \(120, 2\)"):
        figures.coset_map(np.zeros((120, 2)), groups[1:])
