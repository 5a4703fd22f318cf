"""Run the pages that have code, several at a time, into the cache from which the site is then built.

``python -m coursekit.book.execute ROOT`` is the first step of `coursekit.book.build`. jupyter-book, the second, finds
every page in the cache; alone it would run one after the other.
"""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from joblib import cpu_count
from joblib.externals.loky import ProcessPoolExecutor, as_completed
from jupyter_cache import get_cache
from jupyter_cache.executors.basic import ExecutionWorkerTempMProc, ProcessData
from jupyter_cache.readers import DEFAULT_READ_DATA
from myst_nb.core.read import is_myst_markdown_notebook
from sphinx_external_toc.parsing import parse_toc_yaml

from coursekit.book.kernels import OwnPorts

MYST_READ_DATA = {"type": "plugin", "name": "myst_nb_md"}


def pages_with_code(root: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """Find the pages of the book that have code: labs, and chapters that begin as a MyST notebook.

    Parameters
    ----------
    root : Path
        The repository's folder, which holds ``_toc.yml``.

    Yields
    ------
    tuple of Path and dict
        The file, and how jupyter-cache reads it. Labs come first, since they take longest.
    """
    names = list(parse_toc_yaml(root / "_toc.yml"))
    for lab in (root / f"{name}.ipynb" for name in names):
        if lab.is_file():
            yield lab, dict(DEFAULT_READ_DATA)
    for page in (root / f"{name}.md" for name in names):
        if page.is_file() and is_myst_markdown_notebook(page.read_text(encoding="utf-8")):
            yield page, MYST_READ_DATA


def execute(root: Path, *, n_workers: int | None = None) -> int:
    """Run every page with code that is not in the cache.

    Parameters
    ----------
    root : Path
        The repository's folder, which holds ``_config.yml``: its ``execute`` says where the cache is, and the seconds
        that a cell may take.
    n_workers : int, optional
        Pages at a time. Default: one a core.

    Returns
    -------
    int
        0 when every page ran to its end, else 1, after a warning with the traceback of each that did not.

    Raises
    ------
    joblib.externals.loky.process_executor.TerminatedWorkerError
        If one of the processes was killed, as happens where memory is short.
    """
    settings: dict[str, Any] = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))["execute"]
    cache = get_cache(root / settings["cache"])
    pages = [cache.add_nb_to_project(str(page), read_data=how).uri for page, how in pages_with_code(root)]
    missing = sorted(cache.list_unexecuted(filter_uris=pages), key=lambda record: pages.index(record.uri))
    jobs = [ProcessData(record.pk, record.uri, cache, settings["timeout"], False) for record in missing]
    if not jobs:
        return 0
    start = time.monotonic()
    # multiprocessing.Pool would wait for ever when a process of its own is killed
    pool = ProcessPoolExecutor(n_workers or cpu_count(), initializer=OwnPorts.instance)
    statuses = []
    try:
        for ended in as_completed([pool.submit(ExecutionWorkerTempMProc(), job) for job in jobs]):
            status, page = ended.result()
            statuses.append(status)
            print(
                f"[book] {len(statuses)} of {len(jobs)}: {Path(page).relative_to(root)} "
                f"{'FAILED' if status else 'done'} after {time.monotonic() - start:.0f} s",
                flush=True,
            )
    finally:
        pool.shutdown(kill_workers=True)
    return int(any(statuses))


if __name__ == "__main__":
    sys.exit(execute(Path(sys.argv[1])))
