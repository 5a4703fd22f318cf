"""Whole runs: the same digits as from scratch, resume after a kill, divergence, and memorized labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from coursekit import results
from coursekit.experiments.neural_networks import config as configs
from coursekit.experiments.neural_networks import run as module
from coursekit.experiments.neural_networks.analysis import (
    at_the_end,
    forward,
    new_network,
    stored_network,
    train_network,
)
from coursekit.experiments.neural_networks.config import NeuralNetworksConfig
from coursekit.experiments.neural_networks.run import run

TINY = replace(configs.smoke(), n_train=60, n_epochs=4, eval_every=2)


def quiet(config: NeuralNetworksConfig, **options: object) -> results.Run:
    """Run without a bar."""
    return run(config, progress=False, n_workers=2, **options)  # type: ignore[arg-type]


def test_a_smoke_run_has_every_row_and_reads_digits(tmp_path: Path) -> None:
    made = quiet(configs.smoke(), folder=tmp_path, preset="smoke")
    rows = made.rows
    assert set(rows.columns) == {*results.KEYS["neural_networks"], *results.VALUE_COLUMNS}
    assert sorted(set(rows["step"])) == list(range(0, 1201, 60))
    assert len(rows) == 2 * 21 * 7
    ends = at_the_end(rows).set_index("split")["mean"]
    assert ends["train"] > 0.9
    assert ends["val"] > 0.8
    kept = results.read_run(tmp_path)
    assert kept.header.complete
    assert kept.header.config_hash == results.config_hash(configs.smoke())
    assert kept.rows["value"].tolist() == rows["value"].tolist()


@pytest.mark.parametrize(
    "change",
    [
        dict(),
        dict(activation="relu", cost="cross_entropy", learning_rate=0.1),
        dict(activation="relu"),
        dict(hidden=(), cost="cross_entropy"),
        dict(random_labels=1.0, batch_size=7),
    ],
    ids=str,
)
def test_pytorch_trains_as_the_network_from_scratch_does(change: dict[str, object]) -> None:
    config = replace(TINY, seeds=(5,), eval_every=1, **change)  # type: ignore[arg-type]
    made = quiet(config, keep_weights=True)
    start = new_network(config.sizes, activation=config.activation, cost=config.cost, seed=5)
    network, rows = train_network(
        start, module.digits_of(config, 5), learning_rate=config.learning_rate, batch_size=config.batch_size,
        n_epochs=config.n_epochs, seed=5,
    )  # fmt: skip
    assert rows[["split", "step", "metric"]].equals(made.rows[["split", "step", "metric"]])
    np.testing.assert_allclose(rows["value"], made.rows["value"], rtol=1e-8)
    for mine, theirs in zip(network.layers, made.networks[0].network.layers, strict=True):
        np.testing.assert_allclose(mine.weights, theirs.weights, atol=1e-10)
        np.testing.assert_allclose(mine.biases, theirs.biases, atol=1e-10)


GOLDEN = [
    3.23951538, 0.93990070, 0.94565436, 0.93812879, 0.94762010, 0.92413057, 0.90370217, 0.94395575,
    0.93763737, 0.91122505, 0.89287001, 0.93848071, 0.90700063, 0.91780267, 0.91775720, 0.91130847,
    0.90561369, 0.89718910, 0.89921068, 0.92762549,
]  # fmt: skip


def test_the_first_losses_are_what_they_were() -> None:
    training = module.Training(configs.smoke(), 0)
    losses = []
    for _ in GOLDEN:
        loss = training.losses()
        loss.sum().backward()
        training.update()
        losses.append(loss.item())
    assert losses == pytest.approx(GOLDEN, rel=1e-7)


def test_a_broken_off_run_resumes_to_the_same_rows_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One network ends in the middle of an epoch, with no time to save: what counts is its last checkpoint."""
    config = replace(TINY, n_epochs=10, eval_every=2)
    update = module.Training.update

    def broken(self: module.Training, learning_rate_scale: float = 1.0) -> None:
        if self.seed == 1 and self.step == 45:
            raise RuntimeError("the power went out")
        update(self, learning_rate_scale)

    monkeypatch.setattr(module.Training, "update", broken)
    with pytest.raises(RuntimeError, match="the power went out"):
        quiet(config, folder=tmp_path, checkpoint_seconds=0.0)
    kept = results.read_run(tmp_path)
    assert not kept.header.complete
    assert kept.rows[kept.rows["seed"] == 1]["step"].max() == 36
    started = []

    def noted(self: module.Training, learning_rate_scale: float = 1.0) -> None:
        started.append((self.seed, self.step))
        update(self, learning_rate_scale)

    monkeypatch.setattr(module.Training, "update", noted)
    resumed = quiet(config, folder=tmp_path, resume=True, keep_weights=True)
    assert min(step for seed, step in started if seed == 1) == 36
    monkeypatch.setattr(module.Training, "update", update)
    whole = quiet(config, keep_weights=True)
    assert resumed.rows.equals(whole.rows)
    for mine, theirs in zip(resumed.networks, whole.networks, strict=True):
        for got, expected in zip(mine.network.layers, theirs.network.layers, strict=True):
            assert np.array_equal(got.weights, expected.weights)
            assert np.array_equal(got.biases, expected.biases)


def test_a_run_is_never_overwritten(tmp_path: Path) -> None:
    first = quiet(TINY, folder=tmp_path)
    with pytest.raises(ValueError, match="holds a run already; go on with it by resume"):
        quiet(TINY, folder=tmp_path)
    with pytest.raises(ValueError, match="expected a run of config"):
        quiet(replace(TINY, seeds=(7,)), folder=tmp_path, resume=True)
    assert quiet(TINY, folder=tmp_path, resume=True).rows.equals(first.rows)


def test_a_diverging_run_says_so_and_keeps_its_rows(tmp_path: Path) -> None:
    wild = replace(TINY, activation="relu", cost="cross_entropy", learning_rate=1e200)
    with pytest.raises(
        FloatingPointError, match=r"seed 0 \(by step 12\), 1 \(by step 12\): lower the learning rate"
    ):
        quiet(wild, folder=tmp_path)
    assert len(results.read_run(tmp_path).rows)


def test_one_diverging_network_is_taken_out_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = module.Training.__init__

    def one_wild(self: module.Training, config: NeuralNetworksConfig, seed: int) -> None:
        wild = dict(activation="relu", cost="cross_entropy", learning_rate=1e200)
        plain(self, replace(config, **wild) if seed == 1 else config, seed)  # type: ignore[arg-type]

    monkeypatch.setattr(module.Training, "__init__", one_wild)
    with pytest.warns(
        UserWarning, match=r"for seed 1 \(by step 12\); they were taken out and the others went on"
    ):
        made = quiet(TINY, keep_weights=True)
    assert [record.seed for record in made.networks] == [0]


def test_a_measured_run_carries_its_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configs, "measured", lambda name: TINY)
    kept = {}
    monkeypatch.setattr(results, "write_measured", lambda *args: kept.update({args[1]: args[2:]}))
    made = module.measure("digits", tmp_path / "run", n_workers=2)
    header, rows = kept["digits"]
    results.write_run(tmp_path / "checked", header, rows)  # the columns are those of the experiment
    network, images = stored_network(made), made.networks[0].digits.val_images
    np.testing.assert_allclose(
        forward(network, images)[-1], forward(made.networks[0].network, images)[-1], atol=2e-3
    )
    assert module.measure("digits", tmp_path / "run", n_workers=2).rows.equals(rows)
    assert "layer_1[0,0]" not in set(module.measure("sweep", tmp_path / "other", n_workers=2).rows["metric"])


def test_random_labels_are_learned_by_heart_and_mean_nothing() -> None:
    config = replace(
        configs.memorizing(), hidden=(256,), seeds=(0,), n_train=200, n_epochs=150, eval_every=150
    )
    ends = at_the_end(quiet(config).rows).set_index("split")["mean"]
    assert ends["train"] == 1.0
    assert ends["val"] < 0.25
