"""Runs in parts on a cluster of two machines: two of Ray's nodes here, with a core each."""

import functools
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from coursekit import cli, results, sweep
from coursekit.experiments.inverse_scaling import config as inverse_scaling
from coursekit.experiments.neural_networks.config import smoke
from coursekit.experiments.neural_networks.run import run
from coursekit.experiments.scaling_laws import config as scaling_laws

ray = pytest.importorskip("ray", reason="needs Ray: pip install 'coursekit[ray]'")

CONFIG = replace(smoke(), seeds=(0, 1, 2))
STEPS_AN_EPOCH = 60


@pytest.fixture
def address(root):
    """A head and one more machine."""
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", str(root))  # the workers take `stop_at_the_third_epoch` from this file
        cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
        cluster.add_node(**node)
    yield cluster.address
    cluster.shutdown()


def equal(rows, others):
    pd.testing.assert_frame_equal(rows, others[rows.columns], check_exact=True, check_dtype=False)


def wait_for(path):
    until = time.monotonic() + 120
    while not path.exists():
        assert time.monotonic() < until, f"{path} was never written"
        time.sleep(0.02)
    return path.read_text()


def stop_at_the_third_epoch():
    """In a worker: note every checkpoint; the first time that seed 1 has saved three epochs, say so and wait."""
    from coursekit.train import Checkpoints

    save = Checkpoints.save

    def watched(self, learner, rows):
        save(self, learner, rows)
        part = self.folder.parents[1]
        with (part / "saves").open("a") as file:
            file.write(f"{os.getpid()} {learner.step}\n")
        if (part.name, learner.step) == ("seed-1", 3 * STEPS_AN_EPOCH):
            results.atomic_write(part / "waits", str(os.getpid()).encode())
            time.sleep(300)

    Checkpoints.save = watched


def refuse_then_check(check, ray, folder, header):
    """Refuse a machine that has another disk under the same name, and one with other versions."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(results, "atomic_write", lambda *_: None)
        with pytest.raises(OSError, match=f"the machine .* does not see {folder}, or may not write there"):
            check(ray, folder, header)
    other = replace(header, versions=header.versions | {"torch": "9.9"})
    with pytest.raises(ValueError, match=r"has torch \S+, this one 9.9: install the same versions"):
        check(ray, folder, other)
    check(ray, folder, header)
    assert [path.name for path in folder.iterdir()] == ["parts"]


def test_a_cluster_of_two_machines(address, tmp_path, capsys, monkeypatch):
    """One test, since a cluster takes seconds to start: what is refused, what is kept, what is resumed."""
    folder = tmp_path / "run"
    words = ["run", "neural_networks", "--preset", "smoke", "--seed", "0,1,2", "--out", str(folder)]
    words += ["--engine", "ray", "--address", address]
    plain = run(CONFIG, progress=False, n_workers=1)

    # Another run is where seed 1 would go
    part = folder / "parts" / "seed-1"
    run(replace(CONFIG, seeds=(1,), n_epochs=1), folder=part, progress=False)
    with monkeypatch.context() as patch:
        patch.setattr(sweep, "_check_machines", functools.partial(refuse_then_check, sweep._check_machines))
        assert cli.main(words) == 2
    told = capsys.readouterr().err
    assert "coursekit: 1 of 3 parts failed (seed-1: ValueError: expected a run of config" in told
    there = results.read_run(folder)
    assert not there.header.complete
    others = plain.rows[plain.rows["seed"] != 1].reset_index(drop=True)
    equal(there.rows[there.rows["seed"] != 1].reset_index(drop=True), others)

    # It is taken away, and the rest resumed; the process of seed 1 is killed while it waits after its third epoch
    shutil.rmtree(part)
    kept = {name: (folder / "parts" / name / "part.json").stat().st_mtime_ns for name in ("seed-0", "seed-2")}
    hook = {"worker_process_setup_hook": "tests.test_sweep.stop_at_the_third_epoch"}
    monkeypatch.setattr(ray, "init", functools.partial(ray.init, runtime_env=hook))
    killer = threading.Thread(target=lambda: os.kill(int(wait_for(part / "waits")), signal.SIGKILL))
    killer.start()
    options = {"folder": folder, "resume": True, "preset": "smoke", "address": address, "progress": False}
    made = sweep.run_parts("neural_networks", CONFIG, **options, checkpoint_seconds=0.0)
    killer.join()
    processes, steps = zip(*(line.split() for line in (part / "saves").read_text().splitlines()), strict=True)
    assert len(set(processes[:3])) == len(set(processes[3:])) == 1
    assert processes[0] != processes[3]
    # The second process goes on from the third epoch; at the end it saves once more
    assert [int(step) // STEPS_AN_EPOCH for step in steps] == [*range(1, 21), 20]
    assert kept == {
        name: (folder / "parts" / name / "part.json").stat().st_mtime_ns for name in ("seed-0", "seed-2")
    }
    equal(made.rows, plain.rows)
    there = results.read_run(folder)
    equal(there.rows, plain.rows)

    # The header is that of the whole run, and names the engine and the machines
    header = there.header
    assert header.complete
    assert (header.config_hash, header.preset, header.seed) == (plain.header.config_hash, "smoke", None)
    assert header.peak_memory_bytes is not None
    assert header.hardware["engine"] == f"ray {ray.__version__}"
    nodes = header.hardware["nodes"]
    assert sorted(part for node in nodes for part in node["parts"]) == ["seed-0", "seed-1", "seed-2"]
    assert all(node["cpu"] == plain.header.hardware["cpu"] for node in nodes)

    # Without Ray it would begin anew
    assert cli.main([*words[:-4], "--resume"]) == 2
    assert "was made in parts: add --engine ray" in capsys.readouterr().err


def test_a_run_made_without_ray_is_not_gone_on_with_by_ray(tmp_path):
    run(replace(CONFIG, n_epochs=1), folder=tmp_path, progress=False)
    with pytest.raises(ValueError, match="was not made with Ray: go on with it without --engine ray"):
        sweep.run_parts("neural_networks", replace(CONFIG, n_epochs=1), folder=tmp_path, resume=True)


def test_an_address_where_nothing_answers_is_told_before_ray_tries_for_minutes(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(ray, "init", lambda *_, **__: pytest.fail("Ray was asked"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{free.getsockname()[1]}"
    words = ["run", "neural_networks", "--preset", "smoke", "--out", str(tmp_path), "--address"]
    assert cli.main([*words, nobody, "--engine", "ray"]) == 2
    assert f"coursekit: no Ray cluster answers at {nobody} (" in capsys.readouterr().err
    for wrong in ("ray://127.0.0.1:10001", "here", "127.0.0.1:"):
        assert cli.main([*words, wrong, "--engine", "ray"]) == 2
        assert f"--address must be host:port or auto, got {wrong!r}" in capsys.readouterr().err
    assert cli.main([*words, nobody]) == 2
    assert "add --engine ray, or leave it out" in capsys.readouterr().err


def test_without_ray_it_says_what_to_install(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    words = ["run", "neural_networks", "--preset", "smoke", "--engine", "ray", "--out", str(tmp_path / "run")]
    assert cli.main(words) == 2
    assert capsys.readouterr().err == (
        "coursekit: running on several machines needs Ray: install it with `pip install 'coursekit[ray]'`\n"
    )


def test_control_c_stops_everything_that_was_started(tmp_path):
    command = [sys.executable, "-m", "coursekit.cli", "run", "neural_networks", "--seed", "0,1,2,3,4,5,6,7,8"]
    command += ["--engine", "ray", "--out", str(tmp_path / "run")]
    process = subprocess.Popen(
        command,
        env=os.environ | {"HOME": str(tmp_path)},  # where Ray keeps its token
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # a shell that runs the tests in the background ignores control-C, and so would what they start
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    wait_for(tmp_path / "run" / "parts" / "seed-0" / "run.json")
    assert started_by(process.pid)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err.endswith(f"go on with: {' '.join(['coursekit', *command[3:]])} --resume\n")
    assert not results.read_run(tmp_path / "run").header.complete
    assert not started_by(process.pid)


def started_by(driver: int) -> list[str]:
    """Command lines of Ray's processes in the session of a driver, which has its process id in its name."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = place.read_bytes().replace(b"\0", b" ").decode()
        except (FileNotFoundError, ProcessLookupError):  # it has just ended
            continue
        if re.search(rf"/session_\S*_{driver}/", words):
            found.append(words)
    return found


def test_experiments_say_how_their_configs_are_cut():
    assert list(sweep.split("scaling_laws", scaling_laws.smoke())) == ["whole"]
    parts = sweep.split("inverse_scaling", replace(inverse_scaling.colab(), seeds=(0, 3)))
    assert list(parts) == ["seed-0", "seed-3", "EleutherAI-pythia-410m"]
    assert (parts["seed-3"].seeds, parts["seed-3"].models) == ((3,), ())
    assert parts["EleutherAI-pythia-410m"].widths == ()
    assert len(sweep.split("inverse_scaling", inverse_scaling.paper())) == 8


def test_parts_never_share_a_folder():
    config = replace(inverse_scaling.smoke(), widths=(), models=("owner/one", "owner-one"))
    with pytest.raises(ValueError, match="parts whose names differ as folders, got owner/one, owner-one"):
        sweep.split("inverse_scaling", config)


def test_an_error_without_words_is_told_by_its_name():
    assert sweep._reason(MemoryError()) == "MemoryError: it says nothing more"
    assert sweep._reason(ValueError("\nfirst line\nsecond")) == "ValueError: first line"


@pytest.mark.parametrize("experiment", cli._experiments())
def test_a_run_of_which_no_part_began_is_kept(tmp_path, experiment):
    header = results.new_header(experiment, "smoke", {}, None)
    results.write_run(tmp_path, *sweep._join(ray, header, tmp_path, ["whole"]))
    assert results.read_run(tmp_path).rows.empty


@pytest.mark.parametrize("experiment", cli._experiments())
def test_every_preset_of_every_experiment_can_be_cut(experiment):
    config = cli._config(experiment)
    for preset in config.MINUTES:
        whole = getattr(config, preset)()
        parts = sweep.split(experiment, whole)
        assert parts
        assert all(type(part) is type(whole) for part in parts.values())


def test_what_is_in_every_part_is_joined_once(tmp_path):
    row = {
        "model": "a",
        "n_params": 1.0,
        "n_tokens": 2,
        "task": "t",
        "effect": "none",
        "stderr": None,
        "n": None,
    }
    for name in ("seed-0", "seed-1"):
        header = results.finish(results.new_header("inverse_scaling", "smoke", {"seed": name}, None))
        rows = [
            {**row, "model": name, "metric": "accuracy", "value": 0.5},
            {**row, "metric": "slope", "value": 0.1},
        ]
        results.write_run(tmp_path / "parts" / name, header, pd.DataFrame(rows))
    joined = sweep._join(ray, header, tmp_path, ["seed-0", "seed-1", "seed-2"])[1]
    assert joined["model"].tolist() == ["seed-0", "seed-1", "a"]


def test_a_gpu_is_asked_for_where_the_preset_means_one():
    machines = [
        {"Alive": True, "Resources": {"CPU": 8.0, "GPU": 2.0}},
        {"Alive": True, "Resources": {"CPU": 2.0}},
        {"Alive": False, "Resources": {"CPU": 1.0}},
    ]
    assert sweep._share(machines, 4, wants_gpu=True) == (2, 1)
    assert sweep._share(machines, 1, wants_gpu=False) == (2, 0)
    assert [sweep._wants_gpu("grokking", preset) for preset in ("laptop", "colab")] == [False, True]
    assert not sweep._wants_gpu("neural_networks", "colab")
    with pytest.raises(ValueError, match="no machine with a free core"):
        sweep._share([{"Alive": True, "Resources": {}}], 1, wants_gpu=False)
