"""Whole runs: rows, weights, resume after a kill, the phenomenon itself; published models from a local cache."""

from __future__ import annotations

import hashlib
import math
import os
import random
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import constants

from coursekit import evaluate, hub, results
from coursekit.data import Text, standard_library, windows
from coursekit.evaluate import Question
from coursekit.experiments.inverse_scaling import analysis
from coursekit.experiments.inverse_scaling import config as configs
from coursekit.experiments.inverse_scaling import run as module
from coursekit.experiments.inverse_scaling.config import InverseScalingConfig
from coursekit.experiments.inverse_scaling.run import run, run_published
from coursekit.model import Transformer, to_transformers
from tests.processes import kill

TINY = replace(configs.smoke(), widths=(8, 16), n_tokens=33_000, n_bytes=500_000, n_checkpoints=3, n_items=4)
DATA = Path(os.environ.get("COURSEKIT_DATA", Path(__file__).parents[4] / "shared" / "data"))


@pytest.fixture(autouse=True)
def nothing_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No published data and no network, unless a test says otherwise."""
    monkeypatch.setenv("COURSEKIT_DATA", str(tmp_path / "none"))
    monkeypatch.setenv("COURSEKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(hub, "_download", unreachable)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def unreachable(*_: object) -> None:
    raise hub.HubError("there is no network")


def quiet(config: InverseScalingConfig, **options: Any) -> results.Run:
    """Run without a bar."""
    return run(config, progress=False, **({"n_workers": 2} | options))


@pytest.fixture(scope="module")
def tiny() -> results.Run:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "published_regression", lambda: [])
        return quiet(TINY, keep_weights=True)


def test_a_run_has_every_row(tiny: results.Run) -> None:
    rows = tiny.rows
    assert set(rows.columns) == {*results.KEYS["inverse_scaling"], *results.VALUE_COLUMNS}
    assert set(rows["model"]) == {"width 8, seed 0", "width 16, seed 0"}
    assert sorted(set(rows["n_tokens"])) == [8192, 16384, 32768]
    assert len(rows) == 2 * 3 * (13 + 1)
    assert set(rows["task"]) == {*analysis.TASKS, "text"}
    loss = rows[rows["metric"] == "val_loss"].set_index(["model", "n_tokens"])["value"]
    assert loss["width 16, seed 0"].between(3, 8.5).all()
    assert loss["width 16, seed 0"].is_monotonic_decreasing
    assert rows[rows["metric"] == "accuracy"]["n"].eq(4).all()


def test_kept_weights_are_the_checkpoints_that_were_evaluated(tiny: results.Run) -> None:
    assert [(one.model, one.n_tokens) for one in tiny.networks] == [
        (f"width {width}, seed 0", n_tokens) for width in (8, 16) for n_tokens in (8192, 16384, 32768)
    ]
    found = evaluate.multiple_choice(*tiny.networks[-1].load(), module.suite_tasks(TINY)["spelling"])
    rows = tiny.rows[(tiny.rows["task"] == "spelling") & (tiny.rows["model"] == "width 16, seed 0")]
    assert rows.set_index("n_tokens").loc[32768, "value"] == found.accuracy


def test_the_loss_is_bits_per_byte_of_held_out_files(tiny: results.Run) -> None:
    model, _ = tiny.networks[-1].load()
    val = windows(standard_library(TINY.n_bytes).val, 256)[:128].long()
    with torch.no_grad():
        log_probs = model(val[:, :-1]).logits.log_softmax(-1).gather(-1, val[:, 1:, None])
    rows = tiny.rows[(tiny.rows["metric"] == "val_loss") & (tiny.rows["model"] == "width 16, seed 0")]
    assert rows["value"].iloc[-1] == pytest.approx(-log_probs.mean().item() / math.log(2), rel=1e-4)


def test_two_checkpoints_go_into_the_regression_watch(tiny: results.Run) -> None:
    first, last = (one.load() for one in (tiny.networks[3], tiny.networks[5]))
    tasks = module.suite_tasks(TINY)
    table = evaluate.regression_watch(first, last, {name: tasks[name] for name in ("spelling", "negation")})
    assert list(table["task"]) == ["spelling", "negation"]
    assert set(table["verdict"]) == {"no evidence"}  # of four questions


def test_a_measured_run_is_written_with_its_regression_watch(
    tiny: results.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: dict[str, Any] = {}
    monkeypatch.setattr(module.configs, "measured", lambda name: TINY)
    monkeypatch.setattr(module, "run", lambda *_, **options: tiny if options["keep_weights"] else None)
    monkeypatch.setattr(results, "write_measured", lambda *all: written.update(rows=all[3]))
    made = module.measure("suite", tmp_path)
    assert made.rows.equals(written["rows"])
    table = analysis.stored_watch(made.rows)
    assert list(table["task"]) == list(analysis.TASKS)
    accuracy = tiny.rows[(tiny.rows["metric"] == "accuracy") & (tiny.rows["model"] == "width 16, seed 0")]
    for column, n_tokens in (("before", 8192), ("after", 32768)):
        assert table[column].tolist() == accuracy[accuracy["n_tokens"] == n_tokens]["value"].tolist()


def test_without_the_published_accuracies_a_run_says_so_and_goes_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert module.published_regression() == []
    assert "The regression of the published accuracies is left out: " in capsys.readouterr().out


@pytest.mark.skipif(
    not (DATA / "emergent_inabilities" / "all_results.tsv").is_file(),
    reason=f"the paper's published data are not at {DATA}",
)
def test_with_them_every_run_has_their_regression(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COURSEKIT_DATA", str(DATA))
    made = quiet(replace(TINY, widths=(8,), n_checkpoints=1), folder=tmp_path)
    rows = results.read_run(tmp_path).rows
    t_values = rows[rows["metric"] == "t_value"]
    assert len(t_values) == 36
    assert set(t_values["effect"]) == {"parameters", "tokens", "interaction"}
    assert len(made.rows) == len(rows) == 14 + 8 * 36
    assert results.read_run(tmp_path).header.complete


def test_accuracy_falls_while_loss_falls() -> None:
    """The phenomenon in seconds: a model that has learned to spell no longer repeats a misspelled word."""
    made = quiet(replace(configs.smoke(), widths=(32,), n_items=50, n_tokens=150_000, n_checkpoints=5))
    ends = analysis.trends(made.rows).set_index("task")
    assert ends.loc["resisting_correction", "last"] < 0.35
    assert ends.loc["resisting_correction", "change"] < -0.1
    assert ends.loc["spelling", "last"] > 0.65
    loss = made.rows[made.rows["metric"] == "val_loss"]["value"]
    assert loss.iloc[-1] < 4.2 < loss.iloc[0]


# The first losses of the smoke preset's largest network on a text that is the same everywhere.
GOLDEN = [
    5.8786, 5.8164, 5.8267, 5.5470, 5.3621, 5.1495, 4.9203, 4.7108, 4.5632, 4.4237,
    4.2720, 4.2442, 4.1117, 3.9693, 3.8684, 3.7977, 3.6519, 3.5048, 3.3652, 3.2319,
]  # fmt: skip


def test_the_first_losses_of_the_smoke_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    bytes_ = (
        np.random.default_rng(0).choice(list(b"def return(self):"), size=200_000).astype(np.uint8).tobytes()
    )
    monkeypatch.setattr(module, "standard_library", lambda n: Text(bytes_, bytes_[:40_000], "random", ""))
    monkeypatch.setattr(module, "make_tasks", lambda text, n_items: {})
    monkeypatch.setattr(module, "_material", module._material.__wrapped__)
    losses: list[float] = []
    step = module.Stack.losses

    def watched(self: module.Stack) -> torch.Tensor:
        found = step(self)
        losses.append(found.item())
        return found

    monkeypatch.setattr(module.Stack, "losses", watched)
    quiet(replace(configs.smoke(), widths=(32,), n_tokens=80 * 1024, n_checkpoints=1))
    assert losses[:20] == pytest.approx(GOLDEN, rel=2e-3)


KILLED = replace(TINY, n_tokens=13_000)


def run_to_be_killed(folder: Path) -> None:
    quiet(KILLED, folder=folder, resume=True, checkpoint_seconds=0.0, keep_weights=True)


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX's")
def test_a_killed_run_resumes_to_the_same_rows_and_weights_bit_for_bit(tmp_path: Path) -> None:
    whole = quiet(KILLED, keep_weights=True)
    kill(
        run_to_be_killed,
        tmp_path,
        when=lambda: list(tmp_path.glob("checkpoints/*/*.json")),
        after=random.uniform(0, 0.1),
    )
    assert not results.read_run(tmp_path).header.complete, "it ended before it was killed"
    resumed = quiet(KILLED, folder=tmp_path, resume=True, keep_weights=True)
    assert resumed.rows.equals(whole.rows)
    for mine, theirs in zip(resumed.networks, whole.networks, strict=True):
        assert (mine.model, mine.n_tokens) == (theirs.model, theirs.n_tokens)
        assert all(torch.equal(mine.weights[name], w) for name, w in theirs.weights.items())
    again = quiet(KILLED, folder=tmp_path, resume=True)
    assert again.rows.equals(whole.rows)


def test_a_folder_that_holds_a_run_is_refused(tmp_path: Path) -> None:
    small = replace(TINY, widths=(8,), n_checkpoints=1)
    quiet(small, folder=tmp_path)
    with pytest.raises(ValueError, match="holds a run already"):
        quiet(small, folder=tmp_path)
    with pytest.raises(ValueError, match="expected a run of config"):
        quiet(replace(small, seeds=(1,)), folder=tmp_path, resume=True)
    with pytest.raises(ValueError, match="made without keep_weights"):
        quiet(small, folder=tmp_path, resume=True, keep_weights=True)


# Published models: two tiny ones with three checkpoints each, laid out as the hub's cache

MODELS, STEPS, TASKS = ("owner/small", "owner/large"), (64, 128, 256), ("neqa", "truthfulqa_mc2")
QUESTIONS = {
    "neqa": [Question(f"{word}:", (" yes", " no"), i % 2) for i, word in enumerate("abcdefgh")],
    "truthfulqa_mc2": [Question(f"{word}?", (" so", " if", " no"), (0, 2)) for word in "abcd"],
}


@pytest.fixture
def in_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "load_task", QUESTIONS.__getitem__)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    for number, name in enumerate(MODELS):
        for step in STEPS:
            lay_out(tmp_path / "hub", name, f"step{step}", seed=1000 * number + step, width=8 * (number + 1))
    return tmp_path / "hub"


def lay_out(root: Path, name: str, revision: str, *, seed: int, width: int) -> None:
    """Save a random byte-level model as a snapshot of the hub's cache."""
    shape = module.network_shape(TINY, width)
    network = Transformer(shape)
    network.initialize([seed])
    folder = root / "made"
    to_transformers(network).save_pretrained(folder)
    hub.byte_tokenizer("<|end|>").save_pretrained(folder)
    repository = root / ("models--" + name.replace("/", "--"))
    commit = hashlib.sha1(f"{name} {revision}".encode()).hexdigest()
    for part in (snapshot := repository / "snapshots" / commit, repository / "blobs", repository / "refs"):
        part.mkdir(parents=True, exist_ok=True)
    (repository / "refs" / revision).write_text(commit)
    for file in folder.iterdir():
        blob = repository / "blobs" / hashlib.sha256(file.read_bytes()).hexdigest()
        shutil.copy(file, blob)
        (snapshot / file.name).symlink_to(os.path.relpath(blob, snapshot))
    shutil.rmtree(folder)


def test_published_checkpoints_are_asked_one_after_the_other(in_cache: Path, tmp_path: Path) -> None:
    made = run_published(MODELS, STEPS, TASKS, folder=tmp_path / "run", progress=False)
    assert results.read_run(tmp_path / "run").rows["value"].tolist() == made.rows["value"].tolist()
    assert len(made.rows) == 2 * 3 * 2
    assert made.header.complete
    assert set(made.rows["task"]) == {"NeQA", "TruthfulQA-MC2"}
    assert sorted(set(made.rows["n_tokens"])) == [step * 2_097_152 for step in STEPS]
    assert sorted(set(made.rows["n_params"])) == [3_752, 10_832]
    model, tokenizer = (load(MODELS[1], revision="step128") for load in (hub.load_model, hub.load_tokenizer))
    rows = made.rows[(made.rows["model"] == MODELS[1]) & (made.rows["n_tokens"] == 128 * 2_097_152)]
    mass = evaluate.truthful_mass(model, tokenizer, QUESTIONS["truthfulqa_mc2"])
    assert rows["value"].tolist() == [
        evaluate.multiple_choice(model, tokenizer, QUESTIONS["neqa"]).accuracy, mass.mean,
    ]  # fmt: skip
    assert rows["stderr"].iloc[1] == mass.stderr


def test_checkpoints_are_deleted_after_use_when_asked(in_cache: Path) -> None:
    blobs = in_cache / "models--owner--small" / "blobs"
    before = len(list(blobs.iterdir()))
    run_published(MODELS[:1], STEPS[:2], TASKS, forget=True, progress=False)
    assert 0 < len(list(blobs.iterdir())) < before
    with pytest.raises(hub.HubError):
        hub.load_model(MODELS[0], revision="step64")
    assert hub.load_model(MODELS[0], revision="step256")


def n_rows(folder: Path) -> int:
    """Rows written so far."""
    file = folder / "results.csv"
    return len(file.read_text().splitlines()) - 1 if file.exists() else 0


def slow_published(folder: Path) -> None:
    """In a process of its own: 0.3 seconds a task, so that it can be killed between two."""
    module.load_task = QUESTIONS.__getitem__  # type: ignore[assignment]
    constants.HF_HUB_CACHE, constants.HF_HUB_OFFLINE = str(folder.parent / "hub"), True
    ask = module._ask
    module._ask = lambda *all: (time.sleep(0.3), ask(*all))[1]  # type: ignore[assignment]
    run_published(MODELS, STEPS, TASKS, folder=folder, resume=True, progress=False)


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX's")
def test_a_killed_evaluation_goes_on_where_it_was(
    in_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    whole = run_published(MODELS, STEPS, TASKS, progress=False)
    kill(slow_published, folder, when=lambda: n_rows(folder) > 0, after=0.5)
    before = results.read_run(folder)
    assert not before.header.complete
    assert 0 < len(before.rows) < 12
    asked = []
    ask = module._ask
    monkeypatch.setattr(module, "_ask", lambda *all: (asked.append(all[2]), ask(*all))[1])
    resumed = run_published(MODELS, STEPS, TASKS, folder=folder, resume=True, progress=False)
    assert len(asked) == 12 - len(before.rows)
    assert resumed.rows["value"].tolist() == whole.rows["value"].tolist()
    shutil.rmtree(in_cache)  # a finished evaluation needs no model
    assert len(run_published(MODELS, STEPS, TASKS, folder=folder, resume=True, progress=False).rows) == 12


def test_a_config_with_models_has_their_rows(in_cache: Path, tmp_path: Path) -> None:
    config = replace(TINY, widths=(8,), n_checkpoints=1, models=MODELS[:1], steps=STEPS[:1], tasks=TASKS[:1])
    made = quiet(config, folder=tmp_path / "run", device="cpu")
    assert len(made.rows) == 14 + 1
    assert set(made.rows["model"]) == {"width 8, seed 0", MODELS[0]}
    alone = replace(config, widths=())
    assert quiet(alone, folder=tmp_path / "alone").rows["value"].tolist() == made.rows["value"].tolist()[-1:]
    assert (
        quiet(config, folder=tmp_path / "run", resume=True).rows["value"].tolist()
        == made.rows["value"].tolist()
    )


def test_a_missing_checkpoint_leaves_the_rows_up_to_there(in_cache: Path, tmp_path: Path) -> None:
    with pytest.raises(hub.HubError, match="step512"):
        run_published(MODELS[:1], (64, 512), TASKS, folder=tmp_path / "run", progress=False)
    assert len(results.read_run(tmp_path / "run").rows) == 2


@pytest.mark.parametrize(
    ("models", "steps", "tasks", "n_items", "message"),
    [
        (MODELS[0], STEPS, TASKS, None, "models must be a sequence of one or more names, got 'owner/small'"),
        ((), STEPS, TASKS, None, "models must be a sequence"),
        (MODELS, STEPS, "neqa", None, "tasks must be a sequence of one or more names, got 'neqa'"),
        (MODELS, (), TASKS, None, "steps must be one or more"),
        (MODELS, STEPS, TASKS, 0, "n_items must be 1 or more, or None for all, got 0"),
        (MODELS, STEPS, ("nega",), None, "the task must be one of"),
    ],
)
def test_nonsense_is_refused_before_the_folder_is_taken(
    tmp_path: Path, models: Any, steps: Any, tasks: Any, n_items: int | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        run_published(models, steps, tasks, n_items=n_items, folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_with_the_final_weights_is_marked_missing(
    in_cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    load = hub.load_model

    def refuse(name: str, revision: str, **options: Any) -> Any:
        if revision == "step64":
            raise hub.HubError("it serves weights of the final model, not of that step")
        return load(name, revision=revision, **options)

    monkeypatch.setattr(hub, "load_model", refuse)
    made = run_published(MODELS[:1], STEPS[:2], TASKS, progress=False)
    assert made.rows["value"].isna().tolist() == [True, True, False, False]
    assert len(analysis.accuracies(made.rows)) == 2
    assert "Marked missing: " in capsys.readouterr().out


def test_the_other_engine_gives_the_same_numbers(in_cache: Path) -> None:
    pytest.importorskip("lm_eval")
    one, other = (
        run_published(MODELS[:1], STEPS[:1], TASKS, engine=engine, progress=False).rows["value"]
        for engine in ("coursekit", "lm_eval")
    )
    assert one.to_numpy() == pytest.approx(other.to_numpy(), rel=1e-4)
