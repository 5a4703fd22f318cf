"""The week on paper: one PDF from the chapter, the session plan and the references, printed by a browser.

The cover names the readings with minutes and links; then come the guided questions with room to write, the questions of
the discussion without their answers, and further reading. No paper's text is part of it: PDF files that a facilitator
puts into a folder are added at the end.
"""

from __future__ import annotations

import html
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from coursekit.book import repository

BROWSERS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "microsoft-edge",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)
_ROW = re.compile(r"^\| *(\d+) *\| *(.+?) *\| *(.+?) *\|$", re.MULTILINE)


@dataclass(frozen=True)
class Reading:
    """One line of a reading list; ``work`` names author and year, ``reference`` is a line for a bibliography.

    ``label`` and ``why`` are Markdown; ``url`` may be empty.
    """

    minutes: int
    label: str
    work: str
    why: str
    reference: str
    url: str


@dataclass(frozen=True)
class Packet:
    """What is printed for one week. Questions and ``intro`` are Markdown without roles."""

    course: str
    week: int
    title: str
    question: str
    readings: Sequence[Reading]
    further: Sequence[Reading]
    intro: str
    questions: Sequence[str]
    discussion: Sequence[str]


def read_packet(root: Path, week: int) -> Packet:
    """Gather one week's packet from the sources of the site.

    Parameters
    ----------
    root : Path
        The repository's folder.
    week : int
        One of the weeks that this copy of the course has.

    Returns
    -------
    Packet
        ``readings`` are the texts that the table on the first page names for the week, ``further`` the others.

    Raises
    ------
    ValueError
        If there is no such week, a section is missing from its pages, or the first page names none of its readings.
    """
    weeks = repository.weeks(root)
    if week not in weeks:
        raise ValueError(
            f"expected one of this course's weeks, {', '.join(map(str, weeks))}; got {week} "
            "(`make adopt WEEKS=...` chooses the weeks)"
        )
    name = f"{week:02}_{weeks[week]}.md"
    chapter, plan = (_read(root / "chapters" / place / name) for place in ("", "facilitator"))
    works = _works(root / "references.bib")
    equations = {
        label: i for i, label in enumerate(re.findall(r"(?:\$\$ *\(|:label: *)([\w-]+)", chapter), start=1)
    }

    def plain(text: str) -> str:
        return _without_roles(text, works, equations)

    about = re.search(
        rf"^\| *{week} *\| *(.+?) *\| *(.+?) *\|", _read(root / "chapters" / "index.md"), re.MULTILINE
    )
    question, papers = about.groups() if about else ("", "")
    listed = _readings(_section(chapter, "Reading list", name), works, plain)
    chosen = [one for one in listed if one.work and one.work in papers]
    if not chosen:
        there = ", ".join(dict.fromkeys(one.work for one in listed if one.work)) or "none"
        raise ValueError(
            f"week {week} in the table of chapters/index.md names no text of the chapter's reading list: expected one "
            f"or more of {there}; got {papers or 'no such row'}"
        )
    intro, _, items = _section(chapter, "Guided reading", name).partition("\n1. ")
    talk = _section(plan, "Discussion questions", f"facilitator/{name}")
    heading = re.search(r"^# (.+)$", chapter, re.MULTILINE)
    return Packet(
        course=repository.title(root),
        week=week,
        title=plain(heading.group(1)) if heading else weeks[week],
        question=plain(question),
        readings=chosen,
        further=[one for one in listed if one not in chosen],
        intro=plain(intro.strip()),
        questions=[plain(_dedent(item)) for item in re.split(r"^\d+\. +", items, flags=re.MULTILINE)],
        discussion=[
            plain(" ".join(q.split())) for q in re.findall(r"^\*\*\d+\. (.+?)\*\*\n:", talk, re.M | re.S)
        ],
    )


def packet_html(packet: Packet) -> str:
    """Return a packet as one page that needs no network, laid out for A4 or Letter."""
    from markdown_it import MarkdownIt
    from mdit_py_plugins.dollarmath import dollarmath_plugin

    markdown = MarkdownIt("commonmark", {"html": False, "typographer": True}).enable(
        ["table", "replacements", "smartquotes"]
    )
    markdown.use(dollarmath_plugin, renderer=_math)

    def asked(questions: Sequence[str], lines: int) -> str:
        return "".join(f"<li>{markdown.render(question)}{_LINE * lines}</li>" for question in questions)

    def table(readings: Sequence[Reading], caption: str) -> str:
        rows = "".join(
            f"<tr><td>☐</td><td>{one.minutes} min</td>"
            f"<td><b>{markdown.renderInline(one.label)}</b>: {markdown.renderInline(one.why)}<br>"
            f"<small>{html.escape(one.reference)} {_link(one.url)}</small></td></tr>"
            for one in readings
        )
        head = '<thead><tr><th scope="col">Read</th><th scope="col">Time</th><th scope="col">Text</th></tr></thead>'
        return f"<table><caption>{caption}</caption>{head}<tbody>{rows}</tbody></table>"

    title, minutes = markdown.renderInline(packet.title), sum(one.minutes for one in packet.readings)
    further = (
        f"<h2>Further reading</h2>{table(packet.further, 'For those who want more')}"
        if packet.further
        else ""
    )
    body = (
        f'<section class="cover"><p class="course">{html.escape(packet.course)}</p>'
        f'<p class="week">Week {packet.week}</p>'
        f'<h1>{title}</h1><p class="question">{markdown.renderInline(packet.question)}</p>'
        f"{table(packet.readings, f'To read before the meeting: {minutes} minutes')}"
        '<p class="when">We meet on <span></span> at <span></span></p></section>'
        f"<section><h2>Guided questions</h2>{markdown.render(packet.intro)}"
        f"<ol>{asked(packet.questions, 4)}</ol></section>"
        f"<section><h2>For the discussion</h2><ol>{asked(packet.discussion, 2)}</ol></section>"
        f'<section>{further}<div class="notes"><h2>Notes</h2>{_LINE * 10}</div></section>'
    )
    script = f"<script>{_mathjax()}</script>" if r"\(" in body or r"\[" in body else ""
    head = f"<title>Week {packet.week}: {html.escape(packet.title)}</title><style>{_STYLE}</style>{script}"
    return f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">{head}</head><body>{body}</body></html>\n'


def write_packet(root: Path, week: int, out: Path, *, papers: Path | None = None) -> list[Path]:
    """Write one week's packet as a PDF.

    Parameters
    ----------
    root : Path
        The repository's folder.
    week : int
        One of the course's weeks.
    out : Path
        The file to write. If its name ends in .html, the page is written, to be printed from a browser by hand.
    papers : Path, optional
        A folder whose PDF files are added in the order of their names, each beginning on an odd page. By default
        ``papers/NN_stem`` in the repository, if it is there; git does not see it.

    Returns
    -------
    list of Path
        The PDF files that were added.

    Raises
    ------
    ValueError
        If there is no such week, folder or readable PDF, or the browser fails.
    ModuleNotFoundError
        If there is no browser, or PDF files are to be added without pypdf; it says what to install.
    """
    page = packet_html(read_packet(root, week))
    if out.suffix == ".html":
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(page, encoding="utf-8")
        return []
    if papers is not None and not papers.is_dir():
        raise ValueError(f"{papers} is not a folder: expected one with PDF files")
    folder = papers or root / "papers" / f"{week:02}_{repository.weeks(root)[week]}"
    added = sorted(file for file in folder.glob("*") if file.suffix.lower() == ".pdf")
    browser = find_browser()
    out.parent.mkdir(parents=True, exist_ok=True)
    # beside the result: a browser that came as a snap sees no other temporary folder
    with tempfile.TemporaryDirectory(dir=out.parent, prefix="packet-") as temporary:
        source, printed = Path(temporary, "packet.html").resolve(), Path(temporary, "packet.pdf").resolve()
        source.write_text(page, encoding="utf-8")
        _print(browser, source, printed)
        if added:
            _join([printed, *added], printed)
        os.replace(printed, out)
    return added


def find_browser() -> str:
    """Return a browser that prints: the one that CHROMIUM names, or the first of `BROWSERS` that is here.

    Raises
    ------
    ModuleNotFoundError
        If there is none.
    """
    named = os.environ.get("CHROMIUM")
    for name in [named] if named else BROWSERS:
        if program := shutil.which(name):
            return program
    raise ModuleNotFoundError(
        f"printing needs a browser, and {f'CHROMIUM={named} is none' if named else 'none was found'}: install Chromium "
        "(Debian: sudo apt install chromium; Ubuntu: sudo snap install chromium; macOS: brew install --cask chromium), "
        "or write the page with --out packet.html and print it from any browser"
    )


def _print(browser: str, source: Path, target: Path) -> None:
    command = [
        browser,
        "--headless",
        # the sandbox refuses root, and Ubuntu refuses the sandbox; our own page, without network, needs none
        *(["--no-sandbox"] if sys.platform == "linux" else []),
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        f"--user-data-dir={target.parent / 'profile'}",  # not that of a window that is open
        "--virtual-time-budget=30000",  # until the formulas are set
        "--no-pdf-header-footer",
        f"--print-to-pdf={target}",
        source.as_uri(),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    except subprocess.TimeoutExpired:
        raise ValueError(
            f"{browser} did not print within 4 minutes: close other programs and try again"
        ) from None
    if not (target.is_file() and target.read_bytes().startswith(b"%PDF")):
        said = done.stderr.strip().splitlines()[-1:] or ["nothing"]
        raise ValueError(f"{browser} printed nothing (it said: {said[0]}); name another browser in CHROMIUM")


def _join(files: Sequence[Path], target: Path) -> None:
    """Write several PDF files into one, each beginning on an odd page."""
    if find_spec("pypdf") is None:
        raise ModuleNotFoundError("adding PDF files needs pypdf: install it with `pip install pypdf`")
    import pypdf
    from pypdf.errors import DependencyError, PyPdfError

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # what it logs about a broken file, it raises
    writer = pypdf.PdfWriter()
    for file in files:
        if len(writer.pages) % 2:
            writer.add_blank_page()
        try:
            writer.append(file, outline_item=file.stem)
        except (PyPdfError, DependencyError, ValueError, KeyError, TypeError, OSError) as error:
            raise ValueError(
                f"{file} cannot be added ({error}): replace it, or take it out of the folder"
            ) from None
    writer.write(target)


def _read(file: Path) -> str:
    if not file.is_file():
        raise ValueError(f"{file} does not exist: the packet is made in the repository's folder")
    return file.read_text(encoding="utf-8")


def _section(page: str, heading: str, name: str) -> str:
    """Return what stands below a heading of the second level, up to the next one."""
    found = re.search(
        rf"^## {heading}.*?\n(.*?)(?=^(?:\([\w-]+\)=\n)?## |\Z)", page, re.MULTILINE | re.DOTALL
    )
    if found is None:
        raise ValueError(f"chapters/{name} has no section `## {heading}`, which the packet prints")
    return "\n" + found.group(1)


def _dedent(item: str) -> str:
    return re.sub(r"^ {1,4}", "", item.strip(), flags=re.MULTILINE)


def _readings(section: str, works: dict[str, tuple[str, str, str]], plain: Any) -> list[Reading]:
    readings = []
    for minutes, text, why in _ROW.findall(section):
        keys = re.findall(r"\{cite:[tp]\}`([^`]+)`", text)
        known = [works[key.strip()] for key in ",".join(keys).split(",") if key.strip() in works]
        work, reference, url = known[0] if known else ("", "", "")
        work = work.replace("(", "").replace(")", "")
        readings.append(Reading(int(minutes), plain(text), work, plain(why), reference, url))
    return readings


def _works(bibliography: Path) -> dict[str, tuple[str, str, str]]:
    """Return the label, the line and the address of every work cited."""
    from pybtex.database import parse_file
    from pybtex.richtext import Text

    works = {}
    for key, entry in parse_file(str(bibliography)).entries.items():
        people = [
            str(Text.from_latex(" ".join([*person.prelast_names, *person.last_names])))
            for person in entry.persons.get("author", [])
        ]
        who = people[0] + " et al." if len(people) > 2 else " and ".join(people)
        fields = {
            name: str(Text.from_latex(value))
            for name, value in entry.fields.items()
            if name in ("title", "year")
        }
        published = re.search(r"https?://[^\s}]+", entry.fields.get("howpublished", ""))
        if "url" in entry.fields:
            url = entry.fields["url"]
        elif "eprint" in entry.fields:
            url = f"https://arxiv.org/abs/{entry.fields['eprint']}"
        elif "doi" in entry.fields:
            url = f"https://doi.org/{entry.fields['doi']}"
        else:
            url = published.group() if published else ""
        year = fields.get("year", "n.d.")
        title = fields.get("title", "")
        for tex, quote in (("``", "“"), ("''", "”"), ("`", "‘"), ("'", "’")):
            title = title.replace(tex, quote)
        works[key] = (f"{who} ({year})", f"{who} ({year}). {title}{'' if title.endswith('?') else '.'}", url)
    return works


def _without_roles(text: str, works: dict[str, tuple[str, str, str]], equations: dict[str, int]) -> str:
    """Return Markdown in which roles and links within the site have become words.

    >>> _without_roles("{term}`Steps <step>` of {eq}`a`, see [there](x.md)", {}, {"a": 2})
    'Steps of (2), see there'
    """

    def role(match: re.Match[str]) -> str:
        name, content = match.groups()
        if name in ("cite:t", "cite:p"):
            labels = [works[key.strip()][0] for key in content.split(",") if key.strip() in works]
            if name == "cite:t":
                return "; ".join(labels)
            return f"({'; '.join(label.replace(' (', ', ').rstrip(')') for label in labels)})"
        if name == "eq":
            return f"({equations[content]})" if content in equations else "of the chapter"
        return re.sub(r"\s*<[^>]*>$", "", content)

    text = re.sub(r"\{([a-z:]+)\}`([^`]+)`", role, text)
    return re.sub(r"\[([^\]]+)\]\((?!https?:)[^)]*\)", r"\1", text)


def _math(content: str, options: dict[str, Any]) -> str:
    """Leave a formula to MathJax."""
    begin, end = (r"\[", r"\]") if options.get("display_mode") else (r"\(", r"\)")
    return f"{begin}{html.escape(content)}{end}"


def _mathjax() -> str:
    package = find_spec("sphinx-mathjax-offline")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("formulas need sphinx-mathjax-offline: run make environment")
    script = Path(package.origin).parent / "static" / "mathjax" / "tex-svg.js"
    return "MathJax={options:{enableMenu:false}};" + script.read_text(encoding="utf-8").replace(
        "</script", "<\\/script"
    )


def _link(url: str) -> str:
    return (
        f'<a href="{html.escape(url)}">{html.escape(url)}</a>'
        if url.startswith(("http://", "https://"))
        else ""
    )


_LINE = '<div class="line"></div>'
_STYLE = """
@page { margin: 18mm 18mm 20mm; @bottom-center { content: counter(page); font: 9pt sans-serif; } }
body { font: 10.5pt/1.45 Georgia, "Noto Serif", "Liberation Serif", serif; margin: 0; color: #111; }
h1 { font-size: 24pt; line-height: 1.15; margin: 4mm 0; } h2 { font-size: 15pt; margin: 0 0 4mm; }
h1, h2, .course, .week, th, caption { font-family: system-ui, "Noto Sans", "Liberation Sans", Arial, sans-serif; }
section { break-before: page; } .cover { break-before: auto; }
.course { font-size: 12pt; margin: 25mm 0 0; } .week { font-size: 14pt; font-weight: 600; margin: 2mm 0 0; }
.question { font-size: 13pt; font-style: italic; margin-bottom: 15mm; }
table { border-collapse: collapse; width: 100%; margin-bottom: 10mm; }
caption { text-align: left; font-weight: 600; padding-bottom: 2mm; }
th, td { text-align: left; vertical-align: top; padding: 1.5mm 3mm 1.5mm 0; border-bottom: .3pt solid #888; }
td:nth-child(2) { white-space: nowrap; } small { color: #333; overflow-wrap: anywhere; } a { color: inherit; }
li { margin-bottom: 3mm; } li, .notes { break-inside: avoid; } li p, ol { margin: 0; } ol { padding-left: 7mm; }
.line { height: 8mm; box-sizing: border-box; border-bottom: .3pt solid #888; }
mjx-container [stroke-width="0"] { stroke: none; }  /* in a PDF it is drawn, and looks bold */
.when span { display: inline-block; width: 45mm; border-bottom: .5pt solid #333; }
"""
