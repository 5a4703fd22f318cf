"""The bilinear model against autograd and closed forms; summaries."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from coursekit.experiments.reversal_dynamics import analysis
from coursekit.experiments.reversal_dynamics.analysis import (
    bilinear_gradient,
    bilinear_logits,
    bilinear_loss,
    make_embeddings,
    overlap_sweep,
    train_bilinear,
)
from coursekit.results import matrix_rows

PAIRS = np.array([[0, 4], [1, 5], [2, 6], [3, 7]])
REVERSE = PAIRS[:, ::-1]


@pytest.mark.parametrize("kind", ["gaussian", "roles"])
def test_the_closed_form_gradient_is_autograds(kind: str) -> None:
    embeddings = make_embeddings(kind, 8, overlap=0.3 if kind == "roles" else 0.0)
    d = embeddings.source.shape[1]
    theta = np.random.default_rng(0).standard_normal((3, d, d))
    leaf = torch.from_numpy(theta).requires_grad_()
    source, target = (torch.from_numpy(array) for array in embeddings)
    logits = source[PAIRS[:, 0]] @ leaf @ target.T
    answers = torch.from_numpy(PAIRS[:, 1]).expand(3, -1)
    loss = torch.nn.functional.cross_entropy(logits.transpose(1, 2), answers, reduction="none")
    loss.sum().backward()
    np.testing.assert_allclose(bilinear_loss(theta, embeddings, PAIRS), loss.detach(), rtol=1e-12)
    np.testing.assert_allclose(bilinear_gradient(theta, embeddings, PAIRS), leaf.grad, atol=1e-13)


@pytest.mark.parametrize("rotated", [False, True])
def test_with_orthonormal_embeddings_training_one_direction_leaves_the_other_untouched(rotated: bool) -> None:
    one = np.eye(8)
    if rotated:
        one = np.linalg.qr(np.random.default_rng(0).standard_normal((8, 8)))[0]
    embeddings = analysis.Embeddings(one, one)
    start = 0.1 * np.random.default_rng(3).standard_normal((1, 8, 8))
    before = bilinear_logits(start, embeddings, PAIRS[:, 1])
    run = train_bilinear(PAIRS, embeddings, init_std=0.1, seeds=(3,), n_steps=200, watch={"reverse": REVERSE})
    after = bilinear_logits(run.theta, embeddings, PAIRS[:, 1])
    assert np.abs(after - before).max() < 1e-12
    assert run.probability("train")[-1].min() > 0.99


def test_nearly_orthogonal_embeddings_move_the_reverse_less_the_larger_d_is() -> None:
    """One step of the forward direction moves the reverse's scores by some 1/√d."""
    moved = []
    for d in (16, 256, 4096):
        embeddings = make_embeddings("gaussian", 8, d=d, seed=1)
        theta = -bilinear_gradient(np.zeros((d, d)), embeddings, PAIRS)
        scores = bilinear_logits(theta, embeddings, PAIRS[:, 1])
        moved.append(np.abs(scores).max())
    assert moved[0] > 2 * moved[1] > 4 * moved[2]


def test_a_symmetric_form_lifts_the_curse() -> None:
    embeddings = make_embeddings("one_hot", 8)
    free = train_bilinear(PAIRS, embeddings, watch={"reverse": REVERSE}, init_std=0.0)
    tied = train_bilinear(PAIRS, embeddings, watch={"reverse": REVERSE}, init_std=0.0, symmetric=True)
    assert free.probability("reverse")[-1] == pytest.approx(1 / 8, abs=1e-12)
    assert tied.probability("reverse")[-1].min() > 0.95
    np.testing.assert_allclose(tied.theta, np.swapaxes(tied.theta, -1, -2), atol=1e-12)
    assert np.abs(free.theta - np.swapaxes(free.theta, -1, -2)).max() > 1


@pytest.mark.parametrize("kind", ["roles", "partners"])
def test_the_first_step_reaches_the_reverse_by_the_overlap_squared(kind: str) -> None:
    """The score that a pair's own step adds: s forward, ρ² s backward; with roles, only if the form is symmetric."""
    overlap = 0.4
    pairs = np.array([[0, 1]])
    embeddings = make_embeddings(kind, 6, overlap=overlap, pairs=pairs)
    x, y = embeddings.source[0], embeddings.target[1]
    step = np.outer(x, y)  # what the gradient's part towards the answer adds
    if kind == "roles":
        reverse = embeddings.source[1] @ step @ embeddings.target[0]
        assert reverse == pytest.approx(0, abs=1e-15)
        step = (step + step.T) / 2
    forward, reverse = x @ step @ y, embeddings.source[1] @ step @ embeddings.target[0]
    assert reverse / forward == pytest.approx(overlap**2)


def test_the_sweep_lifts_the_curse_where_theory_says_so() -> None:
    lifted, free, shared = (
        overlap_sweep((0.0, 0.5, 1.0), kind=kind, symmetric=symmetric, n_pairs=8, seeds=(0, 1), every=60)
        for kind, symmetric in (("roles", True), ("roles", False), ("entities", False))
    )
    ends = [table[table["step"] == 60]["reverse"].tolist() for table in (lifted, free, shared)]
    assert ends[0] == sorted(ends[0])
    assert ends[0][0] < 0.1
    assert ends[0][-1] > 0.9
    assert max(ends[1]) < 0.1
    assert max(ends[2]) < 0.1
    start = lifted[lifted["step"] == 0]
    assert start[["forward", "reverse"]].to_numpy() == pytest.approx(1 / 16, abs=0.01)


@pytest.mark.parametrize("kind", ["one_hot", "roles", "partners", "entities"])
def test_embeddings_have_exactly_the_overlap_asked_for(kind: str) -> None:
    overlap = 0.0 if kind == "one_hot" else 0.3
    source, target = make_embeddings(kind, 6, overlap=overlap, pairs=np.array([[0, 3], [4, 1]]))
    expected = np.eye(6)
    if kind == "roles":
        np.testing.assert_allclose(source @ target.T, overlap * np.eye(6), atol=1e-12)
    if kind == "partners":
        expected[[0, 3, 4, 1], [3, 0, 1, 4]] = overlap
    if kind == "entities":
        expected = overlap + (1 - overlap) * np.eye(6)
    for vectors in (source, target):
        np.testing.assert_allclose(vectors @ vectors.T, expected, atol=1e-12)


def test_runs_of_a_stack_are_those_of_each_seed_alone() -> None:
    embeddings = make_embeddings("gaussian", 8, seed=2)
    both = train_bilinear(PAIRS, embeddings, seeds=(4, 5), init_std=0.1, n_steps=10, every=3)
    alone = train_bilinear(PAIRS, embeddings, seeds=(5,), init_std=0.1, n_steps=10, every=3)
    assert both.steps == [0, 3, 6, 9, 10]
    np.testing.assert_allclose(both.losses["train"][:, 1], alone.losses["train"][:, 0], rtol=1e-12)


def test_a_chain_is_not_concluded_by_the_bilinear_model() -> None:
    steps = np.array([[0, 3], [1, 4], [2, 5], [3, 6], [4, 7], [5, 8]])
    conclusions = np.array([[0, 6], [1, 7], [2, 8]])
    run = train_bilinear(steps, make_embeddings("one_hot", 9), watch={"indirect": conclusions}, init_std=0.0)
    assert run.probability("train")[-1].min() > 0.98
    assert run.probability("indirect")[-1].max() < 1 / 9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(kind="random"), "kind must be one of one_hot"),
        (dict(kind="roles", overlap=1.2), r"overlap must be an inner product from 0 to 1, got 1\.2"),
        (dict(kind="one_hot", overlap=0.5), "one_hot embeddings have no overlap"),
        (dict(kind="roles", d=7), "d is for gaussian embeddings"),
        (dict(kind="partners", overlap=0.5), "partners need pairs"),
        (dict(kind="partners", pairs=np.array([[0, 1], [1, 2]])), "no entity twice"),
    ],
)
def test_bad_embeddings_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_embeddings(arguments.pop("kind"), 6, **arguments)


def test_bad_training_is_refused() -> None:
    one_hot = make_embeddings("one_hot", 8)
    with pytest.raises(ValueError, match="learning_rate above 0"):
        train_bilinear(PAIRS, one_hot, learning_rate=0.0)
    with pytest.raises(ValueError, match="1 or more"):
        train_bilinear(PAIRS, one_hot, n_steps=0)
    with pytest.raises(ValueError, match="kind must be roles, partners or entities"):
        overlap_sweep((0.0,), kind="gaussian")


def some_rows() -> pd.DataFrame:
    keys = dict(model="transformer", direction="forward", metric="negative_log_prob")
    return pd.DataFrame(
        [
            {**keys, "seed": seed, "split": split, "step": step, "value": value + seed}
            for seed in (0, 1, 2)
            for split, values in (("train", (6.7, 0.0)), ("val", (6.7, 9.0)))
            for step, value in zip((0, 600), values, strict=True)
        ]
    )


def test_the_end_is_the_mean_over_seeds_at_the_last_step() -> None:
    ends = analysis.at_the_end(some_rows()).set_index("split")
    assert ends["mean"].to_dict() == {"train": 1.0, "val": 10.0}
    assert ends.loc["val", ["lowest", "highest", "n", "step"]].tolist() == [9.0, 11.0, 3, 600]
    several = pd.concat([some_rows().assign(setting=name) for name in ("a", "b")])
    assert analysis.at_the_end(several, by=["setting"])["setting"].tolist() == ["a", "a", "b", "b"]
    with pytest.raises(ValueError, match="expected rows of accuracy, got only negative_log_prob"):
        analysis.at_the_end(some_rows(), "accuracy")
    with pytest.raises(ValueError, match="expected rows with the columns setting"):
        analysis.at_the_end(some_rows(), by=["setting"])


def test_a_matrix_survives_its_rows() -> None:
    matrix = np.random.default_rng(0).standard_normal((3, 4))
    rows = pd.DataFrame(matrix_rows("W", matrix), columns=["metric", "value"]).assign(step=600)
    np.testing.assert_allclose(analysis.stored_matrix(rows, "W"), matrix, rtol=1e-3)
    with pytest.raises(ValueError, match="expected rows with a matrix V"):
        analysis.stored_matrix(rows, "V")


def test_the_baselines_are_the_papers() -> None:
    assert list(analysis.baselines().values()) == pytest.approx([6.687, 5.298], abs=5e-4)
