"""Health: whether webhooks are accepted and pages are sent, and the reasons if not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta

from notifier.clock import elapsed
from notifier.delivery.message import Hold
from notifier.runtime import Runtime
from notifier.store.engine import StoreUnavailable
from notifier.workers.context import Context
from notifier.workers.wiring import Workers

_LONG_WAIT = timedelta(seconds=10)
"""How long nothing may be sent, because OVHcloud asked for that or a rate is used up, before it is reported."""
_FEW_CREDITS = 100
"""Below this number of credits administrators are notified, as by the rule NotifierCreditsLow."""
_NEAR_GAP = timedelta(days=7)
"""How far ahead administrators are notified of a gap in a schedule."""
_STUCK = timedelta(minutes=1)
"""How long a webhook or message may wait before the dead man's switch is not called any more."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether webhooks are accepted (*outage* is the reason if not), and what hinders sending (*warnings*)."""

    outage: str | None
    """Why webhooks are not taken: they cannot be stored, or would not be planned or sent."""
    warnings: tuple[str, ...] = ()
    is_hindered: bool = False
    """Whether there is no account by which anything can be sent."""


class Health:
    """Looks at the store, the workers and the accounts of a service."""

    def __init__(
        self,
        context: Context,
        workers: Workers,
        of_configuration: Callable[[], list[str]],
        hide: Callable[[str], str],
    ) -> None:
        """Look at *workers*.

        Args:
            context: what they work with.
            workers: the workers of the service.
            of_configuration: returns warnings about the configuration in force.
            hide: removes secrets from a text.
        """
        self._context = context
        self._workers = workers
        self._running = workers.all(is_shared=context.store.backend.is_shared)
        self._of_configuration = of_configuration
        self._hide = hide

    @property
    def _runtime(self) -> Runtime:
        return self._context.current.runtime

    def readiness(self) -> Readiness:
        """Return whether webhooks are accepted, and the problems that hinder paging."""
        warnings = self._account_warnings()
        for name, problem in self._workers.calendars.problems.items():
            warnings.append(f'the calendar of "{name}" {self._hide(problem)}; its last good copy is in use')
        if self._workers.watchdog.problem is not None:
            warnings.append(f"the watchdog cannot be called: {self._workers.watchdog.problem}")
        if self._workers.alert_states.is_silent:
            warnings.append(
                f"Alertmanager cannot be asked, incidents are escalated all the same{self._alertmanager_problems()}"
            )
        for service, problem in self._workers.fallback.problems.items():
            warnings.append(self._hide(f"the fallback by {service} failed: {problem}"))
        if self._workers.calls.problem is not None:
            warnings.append(self._hide(f"a phone call failed: {self._workers.calls.problem}"))
        if (stuck := self._stuck()) is not None:
            warnings.append(stuck)
        warnings += [*self._of_workers(), *self._held(), *self._of_configuration()]
        return Readiness(self.not_ready(), tuple(warnings), self._is_hindered())

    def _alertmanager_problems(self) -> str:
        problems = self._workers.alert_states.problems
        return self._hide("".join(f"; {url}: {reason}" for url, reason in problems.items()))

    def _of_workers(self) -> list[str]:
        """Return the problems of the workers."""
        warnings, now = [], elapsed()
        for worker in self._running:
            if (problem := worker.failure(now)) is not None:
                warnings.append(self._hide(problem))
            if items := worker.set_aside.items():
                error = next(iter(items.values())).error
                message = f"the {worker.name} cannot process {len(items)} item(s), and retries: {error}"
                warnings.append(self._hide(message))
        if self._workers.dispatcher.overdue:
            count = _counted(self._workers.dispatcher.overdue, "job has", "jobs have")
            warnings.append(f"{count} been sending for longer than a call can take")
        return warnings

    def _held(self) -> Iterator[str]:
        """Return which limits hold messages now."""
        try:
            held = self._context.store.outbox.held()
        except StoreUnavailable:  # which is reported as such
            return
        if held[Hold.CREDITS]:
            count = _counted(held[Hold.CREDITS], "message waits", "messages wait")
            yield f"limits.credits is used up: {count} for credits"
        if held[Hold.DIGEST]:
            count = _counted(held[Hold.DIGEST], "message", "messages")
            yield f"limits.per_contact holds {count} for digests"

    def refusal(self) -> str | None:
        """Return why pages would not be planned or sent, though webhooks can be stored; None when all is well."""
        now = elapsed()
        problems = (worker.failure(now) for worker in (self._workers.planner, self._workers.dispatcher))
        return next((self._hide(problem) for problem in problems if problem is not None), None)

    def not_ready(self) -> str | None:
        """Return why webhooks are refused; None while they are accepted."""
        outage = self._context.store.outage
        return f"the store is unavailable: {outage}" if outage is not None else self.refusal()

    def _is_hindered(self) -> bool:
        """Whether there is no account by which anything can be sent."""
        now = self._context.clock()
        return all(
            one.paused is not None or one.problem is not None or one.ready_at(now) > now + _LONG_WAIT
            for one in self._workers.dispatcher.accounts.all(self._runtime.apis).values()
        )

    def does_page(self) -> bool:
        """Whether alerts are stored, planned, escalated and sent."""
        is_escalating = self._workers.escalator.failure(elapsed()) is None
        is_well = self.not_ready() is None and is_escalating and not self._is_hindered()
        return is_well and self._stuck() is None

    def _stuck(self) -> str | None:
        """Return which webhook or message has waited for longer than `_STUCK`; None if there is none."""
        now = self._context.clock()
        try:
            unplanned = self._context.store.webhooks.oldest_unplanned()
            oldest = self._context.store.ledger.waiting_longest(now, _STUCK)
        except StoreUnavailable:  # which is reported as such
            return None
        if unplanned is not None and now - unplanned >= _STUCK:
            since = unplanned.astimezone(self._runtime.configuration.global_.time_zone)
            return f"a webhook has waited to be planned since {since:%d %b %H:%M:%S %Z}"
        if oldest is None or now - oldest.created_at < _STUCK:
            return None
        since = oldest.created_at.astimezone(self._runtime.configuration.global_.time_zone)
        why = self._hide(oldest.error or "the reason is not known")
        return f"a message has waited to be sent since {since:%d %b %H:%M:%S %Z}: {why}"

    def for_operators(self) -> dict[str, str]:
        """Return the problems that administrators are to be notified of, by a key that stays while each lasts."""
        workers, runtime, now = self._workers, self._runtime, self._context.clock()
        problems = dict(self._of_accounts())
        for name, problem in workers.calendars.problems.items():
            problems[f"calendar/{name}"] = f'the calendar of "{name}" {problem}'
        for name, at in runtime.schedules.gaps(now).items():
            if at <= now + _NEAR_GAP:
                local = at.astimezone(runtime.configuration.global_.time_zone)
                problems[f"gap/{name}/{at:%Y-%m-%d}"] = f"nobody is on call in {name} at {local:%d/%m %H:%M}"
        for worker in self._running:
            if (failure := worker.failure(elapsed())) is not None:
                problems[f"worker/{worker.name}"] = failure
        for service, problem in workers.fallback.problems.items():
            problems[f"fallback/{service}"] = f"the fallback by {service} failed: {problem}"
        if workers.calls.problem is not None:
            problems["calls"] = f"a phone call failed: {workers.calls.problem}"
        for reload in self._context.store.reloads.latest(1):
            if reload.problem is not None:
                problems["reload"] = f"the configuration was not reloaded: {reload.problem}"
        return {key: self._hide(problem) for key, problem in problems.items()}

    def _of_accounts(self) -> Iterator[tuple[str, str]]:
        for name, health in self._workers.dispatcher.accounts.all(self._runtime.apis).items():
            of = f" in {name}" if name else ""
            if health.paused is not None:
                paused = health.paused
                yield f"account/{name}", f"sending is paused{of} ({paused.reason}): {paused.message}"
            elif health.problem is not None:
                yield f"account/{name}", health.problem
            left = self._workers.account_monitor.credits.get(name)
            if left is not None and left < _FEW_CREDITS:
                yield f"credits/{name}", f"{left:g} credits left{of}"

    def _account_warnings(self) -> list[str]:
        """Return the problems of each account, and whether they hinder sending."""
        healths = self._workers.dispatcher.accounts.all(self._runtime.apis)
        warnings = []
        for name, health in healths.items():
            of = f"{name}: " if len(healths) > 1 else ""
            if (paused := health.paused) is not None:
                message = f"{of}sending is paused ({paused.reason}): {paused.message}"
                warnings.append(self._hide(message))
            elif health.problem is not None:
                message = of + health.problem
                warnings.append(self._hide(message))
        now = self._context.clock()
        ready = min(health.ready_at(now) for health in healths.values())
        if warnings and any(health.is_sound(now) for health in healths.values()):
            warnings.append("the other accounts send instead")
        elif ready > now + _LONG_WAIT and self._workers.dispatcher.paused is None:
            warnings.append(
                f"nothing is sent until {ready.astimezone(self._runtime.configuration.global_.time_zone):%H:%M:%S %Z}: "
                "OVHcloud asked for that, or the rate is used up"
            )
        return warnings


def _counted(count: int, one: str, several: str) -> str:
    return f"{count} {one if count == 1 else several}"
