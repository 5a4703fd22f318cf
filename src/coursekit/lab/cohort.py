"""What a cohort found hard: one page for the facilitator, from the files that students hand in.

A file is what :func:`coursekit.lab.export_progress` writes. The page names no file and nobody: it can be shown to the
group. It is one HTML file without scripts, and asks nothing of a network.
"""

from __future__ import annotations

import html
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

from coursekit.lab import journal
from coursekit.lab.exercises import Exercise, all_exercises
from coursekit.lab.session import LABS
from coursekit.results import atomic_write

LARGEST_FILE = 1_000_000
"""Bytes. A whole course makes some 20,000; whatever is larger is something else."""


@dataclass(frozen=True)
class Cohort:
    """The progress of some students, and the files that hold none.

    Parameters
    ----------
    students : sequence of dict
        What :func:`coursekit.lab.journal.parse` reads from each file.
    skipped : dict
        Each file that was left out, with the reason in a few words.
    copies : sequence of (Path, Path)
        Files with exactly the same content. Both are counted.
    """

    students: Sequence[dict[str, dict[str, Any]]]
    skipped: dict[Path, str]
    copies: Sequence[tuple[Path, Path]] = ()


def read_cohort(folder: str | Path, *, ignore: Path | None = None) -> Cohort:
    """Read every file in a folder, and in those inside it, as one student's progress.

    Parameters
    ----------
    folder : str or Path
        Holds the files; hidden ones are passed over.
    ignore : Path, optional
        A file to pass over: the page that is about to be written.

    Returns
    -------
    Cohort
        A file that is damaged or foreign is among its ``skipped``, and takes nothing else along.

    Raises
    ------
    ValueError
        If there is no such folder, or no file in it holds any progress.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder: expected one with the files that students handed in")
    students: list[dict[str, dict[str, Any]]] = []
    skipped: dict[Path, str] = {}
    seen: dict[bytes, Path] = {}
    copies: list[tuple[Path, Path]] = []
    for file in sorted(folder.rglob("*")):
        if any(part.startswith(".") for part in file.relative_to(folder).parts):
            continue
        try:
            if file.is_dir() or (ignore is not None and ignore.exists() and file.samefile(ignore)):
                continue
            if not file.is_file() or file.stat().st_size > LARGEST_FILE:
                raise ValueError("it is no file of at most 1 MB")
            content = file.read_bytes()
            students.append(journal.parse(content))
        except (ValueError, OSError) as error:
            skipped[file] = str(error)
            continue
        if content in seen:
            copies.append((seen[content], file))
        seen.setdefault(content, file)
    if not students:
        names = "".join(f"; {file.name}: {reason}" for file, reason in list(skipped.items())[:3])
        raise ValueError(f"no file in {folder} was made by `coursekit progress --export FILE`{names}")
    return Cohort(students, skipped, copies)


def write_cohort_page(cohort: Cohort, path: str | Path) -> Path:
    """Write the page of a cohort: exercises the hardest first, misconceptions met, predictions and calibration.

    Parameters
    ----------
    cohort : Cohort
        What :func:`read_cohort` found.
    path : str or Path
        The HTML file to write.

    Returns
    -------
    Path
        The same path.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    path = Path(path)
    atomic_write(path, cohort_page(cohort).encode(errors="replace"))  # JSON can hold half a character
    return path


def cohort_page(cohort: Cohort) -> str:
    """Return the page of a cohort as HTML."""
    weeks = [(lab.week, name, lab.title) for name, lab in LABS.items()]
    sections = [text for week in sorted(weeks) if (text := _week(cohort.students, *week))]
    left_out = len(cohort.skipped)
    out = f" {_several(left_out, 'file')} held no progress and {'was' if left_out == 1 else 'were'} left out."
    known = {exercise.name for exercise in all_exercises()}
    foreign = {name for student in cohort.students for name in student["exercises"]} - known
    unknown = f" Not shown, for this version of the course has no such exercise: {_text(sorted(foreign))}."
    return _PAGE.format(
        students=_several(len(cohort.students), "student"),
        left_out=(out if left_out else "") + (unknown if foreign else ""),
        weeks="".join(sections) or "<p>Nobody has attempted an exercise or made a prediction yet.</p>",
        calibration=_calibration(cohort.students),
    )


def calibration(predictions: Iterable[tuple[float, bool]]) -> dict[str, float]:
    """Compare what was said with what came: mean confidence, share close, Brier score (mean of (p - outcome)²).

    Parameters
    ----------
    predictions : iterable of (confidence, close)
        Confidence in percent, and whether the prediction came close.

    Returns
    -------
    dict
        ``confidence`` and ``close`` as shares from 0 to 1, and ``brier_score``: 0 is best, and 0.25 is what somebody
        gets who always says 50 %.

    Raises
    ------
    ValueError
        If there is no prediction.

    References
    ----------
    Brier, G. W. (1950). Verification of forecasts expressed in terms of probability. Monthly Weather Review 78(1).

    Examples
    --------
    >>> calibration([(90, True), (90, False)])
    {'confidence': 0.9, 'close': 0.5, 'brier_score': 0.41}
    """
    pairs = [(percent / 100, float(close)) for percent, close in predictions]
    if not pairs:
        raise ValueError("expected at least one prediction with a confidence, got none")
    scores = {
        "confidence": mean(p for p, _ in pairs),
        "close": mean(outcome for _, outcome in pairs),
        "brier_score": mean((p - outcome) ** 2 for p, outcome in pairs),
    }
    return {name: round(value, 10) for name, value in scores.items()}


def _week(students: Sequence[dict[str, dict[str, Any]]], week: int, stem: str, title: str) -> str:
    """Return one week's tables, or nothing where nobody has done anything."""
    exercises = [exercise for exercise in all_exercises() if exercise.name.partition(".")[0] == stem]
    tried = [(e, entries) for e in exercises if (entries := _entries(students, "exercises", e.name))]
    tables = []
    if tried:
        rows = [_exercise_row(exercise, entries) for exercise, entries in sorted(tried, key=_ease)]
        heads = ("Exercise", "Difficulty set", "Passed, of those who tried", "Median attempts until passed")
        tables.append(_table("Exercises, the hardest first", heads, rows))
    met = [row for exercise, entries in tried for row in _misconception_rows(exercise, entries)]
    if met:
        heads = ("Misconception", "Exercise", "Students", "What the check said")
        met.sort(key=lambda row: -int(row[2]))
        tables.append(_table("Misconceptions met, the most frequent first", heads, met))
    names = sorted({name for student in students for name in student["predictions"]})
    predicted = [
        _prediction_row(name, _entries(students, "predictions", name)) for name in names if _of(name, stem)
    ]
    if predicted:
        columns = (
            "Prediction",
            "Made",
            "Close, of those compared",
            "Too low",
            "Too high",
            "Median prediction",
            "Median result",
        )
        caption = "Predictions, as they stood when the result was first shown"
        tables.append(_table(caption, columns, predicted))
    if not tables:
        return ""
    head = f'<h2 id="{stem}">Week {week}: {_text(title)}</h2>'
    return f'<section aria-labelledby="{stem}">{head}{"".join(tables)}</section>'


def _of(name: str, stem: str) -> bool:
    return name.partition(".")[0] == stem


def _entries(students: Sequence[dict[str, Any]], section: str, name: str) -> list[dict[str, Any]]:
    return [student[section][name] for student in students if student[section].get(name)]


def _ease(pair: tuple[Exercise, list[dict[str, Any]]]) -> tuple[float, float]:
    """Sort key: the share who passed, then the attempts, the other way around."""
    _, entries = pair
    return mean(bool(e.get("passed")) for e in entries), -mean(
        e.get("needed", e.get("attempts", 0)) for e in entries
    )


def _exercise_row(exercise: Exercise, entries: list[dict[str, Any]]) -> list[str]:
    passed = [entry for entry in entries if entry.get("passed")]
    needed = [entry["needed"] for entry in passed if "needed" in entry]
    return [
        _label(exercise.name),
        f"{exercise.difficulty} of 5",
        _share(len(passed), len(entries)),
        f"{median(needed):g}" if needed else "not known",
    ]


def _misconception_rows(exercise: Exercise, entries: list[dict[str, Any]]) -> list[list[str]]:
    said = {misconception.name: misconception.message for misconception in exercise.misconceptions}
    met = Counter(name for entry in entries for name in entry.get("misconceptions", {}))
    return [
        [_text(name), _label(exercise.name), str(n), _text(said[name])]
        for name, n in met.items()
        if name in said
    ]


def _prediction_row(name: str, entries: list[dict[str, Any]]) -> list[str]:
    revealed = [entry["revealed"] for entry in entries if "revealed" in entry]
    pairs = [(_value(one.get("answer")), _value(one.get("actual"))) for one in revealed]
    numbers = [(a, b) for a, b in pairs if a is not None and b is not None]
    unit = next((f" {one['unit']}" for one in revealed if one.get("unit")), "")
    middles = [median(column) for column in zip(*numbers, strict=True)] if numbers else []
    low, high = sum(a < b for a, b in numbers), sum(a > b for a, b in numbers)
    return [
        _label(name),
        str(len(entries)),
        _share(sum(one["close"] for one in revealed), len(revealed)) if revealed else "none compared",
        *((str(low), str(high)) if numbers else ("", "", "", "")),
        *("never" if math.isinf(middle) else _text(f"{middle:g}{unit}") for middle in middles),
    ]


def _value(answer: Any) -> float | None:
    """Return a number, infinity for "never", and nothing for a choice or a curve."""
    if answer == "never":
        return float("inf")
    number = isinstance(answer, int | float) and not isinstance(answer, bool) and abs(answer) < 1e300
    return float(answer) if number else None


def _calibration(students: Sequence[dict[str, Any]]) -> str:
    """Return the section on confidence: of the predictions held at 80 %, how many came close."""
    revealed = [
        entry["revealed"] for s in students for entry in s["predictions"].values() if "revealed" in entry
    ]
    said = [(one["confidence"], one["close"]) for one in revealed if one.get("confidence") is not None]
    begin = (
        '<section aria-labelledby="calibration"><h2 id="calibration">How calibrated the predictions were</h2>'
    )
    if not said:
        return f"{begin}<p>No prediction that was compared had a confidence, so this cannot be said.</p></section>"
    score = calibration(said)
    gap = 100 * (score["confidence"] - score["close"])
    verdict = (
        "about as sure as they were right"
        if abs(gap) < 5
        else "surer than right"
        if gap > 0
        else "less sure than right"
    )
    rows = []
    for percent in sorted({confidence for confidence, _ in said}):
        close = [outcome for confidence, outcome in said if confidence == percent]
        rows.append([f"{percent:g} %", _share(sum(close), len(close))])
    text = (
        f"<p>Of {_several(len(said), 'prediction')} with a confidence, {100 * score['close']:.0f} % came close, where "
        f"{100 * score['confidence']:.0f} % was said on average: {verdict}. Brier score {score['brier_score']:.2f}: "
        "0 is best, and always saying 50 % gives 0.25. Close means the right choice, within 10 percentage points, "
        "within a factor of 1.5, or for a curve within a tenth of its scale on average. A handful of predictions "
        "proves little.</p>"
    )
    return f"{begin}{text}{_table('What was said, and what came', ('Confidence', 'Close'), rows)}</section>"


def _table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table whose cells are HTML already; the first cell of a row is its head."""
    top = "".join(f'<th scope="col">{head}</th>' for head in heads)
    body = "".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'
        for first, *cells in rows
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{caption}"><table><caption>{caption}</caption>'
        f"<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _share(part: int, whole: int) -> str:
    """Return a share in words, with a bar for those who see it."""
    width = round(100 * part / whole)
    return (
        f'{part} of {whole}<span class="bar" aria-hidden="true"><span style="width:{width}%"></span></span>'
    )


def _label(name: str) -> str:
    return _text(name.partition(".")[2].replace("_", " "))


def _text(value: str | Sequence[str]) -> str:
    return html.escape(value if isinstance(value, str) else ", ".join(value))


def _several(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>What the cohort found hard</title>
<style>
:root {{ color-scheme: light dark; --text: #1f2933; --page: #fff; --line: #c3ccd5; --bar: #0b5394; --ground: #e4e9ee; }}
@media (prefers-color-scheme: dark) {{
  :root {{ --text: #dce3ea; --page: #14181d; --line: #3d4650; --bar: #7cc0ff; --ground: #2a313a; }} }}
body {{ font: 1rem/1.6 system-ui, "Segoe UI", "Noto Sans", Arial, sans-serif; color: var(--text);
  background: var(--page); max-width: 68rem; margin: 2rem auto; padding: 0 1rem; }}
h1 {{ line-height: 1.2; }} h2 {{ margin-top: 2.5rem; }} p {{ max-width: 44rem; }}
.scroll {{ overflow-x: auto; margin: 1rem 0; }}
table {{ border-collapse: collapse; min-width: 50%; font-variant-numeric: tabular-nums; }}
caption {{ text-align: left; font-weight: 600; padding-bottom: .3rem; }}
th, td {{ text-align: left; vertical-align: top; padding: .35rem .9rem .35rem 0;
  border-bottom: 1px solid var(--line); }}
tbody th {{ font-weight: 400; }}
.bar {{ display: block; width: 7rem; height: .4rem; background: var(--ground); }}
.bar span {{ display: block; height: 100%; background: var(--bar); }}
:focus-visible {{ outline: 3px solid var(--bar); outline-offset: 2px; }}
@media print {{ .scroll {{ overflow: visible; }} tr {{ break-inside: avoid; }} }}
</style>
</head>
<body>
<main>
<h1>What the cohort found hard</h1>
<p>From the progress of {students}.{left_out} Nobody is named: you can show this page. Exercises and predictions
go by their names in the labs' code.</p>
{weeks}
{calibration}
</main>
</body>
</html>
"""
