"""The page of the messages: the newest, a search, and a chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar
from urllib.parse import urlencode

from starlette.datastructures import QueryParams

from notifier.delivery.message import MessageState
from notifier.ids import first_id
from notifier.sms.phones import mask
from notifier.store.ledger import LedgerMessage
from notifier.web.concealment import concealed
from notifier.web.pages.context import PageContext, View
from notifier.web.pages.message_chart import CHART_DAYS, Chart, chart
from notifier.web.pages.moments import LocalMoment, Viewer, counted

MAX_SEARCHED = 20_000
"""The number of messages that are searched for each page of results."""
_MAX_MESSAGES = 50
_CLOCKS = timedelta(hours=1)
"""An upper bound of the differences between the clocks of replicas."""


@dataclass(frozen=True, slots=True)
class ShownMessage:
    """A message in the list."""

    at: LocalMoment
    kind: str
    to: str
    state: str
    cost: str
    incident: str | None
    text: str
    error: str | None


@dataclass(frozen=True, slots=True)
class MessagesView(View):
    """The content of the page: *q* and *state* are the search, *following* the path of the next page."""

    template: ClassVar[str] = "messages.html"
    q: str
    state: str
    states: Sequence[str]
    chart: Chart | None
    messages: Sequence[ShownMessage]
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

    def view(self, query: QueryParams) -> MessagesView:
        """Return the page."""
        viewer, ledger = self._context.viewer(), self._context.store.ledger
        text, state, cursor = query.get("q", "")[:100].strip(), query.get("state", ""), query.get("cursor")
        states = (state,) if state in tuple(MessageState) else ()
        down_to = ledger.after(MAX_SEARCHED, cursor) if text or states else None
        found = ledger.latest(_MAX_MESSAGES + 1, cursor, states, contains=text or None, down_to=down_to)
        is_full, following = len(found) > _MAX_MESSAGES, None
        if is_full or down_to is not None:
            last = found[_MAX_MESSAGES - 1].id if is_full else down_to
            values = {"q": text, "state": state, "cursor": last}
            following = "/messages?" + urlencode({name: value for name, value in values.items() if value})
        return MessagesView(
            q=text,
            state=state if states else "",
            states=[one.value for one in MessageState],
            chart=chart(self.counts(viewer.now), viewer.zone, viewer.now.astimezone(viewer.zone).date()),
            messages=[self._shown(message, viewer) for message in found[:_MAX_MESSAGES]],
            following=following,
            is_more_to_search=following is not None and not is_full,
            searched=MAX_SEARCHED,
        )

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

    def _shown(self, message: LedgerMessage, viewer: Viewer) -> ShownMessage:
        parts = counted(message.parts, "part")
        return ShownMessage(
            at=viewer.moment(message.created_at),
            kind=message.kind,
            to=message.contact or mask(message.phone),
            state=message.state,
            cost=parts if message.credits is None else f"{parts}, {counted(message.credits, 'credit')}",
            incident=message.incident_id,
            text=concealed(self._context.current.runtime, message).text,
            error=message.error and self._context.redaction.hide(message.error),
        )
