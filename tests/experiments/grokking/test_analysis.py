"""Fourier, PCA and the summaries, against closed forms."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from coursekit.experiments.grokking import analysis
from coursekit.experiments.grokking.data import operation_table


def wave(p: int, frequency: int, d: int, seed: int = 0) -> np.ndarray:
    """A circle of p points in d dimensions."""
    plane = np.linalg.qr(np.random.default_rng(seed).normal(size=(d, 2)))[0]
    angle = 2 * np.pi * frequency * np.arange(p) / p
    return np.stack([np.cos(angle), np.sin(angle)], 1) @ plane.T


def curves(steps: dict[int, tuple[float, float]], seed: int = 0, fraction: float = 0.5) -> pd.DataFrame:
    """Rows of one run: step → (train accuracy, val accuracy)."""
    keys = dict(seed=seed, operation="div", modulus=97, train_fraction=fraction, variant="adamw")
    return pd.DataFrame(
        [
            {**keys, "step": step, "metric": metric, "value": value}
            for step, values in steps.items()
            for metric, value in zip(("train_accuracy", "val_accuracy"), values, strict=True)
        ]
    )


def test_parseval() -> None:
    matrix = np.random.default_rng(0).normal(size=(13, 5))
    constant = (matrix.sum(0) ** 2).sum() / 13
    assert analysis.fourier_power(matrix).sum() + constant == pytest.approx((matrix**2).sum())


def test_a_circles_frequency_is_found() -> None:
    matrix = 3 * wave(31, 7, 16) + wave(31, 4, 16, 1) + 0.01 * np.random.default_rng(0).normal(size=(31, 16))
    assert analysis.key_frequencies(matrix, 2) == [7, 4]
    assert analysis.key_frequencies(matrix, share=0.85) == [7]
    assert analysis.key_frequencies(matrix, share=0.97) == [7, 4]


def test_pca_of_a_circle_is_a_circle() -> None:
    points = analysis.pca(wave(31, 3, 10) + 5)  # wherever its center is
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1)


def test_tsne_keeps_clusters_together() -> None:
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(3), (6, 10, 14))
    far = 50 * np.eye(3)[clusters] + rng.normal(size=(30, 3))
    points = analysis.tsne(far, seed=0, perplexity=5.0)
    centers = np.stack([points[clusters == k].mean(0) for k in range(3)])
    nearest = np.linalg.norm(points[:, None] - centers, axis=2).argmin(1)
    assert nearest.tolist() == clusters.tolist()


P, KEYS = 17, [3, 5]


def clock_logits() -> np.ndarray:
    """The logits of a network that computes Σ cos(2πk(a + b − c)/p)."""
    pairs, _ = operation_table("add", P)
    difference = pairs.sum(1)[:, None] - np.arange(P)
    return 5 * np.cos(2 * np.pi * np.array(KEYS)[:, None, None] * difference / P).sum(0)


def test_the_clocks_logits_are_waves_of_its_frequencies_alone() -> None:
    some = np.random.default_rng(0).permutation(P * P)[:100]  # a part, as either side of a split is
    pairs, answers = (of_all[some] for of_all in operation_table("add", P))
    clock, constant = clock_logits()[some], np.arange(P)  # one a symbol, as of a bias
    waves, rest = analysis.split_logits(clock + constant, pairs, KEYS)
    np.testing.assert_allclose(waves, clock, atol=1e-9)
    np.testing.assert_allclose(rest, np.tile(constant, (len(some), 1)), atol=1e-9)
    assert (waves.argmax(1) == answers).all()


def test_progress_measures_tell_the_clock_from_memory() -> None:
    pairs, answers = operation_table("add", P)
    order = np.random.default_rng(0).permutation(len(pairs))
    train, val = order[:230], order[230:]  # 80 % of the table
    clock = analysis.restricted_and_excluded_loss(clock_logits(), pairs, answers, KEYS, train=train, val=val)
    assert clock["restricted_loss"] == pytest.approx(
        analysis.cross_entropy(clock_logits()[val], answers[val])
    )
    assert clock["excluded_loss"] == pytest.approx(np.log(P))  # nothing left: uniform
    memory = np.zeros((len(pairs), P))
    memory[train, answers[train]] = 10
    remembered = analysis.restricted_and_excluded_loss(memory, pairs, answers, KEYS, train=train, val=val)
    assert remembered["excluded_loss"] < 0.3
    assert remembered["restricted_loss"] == pytest.approx(
        np.log(P), abs=1e-6
    )  # no wave at all where nothing was learned


def test_cross_entropy_of_large_logits_is_finite() -> None:
    assert analysis.cross_entropy(np.array([[1000.0, 0.0], [0.0, 0.0]]), np.array([1, 0])) == pytest.approx(
        (1000 + np.log(2)) / 2
    )


def test_an_even_number_of_symbols_is_refused() -> None:
    with pytest.raises(ValueError, match="odd number of symbols, got 120"):
        analysis.fourier_basis(120)


def test_steps_to_and_never() -> None:
    rows = pd.concat(
        [
            curves({0: (0.0, 0.0), 50: (1.0, 0.1), 100: (1.0, 0.99)}, seed=0),
            curves({0: (0.0, 0.0), 50: (0.98, 0.1), 100: (1.0, 0.2)}, seed=1),
        ]
    )
    assert analysis.steps_to(rows)["steps"].tolist() == [100, np.inf]
    assert analysis.steps_to(rows, "train_accuracy")["steps"].tolist() == [50, 100]
    assert analysis.steps_to(rows)["budget"].tolist() == [100, 100]
    with pytest.raises(
        ValueError, match="expected rows of test_accuracy, got only train_accuracy, val_accuracy"
    ):
        analysis.steps_to(rows, "test_accuracy")


def test_time_to_generalize_counts_the_runs_that_did_not() -> None:
    rows = pd.concat(
        [curves({0: (0, 0), 100 * (s + 1): (1, 1)}, seed=s, fraction=0.5) for s in range(3)]
        + [curves({0: (0, 0), 500: (1, 0.1)}, seed=s, fraction=0.3) for s in range(2)]
        + [curves({0: (0, 0), 500: (1, 1)}, seed=2, fraction=0.3)]
    )
    table = analysis.time_to_generalize(rows).set_index("train_fraction")
    assert table.loc[0.5, ["low", "high"]].tolist() == [100, 300]
    assert table.loc[0.5, ["median", "n", "n_generalized", "train_median"]].tolist() == [200, 3, 3, 200]
    assert table.loc[0.3, ["median", "n", "n_generalized", "train_median"]].tolist() == [np.inf, 3, 1, 500]


@pytest.mark.parametrize("p", [5, 47, 97])
def test_primitive_root_powers_turn_products_into_sums(p: int) -> None:
    order = analysis.primitive_root_powers(p)
    place = {int(x): k for k, x in enumerate(order)}
    for x in range(1, p, 3):
        for y in range(1, p, 5):
            assert place[x * y % p] == (place[x] + place[y]) % (p - 1)


def test_frames_project_all_steps_on_the_last_ones_plane() -> None:
    rng = np.random.default_rng(0)
    last = wave(13, 4, 6)
    losses = curves({0: (2.0, 2.1), 10: (0.1, 0.2)})
    losses["metric"] = losses["metric"].str.replace("accuracy", "loss")
    rows = pd.concat([curves({0: (0.1, 0.0), 10: (1.0, 0.5)}), losses])
    points = analysis.circle_points({0: rng.normal(size=(13, 6)), 10: last})
    np.testing.assert_allclose(np.linalg.norm(points[10], axis=1), 1)
    frames = analysis.training_frames(rows, points)
    assert frames["steps"] == frames["embedding_steps"] == [0, 10]
    names = ("train_accuracy", "val_accuracy", "train_loss", "val_loss")
    assert [frames[name] for name in names] == [[0.1, 1.0], [0.0, 0.5], [2.0, 0.1], [2.1, 0.2]]
    assert np.shape(frames["embeddings"]) == (2, 13, 2)
