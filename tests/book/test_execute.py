"""Pages run side by side, into the cache of which the site is built; a page that fails is named, with its traceback."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from joblib.externals.loky.process_executor import TerminatedWorkerError

from coursekit.book.execute import execute, pages_with_code

FRONT = "---\njupytext: {text_representation: {format_name: myst}}\nkernelspec: {name: python3}\n---\n\n# Chapter\n"
MEET = """
import pathlib, time
here = pathlib.Path({folder!r})
(here / "{mine}").touch()
for _ in range(600):
    if (here / "{other}").exists():
        break
    time.sleep(0.05)
print("{mine}" + " met " * (here / "{other}").exists() + "{other}")
"""


@pytest.fixture
def book(tmp_path: Path) -> Path:
    """Return a book of a plain page, a chapter with code, and a lab; the last two wait for each other."""
    (tmp_path / "_config.yml").write_text(
        "title: Tiny\nonly_build_toc_files: true\n"
        "execute: {execute_notebooks: cache, cache: cache, timeout: 60, raise_on_error: true, run_in_temp: true}\n"
    )
    (tmp_path / "_toc.yml").write_text(
        "format: jb-book\nroot: index\nchapters: [{file: chapter}, {file: lab}]\n"
    )
    (tmp_path / "index.md").write_text("# Plain\n\n```python\nprint(1)\n```\n")
    meet = MEET.format(folder=str(tmp_path), mine="chapter", other="lab")
    (tmp_path / "chapter.md").write_text(f"{FRONT}\n```{{code-cell}} ipython3\n{meet}```\n")
    (tmp_path / "other.md").write_text(f"{FRONT}\n```{{code-cell}} ipython3\n1 / 0\n```\n")
    write_lab(tmp_path, MEET.format(folder=str(tmp_path), mine="lab", other="chapter"))
    return tmp_path


def write_lab(folder: Path, source: str) -> None:
    cells = [nbformat.v4.new_markdown_cell("# Lab", id="title"), nbformat.v4.new_code_cell(source, id="code")]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), folder / "lab.ipynb")


def test_labs_come_first_and_pages_without_code_not_at_all(book: Path) -> None:
    assert [page.name for page, _ in pages_with_code(book)] == ["lab.ipynb", "chapter.md"]


def test_pages_run_at_the_same_time_and_the_site_takes_their_outputs(
    book: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert execute(book, n_workers=2) == 0
    assert "[book] 2 of 2: " in capfd.readouterr().out
    for mark in ("lab", "chapter"):
        (book / mark).unlink()
    jupyter_book = Path(sys.executable).parent / "jupyter-book"
    built = subprocess.run(
        [str(jupyter_book), "build", "-W", "-n", "--keep-going", str(book)],
        cwd=book,
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    assert not (book / "lab").exists(), "jupyter-book ran the lab again"
    assert not (book / "chapter").exists(), "jupyter-book ran the chapter again"
    html = book / "_build" / "html"
    assert "chapter met lab" in (html / "chapter.html").read_text()
    assert "lab met chapter" in (html / "lab.html").read_text()
    assert execute(book) == 0
    assert capfd.readouterr().out == "", "a page that is in the cache ran again"


def test_a_failing_page_is_named_and_the_others_are_kept(
    book: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_lab(book, "limit = 0\n1 / limit")
    book.joinpath("lab").touch()
    assert execute(book, n_workers=1) == 1
    printed = capfd.readouterr()
    assert "lab.ipynb FAILED" in printed.out
    assert "chapter.md done" in printed.out
    assert "1 / limit" in printed.err
    assert "ZeroDivisionError" in printed.err
    assert execute(book) == 1
    assert capfd.readouterr().out.count("[book]") == 1


def test_a_process_that_is_killed_ends_the_work_at_once(book: Path) -> None:
    write_lab(book, "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)")
    with pytest.raises(TerminatedWorkerError):
        execute(book, n_workers=2)


def test_control_c_ends_the_work_at_once(book: Path) -> None:
    write_lab(book, f"import pathlib, time\npathlib.Path({str(book)!r}, 'lab').touch()\ntime.sleep(55)")
    process = subprocess.Popen(
        [sys.executable, "-m", "coursekit.book.execute", str(book)],
        start_new_session=True,
        stderr=subprocess.DEVNULL,
        # a shell that runs the tests in the background ignores control-C, and so would what they start
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    until = time.monotonic() + 60
    while not (book / "lab").exists() and time.monotonic() < until:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    try:
        assert process.wait(timeout=30) != 0
    finally:
        process.kill()


def test_a_cell_has_the_seconds_of_the_configuration(book: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config = book / "_config.yml"
    config.write_text(config.read_text().replace("timeout: 60", "timeout: 1"))
    write_lab(book, "import time\ntime.sleep(30)")
    book.joinpath("lab").touch()
    assert execute(book) == 1
    assert "CellTimeoutError" in capfd.readouterr().err
