"""One setting names the repository, and one command changes it everywhere."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from coursekit.book import adopt
from coursekit.book.repository import address


@pytest.fixture
def copy(root: Path, tmp_path: Path) -> Path:
    """Return a copy of every file that could spell the address out."""
    for name in ("chapters", "labs", "src/coursekit/book"):
        if (root / name).is_dir():
            shutil.copytree(root / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for file in (*root.glob("*.md"), root / "_config.yml", root / "pyproject.toml"):
        shutil.copy(file, tmp_path)
    return tmp_path


def spelled(folder: Path, name: str) -> list[Path]:
    """Return the files in which a repository's name stands."""
    files = (f for f in folder.rglob("*") if f.is_file() and f.suffix in (".md", ".yml", ".toml", ".ipynb"))
    return sorted(f.relative_to(folder) for f in files if name in f.read_text(encoding="utf-8"))


def test_adopt_changes_every_place_once(copy: Path) -> None:
    old = address(copy)
    places = spelled(copy, old)
    assert Path("_config.yml") in places
    assert Path("README.md") in places
    changed = adopt("ada/grokking-course", copy)
    assert sorted(f.relative_to(copy) for f in changed) == places
    assert address(copy) == "ada/grokking-course"
    assert spelled(copy, old) == []
    assert spelled(copy, "ada/grokking-course") == places


def test_adopt_twice_changes_nothing_more(copy: Path) -> None:
    adopt("ada/grokking-course", copy)
    assert adopt("ada/grokking-course", copy) == []


def test_adopt_and_back_restores_every_file(copy: Path) -> None:
    before = {f: f.read_bytes() for f in copy.rglob("*") if f.is_file()}
    old = address(copy)
    adopt("ada/x", copy)
    adopt(old, copy)
    assert {f: f.read_bytes() for f in copy.rglob("*") if f.is_file()} == before


def test_a_longer_name_is_left_alone(copy: Path) -> None:
    adopt("ada/course", copy)
    (copy / "README.md").write_text(
        "https://github.com/ada/course-notes and https://github.com/ada/course.\n"
    )
    adopt("bob/fork", copy)
    assert (copy / "README.md").read_text() == (
        "https://github.com/ada/course-notes and https://github.com/bob/fork.\n"
    )


@pytest.mark.parametrize(
    "given", ["https://github.com/ada/course", "github.com/ada/course/", "ada/course.git"]
)
def test_an_address_is_as_good_as_a_name(copy: Path, given: str) -> None:
    adopt(given, copy)
    assert address(copy) == "ada/course"


@pytest.mark.parametrize("given", ["", "course", "ada/course/labs", "ada course", "-ada/course", "ada/"])
def test_bad_input_gets_one_sentence(copy: Path, given: str) -> None:
    run = subprocess.run(
        [sys.executable, "src/coursekit/book/repository.py", given], cwd=copy, capture_output=True, text=True
    )
    assert run.returncode == 2
    assert run.stdout == ""
    assert run.stderr.count("\n") == 1
    assert "OWNER/NAME" in run.stderr
    assert repr(given) in run.stderr


def test_a_folder_without_configuration_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"_config\.yml does not exist"):
        adopt("ada/course", tmp_path)
