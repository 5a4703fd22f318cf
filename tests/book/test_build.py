"""The build notices what changed, and the environment's recipe names what it installs."""

import re
import sys
import tomllib
from pathlib import Path

import pytest

from coursekit.book import build, environment


def test_hash_follows_content_and_name_of_files(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    absent = build.hash_files([file])
    file.write_text("x = 1")
    first = build.hash_files([file])
    file.write_text("x = 2")
    second = build.hash_files([file])
    file.rename(tmp_path / "b.py")
    third = build.hash_files([tmp_path / "b.py"])
    assert len({absent, first, second, third}) == 4


def test_hash_leaves_caches_out(tmp_path: Path) -> None:
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "a.pyc").write_text("")
    (tmp_path / "a.py").write_text("")
    assert build.files_under(tmp_path, tmp_path / "none") == [tmp_path / "a.py"]


@pytest.fixture
def fake_book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, list[list[str]]]:
    """Return a checkout whose jupyter-book only writes an index page, and the commands it got."""
    (tmp_path / "src" / "coursekit").mkdir(parents=True)
    (tmp_path / "chapters").mkdir()
    (tmp_path / "requirements.txt").write_text("torch==2.13.0\n")
    commands: list[list[str]] = []

    def run(command: list[str], settings: dict[str, str], *, seconds_file: Path) -> int:
        commands.append(command)
        assert settings["COURSEKIT_PRESET"] == "laptop"
        if command[1] == "-m":
            return int((tmp_path / "failing").exists())
        (tmp_path / "_build" / "html").mkdir(parents=True, exist_ok=True)
        (tmp_path / "_build" / "html" / "index.html").write_text("")
        for kept in (".jupyter_cache", ".doctrees"):
            (tmp_path / "_build" / kept).mkdir(exist_ok=True)
        return int((tmp_path / "broken").exists())

    monkeypatch.setattr(build, "run_with_progress", run)
    return tmp_path, commands


def test_unchanged_book_is_not_built_again(fake_book: tuple[Path, list[list[str]]]) -> None:
    root, commands = fake_book
    assert build.build(root) == 0
    assert build.build(root) == 0
    assert len(commands) == 2
    assert commands[0][1:] == ["-m", "coursekit.book.execute", str(root)]
    assert commands[1][2:5] == ["-W", "-n", "--keep-going"]


def test_a_changed_page_keeps_the_cache_and_changed_code_wipes_it(
    fake_book: tuple[Path, list[list[str]]],
) -> None:
    root, commands = fake_book
    build.build(root)
    outputs, pages = (root / "_build" / kept / "mark" for kept in (".jupyter_cache", ".doctrees"))
    outputs.touch()
    pages.touch()
    (root / "chapters" / "index.md").write_text("# New")
    build.build(root)
    assert outputs.exists()
    assert pages.exists()
    (root / "src" / "coursekit" / "model.py").write_text("x = 1")
    build.build(root)
    assert not outputs.exists()
    assert (
        not pages.exists()
    )  # with the outputs in them: Sphinx reads a page again only when its text changed
    assert len(commands) == 6


def test_a_failed_build_is_not_taken_for_a_site(fake_book: tuple[Path, list[list[str]]]) -> None:
    root, commands = fake_book
    (root / "broken").touch()
    assert build.build(root) == 1
    assert build.build(root) == 1
    assert len(commands) == 4


def test_a_page_that_fails_fails_the_build(fake_book: tuple[Path, list[list[str]]]) -> None:
    root, commands = fake_book
    (root / "failing").touch()
    assert build.build(root) == 1
    assert len(commands) == 1


def test_a_command_is_run_and_its_time_remembered(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    seconds = tmp_path / "seconds.txt"
    command = [sys.executable, "-c", "import os, sys; sys.exit(int(os.environ['STATUS']))"]
    assert build.run_with_progress(command, {"STATUS": "3"}, seconds_file=seconds) == 3
    assert not seconds.exists()
    assert build.run_with_progress(command, {"STATUS": "0"}, seconds_file=seconds) == 0
    assert float(seconds.read_text()) < 20
    assert capfd.readouterr().out == ""


def test_another_python_is_refused_in_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 14, 0))
    with pytest.raises(SystemExit, match=r"Python 3\.11 to 3\.13 is needed"):
        environment.make_environment(tmp_path / "venv")


def test_pip_settings_reach_uv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", "/some/wheels")
    monkeypatch.delenv("UV_FIND_LINKS", raising=False)
    assert environment.installer_settings()["UV_FIND_LINKS"] == "/some/wheels"


def test_every_declared_dependency_is_pinned_exactly(root: Path) -> None:
    lines = [line for line in (root / "requirements.txt").read_text().splitlines() if line and line[0] != "#"]
    pins = [re.fullmatch(r"([a-z0-9._-]+)==[^ ;+]+(; .+)?", line) for line in lines]
    assert all(pins), [line for line, pin in zip(lines, pins, strict=True) if not pin]
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    declared = [
        *project["dependencies"],
        *(d for extra in project["optional-dependencies"].values() for d in extra),
    ]
    names = {re.split(r"[<>=!~\[; ]", name)[0] for name in declared}
    assert names - {pin.group(1) for pin in pins if pin} == set()


def test_colab_keeps_its_own_packages(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    assert not any(d.startswith("torch") for d in project["dependencies"])
    assert all(re.fullmatch(r"[a-z-]+>=[\d.]+", d) for d in project["dependencies"]), "lower bounds only"
