"""The first page: the incidents, who is on call, and the status of delivery."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar

from notifier.alertmanager.durations import format_duration
from notifier.incidents.heartbeats import HEARTBEATS, SEEN
from notifier.incidents.lifecycle import IncidentState
from notifier.store.ledger import Spent
from notifier.web.pages.context import PageContext, View
from notifier.web.pages.delivery_status import DeliveryStatus, current_status, lasts
from notifier.web.pages.moments import LocalMoment, Viewer
from notifier.web.pages.shown_incidents import ShownIncident, load_shown

_MAX_SHOWN = 50
"""How many incidents are listed, unless all are asked for."""
_MAX_INCIDENTS = 3000
_SPENT_FOR = timedelta(minutes=1)
"""How long the sums of spent credits are cached; credits are read from OVHcloud as often."""
_RATE_OVER = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class OnCall:
    """Who is on call in a schedule, until when, and who is next."""

    schedule: str
    contact: str | None
    until: LocalMoment
    following: str | None


@dataclass(frozen=True, slots=True)
class AccountCredits:
    """The credits of an account: *last* is for how long they last, at the present rate."""

    name: str
    credits: float | None
    last: str | None
    is_empty: bool


@dataclass(frozen=True, slots=True)
class ShownHeartbeat:
    """A heartbeat, when it was last seen, and whether it is late."""

    name: str
    seen: LocalMoment | None
    timeout: str
    is_late: bool


@dataclass(frozen=True, slots=True)
class HomeView(View):
    """The content of the first page: *open* incidents are not acknowledged, *more* are not listed."""

    template: ClassVar[str] = "home.html"
    incidents: Sequence[ShownIncident]
    open: int
    more: int
    delivery: DeliveryStatus
    schedules: Sequence[OnCall]
    accounts: Sequence[AccountCredits]
    waiting: int
    oldest: LocalMoment | None
    replicas: int
    heartbeats: Sequence[ShownHeartbeat]


class HomePage:
    """Makes the first page."""

    def __init__(self, context: PageContext) -> None:
        """Read what *context* offers."""
        self._context = context
        self._spent: tuple[datetime, Mapping[str, Spent]] | None = None
        """What each account has spent, and when it was added up."""

    def view(self, *, is_whole: bool) -> HomeView:
        """Return the page; with *is_whole*, all incidents that are not resolved."""
        context, viewer = self._context, self._context.viewer()
        store = context.store
        worst = store.incidents.worst(_MAX_INCIDENTS if is_whole else _MAX_SHOWN)
        counts, queue = store.incidents.counts(), store.outbox.queue()
        return HomeView(
            incidents=load_shown(store, context.current.runtime, worst, viewer),
            open=sum(count for (_, state), count in counts.items() if state == IncidentState.OPEN),
            more=sum(counts.values()) - len(worst),
            delivery=current_status(context, viewer.now),
            schedules=self._schedules(viewer),
            accounts=self._accounts(viewer.now),
            waiting=sum(queue.messages.values()) + queue.unplanned,
            oldest=viewer.maybe(queue.oldest),
            replicas=store.replicas.count() if store.backend.is_shared else 1,
            heartbeats=self._heartbeats(viewer),
        )

    def _schedules(self, viewer: Viewer) -> list[OnCall]:
        shown = []
        for schedule in self._context.current.runtime.schedules.by_name.values():
            shift = schedule.at(viewer.now)
            following = schedule.on_call(shift.end)
            shown.append(OnCall(schedule.name, shift.contact, viewer.moment(shift.end), following))
        return shown

    def _accounts(self, now: datetime) -> list[AccountCredits]:
        monitor, spent, shown = self._context.account, self._spending(now), []
        empty = monitor.empty()
        for name, api in self._context.current.runtime.apis.items():
            left = monitor.credits.get(name)
            last = lasts(left, spent.get(api.account_name), now, _RATE_OVER)
            shown.append(AccountCredits(name, left, last, is_empty=name in empty))
        return shown

    def _spending(self, now: datetime) -> Mapping[str, Spent]:
        if self._spent is None or not self._spent[0] <= now < self._spent[0] + _SPENT_FOR:
            self._spent = now, self._context.store.ledger.spent(now - _RATE_OVER)
        return self._spent[1]

    def _heartbeats(self, viewer: Viewer) -> list[ShownHeartbeat]:
        store = self._context.store
        silent = {incident.group_key for incident in store.incidents.of_heartbeats()}
        seen = store.timestamps.all(SEEN)
        shown = []
        for heartbeat in self._context.current.runtime.configuration.heartbeats:
            last = seen.get(heartbeat.name)
            is_overdue = last is not None and viewer.now - last > heartbeat.timeout
            is_late = is_overdue or HEARTBEATS + heartbeat.name in silent
            timeout = format_duration(heartbeat.timeout)
            shown.append(ShownHeartbeat(heartbeat.name, viewer.maybe(last), timeout, is_late))
        return shown
