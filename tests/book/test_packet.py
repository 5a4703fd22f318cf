"""The printed week: everything from the sources, no answers, and one sentence where something is missing."""

import os
import re
import shutil
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

from coursekit import cli
from coursekit.book import adopt, packet

ROOT = Path(__file__).resolve().parents[2]
WEEKS = {int(chapter.name[:2]): chapter.stem[3:] for chapter in sorted(ROOT.glob("chapters/[0-9][0-9]_*.md"))}
CHROMIUM = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))
needs_browser = pytest.mark.skipif(not CHROMIUM.is_file(), reason=f"there is no {CHROMIUM}")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return a copy of what a packet is made from, with every week that there is."""
    shutil.copytree(ROOT / "chapters", tmp_path / "chapters")
    for name in ("_toc.yml", "_config.yml", "references.bib", "README.md"):
        shutil.copy(ROOT / name, tmp_path)
    adopt(None, tmp_path, weeks=WEEKS)
    return tmp_path


@pytest.mark.parametrize("week", WEEKS)
def test_every_week_has_a_whole_packet_without_answers_or_markup(copy: Path, week: int) -> None:
    found = packet.read_packet(copy, week)
    chapter = (ROOT / "chapters" / f"{week:02}_{WEEKS[week]}.md").read_text(encoding="utf-8")
    plan = (ROOT / "chapters" / "facilitator" / f"{week:02}_{WEEKS[week]}.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| (\d+) \| .*?\{cite:", chapter, re.MULTILINE)
    assert sorted(one.minutes for one in (*found.readings, *found.further)) == sorted(map(int, listed))
    assert found.readings
    assert all(one.url.startswith("https://") and one.reference for one in (*found.readings, *found.further))
    guided = chapter.split("## Guided reading")[1].split("\n## ")[0]
    assert len(found.questions) == len(re.findall(r"^\d+\. ", guided, re.MULTILINE)) >= 5
    assert len(found.discussion) == len(re.findall(r"^\*\*\d+\. ", plan, re.MULTILINE)) >= 5
    assert (
        re.findall(r"^\*\*\d+\. .*\n(?!:).*", plan, re.MULTILINE) == []
    )  # its answer would not be set apart
    text = BeautifulSoup(packet.packet_html(found), "html.parser").body.get_text()
    assert not re.search(r"Listen for|\{[a-z:]+\}|\]\(|\*\*|\.md|\$", text)
    assert f"Week {week}" in text
    assert found.course in text


def test_the_readings_are_those_that_the_first_page_names(copy: Path) -> None:
    found = packet.read_packet(copy, 3)
    assert [one.label for one in found.readings] == ["Wei et al. (2022)", "Schaeffer et al. (2023)"]
    assert found.readings[0].minutes == 60
    assert found.further[0].label == "Anderson (1972)"
    assert found.question == "Do abilities appear suddenly, or do our measures make it look so?"


def test_several_texts_of_one_author_and_year_are_told_apart_by_their_titles(copy: Path) -> None:
    chapter = copy / "chapters" / "05_grokking.md"
    row = "| 9 | *The first part* {cite:p}`power2022grokking` | begin here |\n"
    heading = "| Minutes | Text | Why |\n|---|---|---|\n"
    assert heading in chapter.read_text()
    chapter.write_text(chapter.read_text().replace(heading, heading + row))
    found = packet.read_packet(copy, 5)
    assert [one.label for one in found.readings[:2]] == [
        "*The first part* (Power et al., 2022)",
        "Power et al. (2022)",
    ]
    assert "<b><em>The first part</em> (Power et al., 2022)</b>" in packet.packet_html(found)


def test_a_week_whose_readings_the_first_page_does_not_name_is_refused(copy: Path) -> None:
    index = copy / "chapters" / "index.md"
    index.write_text(index.read_text().replace("| Power et al. 2022 |", "| Power et al. |"))
    with pytest.raises(ValueError, match=r"one or more of Power et al\. 2022, .*; got Power et al\."):
        packet.read_packet(copy, 5)


def test_the_numbers_of_equations_are_those_of_the_chapter(copy: Path) -> None:
    question = packet.read_packet(copy, 7).questions[1]
    assert "the gradient (2) yourself" in " ".join(question.split())


def test_the_page_needs_no_network_and_names_the_links(copy: Path) -> None:
    page = packet.packet_html(packet.read_packet(copy, 3))
    visible = BeautifulSoup(page, "html.parser").body
    assert visible.find_all(["img", "link", "iframe", "script"]) == []
    assert all(link.get_text() == link["href"] for link in visible.find_all("a"))


def test_an_adopted_copy_has_its_own_title_and_weeks(copy: Path, monkeypatch, capsys) -> None:
    adopt(None, copy, title="Ada's group", weeks=[3, 5])
    assert packet.read_packet(copy, 3).course == "Ada's group"
    monkeypatch.chdir(copy)
    assert cli.main(["packet", "7"]) == 2
    assert "one of this course's weeks, 3, 5; got 7" in capsys.readouterr().err


def test_a_missing_section_is_named(copy: Path) -> None:
    chapter = copy / "chapters" / "05_grokking.md"
    chapter.write_text(chapter.read_text().replace("## Reading list", "## To read"))
    with pytest.raises(ValueError, match=r"05_grokking\.md has no section `## Reading list`"):
        packet.read_packet(copy, 5)


def test_without_a_browser_it_says_what_to_install(copy: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(copy)
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(packet, "BROWSERS", ("chromium",))
    assert cli.main(["packet", "5", "--out", "p.pdf"]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "sudo apt install chromium" in message
    assert not (copy / "p.pdf").exists()
    assert cli.main(["packet", "5", "--out", "p.html"]) == 0
    assert "Guided questions" in (copy / "p.html").read_text()


def test_a_browser_that_fails_leaves_what_was_there(copy: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(copy)
    monkeypatch.setenv("CHROMIUM", "/bin/false")
    (copy / "p.pdf").write_text("the packet of last week")
    assert cli.main(["packet", "5", "--out", "p.pdf"]) == 2
    assert "/bin/false printed nothing" in capsys.readouterr().err
    assert (copy / "p.pdf").read_text() == "the packet of last week"
    assert not list(copy.glob("packet-*"))


def test_a_browser_that_has_no_sandbox_prints(copy: Path, monkeypatch) -> None:
    """On Ubuntu 24.04, GitHub's runner among them, Chromium does not start with its sandbox."""
    browser = copy / "browser"
    browser.write_text(
        '#!/bin/sh\ncase "$*" in *--no-sandbox*) ;; *) echo No usable sandbox! >&2; exit 1 ;; esac\n'
        'for word; do case $word in --print-to-pdf=*) echo %PDF > "${word#*=}" ;; esac; done\n'
    )
    browser.chmod(0o755)
    monkeypatch.setenv("CHROMIUM", str(browser))
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    packet.write_packet(copy, 5, copy / "p.pdf")
    assert (copy / "p.pdf").read_text() == "%PDF\n"


@needs_browser
def test_the_pdf_holds_the_questions_and_set_formulas(copy: Path, monkeypatch) -> None:
    pypdf = pytest.importorskip("pypdf")
    monkeypatch.setenv("CHROMIUM", str(CHROMIUM))
    assert packet.write_packet(copy, 7, copy / "out" / "p.pdf") == []
    pages = pypdf.PdfReader(copy / "out" / "p.pdf").pages
    text = "\n".join(page.extract_text() for page in pages)
    assert "Guided questions" in text
    assert "For the discussion" in text
    assert "\\(" not in text, "formulas are set"
    assert all(len(page.extract_text().split()) > 10 for page in pages), "no page holds a rest of lines only"
    assert [file.name for file in (copy / "out").iterdir()] == ["p.pdf"]


@needs_browser
def test_papers_are_added_in_order_on_odd_pages(copy: Path, monkeypatch, capsys, caplog) -> None:
    pypdf = pytest.importorskip("pypdf")
    monkeypatch.chdir(copy)
    monkeypatch.setenv("CHROMIUM", str(CHROMIUM))
    folder = copy / "papers" / "05_grokking"
    folder.mkdir(parents=True)
    for name, n_pages in (("b.PDF", 1), ("a.pdf", 3)):
        writer = pypdf.PdfWriter()
        for _ in range(n_pages):
            writer.add_blank_page(200, 300)
        writer.write(folder / name)
    (folder / "notes.txt").write_text("no PDF")
    assert cli.main(["packet", "5"]) == 0
    out = capsys.readouterr().out
    assert re.findall(r"added \S*/(\S+)", out) == ["a.pdf", "b.PDF"]
    reader = pypdf.PdfReader(copy / "_build" / "packets" / "week-05.pdf")
    small = [i for i, page in enumerate(reader.pages, start=1) if page.mediabox.width == 200]
    first = small[0]
    assert small[:3] == [first, first + 1, first + 2]
    assert first % 2 == 1
    assert reader.pages[first + 3].mediabox.width == 200
    assert [item.title for item in reader.outline] == ["packet", "a", "b"]

    (folder / "c.pdf").write_bytes(b"%PDF-1.4 cut off")
    before = (copy / "_build" / "packets" / "week-05.pdf").read_bytes()
    assert cli.main(["packet", "5"]) == 2
    assert re.fullmatch(r"coursekit: \S*c\.pdf cannot be added.*\n", capsys.readouterr().err)
    assert caplog.records == []
    assert (copy / "_build" / "packets" / "week-05.pdf").read_bytes() == before


def test_a_folder_of_papers_that_is_not_there_is_named(copy: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(copy)
    assert cli.main(["packet", "5", "--papers", "nowhere"]) == 2
    assert "nowhere is not a folder" in capsys.readouterr().err
