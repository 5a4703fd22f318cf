"""Build the site: ``python -m coursekit.book.build``, from the repository root.

Every lab and every page with code is executed once at the laptop preset, one page a core, and kept in a cache,
which is thrown away when the package's source or a pinned version changes: the cache itself only notices changed cells.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

BOOK_FILES = ("_config.yml", "_toc.yml", "references.bib")
BOOK_FOLDERS = ("chapters", "labs")
SETTINGS = {
    "COURSEKIT_PRESET": "laptop",
    "OMP_NUM_THREADS": "1",  # a page a core
    "PLOTLY_RENDERER": "plotly_mimetype",  # JSON, drawn by plotly_figures.js: the script is not in every page
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
}


def hash_files(files: list[Path], *, salt: str = "") -> str:
    """Return one hash over the names and the contents of files.

    Parameters
    ----------
    files : list of Path
        Files to read; those that do not exist count as absent.
    salt : str
        Anything else that the hash has to depend on.

    Returns
    -------
    str
        64 hexadecimal digits.

    Examples
    --------
    >>> hash_files([]) == hash_files([], salt="laptop")
    False
    """
    digest = hashlib.sha256(salt.encode())
    for file in sorted(files):
        digest.update(f"\0{file}\0".encode())
        if file.is_file():
            digest.update(file.read_bytes())
    return digest.hexdigest()


def files_under(*folders: Path) -> list[Path]:
    """Return all files below some folders, without caches.

    Parameters
    ----------
    *folders : Path
        Where to look; a folder that does not exist holds no files.

    Returns
    -------
    list of Path
        The files, in no particular order.
    """
    skip = ("__pycache__", ".ipynb_checkpoints")
    return [f for d in folders for f in d.rglob("*") if f.is_file() and not set(skip) & set(f.parts)]


def build(root: Path) -> int:
    """Build the site of one checkout into ``_build/html``.

    Parameters
    ----------
    root : Path
        The repository's folder, which holds ``_config.yml``.

    Returns
    -------
    int
        0 when there was no warning and no failing cell, else the exit status of the step that failed.
    """
    start = time.monotonic()
    out, html = root / "_build", root / "_build" / "html"
    code = hash_files(
        [*files_under(root / "src" / "coursekit"), root / "requirements.txt"],
        salt=repr(sorted(SETTINGS.items())),
    )
    pages = [*files_under(*(root / name for name in BOOK_FOLDERS)), *(root / name for name in BOOK_FILES)]
    everything = hash_files(pages, salt=code)
    code_stamp, site_stamp = out / "code.stamp", out / "site.stamp"
    if (html / "index.html").is_file() and site_stamp.is_file() and site_stamp.read_text() == everything:
        say("nothing changed since the last build")
        return done(html)
    site_stamp.unlink(missing_ok=True)
    if not code_stamp.is_file() or code_stamp.read_text() != code:
        say("the package or its pinned versions changed: every page with code runs again")
        for stale in (out / ".jupyter_cache", out / "jupyter_execute", out / ".doctrees", html):
            shutil.rmtree(stale, ignore_errors=True)
        out.mkdir(exist_ok=True)
        code_stamp.write_text(code)
    preset = SETTINGS["COURSEKIT_PRESET"]
    say(f"running the labs at the {preset} preset and building the site")
    home = out / "home"  # progress and predictions of a student who has not started
    shutil.rmtree(home, ignore_errors=True)
    steps = {
        "pages": [sys.executable, "-m", "coursekit.book.execute", str(root)],
        "site": [
            str(Path(sys.executable).parent / "jupyter-book"),
            "build",
            "-W",
            "-n",
            "--keep-going",
            str(root),
        ],
    }
    settings = {**os.environ, **SETTINGS, "COURSEKIT_HOME": str(home)}
    for step, command in steps.items():
        status = run_with_progress(command, settings, seconds_file=out / f"{step}_seconds.txt")
        if status:
            break
    if status:
        say(f"the build FAILED after {time.monotonic() - start:.0f} s: see the warnings above")
        return status
    site_stamp.write_text(everything)
    say(f"built in {time.monotonic() - start:.0f} s")
    return done(html)


def run_with_progress(command: list[str], settings: dict[str, str], *, seconds_file: Path) -> int:
    """Run a command, say every 20 seconds how long it has taken, and remember how long it took in the end.

    Parameters
    ----------
    command : list of str
        The program and its arguments.
    settings : dict
        Its environment variables.
    seconds_file : Path
        Holds the seconds that the last successful run took, which is the estimate for this one.

    Returns
    -------
    int
        The command's exit status.
    """
    start = time.monotonic()
    before = f", the last time took {seconds_file.read_text()} s" if seconds_file.is_file() else ""
    process = subprocess.Popen(command, env=settings)
    while True:
        try:
            status = process.wait(timeout=20)
            break
        except subprocess.TimeoutExpired:
            say(f"at work for {time.monotonic() - start:.0f} s{before}")
    if status == 0:
        seconds_file.write_text(f"{time.monotonic() - start:.0f}")
    return status


def say(message: str) -> None:
    """Print one line of progress at once.

    Parameters
    ----------
    message : str
        What is happening.
    """
    print(f"[book] {message}", flush=True)


def done(html: Path) -> int:
    """Say where the site is.

    Parameters
    ----------
    html : Path
        The folder that holds ``index.html``.

    Returns
    -------
    int
        0, the exit status of a build that succeeded.
    """
    say(f"open {html / 'index.html'}")
    say("or run: make serve")
    return 0


if __name__ == "__main__":
    sys.exit(build(Path.cwd()))
