"""The freshness page: when each lab last ran at each preset, on what, and what it took.

``python -m coursekit.book.freshness --preset smoke`` runs every lab with papermill and adds a row for each to
``chapters/freshness.csv``; ``--labs 05_grokking,02_scaling_laws`` runs only these. Without ``--preset`` nothing runs.
Either way ``chapters/freshness.md`` is written from the rows. A lab that fails is a row like any other, and the next
one runs; rows are kept for ever, and each is on the disk before the next lab begins.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pandas as pd

from coursekit.book.evidence import machine
from coursekit.lab.session import LABS, PRESETS
from coursekit.results import atomic_write, finish, new_header, version

PAGE, ROWS = Path("chapters/freshness.md"), Path("chapters/freshness.csv")
COLUMNS = (
    *("lab", "preset", "outcome", "minutes", "memory_gb", "date", "hardware", "commit"),
    *("python", "torch", "transformers", "plotly"),
)
CELL_SECONDS = 3600
"""A cell that takes longer has failed."""

_INTRODUCTION = """\
# Freshness: the last run of each lab

Every lab, from its first cell to its last, at each preset at which it was run in this way: the last time counts.
*Expected* is what the lab says of itself when it starts. Memory is that of the largest process, as a rule the
notebook's own.
`make freshness` runs the labs again and writes this page; all runs, also earlier ones, are rows of
[this table](freshness.csv). Minutes depend on what else the machine was doing.

GitHub runs the labs every week in Colab's public image, and opens an issue when one breaks (see the
workflow *Labs in Colab*); those runs are not in the table.
"""


def run_lab(notebook: Path, preset: str) -> dict[str, str]:
    """Run a lab from top to bottom in a process of its own.

    Parameters
    ----------
    notebook : Path
        Such as ``labs/05_grokking.ipynb``; it stays as it is.
    preset : str

    Returns
    -------
    dict
        A row with `COLUMNS`, all of them text. `outcome` is "passed", or "failed: " with the cell and its error.

    Notes
    -----
    The student's folder is a temporary one, so that nobody's progress or predictions are touched.
    """
    header = new_header(notebook.stem.partition("_")[2], preset, {}, None)
    with tempfile.TemporaryDirectory() as folder:
        done, log = Path(folder, "done.ipynb"), Path(folder, "log")
        command = [sys.executable, "-m", "papermill", str(notebook.resolve()), str(done), "--cwd", folder]
        command += (
            f"-p preset {preset} -k python3 --no-progress-bar --execution-timeout {CELL_SECONDS}".split()
        )
        settings = os.environ | {"COURSEKIT_HOME": folder, "COURSEKIT_PRESET": preset}
        with log.open("wb") as output:
            process = subprocess.Popen(command, env=settings, stdout=output, stderr=output)
            try:
                _, status, usage = os.wait4(process.pid, 0)
            except BaseException:
                process.terminate()
                raise
        process.returncode = os.waitstatus_to_exitcode(status)  # wait4 has told; Popen need not ask again
        said = log.read_text(errors="replace").strip().splitlines()
        outcome = f"failed: {_reason(done, said)}" if process.returncode else "passed"
    # Of the largest of papermill and its descendants, the notebook's kernel among them: bytes on macOS, KiB on Linux
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {
        "lab": notebook.stem,
        "preset": preset,
        "outcome": outcome,
        "minutes": f"{finish(header).wall_seconds / 60:.1f}",
        "memory_gb": f"{peak / 1e9:.1f}",
        "date": header.started[:10],
        "hardware": _hardware(),
        "commit": header.git_commit or "",
        "python": header.versions["python"] or "",
        **{name: version(name) or "" for name in ("torch", "transformers", "plotly")},
    }


def _commit(root: Path, commit: str) -> str:
    """Leave "-dirty" out where nothing has changed but this module's own table and page."""
    status = ["git", "-C", str(root), "status", "--porcelain", "--untracked-files=no"]
    told = subprocess.run(status, capture_output=True, text=True, check=False)
    if told.returncode or {line[3:] for line in told.stdout.splitlines()} - {str(ROWS), str(PAGE)}:
        return commit
    return commit.removesuffix("-dirty")


@cache
def _hardware() -> str:
    """Ask a process of its own: a child begins with the memory of its parent, so this one must not load torch."""
    ask = """
import contextlib, json
from coursekit.results import hardware
with contextlib.suppress(ImportError):
    import torch  # which knows of a GPU
print(json.dumps(hardware()))
"""
    said = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    return machine(json.loads(said.stdout))


def _reason(done: Path, said: Sequence[str]) -> str:
    """Say in one line which cell failed and how; of a notebook that was not written, the last line that was said."""
    try:
        cells = json.loads(done.read_text(encoding="utf-8"))["cells"]
    except (FileNotFoundError, ValueError):  # papermill died before, or while, it wrote the notebook
        cells = []
    for cell in cells:
        if cell["metadata"].get("papermill", {}).get("exception"):
            errors = [f"{o['ename']}: {o['evalue']}" for o in cell["outputs"] if o["output_type"] == "error"]
            return " ".join(f"cell {cell.get('id')}, {' '.join(errors)}".split())[:200]
    return " ".join((said[-1] if said else "nothing was said").split())[:200]


def read_rows(root: Path) -> pd.DataFrame:
    """Read all runs of the labs of a checkout, the earliest first; all values are text.

    Raises
    ------
    ValueError
        If the table has other columns than `COLUMNS`.
    """
    file = root / ROWS
    if not file.is_file():
        return pd.DataFrame(columns=COLUMNS, dtype=str)
    rows = pd.read_csv(file, dtype=str, keep_default_na=False)
    if tuple(rows) != COLUMNS:
        raise ValueError(
            f"expected {file} to have the columns {', '.join(COLUMNS)}; got {', '.join(map(str, rows))}"
        )
    return rows


def add_row(root: Path, row: dict[str, str]) -> None:
    """Add a run to the table and write the page; whatever happens, all earlier rows stay.

    Raises
    ------
    OSError
        If the files cannot be written.
    """
    rows = pd.concat([read_rows(root), pd.DataFrame([row], columns=COLUMNS)])
    atomic_write(root / ROWS, rows.to_csv(index=False, lineterminator="\n").encode())
    atomic_write(root / PAGE, page(rows).encode())


def page(rows: pd.DataFrame) -> str:
    """Write the page as Markdown.

    Parameters
    ----------
    rows : DataFrame
        As `read_rows` reads them.

    Returns
    -------
    str
        The last run of each lab and preset, then on what they were run.
    """
    last: list[dict[str, str]] = [
        {str(name): str(value) for name, value in one.items()}
        for one in rows.groupby(["lab", "preset"]).tail(1).to_dict("records")
    ]
    last.sort(key=lambda one: (one["lab"], PRESETS.index(one["preset"])))
    places = {where: chr(ord("A") + i) for i, where in enumerate(dict.fromkeys(map(_place, last)))}
    table = ["| Lab | Preset | Result | Minutes | Memory | Date | On |", "|---|---|---|---|---|---|---|"]
    for one in last:
        number, stem = one["lab"].split("_", 1)
        cost = LABS[stem].costs.get(one["preset"]) if stem in LABS else None
        expected = (f" ({cost.minutes:g} expected)", f" ({cost.memory_gb:g})") if cost else ("", "")
        commit, _, changed = one["commit"].partition("-")
        cells = [
            f"[{int(number)}: {stem.replace('_', ' ')}](../labs/{one['lab']}.ipynb)",
            one["preset"],
            one["outcome"].replace("|", "/").replace("<", "&lt;"),
            one["minutes"] + expected[0],
            f"{one['memory_gb']} GB{expected[1]}",
            f"{one['date']}, `{commit[:10]}`" + (" with changes" if changed else ""),
            places[_place(one)],
        ]
        table.append(f"| {' | '.join(cells)} |")
    where = [f"- **{letter}**: {place}" for place, letter in places.items()]
    on_gpu = any("no GPU" not in one["hardware"] for one in last)
    gaps = "A preset without a row has not been run in this way." + (
        ""
        if on_gpu
        else " No lab has been run on a GPU in this way yet, so the times of `colab` are not measured."
    )
    return "\n".join([_INTRODUCTION, *table, "", *where, "", gaps, ""])


def _place(one: dict[str, str]) -> str:
    """Hardware and versions of a row."""
    tools = ("Python", "torch", "transformers", "plotly")
    return f"{one['hardware']}; " + ", ".join(
        f"{tool} {one[tool.lower()]}" for tool in tools if one[tool.lower()]
    )


def main(words: Sequence[str], root: Path) -> int:
    """Run labs, if a preset is named, and write the page.

    Parameters
    ----------
    words : sequence of str
        The options, see above.
    root : Path
        The folder that holds ``labs`` and ``chapters``.

    Returns
    -------
    int
        The exit status: 0, 1 if a lab failed.
    """
    parser = argparse.ArgumentParser(prog="python -m coursekit.book.freshness", description="Run the labs.")
    parser.add_argument(
        "--preset", choices=PRESETS, help="at which to run them; without it only the page is written"
    )
    parser.add_argument("--labs", metavar="05_grokking,...", help="some of them only")
    asked = parser.parse_args(words)
    known = {file.stem: file for file in sorted((root / "labs").glob("[0-9][0-9]_*.ipynb"))}
    names = asked.labs.split(",") if asked.labs else list(known)
    if unknown := [name for name in names if name not in known]:
        parser.error(f"there is no lab {', '.join(unknown)}; choose among {', '.join(known)}")
    failed = 0
    for name in names if asked.preset else ():
        print(f"{name} at {asked.preset} ...", flush=True)
        row = run_lab(known[name], asked.preset)
        add_row(root, row | {"commit": _commit(root, row["commit"])})
        failed += row["outcome"] != "passed"
        print(f"{name}: {row['outcome']}, {row['minutes']} minutes, {row['memory_gb']} GB", flush=True)
    atomic_write(root / PAGE, page(read_rows(root)).encode())
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], Path.cwd()))
