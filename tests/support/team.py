"""A team of three contacts, what it is paged for, and what its phones received."""

from __future__ import annotations

from typing import Any

from notifier.emulator import Emulator
from tests.support.files import ALICE, BOB
from tests.support.pager import Pager
from tests.support.webhooks import alert, webhook

CAROL = "+33639980003"
NAMES = {ALICE: "alice", BOB: "bob", CAROL: "carol"}
CONTACTS = [{"name": name, "phone": phone} for phone, name in NAMES.items()]


def team(*steps: Any, **receiver: Any) -> Any:
    """Return the changes to a configuration for three contacts, alice first, then *steps* of (after, notify)."""
    escalate = [{"after": after, "notify": notify} for after, notify in steps]
    ops = {"name": "ops", "notify": ["alice"], "escalate": escalate, **receiver}
    return {"contacts": CONTACTS, "receivers": [ops]}


def told(emulator: Emulator) -> Any:
    """Return what the phones received: (who, text)."""
    return [(NAMES[sms.receiver], sms.message) for sms in emulator.emulation.accepted]


def firing(*names: Any, **more: Any) -> Any:
    return webhook(*(alert(name, severity="critical", instance="db-1") for name in names), **more)


def over(*names: Any, **more: Any) -> Any:
    return webhook(
        *(alert(name, severity="critical", instance="db-1", status="resolved") for name in names), **more
    )


def person(pager: Pager, name: Any) -> Any:
    return pager.current.runtime.configuration.recipient(name)


def later(pager: Pager, body: Any, **by: Any) -> None:
    pager.hand.move(**by)
    pager.post(body)
    pager.turn()


def the_incident(pager: Pager) -> Any:
    (incident,) = pager.store.incidents.latest(10)
    return incident


def storm(pager: Pager, names: Any, severity: Any = "warning") -> None:
    pager.post_all([webhook(alert(name, severity=severity, instance="db-1"), key=name) for name in names])
