"""Start a lab: choose the preset that suits this machine, and say what it costs."""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

PRESETS = ("smoke", "laptop", "colab", "paper")


@dataclass(frozen=True)
class Cost:
    """What one whole lab costs at one preset, from top to bottom.

    Parameters
    ----------
    minutes : float
        Wall time; for ``colab`` and ``paper`` on a GPU, else on 2 CPU cores.
    memory_gb : float
        Peak memory of the notebook's process.
    download_mb : float
        What the lab fetches from the network, beyond the installation.
    """

    minutes: float
    memory_gb: float
    download_mb: float = 0


@dataclass(frozen=True)
class Lab:
    """One week's lab: its number, its title and its cost at each preset that it can run."""

    week: int
    title: str
    costs: dict[str, Cost]


LABS: dict[str, Lab] = {
    "neural_networks": Lab(
        week=1,
        title="Neural networks",
        costs={"smoke": Cost(0.3, 0.5), "laptop": Cost(1, 0.5), "colab": Cost(5, 1, download_mb=11)},
    ),
    "scaling_laws": Lab(
        week=2,
        title="Scaling laws",
        costs={"smoke": Cost(0.5, 1), "laptop": Cost(3, 1), "colab": Cost(20, 4)},
    ),
    "emergence": Lab(
        week=3,
        title="Emergence",
        costs={"smoke": Cost(0.7, 2), "laptop": Cost(3, 2), "colab": Cost(20, 8, download_mb=3000)},
    ),
    "inverse_scaling": Lab(
        week=4,
        title="Inverse scaling",
        costs={"smoke": Cost(0.7, 1), "laptop": Cost(3, 1.5), "colab": Cost(20, 8, download_mb=7000)},
    ),
    "grokking": Lab(
        week=5,
        title="Grokking",
        costs={"smoke": Cost(0.3, 0.6), "laptop": Cost(3, 1), "colab": Cost(20, 2)},
    ),
    "reversal_curse": Lab(
        week=6,
        title="The reversal curse",
        costs={"smoke": Cost(1, 3), "laptop": Cost(3, 3), "colab": Cost(20, 8, download_mb=750)},
    ),
    "reversal_dynamics": Lab(
        week=7,
        title="Why the curse happens",
        costs={"smoke": Cost(0.3, 1), "laptop": Cost(2, 1), "colab": Cost(20, 4)},
    ),
    "forecasting": Lab(
        week=8,
        title="Forecasting",
        costs={"smoke": Cost(0.5, 2), "laptop": Cost(2, 2), "colab": Cost(20, 4, download_mb=750)},
    ),
}
"""`smoke` and `laptop` were measured; `colab` is the limit that the lab was designed for."""


@dataclass(frozen=True)
class Session:
    """A started lab: ``config`` is the experiment's frozen config at ``preset``."""

    experiment: str
    preset: str
    config: Any


def start(experiment: str, preset: str | None = None) -> Session:
    """Choose a preset for this machine and print what the lab will cost.

    The first that is set wins: the argument, the environment variable ``COURSEKIT_PRESET``, the hardware
    (``colab`` with a CUDA device, else ``laptop``).

    Parameters
    ----------
    experiment : str
        The lab's stem, such as ``"grokking"``.
    preset : str or None
        ``"smoke"``, ``"laptop"``, ``"colab"`` or ``"paper"``; None chooses.

    Returns
    -------
    Session
        With ``.experiment``, ``.preset`` and ``.config``.

    Raises
    ------
    ValueError
        If there is no such lab or no such preset.

    Examples
    --------
    >>> session = start("grokking", preset="smoke")
    Week 5, Grokking: preset smoke (asked for by preset=).
    ...
    >>> session.preset
    'smoke'
    """
    if experiment not in LABS:
        raise ValueError(f"there is no lab {experiment!r}{suggestion(experiment, LABS)}")
    name, why = _choose(preset)
    if name not in PRESETS:
        raise ValueError(f"there is no preset {name!r} ({why}){suggestion(name, PRESETS)}")
    lab = LABS[experiment]
    config = getattr(importlib.import_module(f"coursekit.experiments.{experiment}.config"), name)()
    print(f"Week {lab.week}, {lab.title}: preset {name} ({why}).")
    print(_price(lab.costs.get(name)))
    if name == "smoke":
        print("It only shows that everything runs: nothing of this size learns what the lab is about.")
    print(f"To choose another, set preset to one of {', '.join(PRESETS)}.")
    return Session(experiment, name, config)


def suggestion(name: str, known: Any) -> str:
    """Return the end of an error message about an unknown name: the nearest known one, or all of them.

    >>> suggestion("laptpo", PRESETS)
    '; did you mean laptop?'
    >>> suggestion("x", PRESETS)
    '; expected one of: smoke, laptop, colab, paper'
    """
    near = get_close_matches(str(name), known, n=1)
    return f"; did you mean {near[0]}?" if near else f"; expected one of: {', '.join(known)}"


def _choose(preset: str | None) -> tuple[str, str]:
    """Return the preset's name and, in words, why it was chosen."""
    if preset:
        return preset, "asked for by preset="
    if from_environment := os.environ.get("COURSEKIT_PRESET"):
        return from_environment, "asked for by COURSEKIT_PRESET"
    gpu = _gpu()
    return ("colab", gpu) if gpu else ("laptop", f"no GPU, {os.cpu_count()} CPU cores")


def _gpu() -> str | None:
    """Return the name of the first CUDA device, or None."""
    try:
        import torch
    except ImportError:
        return None
    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else None


def _price(cost: Cost | None) -> str:
    """Say in words what a lab costs."""
    if cost is None:
        return "This preset takes far more than one sitting: see the experiment's reproduction card."
    download = f"downloads {cost.download_mb:g} MB" if cost.download_mb else "downloads nothing"
    return f"The whole lab takes about {cost.minutes:g} min, {cost.memory_gb:g} GB of memory, and {download}."
