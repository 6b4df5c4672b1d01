"""Which accounts may send now. They take turns, and replace each other."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import chain, combinations

from notifier.delivery import retry
from notifier.delivery.message import Job

_MAX_OTHERS = 8
_FIRST_TRIAL = timedelta(seconds=2)
_LONGEST_TRIAL = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Paused:
    """A pause of sending until the problem in *message* is fixed; the next trial is at *until*."""

    reason: retry.PauseReason
    message: str
    until: datetime
    trials: int


@dataclass(frozen=True, slots=True)
class AccountHealth:
    """The state of an account: whether it may send, and since when it may not."""

    held_until: datetime | None = None
    """It may not send before this time, at the request of OVHcloud."""
    rate_limited_until: datetime | None = None
    """Its rate is used up until this time."""
    paused: Paused | None = None
    backs_off_until: datetime | None = None
    """It failed; others send until this time. It has no effect on a single account."""
    failures: int = 0
    """Number of consecutive failures."""
    problem: str | None = None
    """Problem found by the account monitor."""
    accepted_at: datetime | None = None
    """When it last accepted a message, as far as this process knows."""

    def ready_at(self, now: datetime) -> datetime:
        """Return the time from which it may send; *now* if it may send already."""
        times = [now, *filter(None, (self.held_until, self.rate_limited_until, self.backs_off_until))]
        # A trial in the far future was computed before the clock was set back.
        if self.paused is not None and self.paused.until <= now + _LONGEST_TRIAL:
            times.append(self.paused.until)
        return max(times)

    def is_sound(self, now: datetime) -> bool:
        """Whether it may send now and has no known problem."""
        return self.paused is None and self.problem is None and self.ready_at(now) <= now


def free_slots(
    healths: Mapping[str, AccountHealth], most: Mapping[str, int], busy: Mapping[str, int], now: datetime
) -> dict[str, int]:
    """Return how many jobs each account may begin now.

    An account with a problem sends only while no account is sound. A paused account gets one job at a time, as a
    trial, unless it also has a problem and another account is sound.

    Args:
        healths: the state of each account.
        most: how many jobs each may have under way.
        busy: how many it has.
        now: the time.
    """
    ready = {name: health for name, health in healths.items() if health.ready_at(now) <= now}
    has_sound = any(health.is_sound(now) for health in healths.values())
    found = {}
    for name, health in ready.items():
        if health.paused is not None:
            is_tried = not busy[name] and not (has_sound and health.problem is not None)
            found[name] = 1 if is_tried else 0
        elif health.is_sound(now) or not has_sound:
            found[name] = max(0, most[name] - busy[name])
    return {name: room for name, room in found.items() if room}


def fallback_accounts(
    healths: Mapping[str, AccountHealth], busy: Mapping[str, int], now: datetime
) -> list[str]:
    """Return the accounts that may be tried, one job each, with the messages that the others have refused."""
    return [name for name, health in healths.items() if health.ready_at(now) <= now and not busy[name]]


def round_robin(room: Mapping[str, int], after: str | None) -> list[str]:
    """Return the accounts as they take turns, each as often as it has room, beginning with the one after *after*."""
    names = list(room)
    start = names.index(after) + 1 if after in names else 0
    order = names[start:] + names[:start]
    rounds = max(room.values(), default=0)
    return [name for number in range(rounds) for name in order if room[name] > number]


def assign_accounts(
    jobs: Iterable[Job], order: Sequence[str], free: Mapping[str, int], others: Iterable[str] = ()
) -> list[Job]:
    """Give each of *jobs* an account, in *order*; what none is left for is not among those returned.

    An account gets no message that it has refused. Messages that the accounts in *order* have refused go to the
    *others*, which may have a problem.

    *free* holds how many messages an account with a rate may send now; a job is cut down to that, and the
    others of its messages wait.
    """
    left, remaining, spare, found = dict(free), list(order), list(others), []
    for job in jobs:
        refusing = job.messages[0].refusing
        name = _first(remaining, left, refusing)
        if name is not None:
            remaining.remove(name)
        elif refusing and (name := _first(spare, left, refusing)) is not None:
            spare.remove(name)
        if name is None:
            continue
        messages = job.messages[: left.get(name)]
        if name in left:
            left[name] -= len(messages)
        found.append(replace(job, messages=messages, account=name))
    return found


def unsendable(usable: Collection[str], every: Iterable[str]) -> list[str]:
    """Return the values of `Message.refused_by` with which none of the *usable* accounts may send a message.

    That is every set of accounts with all the usable ones in it, of *every* account that there is. Such a message
    waits without standing before others.
    """
    others = sorted(set(every) - set(usable))[:_MAX_OTHERS]
    sets = chain.from_iterable(combinations(others, size) for size in range(len(others) + 1))
    return [" ".join(sorted({*usable, *more})) for more in sets] if usable else []


def _first(names: Iterable[str], left: Mapping[str, int], refusing: Collection[str]) -> str | None:
    """Return the first of *names* that may send something, and has not refused it."""
    return next((name for name in names if left.get(name, 1) > 0 and name not in refusing), None)


def trial_wait(trials: int) -> timedelta:
    """Return how long a paused account waits before its next trial, after *trials* of them."""
    return min(_FIRST_TRIAL * (1 << min(trials, 8)), _LONGEST_TRIAL)
