"""The accounts' health, for all workers: pauses are logged and counted, and outlast a reload."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from notifier.delivery.accounts import AccountHealth, Paused, trial_wait
from notifier.delivery.retry import PauseReason
from notifier.metrics import Metrics
from notifier.runtime import Current

log = structlog.get_logger(__name__)

_FIRST_BACKOFF = timedelta(seconds=2)
_LONGEST_BACKOFF = timedelta(seconds=10)


class Accounts:
    """The state of each account. Accounts are called by their names in the configuration."""

    def __init__(self, current: Current, metrics: Metrics) -> None:
        """Know nothing against any account of *current*; pauses are shown in *metrics*."""
        self._current = current
        self._metrics = metrics
        self._healths: dict[str, AccountHealth] = {}
        self._labels: dict[str, str] = {}
        self._lock = threading.Lock()

    def all(self, names: Iterable[str]) -> dict[str, AccountHealth]:
        """Return the health of the accounts *names*, in their order."""
        with self._lock:
            return {name: self._healths.get(name, AccountHealth()) for name in names}

    def get(self, name: str) -> AccountHealth:
        """Return the health of one account."""
        return self.all([name])[name]

    @property
    def paused(self) -> Paused | None:
        """The pause of the first account if all accounts are paused; else None."""
        pauses = [health.paused for health in self.all(self._current.runtime.apis).values()]
        return pauses[0] if all(pauses) else None

    def name_of(self, account: str) -> str:
        """Return the name in the configuration of the account that a job names *account*."""
        api = self._current.runtime.api_of(account)
        return account if api is None else api.name

    def has_other(self, account: str, now: datetime) -> bool:
        """Return whether an account other than the one that a job names *account* may send."""
        own = self.name_of(account)
        others = self.all(name for name in self._current.runtime.apis if name != own)
        return any(health.is_sound(now) for health in others.values())

    def delay_until(self, name: str, until: datetime) -> None:
        """Have it send nothing until then, or longer if that was asked for before."""
        with self._lock:
            health = self._healths.get(name, AccountHealth())
            self._healths[name] = replace(health, held_until=max(until, health.held_until or until))

    def limit_until(self, name: str, until: datetime) -> None:
        """Have it send nothing until its rate allows it."""
        with self._lock:
            self._healths[name] = replace(self._healths.get(name, AccountHealth()), rate_limited_until=until)

    def forget_rates(self) -> None:
        """Forget the times until which rates held messages back: the rates may have changed."""
        with self._lock:
            for name, health in self._healths.items():
                self._healths[name] = replace(health, rate_limited_until=None)

    def forget_times(self) -> None:
        """Have nothing wait for times that were computed before the clock was set back."""
        with self._lock:
            for name, health in self._healths.items():
                self._healths[name] = replace(
                    health, held_until=None, rate_limited_until=None, backs_off_until=None
                )

    def back_off(self, name: str, now: datetime) -> None:
        """Have others send for a while, longer with each failure; a trial that fails is one, too."""
        with self._lock:
            health = self._healths.get(name, AccountHealth())
            if health.backs_off_until is not None and now < health.backs_off_until:
                return  # it was under way already when the first failed
            wait = min(_FIRST_BACKOFF * (1 << min(health.failures, 10)), _LONGEST_BACKOFF)
            paused = health.paused
            if paused is not None:
                trials = paused.trials + 1
                paused = replace(paused, until=now + trial_wait(trials), trials=trials)
            self._healths[name] = replace(
                health, backs_off_until=now + wait, failures=health.failures + 1, paused=paused
            )

    def pause(self, name: str, reason: PauseReason, error: str, now: datetime) -> None:
        """Have it send nothing but trials, ever less often."""
        with self._lock:
            health = self._healths.get(name, AccountHealth())
            before = health.paused
            trials = before.trials if before is not None else 0
            if before is not None and now >= before.until:
                trials += 1  # else it was under way already when the pause began
            paused = Paused(reason, error, now + trial_wait(trials), trials)
            self._healths[name] = replace(health, paused=paused)
        if before is None:
            log.error("sending paused", reason=reason, error=error, account=name or None)
        self.show_pauses()

    def resume(self, name: str) -> None:
        """Clear its problems: it has sent."""
        with self._lock:
            health = self._healths.get(name, AccountHealth())
            self._healths[name] = replace(health, paused=None, backs_off_until=None, failures=0)
        if health.paused is not None:
            self.show_pauses()
            log.info("sending resumed", after=health.paused.reason, account=name or None)

    def note_acceptance(self, name: str, now: datetime) -> None:
        """Record that it accepted something."""
        with self._lock:
            self._healths[name] = replace(self._healths.get(name, AccountHealth()), accepted_at=now)

    def note_problem(self, name: str, problem: str | None) -> str | None:
        """Record the findings of the account monitor; return the previous problem."""
        with self._lock:
            health = self._healths.get(name, AccountHealth())
            self._healths[name] = replace(health, problem=problem)
            return health.problem

    def show_pauses(self, *, if_renamed: bool = False) -> None:
        """Show the pauses in the metrics, of the accounts and by the names that are known now.

        With *if_renamed*, only where those have changed.
        """
        apis = self._current.runtime.apis
        labels = {name: api.account_name or name for name, api in apis.items()}
        if if_renamed and labels == self._labels:
            return
        self._labels = labels
        gauge = self._metrics.sending_paused
        gauge.clear()
        for name, health in self.all(labels).items():
            for reason in PauseReason:
                is_paused = health.paused is not None and health.paused.reason is reason
                gauge.labels(labels[name], reason).set(is_paused)
