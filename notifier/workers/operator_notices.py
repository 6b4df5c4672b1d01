"""Operator notices: administrators hear of what hinders paging, by SMS where that works, and by their fallback."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

import structlog

from notifier.delivery.message import NewMessage
from notifier.incidents.lifecycle import Kind
from notifier.planning.notices import own_message
from notifier.rendering.phrases import notice
from notifier.workers.context import Context
from notifier.workers.worker import Worker

log = structlog.get_logger(__name__)

_EVERY = 15.0
_SETTLED_AFTER = timedelta(minutes=1)
"""How long a problem must last: some pass by themselves."""
_AGAIN_AFTER = timedelta(days=1)
_TURN = "operator-notice/"
"""The prefix of the timestamps of when administrators were last notified of a problem, by any replica."""


class OperatorNotices(Worker):
    """Notifies contacts with ``admin: true`` of each problem, once a day at most."""

    name = "notices"

    def __init__(
        self,
        context: Context,
        problems: Callable[[], Mapping[str, str]],
        send: Callable[[], None],
        send_by_fallback: Callable[[Sequence[NewMessage]], None],
    ) -> None:
        """Prepare to notify.

        Args:
            context: what every worker works with.
            problems: returns what hinders paging now, by a key that stays the same while it lasts.
            send: is called when there are messages to send.
            send_by_fallback: sends messages through the second channel at once.
        """
        super().__init__(context, idle=_EVERY)
        self._problems = problems
        self._send = send
        self._send_by_fallback = send_by_fallback
        self._since: dict[str, datetime] = {}
        self._sent: dict[str, list[str]] = {}
        """The ids of the notices of each problem that lasts."""

    def work(self) -> float | None:
        """Look for problems that have lasted, and notify of those that are new."""
        runtime, now = self._current.runtime, self._clock()
        admins = [runtime.contacts[one.name] for one in runtime.configuration.contacts if one.admin]
        if not admins:
            return None
        problems = self._problems()
        self._since = {key: min(self._since.get(key, now), now) for key in problems}
        for key in (
            self._sent.keys() - problems.keys()
        ):  # a notice that was held up by its own problem is old news
            self._store.outbox.withdraw(self._sent.pop(key), now).result()
        for key, problem in problems.items():
            if now - self._since[key] < _SETTLED_AFTER:
                continue
            if not self._store.timestamps.take_turn(_TURN + key, now, _AGAIN_AFTER).result():
                continue
            messages = [
                own_message(runtime, one, notice("operator", one.language, problem=problem), Kind.NOTICE, now)
                for one in admins
            ]
            self._store.outbox.add(messages, now).result()
            self._sent[key] = [one.id for one in messages]
            log.warning("administrators notified", problem=problem, messages=[one.id for one in messages])
            self._send_by_fallback(messages)
            self._send()
        return None
