"""What each figure draws."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from coursekit.experiments.neural_networks import analysis, figures
from coursekit.figures import COLORS


def rows(seeds: tuple[int, ...] = (0, 1, 2), end: float = 0.9) -> pd.DataFrame:
    """Rows of a run that goes from 0.1 to near `end`."""
    table = [
        dict(seed=seed, split=split, step=step, metric=metric, value=0.1 if step == 0 else end - seed / 100)
        for seed in seeds
        for split in ("train", "val", "noise")
        for metric in (("confidence",) if split == "noise" else ("loss", "accuracy"))
        for step in (600, 0)
    ]  # fmt: skip
    return pd.DataFrame(table)


def test_training_curves_have_bands_over_seeds() -> None:
    fig = figures.training_curves(rows())
    lines = {trace.name: trace for trace in fig.data if trace.fill is None}
    assert list(lines) == ["training", "held out"]
    assert list(lines["held out"].x) == [0, 600]
    assert list(lines["held out"].y) == pytest.approx([0.1, 0.89])
    assert (lines["held out"].line.color, lines["training"].line.dash) == (COLORS["val"], "dash")
    assert len([trace for trace in fig.data if trace.fill == "toself"]) == 2
    assert fig.layout.yaxis.tickformat == ".0%"
    one = figures.training_curves(rows(seeds=(0,)), metric="loss")
    assert not [trace for trace in one.data if trace.fill]
    assert one.layout.title.text == "Training, one seed"
    (noise,) = figures.training_curves(rows(seeds=(0,)), metric="confidence").data
    assert noise.name == "noise"


def test_foreign_tables_are_refused() -> None:
    with pytest.raises(ValueError, match="with the columns split"):
        figures.training_curves(rows().drop(columns="split"))
    with pytest.raises(ValueError, match="expected rows of margin, got only accuracy, confidence, loss"):
        figures.training_curves(rows(), metric="margin")
    with pytest.raises(ValueError, match="with the columns learning_rate"):
        figures.sweep(rows())
    with pytest.raises(ValueError, match="rows of one run or more, got none"):
        figures.random_labels({})


def test_pictures_stand_upright_with_a_title_each() -> None:
    pictures = np.zeros((3, 4))
    pictures[1, 1] = 1  # the upper right pixel of a picture of 2 × 2
    fig = figures.images(pictures, ["a", "b", "c"], columns=2)
    assert [note.text for note in fig.layout.annotations] == ["a", "b", "c"]
    assert np.array_equal(fig.data[1].z, [[0, 1], [0, 0]])
    assert fig.layout.yaxis2.autorange == "reversed"
    assert (fig.layout.coloraxis.cmin, fig.layout.coloraxis.cmax) == (0, 1)
    with pytest.raises(ValueError, match="expected one title for each of 3 pictures, got 1"):
        figures.images(pictures, ["a"])
    assert figures.images(pictures[:1]).layout.xaxis.domain == (
        0,
        1,
    )  # no room for pictures that are not there
    for shape in ((2, 5), (8, 8), (64,), (2, 4, 9), (0, 64), ()):
        with pytest.raises(ValueError, match="expected one square picture or more"):
            figures.images(np.zeros(shape))
    with pytest.raises(ValueError, match="columns must be 1 or more, got 0"):
        figures.images(pictures, columns=0)


def test_unit_images_share_one_scale_around_zero() -> None:
    network = analysis.new_network((64, 16, 16, 10))
    fig = figures.unit_images(network)
    assert len(fig.data) == 16
    assert {trace.coloraxis for trace in fig.data} == {"coloraxis"}
    reach = np.abs(network.layers[0].weights).max()
    assert (fig.layout.coloraxis.cmin, fig.layout.coloraxis.cmax) == (-reach, reach)


def test_confusion_shows_counts_and_colors_shares() -> None:
    fig = figures.confusion([[3, 1], [0, 5]])
    assert fig.layout.title.text == "8 of 9 read right"
    assert fig.data[0].z.tolist() == [[0.75, 0.25], [0, 1]]
    assert fig.data[0].text.tolist() == [["3", "1"], ["", "5"]]
    with pytest.raises(ValueError, match="expected a square matrix of counts"):
        figures.confusion([[1, 2, 3]])


def test_confidences_are_shares_of_their_own_kind() -> None:
    fig = figures.confidence_histogram({"real": [0.97, 1.0, 0.52, 0.99], "noise": [0.02]})
    assert [sum(trace.y[:-1]) for trace in fig.data] == [1, 1]
    assert fig.data[0].y[19] == 0.75
    assert fig.data[1].y[0] == 1
    assert fig.data[0].line.dash != fig.data[1].line.dash
    with pytest.raises(ValueError, match="expected confidences from 0 to 1 for real"):
        figures.confidence_histogram({"real": [1.5]})
    with pytest.raises(ValueError, match="got none"):
        figures.confidence_histogram({})


def test_a_sweep_is_in_order_with_bars_over_seeds() -> None:
    table = pd.concat([rows(end=end).assign(learning_rate=rate) for rate, end in ((3.0, 0.9), (0.1, 0.5))])
    fig = figures.sweep(table)
    lines = {trace.name: trace for trace in fig.data}
    assert list(lines) == ["training", "held out"]
    assert list(lines["held out"].x) == [0.1, 3.0]
    assert list(lines["held out"].y) == pytest.approx([0.49, 0.89])
    assert lines["held out"].error_y.array == pytest.approx([0.01, 0.01])
    assert (fig.layout.xaxis.type, fig.layout.xaxis.title.text) == ("log", "learning rate")
    assert fig.layout.xaxis.ticktext == ("0.1", "3")
    with pytest.raises(ValueError, match="learning_rate must be above 0 on a logarithmic axis, got 0"):
        figures.sweep(table.assign(learning_rate=0.0))


def test_random_labels_stand_beside_real_ones() -> None:
    fig = figures.random_labels({"real labels": rows(seeds=(0,)), "random labels": rows(seeds=(0,), end=0.5)})
    names = [(trace.name, trace.line.dash, trace.showlegend) for trace in fig.data]
    assert names == [
        ("real labels", "dash", False), ("real labels", "solid", True),
        ("random labels", "dash", False), ("random labels", "solid", True), ("guessing", "dot", True),
    ]  # fmt: skip
    assert fig.data[0].line.color == fig.data[1].line.color != fig.data[2].line.color
    assert list(fig.data[-1].y) == [0.1, 0.1]


def test_an_attention_pattern_has_a_row_a_token() -> None:
    fig = figures.attention_pattern(np.eye(3), ["a", "b", "a"])
    assert fig.layout.yaxis.ticktext == ("a", "b", "a")
    with pytest.raises(ValueError, match="expected a pattern of 2 × 2 for 2 tokens"):
        figures.attention_pattern(np.eye(3), ["a", "b"])
