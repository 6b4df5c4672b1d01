"""The page of the messages: the newest by day, filters, and a chart of what they find."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from itertools import groupby
from typing import Any, ClassVar
from urllib.parse import urlencode

from starlette.datastructures import QueryParams

from notifier.delivery.message import MessageState
from notifier.ids import first_id
from notifier.sms.phones import mask
from notifier.store.ledger import FailedAttempt, LedgerMessage
from notifier.web.concealment import concealed
from notifier.web.pages.context import PageContext, Reader, View
from notifier.web.pages.delivery_status import LATE
from notifier.web.pages.message_chart import CHART_DAYS, Chart, chart, colour
from notifier.web.pages.moments import LocalMoment, Viewer, spelled

MAX_SEARCHED = 20_000
"""The number of messages that are searched for each page of results."""
_MAX_MESSAGES = 50
_CLOCKS = timedelta(hours=1)
"""An upper bound of the differences between the clocks of replicas."""


@dataclass(frozen=True, slots=True)
class ShownMessage:
    """A message in the list."""

    message: LedgerMessage
    """The message, without secrets."""
    at: LocalMoment
    to: str
    colour: str
    number: int | None
    """The number of the incident."""
    took: str | None
    """How long it took to arrive, if that was long."""
    failures: Sequence[tuple[LocalMoment, str]]
    """When each failed attempt was made, and why it failed."""


@dataclass(frozen=True, slots=True)
class Filter:
    """What the page is restricted to, as the form gives it; empty fields restrict nothing."""

    q: str = ""
    person: str = ""
    state: str = ""
    incident: str = ""
    first: str = ""
    last: str = ""

    @classmethod
    def of(cls, query: QueryParams) -> Filter:
        """Return the filter of a *query*; what cannot be read restricts nothing."""
        state, incident = query.get("state", ""), query.get("incident", "").strip().lstrip("#")
        days = [query.get(name, "") if _is_day(query.get(name, "")) else "" for name in ("first", "last")]
        return cls(
            query.get("q", "")[:100].strip(),
            query.get("person", "")[:100],
            state if state in tuple(MessageState) else "",
            incident if incident.isdecimal() else "",
            *days,
        )

    @property
    def is_set(self) -> bool:
        """Whether it restricts anything."""
        return self != Filter()


@dataclass(frozen=True, slots=True)
class MessagesView(View):
    """The content of the page: *sought* is the filter, *days* the messages by day, *following* the next page."""

    template: ClassVar[str] = "messages.html"
    sought: Filter
    people: Sequence[str]
    states: Sequence[str]
    chart: Chart | None
    days: Sequence[tuple[str, Sequence[ShownMessage]]]
    following: str | None
    is_more_to_search: bool
    searched: int


class MessagesPage:
    """Makes the page of the messages."""

    def __init__(self, context: PageContext) -> None:
        """Read what *context* offers."""
        self._context = context
        self._ended: Mapping[datetime, Mapping[tuple[datetime, str], int]] = {}
        """The numbers of messages of days whose messages do not change any more."""

    def view(self, query: QueryParams, reader: Reader) -> MessagesView:
        """Return the page for *reader*."""
        viewer, ledger, sought = self._context.viewer(reader), self._context.store.ledger, Filter.of(query)
        selection = self._selection(sought)
        cursor = query.get("cursor") or _id_of(sought.last, viewer, days=1)
        searched_to = ledger.after(MAX_SEARCHED, cursor) if sought.is_set else None
        down_to = max(filter(None, (searched_to, _id_of(sought.first, viewer))), default=None)
        found = ledger.latest(_MAX_MESSAGES + 1, cursor, down_to=down_to, **selection)
        is_full, following = len(found) > _MAX_MESSAGES, None
        if is_full or (searched_to is not None and searched_to == down_to):
            last = found[_MAX_MESSAGES - 1].id if is_full else down_to
            values = {**asdict(sought), "cursor": last}
            following = "/messages?" + urlencode({name: value for name, value in values.items() if value})
        return MessagesView(
            sought=sought,
            people=list(self._context.current.runtime.contacts),
            states=[one.value for one in MessageState],
            chart=self._chart(sought, selection, viewer),
            days=self._days(found[:_MAX_MESSAGES], viewer),
            following=following,
            is_more_to_search=following is not None and not is_full,
            searched=MAX_SEARCHED,
        )

    def _selection(self, sought: Filter) -> dict[str, Any]:
        """Return *sought* as the ledger takes it."""
        number = sought.incident
        incident = self._context.store.incidents.named(number) if number else None
        return {
            "states": (sought.state,) if sought.state else (),
            "contains": sought.q or None,
            "contact": sought.person or None,
            "incident_id": None if not number else incident.id if incident is not None else "",
        }

    def _chart(self, sought: Filter, selection: Mapping[str, Any], viewer: Viewer) -> Chart | None:
        """Return the chart of the messages that are *sought*: of the newest `MAX_SEARCHED`, if any filter is set."""
        ledger, today = self._context.store.ledger, viewer.now.astimezone(viewer.zone).date()
        if not sought.is_set:
            return chart(self.counts(viewer.now), viewer.zone, today, viewer.words)
        end = _id_of(sought.last, viewer, days=1)
        oldest = first_id(viewer.now - timedelta(days=CHART_DAYS))
        first = max(filter(None, (oldest, ledger.after(MAX_SEARCHED, end), _id_of(sought.first, viewer))))
        return chart(ledger.by_quarter(first, end, **selection), viewer.zone, today, viewer.words)

    def counts(self, now: datetime) -> Mapping[tuple[datetime, str], int]:
        """Return the numbers of messages for the chart. A day whose messages no longer change is counted once."""
        ledger = self._context.store.ledger
        unfinished = ledger.unfinished_since()
        last = now - _CLOCKS if unfinished is None else min(unfinished, now - _CLOCKS)
        ended, day = last.replace(hour=0, minute=0, second=0, microsecond=0), timedelta(days=1)
        days = [ended - number * day for number in range(1, CHART_DAYS + 1)]
        self._ended = {
            start: self._ended.get(start) or ledger.by_quarter(first_id(start), first_id(start + day))
            for start in days
        }
        counts = ledger.by_quarter(first_id(ended))
        for of_day in self._ended.values():
            counts.update(of_day)
        return counts

    def _days(self, found: Sequence[LedgerMessage], viewer: Viewer) -> list[tuple[str, list[ShownMessage]]]:
        """Return the messages *found* by day."""
        ids = {one.incident_id for one in found if one.incident_id is not None}
        numbers = {one.id: one.number for one in self._context.store.incidents.with_ids(ids)}
        failed = self._context.store.ledger.failed_attempts([one.id for one in found])
        runtime, hide = self._context.current.runtime, self._context.redaction.hide

        def shown(one: LedgerMessage) -> ShownMessage:
            number, tried = numbers.get(one.incident_id or ""), failed.get(one.id, ())
            return shown_message(concealed(runtime, one), number, tried, viewer, hide)

        by_day = groupby(found, key=lambda message: viewer.day(message.created_at))
        return [(day, [shown(one) for one in some]) for day, some in by_day]


def shown_message(
    message: LedgerMessage,
    number: int | None,
    failed: Sequence[FailedAttempt],
    viewer: Viewer,
    hide: Callable[[str], str],
) -> ShownMessage:
    """Return *message* as *viewer* sees it.

    Args:
        message: the message, its secrets concealed.
        number: the number of its incident.
        failed: the attempts to send it that failed.
        viewer: whose clocks times are shown by.
        hide: removes secrets from an error.
    """
    arrived = message.delivered_at
    took = arrived - message.created_at if arrived is not None else timedelta()
    return ShownMessage(
        message=replace(message, error=message.error and hide(message.error)),
        at=viewer.moment(message.created_at),
        to=message.contact or mask(message.phone),
        colour=colour(message.state),
        number=number,
        took=spelled(took + timedelta(seconds=30), viewer.words) if took >= LATE else None,
        failures=[(viewer.moment(one.at), hide(one.error)) for one in failed],
    )


def _is_day(text: str) -> bool:
    try:
        return 2000 <= date.fromisoformat(text).year < 3000
    except ValueError:
        return False


def _id_of(day: str, viewer: Viewer, *, days: int = 0) -> str | None:
    """Return the first id of a *day*, or of *days* after it, by the clocks of *viewer*; None without a day."""
    if not day:
        return None
    start = datetime.combine(date.fromisoformat(day), time(), viewer.zone) + timedelta(days=days)
    return first_id(start.astimezone(UTC))
