"""All workers, wired to each other: they wake each other by callables."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping

from notifier.clock import elapsed
from notifier.workers.account_monitor import AccountMonitor
from notifier.workers.actions import Actions
from notifier.workers.alert_states import AlertStates
from notifier.workers.alertmanager_check import AlertmanagerCheck
from notifier.workers.calendars import CalendarWatch
from notifier.workers.calls import Caller
from notifier.workers.context import Context
from notifier.workers.dispatcher import Dispatcher
from notifier.workers.escalator import Escalator
from notifier.workers.fallback import FallbackSender
from notifier.workers.heartbeats import Heartbeats
from notifier.workers.intake import Intake
from notifier.workers.operator_notices import OperatorNotices
from notifier.workers.planner import Planner
from notifier.workers.receipts import ReceiptPoller
from notifier.workers.replicas import Replicas
from notifier.workers.replies import ReplyPoller
from notifier.workers.retention import Retention
from notifier.workers.watchdog import Watchdog
from notifier.workers.worker import Worker


class Workers:
    """Every worker of a service. None of them has been started."""

    def __init__(
        self,
        context: Context,
        does_page: Callable[[], bool] = lambda: True,
        problems: Callable[[], Mapping[str, str]] = dict,
        *,
        chance: Callable[[], float] = random.random,
        seconds: Callable[[], float] = elapsed,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make the workers of *context*.

        Args:
            context: what they work with.
            does_page: whether pages are sent; otherwise the watchdog is not called.
            problems: what administrators are to be notified of, by a key of each.
            chance: gives numbers from 0 to 1, for the jitter of retries.
            seconds: a monotonic time, for the dispatcher and for questions to Alertmanager.
            monotonic: the same, for the leases of replicas.
        """
        self.dispatcher = Dispatcher(context, chance, seconds)
        send = self.dispatcher.expect
        self.planner = Planner(context, send)
        self.intake = Intake(context, self.planner.wake)
        self.alert_states = AlertStates(context, seconds)
        self.escalator = Escalator(context, self.alert_states, send)
        escalate = self.escalator.wake
        self.alertmanager_check = AlertmanagerCheck(context, self.alert_states, send, escalate)
        self.actions = Actions(context, send, escalate)
        self.calls = Caller(context, self.actions)
        self.receipts = ReceiptPoller(context, send, escalate)
        self.replies = ReplyPoller(context, self.actions, send, escalate)
        self.heartbeats = Heartbeats(context, send)
        self.calendars = CalendarWatch(context)
        self.account_monitor = AccountMonitor(context, self.dispatcher.accounts)
        self.retention = Retention(context)
        self.watchdog = Watchdog(context, does_page)
        self.fallback = FallbackSender(context, lambda: self.dispatcher.paused is not None)
        self.operator_notices = OperatorNotices(context, problems, send, self.fallback.send)
        self.replicas = Replicas(context, self.dispatcher.wake, monotonic)

    def all(self, *, is_shared: bool) -> tuple[Worker, ...]:
        """Return the workers that run, with that of the replicas where the database *is_shared*."""
        return (
            *((self.replicas,) if is_shared else ()),
            self.planner,
            self.dispatcher,
            self.escalator,
            self.alertmanager_check,
            self.fallback,
            self.calls,
            self.operator_notices,
            self.retention,
            self.account_monitor,
            self.calendars,
            self.receipts,
            self.replies,
            self.heartbeats,
            self.watchdog,
        )
