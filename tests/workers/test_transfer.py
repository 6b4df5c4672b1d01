"""Moving from one database to another, and reading the timeline of a page afterwards."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL
from typer.testing import CliRunner

from notifier.cli.app import app
from notifier.emulator import Emulator
from notifier.store.database import open_backend
from notifier.store.engine import StoreRefused
from notifier.store.schema import metadata, replicas
from notifier.store.store import Store
from notifier.store.transfer import transfer
from tests.support.clock import Hand
from tests.support.files import ALICE, Files
from tests.support.pager import Pager
from tests.support.processes import wait_for
from tests.support.service import Phones, Running
from tests.support.team import firing, later, over, team
from tests.support.webhooks import alert, webhook

TABLES = [table for table in metadata.sorted_tables if table is not replicas]


def lived_in(make: Callable[..., Pager], emulator: Emulator) -> Any:
    """A pager with some history: pages, a digest, replies, a resolution, something still open."""
    pager = make(ovh={"sender": ..., "sender_for_response": True}, **team(("10m", ["bob"])))
    pager.post(firing("A", "\u00e9\U0001f600\0", key="a\0\u00e9"))
    pager.turn()
    emulator.emulation.invalid_numbers.add(ALICE)
    later(pager, firing("B", key="b"), minutes=1)
    pager.run(30)
    emulator.emulation.reply(ALICE, "ack 1")
    pager.hand.move(seconds=2)
    pager.listen()
    later(pager, over("B", key="b"), minutes=1)
    pager.follow()
    return pager


def content(place: Any) -> Any:
    backend = open_backend(place)
    with backend.engine.connect() as connection:
        rows = {table.name: sorted(map(repr, connection.execute(table.select()))) for table in TABLES}
    backend.engine.dispose()
    return rows


def test_there_and_back_again(
    make: Callable[..., Pager],
    emulator: Emulator,
    hand: Hand,
    tmp_path: Path,
    postgres_server: Any,
    by_hand: None,
) -> None:
    pager = lived_in(make, emulator)
    pager.store.stop()
    start, back = tmp_path / "notifier.db", tmp_path / "back" / "notifier.db"
    url = postgres_server.create()
    counts = transfer(open_backend(start), open_backend(url))
    assert counts["messages"] > 3
    assert counts["attempts"] > 2
    assert counts["replies"] == 1
    assert transfer(open_backend(url), open_backend(back)) == counts
    assert content(start) == content(url) == content(back)
    moved = Store(url)
    moved.start()
    try:
        assert [one.state.value for one in moved.incidents.latest(9)] == ["resolved", "acknowledged"]
        pager.store = moved
        assert len(pager.post(over("B", key="b"))) == 1  # it is recognised here
    finally:
        moved.stop()
        postgres_server.drop(url)


def test_a_database_that_holds_something_is_not_copied_to(
    make: Callable[..., Pager], emulator: Emulator, tmp_path: Path, postgres: URL
) -> None:
    lived_in(make, emulator).store.stop()
    start = tmp_path / "notifier.db"
    transfer(open_backend(start), open_backend(postgres))
    with pytest.raises(StoreRefused, match="is not empty"):
        transfer(open_backend(start), open_backend(postgres))


def test_what_arrives_changed_is_not_kept(
    make: Callable[..., Pager],
    emulator: Emulator,
    tmp_path: Path,
    postgres: URL,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lived_in(make, emulator).store.stop()

    def meddle(what: Any, table: Any, done: Any, total: Any) -> None:
        if what == "verifying" and table == "messages":
            monkeypatch.setattr(
                "notifier.store.transfer.repr", lambda values: str(next(numbers)), raising=False
            )

    numbers = iter(range(10**6))
    with pytest.raises(StoreRefused, match="is not what left; nothing was kept"):
        transfer(open_backend(tmp_path / "notifier.db"), open_backend(postgres), meddle)
    assert not any(content(postgres).values())


def test_one_that_is_worked_on_is_not_copied(
    make: Callable[..., Pager],
    emulator: Emulator,
    tmp_path: Path,
    postgres: URL,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pager = lived_in(make, emulator)
    with pytest.raises(StoreRefused, match="another process works on"):
        transfer(open_backend(tmp_path / "notifier.db"), open_backend(postgres))
    pager.store.stop()
    store = Store(postgres)
    store.start()
    store.replicas.heartbeat("somebody", pager.hand()).result(10)
    monkeypatch.setattr(
        "notifier.store.transfer.time.sleep",
        lambda _: store.replicas.heartbeat("somebody", pager.hand()).result(10),
    )
    with pytest.raises(StoreRefused, match="a replica works on postgresql://"):
        transfer(open_backend(tmp_path / "notifier.db"), open_backend(postgres))
    store.stop()


def test_the_command_copies(
    make: Callable[..., Pager], emulator: Emulator, tmp_path: Path, postgres: URL
) -> None:
    lived_in(make, emulator).store.stop()
    arguments = ["storage", "copy", "--from", f"sqlite:///{tmp_path}/notifier.db", "--to", str(postgres)]
    result = CliRunner().invoke(app, [*arguments, "--output", "json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["incidents"] == 2
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 1
    assert "nothing was copied" in again.stderr
    assert "is not empty" in again.stderr
    wrong = CliRunner().invoke(app, ["storage", "copy", "--from", "mysql://x", "--to", "y"])
    assert wrong.exit_code == 1
    assert '"mysql://x" is not a storage URL' in wrong.stderr


def test_the_story_of_a_page_is_told(files: Files, run: Callable[..., Running], phones: Phones) -> None:
    running = run(files.write())
    running.post(webhook(alert("DiskFull", instance="db-1"), key="group"))
    wait_for(lambda: any(one.ovh_id for one in running.service.store.ledger.latest(1)), "it is written down")
    listed = CliRunner().invoke(app, ["messages", "--url", running.url, "--output", "json"])
    (one,) = json.loads(listed.stdout)
    assert (one["to"], one["state"], one["phone"]) == ("alice", "accepted", "+336••••0001")
    shown = CliRunner().invoke(app, ["messages", one["id"], "--url", running.url])
    zone, words = zip(*(line.split()[2:4] for line in shown.stdout.splitlines()[1:]), strict=True)
    assert set(zone) == {datetime.now().astimezone().tzname()}
    assert words[0] == "received"
    assert {"routed", "rendered", "tried", "answered", "accepted", "incident"} <= set(words)
    assert "1 alert firing to receiver ops" in shown.stdout
    assert "FIRING #1 DiskFull db-1" in shown.stdout
    assert f"by OVHcloud as {phones.all()[0].id}" in shown.stdout
    missing = CliRunner().invoke(app, ["messages", "nothing", "--url", running.url])
    assert missing.exit_code == 1
    assert 'there is no message "nothing"' in missing.stderr
    lines = CliRunner().invoke(app, ["messages", "--url", running.url])
    assert "accepted    alice: FIRING #1" in lines.stdout


def test_a_story_holds_every_attempt(make: Callable[..., Pager], emulator: Emulator, by_hand: None) -> None:
    from notifier.emulator import Fault, FaultKind
    from notifier.timeline import message_timeline

    pager = make(**team())
    emulator.faults.add(Fault(kind=FaultKind.ERROR, status=409, times=2))
    pager.post(firing("A"))
    pager.run(60, step=2)
    pager.follow()
    (row,) = pager.rows()
    details = pager.store.ledger.details(row["id"])
    lines = [(line.what, line.detail) for line in message_timeline(details)]
    whats = [what for what, _ in lines]
    assert whats.count("tried") == 3
    assert ["409" in detail for what, detail in lines if what == "answered"] == [True, True, False]
    assert "accepted" in whats
