from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from notifier.config.loading import load
from notifier.config.secrets import secrets_of
from notifier.emulator import Emulator, Fault, FaultKind
from notifier.logs import LogFormat, LogLevel, configure_logging
from tests.support.files import Files
from tests.support.pager import Pager
from tests.support.team import team
from tests.support.webhooks import alert, webhook


@pytest.fixture
def written() -> Iterator[Any]:
    stream = io.StringIO()
    yield stream
    configure_logging(level=LogLevel.WARNING, stream=sys.__stderr__)


def test_logfmt_is_one_line_with_time_level_and_event(written: Any) -> None:
    configure_logging(LogFormat.LOGFMT, LogLevel.INFO, written)
    structlog.get_logger("x").info("page sent", to="alice", left=None, ids=["a", "b"])
    line = written.getvalue().strip()
    assert line.startswith("timestamp=20")
    assert line.endswith('level=info event="page sent" to=alice ids=a,b')


def test_json_is_an_object_a_line(written: Any) -> None:
    configure_logging(LogFormat.JSON, LogLevel.INFO, written)
    structlog.get_logger("x").info("é", n=1)
    logging.getLogger("library").warning("from %s", "elsewhere")
    first, second = map(json.loads, written.getvalue().splitlines())
    assert (first["msg"], first["n"], first["level"]) == ("é", 1, "info")
    assert second["msg"] == "from elsewhere"


def test_levels_below_are_left_out(written: Any) -> None:
    configure_logging(LogFormat.LOGFMT, LogLevel.WARNING, written)
    structlog.get_logger("x").info("quiet")
    logging.getLogger("uvicorn.error").info("quiet")
    assert written.getvalue() == ""


@pytest.mark.parametrize("format_", LogFormat)
def test_secrets_and_numbers_never_come_out_not_even_in_a_traceback(written: Any, format_: Any) -> None:
    redaction = configure_logging(format_, LogLevel.INFO, written)
    redaction.keep_secret(["hunter2-secret"])
    redaction.keep_secret(["another-one"])
    redaction.mask_numbers(["+33639980001", "06 39 98 00 01"])
    log = structlog.get_logger("x")
    log.info("as 33639980001, 0033639980001 and 06 39 98 00 01")
    log.info("calling +33639980001", key="hunter2-secret", nested=["x another-one"], other=object)
    try:
        raise ValueError("bad hunter2-secret for +33639980001")
    except ValueError:
        log.exception("failed")
    logging.getLogger("requests").error("header hunter2-secret")
    text = written.getvalue()
    assert "hunter2" not in text
    assert "another-one" not in text
    assert "39980001" not in text
    assert "39 98 00" not in text
    assert text.count("[secret]") >= 4
    assert "+336••••0001" in text
    assert "ValueError" in text
    assert len(text.splitlines()) == 4


@pytest.mark.parametrize("format_", LogFormat)
def test_what_others_sent_forges_no_line(written: Any, format_: Any) -> None:
    configure_logging(format_, LogLevel.INFO, written)
    forged = '/x\x1b[2K\r2026-11-25T00:00:00Z level=info event="configuration reloaded"\n\u2028\u202e\x85\x9b'
    structlog.get_logger("x").info("refused", path=forged, nested=[forged], other=ValueError(forged))
    line = written.getvalue()
    assert line.count("\n") == 1
    assert not any(ord(one) < 32 or one in "\u2028\u202e\x85\x9b\x7f" for one in line.rstrip("\n"))
    assert "x1b[2K" in line


def test_a_log_that_cannot_be_written_breaks_nothing(written: Any) -> None:
    """Else a thread that has something to say would end, and its pages with it."""
    configure_logging(LogFormat.LOGFMT, LogLevel.INFO, written)
    written.close()
    structlog.get_logger("x").warning("unheard", to="nobody")
    try:
        raise ValueError("unheard")
    except ValueError:
        structlog.get_logger("x").exception("unheard")


def test_lines_of_a_message_name_webhook_incident_receiver_and_alert(
    written: Any, make: Callable[..., Pager], emulator: Emulator
) -> None:
    configure_logging(LogFormat.JSON, LogLevel.INFO, written)
    pager = make(**team())
    emulator.faults.add(Fault(kind=FaultKind.ERROR, status=429))
    pager.post(webhook(alert("Disk", instance="db-1")))
    pager.run(20)
    pager.follow()
    (incident,) = pager.store.incidents.latest(2)
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    (planned,) = [one for one in lines if one["msg"] == "notification planned"]
    assert planned["webhook"] == incident.webhook_id
    of_message = [one for one in lines if one["msg"].startswith("message ")]
    assert {one["msg"] for one in of_message} == {"message accepted", "message delivered"}
    (failed,) = [one for one in lines if one["msg"] == "job failed"]
    for one in (planned, failed, *of_message):
        about = [one[name] for name in ("webhook", "incident", "alert", "receiver")]
        assert about == [incident.webhook_id, 1, "Disk db-1", incident.receiver], one


def test_a_job_that_is_asked_for_often_is_a_line_and_names_what_it_is_about(
    written: Any, make: Callable[..., Pager], emulator: Emulator
) -> None:
    configure_logging(LogFormat.JSON, LogLevel.INFO, written)
    pager = make(**team())
    emulator.faults.add(Fault(kind=FaultKind.RESET_AFTER))
    emulator.emulation.listing_delay = 3600.0
    pager.post(webhook(alert("Disk", instance="db-1"), receiver="renamed"))
    pager.run(15)
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    (asked,) = [one for one in lines if one["msg"] == "job not settled yet, asking again"]
    assert (asked["incident"], asked["alert"], asked["receiver"]) == (1, "Disk db-1", "ops")
    (unknown,) = [one for one in lines if one["msg"].startswith("unknown receiver")]
    assert (unknown["receiver"], unknown["alert"]) == ("renamed", "Disk")


@pytest.mark.parametrize(
    ("url", "hidden"),
    [
        ("postgresql://notifier@db.example.net/notifier", []),
        (
            "postgresql://notifier:hunter2@db.example.net/notifier",
            ["postgresql://notifier:hunter2@db.example.net/notifier", "hunter2"],
        ),
    ],
)
def test_the_url_of_the_database_is_a_secret_only_with_a_password(
    files: Files, url: Any, hidden: Any
) -> None:
    loading = load(files.write(storage={"url": url}))
    secrets = list(secrets_of(loading.configuration))
    assert [one for one in secrets if "notifier@" in one or "hunter2" in one] == hidden
