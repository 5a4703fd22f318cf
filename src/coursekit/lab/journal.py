"""The student's progress: one small JSON file, written whole or not at all, and never in the way of a lesson.

It holds the exercises attempted and passed, and the predictions made. No name, no time, no path.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from coursekit.lab import exercises
from coursekit.results import atomic_write

SECTIONS = ("exercises", "predictions")


def progress_path() -> Path:
    """Return where progress is kept.

    ``COURSEKIT_HOME`` if it is set; in Colab the mounted Drive, since the machine's own disk is lost with it;
    else ``~/.coursekit``.
    """
    home = os.environ.get("COURSEKIT_HOME")
    drive = Path("/content/drive/MyDrive")
    if home:
        folder = Path(home).expanduser()
    elif "google.colab" in sys.modules and drive.is_dir():
        folder = drive / "coursekit"
    else:
        folder = Path.home() / ".coursekit"
    return folder / "progress.json"


def read() -> dict[str, dict[str, Any]]:
    """Read the progress file; put a damaged one aside, say so, and begin a new one.

    Raises
    ------
    OSError
        If the file is there and cannot be read or moved.
    """
    path = progress_path()
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        entries = [entry for section in SECTIONS for entry in kept[section].values()]
        if not all(isinstance(entry.get("attempts", 0), int) for entry in entries):
            raise ValueError("attempts is not a number")
    except FileNotFoundError:
        return {section: {} for section in SECTIONS}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        aside = path.with_name(f"progress.damaged-{time.strftime('%Y%m%d-%H%M%S')}.json")
        path.replace(aside)
        print(f"The progress file was damaged ({error!r}). It is kept as {aside}; a new one begins.")
        return {section: {} for section in SECTIONS}
    return {section: kept[section] for section in SECTIONS}


def recall(section: str, name: str) -> dict[str, Any]:
    """Return what is kept under a name: an empty dict if there is nothing, or nothing can be read."""
    try:
        return read()[section].get(name, {})
    except OSError:
        return {}


def record(section: str, name: str, **fields: Any) -> None:
    """Keep some fields under a name. A file that cannot be written is reported, never raised."""
    try:
        kept = read()
        kept[section][name] = kept[section].get(name, {}) | fields
        atomic_write(progress_path(), _as_json(kept))
    except OSError as error:
        print(f"(Your progress could not be saved: {error}. Everything else works.)")


def progress(experiment: str | None = None) -> None:
    """Print every exercise with its state: ✓ passed, ✗ attempted, ○ not attempted.

    Parameters
    ----------
    experiment : str or None
        One week's exercises and predictions, such as ``"grokking"``; None: those of the whole course.

    Raises
    ------
    ValueError
        If no exercise belongs to such an experiment.
    """
    try:
        kept = read()
    except OSError as error:
        print(f"Your progress could not be read: {error}.")
        return
    everything = [e for e in exercises.all_exercises() if experiment in (None, e.name.partition(".")[0])]
    if not everything:
        weeks = ", ".join(sorted({e.name.partition(".")[0] for e in exercises.all_exercises()}))
        raise ValueError(f"there are no exercises of {experiment!r}; expected one of: {weeks}")
    predictions = [name for name in kept["predictions"] if experiment in (None, name.partition(".")[0])]
    for exercise in everything:
        entry = kept["exercises"].get(exercise.name, {})
        symbol = "✓" if entry.get("passed") else "✗" if entry else "○"
        attempts = f"{entry['attempts']} attempts" if entry.get("attempts", 0) > 1 else ""
        line = f"{symbol} {exercise.name:<28} {exercise.stars()} · {exercise.minutes:>2} min  {attempts}"
        print(line.rstrip())
    passed = sum(bool(kept["exercises"].get(exercise.name, {}).get("passed")) for exercise in everything)
    print(f"{passed} of {len(everything)} exercises passed, {len(predictions)} predictions made.")


def export_progress(path: str | Path = "coursekit_progress.json") -> Path:
    """Write the progress as one small JSON file that can be handed in. It holds no personal data.

    Raises
    ------
    OSError
        If the progress cannot be read or the file cannot be written.
    """
    path = Path(path)
    atomic_write(path, _as_json(read()))
    print(f"Your progress is in {path.resolve()}")
    return path


def _as_json(kept: dict[str, Any]) -> bytes:
    return (json.dumps(kept, indent=1, sort_keys=True) + "\n").encode()
