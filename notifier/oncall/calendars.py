"""iCalendar: schedules that are kept in a calendar are read from it, and every schedule can be subscribed to.

Others write calendars: it is fetched with a limit of size and time, and parsed by a process of its own (``python -m
notifier.oncall.calendars``) with limits of memory and time, which writes its result as JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import requests

from notifier.http_client import AnswerTooLarge, call
from notifier.limited_process import bare_environment
from notifier.oncall.schedules import Shift

MAX_BYTES = 5 * 1024 * 1024
"""The largest calendar that is read."""
BEHIND, AHEAD = timedelta(days=40), timedelta(days=400)
"""How much of a calendar is read, from now."""

WHOLE_TIMEOUT = 12.0
"""Seconds for all events together. After that, each is read alone, since one of them may have no end."""

_MAX_EVENTS = 20_000
_TOO_LARGE = f"is larger than {MAX_BYTES // 1024**2} MiB; export less of the calendar's past"
_FETCH_TIMEOUT = 20.0  # seconds, for the whole of it
_PARSE_TIMEOUT = 30.0
_MEMORY = 256 * 1024 * 1024
"""Bytes: together with the service, it must fit into the 512 MiB of the example for Kubernetes."""
_CHUNK = 64 * 1024

T = TypeVar("T")


class CalendarError(Exception):
    """A calendar cannot be fetched or read. The text is the reason, to be written after the calendar's name: "cannot
    be fetched: …".
    """


class CalendarUnreadable(CalendarError):
    """A calendar was fetched and cannot be parsed; the attempt may have taken much computing."""


@dataclass(frozen=True, slots=True)
class Event:
    """An occurrence of an event: from *start* up to *end* (UTC), and the *names* that it mentions."""

    start: datetime
    end: datetime
    names: tuple[str, ...]


def fetch(source: str) -> bytes:
    """Return the calendar at *source*, a path or an http(s) URL.

    Raises:
        CalendarError: it cannot be fetched within some seconds, or is larger than `MAX_BYTES`.
    """
    try:
        data = _download(source) if "://" in source else _read(Path(source))
    except OSError as error:  # requests' errors are of it
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise CalendarError(f"cannot be fetched: {reason}") from None
    if len(data) > MAX_BYTES:
        raise CalendarError(_TOO_LARGE)
    return data


def _read(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(MAX_BYTES + 1)


def _download(url: str) -> bytes:
    try:
        answer = call("GET", url, seconds=_FETCH_TIMEOUT, max_bytes=MAX_BYTES)
    except requests.ReadTimeout:
        raise CalendarError(f"cannot be fetched: it takes longer than {_FETCH_TIMEOUT:.0f} seconds") from None
    except requests.TooManyRedirects:
        raise CalendarError(
            "cannot be fetched: the server redirects; give the URL that it redirects to"
        ) from None
    except AnswerTooLarge:
        raise CalendarError(_TOO_LARGE) from None
    if not answer.ok:
        raise CalendarError(f"cannot be fetched: the server answers {answer.status_code}")
    return answer.content


def parse(data: bytes, zone: ZoneInfo, start: datetime, end: datetime) -> list[Event]:
    """Return the events of a calendar that meet the time from *start* up to *end*.

    Days, and times without a zone, are those of *zone*.

    Raises:
        CalendarUnreadable: it is no calendar, or takes too long or too much to read.
    """
    command = [
        sys.executable,
        "-P",
        "-m",
        "notifier.oncall.calendars",
        str(zone),
        start.isoformat(),
        end.isoformat(),
        str(WHOLE_TIMEOUT),
    ]
    try:
        ended = subprocess.run(  # noqa: S603 (our own)
            command,
            input=data,
            capture_output=True,
            check=False,
            timeout=_PARSE_TIMEOUT,
            env=bare_environment(),
        )
    except OSError as error:
        raise CalendarError(f"cannot be read: no process can be started: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise CalendarUnreadable(f"cannot be read within {_PARSE_TIMEOUT:.0f} seconds") from None
    if ended.returncode != 0:
        last = ended.stderr.decode(errors="replace").strip().rpartition("\n")[2][:200]
        raise CalendarUnreadable(f"cannot be read: {last or 'it takes too much memory or time'}")
    return [
        Event(datetime.fromisoformat(begins), datetime.fromisoformat(ends), tuple(names))
        for begins, ends, names in json.loads(ended.stdout)
    ]


def match_contacts(
    events: Iterable[Event], contacts: Sequence[str]
) -> tuple[list[tuple[datetime, datetime, str]], list[str]]:
    """Return the events that name a contact, as (start, end, contact), and the summaries of the others.

    The summary may be a contact's name or hold it as a word; else it is an attendee's name, or the part
    of the address before the ``@``. Case does not matter.
    """
    known = {name.casefold(): name for name in contacts}
    words = re.compile(
        r"(?<!\w)(" + "|".join(re.escape(n) for n in sorted(known, key=len, reverse=True)) + r")(?!\w)"
    )
    found, unknown = [], []
    for event in events:
        texts = [name.strip().casefold() for name in event.names]
        exact = next((known[text] for text in texts if text in known), None)
        within = exact or next((known[m[1]] for text in texts if known and (m := words.search(text))), None)
        if within is None:
            unknown.append(event.names[0] if event.names else "")
        else:
            found.append((event.start, event.end, within))
    return found, list(dict.fromkeys(unknown))


def feed(title: str, shifts: Iterable[Shift], now: datetime) -> bytes:
    """Return *shifts* as an iCalendar that phones can subscribe to; gaps are left out."""
    from icalendar import Calendar as ICalendar
    from icalendar import Event as IEvent

    calendar = ICalendar()
    calendar.add("prodid", "-//Notifier//on call//EN")
    calendar.add("version", "2.0")
    calendar.add("x-wr-calname", title)
    calendar.add("refresh-interval", timedelta(hours=1), parameters={"value": "DURATION"})
    calendar.add("x-published-ttl", "PT1H")
    for shift in shifts:
        if shift.contact is None:
            continue
        event = IEvent()
        event.add("uid", f"{shift.schedule}-{shift.start:%Y%m%dT%H%M%SZ}@notifier")
        event.add("dtstamp", now.astimezone(UTC).replace(microsecond=0))
        event.add("dtstart", shift.start.astimezone(UTC))
        event.add("dtend", shift.end.astimezone(UTC))
        event.add("summary", f"{shift.contact} on call: {shift.schedule}")
        event.add("transp", "TRANSPARENT")
        calendar.add_component(event)
    return bytes(calendar.to_ical())


# -- the process that parses ------------------------------------------------------------------------------


def _instant(value: date, zone: ZoneInfo) -> datetime:
    moment = value if isinstance(value, datetime) else datetime.combine(value, time())
    return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)


def _names(component: Any) -> list[str]:
    names = [str(component.get("SUMMARY", ""))[:200]]
    attendees = component.get("ATTENDEE", [])
    for attendee in (attendees if isinstance(attendees, list) else [attendees])[:20]:
        address = re.sub("(?i)^mailto:", "", str(attendee))[:200]
        names += [str(getattr(attendee, "params", {}).get("CN", ""))[:200], address.partition("@")[0]]
    return [name for name in names if name.strip()]


_BAD_EVENT = (ValueError, KeyError, IndexError, AttributeError, TypeError, ArithmeticError, TimeoutError)
"""The errors that the libraries raise for a bad event; the last one if it has endless occurrences."""
_EVENT_TIMEOUT = 1.0  # seconds, for one event alone, after the whole took too long


def _time_out(*_: object) -> None:
    raise TimeoutError("it takes too long")


@contextlib.contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Raise TimeoutError within the block once `seconds` have passed."""
    signal.signal(signal.SIGALRM, _time_out)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _event(component: Any, zone: ZoneInfo) -> tuple[str, str, list[str]] | None:
    """Return start, end and names of an event; None if it was cancelled or is empty."""
    if str(component.get("STATUS", "")).upper() == "CANCELLED":
        return None
    begins, ends = (_instant(component[name].dt, zone) for name in ("DTSTART", "DTEND"))
    return (begins.isoformat(), ends.isoformat(), _names(component)) if ends > begins else None


def _components(
    data: bytes, reader: Any, recurring: Any, window: tuple[datetime, datetime], whole_timeout: float
) -> Iterator[Iterable[Any]]:
    """Yield the occurrences in *window*; if one event makes the whole fail, those of each good event.

    Raises:
        ValueError and its like: no event can be read.
    """
    try:
        with _limited(whole_timeout):
            whole = list(recurring.of(reader.from_ical(data), skip_bad_series=True).between(*window))
        yield whole
    except _BAD_EVENT:
        rest, _, _ = data.rpartition(b"END:VCALENDAR")
        head, *events = re.split(rb"(?im)^(?=BEGIN:VEVENT)", rest)
        series: dict[bytes, bytes] = {}
        for event in events:
            uid = re.search(rb"(?im)^UID.*", event)  # a change of an occurrence has the UID of its series
            key = uid[0] if uid else event
            series[key] = series.get(key, b"") + event
        good = 0
        for event in series.values():
            with contextlib.suppress(*_BAD_EVENT):
                with _limited(_EVENT_TIMEOUT):
                    calendar = reader.from_ical(head + event + b"END:VCALENDAR\r\n")
                    alone = list(recurring.of(calendar, skip_bad_series=True).between(*window))
                yield alone
                good += 1
        if not good:
            raise


def refuse_calls(event: str, _: tuple[Any, ...]) -> None:
    """Prevent this process from reaching anything outside."""
    if event.startswith(("socket.", "subprocess.", "os.exec", "os.fork", "os.system", "os.posix_spawn")):
        raise PermissionError(f"a calendar may not do that: {event}")


def main(zone_name: str, start: str, end: str, whole_timeout: str = str(WHOLE_TIMEOUT)) -> None:
    os.nice(10)  # pages come first
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (int(_PARSE_TIMEOUT), int(_PARSE_TIMEOUT)))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    sys.addaudithook(refuse_calls)
    import recurring_ical_events
    from icalendar import Calendar as ICalendar

    zone = ZoneInfo(zone_name)
    data = sys.stdin.buffer.read()
    if b"BEGIN:VCALENDAR" not in data.upper():
        raise SystemExit("it is no iCalendar: it has no BEGIN:VCALENDAR")
    window = datetime.fromisoformat(start), datetime.fromisoformat(end)
    found: list[tuple[str, str, list[str]]] = []
    try:
        for components in _components(data, ICalendar, recurring_ical_events, window, float(whole_timeout)):
            for component in components:
                if len(found) == _MAX_EVENTS:
                    raise SystemExit(f"it holds more than {_MAX_EVENTS} events")
                with contextlib.suppress(*_BAD_EVENT):  # the others are good
                    if (event := _event(component, zone)) is not None:
                        found.append(event)
    except _BAD_EVENT as error:
        raise SystemExit(f"it is no good iCalendar: {error}") from None
    except MemoryError:
        raise SystemExit("it takes too much memory") from None
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
