"""When the group meets: one meeting a week from a start date, as text or as a calendar file (iCalendar, RFC 5545)."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from coursekit.lab.session import LABS

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True)
class Meeting:
    """One meeting: the day, the number of the course's week, and what it is about."""

    day: date
    week: int
    title: str

    def __str__(self) -> str:
        return (
            f"{WEEKDAYS[self.day.weekday()].title()} {self.day.isoformat()}  week {self.week}: {self.title}"
        )


def timetable(
    start: date, *, weekday: str | None = None, weeks: Iterable[int] | None = None
) -> list[Meeting]:
    """Return the meetings of a course, one a week.

    Parameters
    ----------
    start : date
        The first meeting is on this day or in the six days after it.
    weekday : str, optional
        ``"mon"`` to ``"sun"``; the start's own by default.
    weeks : iterable of int, optional
        The course's weeks that the group takes, in the order of their numbers; all by default.

    Returns
    -------
    list of Meeting

    Raises
    ------
    ValueError
        If there is no such weekday or week, or the calendar ends before the course does.

    References
    ----------
    Titles are those of `coursekit.lab.session.LABS`.

    Examples
    --------
    >>> for meeting in timetable(date(2027, 1, 18), weekday="tue", weeks=[5, 6]):
    ...     print(meeting)
    Tue 2027-01-19  week 5: Grokking
    Tue 2027-01-26  week 6: The reversal curse
    """
    if weekday is not None and weekday not in WEEKDAYS:
        raise ValueError(f"expected a weekday, one of {', '.join(WEEKDAYS)}; got {weekday!r}")
    titles = {lab.week: lab.title for lab in LABS.values()}
    chosen = sorted(set(titles if weeks is None else weeks))
    if not chosen or not set(chosen) <= set(titles):
        have = ", ".join(map(str, sorted(titles)))
        raise ValueError(f"expected weeks among {have}; got {', '.join(map(str, chosen)) or 'none'}")
    wait = 0 if weekday is None else (WEEKDAYS.index(weekday) - start.weekday()) % 7
    try:
        return [
            Meeting(start + timedelta(days=wait + 7 * i), week, titles[week]) for i, week in enumerate(chosen)
        ]
    except OverflowError:
        raise ValueError(f"expected a start long before the year 10000; got {start.isoformat()}") from None


def as_ics(
    meetings: Sequence[Meeting], *, course: str, stamp: datetime, at: time | None = None, minutes: int = 90
) -> str:
    """Return meetings as a calendar file that calendar programs import.

    Parameters
    ----------
    meetings : sequence of Meeting
        What :func:`timetable` returns.
    course : str
        The name of the calendar.
    stamp : datetime
        When the file was made, in UTC.
    at : time, optional
        When a meeting begins, by the clock of whoever reads it (RFC 5545, form 1: no time zone); None: all day.
    minutes : int
        How long a meeting lasts.

    Returns
    -------
    str
        Lines of at most 75 octets that end in CRLF. The same course, week and day give the same identifier, so that
        importing a file twice adds nothing.

    Raises
    ------
    ValueError
        If ``minutes`` is not positive.

    References
    ----------
    RFC 5545, sections 3.1 (folding), 3.3.11 (escapes), 3.6.1 (events: an all-day one ends on the day after).
    """
    if minutes <= 0:
        raise ValueError(f"expected a meeting of one minute or more; got {minutes}")
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//coursekit//timetable//EN", "CALSCALE:GREGORIAN"]
    lines.append(f"X-WR-CALNAME:{_escape(course)}")
    for meeting in meetings:
        identity = uuid.uuid5(uuid.NAMESPACE_OID, f"{course}\n{meeting.week}\n{meeting.day.isoformat()}")
        if at is None:
            after = meeting.day + timedelta(days=1)
            when = [f"DTSTART;VALUE=DATE:{meeting.day:%Y%m%d}", f"DTEND;VALUE=DATE:{after:%Y%m%d}"]
        else:
            begin = datetime.combine(meeting.day, at)
            when = [f"DTSTART:{begin:%Y%m%dT%H%M%S}", f"DURATION:PT{minutes}M"]
        lines += [
            "BEGIN:VEVENT",
            f"UID:{identity}",
            f"DTSTAMP:{stamp:%Y%m%dT%H%M%SZ}",
            *when,
            f"SUMMARY:{_escape(f'Week {meeting.week}: {meeting.title}')}",
            *([] if at else ["TRANSP:TRANSPARENT"]),  # a day that stays free for other appointments
            "END:VEVENT",
        ]
    lines.append("END:VCALENDAR")
    return "".join(f"{_fold(line)}\r\n" for line in lines)


def _escape(text: str) -> str:
    r"""Return a text as a value of RFC 5545.

    >>> print(_escape("Ngo; Maini, Sabri"))
    Ngo\; Maini\, Sabri
    """
    for plain, escaped in (("\\", "\\\\"), (";", "\\;"), (",", "\\,"), ("\r", ""), ("\n", "\\n")):
        text = text.replace(plain, escaped)
    return text


def _fold(line: str) -> str:
    """Break a line before its 76th octet, and never inside a character."""
    folded, size = "", 0
    for character in line:
        width = len(character.encode())
        if size + width > 75:
            folded, size = f"{folded}\r\n ", 1
        folded, size = folded + character, size + width
    return folded
