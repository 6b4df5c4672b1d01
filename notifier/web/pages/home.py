"""The first page: the incidents that nobody has, those in hand, who is on call, and the status of delivery."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar
from urllib.parse import quote

from notifier.alertmanager.durations import format_duration
from notifier.incidents.heartbeats import HEARTBEATS, SEEN
from notifier.incidents.lifecycle import ShownState
from notifier.store.ledger import Spent
from notifier.web.pages.confirmations import Confirmation, brief_confirmation
from notifier.web.pages.context import PageContext, Reader, View
from notifier.web.pages.delivery_status import lasts
from notifier.web.pages.moments import LocalMoment, Viewer
from notifier.web.pages.on_call import CurrentShift, current_shift
from notifier.web.pages.shown_incidents import ShownIncident, load_shown

_MAX_SHOWN = 60
"""How many incidents are listed, unless all are asked for."""
_MAX_RESOLVED = 20
_RECENTLY = timedelta(hours=24)
_FEW = 2
"""More incidents of the same name than this are folded into one row."""
_A_SCREEN = 4
"""How many rows a phone shows at once."""
_MAX_INCIDENTS = 3000
_SPENT_FOR = timedelta(minutes=1)
"""How long the sums of spent credits are cached; credits are read from OVHcloud as often."""
_RATE_OVER = timedelta(days=7)


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
class Fold:
    """Incidents of the same name and severity; a few stand alone, more of them are folded into one row."""

    incidents: tuple[ShownIncident, ...]

    @property
    def is_folded(self) -> bool:
        """Whether they are one row."""
        return len(self.incidents) > _FEW

    @property
    def id(self) -> str:
        """The id of its row in the page."""
        first = self.first
        return f"fold-{first.level}-{quote(first.name)}" if self.is_folded else f"incident-{first.id}"

    @property
    def first(self) -> ShownIncident:
        """The one that has fired for longest."""
        return min(self.incidents, key=lambda one: one.since.iso)


@dataclass(frozen=True, slots=True)
class SeverityCount:
    """How many of the listed incidents have a severity, and the id of the first one in the list."""

    severity: str
    level: str
    count: int
    first: str


@dataclass(frozen=True, slots=True)
class HomeView(View):
    """The content of the first page: the incidents in groups; *more* are not listed."""

    template: ClassVar[str] = "home.html"
    is_live: ClassVar[bool] = True
    unowned: int
    """How many incidents nobody has, those included that are not listed."""
    nobody: Sequence[Fold]
    """Those that nobody has, the most severe first, then the oldest."""
    held: int
    """How many incidents somebody has, those included that are not listed."""
    in_hand: Sequence[ShownIncident]
    quiet: Sequence[ShownIncident]
    """Those that are silenced or muted."""
    resolved: Sequence[ShownIncident]
    """Those that were resolved within the last day, the newest first."""
    more: int
    confirmation: Confirmation | None
    me: str
    can_silence: bool
    """Whether an Alertmanager is configured, which makes silences."""
    schedules: Sequence[CurrentShift]
    accounts: Sequence[AccountCredits]
    waiting: int
    oldest: LocalMoment | None
    replicas: int
    heartbeats: Sequence[ShownHeartbeat]
    sources: Sequence[tuple[str, LocalMoment]]
    """The Alertmanagers, and when the last webhook of each came."""

    @property
    def severities(self) -> Sequence[SeverityCount]:
        """The severities of those that are listed and that nobody has, where the list is longer than a screen."""
        if len(self.nobody) <= _A_SCREEN:
            return ()
        listed = [(fold, one) for fold in self.nobody for one in fold.incidents]
        counts = Counter((one.level, one.severity.lower()) for _, one in listed)
        firsts = {(one.level, one.severity.lower()): fold.id for fold, one in reversed(listed)}
        return [
            SeverityCount(severity, level, count, firsts[level, severity])
            for (level, severity), count in counts.items()
        ]

    @property
    def numbers(self) -> Sequence[int]:
        """The numbers of those that nobody has, for the button that acknowledges them all."""
        return [one.number for fold in self.nobody for one in fold.incidents]


class HomePage:
    """Makes the first page."""

    def __init__(self, context: PageContext) -> None:
        """Read what *context* offers."""
        self._context = context
        self._spent: tuple[datetime, Mapping[str, Spent]] | None = None
        """What each account has spent, and when it was added up."""

    def view(self, reader: Reader, *, is_whole: bool, done: str = "", number: str = "") -> HomeView:
        """Return the page for *reader*; with *is_whole*, all incidents that are not resolved.

        *done* is the action of a moment ago, on the incident of that *number*.
        """
        context, viewer = self._context, self._context.viewer(reader)
        store, runtime = context.store, context.current.runtime
        most = _MAX_INCIDENTS if is_whole else _MAX_SHOWN
        found = [
            store.incidents.worst(states, most, runtime.severities)
            for states in ((ShownState.OPEN,), (ShownState.ACKNOWLEDGED,), (ShownState.SILENCED,))
        ]
        counts, queue = store.incidents.counts(), store.outbox.queue()
        totals = Counter[str]()
        for (_, state), count in counts.items():
            totals[state] += count
        recent = store.incidents.resolved_since(viewer.now - _RECENTLY, _MAX_RESOLVED)
        # One that was taken or resolved between two of the reads is in two groups.
        later = {one.id for one in recent}
        for group in reversed(found):
            group[:] = [one for one in group if one.id not in later]
            later.update(one.id for one in group)
        shown = [load_shown(store, runtime, group, viewer) for group in found]
        muted = [one for one in shown[0] if one.is_quiet]
        mine = sum(one.holder == reader.name for one in shown[1])
        acted_on = store.incidents.named(number) if done and number else None
        return HomeView(
            unowned=totals[ShownState.OPEN] - len(muted),
            nobody=folded([one for one in shown[0] if not one.is_quiet]),
            held=totals[ShownState.ACKNOWLEDGED],
            in_hand=shown[1],
            quiet=[*muted, *shown[2]],
            resolved=load_shown(store, runtime, recent, viewer),
            more=totals.total() - sum(map(len, found)),
            confirmation=brief_confirmation(done, acted_on, reader.name, mine, viewer),
            me=reader.name,
            can_silence=runtime.configuration.alertmanager is not None,
            schedules=[current_shift(schedule, viewer) for schedule in runtime.schedules.by_name.values()],
            accounts=self._accounts(viewer),
            waiting=sum(queue.messages.values()) + queue.unplanned,
            oldest=viewer.maybe(queue.oldest),
            replicas=store.replicas.count() if store.backend.is_shared else 1,
            heartbeats=self._heartbeats(viewer),
            sources=self._sources(viewer),
        )

    def _accounts(self, viewer: Viewer) -> list[AccountCredits]:
        now, monitor, shown = viewer.now, self._context.account, []
        spent = self._spending(now)
        empty = monitor.empty()
        for name, api in self._context.current.runtime.apis.items():
            left = monitor.credits.get(name)
            last = lasts(left, spent.get(api.account_name), now, _RATE_OVER, viewer.words)
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

    def _sources(self, viewer: Viewer) -> list[tuple[str, LocalMoment]]:
        seen = self._context.store.timestamps.sources(viewer.now)
        return [(url or "Alertmanager", viewer.moment(at)) for url, at in sorted(seen.items())]


def folded(incidents: Sequence[ShownIncident]) -> list[Fold]:
    """Return *incidents* with those of the same name and severity together, in the order of the first of each."""
    groups: dict[tuple[str, str], list[ShownIncident]] = {}
    for one in incidents:
        groups.setdefault((one.name, one.level), []).append(one)
    return [Fold(tuple(group)) for group in groups.values()]
