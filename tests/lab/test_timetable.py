"""The calendar: the right days, and a file that follows RFC 5545 to the octet."""

import itertools
import re
from datetime import UTC, date, datetime, time

import pytest

from coursekit import cli
from coursekit.lab.session import LABS
from coursekit.lab.timetable import WEEKDAYS, Meeting, as_ics, timetable

STAMP = datetime(2027, 1, 2, 3, 4, 5, tzinfo=UTC)


def unfolded(text):
    """Return the lines of a calendar as RFC 5545 3.1 reads them, each as (name with parameters, value)."""
    assert text.endswith("\r\n")
    assert "\n" not in text.replace("\r\n", "")
    assert all(len(line.encode()) <= 75 for line in text.split("\r\n"))
    return [tuple(line.split(":", 1)) for line in re.sub("\r\n[ \t]", "", text).split("\r\n")[:-1]]


@pytest.mark.parametrize("weekday", WEEKDAYS)
@pytest.mark.parametrize("start", [date(2027, 1, 18), date(2028, 2, 26), date(2026, 12, 31)])
def test_meetings_are_a_week_apart_on_that_weekday_and_begin_within_a_week(start, weekday):
    meetings = timetable(start, weekday=weekday)
    days = [meeting.day for meeting in meetings]
    assert 0 <= (days[0] - start).days <= 6
    assert {day.weekday() for day in days} == {WEEKDAYS.index(weekday)}
    assert {(b - a).days for a, b in itertools.pairwise(days)} == {7}
    assert [meeting.week for meeting in meetings] == sorted(lab.week for lab in LABS.values())


def test_all_day_events():
    lines = unfolded(as_ics(timetable(date(2026, 12, 31), weeks=[6, 5]), course="A, b; c\\d", stamp=STAMP))
    assert lines[0] == ("BEGIN", "VCALENDAR")
    assert lines[-1] == ("END", "VCALENDAR")
    assert ("VERSION", "2.0") in lines
    assert ("X-WR-CALNAME", "A\\, b\\; c\\\\d") in lines
    events = [dict(lines[i : i + 7]) for i, line in enumerate(lines) if line == ("BEGIN", "VEVENT")]
    assert [event["DTSTART;VALUE=DATE"] for event in events] == ["20261231", "20270107"]
    assert [event["DTEND;VALUE=DATE"] for event in events] == ["20270101", "20270108"]
    assert [event["SUMMARY"] for event in events] == ["Week 5: Grokking", "Week 6: The reversal curse"]
    assert {event["DTSTAMP"] for event in events} == {"20270102T030405Z"}
    assert len({event["UID"] for event in events}) == 2


def test_a_time_makes_events_with_a_length():
    text = as_ics(
        timetable(date(2027, 1, 18), weeks=[5]), course="c", stamp=STAMP, at=time(18, 30), minutes=120
    )
    assert ("DTSTART", "20270118T183000") in unfolded(text)
    assert ("DURATION", "PT120M") in unfolded(text)
    assert "DTEND" not in text


def test_the_same_meeting_has_the_same_identifier_whenever_the_file_is_made():
    uids = [
        [
            value
            for name, value in unfolded(as_ics(timetable(start), course=course, stamp=stamp))
            if name == "UID"
        ]
        for start, course, stamp in [
            (date(2027, 1, 18), "c", STAMP),
            (date(2027, 1, 18), "c", datetime(2030, 1, 1)),
            (date(2027, 1, 19), "c", STAMP),
            (date(2027, 1, 18), "d", STAMP),
        ]
    ]
    assert uids[0] == uids[1]
    assert len({uid for one in (uids[0], uids[2], uids[3]) for uid in one}) == 3 * len(uids[0])


@pytest.mark.parametrize("title", ["x" * 500, "é" * 200, "日本語" * 60, "🙂" * 50, "a\nBEGIN:VEVENT\r\nb"])
def test_any_title_folds_and_reads_back(title):
    lines = unfolded(as_ics([Meeting(date(2027, 1, 18), 1, title)], course="c", stamp=STAMP))
    (summary,) = [value for name, value in lines if name == "SUMMARY"]
    assert summary.replace("\\n", "\n") == f"Week 1: {title}".replace("\r", "")
    assert sum(line == ("BEGIN", "VEVENT") for line in lines) == 1


def test_the_command_prints_and_writes(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [
        "calendar",
        "2027-01-18",
        "--weekday",
        "tue",
        "--weeks",
        "2,5",
        "--time",
        "18:00",
        "--ics",
        "out/c.ics",
    ]
    assert cli.main(words) == 0
    assert capsys.readouterr().out.splitlines()[:2] == [
        "Tue 2027-01-19  week 2: Scaling laws",
        "Tue 2027-01-26  week 5: Grokking",
    ]
    written = (tmp_path / "out" / "c.ics").read_bytes()
    assert written.count(b"\r\nDTSTART:") == 2
    assert b"\r\r" not in written


def test_in_a_copy_of_the_course_its_own_weeks_and_title_are_taken(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "_toc.yml").write_text(
        "      - file: chapters/05_grokking\n      - file: chapters/06_reversal_curse\n"
    )
    (tmp_path / "_config.yml").write_text('title: "Ada\'s group"\n')
    assert cli.main(["calendar", "2027-01-18", "--ics", "c.ics"]) == 0
    assert capsys.readouterr().out.count(" week ") == 2
    assert "X-WR-CALNAME:Ada's group\r\n" in (tmp_path / "c.ics").read_bytes().decode()


@pytest.mark.parametrize(
    "words",
    [
        ["2027-02-30"],
        ["tomorrow"],
        ["2027-01-18", "--weekday", "someday"],
        ["2027-01-18", "--weeks", "2,99"],
        ["2027-01-18", "--weeks", "two"],
        ["2027-01-18", "--time", "25:00"],
        ["2027-01-18", "--minutes", "0", "--time", "18:00", "--ics", "x.ics"],
        ["9999-12-30"],
    ],
)
def test_bad_input_gets_one_sentence(tmp_path, capsys, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    try:
        status = cli.main(["calendar", *words])
    except SystemExit as exit:
        status = exit.code
    assert status == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
