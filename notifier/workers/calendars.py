"""Schedules that are kept in calendars: fetched every few minutes, the last good copy kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import astuple
from datetime import datetime, timedelta
from hashlib import blake2b

import structlog

from notifier.oncall import calendars
from notifier.oncall.calendars import CalendarError, CalendarUnreadable, Event
from notifier.oncall.schedules import Schedule
from notifier.store.engine import StoreUnavailable
from notifier.workers.context import Context
from notifier.workers.worker import Worker

log = structlog.get_logger(__name__)

_EVERY = timedelta(minutes=5)
_SOON = timedelta(minutes=1)
_LONGEST_REST = timedelta(hours=1)


class CalendarWatch(Worker):
    """Keeps calendars up to date; the last good copy of one is used while it cannot be read."""

    name = "calendars"

    def __init__(self, context: Context) -> None:
        """Prepare to fetch the calendars of the configuration in force."""
        super().__init__(context, idle=_EVERY.total_seconds())
        self._names: set[str] = set()
        self.problems: dict[str, str] = {}
        """Why the calendars of schedules are not up to date, by the names of the schedules."""
        self._rests: dict[str, tuple[datetime, timedelta]] = {}
        """By the name of a schedule: when its calendar was last unreadable, and how long to wait before the next try.

        To parse a calendar may take 30 s of computing, so each failure doubles the wait.
        """
        self._is_rest_over = False

    def wake(self) -> None:
        """Fetch all calendars at once: a reload may have corrected the error."""
        self._is_rest_over = True
        super().wake()

    def recall(self) -> None:
        """Load the stored copies of calendars that this process has not read."""
        for schedule in self._kept():
            calendar = schedule.calendar
            if calendar is None or calendar.fetched_at is not None:
                continue
            if (kept := self._store.timestamps.calendar(_key(schedule))) is None:
                continue
            fetched_at, written = kept
            try:
                events = [Event(_at(b), _at(e), tuple(n)) for b, e, n in json.loads(written)]
            except (ValueError, TypeError):
                log.warning("stored copy of a calendar cannot be read", schedule=schedule.name)
            else:
                self._hold(schedule, events, fetched_at)

    def work(self) -> float | None:
        """Fetch those calendars that are due."""
        if self._is_rest_over:
            self._is_rest_over = False
            self._rests.clear()
        self.recall()
        now = self._clock()
        for schedule in self._kept():
            if self.is_stopping:
                return None
            try:
                self._fetch(schedule, now)
            except StoreUnavailable:
                raise
            except Exception as error:  # whatever is wrong with one calendar must not delay the others
                log.exception("calendar failed, using its last copy", schedule=schedule.name)
                self.problems[schedule.name] = f"cannot be read: {type(error).__name__}"
        names = {schedule.name for schedule in self._kept()}
        for name in self._names - names:
            self._metrics.forget(self._metrics.calendar_read, schedule=name)
        self._names = names
        self.problems = {name: problem for name, problem in self.problems.items() if name in names}
        return _SOON.total_seconds() if self.problems else None

    def _kept(self) -> Iterator[Schedule]:
        for schedule in self._current.runtime.schedules.by_name.values():
            if schedule.calendar is not None:
                yield schedule

    def _fetch(self, schedule: Schedule, now: datetime) -> None:
        assert schedule.calendar is not None  # noqa: S101 (those of _kept have one)
        failed_at, rest = self._rests.get(schedule.name, (now, timedelta()))
        if timedelta() <= now - failed_at < rest:
            return
        try:
            data = calendars.fetch(schedule.calendar.source)
            events = calendars.parse(data, schedule.zone, now - calendars.BEHIND, now + calendars.AHEAD)
        except CalendarError as error:
            if self.problems.get(schedule.name) != str(error):
                log.warning(
                    "calendar cannot be read, using its last copy", schedule=schedule.name, error=str(error)
                )
            self.problems[schedule.name] = str(error)
            if isinstance(error, CalendarUnreadable):
                self._rests[schedule.name] = now, min(max(rest * 2, _SOON), _LONGEST_REST)
            return
        self._rests.pop(schedule.name, None)
        if self.problems.pop(schedule.name, None) is not None:
            log.info("calendar is up to date again", schedule=schedule.name)
        for name in self._hold(schedule, events, now)[:5]:
            log.warning("calendar event names no contact", schedule=schedule.name, summary=name)
        written = json.dumps([astuple(event) for event in events], default=datetime.isoformat)
        self._store.timestamps.keep_calendar(_key(schedule), now, written).result()

    def _hold(self, schedule: Schedule, events: list[Event], fetched_at: datetime) -> list[str]:
        contacts = [contact.name for contact in self._current.runtime.configuration.contacts]
        assigned, unknown = calendars.match_contacts(events, contacts)
        if schedule.calendar is not None:
            schedule.calendar.set_events(assigned, fetched_at)
            self._metrics.calendar_read.labels(schedule.name).set(fetched_at.timestamp())
        return unknown


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _key(schedule: Schedule) -> str:
    """Return the key of a stored copy: addresses of calendars are often secrets."""
    source = schedule.calendar.source if schedule.calendar is not None else ""
    return blake2b(f"{schedule.zone} {source}".encode(), digest_size=16).hexdigest()
