"""Alertmanager's routing tree: which receivers an alert reaches.

Source: ``Route.Match`` of prometheus/alertmanager ``dispatch/route.go``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from notifier.alertmanager.matchers import Matcher, MatchType
from notifier.alertmanager.time_intervals import Interval, contained, first_after
from notifier.config.model import Configuration
from notifier.config.routes import RouteConfig

RECEIVER_LABEL = "__receiver__"
"""The pseudo-label that holds the receiver which the webhook names."""


@dataclass(frozen=True, slots=True)
class Route:
    """A node of the tree. *continue_* lets later siblings match as well.

    Alerts of this route are muted in the time intervals *mute*, and outside of those in *active* if there are any.
    """

    receiver: str
    matchers: tuple[Matcher, ...] = ()
    continue_: bool = False
    routes: tuple[Route, ...] = ()
    mute: tuple[str, ...] = ()
    active: tuple[str, ...] = ()


def tree_of(route: RouteConfig, inherited: str = "") -> Route:
    """Return the tree that the configuration describes; a node without a receiver has that of its parent."""
    receiver = route.receiver or inherited
    children = tuple(tree_of(child, receiver) for child in route.routes)
    return Route(
        receiver,
        route.matchers,
        route.continue_,
        children,
        route.mute_time_intervals,
        route.active_time_intervals,
    )


def match(route: Route, labels: Mapping[str, str]) -> list[Route]:
    """Return the nodes that *labels* end at: depth first, left to right, a node if none of its children match."""
    if not all(matcher.matches(labels) for matcher in route.matchers):
        return []
    found: list[Route] = []
    for child in route.routes:
        matches = match(child, labels)
        found += matches
        if matches and not child.continue_:
            break
    return found or [route]


_QUOTED = re.compile(r"\\([\\.+*?()|\[\]{}^$])")


def _receivers_named(route: Route) -> Iterator[str]:
    """Yield the values that matchers of *route* and its children compare the webhook's receiver with."""
    for matcher in route.matchers:
        if matcher.name == RECEIVER_LABEL and matcher.type is MatchType.EQUAL:
            yield matcher.value
    for child in route.routes:
        yield from _receivers_named(child)


_LONGEST_MUTE = timedelta(days=14)
"""How far ahead the end of a mute is looked for."""


class RouteIntervals(NamedTuple):
    """The time intervals of a route: it is muted in *mute*, and outside of *active* if there are any."""

    mute: tuple[str, ...]
    active: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Routing:
    """Where alerts go: the tree, or without one the receiver that the webhook names.

    Without a tree, an unknown name goes to the first of *receivers*, so that no page is lost.
    """

    receivers: tuple[str, ...]
    tree: Route | None = None
    intervals: Mapping[str, tuple[Interval, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, configuration: Configuration) -> Routing:
        """Return where *configuration* has alerts go."""
        names = tuple(receiver.name for receiver in configuration.receivers)
        intervals = {
            named.name: tuple(written.interval() for written in named.time_intervals)
            for named in configuration.time_intervals
        }
        return cls(names, tree_of(configuration.route) if configuration.route else None, intervals)

    def name_of(self, named: str) -> str:
        """Return the receiver that a webhook means by *named*.

        Alertmanager quotes the name as a regular expression (``regexp.QuoteMeta`` in its ``template.Data``), so
        ``team.db`` arrives as ``team\\.db``. A name that the configuration has is used unchanged.
        """
        if named in self.receivers or (self.tree is not None and named in _receivers_named(self.tree)):
            return named
        return _QUOTED.sub(r"\1", named)

    def is_unknown(self, named: str) -> bool:
        """Whether a webhook that names this receiver goes to the first one because it is not configured."""
        return self.tree is None and self.name_of(named) not in self.receivers

    def split(
        self, named: str, labels: Iterable[Mapping[str, str]], *, only: str | None = None
    ) -> dict[str, list[int]]:
        """Return for each receiver which of the alerts reach it, by their positions in *labels*.

        Args:
            named: the receiver that the webhook names.
            labels: the labels of each alert.
            only: the receiver that the webhook was posted for past the tree, if it was.
        """
        reached: dict[str, list[int]] = {}
        named = self.name_of(named)
        for position, alert in enumerate(labels):
            for receiver in self._receivers(named, alert, only):
                reached.setdefault(receiver, []).append(position)
        return reached

    def ways(self, named: str, labels: Mapping[str, str], receiver: str) -> frozenset[RouteIntervals]:
        """Return the ways by which an alert reaches *receiver*."""
        if self.tree is None:
            return frozenset()
        nodes = match(self.tree, {**labels, RECEIVER_LABEL: self.name_of(named)})
        return frozenset(
            RouteIntervals(node.mute, node.active) for node in nodes if node.receiver == receiver
        )

    def muted_by(self, ways: Iterable[RouteIntervals], now: datetime) -> tuple[str, ...]:
        """Return the time intervals that mute the routes *ways* at *now*; none if any way is open."""
        names: tuple[str, ...] = ()
        for way in ways:
            found = self._muting(way, now)
            if not found:
                return ()
            names += found
        return tuple(dict.fromkeys(names))

    def unmuted_at(self, ways: Iterable[RouteIntervals], now: datetime) -> datetime | None:
        """Return when the routes *ways*, all muted at *now*, are muted no longer; None if that is too far away."""
        ways = tuple(ways)
        names = {name for way in ways for name in (*way.mute, *way.active)}
        intervals = [interval for name in names for interval in self.intervals.get(name, ())]
        return first_after(
            lambda at: any(not self._muting(way, at) for way in ways), intervals, now, _LONGEST_MUTE
        )

    def describe(self, name: str, now: datetime) -> str:
        """Return how the interval *name* mutes at *now*: during it, or outside of it."""
        return f"{'during' if contained(self.intervals.get(name, ()), now) else 'outside'} {name}"

    def _muting(self, way: RouteIntervals, now: datetime) -> tuple[str, ...]:
        muting = tuple(name for name in way.mute if contained(self.intervals.get(name, ()), now))
        if muting or not way.active:
            return muting
        is_active = any(contained(self.intervals.get(name, ()), now) for name in way.active)
        return () if is_active else way.active

    def _receivers(self, named: str, labels: Mapping[str, str], only: str | None) -> Iterable[str]:
        if only is not None:
            return (only,)
        if self.tree is not None:
            nodes = match(self.tree, {**labels, RECEIVER_LABEL: named})
            return dict.fromkeys(node.receiver for node in nodes)
        return (named if named in self.receivers else self.receivers[0],)
