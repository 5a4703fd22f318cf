"""The progress file: whole or untouched, put aside when damaged, never in the way, nothing personal."""

import json
import sys
from pathlib import Path

import pytest

from coursekit import lab
from coursekit.lab import journal


def test_coursekit_home_decides(home):
    assert journal.progress_path() == home / "progress.json"


def test_without_coursekit_home_it_is_the_home_folder_and_in_colab_the_drive(monkeypatch, tmp_path):
    monkeypatch.delenv("COURSEKIT_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert journal.progress_path() == tmp_path / ".coursekit" / "progress.json"
    monkeypatch.setitem(sys.modules, "google.colab", object())
    monkeypatch.setattr(Path, "is_dir", lambda path: str(path) == "/content/drive/MyDrive")
    assert journal.progress_path() == Path("/content/drive/MyDrive/coursekit/progress.json")


def test_what_is_recorded_is_recalled_and_merged(home):
    journal.record("exercises", "grokking.one", attempts=1, passed=False)
    journal.record("exercises", "grokking.one", passed=True)
    assert journal.recall("exercises", "grokking.one") == {"attempts": 1, "passed": True}
    assert journal.recall("exercises", "grokking.two") == {}
    assert [file.name for file in home.iterdir()] == ["progress.json"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"exercises": {"a": {"att',
        b"\xff\xfe\x00",
        b"[1, 2]",
        b"null",
        b'{"exercises": {}}',
        b'{"exercises": [], "predictions": {}}',
        b'{"exercises": {"a": 3}, "predictions": {}}',
        b'{"exercises": {"a": {"attempts": "many"}}, "predictions": {}}',
    ],
)
def test_a_damaged_file_is_put_aside_and_a_new_one_begins(home, capsys, content):
    home.mkdir()
    (home / "progress.json").write_bytes(content)
    journal.record("exercises", "grokking.one", attempts=1, passed=True)
    assert journal.recall("exercises", "grokking.one") == {"attempts": 1, "passed": True}
    (aside,) = home.glob("progress.damaged-*.json")
    assert aside.read_bytes() == content
    assert f"It is kept as {aside}; a new one begins." in capsys.readouterr().out


@pytest.fixture
def unusable(home, monkeypatch):
    """Make the progress folder impossible: its parent is a file."""
    home.write_text("a file, not a folder")
    monkeypatch.setenv("COURSEKIT_HOME", str(home / "inside"))


@pytest.mark.usefixtures("unusable")
def test_a_folder_that_cannot_be_written_is_reported_and_not_raised(capsys):
    journal.record("exercises", "grokking.one", attempts=1)
    assert "(Your progress could not be saved: " in capsys.readouterr().out
    assert journal.recall("exercises", "grokking.one") == {}
    lab.progress()
    assert "Your progress could not be read: " in capsys.readouterr().out


def test_progress_shows_every_exercise_with_its_state(capsys):
    journal.record("exercises", "grokking.division_table", attempts=3, passed=True)
    journal.record("exercises", "grokking.answer_accuracy", attempts=1, passed=False)
    journal.record("predictions", "grokking.delay", answer=3000)
    lab.progress()
    *lines, total = capsys.readouterr().out.splitlines()
    states = {line.split()[1]: line[0] for line in lines}
    assert states.pop("grokking.division_table") == "✓"
    assert states.pop("grokking.answer_accuracy") == "✗"
    assert states.pop("grokking.delay") == "?"
    assert set(states.values()) == {"○"}
    assert [line.split()[1] for line in lines if "3 attempts" in line] == ["grokking.division_table"]
    assert total == f"1 of {len(lines) - 1} exercises passed, 1 predictions made."


def test_export_is_one_small_file_without_personal_data(tmp_path, home, capsys):
    journal.record("exercises", "grokking.one", attempts=2, passed=True)
    journal.record("predictions", "grokking.delay", answer=3000)
    path = lab.export_progress(tmp_path / "mine.json")
    assert json.loads(path.read_text()) == {
        "exercises": {"grokking.one": {"attempts": 2, "passed": True}},
        "predictions": {"grokking.delay": {"answer": 3000}},
    }
    assert str(path) in capsys.readouterr().out
    assert str(home) not in path.read_text()


def test_progress_of_one_week_counts_that_week_alone(capsys):
    journal.record("exercises", "grokking.division_table", passed=True, attempts=1)
    journal.record("predictions", "grokking.gap", value=3)
    journal.record("predictions", "elsewhere.gap", value=3)
    journal.progress("grokking")
    printed = capsys.readouterr().out.splitlines()
    assert all(" grokking." in line for line in printed[:-1])
    n_exercises = sum(line[0] in "✓✗○" for line in printed[:-1])
    assert printed[-1] == f"1 of {n_exercises} exercises passed, 1 predictions made."
    with pytest.raises(ValueError, match=r"no exercises of 'groking'; expected one of: .*grokking"):
        journal.progress("groking")
