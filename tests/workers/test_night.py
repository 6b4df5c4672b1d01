"""A night on call in simulated time: silences, an outage of OVHcloud, links and phone calls, on both engines."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from notifier.emulator import Emulator, Fault, FaultKind
from notifier.emulator.telephony import Answer
from notifier.incidents.links import token_hash
from notifier.workers.actions import Via
from tests.support.alertmanager import Member, members
from tests.support.channels import Receiver, receiver
from tests.support.clock import Hand
from tests.support.files import BOB
from tests.support.pager import Pager
from tests.support.postgres import both_engines
from tests.support.team import CAROL, CONTACTS, firing, over, told

DOWN = Fault(kind=FaultKind.ERROR, status=503, method="*", path="", times=None)
EVENING = datetime(2026, 11, 22, 22, 0, tzinfo=UTC)


@pytest.fixture
def pair(hand: Hand) -> Iterator[list[Member]]:
    hand.now = EVENING
    with members(2, hand) as made:
        yield made


@pytest.fixture
def inbox() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


class Night:
    """The night of a pager: what happens when, and what has reached the phones since it was last asked for."""

    def __init__(self, pager: Pager, pair: list[Member], emulator: Emulator) -> None:
        self.pager, self.pair, self.emulator = pager, pair, emulator
        self._seen = 0

    def until(self, clock: str, step: float = 60.0) -> None:
        """Let time pass until *clock*, which is tonight or tomorrow morning."""
        hour, minute = map(int, clock.split(":"))
        day = EVENING.date() + timedelta(days=hour < 12)
        end = datetime(day.year, day.month, day.day, hour, minute, tzinfo=UTC)
        while self.pager.hand() < end:
            self.pager.turn()
            self.pager.follow()
            self.pager.hand.move(seconds=min(step, (end - self.pager.hand()).total_seconds()))
        self.pager.turn()

    def fire(self, name: str) -> None:
        """Fire an alert: Alertmanager knows it, and posts it."""
        for one in self.pair:
            one.fire(*firing(name)["alerts"])
        self.pager.post(firing(name, key=name))

    def resolve(self, name: str) -> None:
        """Resolve an alert in Alertmanager, which posts that."""
        for one in self.pair:
            one.end()
        self.pager.post(over(name, key=name))

    def reply(self, phone: str, text: str) -> None:
        """Have a phone reply, and the reply read."""
        self.emulator.reply(phone, text)
        self.pager.listen()

    def new(self) -> list[str]:
        """Return who received what on the phone, in one word."""
        every = told(self.emulator)
        fresh, self._seen = every[self._seen :], len(every)
        return [f"{who} {text.partition(' #')[0]}" for who, text in fresh]

    def state(self, number: int) -> tuple[str, str | None]:
        incident = self.pager.store.incidents.named(str(number))
        assert incident is not None
        return incident.shown_state.value, incident.acknowledged_by


@both_engines
@pytest.mark.usefixtures("by_hand")
def test_a_night_on_call(
    make: Callable[..., Pager],
    emulator: Emulator,
    hand: Hand,
    pair: list[Member],
    inbox: Receiver,
    engine_name: str,
) -> None:
    steps = [{"after": "10m", "notify": ["bob"], "call": True}, {"after": "10m", "notify": ["carol"]}]
    pager = make(
        **{"global": {"external_url": "https://pager.example.net"}},
        links=True,
        ovh={
            "sender": ...,
            "sender_for_response": True,
            "telephony": {"billing_account": "emu12345-ovh-1", "line": "0033199001234"},
        },
        contacts=[{**one, "fallback": [f"{inbox.url}/{one['name']}"]} for one in CONTACTS],
        fallback={"after": "2m"},
        alertmanager={"urls": [one.url for one in pair]},
        receivers=[{"name": "ops", "notify": ["alice"], "escalate": steps}],
    )
    night, calls = Night(pager, pair, emulator), emulator.emulation.telephony.calls

    # 22:05 A disk fills up. Alice silences it in Alertmanager for an hour, and bob sleeps on.
    night.until("22:05")
    night.fire("Disk")
    night.until("22:08")
    assert night.new() == ["alice FIRING"]
    for one in pair:
        one.silence(by="alice", comment="growing the volume", hours=1)
    night.until("23:07", step=180)
    assert (night.new(), night.state(1)[0], calls) == ([], "silenced", [])  # she knows of her own silence
    # 23:08 The silence ends and the disk is still full: bob's step is due at once, and his phone rings.
    for one in pair:
        one.release()
    emulator.emulation.telephony.answers[BOB] = Answer.KEY
    night.until("23:12", step=10)
    assert (night.new(), night.state(1)) == (
        ["bob SILENCE ENDED", "alice bob has it:"],
        ("acknowledged", "bob"),
    )
    assert len(calls) == 1
    night.resolve("Disk")
    night.until("23:30")
    assert sorted(night.new()) == ["alice RESOLVED", "bob RESOLVED"]

    # 00:30 OVHcloud goes down for an hour. The page is in alice's inbox within two minutes and ten seconds, and she
    # acknowledges by its link. No SMS comes later, because she has it.
    night.until("00:30", step=600)
    emulator.faults.add(DOWN)
    night.fire("Database")
    fired_at = hand()
    while not inbox.got and hand() < fired_at + timedelta(minutes=3):
        pager.turn()
        hand.move(seconds=1)
    assert hand() - fired_at <= timedelta(minutes=2, seconds=10)
    ((_, letter),) = inbox.got
    token = re.search(r"\nhttps://pager\.example\.net/i/(\w{14})$", letter)
    assert token is not None
    link = pager.store.links.get(token_hash(token[1]))
    assert link is not None
    pager.actions.acknowledge(link.incident_id, link.contact, Via.LINK)
    # 00:50 Another alert fires during the outage, and nobody reads the inbox: all three are paged there in turn.
    night.until("00:50")
    night.fire("Network")
    night.until("01:25", step=60)
    assert night.new() == []
    assert len([text for _, text in inbox.got if "Network" in text]) == 3
    # 01:30 OVHcloud is back. Who was paged gets the SMS, once, because the alert still fires.
    emulator.faults.clear()
    night.until("01:40", step=30)
    late = night.new()
    assert sorted(one.split()[0] for one in late) == ["alice", "bob", "carol"]  # nobody is paged twice
    assert all(one.split()[1] == "LATE" for one in late)
    assert night.state(2) == ("acknowledged", "alice")
    night.reply(CAROL, "ack")
    night.until("01:45", step=30)
    assert night.state(3) == ("acknowledged", "carol")
    night.resolve("Network")
    night.resolve("Database")
    night.until("02:30", step=600)
    night.new()

    # 03:00 Nobody answers: not alice, not bob, whose phone rings for 40 seconds. Carol is paged at once then.
    night.until("03:00", step=600)
    emulator.emulation.telephony.answers[BOB] = Answer.NONE
    night.fire("Storage")
    night.until("03:09")
    assert night.new() == ["alice FIRING"]
    night.until("03:10", step=30)
    night.until("03:12", step=5)
    assert night.new() == ["bob ESCALATED", "carol ESCALATED"]
    assert (len(calls), calls[-1].cause) == (2, "CodeSip480NoAnswerFromUser")
    night.reply(CAROL, "ack")
    night.until("03:20", step=20)
    assert night.state(4) == ("acknowledged", "carol")
    night.resolve("Storage")
    night.until("04:00", step=600)
    night.new()

    # 04:30 An alert is silenced and ends meanwhile, of which Alertmanager posts nothing: the incident is resolved.
    night.until("04:30", step=600)
    night.fire("Backup")
    night.until("04:33")
    for one in pair:
        one.silence(by="carol", comment="known", hours=3)
    night.until("04:40")
    assert night.state(5)[0] == "silenced"
    for one in pair:
        one.end()
    night.until("06:00", step=300)
    assert night.state(5)[0] == "resolved"
    first, notice, last = night.new()
    assert (first, last) == ("alice FIRING", "alice RESOLVED")
    assert notice.startswith("alice #5 silenced by carol until 07:3")
    assert len(calls) == 2

    # 07:00 Nothing is left: every incident is over, and no message waits.
    night.until("07:00", step=600)
    assert [one.state.value for one in pager.store.incidents.latest(20)] == ["resolved"] * 5
    assert set(pager.states()) <= {"delivered", "withdrawn", "merged", "expired", "accepted"}
    assert pager.store.outbox.queue().messages["queued"] == 0
    pages = [row for row in pager.rows() if row["kind"] == "page" and row["state"] == "delivered"]
    assert len({(row["incident_id"], row["phone"], row["step"]) for row in pages}) == len(pages)
