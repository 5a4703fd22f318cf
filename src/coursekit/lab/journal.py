"""The student's progress: one small JSON file, written whole or not at all, and never in the way of a lesson.

It holds the exercises attempted and passed, the misconceptions recognized on the way, and the predictions made with
what they were compared to. No name, no time, no path.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from coursekit.lab import exercises
from coursekit.results import atomic_write

SECTIONS = ("exercises", "predictions")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1_000_000


def _is_revealed(value: Any) -> bool:
    sure = value.get("confidence") if isinstance(value, dict) else None
    said = sure is None or (isinstance(sure, int | float) and 0 <= sure <= 100)
    return isinstance(value, dict) and isinstance(value.get("close"), bool) and said


_FIELDS: dict[str, Callable[[Any], bool]] = {
    "attempts": _is_count,
    "needed": _is_count,
    "passed": lambda value: isinstance(value, bool),
    "misconceptions": lambda value: isinstance(value, dict) and all(map(_is_count, value.values())),
    "revealed": _is_revealed,
}
"""What a field holds, where it is there."""


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
        return parse(path.read_bytes())
    except FileNotFoundError:
        return {section: {} for section in SECTIONS}
    except ValueError as error:
        aside = path.with_name(f"progress.damaged-{time.strftime('%Y%m%d-%H%M%S')}.json")
        path.replace(aside)
        print(f"The progress file was damaged ({error}). It is kept as {aside}; a new one begins.")
        return {section: {} for section in SECTIONS}


def parse(content: bytes) -> dict[str, dict[str, Any]]:
    """Read the content of a progress file. Fields that an older version did not write may be absent.

    Raises
    ------
    ValueError
        If it is anything else, with what is wrong in a few words.

    Examples
    --------
    >>> parse(b'{"exercises": {"grokking.one": {"attempts": 2}}, "predictions": {}}')["exercises"]
    {'grokking.one': {'attempts': 2}}
    >>> parse(b'{"exercises": []}')
    Traceback (most recent call last):
        ...
    ValueError: it has no exercises and predictions by name
    """
    try:
        kept = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is no JSON: {error}") from None
    if not (isinstance(kept, dict) and all(isinstance(kept.get(section), dict) for section in SECTIONS)):
        raise ValueError("it has no exercises and predictions by name")
    for name, entry in [item for section in SECTIONS for item in kept[section].items()]:
        if not (isinstance(entry, dict) and all(_FIELDS[k](v) for k, v in entry.items() if k in _FIELDS)):
            raise ValueError(f"the entry {name!r} is not as the course writes it")
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
    """Print every exercise with its state (✓ passed, ✗ attempted, ○ not attempted), and every prediction.

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
        line = f"{symbol} {exercise.name:<32} {exercise.stars()} · {exercise.minutes:>2} min  {attempts}"
        print(line.rstrip())
    for name in predictions:
        print(f"? {name:<32} {_compared(kept['predictions'][name])}".rstrip())
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


def _compared(prediction: dict[str, Any]) -> str:
    """Say what was predicted, and what came.

    >>> _compared({"answer": 3000.0})
    'you say 3000, not compared yet'
    >>> _compared({"answer": 1, "revealed": {"answer": "never", "actual": 3100.0, "close": False}})
    'you said never, it was 3100'
    """
    revealed = prediction.get("revealed")
    if revealed is None:
        return f"you say {_short(prediction.get('answer'))}, not compared yet"
    close = " ✓" if revealed["close"] else ""
    return f"you said {_short(revealed.get('answer'))}, it was {_short(revealed.get('actual'))}{close}"


def _short(answer: Any) -> str:
    if isinstance(answer, list):
        return ", ".join(map(_short, answer))
    return f"{answer:.4g}" if isinstance(answer, float) else str(answer)


def _as_json(kept: dict[str, Any]) -> bytes:
    return (json.dumps(kept, indent=1, sort_keys=True) + "\n").encode()
