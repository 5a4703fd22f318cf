"""What each figure draws."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from coursekit.experiments.reversal_dynamics import analysis, figures
from coursekit.figures import COLORS


def rows(model: str = "transformer", seeds: tuple[int, ...] = (0, 1, 2), **ends: float) -> pd.DataFrame:
    """Rows of a run: training ends near 0, held out near 9."""
    ends = {"train": 0.0, "val": 9.0} | ends
    return pd.DataFrame(
        [
            dict(
                seed=seed, model=model, split=split, direction=direction, step=step, metric="negative_log_prob",
                value=6.7 if step == 0 else end + seed,
            )
            for seed in seeds
            for split, end in ends.items()
            for direction in ("forward", "backward")
            for step in (600, 0)
        ]
    )  # fmt: skip


def test_loss_curves_have_bands_and_the_two_baselines() -> None:
    fig = figures.loss_curves(rows())
    lines = {trace.name: trace for trace in fig.data if trace.fill is None}
    assert list(lines) == [
        "training: forward, x → y", "training: backward, y ← x", "held out: forward, x → y",
        "held out: backward, y ← x", "ln 802: any token", "ln 200: any candidate",
    ]  # fmt: skip
    held = lines["held out: backward, y ← x"]
    assert list(held.x) == [0, 600]
    assert list(held.y) == [6.7, 10.0]
    assert (held.line.color, held.line.dash) == (COLORS["val"], "dash")
    assert [lines[name].line.dash for name in list(lines)[-2:]] == ["dash", "dot"]
    assert lines["ln 200: any candidate"].y[0] == pytest.approx(5.298, abs=1e-3)
    bands = [trace for trace in fig.data if trace.fill == "toself"]
    assert len(bands) == 4
    assert sorted(bands[2].y) == [6.7, 6.7, 9.0, 11.0]
    assert fig.layout.title.text == "Transformer, 3 seeds"


def test_one_seed_has_no_band_and_an_accuracy_no_baseline() -> None:
    one = rows(seeds=(0,))
    assert not [t for t in figures.loss_curves(one).data if t.fill]
    accuracy = figures.loss_curves(one.assign(metric="accuracy"), metric="accuracy")
    assert len(accuracy.data) == 4
    assert accuracy.layout.yaxis.tickformat == ".0%"


def test_several_models_must_be_told_apart() -> None:
    both = pd.concat([rows(), rows("bilinear", val=6.0)])
    with pytest.raises(ValueError, match="rows of one model, got transformer, bilinear; name one"):
        figures.loss_curves(both)
    fig = figures.loss_curves(both, model="bilinear", n_tokens=None, n_candidates=None)
    assert fig.layout.title.text == "Bilinear model, 3 seeds"
    assert max(max(t.y) for t in fig.data) == 8.0
    with pytest.raises(ValueError, match="expected rows of the model one_layer"):
        figures.loss_curves(both, model="one_layer")


def test_foreign_tables_are_refused() -> None:
    with pytest.raises(ValueError, match="got a table without split"):
        figures.loss_curves(rows().drop(columns="split"))
    with pytest.raises(ValueError, match="expected rows of accuracy, got only negative_log_prob"):
        figures.loss_curves(rows(), metric="accuracy")
    with pytest.raises(ValueError, match="without setting"):
        figures.sweep_figure(rows())


def test_logit_heatmaps_share_one_scale() -> None:
    matrices = {
        "train forward": np.eye(4),
        "train backward": np.eye(4),
        "seen": 2 * np.eye(3),
        "unseen": -np.eye(3),
    }
    fig = figures.logit_heatmaps(matrices)
    assert len(fig.data) == 4
    assert [note.text for note in fig.layout.annotations] == list(matrices)
    assert (fig.layout.coloraxis.cmin, fig.layout.coloraxis.cmax) == (-1, 2)
    assert {trace.coloraxis for trace in fig.data} == {"coloraxis"}
    np.testing.assert_array_equal(fig.data[2].z, 2 * np.eye(3))
    with pytest.raises(ValueError, match="expected one matrix or more"):
        figures.logit_heatmaps({})


def test_cosine_heatmap_takes_vectors_or_cosines() -> None:
    vectors = np.array([[3.0, 0.0], [1.0, 1.0], [0.0, 2.0]])
    fig = figures.cosine_heatmap(vectors)
    np.testing.assert_allclose(fig.data[0].z, analysis.cosine_similarities(vectors), atol=1e-3)
    again = figures.cosine_heatmap(analysis.cosine_similarities(vectors))
    np.testing.assert_allclose(again.data[0].z, fig.data[0].z, atol=2e-3)
    assert fig.layout.title.text.endswith(": 0.47 on average")
    square = np.array([[2.0, 0.0], [2.0, 2.0]])
    assert figures.cosine_heatmap(square).data[0].z[0][1] == pytest.approx(0.707)
    with pytest.raises(ValueError, match="two rows or more"):
        figures.cosine_heatmap([[1.0, 2.0]])


def test_a_sweep_shows_each_recipe_once_a_split() -> None:
    recipes = {"1 layer": rows(), "tied": rows(train=5.0, val=6.0)}
    fig = figures.sweep_figure(pd.concat([table.assign(setting=name) for name, table in recipes.items()]))
    train, val, *baselines = fig.data
    assert list(train.y) == list(val.y) == ["1 layer", "tied"]
    assert list(train.x) == [1.0, 6.0]
    assert list(val.x) == [10.0, 7.0]
    assert list(val.error_x.array) == [1.0, 1.0]
    assert [line.line.dash for line in baselines] == ["dash", "dot"]
    assert [line.x[0] for line in baselines] == pytest.approx([6.687, 5.298], abs=1e-3)


def test_the_overlap_has_a_frame_a_value() -> None:
    table = analysis.overlap_sweep((0.0, 0.5, 1.0), n_pairs=4, seeds=(0,))
    moving = figures.overlap_slider(table, start=-1)
    assert len(moving.frames) == 3
    assert moving.data[1].y[-1] > 0.9
    assert figures.overlap_figure(table, 0.0).data[1].y[-1] < 0.2
    ends = figures.overlap_ends({"symmetric": table})
    assert list(ends.data[0].x) == [0.0, 0.5, 1.0]
    with pytest.raises(ValueError, match=r"the table has the overlaps 0, 0\.5, 1, got 0\.2"):
        figures.overlap_figure(table, 0.2)
    with pytest.raises(ValueError, match="without reverse"):
        figures.overlap_figure(table.drop(columns="reverse"), 0.0)


def test_bilinear_curves_have_a_curve_a_set() -> None:
    pairs = np.array([[0, 2], [1, 3]])
    embeddings = analysis.make_embeddings("one_hot", 4)
    run = analysis.train_bilinear(pairs, embeddings, watch={"reverse": pairs[:, ::-1]}, seeds=(0, 1))
    fig = figures.bilinear_curves(run)
    assert [t.name for t in fig.data if t.showlegend] == ["trained on, x → y", "its reverse, y → x"]
    assert fig.data[1].y[-1] == pytest.approx(run.probability("train")[-1].mean())
    losses = figures.bilinear_curves(run, probability=False, names={"reverse": "backwards"})
    assert losses.data[3].name == "backwards"
    assert losses.data[3].y[-1] == pytest.approx(np.log(4), abs=0.05)
