"""Run records: rows of measurements, and a header that says where they come from.

A run is a folder with two files. `results.csv` is long: the experiment's key columns, then one metric and its
value per row. `run.json` is the header: configuration, seed, versions, hardware, wall time. Both are written
to a temporary file first and moved into place: an interrupted or failed write leaves the previous good file.
"""

import dataclasses
import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

KEYS: dict[str, tuple[str, ...]] = {
    "neural_networks": ("seed", "step", "split"),
    "scaling_laws": ("approach", "n_params", "n_tokens", "flops", "horizon", "seed"),
    "emergence": ("task", "n_params", "flops", "seed"),
    "inverse_scaling": ("model", "n_params", "n_tokens", "task", "effect"),
    "grokking": ("seed", "operation", "modulus", "train_fraction", "variant", "step"),
    "reversal_curse": ("seed", "study", "subset", "order", "step"),
    "reversal_dynamics": ("seed", "model", "split", "direction", "step"),
    "forecasting": ("quantity", "model", "n"),
}
"""The columns that identify a measurement, by experiment; in forecasting n is the one of `VALUE_COLUMNS`."""

VALUE_COLUMNS = ("metric", "value", "stderr", "n")
"""The columns of every experiment: `stderr` (standard error) and `n` (items measured) may be empty."""

_HEADER_FILE, _ROWS_FILE = "run.json", "results.csv"
_PACKAGE = Path(__file__).parent
# Before pandas 3.1 the default loses the last digit of a float; since then asking for exactness warns.
_OLD_PANDAS = tuple(map(int, pd.__version__.split(".")[:2])) < (3, 1)
_EXACT_FLOATS: dict[str, Any] = {"float_precision": "round_trip"} if _OLD_PANDAS else {}


@dataclass(frozen=True)
class Header:
    """Where the rows of a run come from.

    Attributes
    ----------
    experiment, preset : str
        For example "grokking" and "laptop".
    config : dict
        Every field of the configuration, as JSON holds it (tuples are lists).
    config_hash : str
        See `config_hash`.
    seed : int or None
        The seed asked for; None when the configuration lists several of its own.
    versions : dict
        Versions of coursekit, python, torch, transformers and numpy; None for what is not installed.
    git_commit : str or None
        Commit of the checkout that the package was imported from, with "-dirty" when files had changed;
        None when it was not imported from a checkout.
    hardware : dict
        cpu (model), cores (usable), memory_bytes, gpu (name, or None).
    started : str
        Start of the run, UTC, ISO 8601.
    wall_seconds : float
        Seconds of work. Before `finish`: those of earlier, interrupted sessions of the same run.
    peak_memory_bytes : int or None
        Largest resident memory of this process; None where the system does not tell.
    complete : bool
        Whether the run reached its end.
    """

    experiment: str
    preset: str
    config: dict[str, Any]
    config_hash: str
    seed: int | None
    versions: dict[str, str | None]
    git_commit: str | None
    hardware: dict[str, Any]
    started: str
    wall_seconds: float = 0.0
    peak_memory_bytes: int | None = None
    complete: bool = False


@dataclass(frozen=True, eq=False)
class Run:
    """The rows of a run with their header; `networks` is what it was asked to keep in memory only."""

    header: Header
    rows: pd.DataFrame
    networks: Sequence[Any] = ()


def columns(experiment: str) -> list[str]:
    """Key columns of an experiment, then value columns, each once.

    Parameters
    ----------
    experiment : str
        One of `KEYS`.

    Returns
    -------
    list of str

    Examples
    --------
    >>> columns("forecasting")
    ['quantity', 'model', 'n', 'metric', 'value', 'stderr']
    """
    return list(dict.fromkeys([*KEYS[experiment], *VALUE_COLUMNS]))


def config_hash(config: Any) -> str:
    """Name a configuration by the first 12 hexadecimal digits of the SHA-256 of its sorted JSON.

    Equal configurations have equal hashes in any process, whatever the order of their fields; 1 equals 1.0.

    Parameters
    ----------
    config : dataclass or mapping
        May nest dataclasses, mappings, lists and tuples of numbers, text and None.

    Returns
    -------
    str

    Raises
    ------
    TypeError
        If it holds anything else.

    Examples
    --------
    >>> config_hash({"modulus": 97, "learning_rate": 1e-3})
    '98fcb5c129dc'
    >>> config_hash({"learning_rate": 0.001, "modulus": 97.0})
    '98fcb5c129dc'
    """
    whole_numbers = json.loads(_to_json(config), parse_float=lambda text: _whole_to_int(float(text)))
    return hashlib.sha256(json.dumps(whole_numbers, sort_keys=True).encode()).hexdigest()[:12]


def row(
    keys: Mapping[str, Any],
    step: int | None,
    metric: str,
    value: float,
    stderr: float | None = None,
    n: int | None = None,
) -> dict[str, Any]:
    """One measurement as a row: the experiment's keys but for the step, the step if there is one, and `VALUE_COLUMNS`.

    Examples
    --------
    >>> row({"seed": 0}, 100, "val_loss", 0.5)
    {'seed': 0, 'step': 100, 'metric': 'val_loss', 'value': 0.5, 'stderr': None, 'n': None}
    >>> row({"task": "addition"}, None, "exact_match", 0.5, 0.05, 100)
    {'task': 'addition', 'metric': 'exact_match', 'value': 0.5, 'stderr': 0.05, 'n': 100}
    """
    at = {} if step is None else {"step": step}
    return {**keys, **at, "metric": metric, "value": float(value), "stderr": stderr, "n": n}


def mean_row(
    keys: Mapping[str, Any], step: int | None, metric: str, values: NDArray[np.floating[Any]]
) -> dict[str, Any]:
    """The mean of n measurements as a row, with its standard error s / √n; None for a single one.

    Examples
    --------
    >>> made = mean_row({"seed": 0}, 100, "val_loss", np.array([1.0, 3.0]))
    >>> made["value"], made["stderr"], made["n"]
    (2.0, 1.0, 2)
    """
    n = len(values)
    return row(
        keys, step, metric, values.mean(), float(values.std(ddof=1) / np.sqrt(n)) if n > 1 else None, n
    )


def matrix_rows(name: str, matrix: NDArray[np.floating[Any]]) -> list[tuple[str, float]]:
    """A matrix as metrics and values, `name[i,j]`, so that a run can carry it; four significant digits.

    Examples
    --------
    >>> matrix_rows("W", np.array([[1.0, 2.34567]]))
    [('W[0,0]', 1.0), ('W[0,1]', 2.346)]
    """
    return [(f"{name}[{i},{j}]", float(f"{value:.4g}")) for (i, j), value in np.ndenumerate(matrix)]


def stored_matrices(rows: pd.DataFrame, name: str) -> dict[int, NDArray[np.floating[Any]]]:
    """Step → the matrix that `matrix_rows` stored under a name.

    Raises
    ------
    ValueError
        If the rows carry no such matrix.

    Examples
    --------
    >>> rows = pd.DataFrame([{"step": 5, "metric": m, "value": v} for m, v in matrix_rows("W", np.eye(2))])
    >>> stored_matrices(rows, "W")[5].tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    places = rows["metric"].str.extract(rf"^{name}\[(\d+),(\d+)\]$").dropna().astype(int)
    if places.empty:
        raise ValueError(f"expected rows with a matrix {name}[i,j], got none; the run did not store one")
    found = {}
    for step, part in rows.loc[places.index].groupby("step"):
        at = places.loc[part.index]
        matrix = np.full((at[0].max() + 1, at[1].max() + 1), np.nan)
        matrix[at[0], at[1]] = part["value"]
        found[int(str(step))] = matrix
    return found


def new_header(experiment: str, preset: str, config: Any, seed: int | None) -> Header:
    """Describe a run that starts now, on this machine.

    Parameters
    ----------
    experiment, preset : str
    config : dataclass or mapping
        As for `config_hash`.
    seed : int or None

    Returns
    -------
    Header
        Not complete. For a run that is resumed, carry over the time spent with
        `dataclasses.replace(header, wall_seconds=previous.wall_seconds)`.
    """
    return Header(
        experiment=experiment,
        preset=preset,
        config=json.loads(_to_json(config)),
        config_hash=config_hash(config),
        seed=seed,
        versions={
            "python": platform.python_version(),
            **{name: version(name) for name in ("coursekit", "torch", "transformers", "numpy")},
        },
        git_commit=_git_commit(),
        hardware=hardware(),
        started=datetime.now(UTC).isoformat(),
    )


def finish(header: Header, complete: bool = True) -> Header:
    """Add what is known at the end of a run or at a checkpoint: wall time, peak memory, complete or not.

    Parameters
    ----------
    header : Header
        As `new_header` made it: finishing a finished header would count its time twice.
    complete : bool
        False at a checkpoint.

    Returns
    -------
    Header
    """
    elapsed = (datetime.now(UTC) - datetime.fromisoformat(header.started)).total_seconds()
    return dataclasses.replace(
        header,
        wall_seconds=header.wall_seconds + max(elapsed, 0.0),
        peak_memory_bytes=_peak_memory_bytes(),
        complete=complete,
    )


def write_run(folder: str | Path, header: Header, rows: pd.DataFrame) -> None:
    """Write `results.csv` and then `run.json` into a folder, which is made if it is missing.

    Parameters
    ----------
    folder : path
    header : Header
    rows : DataFrame
        The experiment's key columns and `VALUE_COLUMNS`, in any order. Values are kept exactly (float64).

    Raises
    ------
    ValueError
        If columns are missing or foreign.
    OSError
        If the files cannot be written; the previous ones are then left as they were.
    """
    _write(Path(folder) / _HEADER_FILE, Path(folder) / _ROWS_FILE, header, rows)


def read_run(folder: str | Path) -> Run:
    """Read the folder of a run.

    Parameters
    ----------
    folder : path

    Returns
    -------
    Run

    Raises
    ------
    ValueError
        If a file is missing or damaged, or if columns are missing or foreign.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> keys = dict(seed=0, operation="div", modulus=97, train_fraction=0.5, variant="adamw", step=100)
    >>> rows = pd.DataFrame([{**keys, "metric": "val_accuracy", "value": 0.1, "stderr": 0.01, "n": 900}])
    >>> write_run(folder, finish(new_header("grokking", "smoke", {"max_steps": 100}, seed=0)), rows)
    >>> run = read_run(folder)
    >>> run.header.complete, float(run.rows["value"][0])
    (True, 0.1)
    """
    return _read(Path(folder) / _HEADER_FILE, Path(folder) / _ROWS_FILE)


def claim(folder: str | Path, header: Header, resume: bool) -> Header:
    """Take a folder for a run, or go on with the run in it.

    A folder that is taken holds a header, not complete, and no rows; it is then known to be writable.

    Parameters
    ----------
    folder : path
    header : Header
        As `new_header` made it.
    resume : bool
        Whether to go on with a run of the same config that is there already.

    Returns
    -------
    Header
        The one to go on with: of a resumed run it carries the time spent before.

    Raises
    ------
    ValueError
        If the folder holds a run and `resume` is False, or holds a run of another config.
    OSError
        If the folder cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> claim(folder, new_header("grokking", "smoke", {"max_steps": 100}, seed=0), resume=False).complete
    False
    >>> claim(folder, new_header("grokking", "smoke", {"max_steps": 200}, seed=0), resume=True)
    Traceback (most recent call last):
    ...
    ValueError: expected a run of config ... in ..., got one of ...; choose another folder, ...
    """
    folder = Path(folder)
    if not resume and ((folder / _HEADER_FILE).exists() or (folder / "checkpoints").exists()):
        raise ValueError(
            f"{folder} holds a run already; go on with it by resume (--resume), or choose another folder"
        )
    if not (folder / _HEADER_FILE).exists():
        write_run(folder, header, pd.DataFrame(columns=columns(header.experiment)))
        return header
    before = read_run(folder).header
    if before.config_hash != header.config_hash:
        raise ValueError(
            f"expected a run of config {header.config_hash} in {folder}, got one of {before.config_hash}; "
            "choose another folder, or the preset and seed that it was started with"
        )
    return dataclasses.replace(header, wall_seconds=before.wall_seconds)


def write_measured(experiment: str, name: str, header: Header, rows: pd.DataFrame) -> None:
    """Keep a run with the package: `experiments/<experiment>/measured/<name>.json` and `.csv`.

    Parameters and errors are those of `write_run`.
    """
    folder = _measured_folder(experiment)
    _write(folder / f"{name}.json", folder / f"{name}.csv", header, rows)


def read_measured(experiment: str, name: str) -> Run:
    """Read a run that is kept with the package.

    Parameters
    ----------
    experiment, name : str
        `list_measured` tells the names.

    Returns
    -------
    Run

    Raises
    ------
    ValueError
        If there is none of that name, or its files are damaged.
    """
    names = list_measured(experiment)
    if name not in names:
        raise ValueError(
            f"{experiment} has no measured run {name!r}: choose one of {', '.join(names) or '(none)'}"
        )
    folder = _measured_folder(experiment)
    return _read(folder / f"{name}.json", folder / f"{name}.csv")


def list_measured(experiment: str) -> list[str]:
    """Name the runs of an experiment that are kept with the package, in alphabetical order."""
    return sorted(path.stem for path in _measured_folder(experiment).glob("*.json"))


def atomic_write(path: str | Path, content: bytes | Callable[[Path], object]) -> None:
    """Write a file so that, whatever happens, `path` holds either the old content or the new, whole.

    The content goes to a temporary file in the same folder, is forced to the disk, and is then renamed.

    Parameters
    ----------
    path : path
        Its folder is made if it is missing.
    content : bytes or callable
        The bytes, or a function that writes them to the path it is given.

    Raises
    ------
    OSError
        If the disk is full or the folder cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "note.txt"
    >>> atomic_write(path, b"first")
    >>> atomic_write(path, lambda temporary: temporary.write_text("second"))
    >>> path.read_text()
    'second'
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            temporary.write_bytes(content)
        else:
            content(temporary)
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        blocked = isinstance(error, FileExistsError | NotADirectoryError)
        reason = f"{path.parent} is not a folder" if blocked else error.strerror or error
        raise OSError(
            f"could not write {path} ({reason}): free some disk space or choose a folder that you may "
            "write to; a file that was there before is unchanged"
        ) from error
    finally:
        if temporary.exists():
            temporary.unlink()


def _write(header_path: Path, rows_path: Path, header: Header, rows: pd.DataFrame) -> None:
    """Write the rows first: a complete header then never stands beside incomplete rows."""
    rows = _typed(rows, header.experiment, "these rows")
    atomic_write(rows_path, rows.to_csv(index=False, lineterminator="\n").encode())
    atomic_write(header_path, json.dumps(dataclasses.asdict(header), indent=2).encode())


def _read(header_path: Path, rows_path: Path) -> Run:
    for path in (header_path, rows_path):
        if not path.is_file():
            raise ValueError(
                f"there is no file {path}: a run has a header and rows; give the folder that "
                "`coursekit run ... --out FOLDER` wrote"
            )
    try:
        header = Header(**json.loads(header_path.read_bytes()))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{header_path} is not the header of a run ({error}): repeat the run") from error
    try:
        # Only an empty cell is missing: a key may well be the text "NA".
        rows = pd.read_csv(rows_path, keep_default_na=False, na_values=[""], **_EXACT_FLOATS)
    except ValueError as error:  # pandas' parser errors are ValueErrors
        raise ValueError(f"{rows_path} is not a CSV table ({error}): repeat the run") from error
    return Run(header, _typed(rows, header.experiment, str(rows_path)))


def _typed(rows: pd.DataFrame, experiment: str, where: str) -> pd.DataFrame:
    """Check the columns; put them in order, with one type each."""
    if experiment not in KEYS:
        raise ValueError(f"unknown experiment {experiment!r}: choose one of {', '.join(KEYS)}")
    expected = columns(experiment)
    missing = [column for column in expected if column not in rows]
    foreign = [str(column) for column in rows if column not in expected]
    if missing or foreign:
        raise ValueError(
            f"{where}: the columns of {experiment} are {', '.join(expected)}; "
            f"missing: {', '.join(missing) or 'none'}; foreign: {', '.join(foreign) or 'none'}"
        )
    try:
        typed = rows[expected].astype({"value": "float64", "stderr": "float64", "n": "Int64"})
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{where}: value, stderr and n (whole) must be numbers or empty ({error})"
        ) from error
    return typed.reset_index(drop=True)


def _measured_folder(experiment: str) -> Path:
    return _PACKAGE / "experiments" / experiment / "measured"


def _to_json(config: Any) -> str:
    """Write dataclasses as objects, and NumPy's scalars and paths as what they stand for."""

    def plain(value: Any) -> Any:
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        if isinstance(value, Mapping):
            return dict(value)
        if isinstance(value, Path):
            return str(value)
        if hasattr(value, "item"):
            return value.item()
        raise TypeError(f"a config holds numbers, text, None and nests of them, not {value!r}")

    return json.dumps(config, default=plain)


def _whole_to_int(number: float) -> float | int:
    return int(number) if number.is_integer() else number


def version(distribution: str) -> str | None:
    """Look up an installed version, or None, in the installer's records: importing torch takes seconds."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(_PACKAGE), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        # A copy installed into an environment inside some repository is not that repository's code.
        if git("rev-parse", "--show-prefix") != "src/coursekit/":
            return None
        return git("describe", "--always", "--abbrev=40", "--exclude=*", "--dirty")
    except (OSError, subprocess.CalledProcessError):  # no git, no repository, no commit yet
        return None


def hardware() -> dict[str, Any]:
    """Describe this machine: CPU model, usable cores, bytes of memory, GPU if an imported torch sees one."""
    torch = sys.modules.get("torch")
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": _memory_bytes(),
        "gpu": torch.cuda.get_device_name() if torch and torch.cuda.is_available() else None,
    }


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")  # Linux; elsewhere Python knows the name, or at least the architecture
    for line in cpuinfo.read_text().splitlines() if cpuinfo.exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows
        return None


def _peak_memory_bytes() -> int | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # bytes on macOS, KiB on Linux
