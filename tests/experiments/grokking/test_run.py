"""Whole runs: rows, resume after a kill, outliers, divergence, sharpness, and the phenomenon itself."""

from __future__ import annotations

import math
import os
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from coursekit import results
from coursekit.experiments.grokking import config as configs
from coursekit.experiments.grokking import run as module
from coursekit.experiments.grokking.analysis import key_frequencies, steps_to
from coursekit.experiments.grokking.config import VARIANTS, GrokkingConfig, Variant
from coursekit.experiments.grokking.data import OPERATIONS, mirror_equations, operation_table
from coursekit.experiments.grokking.run import run, sharpness
from coursekit.stack import Stack
from coursekit.train import warmup
from tests.processes import aside, kill

TINY = replace(configs.smoke(), modulus=11, train_fractions=(0.7,), max_steps=20, eval_every=10)


def quiet(config: GrokkingConfig, **options: object) -> results.Run:
    """Run without a bar."""
    return run(config, progress=False, n_workers=2, **options)  # type: ignore[arg-type]


def test_a_smoke_run_has_every_row(tmp_path: Path) -> None:
    made = quiet(TINY, folder=tmp_path, preset="smoke")
    rows = made.rows
    assert set(rows["metric"]) == {
        "train_accuracy", "val_accuracy", "train_loss", "val_loss", "steps_to_99_train", "steps_to_99_val",
    }  # fmt: skip
    assert sorted(set(rows["step"])) == [0, 10, 20]
    assert len(rows) == 2 * (3 * 4 + 2)
    start = rows[rows["step"] == 0].set_index("metric")
    assert start.loc["val_loss", "value"].mean() == pytest.approx(math.log(13), abs=0.7)
    assert start.loc["val_accuracy", "n"].tolist() == [33, 33]
    assert start.loc["train_accuracy", "n"].tolist() == [77, 77]
    kept = results.read_run(tmp_path)
    assert kept.header.complete
    assert kept.header.config_hash == results.config_hash(TINY)
    assert len(kept.rows) == len(rows)
    assert kept.rows["value"].tolist() == rows["value"].tolist()


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_trains(operation: str) -> None:
    rows = quiet(replace(TINY, operations=(operation,), seeds=(0,), max_steps=4, eval_every=2)).rows
    loss = rows[rows["metric"] == "train_loss"]["value"].tolist()
    assert loss[-1] < loss[0]


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_trains(variant: str) -> None:
    rows = quiet(replace(TINY, variants=(VARIANTS[variant],), seeds=(0,), max_steps=30)).rows
    loss = rows[rows["metric"] == "train_loss"]["value"].tolist()
    assert loss[-1] < loss[0]


def test_openais_tokens_train_on_the_answer_and_the_end() -> None:
    config = replace(TINY, modulus=97, vocabulary="openai", seeds=(0,), max_steps=10)
    rows = quiet(config, keep_weights=True)
    shape = module.network_shape(config, next(config.settings))
    assert shape.vocab_size == 239
    loss = rows.rows[rows.rows["metric"] == "val_loss"]["value"].tolist()
    assert loss[0] == pytest.approx(math.log(239), abs=0.7)
    record = rows.networks[0]
    assert record.unembedding().shape == (97, 32)
    tokens = torch.from_numpy(record.vocabulary.encode(*operation_table("div", 97)))[::100, :-1]
    with torch.no_grad():
        after_equals = record.network()(tokens)[:, 4, 22:119]
    torch.testing.assert_close(torch.from_numpy(record.logits()[::100]), after_equals, rtol=1e-4, atol=1e-5)
    held_out = torch.from_numpy(record.vocabulary.encode(*operation_table("div", 97))[record.split()[1]])
    with torch.no_grad():
        logits = record.network()(held_out[:, :-1])[:, -2:]
    of_both = torch.nn.functional.cross_entropy(logits.flatten(0, 1), held_out[:, -2:].flatten()).item()
    assert loss[-1] == pytest.approx(of_both, rel=1e-3)


def test_a_run_stops_once_it_validates_well_enough() -> None:
    config = replace(TINY, max_steps=60)
    free = quiet(config).rows
    best = free[free["metric"] == "val_accuracy"].groupby("seed")["value"].max()
    stopped = quiet(replace(config, stop_at_val_accuracy=best.min())).rows
    last = stopped.groupby("seed")["step"].max().tolist()
    assert last == steps_to(free, threshold=best.min())["steps"].tolist()
    assert min(last) < 60


def test_steps_to_99_are_those_of_the_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_group", lambda config, settings, device: [settings])
    rows = quiet(replace(TINY, max_steps=300, eval_every=5)).rows
    found = rows.pivot_table(index="seed", columns="metric", values="value", aggfunc="last")
    for split in ("train", "val"):
        expected = steps_to(rows, f"{split}_accuracy")["steps"].tolist()
        assert found[f"steps_to_99_{split}"].tolist() == expected
    assert found["steps_to_99_train"].nunique() == 2
    assert found["steps_to_99_train"].max() < 300


def test_networks_trained_as_one_have_the_rows_and_weights_of_each_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alone = quiet(TINY, keep_weights=True)
    monkeypatch.setattr(module, "_group", lambda config, settings, device: [settings])  # as on a GPU
    together = quiet(TINY, keep_weights=True)
    order = ["seed", "step", "metric"]
    one, other = (made.rows.sort_values(order)["value"].tolist() for made in (alone, together))
    assert one == pytest.approx(other, rel=1e-3)
    for mine, its in zip(alone.networks, together.networks, strict=True):
        np.testing.assert_allclose(mine.unembedding(), its.unembedding(), rtol=1e-3, atol=1e-4)


def test_a_gpu_trains_networks_of_one_shape_and_batch_together() -> None:
    config = replace(TINY, train_fractions=(0.6, 0.4), seeds=tuple(range(70)))
    groups = module._group(config, list(config.settings), "cuda")
    assert [len(group) for group in groups] == [64, 6, 64, 6]
    assert [setting for group in groups for setting in group] == list(config.settings)


def test_recipe_and_shape_reach_the_network() -> None:
    mine = Variant(
        "mine", learning_rate=0.02, weight_decay=0.3, decay_towards="init", gradient_noise=0.4, dropout=0.5,
        weight_noise=0.6,
    )  # fmt: skip
    config = replace(TINY, variants=(mine,), n_layers=3, n_heads=2, d_ff=48, norm="none", norm_position="pre")
    setting = next(config.settings)
    stacked, shape = module._stack_run(config, setting), module.network_shape(config, setting)
    for name in ("learning_rate", "weight_decay", "decay_towards", "gradient_noise", "weight_noise"):
        assert getattr(stacked, name) == getattr(mine, name)
    assert shape.dropout == mine.dropout
    for name in ("n_layers", "d_model", "n_heads", "d_ff", "norm", "norm_position"):
        assert getattr(shape, name) == getattr(config, name)


def test_a_batch_is_512_or_half_of_the_training_set_or_all_of_it() -> None:
    setting = next(TINY.settings)
    full = setting._replace(variant=VARIANTS["adam_full_batch"])
    assert [module._batch_size(TINY, setting, n) for n in (67, 2000)] == [34, 512]
    assert module._batch_size(TINY, full, 2000) == 2000


def test_the_first_update_has_no_learning_rate() -> None:
    rows = quiet(replace(TINY, seeds=(0,), max_steps=2, eval_every=1)).rows
    loss = rows[rows["metric"] == "train_loss"]["value"].tolist()
    assert loss[0] == loss[1] != loss[2]


# The first 20 losses of the smoke preset's first network; a change of the training shows here.
GOLDEN = [
    3.35032, 3.32157, 3.29572, 3.34196, 3.29431, 3.25689, 3.25188, 3.20936, 3.19289, 3.20072,
    3.20566, 3.15689, 3.19153, 3.14994, 3.14115, 3.17497, 3.15469, 3.12814, 3.12037, 3.13365,
]  # fmt: skip


def test_the_first_losses_of_the_smoke_preset() -> None:
    config = configs.smoke()
    setting = next(config.settings)
    stack = Stack(module.network_shape(config, setting), [module._stack_run(config, setting)])
    schedule, losses = warmup(10), []
    for _ in GOLDEN:
        loss = stack.losses()
        loss.sum().backward()
        stack.update(schedule(stack.step))
        losses.append(loss.item())
    assert losses == pytest.approx(GOLDEN, rel=2e-4)


KILLED = replace(
    TINY,
    max_steps=200,
    eval_every=5,
    variants=(
        Variant("all at once", weight_decay=1.0, decay_towards="init", gradient_noise=0.1, weight_noise=0.01),
    ),
)


def run_to_be_killed(folder: Path) -> None:
    quiet(KILLED, folder=folder, resume=True, checkpoint_seconds=0.0)


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX's")
def test_a_killed_run_resumes_to_the_same_rows_bit_for_bit(tmp_path: Path) -> None:
    whole = quiet(KILLED)
    for _ in range(2):
        before = set(tmp_path.glob("checkpoints/*/*.json"))
        kill(
            run_to_be_killed,
            tmp_path,
            when=lambda before=before: set(tmp_path.glob("checkpoints/*/*.json")) - before,
            after=random.uniform(0, 0.1),
        )
        assert not results.read_run(tmp_path).header.complete, "it ended before it was killed"
    resumed = quiet(KILLED, folder=tmp_path, resume=True)
    assert resumed.rows.equals(whole.rows)


def test_a_finished_run_resumes_to_itself(tmp_path: Path) -> None:
    first = quiet(TINY, folder=tmp_path)
    again = quiet(TINY, folder=tmp_path, resume=True)
    assert again.rows.equals(first.rows)
    assert again.header.wall_seconds >= first.header.wall_seconds


def test_a_run_is_never_overwritten(tmp_path: Path) -> None:
    quiet(TINY, folder=tmp_path)
    with pytest.raises(ValueError, match="holds a run already; go on with it by resume"):
        quiet(TINY, folder=tmp_path)
    with pytest.raises(ValueError, match="expected a run of config"):
        quiet(replace(TINY, seeds=(7,)), folder=tmp_path, resume=True)


def test_a_folder_is_taken_before_the_first_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("coursekit.train.sweep", interrupted)
    with pytest.raises(KeyboardInterrupt):
        quiet(TINY, folder=tmp_path)
    assert not results.read_run(tmp_path).header.complete


def test_an_unwritable_folder_is_one_sentence(tmp_path: Path) -> None:
    blocked = tmp_path / "a file"
    blocked.write_text("")
    with pytest.raises(OSError, match=r"could not write .* is not a folder"):
        quiet(TINY, folder=blocked / "run")


def test_a_diverging_network_is_taken_out_and_the_others_go_on(tmp_path: Path) -> None:
    wild = Variant("wild", learning_rate=1e30)
    config = replace(TINY, variants=(VARIANTS["adam"], wild), seeds=(0,))
    with pytest.warns(
        UserWarning,
        match=r"stopped being a finite number for div at 0\.\d, wild, seed 0 \(by step 10\); they were taken out",
    ):
        rows = quiet(config, folder=tmp_path).rows
    assert rows[rows["variant"] == "adam"]["step"].max() == 20
    assert rows[rows["variant"] == "wild"]["step"].max() == 10
    for resume in (False, True):
        with pytest.raises(FloatingPointError, match=r"\(by step 10\): lower the learning rate"):
            quiet(replace(config, variants=(wild,)), folder=tmp_path / "all", resume=resume)
    assert len(results.read_run(tmp_path / "all").rows)


def test_outliers_change_that_many_training_answers_only() -> None:
    config = replace(TINY, n_outliers=10)
    setting = next(config.settings)
    clean, train_numbers, _ = module._equations(TINY, setting)
    noisy, _, _ = module._equations(config, setting)
    changed = np.flatnonzero((clean != noisy).any(1))
    assert 5 <= len(changed) <= 10  # some get their own answer back
    assert set(changed) <= set(train_numbers)
    assert (clean[:, :-1] == noisy[:, :-1]).all()


def test_seeds_share_a_split_only_when_asked() -> None:
    own = [module._split(TINY, s)[0].tolist() for s in TINY.settings]
    assert own[0] != own[1]
    config = replace(TINY, split_seed=0)
    one = [module._split(config, s)[0].tolist() for s in config.settings]
    assert one[0] == one[1]


@pytest.mark.parametrize("together", [True, False])
def test_mirrors_share_a_side_only_when_asked(together: bool) -> None:
    config = replace(TINY, operations=("add",), keep_mirrors_together=together)
    train, val = module._split(config, next(config.settings))
    torn = set(mirror_equations(operation_table("add", 11)[0])[train].tolist()) & set(val.tolist())
    assert (len(torn) <= 1) == together


def test_kept_weights_are_the_networks_own() -> None:
    made = quiet(TINY, keep_weights=True)
    record = made.networks[1]
    assert record.steps == [0, 10, 20]
    first, last = record.network(0), record.network()
    assert not torch.equal(first.embedding, last.embedding)
    assert np.array_equal(record.embedding(), last.embedding[:11].detach())
    assert np.array_equal(record.unembedding(), last.unembedding[:11].detach())
    logits = record.logits()
    _, answers = operation_table("div", 11)
    _, val_numbers = record.split()
    accuracy = (logits[val_numbers].argmax(1) == answers[val_numbers]).mean()
    rows = made.rows
    measured = rows[(rows["seed"] == 1) & (rows["step"] == 20) & (rows["metric"] == "val_accuracy")][
        "value"
    ].item()
    assert accuracy == pytest.approx(
        measured, abs=0.03
    )  # the two operator tokens may win in the run, never here


def test_sharpness_is_positive_and_larger_in_a_larger_box() -> None:
    record = quiet(replace(TINY, seeds=(0,), max_steps=100), keep_weights=True).networks[0]
    small, large = sharpness(record, epsilon=1e-4), sharpness(record, epsilon=1e-3)
    assert 0 < small < large


def test_sharpness_of_a_tiny_box_is_the_gradients() -> None:
    """To first order the loss climbs by Σ |g_i| ε (|x_i| + 1)."""
    record = quiet(replace(TINY, seeds=(0,), max_steps=100), keep_weights=True).networks[0]
    network = record.network()
    tokens, train_numbers, _ = module._equations(record.config, record.setting)
    data = torch.from_numpy(tokens[train_numbers])
    loss = torch.nn.functional.cross_entropy(network(data[:, :-1])[:, -1], data[:, -1])
    loss.backward()
    slope = sum((p.grad.abs() * (p.detach().abs() + 1)).sum().item() for p in network.parameters())  # type: ignore[union-attr]
    expected = 100 * 1e-5 * slope / (1 + loss.item())
    assert sharpness(record, epsilon=1e-5) == pytest.approx(expected, rel=0.05)


def test_sharpness_of_a_parabola_like_minimum_beats_random_directions() -> None:
    """L-BFGS-B finds at least what the best of many corners of the box has."""
    record = quiet(replace(TINY, seeds=(0,), max_steps=100), keep_weights=True).networks[0]
    found = sharpness(record, epsilon=1e-3)
    network, config, setting = record.network(), record.config, record.setting
    tokens, train_numbers, _ = module._equations(config, setting)
    data = torch.from_numpy(tokens[train_numbers])

    def loss() -> float:
        with torch.no_grad():
            return torch.nn.functional.cross_entropy(network(data[:, :-1])[:, -1], data[:, -1]).item()

    here = loss()
    start = torch.nn.utils.parameters_to_vector(network.parameters()).detach()
    generator = torch.Generator().manual_seed(0)
    corners = []
    for _ in range(20):
        sign = torch.randint(0, 2, start.shape, generator=generator) * 2 - 1
        torch.nn.utils.vector_to_parameters(start + sign * 1e-3 * (start.abs() + 1), network.parameters())
        corners.append(100 * (loss() - here) / (1 + here))
    assert found > max(corners)


def test_grokking_is_seen_at_laptop() -> None:
    """Two of its three networks learn the training equations long before the others."""
    seen = 0
    for seed in (2, 0, 1):  # from the fastest on
        rows = aside(quiet, replace(configs.laptop(), seeds=(seed,))).rows
        train, val = (steps_to(rows, f"{split}_accuracy")["steps"].item() for split in ("train", "val"))
        at = rows[(rows["step"] == train) & (rows["metric"] == "val_accuracy")]["value"].item()
        seen += 3 * train <= val < 10_000 and at < 0.2
        if seen == 2:
            break
    assert seen == 2


def test_key_frequencies_of_a_random_network_are_many() -> None:
    record = quiet(replace(TINY, operations=("add",), seeds=(0,), max_steps=2), keep_weights=True).networks[0]
    assert len(key_frequencies(record.embedding(0))) >= 4


def test_networks_stacked_otherwise_are_refused_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a run was started on a GPU and is resumed on a CPU."""
    alone = module._group
    monkeypatch.setattr(module, "_group", lambda config, settings, device: [list(settings)])
    together = quiet(TINY, folder=tmp_path)
    assert len(together.rows) == len(quiet(TINY).rows)
    monkeypatch.setattr(module, "_group", alone)
    with pytest.raises(ValueError, match="trained together in other groups"):
        quiet(TINY, folder=tmp_path, resume=True)


def test_an_interrupted_resume_keeps_the_rows_of_every_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = quiet(TINY, folder=tmp_path)

    def interrupted(*jobs: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("coursekit.train.sweep", interrupted)
    with pytest.raises(KeyboardInterrupt):
        quiet(TINY, folder=tmp_path, resume=True)
    kept = results.read_run(tmp_path)
    assert not kept.header.complete
    assert len(kept.rows) == len(whole.rows)


def test_leftover_checkpoints_are_not_used_unasked(tmp_path: Path) -> None:
    quiet(TINY, folder=tmp_path)
    (tmp_path / "run.json").unlink()
    with pytest.raises(ValueError, match="holds a run already"):
        quiet(TINY, folder=tmp_path)


def test_weights_cannot_be_kept_of_a_resumed_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="keep_weights works for a run from its start only"):
        quiet(TINY, folder=tmp_path, resume=True, keep_weights=True)


def test_a_bad_shape_is_refused_before_the_folder_is_taken(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="d_model"):
        quiet(replace(TINY, d_model=30), folder=tmp_path)
    assert not list(tmp_path.iterdir())
