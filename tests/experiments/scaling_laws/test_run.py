"""A run, its rows, its resumption."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from coursekit import data as core_data
from coursekit import parametric, results
from coursekit.experiments.scaling_laws import analysis
from coursekit.experiments.scaling_laws import config as configs
from coursekit.experiments.scaling_laws import run as module
from coursekit.experiments.scaling_laws.config import ScalingLawsConfig
from coursekit.model import Transformer
from tests.processes import kill

TINY = replace(
    configs.smoke(),
    isoflop=((8e6, (4, 6, 8)), (1.2e7, (4, 6, 8))),
    curves=((6, (640,)),),
    larger=(2e7, 8),
    context_length=16,
    batch_size=2,
    n_val=32,
    n_points=3,
)


def quiet(config: ScalingLawsConfig, **options: object) -> results.Run:
    given = {"progress": False, "n_workers": 2, "n_resamples": 3} | options
    return module.run(config, **given)  # type: ignore[arg-type]


@pytest.fixture(scope="module", autouse=True)
def fewer_starts() -> Iterator[None]:
    """Every ninetieth of the fit's 4500 starts will do here."""
    few = parametric.start_grid()[::90]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parametric, "start_grid", lambda: few)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tiny")


@pytest.fixture(scope="module")
def tiny(folder: Path) -> results.Run:
    start = time.monotonic()
    made = quiet(TINY, folder=folder)
    assert made.header.wall_seconds < time.monotonic() - start  # the family's time is not counted twice
    return made


@pytest.fixture(scope="module")
def smoke() -> results.Run:
    return quiet(configs.smoke(), n_resamples=10)


def test_smoke_learns_and_predicts(smoke: results.Run) -> None:
    rows = smoke.rows
    assert smoke.header.complete
    losses = rows[rows["metric"] == "val_loss"]
    assert losses["approach"].value_counts().to_dict() == {
        "isoflop": 30,
        "training_curves": 10,
        "prediction": 5,
    }
    for _, curve in losses.groupby(["approach", "n_params", "horizon"]):
        assert curve["value"].iloc[-1] < curve["value"].iloc[0] - 2
        assert curve["n_tokens"].iloc[-1] == curve["horizon"].iloc[0]
    assert (losses["n"] == 128).all()
    assert losses["stderr"].between(0, 0.5).all()
    np.testing.assert_allclose(losses["flops"], 6 * losses["n_params"] * losses["n_tokens"])
    by_metric = rows[rows["approach"] == "prediction"].groupby("metric")["value"].last()
    assert by_metric["predicted_val_loss"] == pytest.approx(by_metric["val_loss"], abs=1)
    assert 2 < by_metric["val_loss"] < 5
    assert set(rows.loc[rows["metric"] == "exponent_n", "approach"]) == {
        "training_curves",
        "isoflop",
        "parametric",
    }


def test_the_prediction_is_a_fit_to_the_family_alone(smoke: results.Run) -> None:
    last = analysis.final_losses(smoke.rows)
    fit = parametric.fit_parametric_loss(last["n_params"], last["n_tokens"], last["loss"]).fit
    assert analysis.fit_of(smoke.rows, "parametric") == pytest.approx(fit)
    row = smoke.rows[smoke.rows["metric"] == "predicted_val_loss"].iloc[0]
    assert row["value"] == pytest.approx(
        float(parametric.predict_loss(fit, row["n_params"], row["n_tokens"]))
    )


def test_bits_per_byte_are_those_of_a_plain_loop() -> None:
    config = configs.smoke()
    network = Transformer(module.network_shape(config, 8))
    network.initialize([3])
    tokens, train, val = module._sequences(config.text, 33, 20)
    text = core_data.standard_library()
    assert len(train) == len(text.train) // 33
    assert bytes(tokens[val[0]].tolist()) == text.val[:33]
    assert bytes(tokens[0].tolist()) == text.train[:33]
    found = module._bits_per_byte(network, tokens[val])
    with torch.no_grad():
        for number in (0, 19):
            one = tokens[val[number]].long()
            loss = F.cross_entropy(network(one[None, :-1])[0], one[1:])
            assert found[number].item() == pytest.approx(loss.item() / np.log(2), rel=1e-5)


def test_recipe_and_shape_reach_the_network() -> None:
    config = replace(TINY, n_layers=3, learning_rate=0.02, batch_size=6)
    one = module.PlannedRun("isoflop", 32, 100, 5)
    stack = module._stack(config, [one], module._sequences(config.text, 17, 32), "cpu")
    assert (stack.config.n_layers, stack.config.d_model, stack.config.n_heads, stack.config.d_ff) == (
        3,
        32,
        2,
        85,
    )
    assert (stack.config.vocab_size, stack.config.tied, stack.n_answer, stack.betas) == (
        256,
        True,
        16,
        (0.9, 0.95),
    )
    made = stack.runs[0]
    assert (made.seed, made.batch_size) == (5, 6)
    assert made.learning_rate == pytest.approx(0.02 * 2**0.5)
    assert made.schedule is not None
    assert [round(made.schedule(step), 3) for step in (0, 5, 100)] == [0.0, 1.0, 0.1]


# The first losses (nats) of width 8 in the smoke preset; a change of the training, or of Python's source, shows here.
GOLDEN = [
    5.52251,
    5.52715,
    5.4714,
    5.27715,
    5.00925,
    4.80748,
    4.62576,
    4.41932,
    4.38331,
    4.003,
    3.99913,
    3.79159,
    3.49171,
    3.30024,
    3.4028,
    3.41655,
    3.28297,
    3.25519,
    3.0833,
    3.48567,
]


@pytest.mark.skipif(
    not core_data.standard_library().sha256.startswith("3c54e47abd99"),
    reason="needs the text it was measured on",
)
def test_the_first_losses_of_the_smoke_preset() -> None:
    config = configs.smoke()
    sequences = module._sequences(config.text, config.context_length + 1, config.n_val)
    stack = module._stack(config, [module.PlannedRun("isoflop", 8, 50, 0)], sequences, "cpu")
    losses = []
    for _ in GOLDEN:
        loss = stack.losses()
        loss.sum().backward()
        stack.update(1.0)
        losses.append(loss.item())
    assert losses == pytest.approx(GOLDEN, rel=2e-4)


def test_models_trained_as_one_have_the_rows_of_each_alone(
    tiny: results.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = module._group
    monkeypatch.setattr(module, "_group", lambda runs, device: group(runs, "cuda"))
    together = quiet(TINY)
    order = ["approach", "n_params", "horizon", "n_tokens"]
    one, other = (
        made.rows[made.rows["metric"] == "val_loss"].sort_values(order)["value"].tolist()
        for made in (tiny, together)
    )
    assert one == pytest.approx(other, rel=1e-3)


def test_a_gpu_trains_all_of_a_width_together() -> None:
    *runs, _ = module.planned_runs(configs.laptop())
    groups = module._group(runs, "cuda")
    assert [len({one.width for one in group}) for group in groups] == [1] * len({one.width for one in runs})
    assert [len(group) for group in module._group(runs, "cpu")] == [1] * len(runs)


def run_to_be_killed(folder: Path) -> None:
    quiet(TINY, folder=folder, checkpoint_seconds=0.0)


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX's")
def test_a_killed_run_resumes_to_the_same_rows_bit_for_bit(tiny: results.Run, tmp_path: Path) -> None:
    kill(
        run_to_be_killed,
        tmp_path,
        when=lambda: list(tmp_path.glob("checkpoints/*/*.json")),
        after=random.uniform(0, 0.02),
    )
    assert not results.read_run(tmp_path).header.complete, "it ended before it was killed"
    resumed = quiet(TINY, folder=tmp_path, resume=True)
    pd.testing.assert_frame_equal(resumed.rows, tiny.rows)


def test_a_run_goes_on_between_family_prediction_and_larger_run(
    tiny: results.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "_conclusions", interrupt)
        with pytest.raises(KeyboardInterrupt):
            quiet(TINY, folder=tmp_path)
    with monkeypatch.context() as patch:
        train = module._train
        patch.setattr(
            module,
            "_train",
            lambda *args, **options: (interrupt if len(args[1]) == 1 else train)(*args, **options),
        )
        with pytest.raises(KeyboardInterrupt):
            quiet(TINY, folder=tmp_path, resume=True)
    kept = results.read_run(tmp_path)
    assert not kept.header.complete
    assert "predicted_val_loss" in set(kept.rows["metric"])  # on disk before the larger run begins
    larger = tiny.rows[(tiny.rows["approach"] == "prediction") & (tiny.rows["metric"] == "val_loss")]
    assert len(kept.rows) == len(tiny.rows) - len(larger)
    resumed = quiet(TINY, folder=tmp_path, resume=True)
    pd.testing.assert_frame_equal(resumed.rows, tiny.rows)


def test_a_finished_run_resumes_to_itself(tiny: results.Run, folder: Path) -> None:
    before = (folder / "run.json").read_text()
    again = quiet(TINY, folder=folder, resume=True)
    pd.testing.assert_series_equal(again.rows["value"], tiny.rows["value"])
    assert (folder / "run.json").read_text() == before
    with pytest.raises(ValueError, match="holds a run already; go on with it by resume"):
        quiet(TINY, folder=folder)
    with pytest.raises(ValueError, match="expected a run of config"):
        quiet(replace(TINY, seeds=(7,)), folder=folder, resume=True)


def test_a_diverging_run_says_so_and_is_not_taken_for_done(tmp_path: Path) -> None:
    config = replace(TINY, isoflop=TINY.isoflop[:1], curves=(), learning_rate=1e30)
    for resume in (False, True):
        with pytest.raises(FloatingPointError, match="not a finite number: lower learning_rate"):
            quiet(config, folder=tmp_path, resume=resume)
    assert len(results.read_run(tmp_path).rows)


def test_a_short_held_out_text_is_refused() -> None:
    with pytest.raises(ValueError, match="expected n_val=10000000; lower n_val"):
        quiet(replace(TINY, n_val=10_000_000))


def test_a_measured_run_is_kept_and_an_interrupted_one_goes_on(
    tiny: results.Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, kept = [], {}
    monkeypatch.setattr(
        module, "run", lambda config, **options: asked.append((config, options["resume"])) or tiny
    )
    monkeypatch.setattr(results, "write_measured", lambda *args: kept.update({args[1]: args[2:]}))
    assert module.measure("family", tmp_path) is tiny
    module.measure("family", folder)
    assert asked == [(configs.measured("family"), False), (configs.measured("family"), True)]
    assert kept["family"] == (tiny.header, tiny.rows)
