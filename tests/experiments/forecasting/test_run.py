"""A whole run on a tiny model: its rows, its folder, and going on where it stopped."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from coursekit import generate, hub, results
from coursekit.experiments.forecasting import config as configs
from coursekit.experiments.forecasting import run as runs
from coursekit.experiments.forecasting.analysis import monte_carlo
from coursekit.experiments.forecasting.config import ForecastingConfig
from coursekit.experiments.forecasting.run import FORECAST, run
from tests.test_evaluate import make

TINY = ForecastingConfig(
    models=("tiny/a", "tiny/b"), lengths=(4, 24, 48), batch_sizes=(1, 3), precisions=("float32", "bfloat16"),
    n_prompt=24, n_new=3, n_samples=500,
)  # fmt: skip


@pytest.fixture(autouse=True)
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The hub has two tiny models; returns what was loaded of it."""
    seen: list[tuple[str, str]] = []

    def load_model(name: str, *, device: str, dtype: str) -> Any:
        seen.append((name, dtype))
        return make("llama", vocab_size=257).to(dtype=getattr(torch, dtype))

    monkeypatch.setattr(hub, "load_model", load_model)
    monkeypatch.setattr(hub, "load_tokenizer", lambda name: hub.byte_tokenizer())
    monkeypatch.setattr(runs, "memory_bandwidth", lambda device: 2e10)
    ticks = itertools.count(0.0, 0.001)  # a pass takes a millisecond
    monkeypatch.setattr(generate, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    return seen


def test_a_run_has_forecast_counts_and_batches(tmp_path: Path) -> None:
    made = run(TINY, folder=tmp_path / "run", progress=False, device="cpu")
    rows = results.read_run(tmp_path / "run").rows
    assert made.header.complete
    assert len(rows) == len(made.rows)
    assert not rows.duplicated(["quantity", "model", "n", "metric"]).any()
    keyed = rows.set_index(["model", "quantity", "metric"]).sort_index()

    def get(*at: str) -> dict[str, Any]:
        [one] = keyed.loc[[at]].to_dict("records")
        return one

    forecast = monte_carlo(500, 0).set_index("quantity")
    assert get(FORECAST, "work_years", "p95")["value"] == forecast.loc["work_years", "p95"]
    assert get(FORECAST, "work_years", "p95")["n"] == 500
    for name in TINY.models:
        assert keyed.loc[[(name, "count", "seconds")], "n"].tolist() == [4, 24, 48]
        assert get(name, "count, fit", "tokens_per_second")["value"] == pytest.approx(1000)
        assert get(name, "count, fit", "tokens_per_second")["stderr"] == pytest.approx(0, abs=1e-6)
        assert get(name, "count, fit", "words_per_minute")["value"] == pytest.approx(45_000)
        assert get(name, "count, fit", "latency_seconds")["value"] == pytest.approx(0, abs=1e-9)
        for precision in TINY.precisions:
            three = get(name, f"decode, {precision}, batch 3", "tokens_per_second")
            assert (three["value"], three["n"]) == (pytest.approx(3000), 6)
            assert get(name, f"prefill, {precision}, batch 3", "tokens_per_second")["value"] == pytest.approx(
                72_000
            )
        full, half = (
            get(name, f"decode, {p}, batch 1", "bandwidth_utilization")["value"] for p in TINY.precisions
        )
        assert full == pytest.approx(2 * half)  # half the bytes in the same time
    assert np.isfinite(rows["value"]).all()


def test_an_interrupted_run_does_not_time_a_model_twice(
    tmp_path: Path, loaded: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = hub.load_tokenizer

    def stop(name: str) -> Any:
        if name == "tiny/b":
            raise hub.HubError("no network")
        return plain(name)

    with monkeypatch.context() as patch:
        patch.setattr(hub, "load_tokenizer", stop)
        with pytest.raises(hub.HubError):
            run(TINY, folder=tmp_path, progress=False, device="cpu")
    before = results.read_run(tmp_path)
    assert not before.header.complete
    with pytest.raises(ValueError, match="holds a run already"):
        run(TINY, folder=tmp_path, progress=False, device="cpu")
    loaded.clear()
    made = run(TINY, folder=tmp_path, resume=True, progress=False, device="cpu")
    assert {name for name, _ in loaded} == {"tiny/b"}
    assert made.header.complete
    kept = made.rows[made.rows["model"].isin({FORECAST, "tiny/a"})]
    assert kept["value"].tolist() == before.rows["value"].tolist()
    loaded.clear()
    again = run(TINY, folder=tmp_path, resume=True, progress=False, device="cpu")
    assert not loaded
    assert again.rows["value"].tolist() == made.rows["value"].tolist()
    assert again.header.wall_seconds == made.header.wall_seconds


def test_without_models_there_is_the_forecast_alone(loaded: list[tuple[str, str]]) -> None:
    made = run(ForecastingConfig(models=(), n_samples=200), progress=False)
    assert set(made.rows["model"]) == {FORECAST}
    assert not loaded


def test_the_smoke_preset_runs(loaded: list[tuple[str, str]]) -> None:
    made = run(configs.smoke(), preset="smoke", progress=False, device="cpu")
    assert made.header.preset == "smoke"
    assert loaded == [(hub.PACKAGED, "float32"), (hub.PACKAGED, "bfloat16")]


def test_a_measured_run_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: dict[str, Any] = {}
    monkeypatch.setattr(configs, "measured", lambda name: TINY)
    monkeypatch.setattr(results, "write_measured", lambda *args: kept.update({args[1]: args}))
    made = runs.measure("laptop", tmp_path / "run")
    experiment, _, header, rows = kept["laptop"]
    assert (experiment, header.preset) == ("forecasting", "measured")
    assert rows["value"].tolist() == results.read_run(tmp_path / "run").rows["value"].tolist()
    assert header.complete
    assert made.rows is rows
