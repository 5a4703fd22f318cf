import os
import re
import signal
import subprocess
import sys

import pytest

from coursekit import cli, experiments, results

CONFIG = """
from dataclasses import dataclass

@dataclass(frozen=True)
class Config:
    seeds: tuple[int, ...] = (0, 1, 2)

def smoke():
    return Config()

def laptop():
    return {"no": "seeds"}

MINUTES = {"smoke": 0.1, "laptop": 90000}
HARDWARE = {"smoke": "2 CPU cores", "laptop": "a large GPU"}
"""

RUN = """
import pandas as pd
from coursekit import results

def run(config, *, folder, resume, preset):
    if preset == "laptop":
        raise KeyboardInterrupt
    header = results.new_header("toy", preset, config, None)
    rows = pd.DataFrame({"seed": config.seeds, "metric": "loss", "value": 1.0, "stderr": None, "n": None})
    results.write_run(folder, results.finish(header), rows)
    return results.read_run(folder)
"""


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """An experiment that the command line has never heard of."""
    folder = tmp_path / "experiments" / "toy"
    folder.mkdir(parents=True)
    for name, text in (("__init__", ""), ("config", CONFIG), ("run", RUN)):
        (folder / f"{name}.py").write_text(text)
    monkeypatch.setattr(experiments, "__path__", [str(folder.parent)])
    monkeypatch.setitem(results.KEYS, "toy", ("seed",))
    yield
    for module in [name for name in sys.modules if name.startswith("coursekit.experiments.toy")]:
        del sys.modules[module]


def fails(capsys, *words):
    """Run a command that must fail with one sentence, and return that."""
    try:
        status = cli.main(words)
    except SystemExit as exit:
        status = exit.code
    err = capsys.readouterr().err
    assert status == 2
    assert err.startswith("coursekit: ")
    assert err.count("\n") == 1
    return err


def test_experiments_are_found_not_listed(toy, capsys):
    assert cli.main(["list"]) == 0
    assert capsys.readouterr().out == (
        "toy\n  smoke          0.1 min on 2 CPU cores\n  laptop     1,500 hours on a large GPU\n"
    )


def test_run_writes_the_folder_and_takes_one_seed(toy, tmp_path, capsys):
    out = tmp_path / "new" / "run"
    assert cli.main(["run", "toy", "--preset", "smoke", "--seed", "7", "--out", str(out)]) == 0
    run = results.read_run(out)
    assert run.rows["seed"].tolist() == [7]
    assert (run.header.preset, run.header.config) == ("smoke", {"seeds": [7]})
    assert "toy, preset smoke, config " in capsys.readouterr().out


def test_run_without_a_seed_keeps_those_of_the_preset(toy, tmp_path):
    assert cli.main(["run", "toy", "--preset", "smoke", "--out", str(tmp_path / "run")]) == 0
    assert results.read_run(tmp_path / "run").rows["seed"].tolist() == [0, 1, 2]


def test_an_interrupted_run_says_how_to_go_on(toy, tmp_path, capsys):
    out = tmp_path / "a run"
    assert cli.main(["run", "toy", "--out", str(out)]) == 130
    assert capsys.readouterr().err == (
        f"coursekit: interrupted; go on with: coursekit run toy --out '{out}' --resume\n"
    )


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "required: COMMAND"),
        (["lst"], "invalid choice: 'lst'"),
        (["run", "toy"], "required: --out"),
        (["run", "grok", "--out", "x"], "invalid choice: 'grok'"),
        (["run", "toy", "--preset", "huge", "--out", "x"], "no preset 'huge': choose one of smoke, laptop"),
        (["run", "toy", "--seed", "one", "--out", "x"], "expected seeds such as 7 or 0,1,2; got 'one'"),
        (["run", "toy", "--seed", "1", "--out", "x"], "toy has no random seed: leave --seed out"),
    ],
)
def test_bad_input_gets_one_sentence(toy, capsys, words, sentence):
    assert sentence in fails(capsys, *words)


def test_an_impossible_folder_is_refused_before_the_run(toy, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert "is not a folder" in fails(capsys, "run", "toy", "--out", str(tmp_path / "file"))
    assert (tmp_path / "file").read_text() == ""


def test_looking_whether_a_folder_can_be_written_leaves_its_files_alone(toy, tmp_path):
    (tmp_path / "writable").write_text("mine")
    assert cli.main(["run", "toy", "--preset", "smoke", "--out", str(tmp_path)]) == 0
    assert (tmp_path / "writable").read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} == {
        "experiments",
        "results.csv",
        "run.json",
        "writable",
    }


def test_doctor_tells_what_runs_here_and_what_is_missing(toy, capsys, monkeypatch):
    monkeypatch.setattr(cli, "_gpu", lambda: None)
    monkeypatch.setattr(results, "version", {"torch": "2.13.0+cpu", "ipykernel": "6.29"}.get)
    assert cli.main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "toy: take the preset laptop" in out
    assert "smoke   one run about 0.1 min on 2 CPU cores" in out
    assert "laptop  not here, for want of a GPU: one run about 1,500 hours on a large GPU" in out
    assert "Nothing is missing." in out

    monkeypatch.setattr(cli, "_gpu", lambda: "Tesla T4")
    assert cli.main(["doctor"]) == 1
    assert "a PyTorch that can use the GPU: 2.13.0+cpu is for CPUs only" in capsys.readouterr().out

    monkeypatch.setattr(results, "version", {"torch": "2.13.0", "ipykernel": "6.29"}.get)
    assert cli.main(["doctor"]) == 0
    assert "toy: take the preset colab" in (out := capsys.readouterr().out)
    assert "laptop  one run about 1,500 hours on a large GPU" in out

    monkeypatch.setattr(results, "version", {}.get)
    assert cli.main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "toy: cannot run yet" in out
    assert "pip install torch" in out
    assert "pip install jupyterlab" in out


def test_without_torch_a_run_says_so(toy, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(results, "version", {}.get)
    assert "pip install torch" in fails(
        capsys, "run", "toy", "--preset", "smoke", "--out", str(tmp_path / "run")
    )


def test_packages_that_an_experiment_needs_are_asked_for(toy, tmp_path, capsys, monkeypatch):
    (tmp_path / "experiments" / "toy" / "config.py").write_text(f'{CONFIG}\nNEEDS = ("peft", "gguf")\n')
    monkeypatch.setattr(cli, "_gpu", lambda: None)
    monkeypatch.setattr(results, "version", {"torch": "2.13.0", "ipykernel": "6.29", "gguf": "1"}.get)
    assert cli.main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "toy: cannot run yet" in out
    assert "peft, for toy: pip install 'coursekit[pretrained]'" in out
    message = fails(capsys, "run", "toy", "--preset", "smoke", "--out", str(tmp_path / "run"))
    assert "toy needs peft: pip install 'coursekit[pretrained]'" in message


@pytest.mark.parametrize("command", ["list", "doctor", "progress"])
def test_looking_around_imports_no_torch(command, tmp_path):
    program = (
        f"import sys; from coursekit import cli; cli.main([{command!r}]); assert 'torch' not in sys.modules"
    )
    environment = os.environ | {"COURSEKIT_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "grokking" in done.stdout


def test_a_real_run_is_interrupted_by_control_c(tmp_path):
    command = [sys.executable, "-m", "coursekit.cli", "run", "grokking", "--out", str(tmp_path / "run")]
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # a shell that runs the tests in the background ignores control-C, and so would what they start
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr is not None
    seen = ""
    while not re.search(r" [1-9]\d*/", seen):  # the progress bar counts: training has begun
        seen += process.stderr.read(1)
        assert process.poll() is None, seen
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130, err
    assert err.endswith(f"go on with: coursekit run grokking --out {tmp_path / 'run'} --resume\n")


def test_a_real_run_is_complete_and_not_overwritten_unless_resumed(tmp_path, capsys):
    out = tmp_path / "run"
    words = ["run", "grokking", "--preset", "smoke", "--seed", "3", "--out", str(out)]
    assert cli.main(words) == 0
    run = results.read_run(out)
    assert run.header.complete
    assert set(run.rows["seed"]) == {3}
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    capsys.readouterr()
    assert "holds a run already; go on with it by resume (--resume)" in fails(capsys, *words)
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} == before
    assert cli.main([*words, "--resume"]) == 0
