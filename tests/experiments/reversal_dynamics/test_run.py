"""Whole runs: rows, resume after a kill, frozen weights, divergence, and the phenomenon itself."""

from __future__ import annotations

import math
import os
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from coursekit import results
from coursekit.experiments.reversal_dynamics import config as configs
from coursekit.experiments.reversal_dynamics import run as module
from coursekit.experiments.reversal_dynamics.analysis import (
    at_the_end,
    bilinear_loss,
    make_embeddings,
    stored_matrix,
    train_bilinear,
)
from coursekit.experiments.reversal_dynamics.config import ReversalDynamicsConfig
from coursekit.experiments.reversal_dynamics.data import make_sentences
from coursekit.experiments.reversal_dynamics.run import run
from coursekit.stack import Stack
from tests.processes import kill

TINY = replace(configs.smoke(), vocab_size=40, n_epochs=6, eval_every=3)


def quiet(config: ReversalDynamicsConfig, **options: object) -> results.Run:
    """Run without a bar."""
    return run(config, progress=False, n_workers=2, **options)  # type: ignore[arg-type]


def ends(rows: pd.DataFrame, metric: str = "negative_log_prob") -> dict[tuple[str, str], float]:
    """(split, direction) → mean at the end."""
    table = at_the_end(rows, metric)
    return {(r.split, r.direction): r.mean for r in table.itertuples()}


def test_a_smoke_run_has_every_row(tmp_path: Path) -> None:
    made = quiet(configs.smoke(), folder=tmp_path, preset="smoke")
    rows = made.rows
    assert set(rows["metric"]) == {"negative_log_prob", "accuracy"}
    assert set(zip(rows["split"], rows["direction"], strict=True)) == {
        (split, direction) for split in ("train", "val") for direction in ("forward", "backward")
    }
    assert sorted(set(rows["step"])) == list(range(0, 81, 5))  # 34 sentences: one step an epoch
    assert len(rows) == 2 * 17 * 4 * 2
    start = rows[(rows["step"] == 0) & (rows["metric"] == "negative_log_prob")]
    assert start["value"].to_numpy() == pytest.approx(math.log(82), abs=0.3)
    counts = start[start["seed"] == 0].groupby("split")["n"].sum().to_dict()
    assert counts == {"train": 34, "val": 6}
    kept = results.read_run(tmp_path)
    assert kept.header.complete
    assert kept.header.config_hash == results.config_hash(configs.smoke())
    assert kept.rows["value"].tolist() == rows["value"].tolist()


def test_the_smoke_preset_learns_its_training_sentences_alone() -> None:
    found = ends(quiet(configs.smoke()).rows)
    for direction in ("forward", "backward"):
        assert found["train", direction] < 0.5
        assert found["val", direction] > math.log(82)


@pytest.mark.parametrize(
    "change",
    [
        dict(task="chain"),
        dict(task="chain", word_size=2),
        dict(word_size=3),
        dict(task="in_context"),
        dict(task="related"),
        dict(model="one_layer"),
        dict(positions="rotary"),
        dict(positions="none"),
        dict(positions="sinusoidal"),
        dict(tied=True),
        dict(frozen_embeddings=True),
        dict(dropout=0.1),
        dict(loss_on="whole_sequence"),
    ],
    ids=str,
)
def test_every_variant_trains(change: dict[str, object]) -> None:
    rows = quiet(replace(TINY, seeds=(0,), **change)).rows  # type: ignore[arg-type]
    curve = rows[(rows["metric"] == "negative_log_prob") & (rows["split"] == "train")]
    by_step = curve.groupby("step")["value"].mean()
    assert by_step.iloc[-1] < by_step.iloc[0]
    assert set(rows["model"]) == {change.get("model", "transformer")}
    has_words = "word_negative_log_prob" in set(rows["metric"])
    assert has_words == ("word_size" in change or change.get("task") == "related")


def test_scores_are_those_of_a_plain_forward_pass() -> None:
    config = replace(TINY, seeds=(3,), word_size=2)
    made = quiet(config, keep_weights=True)
    record = made.networks[0]
    sentences = record.sentences
    chosen = sentences.select(split="val", direction="forward")
    tokens = torch.from_numpy(sentences.tokens[chosen])
    with torch.no_grad():
        log_p = record.network()(tokens[:, :-1]).log_softmax(-1)[:, -2:]
    of_answer = log_p.gather(-1, tokens[:, -2:, None]).squeeze(-1)
    last = made.rows[made.rows["step"] == made.rows["step"].max()].set_index(
        ["split", "direction", "metric"]
    )["value"]
    assert last["val", "forward", "negative_log_prob"] == pytest.approx(
        -of_answer[:, 0].mean().item(), rel=1e-5
    )
    assert last["val", "forward", "word_negative_log_prob"] == pytest.approx(
        -of_answer.sum(1).mean().item(), rel=1e-5
    )
    right = (log_p.argmax(-1) == tokens[:, -2:]).all(1)
    assert last["val", "forward", "accuracy"] == pytest.approx(right.double().mean().item())


def test_the_chain_of_thought_is_both_steps_together_and_written_by_the_network_itself() -> None:
    config = replace(configs.smoke(), task="chain", seeds=(0,))
    made = quiet(config, keep_weights=True)
    record, found = made.networks[0], ends(made.rows)
    sentences, network = record.sentences, made.networks[0].network()
    steps, answers = [], []
    with torch.no_grad():
        for fact in sentences.fact[sentences.val]:
            x, _, y = next(
                row for f, row in zip(sentences.fact, sentences.tokens.tolist(), strict=True) if f == fact
            )
            z = next(row[2] for row in sentences.tokens.tolist() if row[:2] == [y, 0])
            first, second = (network(torch.tensor([[token, 0]]))[0, -1].log_softmax(-1) for token in (x, y))
            steps.append(-(first[y] + second[z]).item())
            answers.append(network(torch.tensor([[int(first.argmax()), 0]]))[0, -1].argmax().item() == z)
    assert found["val", "chain_of_thought"] == pytest.approx(np.mean(steps), rel=1e-4)
    assert ends(made.rows, "accuracy")["val", "chain_of_thought"] == np.mean(answers) == 1.0
    assert found["val", "indirect"] > math.log(20)
    assert ends(made.rows, "accuracy")["val", "indirect"] == 0.0


def test_in_context_the_reversal_works() -> None:
    found = ends(quiet(replace(configs.smoke(), task="in_context", seeds=(0,), n_epochs=40)).rows, "accuracy")
    assert found["val", "in_context"] == 1.0


def test_frozen_embeddings_stay_as_they_were_drawn() -> None:
    for positions, names in (("learned", {"embedding", "position"}), ("rotary", {"embedding"})):
        config = replace(TINY, seeds=(5,), frozen_embeddings=True, positions=positions)
        record = quiet(config, keep_weights=True).networks[0]
        start = module.Transformer(module.network_shape(config))
        start.initialize([5])
        same = {
            name for name, w in start.named_parameters() if np.array_equal(w.detach(), record.weights[name])
        }
        assert same == names


def test_an_unknown_frozen_weight_is_refused() -> None:
    sentences = make_sentences("reversal", 0, vocab_size=40)
    runs = module.StackRun(*map(torch.from_numpy, (sentences.tokens, sentences.train, sentences.val)), 0, 8)
    with pytest.raises(
        ValueError, match="frozen must name weights of the network, got wte; choose among embedding"
    ):
        Stack(module.network_shape(TINY), [runs], frozen=("wte",))


def test_the_run_of_bilinear_models_is_the_closed_forms() -> None:
    """Autograd in the run, the formula in the analysis: the same training."""
    for change in (
        dict(),
        dict(symmetric=True),
        dict(embedding="gaussian", d_model=24),
        dict(embedding="roles", overlap=0.5, symmetric=True),
    ):
        config = replace(configs.bilinear(TINY), seeds=(0, 1), n_epochs=30, init_std=0.05, **change)  # type: ignore[arg-type]
        rows = quiet(config).rows
        for seed in config.seeds:
            sentences = make_sentences("reversal", seed, vocab_size=40)
            vectors = make_embeddings(
                config.embedding, 42, overlap=config.overlap, seed=seed,
                d=24 if config.embedding == "gaussian" else None,
            )  # fmt: skip
            held = sentences.pairs(sentences.select(split="val", direction="forward"))
            if not len(held):
                continue
            trained = train_bilinear(
                sentences.pairs(sentences.train), vectors, n_steps=30, seeds=(seed,), init_std=0.05,
                symmetric=config.symmetric, every=30,
            )  # fmt: skip
            expected = bilinear_loss(trained.theta, vectors, held).mean()
            mine = rows[(rows["seed"] == seed) & (rows["split"] == "val") & (rows["direction"] == "forward")]
            mine = mine[(mine["metric"] == "negative_log_prob") & (mine["step"] == 30)]
            assert mine["value"].item() == pytest.approx(expected, rel=1e-4)


def test_the_symmetric_form_lifts_the_curse_in_a_run() -> None:
    config = configs.bilinear(TINY)
    free, tied = (ends(quiet(replace(config, symmetric=symmetric)).rows) for symmetric in (False, True))
    ways = [("val", way) for way in ("forward", "backward") if ("val", way) in free]
    for way in ways:
        assert free[way] == pytest.approx(math.log(42), abs=0.01)
        assert tied[way] < 0.1


def test_a_bilinear_record_scores_as_its_run_did() -> None:
    config = replace(configs.bilinear(TINY), embedding="roles", overlap=0.5)
    made = quiet(config, keep_weights=True)
    record = made.networks[1]
    chosen = record.sentences.select(split="train", direction="forward")
    log_p = torch.from_numpy(record.logits(chosen)).log_softmax(-1).numpy()
    targets = record.sentences.tokens[chosen, -1]
    loss = -log_p[np.arange(len(chosen)), targets].mean()
    rows = made.rows[(made.rows["seed"] == 1) & (made.rows["metric"] == "negative_log_prob")]
    rows = rows[(rows["split"] == "train") & (rows["direction"] == "forward")]
    assert rows["value"].iloc[-1] == pytest.approx(loss, rel=1e-4)
    with pytest.raises(ValueError, match="the bilinear model is no transformer"):
        record.network()


def test_logit_matrices_have_the_right_answers_on_the_diagonal() -> None:
    record = quiet(replace(configs.smoke(), seeds=(0,)), keep_weights=True).networks[0]
    matrices = record.logit_matrices()
    assert [(name, m.shape) for name, m in matrices.items()] == [
        ("train forward", (14, 14)), ("train backward", (14, 14)),
        ("held out: seen", (6, 6)), ("held out: unseen", (6, 6)),
    ]  # fmt: skip
    margin = {}
    for name, matrix in matrices.items():
        off = matrix[~np.eye(len(matrix), dtype=bool)].mean()
        margin[name] = matrix.diagonal().mean() - off
    assert min(margin["train forward"], margin["train backward"], margin["held out: seen"]) > 3
    assert margin["held out: unseen"] < 1
    other = quiet(replace(TINY, seeds=(0,), task="chain"), keep_weights=True).networks[0]
    with pytest.raises(ValueError, match="logit matrices are for the task reversal"):
        other.logit_matrices()


def test_networks_trained_as_one_have_the_rows_of_each_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = quiet(TINY)
    monkeypatch.setattr(module, "_group", lambda config, device: [list(config.seeds)])  # as on a GPU
    together = quiet(TINY)
    order = ["seed", "split", "direction", "metric", "step"]
    one, other = (made.rows.sort_values(order)["value"].tolist() for made in (alone, together))
    assert one == pytest.approx(other, rel=1e-3)


def test_a_gpu_trains_as_many_together_as_fit() -> None:
    assert [len(group) for group in module._group(configs.laptop(), "cuda")] == [10]
    assert [len(group) for group in module._group(configs.paper(), "cuda")] == [2] * 5
    assert [len(group) for group in module._group(configs.laptop(), "cpu")] == [1] * 10


def test_recipe_and_shape_reach_the_network() -> None:
    config = replace(
        TINY, n_layers=3, n_heads=2, positions="rotary", tied=True, dropout=0.2, learning_rate=0.03, weight_decay=0.4,
        batch_size=7, loss_on="whole_sequence", frozen_embeddings=True,
    )  # fmt: skip
    stack = module._learner(config, [4], "cpu")
    assert isinstance(stack, Stack)
    assert (stack.config.n_layers, stack.config.n_heads, stack.config.positions) == (3, 2, "rotary")
    assert (stack.config.tied, stack.config.dropout, stack.n_answer, stack.betas) == (
        True,
        0.2,
        2,
        (0.9, 0.999),
    )
    one = stack.runs[0]
    assert (one.seed, one.batch_size, one.learning_rate, one.weight_decay) == (4, 7, 0.03, 0.4)


# The first losses of the smoke preset's first network; a change of the training shows here.
GOLDEN = [
    4.41431, 4.25085, 4.07300, 3.92436, 3.79683, 3.67225, 3.52045, 3.40144, 3.28088, 3.16608,
    3.04562, 2.93146, 2.82021, 2.70788, 2.59719, 2.48659, 2.37394, 2.26277, 2.15187, 2.04092,
]  # fmt: skip


def test_the_first_losses_of_the_smoke_preset() -> None:
    stack = module._learner(configs.smoke(), [0], "cpu")
    losses = []
    for _ in GOLDEN:
        loss = stack.losses()
        loss.sum().backward()
        stack.update(1.0)
        losses.append(loss.item())
    assert losses == pytest.approx(GOLDEN, rel=2e-4)


KILLED = replace(TINY, n_epochs=200, eval_every=5, dropout=0.1)


KILLED_BILINEAR = replace(configs.bilinear(TINY), n_epochs=600, eval_every=5)


def run_to_be_killed(config: ReversalDynamicsConfig, folder: Path) -> None:
    quiet(config, folder=folder, resume=True, checkpoint_seconds=0.0)


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX's")
@pytest.mark.parametrize("config", [KILLED, KILLED_BILINEAR], ids=["transformer", "bilinear"])
def test_a_killed_run_resumes_to_the_same_rows_bit_for_bit(
    tmp_path: Path, config: ReversalDynamicsConfig
) -> None:
    whole = quiet(config)
    kill(
        run_to_be_killed,
        config,
        tmp_path,
        when=lambda: list(tmp_path.glob("checkpoints/*/*.json")),
        after=random.uniform(0, 0.1),
    )
    assert not results.read_run(tmp_path).header.complete, "it ended before it was killed"
    resumed = quiet(config, folder=tmp_path, resume=True)
    assert resumed.rows.equals(whole.rows)


def test_a_finished_run_resumes_to_itself(tmp_path: Path) -> None:
    for config, place in ((TINY, "transformer"), (configs.bilinear(TINY), "bilinear")):
        first = quiet(config, folder=tmp_path / place)
        again = quiet(config, folder=tmp_path / place, resume=True)
        assert again.rows.equals(first.rows)


def test_a_run_is_never_overwritten(tmp_path: Path) -> None:
    quiet(TINY, folder=tmp_path)
    with pytest.raises(ValueError, match="holds a run already; go on with it by resume"):
        quiet(TINY, folder=tmp_path)
    with pytest.raises(ValueError, match="expected a run of config"):
        quiet(replace(TINY, seeds=(7,)), folder=tmp_path, resume=True)
    with pytest.raises(ValueError, match="keep_weights works for a run from its start only"):
        quiet(TINY, folder=tmp_path, resume=True, keep_weights=True)


def test_networks_stacked_otherwise_are_refused_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = module._group
    monkeypatch.setattr(module, "_group", lambda config, device: [list(config.seeds)])
    quiet(TINY, folder=tmp_path)
    monkeypatch.setattr(module, "_group", alone)
    with pytest.raises(ValueError, match="trained together in other groups"):
        quiet(TINY, folder=tmp_path, resume=True)


def test_an_unwritable_folder_is_one_sentence(tmp_path: Path) -> None:
    blocked = tmp_path / "a file"
    blocked.write_text("")
    with pytest.raises(OSError, match=r"could not write .* is not a folder"):
        quiet(TINY, folder=blocked / "run")


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


def test_a_diverging_run_says_so_and_keeps_its_rows(tmp_path: Path) -> None:
    wild = replace(TINY, learning_rate=1e30)
    with pytest.raises(
        FloatingPointError, match=r"seed 0 \(by step 3\), 1 \(by step 3\): lower the learning rate"
    ):
        quiet(wild, folder=tmp_path)
    assert len(results.read_run(tmp_path).rows)


def test_one_diverging_network_is_taken_out_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = module._learner

    def one_wild(config: ReversalDynamicsConfig, members: list[int], device: str) -> object:
        return plain(replace(config, learning_rate=1e30) if members == [0] else config, members, device)

    monkeypatch.setattr(module, "_learner", one_wild)
    with pytest.warns(
        UserWarning, match=r"for seed 0 \(by step 3\); they were taken out and the others went on"
    ):
        rows = quiet(TINY).rows
    assert rows.groupby("seed")["step"].max().to_dict() == {0: 3, 1: 6}


def test_a_measured_run_stores_its_heatmaps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configs, "measured", lambda name: TINY)
    kept = {}
    monkeypatch.setattr(results, "write_measured", lambda *args: kept.update({args[1]: args[2:]}))
    made = module.measure("reversal", tmp_path / "reversal", n_workers=2)
    _, rows = kept["reversal"]
    assert rows.equals(made.rows)
    assert stored_matrix(rows, "logit_unseen").shape == (3, 3)
    assert stored_matrix(rows, "logit_seen").shape == (3, 3)
    cosines = stored_matrix(rows, "cosine")
    np.testing.assert_allclose(cosines.diagonal(), 1, atol=1e-3)
    results.write_run(tmp_path / "checked", made.header, rows)  # the columns are those of the experiment
    again = module.measure("chain", tmp_path / "other", n_workers=2)
    assert module.measure("chain", tmp_path / "other").rows.equals(again.rows)


def test_the_curse_is_seen_at_laptop() -> None:
    """Two of the preset's ten seeds: training is learned, and what is held out is worse than a blind guess."""
    found = quiet(replace(configs.laptop(), seeds=(0, 1))).rows
    loss, accuracy = ends(found), ends(found, "accuracy")
    for direction in ("forward", "backward"):
        assert loss["train", direction] < 0.1
        assert accuracy["train", direction] == 1.0
        assert loss["val", direction] > math.log(802) > math.log(200)
        assert accuracy["val", direction] < 0.05
