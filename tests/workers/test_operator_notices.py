"""Administrators hear of what hinders paging: by SMS where that works, and always by their fallback."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from notifier.emulator import Emulator, Fault, FaultKind
from notifier.workers.operator_notices import OperatorNotices
from tests.support.channels import Receiver, receiver
from tests.support.clock import Hand
from tests.support.files import ALICE, BOB, Files
from tests.support.pager import Pager
from tests.support.processes import wait_for
from tests.support.service import Phones, Running


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


def with_admin(hook: Receiver) -> dict[str, Any]:
    admin = {"name": "root", "phone": BOB, "admin": True, "language": "fr", "fallback": [hook.url]}
    return {
        "contacts": [{"name": "alice", "phone": ALICE}, admin],
        "receivers": [{"name": "ops", "notify": ["alice"]}],
    }


def noticing(pager: Pager, problems: dict[str, str]) -> OperatorNotices:
    workers = pager.workers
    return OperatorNotices(pager.context, lambda: problems, workers.dispatcher.expect, workers.fallback.send)


def test_a_problem_that_lasts_is_told_once_a_day_by_sms_and_fallback(
    make: Callable[..., Pager], emulator: Emulator, hook: Receiver
) -> None:
    pager = make(**with_admin(hook))
    problems = {"reload": "the configuration was not reloaded: 3:1"}
    worker = noticing(pager, problems)
    for _ in range(4):
        worker.work()
        pager.turn()
        pager.hand.move(seconds=15)
    assert emulator.emulation.accepted == []  # some pass by themselves
    worker.work()
    pager.turn()
    text = "Notifier : the configuration was not reloaded: 3:1"
    assert [(sms.receiver, sms.message) for sms in emulator.emulation.accepted] == [(BOB, text)]
    assert [message for _, message in hook.got] == [text]
    for _ in range(100):
        pager.hand.move(minutes=10)
        worker.work()
        pager.turn()
    assert len(hook.got) == 1
    pager.hand.move(hours=9)
    worker.work()
    pager.turn()
    assert len(hook.got) == 2


def test_a_notice_that_waits_is_withdrawn_when_its_problem_has_passed(
    make: Callable[..., Pager], emulator: Emulator, hook: Receiver
) -> None:
    emulator.faults.add(Fault(kind=FaultKind.ERROR, status=429, times=None))
    pager = make(**with_admin(hook))
    problems = {"account/": "sending is paused", "calendar/a": "the calendar fails"}
    worker = noticing(pager, problems)
    for _ in range(6):
        worker.work()
        pager.turn()
        pager.hand.move(seconds=15)
    assert len(hook.got) == 2
    del problems["account/"]
    worker.work()
    emulator.faults.clear()
    pager.run(60, step=5)
    assert [sms.message for sms in emulator.emulation.accepted] == ["Notifier : the calendar fails"]
    assert sorted(pager.states()) == ["accepted", "withdrawn"]


def test_a_problem_that_passes_within_a_minute_is_not_told(
    make: Callable[..., Pager], emulator: Emulator, hook: Receiver
) -> None:
    pager = make(**with_admin(hook))
    problems = {"account/": "paused"}
    worker = noticing(pager, problems)
    worker.work()
    pager.hand.move(seconds=50)
    problems.clear()
    worker.work()
    problems["account/"] = "paused"
    pager.hand.move(seconds=20)
    worker.work()
    pager.turn()
    assert (emulator.emulation.accepted, hook.got) == ([], [])


def test_while_ovhcloud_is_down_administrators_hear_of_it_by_their_fallback(
    make: Callable[..., Pager], emulator: Emulator, hook: Receiver
) -> None:
    emulator.faults.add(Fault(kind=FaultKind.ERROR, status=503, times=None))
    pager = make(**with_admin(hook))
    worker = noticing(pager, {"account/": "sending is paused"})
    worker.work()
    pager.hand.move(minutes=2)
    worker.work()
    pager.turn()
    assert (emulator.emulation.accepted, len(hook.got)) == ([], 1)


@pytest.mark.parametrize("engine_name", ["postgresql"])
def test_replicas_tell_it_once(
    files: Files, hand: Hand, emulator: Emulator, hook: Receiver, engine_name: str
) -> None:
    replicas = [Pager(files, hand, with_admin(hook)) for _ in range(3)]
    workers = [noticing(one, {"reload": "it failed"}) for one in replicas]
    for _ in range(8):
        for worker in workers:
            worker.work()
        hand.move(seconds=15)
    for one in replicas:
        one.turn()
    assert (len(emulator.emulation.accepted), len(hook.got)) == (1, 1)
    for one in replicas:
        one.close()


def test_the_service_names_what_hinders_it(
    files: Files, run: Callable[..., Running], phones: Phones, emulator: Emulator, hook: Receiver
) -> None:
    gap = {
        "name": "rota",
        "rotations": [
            {"start": "2026-01-05T09:00", "every": "1w", "contacts": ["alice"], "days": ["monday:friday"]}
        ],
    }
    emulator.emulation.credits = 42.0
    running = run(files.write(**with_admin(hook), schedules=[gap], ovh={"timeout": "10s"}))
    health = running.service.health
    wait_for(lambda: "credits/" in health.for_operators(), "credits are known")
    found = health.for_operators()
    assert found["credits/"].startswith("42 credits left")
    (about,) = [text for key, text in found.items() if key.startswith("gap/rota/")]
    assert about.startswith("nobody is on call in rota at ")
    emulator.emulation.status = "disable"
    running.service.workers.account_monitor.wake()
    wait_for(
        lambda: any(key.startswith("account/") for key in health.for_operators()), "the account is disabled"
    )
