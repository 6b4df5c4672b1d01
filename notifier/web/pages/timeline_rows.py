"""The timeline of an incident's page: the newest first, messages of one kind to several people in one row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from notifier.timeline import Entry, Outcome
from notifier.web.pages.moments import LocalMoment, Viewer, spelled

_AT_ONCE = timedelta(seconds=5)
"""Messages that were made within this time are of one cause."""
_MAX_NAMES = 4
_NOTABLE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Detail:
    """A message of a row: its recipient, its text, and what happened to it."""

    recipient: str
    text: str
    outcomes: tuple[tuple[Outcome, LocalMoment | None], ...]


@dataclass(frozen=True, slots=True)
class Row:
    """An event, or messages of one kind. *states* counts their present states by (colour, text)."""

    first: Entry
    at: LocalMoment
    names: tuple[str, ...]
    others: int
    """How many more recipients there are than *names*."""
    states: tuple[tuple[str, str, int], ...]
    messages: tuple[Detail, ...]
    took: str
    """How long the last delivery took; empty if that is less than a minute."""
    failures: int
    """How many attempts to send the messages failed."""


def timeline_rows(entries: Iterable[Entry], viewer: Viewer) -> list[Row]:
    """Return *entries*, which are in order, as rows, the newest first."""
    groups: list[list[Entry]] = []
    for entry in entries:
        last = groups[-1] if groups else None
        if last is not None and _is_alike(last[0], entry):
            last.append(entry)
        else:
            groups.append([entry])
    return [_row(group, viewer) for group in reversed(groups)]


def _is_alike(first: Entry, entry: Entry) -> bool:
    is_of_messages = first.is_message and entry.is_message and first.what == entry.what
    return is_of_messages and entry.at - first.at < _AT_ONCE


def _row(group: Sequence[Entry], viewer: Viewer) -> Row:
    first = group[0]
    names = [entry.recipient for entry in group if entry.is_message]
    last = Counter((entry.outcomes[-1].kind, entry.outcomes[-1].text) for entry in group if entry.outcomes)
    return Row(
        first=first,
        at=viewer.moment(first.at),
        names=tuple(names[:_MAX_NAMES]),
        others=max(0, len(names) - _MAX_NAMES),
        states=tuple((kind, text, count) for (kind, text), count in last.most_common()),
        messages=tuple(
            Detail(
                entry.recipient,
                entry.text,
                tuple((outcome, viewer.maybe(outcome.at)) for outcome in entry.outcomes),
            )
            for entry in group
            if entry.is_message
        ),
        took=_took(group, viewer),
        failures=sum(_failures(entry) for entry in group),
    )


def _took(group: Sequence[Entry], viewer: Viewer) -> str:
    """Return how long it took until the last message of *group* was delivered, if that is a minute or more."""
    delays = [
        outcome.at - entry.at
        for entry in group
        for outcome in entry.outcomes
        if outcome.text == "delivered" and outcome.at is not None
    ]
    longest = max(delays, default=timedelta())
    return spelled(longest, viewer.words) if longest >= _NOTABLE else ""


def _failures(entry: Entry) -> int:
    """Return how many attempts to send the message of *entry* failed."""
    texts = [outcome.text for outcome in entry.outcomes]
    earlier = [int(outcome.detail) for outcome in entry.outcomes if outcome.text == "attempts failed before"]
    return texts.count("attempt failed") + sum(earlier)
