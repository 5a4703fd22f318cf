"""The facilitator's page: right numbers, nobody named, and no file that takes the others along."""

import json
import os
import re
import sys

import pytest
from bs4 import BeautifulSoup

from coursekit import cli, lab
from coursekit.lab import cohort, journal

WEEK = "grokking"
TABLE = "grokking.division_table"


def student(*, passed=True, needed=1, met=(), predictions=None):
    entry = {"attempts": needed, "passed": passed} | ({"needed": needed} if passed else {})
    if met:
        entry["misconceptions"] = dict.fromkeys(met, 1)
    return {"exercises": {TABLE: entry}, "predictions": predictions or {}}


def gap(answer, actual, confidence, close):
    revealed = {"answer": answer, "actual": actual, "confidence": confidence, "close": close, "unit": "%"}
    return {"grokking.gap": {"answer": answer, "revealed": revealed}}


@pytest.fixture
def folder(tmp_path):
    """Three students, one of them in a folder of their own, with an old file among them."""
    place = tmp_path / "handed in"
    (place / "carol <b>").mkdir(parents=True)
    files = {
        "alice.json": student(needed=3, met=["integer division"], predictions=gap(40, 30, 90, True)),
        "bob.json": student(passed=False, needed=2, met=["integer division", "no such name"]),
        "carol <b>/p.json": {
            "exercises": {
                TABLE: {"attempts": 1, "passed": True},
                "grokking.answer_accuracy": {"attempts": 1},
            },
            "predictions": gap(99, 30, 90, False),
        },
    }
    for name, content in files.items():
        (place / name).write_text(json.dumps(content))
    return place


def tables(page):
    """Return every table of a page by its caption, as rows of text."""
    found = BeautifulSoup(page, "html.parser").find_all("table")
    return {
        table.caption.get_text(): [
            [cell.get_text() for cell in row.find_all(["th", "td"])] for row in table.tbody.find_all("tr")
        ]
        for table in found
    }


def test_the_numbers_are_those_of_the_files(folder):
    page = cohort.cohort_page(cohort.read_cohort(folder))
    assert "From the progress of 3 students." in page
    found = tables(page)
    assert found["Exercises, the hardest first"] == [
        ["answer accuracy", "2 of 5", "0 of 1", "not known"],
        ["division table", "1 of 5", "2 of 3", "3"],
    ]
    ((name, exercise, n, said),) = found["Misconceptions met, the most frequent first"]
    assert (name, exercise, n) == ("integer division", "division table", "2")
    assert said.startswith("this is whole-number division")
    assert found["Predictions, as they stood when the result was first shown"] == [
        ["gap", "2", "1 of 2", "0", "2", "69.5 %", "30 %"]
    ]
    assert found["What was said, and what came"] == [["90 %", "1 of 2"]]
    assert "50 % came close, where 90 % was said on average: surer than right. Brier score 0.41" in page


def test_the_page_names_nobody_and_asks_nothing_of_a_network(folder):
    page = cohort.cohort_page(cohort.read_cohort(folder))
    assert not re.search("alice|bob|carol", page)
    assert "<script" not in page
    assert not re.search(r"https?:|src=|@import|url\(", page)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("cut.json", b'{"exercises": {"grokking.div'),
        ("photo.jpg", b"\xff\xd8\xff\xe0\x00"),
        ("empty.json", b""),
        ("other.json", b'{"name": "Dave"}'),
        ("large.json", b'{"exercises": {}, "predictions": {}}' + b" " * cohort.LARGEST_FILE),
        ("list.json", b'{"exercises": {"a": []}, "predictions": {}}'),
        ("deep.json", b'{"a":' * 50_000),
    ],
)
def test_a_damaged_or_foreign_file_is_named_and_nothing_else_is_lost(folder, tmp_path, capsys, name, content):
    before = cohort.cohort_page(cohort.read_cohort(folder))
    (folder / name).write_bytes(content)
    out = tmp_path / "cohort.html"
    assert cli.main(["cohort", str(folder), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert f"left out {folder / name}: " in printed
    assert "The progress of 3 students is in" in printed
    assert tables(out.read_text()) == tables(before)
    assert "1 file held no progress and was left out." in out.read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="file names are text there")
def test_a_name_that_is_no_text_is_told_as_far_as_it_goes(folder, tmp_path, capsys):
    (folder / os.fsdecode(b"M\xfcller.json")).write_bytes(b"")
    assert cli.main(["cohort", str(folder), "--out", str(tmp_path / "cohort.html")]) == 0
    assert "M\\udcfcller.json: it is no JSON" in capsys.readouterr().out


def test_a_link_to_nowhere_and_a_folder_in_the_place_of_a_file_are_no_trouble(folder):
    (folder / "gone.json").symlink_to(folder / "nowhere")
    (folder / "round.json").symlink_to(folder / "round.json")
    (folder / "folder.json").mkdir()
    (folder / "page.html").write_text("the page of last week")
    found = cohort.read_cohort(folder, ignore=folder / "page.html")
    assert [file.name for file in found.skipped] == ["gone.json", "round.json"]
    assert len(found.students) == 3


def test_hostile_values_stay_text_and_numbers_stay_small(folder, tmp_path):
    entries = {"answer": 10**400, "actual": "<script>", "close": False, "unit": "<b>"}
    evil = {"exercises": {"<script>x</script>": {}}, "predictions": {"grokking.<i>": {"revealed": entries}}}
    evil["exercises"]["half a character: \ud800"] = {}
    (folder / "evil.json").write_text(json.dumps(evil))
    page = cohort.write_cohort_page(cohort.read_cohort(folder), tmp_path / "page.html").read_text()
    assert not re.search(r"<script|<b>|<i>", page)
    assert "has no such exercise: &lt;script&gt;" in page


def test_never_is_later_than_any_step(tmp_path):
    for name, answer in (("a", "never"), ("b", "never"), ("c", 1000)):
        revealed = {"answer": answer, "actual": 3000, "confidence": None, "close": False, "unit": "steps"}
        entry = {"exercises": {}, "predictions": {"grokking.delay": {"revealed": revealed}}}
        (tmp_path / f"{name}.json").write_text(json.dumps(entry))
    found = tables(cohort.cohort_page(cohort.read_cohort(tmp_path)))
    assert found["Predictions, as they stood when the result was first shown"] == [
        ["delay", "3", "0 of 3", "1", "2", "never", "3000 steps"]
    ]
    assert "What was said, and what came" not in found


def test_copies_are_pointed_out(folder, tmp_path, capsys):
    (folder / "bob (1).json").write_bytes((folder / "bob.json").read_bytes())
    assert cli.main(["cohort", str(folder), "--out", str(tmp_path / "page.html")]) == 0
    assert "are the same, and both are counted" in capsys.readouterr().out


def test_the_page_may_lie_in_the_folder_and_be_made_again(folder, capsys):
    words = ["cohort", str(folder), "--out", str(folder / "page.html")]
    assert cli.main(words) == 0
    first = (folder / "page.html").read_text()
    assert cli.main(words) == 0
    assert (folder / "page.html").read_text() == first
    assert "left out" not in capsys.readouterr().out


def test_what_a_student_exports_is_what_the_page_counts(tmp_path, capsys):
    lab.check(TABLE, lambda p: [[a // b for b in range(1, p)] for a in range(p)])
    lab.predict("grokking.gap", "How many?", unit="%", answer=50, confidence=60).reveal(45)
    journal.record("predictions", "grokking.delay", answer="never")
    assert cli.main(["progress", "--export", str(tmp_path / "in" / "mine.json")]) == 0
    found = tables(cohort.cohort_page(cohort.read_cohort(tmp_path / "in")))
    assert found["Misconceptions met, the most frequent first"][0][:3] == [
        "integer division",
        "division table",
        "1",
    ]
    predictions = found["Predictions, as they stood when the result was first shown"]
    assert predictions == [
        ["delay", "1", "none compared"] + [""] * 4,
        ["gap", "1", "1 of 1", "0", "1", "50 %", "45 %"],
    ]


@pytest.mark.parametrize(
    "make", [lambda place: None, lambda place: place.mkdir(), lambda place: place.write_text("")]
)
def test_nothing_to_read_gets_one_sentence(tmp_path, capsys, make):
    make(tmp_path / "place")
    assert cli.main(["cohort", str(tmp_path / "place")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_students_who_did_nothing_make_a_page_too(tmp_path):
    (tmp_path / "new.json").write_text('{"exercises": {}, "predictions": {}}')
    page = cohort.cohort_page(cohort.read_cohort(tmp_path))
    assert "From the progress of 1 student." in page
    assert "Nobody has attempted an exercise" in page
    assert tables(page) == {}
