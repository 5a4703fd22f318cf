"""Time models on this machine, and draw the forecast."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import torch

from coursekit import hub, results
from coursekit.experiments.forecasting import analysis
from coursekit.experiments.forecasting import config as configs
from coursekit.experiments.forecasting.config import ForecastingConfig
from coursekit.experiments.forecasting.speed import time_batches, time_counts
from coursekit.generate import memory_bandwidth
from coursekit.train import Row

EXPERIMENT = "forecasting"
FORECAST = "GPT-2030"
"""What stands as the model in the rows of the forecast."""


def run(
    config: ForecastingConfig,
    *,
    folder: str | Path | None = None,
    resume: bool = False,
    preset: str = "custom",
    progress: bool = True,
    device: str | None = None,
) -> results.Run:
    """Draw the forecast, then time every model of a config.

    Parameters
    ----------
    config : ForecastingConfig
    folder : path, optional
        Where to keep header and rows, written after every model. Default: nowhere.
    resume : bool
        Go on with the run in `folder`; a model that was timed is not timed again.
    preset : str
        Goes into the header.
    progress : bool
        Show bars.
    device : str, optional
        Default: "cuda" where there is one, else "cpu".

    Returns
    -------
    results.Run
        Rows of three kinds, by `quantity`:

        - an outcome of `data.OUTCOMES`, model "GPT-2030": `median`, `p05`, `p25`, `p75`, `p95` of `n` samples;
        - "count": `seconds` of each count of `n` tokens; "count, fit": `latency_seconds`, `tokens_per_second` with its
          standard error, `words_per_minute` of the line through `n` of them;
        - "prefill, float32, batch 4" and the like: `seconds` and `tokens_per_second` of `n` tokens read together;
          "decode, …": the same of `n` tokens written, `seconds` of a pass, and `bandwidth_utilization` against the
          `bytes_per_second` of "memory".

    Raises
    ------
    ValueError
        If `folder` holds a run already and `resume` is not asked for, or holds one of another config.
    coursekit.hub.HubError
        If a model cannot be had; the rows up to there are in `folder`.

    Notes
    -----
    Times are those of this machine at this moment: unlike every other experiment's, they differ from run to run.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    header = results.new_header(EXPERIMENT, preset, config, config.seeds[0])
    rows: list[Row] = []
    if folder is not None:
        header = results.claim(folder, header, resume)
        there = results.read_run(folder)
        if there.header.complete:
            return there
        rows = there.rows.to_dict("records")  # type: ignore[assignment]
    done = {row["model"] for row in rows}
    if FORECAST not in done:
        rows += forecast_rows(config.n_samples, config.seeds[0])
    for name in config.models:
        if name not in done:
            rows += speed_rows(name, config, device, progress=progress)
            if folder is not None:
                results.write_run(folder, results.finish(header, complete=False), pd.DataFrame(rows))
    header, table = results.finish(header), pd.DataFrame(rows)
    if folder is not None:
        results.write_run(folder, header, table)
    return results.Run(header, table)


def measure(name: str, folder: str | Path) -> results.Run:
    """Make a run of `config.measured` again and keep it in `measured/`.

    Parameters
    ----------
    name : str
    folder : path
        Where the run works; an interrupted one goes on from there.
    """
    made = run(configs.measured(name), folder=folder, resume=True, preset="measured")
    results.write_measured(EXPERIMENT, name, made.header, made.rows)
    return made


def forecast_rows(n_samples: int, seed: int) -> list[Row]:
    """The intervals of every outcome of the forecast as rows."""
    found = analysis.monte_carlo(n_samples, seed)
    return [
        results.row(
            {"quantity": one["quantity"], "model": FORECAST}, None, metric, one[metric], None, n_samples
        )
        for one in found.to_dict("records")
        for metric in ("median", "p05", "p25", "p75", "p95")
    ]


def count_rows(name: str, counts: pd.DataFrame) -> list[Row]:
    """The times of a model's counts, from `speed.time_counts`, and the line through them, as rows."""
    fit = analysis.fit_speed(counts["n"], counts["seconds"])
    words = analysis.words_per_minute(fit.tokens_per_second)
    n = len(counts)
    return [
        *(_row(name, "count", "seconds", one["seconds"], one["n"]) for one in counts.to_dict("records")),
        _row(name, "count, fit", "latency_seconds", fit.latency, n),
        _row(name, "count, fit", "tokens_per_second", fit.tokens_per_second, n, fit.stderr),
        _row(name, "count, fit", "words_per_minute", words, n),
    ]


def batch_rows(name: str, precision: str, batches: pd.DataFrame) -> list[Row]:
    """The times of a model's batches in one precision, from `speed.time_batches`, as rows."""
    rows: list[Row] = []
    for one in batches.to_dict("records"):
        at, n_read, n_written = (
            f"{precision}, batch {one['batch_size']:.0f}",
            one["n_prompt"],
            one["n_decoded"],
        )
        rows += [
            _row(name, f"prefill, {at}", "seconds", one["prefill_seconds"], n_read),
            _row(name, f"prefill, {at}", "tokens_per_second", one["prefill_tokens_per_second"], n_read),
            _row(name, f"decode, {at}", "seconds", one["pass_seconds"], n_written),
            _row(name, f"decode, {at}", "tokens_per_second", one["tokens_per_second"], n_written),
            _row(name, f"decode, {at}", "bandwidth_utilization", one["bandwidth_utilization"], n_written),
        ]
    return rows


def speed_rows(name: str, config: ForecastingConfig, device: str, *, progress: bool = False) -> list[Row]:
    """Time one model: its counts in the first precision, its batches in all.

    Raises
    ------
    coursekit.hub.HubError
        If the model cannot be had.
    """
    tokenizer, rate = hub.load_tokenizer(name), memory_bandwidth(device)
    rows = [_row(name, "memory", "bytes_per_second", rate)]
    for precision in config.precisions:
        model = hub.load_model(name, device=device, dtype=precision)
        if precision == config.precisions[0]:
            rows += count_rows(name, time_counts(model, tokenizer, config.lengths, progress=progress))
        batches = time_batches(
            model, tokenizer, config.batch_sizes, n_prompt=config.n_prompt, n_new=config.n_new, bandwidth=rate,
            progress=progress,
        )  # fmt: skip
        rows += batch_rows(name, precision, batches)
        del model  # before the next is loaded
    return rows


def _row(
    name: str, quantity: str, metric: str, value: float, n: float | None = None, stderr: float | None = None
) -> Row:
    keys = {"quantity": quantity, "model": name}
    return results.row(keys, None, metric, value, stderr, None if n is None else int(n))
