"""Watching the account: the credits left and OVHcloud's clock, so that no page is the first to find out."""

from __future__ import annotations

import structlog

from notifier.metrics import Metrics
from notifier.ovh.errors import CallFailed
from notifier.paging.worker import Worker
from notifier.runtime import Current

log = structlog.get_logger(__name__)

_ROUND = 60.0  # seconds


class AccountWatch(Worker):
    """Asks OVHcloud every minute how the account stands."""

    name = "account"

    def __init__(self, current: Current, metrics: Metrics) -> None:
        """Prepare to ask."""
        super().__init__(metrics, idle=_ROUND)
        self._current = current
        self.problem: str | None = None
        """What OVHcloud, or the way to it, is found to lack."""

    def work(self) -> float | None:
        """Ask once."""
        api = self._current.runtime.api
        try:
            api.refresh_clock()
            account, name = api.account(), api.service_name()
        except CallFailed as error:
            self._found(f"OVHcloud cannot be asked: {error}")
            return None
        if account.credits_left is not None:
            self._metrics.ovh_credits_left.labels(name).set(account.credits_left)
        if account.status != "enable":
            self._found(f"the account {name} is not enabled: its status is {account.status}")
        elif account.credits_left is not None and account.credits_left < 1:
            self._found(f"the account {name} has no credits left")
        else:
            self._found(self._sender_problem())
        return None

    def _sender_problem(self) -> str | None:
        runtime = self._current.runtime
        name = runtime.configuration.ovh.sender
        if name is None:
            return None
        try:
            status = runtime.api.sender(name).status
        except CallFailed as error:
            return f'the sender "{name}" is not declared' if error.failure.status == 404 else None
        return None if status == "enable" else f'the sender "{name}" is not enabled: its status is {status}'

    def _found(self, problem: str | None) -> None:
        if problem is not None and problem != self.problem:
            log.warning("account problem", error=problem)
        elif problem is None and self.problem is not None:
            log.info("account problem is over")
        self.problem = problem
