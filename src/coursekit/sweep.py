"""A run in parts, which Ray places on the cores and GPUs of one machine or of many.

A part is an ordinary run of its experiment: one seed, in a folder of its own. It is always resumed, so that Ray may
start it again wherever its process died, and it goes on from its last checkpoint. Placement, retries and the loss of a
machine are Ray's business; what is here is how a config is cut, and how the parts become one run.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import json
import os
import re
import socket
import uuid
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
from tqdm import tqdm

from coursekit import results

RETRIES = 5
"""How often a part is started again after its process or its machine was lost."""

_DONE_FILE = "part.json"  # written last: the part has ended well, and where


class PartsFailed(RuntimeError):
    """Some parts of a run ended with an error; the others are kept."""


def split(experiment: str, config: Any) -> dict[str, Any]:
    """Cut a config into independent runs.

    The experiment's `config.parts` says how. Without one there is a part for each seed if the rows of the experiment
    tell seeds apart, else a single part.

    Parameters
    ----------
    experiment : str
    config : dataclass

    Returns
    -------
    dict
        Name of a part, which is also that of its folder → its config.

    Raises
    ------
    ValueError
        If two parts would have the same folder.

    Examples
    --------
    >>> from coursekit.experiments.grokking.config import smoke
    >>> {name: part.seeds for name, part in split("grokking", smoke()).items()}
    {'seed-0': (0,), 'seed-1': (1,)}
    """
    module = _module(experiment, "config")
    if hasattr(module, "parts"):
        parts = module.parts(config)
        named = {re.sub(r"[^\w.-]+", "-", name): part for name, part in parts.items()}
        if len(named) < len(parts):
            raise ValueError(
                f"expected parts whose names differ as folders, got {', '.join(parts)}: rename some"
            )
        return named
    if "seed" in results.KEYS[experiment]:
        return {f"seed-{seed}": replace(config, seeds=(seed,)) for seed in config.seeds}
    return {"whole": config}


def run_parts(
    experiment: str,
    config: Any,
    *,
    folder: str | Path,
    resume: bool = False,
    preset: str = "custom",
    address: str | None = None,
    progress: bool = True,
    **options: Any,
) -> results.Run:
    """Run the parts of a config side by side with Ray, and join their rows.

    Parameters
    ----------
    experiment : str
    config : dataclass
        As the experiment's `run` takes it.
    folder : path
        Where to keep the joined run; each part is a run in its folder `parts`. All machines must see it.
    resume : bool
        Go on with the run in `folder`: a finished part is not computed again, another from its last checkpoint.
    preset : str
        Goes into the header. A preset that `config.HARDWARE` means for a GPU gets one a part if the cluster has any.
    address : str, optional
        "host:port" of a Ray cluster that this machine belongs to, or "auto" for the one that it runs. Default: this
        machine alone.
    progress : bool
        Show a bar of the parts.
    **options
        For the experiment's `run`, such as checkpoint_seconds.

    Returns
    -------
    results.Run
        The rows of a plain run, part after part. In the header `hardware` is this machine's, with the keys "engine" and
        "nodes": which parts each machine computed, and what it is.

    Raises
    ------
    PartsFailed
        If a part ended with an error, or lost its process `RETRIES` + 1 times. The others are carried on to their end,
        and the rows up to there are in `folder`.
    ValueError
        If `folder` holds a run already and `resume` is not asked for, holds one of another config, or one that was not
        made in parts; or if a machine has other versions of the libraries.
    OSError
        If no cluster answers at `address`, or a machine does not see `folder`.
    ModuleNotFoundError
        If Ray is not installed.
    """
    ray = _import_ray()
    folder, parts = Path(folder).resolve(), split(experiment, config)
    if resume and (folder / "run.json").exists() and not (folder / "parts").is_dir():
        raise ValueError(f"the run in {folder} was not made with Ray: go on with it without --engine ray")
    seeds: tuple[int, ...] = getattr(config, "seeds", ())
    header = results.new_header(experiment, preset, config, seeds[0] if len(seeds) == 1 else None)
    with _cluster(ray, address):
        _check_machines(ray, folder, header)
        header = results.claim(folder, header, resume)
        (folder / "parts").mkdir(exist_ok=True)
        cpus, gpus = _share(ray.nodes(), len(parts), wants_gpu=_wants_gpu(experiment, preset))
        task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=RETRIES)(_run_part)
        tasks = {
            task.options(name=f"{experiment} {name}").remote(
                experiment, part, str(folder / "parts" / name), preset, cpus, gpus, options
            ): name
            for name, part in parts.items()
            if not (folder / "parts" / name / _DONE_FILE).exists()
        }
        failed: dict[str, str] = {}
        complete = False
        try:
            n_done = len(parts) - len(tasks)
            with tqdm(
                total=len(parts), initial=n_done, desc=experiment, unit=" parts", disable=not progress
            ) as bar:
                while tasks:
                    ready = ray.wait(list(tasks), num_returns=1)[0][0]
                    name = tasks.pop(ready)
                    try:
                        for text in ray.get(ready):
                            warnings.warn(f"{name}: {text}", stacklevel=2)
                    except ray.exceptions.RayError as error:
                        failed[name] = _reason(error)
                    bar.update()
            complete = not failed
        finally:
            header, rows = _join(ray, results.finish(header, complete=complete), folder, list(parts))
            results.write_run(folder, header, rows)
    if failed:
        told = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
        raise PartsFailed(
            f"{len(failed)} of {len(parts)} parts failed ({told}); the rows of the others are in {folder}, and "
            "--resume tries the failed ones again"
        )
    return results.Run(header, rows)


def _run_part(
    experiment: str,
    config: Any,
    folder: str,
    preset: str,
    cpus: int,
    gpus: int,
    options: Mapping[str, Any],
) -> list[str]:
    """Run one part, on whatever machine this is, and return its warnings."""
    ray = _import_ray()
    if not gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # before torch looks: a GPU here is another part's
    run = _module(experiment, "run").run
    if "n_workers" in inspect.signature(run).parameters:
        options = {"n_workers": cpus, **options}
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        run(config, folder=folder, resume=True, preset=preset, progress=False, **options)
    node = ray.get_runtime_context().get_node_id()[:8]
    results.atomic_write(Path(folder) / _DONE_FILE, json.dumps({"node": node}).encode())
    return [str(one.message) for one in told if one.category is UserWarning]


def _look(folder: str, token: str, header: results.Header) -> tuple[bool, dict[str, str | None]]:
    """Whether this machine sees a file in the shared folder and may write there, and its versions."""
    seen = Path(folder, token).exists()
    if seen:
        mine = Path(folder, f"{token}-{uuid.uuid4().hex}")
        try:
            results.atomic_write(mine, b"")
            mine.unlink()
        except OSError:
            seen = False
    return seen, {name: results.version(name) for name in header.versions if name != "python"}


def _check_machines(ray: Any, folder: Path, header: results.Header) -> None:
    """Ask every machine before anything is computed."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    token = folder / f".coursekit-{uuid.uuid4().hex}"
    results.atomic_write(token, b"")
    try:
        for node in _alive(ray.nodes()):
            here = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            asked = ray.remote(_look).options(num_cpus=0, scheduling_strategy=here)
            name = node["NodeManagerAddress"]
            try:
                seen, versions = ray.get(asked.remote(str(folder), token.name, header))
            except ray.exceptions.RayError as error:
                raise OSError(f"the machine {name} cannot run coursekit ({_reason(error)})") from error
            if not seen:
                raise OSError(
                    f"the machine {name} does not see {folder}, or may not write there: give a folder that all "
                    "machines of the cluster share under the same name, such as one on NFS"
                )
            for package, found in versions.items():
                wanted = header.versions[package]
                if (found or "").split("+")[0] != (wanted or "").split("+")[0]:
                    raise ValueError(
                        f"the machine {name} has {package} {found}, this one {wanted}: install the same "
                        "versions on all machines"
                    )
    finally:
        token.unlink(missing_ok=True)


@contextlib.contextmanager
def _cluster(ray: Any, address: str | None) -> Iterator[None]:
    """Be connected to a cluster, or to one of this machine's own; what is left running is stopped at the end."""
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    if address is None:
        options |= {"num_cpus": results.hardware()["cores"], "include_dashboard": False}
        options["object_store_memory"] = 100 * 2**20  # hardly any: parts hand over files
    else:
        _check_address(address)
    try:
        ray.init(address or "local", **options)
    except Exception as error:  # of many types, a plain Exception among them
        raise OSError(
            f"Ray did not start, or its cluster did not take this machine in ({_reason(error)}); if it asks for a "
            "key, set RAY_AUTH_MODE=token"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _check_address(address: str) -> None:
    """Knock at the door: Ray itself would go on trying for many minutes."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        raise ValueError(
            f"--address must be host:port or auto, got {address!r}; `ray start --head` prints it, and the command is "
            "given on a machine of the cluster"
        )
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError as error:
        raise ConnectionError(
            f"no Ray cluster answers at {address} ({error}): `ray start --head` starts one and prints its address"
        ) from error


def _share(nodes: list[dict[str, Any]], n_parts: int, *, wants_gpu: bool) -> tuple[int, int]:
    """Cores and GPUs of a part: an equal share of all cores, but no more than the smallest machine has.

    Examples
    --------
    >>> machines = [{"Alive": True, "Resources": {"CPU": n}} for n in (4.0, 16.0)]
    >>> [_share(machines, n_parts, wants_gpu=True) for n_parts in (1, 8, 100)]
    [(4, 0), (2, 0), (1, 0)]
    """
    found = [node["Resources"] for node in _alive(nodes)]
    gpus = int(wants_gpu and any(one.get("GPU", 0) >= 1 for one in found))
    cores = [int(one.get("CPU", 0)) for one in found if one.get("CPU", 0) >= 1 and one.get("GPU", 0) >= gpus]
    if not cores:
        raise ValueError("the cluster has no machine with a free core: start one with `ray start --address`")
    return max(1, min(min(cores), sum(cores) // n_parts)), gpus


def _wants_gpu(experiment: str, preset: str) -> bool:
    return "CPU" not in getattr(_module(experiment, "config"), "HARDWARE", {}).get(preset, "")


def _join(
    ray: Any, header: results.Header, folder: Path, names: list[str]
) -> tuple[results.Header, pd.DataFrame]:
    """The header and the rows of all parts that have written any."""
    tables, peaks, machines = [], [], dict[str, dict[str, Any]]()
    for name in names:
        place = folder / "parts" / name
        if not (place / "run.json").exists():
            continue
        part = results.read_run(place)
        tables += [part.rows] * (not part.rows.empty)
        peaks.append(part.header.peak_memory_bytes or 0)
        if (place / _DONE_FILE).exists():
            node = json.loads((place / _DONE_FILE).read_bytes())["node"]
            machines.setdefault(node, {**part.header.hardware, "parts": []})["parts"].append(name)
    rows = pd.DataFrame(columns=results.columns(header.experiment))
    # What does not depend on the part, such as a regression on published numbers, is in each of them
    if tables:
        rows = pd.concat(tables).drop_duplicates(keep="last", ignore_index=True)
    hardware = {**header.hardware, "engine": f"ray {ray.__version__}", "nodes": list(machines.values())}
    peak = max(peaks, default=0) or header.peak_memory_bytes
    return replace(header, hardware=hardware, peak_memory_bytes=peak), rows


def _alive(nodes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [node for node in nodes if node["Alive"]]


def _reason(error: Exception) -> str:
    """The error of the part itself in one line, without Ray's wrapping and the traceback."""
    cause = getattr(error, "cause", None) or error
    first, *_ = str(cause).strip().splitlines() or ["it says nothing more"]
    return f"{type(cause).__name__}: {first}"


def _module(experiment: str, name: str) -> ModuleType:
    return importlib.import_module(f"coursekit.experiments.{experiment}.{name}")


def _import_ray() -> Any:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # nothing leaves this machine; Ray reads it when it starts
    try:
        return importlib.import_module("ray")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "running on several machines needs Ray: install it with `pip install 'coursekit[ray]'`"
        ) from error
