"""Watching the accounts: the credits left and OVHcloud's clock, so that no page is the first to find out."""

from __future__ import annotations

import structlog

from notifier.delivery.retry import PauseReason
from notifier.ovh.client import OvhClient
from notifier.ovh.errors import CallFailed
from notifier.workers.accounts import Accounts
from notifier.workers.context import Context
from notifier.workers.worker import Worker

log = structlog.get_logger(__name__)

_ROUND = 60.0  # seconds


class AccountMonitor(Worker):
    """Asks OVHcloud every minute how each account stands."""

    name = "account"

    def __init__(self, context: Context, accounts: Accounts) -> None:
        """Prepare to ask; problems are noted in *accounts*."""
        super().__init__(context, idle=_ROUND)
        self._accounts = accounts
        self.credits: dict[str, float] = {}
        """The credits left, by account, as far as known."""
        self._labels: dict[str, str] = {}

    @property
    def problems(self) -> dict[str, str]:
        """The problems of each account, or of the network to it."""
        healths = self._accounts.all(self._current.runtime.apis)
        return {name: one.problem for name, one in healths.items() if one.problem is not None}

    def empty(self) -> set[str]:
        """Return the accounts that have too few credits left, as OVHcloud answered when something was sent."""
        healths = self._accounts.all(self._current.runtime.apis)
        return {
            name for name, one in healths.items() if one.paused and one.paused.reason == PauseReason.CREDITS
        }

    def work(self) -> float | None:
        """Ask once."""
        apis = self._current.runtime.apis
        for name in set(self.credits) - set(apis):
            self._metrics.ovh_credits_left.remove(self._labels.pop(name))
            del self.credits[name]
        for name, api in apis.items():
            problem = self._look(api)
            before = self._accounts.note_problem(name, problem)
            about = {"account": name} if name else {}
            if problem is not None and problem != before:
                log.warning("account problem", error=problem, **about)
            elif problem is None and before is not None:
                log.info("account problem is over", **about)
        return None

    def _look(self, api: OvhClient) -> str | None:
        """Return the problem of the account of *api*."""
        try:
            api.refresh_clock()
            account, name = api.account(), api.service_name()
        except CallFailed as error:
            return f"OVHcloud cannot be asked: {error}"
        if account.credits_left is not None:
            self._metrics.ovh_credits_left.labels(name).set(account.credits_left)
            self.credits[api.name], self._labels[api.name] = account.credits_left, name
        if account.status != "enable":
            return f"the account {name} is not enabled: its status is {account.status}"
        if account.credits_left is not None and account.credits_left < 1:
            return f"the account {name} has no credits left"
        return _sender_problem(api)


def _sender_problem(api: OvhClient) -> str | None:
    name = api.settings.sender
    if name is None:
        return None
    try:
        status = api.sender(name).status
    except CallFailed as error:
        return f'the sender "{name}" is not declared' if error.failure.status == 404 else None
    return None if status == "enable" else f'the sender "{name}" is not enabled: its status is {status}'
