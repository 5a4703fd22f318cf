"""The evidence page: ``python -m coursekit.book.evidence`` writes ``chapters/evidence.md`` from the measured runs.

A claim is a function that is given the runs it names, as `coursekit.results` keeps them with the package, and returns
what came out and what was asked of it. So no number of ours is ever typed, and the verdict follows from the answers.
``claims.py`` has all claims. No torch here, and nothing is trained: the page takes seconds.
"""

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from coursekit.results import KEYS, Run, atomic_write, read_measured

PAGE = Path("chapters/evidence.md")
STATUSES = ("replicated", "partly", "not replicated", "null result", "not run")
_INTRODUCTION = """\
# Evidence: what held, what did not

Each claim that a week rests on, one by one: what the paper says and where, what came out here, how and on what
machine, and who disputes it. Our numbers are computed from the measured runs, which lie in the package and can be
opened from the tables: the name of a run leads to its rows, *settings* to its header with configuration, seeds,
versions, commit and hardware. `python -m coursekit.book.evidence` writes this page; a test fails when it and the runs
differ.

**How the verdict is reached.** For each claim we ask questions of our rows that can be answered by yes (✓) or no (✗).
*Replicated*: every answer is yes. *Partly*: some are. *Not replicated*: none is. *Null result*: the run could not have
shown the effect, so that its absence means nothing. *Not run*: what it would take is said instead. The questions were
written after the runs: take them as a careful reading, not as a registered test.

**What “replicated” does not mean.** Most of our models are far smaller than those of the papers, and data and tasks
often differ. A yes says that the pattern shows at our scale, not that the paper's number was measured again. A no
says that it did not show here. The chapters tell what is known about the reasons.
"""


@dataclass(frozen=True)
class Found:
    """What came out.

    Parameters
    ----------
    ours : str
        Our number in words, with its interval where there is one.
    asked : dict of str to bool
        What was asked of the rows, and whether they say so.
    blind : str
        Why the run could not have shown the effect, if that is so.
    """

    ours: str
    asked: dict[str, Any] = field(default_factory=dict)
    blind: str = ""

    @property
    def status(self) -> str:
        """One of `STATUSES`.

        >>> Found("12 %", {"above chance": True, "below 10 %": False}).status
        'partly'
        >>> Found("1 %", {"larger": False}, blind="it knows next to nothing").status
        'null result'
        """
        if self.blind:
            return "null result"
        if not all(self.asked.values()):
            return "partly" if any(self.asked.values()) else "not replicated"
        return "replicated" if self.asked else "not run"


@dataclass(frozen=True)
class Claim:
    """A headline claim of a week, and how it is checked here.

    Parameters
    ----------
    experiment : str
        The week's stem.
    text, paper : str
        What is claimed, and the paper's number with its place.
    how : str
        How ours was obtained, or what it would take.
    disputed : str
        What disputes or limits it.
    files : tuple of str
        Measured runs of the experiment.
    find : callable
        Takes these runs and returns a Found.
    """

    experiment: str
    text: str
    paper: str
    how: str
    disputed: str
    files: tuple[str, ...]
    find: Callable[..., Found]

    def found(self) -> Found:
        """Ask the measured runs.

        Raises
        ------
        ValueError
            If a run is missing or damaged.
        """
        return self.find(*self.runs())

    def runs(self) -> list[Run]:
        """Read its measured runs, each once."""
        return [_read(self.experiment, name) for name in self.files]


_read = cache(read_measured)


def page(claims: list[Claim]) -> str:
    """Write the whole page as Markdown.

    Parameters
    ----------
    claims : list of Claim
        In the order of the page; those of a week beside each other.

    Raises
    ------
    ValueError
        If a measured run is missing or damaged, or a text would break its table.
    """
    found = [(claim, claim.found()) for claim in claims]
    parts = [_INTRODUCTION, _overview(found)]
    for number, stem in enumerate(KEYS, 1):
        if rows := [_row(claim, what) for claim, what in found if claim.experiment == stem]:
            heading = f"## [{_title(number, stem)}]({number:02d}_{stem}.md)"
            table = "| Claim | In the paper | Here | Verdict |\n|---|---|---|---|\n" + "\n".join(rows)
            parts.append(f"{heading}\n\n{{.ck-evidence}}\n{table}\n")
    return "\n".join(parts)


def _title(number: int, stem: str) -> str:
    return f"Week {number}: {stem.replace('_', ' ')}"


def _overview(found: list[tuple[Claim, Found]]) -> str:
    counts = Counter((claim.experiment, what.status) for claim, what in found)
    lines = [f"| Week | {' | '.join(STATUSES)} |", "|---" + "|--:" * len(STATUSES) + "|"]
    for number, stem in enumerate(KEYS, 1):
        lines.append(f"| {number} | {' | '.join(str(counts[stem, status] or '') for status in STATUSES)} |")
    totals = Counter(what.status for _, what in found)
    lines.append(f"| all | {' | '.join(f'**{totals[status]}**' for status in STATUSES)} |")
    return "\n".join(lines) + "\n"


def _row(claim: Claim, what: Found) -> str:
    answers = [f"{'✓' if yes else '✗'} {question}" for question, yes in what.asked.items()]
    how = "<br>".join(text for text in (claim.how, _provenance(claim)) if text)
    cells = [
        f"**{claim.text}**<br>*Disputed or limited:* {claim.disputed}",
        claim.paper,
        f"{what.ours}<br><small>{how}</small>",
        "<br>".join([f"**{what.status}**", *answers, *([f"({what.blind})"] if what.blind else [])]),
    ]
    for cell in cells:
        if "|" in cell or "\n" in cell:
            raise ValueError(f"expected no | and no line break in a cell of the evidence page, got {cell!r}")
    return f"| {' | '.join(cells)} |"


def _provenance(claim: Claim) -> str:
    """The files with links, the time that the runs took and the hardware, from their headers."""
    if not claim.files:
        return ""
    headers = [run.header for run in claim.runs()]
    minutes = sum(header.wall_seconds for header in headers) / 60
    machines = dict.fromkeys(machine(header.hardware) for header in headers)
    changed = any(str(header.git_commit).endswith("-dirty") for header in headers)
    folder = f"../src/coursekit/experiments/{claim.experiment}/measured"
    links = [f"[{name}]({folder}/{name}.csv)" for name in claim.files]
    if few := len(links) <= 3:
        links = [
            f"{link} ([settings]({folder}/{n}.json))" for link, n in zip(links, claim.files, strict=True)
        ]
    return (
        f"{f'{minutes:.0f} minutes' if minutes > 1.5 else 'A minute or less'} "
        f"on {'; '.join(machines)}: {', '.join(links)}"
        + ("" if few else "; settings in the JSON files of the same names, beside them in the package")
        + (", made from a checkout with uncommitted changes." if changed else ".")
    )


def machine(hardware: dict[str, object]) -> str:
    """Say on what a run was made.

    >>> machine({"cpu": "AMD EPYC", "cores": 4, "memory_bytes": 25_000_000_000, "gpu": None})
    'AMD EPYC, 4 cores, no GPU'
    """
    return f"{hardware['cpu']}, {hardware['cores']} cores, {hardware['gpu'] or 'no GPU'}"


def main(root: Path) -> int:
    """Write the page of a checkout and say how the verdicts fell.

    Parameters
    ----------
    root : Path
        The folder that holds ``chapters``.

    Returns
    -------
    int
        The exit status, 0.
    """
    from coursekit.book.claims import CLAIMS

    atomic_write(root / PAGE, page(CLAIMS).encode())
    counts = Counter(claim.found().status for claim in CLAIMS)
    print(f"{PAGE}: " + ", ".join(f"{counts[status]} {status}" for status in STATUSES))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path.cwd()))
