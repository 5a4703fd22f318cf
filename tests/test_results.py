import dataclasses
import errno
import json
import math
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from coursekit import results


@dataclasses.dataclass(frozen=True)
class Optimizer:
    learning_rate: float = 0.1 + 0.2  # not the same as 0.3
    betas: tuple[float, float] = (0.9, 0.98)


@dataclasses.dataclass(frozen=True)
class Config:
    optimizer: Optimizer = Optimizer()
    seeds: tuple[int, ...] = (0, 1)


@pytest.fixture
def rows():
    keys = {"seed": 0, "operation": "NA", "modulus": 97, "train_fraction": 0.1 + 0.2, "variant": "adamw"}
    values = [np.pi, 5e-324, 0.1 + 0.2, math.inf, math.nan, *np.random.default_rng(0).standard_normal(20)]
    measured = {"metric": "val_loss", "value": values, "stderr": None, "n": [512] + [None] * 24}
    return pd.DataFrame({**keys, "step": range(25), **measured})


@pytest.fixture
def header():
    return results.finish(results.new_header("grokking", "smoke", Config(), seed=0))


def test_a_run_is_read_back_exactly(tmp_path, header, rows):
    results.write_run(tmp_path / "new" / "run", header, rows[rows.columns[::-1]])
    run = results.read_run(tmp_path / "new" / "run")
    assert run.header == header
    assert list(run.rows) == [*results.KEYS["grokking"], *results.VALUE_COLUMNS]
    np.testing.assert_array_equal(run.rows["value"], rows["value"])  # to the last bit
    assert run.rows["train_fraction"].eq(0.1 + 0.2).all()
    assert run.rows["operation"].eq("NA").all()
    assert run.rows["n"].tolist() == [512, *[pd.NA] * 24]
    assert sorted(path.name for path in (tmp_path / "new" / "run").iterdir()) == ["results.csv", "run.json"]


def test_config_hash_is_of_the_content():
    nested = {"seeds": [0, 1], "optimizer": {"betas": [0.9, 0.98], "learning_rate": 0.30000000000000004}}
    assert results.config_hash(Config()) == results.config_hash(nested)
    assert results.config_hash(Config(seeds=(0.0, 1.0))) == results.config_hash(Config())
    assert results.config_hash(Config(Optimizer(learning_rate=0.3))) != results.config_hash(Config())
    with pytest.raises(TypeError, match="not <function"):
        results.config_hash({"loss": lambda: None})


def test_config_hash_is_the_same_in_another_process():
    program = "from coursekit.results import config_hash; print(config_hash({'b': 'x', 'a': (1, 2.5)}))"
    environment = os.environ | {"PYTHONHASHSEED": "7"}
    output = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True)
    assert output.stdout.decode().strip() == results.config_hash({"a": (1, 2.5), "b": "x"})


def test_header_tells_versions_and_hardware_without_importing_torch():
    program = (
        "import sys, json, dataclasses; from coursekit import results;"
        "header = results.finish(results.new_header('grokking', 'smoke', {}, None));"
        "print(json.dumps(dataclasses.asdict(header)));"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    header = json.loads(output.stdout)
    assert header["versions"]["numpy"] == np.__version__
    assert set(header["versions"]) == {"coursekit", "python", "torch", "transformers", "numpy"}
    assert set(header["hardware"]) == {"cpu", "cores", "memory_bytes", "gpu"}
    assert header["started"].endswith("+00:00")
    assert header["complete"] is True
    assert 10e6 < header["peak_memory_bytes"] < header["hardware"]["memory_bytes"]


def test_finish_adds_to_the_time_of_earlier_sessions(header):
    resumed = dataclasses.replace(results.new_header("grokking", "smoke", {}, 0), wall_seconds=100.0)
    finished = results.finish(resumed, complete=False)
    assert finished.wall_seconds >= 100.0
    assert not finished.complete


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.drop(columns=["stderr", "step"]), "missing: step, stderr; foreign: none"),
        (lambda rows: rows.assign(learning_rate=1), "missing: none; foreign: learning_rate"),
        (lambda rows: rows.rename(columns={"seed": "sed"}), "missing: seed; foreign: sed"),
        (lambda rows: rows.assign(n=0.5), r"n \(whole\) must be numbers"),
    ],
)
def test_wrong_columns_are_named(tmp_path, header, rows, change, message):
    with pytest.raises(ValueError, match=message):
        results.write_run(tmp_path, header, change(rows))
    results.write_run(tmp_path, header, rows)
    change(rows).to_csv(tmp_path / "results.csv", index=False)
    with pytest.raises(ValueError, match=message) as error:
        results.read_run(tmp_path)
    assert str(tmp_path / "results.csv") in str(error.value)


def test_damaged_or_missing_files_are_named(tmp_path, header, rows):
    with pytest.raises(ValueError, match=r"there is no file .*run\.json"):
        results.read_run(tmp_path)
    results.write_run(tmp_path, header, rows)
    (tmp_path / "results.csv").write_text("")
    with pytest.raises(ValueError, match=r"results\.csv is not a CSV table"):
        results.read_run(tmp_path)
    (tmp_path / "run.json").write_text('{"experiment": "grokking"}')
    with pytest.raises(ValueError, match=r"run\.json is not the header of a run .*preset"):
        results.read_run(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps(dataclasses.asdict(header))[:-5])
    with pytest.raises(ValueError, match=r"run\.json is not the header of a run"):
        results.read_run(tmp_path)
    with pytest.raises(
        ValueError, match="unknown experiment 'groking': choose one of neural_networks, scaling_laws"
    ):
        results.write_run(tmp_path, dataclasses.replace(header, experiment="groking"), rows)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES])
def test_a_failed_write_leaves_the_previous_file(tmp_path, monkeypatch, header, rows, code):
    results.write_run(tmp_path, header, rows)

    def fail(descriptor):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(
        OSError, match=rf"could not write .*results\.csv \({os.strerror(code)}\): free some disk"
    ):
        results.write_run(tmp_path, header, rows.head(1))
    assert len(results.read_run(tmp_path).rows) == len(rows)
    assert len(list(tmp_path.iterdir())) == 2  # no temporary file is left


def test_a_writer_that_dies_half_way_leaves_the_previous_file(tmp_path):
    def die(temporary):
        temporary.write_bytes(b"half")
        raise KeyboardInterrupt

    path = tmp_path / "weights"
    results.atomic_write(path, b"whole")
    with pytest.raises(KeyboardInterrupt):
        results.atomic_write(path, die)
    assert path.read_bytes() == b"whole"
    assert list(tmp_path.iterdir()) == [path]


def test_a_reader_of_the_old_file_is_undisturbed(tmp_path):
    results.atomic_write(tmp_path / "rows", b"old")
    with (tmp_path / "rows").open("rb") as reader:
        results.atomic_write(tmp_path / "rows", b"new")
        assert reader.read() == b"old"


@pytest.mark.parametrize("below", ["", "below"])
def test_a_file_in_place_of_a_folder_is_named(tmp_path, header, rows, below):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=f"{tmp_path / 'file' / below} is not a folder"):
        results.write_run(tmp_path / "file" / below, header, rows)


def test_measured_runs_are_kept_by_name(tmp_path, monkeypatch, header, rows):
    monkeypatch.setattr(results, "_PACKAGE", tmp_path)
    assert results.list_measured("grokking") == []
    results.write_measured("grokking", "sweep", header, rows)
    assert (tmp_path / "experiments" / "grokking" / "measured" / "sweep.csv").is_file()
    assert results.list_measured("grokking") == ["sweep"]
    assert results.read_measured("grokking", "sweep").header == header
    with pytest.raises(ValueError, match="grokking has no measured run 'swep': choose one of sweep"):
        results.read_measured("grokking", "swep")


@pytest.mark.parametrize(
    ("prefix", "expected"), [("src/coursekit/", "0" * 40 + "-dirty"), (".venv/lib/", None)]
)
def test_git_commit_is_that_of_the_packages_own_checkout(monkeypatch, prefix, expected):
    def git(command, **_):
        output = prefix if "rev-parse" in command else "0" * 40 + "-dirty"
        return subprocess.CompletedProcess(command, 0, stdout=output + "\n")

    monkeypatch.setattr(subprocess, "run", git)
    assert results.new_header("grokking", "smoke", {}, 0).git_commit == expected


def test_every_measured_run_of_the_package_loads():
    for experiment in results.KEYS:
        for name in results.list_measured(experiment):
            assert results.read_measured(experiment, name).header.complete


def test_n_is_one_column_where_it_is_key_and_number_of_items(tmp_path):
    made = results.row({"quantity": "count", "model": "tiny"}, None, "seconds", 0.5, None, 100)
    header = results.new_header("forecasting", "smoke", {}, seed=0)
    results.claim(tmp_path, header, resume=False)
    results.write_run(tmp_path, header, pd.DataFrame([made]))
    rows = results.read_run(tmp_path).rows
    assert list(rows) == ["quantity", "model", "n", "metric", "value", "stderr"]
    assert rows["n"].tolist() == [100]


def test_a_folder_is_claimed_once_and_resumed_by_the_same_config(tmp_path):
    header = results.new_header("grokking", "smoke", {"max_steps": 100}, seed=0)
    folder = tmp_path / "run"
    assert results.claim(folder, header, resume=True) == header  # nothing is there yet: it starts
    assert results.read_run(folder).rows.empty
    with pytest.raises(ValueError, match="holds a run already; go on with it by resume"):
        results.claim(folder, header, resume=False)
    before = dataclasses.replace(header, wall_seconds=50.0)
    results.write_run(folder, before, results.read_run(folder).rows)
    assert results.claim(folder, header, resume=True) == before
    other = results.new_header("grokking", "smoke", {"max_steps": 200}, seed=0)
    with pytest.raises(ValueError, match=f"expected a run of config {other.config_hash} in .*, got one of"):
        results.claim(folder, other, resume=True)


def test_a_folder_with_checkpoints_alone_is_taken(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    header = results.new_header("grokking", "smoke", {"max_steps": 100}, seed=0)
    with pytest.raises(ValueError, match="holds a run already"):
        results.claim(tmp_path, header, resume=False)
    assert results.claim(tmp_path, header, resume=True) == header


def test_a_row_has_the_columns_of_a_run(tmp_path, header):
    keys = {"seed": 0, "operation": "div", "modulus": 97, "train_fraction": 0.5, "variant": "adamw"}
    made = [
        results.row(keys, 5, "val_loss", np.float64(0.5)),
        results.mean_row(keys, 5, "val_accuracy", np.array([0.0, 1.0, 1.0, 0.0])),
        results.mean_row(keys, 6, "val_accuracy", np.array([0.25])),
    ]
    assert json.loads(json.dumps(made)) == made  # checkpoints keep rows as JSON
    results.write_run(tmp_path, header, pd.DataFrame(made))
    rows = results.read_run(tmp_path).rows
    assert rows["value"].tolist() == [0.5, 0.5, 0.25]
    assert rows["stderr"].tolist()[1] == pytest.approx(math.sqrt(1 / 3 / 4))  # s² = 1/3, n = 4
    assert rows["stderr"].isna().tolist() == [True, False, True]
    assert rows["n"].tolist() == [pd.NA, 4, 1]


def test_a_matrix_comes_back_from_its_rows():
    matrix = np.random.default_rng(0).normal(size=(4, 3))
    rows = pd.DataFrame(
        [
            {"step": step, "metric": m, "value": v}
            for step in (1, 2)
            for m, v in results.matrix_rows("W", step * matrix)
        ]
    )
    np.testing.assert_allclose(results.stored_matrices(rows, "W")[2], 2 * matrix, rtol=1e-3)
    with pytest.raises(ValueError, match=r"expected rows with a matrix V\[i,j\], got none"):
        results.stored_matrices(rows, "V")
