"""The freshness page says how each lab ran last, and no run is ever lost."""

import subprocess
from pathlib import Path

import nbformat
import pytest

from coursekit.book import freshness
from coursekit.lab.session import LABS

LABS_HERE = sorted((Path(__file__).resolve().parents[2] / "labs").glob("[0-9][0-9]_*.ipynb"))
A_RUN = dict.fromkeys(freshness.COLUMNS, "") | {
    "lab": "05_grokking", "preset": "smoke", "outcome": "passed", "minutes": "0.4", "memory_gb": "0.6",
    "date": "2026-11-22", "hardware": "a CPU, 2 cores, no GPU", "commit": "0123456789abcdef", "python": "3.11.7",
}  # fmt: skip


@pytest.fixture
def course(tmp_path: Path) -> Path:
    """Return a folder with two labs, of which the first fails."""
    cells = {"01_broken": "1 / 0", "02_whole": "room = bytearray(1_500_000_000); print(preset)"}
    for name, code in cells.items():
        settings = nbformat.v4.new_code_cell("preset = None", metadata={"tags": ["parameters"]})
        lab = nbformat.v4.new_notebook(cells=[settings, nbformat.v4.new_code_cell(code, id="work")])
        lab.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        (tmp_path / "labs").mkdir(exist_ok=True)
        nbformat.write(lab, tmp_path / "labs" / f"{name}.ipynb")
    return tmp_path


def test_the_committed_page_is_what_the_rows_say(root: Path) -> None:
    committed = (root / freshness.PAGE).read_text(encoding="utf-8")
    assert committed == freshness.page(freshness.read_rows(root)), "run: python -m coursekit.book.freshness"


@pytest.mark.parametrize("preset", ["smoke", "laptop"])
@pytest.mark.parametrize("lab", LABS_HERE, ids=lambda file: file.stem)
def test_every_lab_was_run(root: Path, lab: Path, preset: str) -> None:
    rows = freshness.read_rows(root)
    runs = rows[(rows["lab"] == lab.stem) & (rows["preset"] == preset)]
    assert len(runs), f"run: make freshness PRESET={preset} LABS={lab.stem}"


def test_a_failing_lab_is_a_row_and_the_next_one_runs(course: Path) -> None:
    notebooks = {file: file.read_bytes() for file in (course / "labs").iterdir()}
    assert freshness.main(["--preset", "smoke"], course) == 1
    broken, whole = freshness.read_rows(course).to_dict("records")
    assert broken["outcome"] == "failed: cell work, ZeroDivisionError: division by zero"
    assert whole["outcome"] == "passed"
    assert (
        1.5 <= float(whole["memory_gb"]) < 2.0
    )  # of the kernel; no child shows less than this process holds, 1 GB
    assert float(broken["memory_gb"]) < float(whole["memory_gb"]) - 0.3
    assert "ZeroDivisionError" in (course / freshness.PAGE).read_text()
    assert {file: file.read_bytes() for file in (course / "labs").iterdir()} == notebooks


def test_a_notebook_that_was_cut_off_gives_its_last_words(tmp_path: Path) -> None:
    done = tmp_path / "done.ipynb"
    assert freshness._reason(done, ["one", "Killed"]) == "Killed"
    done.write_text('{"cells": [')
    assert freshness._reason(done, []) == "nothing was said"


def test_what_was_run_before_an_interruption_stays(course: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(notebook: Path, preset: str) -> dict[str, str]:
        if notebook.stem == "02_whole":
            raise KeyboardInterrupt
        return A_RUN | {"lab": notebook.stem, "preset": preset}

    monkeypatch.setattr(freshness, "run_lab", run)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            freshness.main(["--preset", "laptop"], course)
    assert freshness.read_rows(course)["lab"].tolist() == ["01_broken"] * 2


def test_its_own_table_is_no_change_to_what_was_run(course: Path) -> None:
    def git(*words: str) -> None:
        who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(["git", "-C", str(course), *who, *words], check=True, capture_output=True)

    freshness.add_row(course, A_RUN)
    assert freshness._commit(course, "abc-dirty") == "abc-dirty"  # not a checkout
    git("init")
    git("add", ".")
    git("commit", "-m", "all")
    freshness.add_row(course, A_RUN)
    assert freshness._commit(course, "abc-dirty") == "abc"
    (course / "labs" / "01_broken.ipynb").write_text("other")
    assert freshness._commit(course, "abc-dirty") == "abc-dirty"


def test_the_last_run_of_each_preset_is_shown_beside_what_was_expected(course: Path) -> None:
    runs = [{}, {"preset": "laptop", "minutes": "2.5"}, {"minutes": "0.9", "commit": "feedbeef00-dirty"}]
    for run in runs:
        freshness.add_row(course, A_RUN | run)
    page = (course / freshness.PAGE).read_text()
    smoke, laptop = [line for line in page.splitlines() if line.startswith("| [5: grokking]")]
    assert f"| 0.9 ({LABS['grokking'].costs['smoke'].minutes:g} expected) |" in smoke
    assert "`feedbeef00` with changes" in smoke
    assert "| laptop | passed | 2.5 (" in laptop
    assert len(freshness.read_rows(course)) == 3
    assert page.count("a CPU, 2 cores, no GPU; Python 3.11.7") == 1
    assert "No lab has been run on a GPU" in page


def test_a_foreign_table_is_refused_and_left_alone(course: Path) -> None:
    file = course / freshness.ROWS
    file.parent.mkdir()
    file.write_text("lab,minutes\n05_grokking,3\n")
    with pytest.raises(ValueError, match="to have the columns lab, preset, outcome"):
        freshness.add_row(course, A_RUN)
    assert file.read_text() == "lab,minutes\n05_grokking,3\n"


def test_an_unknown_lab_is_named(course: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        freshness.main(["--preset", "smoke", "--labs", "02_whole,5"], course)
    assert "there is no lab 5; choose among 01_broken, 02_whole" in capsys.readouterr().err
