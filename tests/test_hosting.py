"""What GitHub runs: each step is a make target that exists, and the two that need other programs call them rightly."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.fixture(params=WORKFLOWS, ids=lambda file: file.stem)
def workflow(request: pytest.FixtureRequest) -> dict[Any, Any]:
    return yaml.safe_load(request.param.read_text(encoding="utf-8"))


def steps(workflow: dict[Any, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def test_every_step_is_a_make_target_or_an_action_of_github(workflow: dict[Any, Any]) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for step in steps(workflow):
        if "run" in step:
            match = re.fullmatch(r"make (?:--keep-going )?([a-z]+)", step["run"])
            assert match, f"not one make target: {step['run']}"
            assert match.group(1) in targets
        else:
            assert re.fullmatch(r"actions/[a-z-]+@v\d+", step["uses"])


def test_no_job_runs_forever_or_may_write_what_it_need_not(workflow: dict[Any, Any]) -> None:
    assert all(job["timeout-minutes"] <= 120 for job in workflow["jobs"].values())
    assert workflow["permissions"]["contents"] == "read"
    write = {name for name, may in workflow["permissions"].items() if may == "write"}
    assert write <= {"issues"}


def test_the_workflows_are_tests_site_and_labs_and_begin_when_they_should() -> None:
    by_name = {file.stem: yaml.safe_load(file.read_text(encoding="utf-8")) for file in WORKFLOWS}
    begins = {name: set(workflow[True]) for name, workflow in by_name.items()}  # YAML reads `on` as true
    assert begins == {
        "tests": {"push", "pull_request", "workflow_dispatch"},
        "site": {"push", "workflow_dispatch"},
        "labs": {"schedule", "workflow_dispatch"},
    }
    for badge in re.findall(r"actions/workflows/(\w+)\.yml/badge", (ROOT / "README.md").read_text()):
        assert badge in by_name


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """Return a folder for programs that stand in for docker and gh, with what they were called with in `called`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copytree(ROOT / ".ci", tmp_path / ".ci")
    return folder


def stand_in(folder: Path, name: str, body: str) -> None:
    file = folder / name
    file.write_text(f'#!/bin/bash\nprintf "%s\\n" "{name} $*" >> "{folder.parent}/called"\n{body}\n')
    file.chmod(0o755)


def make(folder: Path, target: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"} | settings
    return subprocess.run(
        ["make", "--no-print-directory", target],
        cwd=folder.parent,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_runtime_fails_when_a_lab_does_and_keeps_the_log(programs: Path) -> None:
    stand_in(programs, "docker", "echo FAILED labs/05_grokking.ipynb::Cell 3; exit 1")
    assert make(programs, "runtime").returncode != 0
    assert "FAILED" in (programs.parent / "_build" / "colab.log").read_text()
    called = (programs.parent / "called").read_text()
    assert f"{programs.parent}:/course:ro us-docker.pkg.dev/colab-images/public/cpu-runtime" in called
    stand_in(programs, "docker", "echo 3 passed")
    assert make(programs, "runtime").returncode == 0


@pytest.mark.parametrize(
    ("open_issue", "expected"), [("", "gh issue create --title"), ("7", "gh issue comment 7")]
)
def test_report_opens_one_issue_and_adds_to_it_later(programs: Path, open_issue: str, expected: str) -> None:
    stand_in(
        programs,
        "gh",
        f'[ "$2" != list ] && cat "${{@: -1}}" > "{programs.parent}/body" || echo {open_issue}',
    )
    (programs.parent / "_build").mkdir()
    (programs.parent / "_build" / "colab.log").write_text(
        "some text\nFAILED labs/05_grokking.ipynb::Cell 3\n"
    )
    done = make(programs, "report", RUN_URL="https://example.org/run/1")
    assert done.returncode == 0, done.stderr
    assert expected in (programs.parent / "called").read_text().splitlines()[-1]
    body = (programs.parent / "body").read_text()
    assert "    FAILED labs/05_grokking.ipynb::Cell 3\n" in body
    assert "[this run](https://example.org/run/1)" in body


def test_report_without_a_log_says_so(programs: Path) -> None:
    done = make(programs, "report")
    assert done.returncode != 0
    assert "run make runtime first" in done.stderr


def test_room_removes_nothing_elsewhere(programs: Path) -> None:
    stand_in(programs, "sudo", "exit 1")
    done = make(programs, "room", GITHUB_ACTIONS="")
    assert (done.returncode, done.stdout) == (0, "This is not GitHub's runner: nothing was removed.\n")
    assert not (programs.parent / "called").exists()


def test_browser_installs_nothing_where_there_is_one(programs: Path) -> None:
    stand_in(programs, "apt-get", "exit 1")
    assert make(programs, "browser", CHROMIUM="/bin/sh").returncode == 0
    assert not (programs.parent / "called").exists()
