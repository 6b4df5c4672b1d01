"""The client against the emulator, over real HTTP."""

from __future__ import annotations

import socket
import ssl
import time
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
import requests
import urllib3

from notifier.config.ovh import Ovh
from notifier.emulator import Emulator, Fault, FaultKind
from notifier.ovh.client import OvhClient
from notifier.ovh.errors import CallFailed, Fate, from_exception, from_response
from notifier.ovh.rights import policy, rights
from tests.support.files import ALICE, BOB


def settings(emulator: Emulator, **changes: Any) -> Any:
    keys = emulator.emulation.credentials
    given = {
        "endpoint": emulator.url,
        "application_key": keys.application_key,
        "application_secret": keys.application_secret,
        "consumer_key": keys.consumer_key,
        "sender": "ACME",
        "timeout": "500ms",
        **changes,
    }
    return Ovh(**{name: value for name, value in given.items() if value is not None})


@pytest.fixture
def calls() -> Any:
    return []


@pytest.fixture
def api(emulator: Emulator, calls: Any) -> Any:
    return OvhClient(settings(emulator), calls.append)


def failing(api: Any, *receivers: Any) -> Any:
    with pytest.raises(CallFailed) as caught:
        api.send("hello", receivers or (ALICE,), "tag")
    return caught.value.failure


def test_sends_what_an_alert_needs(emulator: Emulator, api: Any, calls: Any) -> None:
    outcome = api.send("hello", (ALICE, BOB), "tag-1")
    assert outcome.sent.valid_receivers == (ALICE, BOB)
    assert [sms.id for sms in emulator.emulation.accepted] == list(outcome.sent.ids)
    assert [(s.message, s.tag, s.sender) for s in emulator.emulation.accepted] == [
        ("hello", "tag-1", "ACME")
    ] * 2
    assert outcome.query_id == calls[-1].query_id
    assert [(c.method, c.route, c.code) for c in calls] == [
        ("GET", "/auth/time", "200"),
        ("GET", "/sms", "200"),
        ("POST", "/sms/{serviceName}/jobs", "200"),
    ]


def test_asks_the_time_once(emulator: Emulator, api: Any) -> None:
    for _ in range(3):
        api.send("hello", (ALICE,), "t")
    assert emulator.requests.count(("GET", "/1.0/auth/time")) == 1


def test_a_receiver_that_is_invalid_is_named_in_a_200(api: Any) -> None:
    sent = api.send("hello", ("+33", ALICE), "t").sent
    assert (sent.valid_receivers, sent.invalid_receivers) == ((ALICE,), ("+33",))


def test_sends_from_a_virtual_number_without_what_that_refuses(emulator: Emulator) -> None:
    api = OvhClient(settings(emulator, sender=None, virtual_number="+33 6 39 98 00 99"))
    assert api.send("hello", (ALICE,), "t").sent.ids
    assert emulator.emulation.accepted[0].sender == "+33639980099"
    with pytest.raises(CallFailed, match="404"):
        OvhClient(settings(emulator, sender=None, virtual_number="+33639980098")).send("hello", (ALICE,), "t")


def test_sends_from_a_short_number(emulator: Emulator) -> None:
    OvhClient(settings(emulator, sender=None, sender_for_response=True)).send("hello", (ALICE,), "t")
    assert emulator.emulation.accepted[0].sender == "38180"


def test_signs_with_oauth2(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    keys = emulator.emulation.credentials
    oauth = {
        "application_key": None,
        "application_secret": None,
        "consumer_key": None,
        "client_id": keys.application_key,
    }
    api = OvhClient(settings(emulator, **oauth, client_secret=keys.application_secret))
    assert api.send("hello", (ALICE,), "t").sent.ids
    refused = failing(OvhClient(settings(emulator, **oauth, client_secret="wrong")))
    assert (refused.status, refused.code) == (401, "OAUTH2")


@pytest.mark.parametrize(
    ("fault", "fate", "status", "code"),
    [
        (Fault(kind=FaultKind.ERROR, status=500), Fate.ANSWERED, 500, "InternalServerError"),
        (
            Fault(kind=FaultKind.ERROR, status=403, error_code="INVALID_CREDENTIAL"),
            Fate.ANSWERED,
            403,
            "INVALID_CREDENTIAL",
        ),
        (Fault(kind=FaultKind.HTML, status=502), Fate.ANSWERED, 502, None),
        (Fault(kind=FaultKind.HTML, status=403), Fate.ANSWERED, 403, None),
        (Fault(kind=FaultKind.GARBAGE), Fate.LOST, None, None),
        (Fault(kind=FaultKind.RESET_BEFORE), Fate.LOST, None, None),
        (Fault(kind=FaultKind.RESET_AFTER), Fate.LOST, None, None),
        (Fault(kind=FaultKind.HANG_BEFORE, seconds=5), Fate.LOST, None, None),
        (Fault(kind=FaultKind.HANG_AFTER, seconds=5), Fate.LOST, None, None),
    ],
    ids=lambda value: f"{value.kind}-{value.status}" if isinstance(value, Fault) else "",
)
def test_tells_what_became_of_a_call_that_failed(
    emulator: Emulator, api: Any, fault: Any, fate: Any, status: Any, code: Any
) -> None:
    carried_out = fault.kind in (FaultKind.GARBAGE, FaultKind.RESET_AFTER, FaultKind.HANG_AFTER)
    emulator.faults.add(fault)
    failure = failing(api)
    assert (failure.fate, failure.status, failure.code) == (fate, status, code)
    assert len(emulator.emulation.accepted) == carried_out
    assert api.send("again", (ALICE,), "t").sent.ids


def test_reads_how_long_to_wait(emulator: Emulator, api: Any) -> None:
    emulator.faults.add(Fault(kind=FaultKind.ERROR, status=429, headers={"Retry-After": "12"}))
    assert failing(api).retry_after == 12
    emulator.faults.add(
        Fault(kind=FaultKind.HTML, status=429, headers={"Retry-After": "Thu, 01 Jan 1970 00:00:00 GMT"})
    )
    assert failing(api).retry_after == 0
    emulator.faults.add(Fault(kind=FaultKind.ERROR, status=429, headers={"Retry-After": "soon"}))
    assert failing(api).retry_after is None


def test_what_fails_before_the_call_was_not_sent(emulator: Emulator) -> None:
    emulator.faults.add(Fault(kind=FaultKind.RESET_AFTER, method="GET", path="/auth/time"))
    assert failing(OvhClient(settings(emulator))).fate is Fate.NOT_SENT
    emulator.faults.add(Fault(kind=FaultKind.GARBAGE, method="GET", path="/auth/time"))
    assert failing(OvhClient(settings(emulator))).fate is Fate.NOT_SENT


def test_a_refused_connection_was_not_sent(emulator: Emulator) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    api = OvhClient(settings(emulator, endpoint=f"http://127.0.0.1:{port}/1.0", service_name="sms-x"))
    failure = failing(api)
    assert failure.fate is Fate.NOT_SENT
    assert "refused" in failure.message.lower()


def test_a_name_that_does_not_resolve_was_not_sent(emulator: Emulator) -> None:
    api = OvhClient(settings(emulator, endpoint="http://nowhere.invalid/1.0", service_name="sms-x"))
    assert failing(api).fate is Fate.NOT_SENT


@pytest.mark.parametrize(
    ("error", "fate"),
    [
        (requests.exceptions.ConnectTimeout("x"), Fate.NOT_SENT),
        (
            requests.exceptions.SSLError(
                urllib3.exceptions.MaxRetryError(
                    None, "/", urllib3.exceptions.SSLError(ssl.SSLCertVerificationError("x"))
                )
            ),
            Fate.NOT_SENT,
        ),
        (requests.exceptions.SSLError(urllib3.exceptions.SSLError(ssl.SSLError("bad record"))), Fate.LOST),
        (requests.exceptions.ProxyError("x"), Fate.NOT_SENT),
        (requests.exceptions.ReadTimeout("x"), Fate.LOST),
        (requests.exceptions.ChunkedEncodingError("x"), Fate.LOST),
        (requests.exceptions.ConnectionError("x"), Fate.LOST),
    ],
)
def test_which_network_errors_come_before_anything_was_sent(error: Any, fate: Any) -> None:
    assert from_exception(error).fate is fate


def test_an_error_that_is_no_mapping_is_an_answer_all_the_same() -> None:
    response = requests.Response()
    response.status_code, response._content = 500, b'["odd"]'
    assert from_response(response).status == 500


@pytest.mark.parametrize("offset", [-300, 300])
def test_a_clock_out_of_step_is_noticed_and_corrected(emulator: Emulator, api: Any, offset: Any) -> None:
    api.send("hello", (ALICE,), "t")
    emulator.emulation.clock_offset = offset
    assert failing(api).code == "QUERY_TIME_OUT"
    api.forget_clock()
    assert api.send("hello", (ALICE,), "t").sent.ids


def test_a_step_of_our_own_clock_is_noticed_before_it_does_harm(
    emulator: Emulator, api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.send("hello", (ALICE,), "t")
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 300)
    emulator.emulation.clock = real
    assert api.send("hello", (ALICE,), "t").sent.ids


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"application_key": "wrong"}, "INVALID_KEY"),
        ({"application_secret": "wrong"}, "INVALID_SIGNATURE"),
        ({"consumer_key": "wrong"}, "INVALID_CREDENTIAL"),
    ],
)
def test_wrong_credentials_are_refused(emulator: Emulator, change: Any, code: Any) -> None:
    assert failing(OvhClient(settings(emulator, service_name="sms-emu12345-1", **change))).code == code


def test_settling_looks_into_history_and_pending_jobs(emulator: Emulator, api: Any) -> None:
    emulator.emulation.delivery_delay = 1000
    (id_,) = api.send("hello", (ALICE,), "tag-2").sent.ids
    assert [(o.id, o.receiver, o.tag) for o in api.outgoing_of("tag-2")] == [(id_, ALICE, "tag-2")]
    assert api.outgoing_of("tag-3") == []
    assert api.pending_ids() == [id_]
    assert api.pending(id_).message == "hello"
    assert api.pending(1) is None


def test_the_service_name_may_be_left_out_when_there_is_one(emulator: Emulator, api: Any) -> None:
    assert api.service_name() == "sms-emu12345-1"
    assert api.account().credits_left == 1000
    assert api.sender("ACME").status == "enable"
    assert "NOTIFIER" in api.senders()


@pytest.mark.parametrize("credits_", [float("inf"), float("nan")])
def test_credits_that_are_no_number_are_not_known(emulator: Emulator, api: Any, credits_: Any) -> None:
    emulator.emulation.credits = credits_
    assert api.account().credits_left is None
    sent = api.send("hello", ["+33639980001"], "t")
    assert (sent.sent.credits_left, len(sent.sent.ids)) == (None, 1)


def test_the_right_to_send_is_tried_without_sending(emulator: Emulator, api: Any) -> None:
    api.try_right_to_send()
    emulator.emulation.rules = [("GET", "/*")]
    with pytest.raises(CallFailed, match="NOT_GRANTED_CALL"):
        api.try_right_to_send()
    assert emulator.emulation.accepted == []


def test_asks_for_the_rights_it_needs_and_no_more(emulator: Emulator) -> None:
    api = OvhClient(settings(emulator, consumer_key=None))
    assert api.request_consumer_key().consumer_key == "emulator-consumer"
    assert emulator.emulation.rules == [("GET", "/sms"), ("GET", "/sms/*"), ("POST", "/sms/*/jobs")]
    assert ("POST", "/sms/*/virtualNumbers/*/jobs") in rights(
        settings(emulator, sender=None, virtual_number="+33639980099")
    )


def test_contradicting_variables_are_a_clear_error(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OVH_CLIENT_ID", "x")
    monkeypatch.setenv("OVH_CLIENT_SECRET", "y")
    assert "remove OVH_* variables" in failing(OvhClient(settings(emulator, service_name="s"))).message


def test_an_answer_of_another_shape_is_no_answer(emulator: Emulator, api: Any) -> None:
    emulator.emulation.account = lambda: cast("Any", ["odd"])
    with pytest.raises(CallFailed, match="something else than documented"):
        api.account()


def test_a_proxy_of_the_environment_is_used(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    failure = failing(OvhClient(settings(emulator)))
    assert failure.fate is Fate.NOT_SENT
    assert "roxy" in failure.message
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert OvhClient(settings(emulator)).send("hello", (ALICE,), "t").sent.ids


def test_a_call_that_is_signed_with_an_old_time_is_refused(emulator: Emulator) -> None:
    """What fences a process that was stopped between its claim and the call."""
    api = OvhClient(settings(emulator))
    api.send("in time", [ALICE], "tag-1", time.time() - 20)
    with pytest.raises(CallFailed) as failed:
        api.send("too late", [ALICE], "tag-2", time.time() - 45)
    assert failed.value.failure.code == "QUERY_TIME_OUT"
    api.send("of today", [ALICE], "tag-3")
    assert [sms.message for sms in emulator.emulation.accepted] == ["in time", "of today"]


@pytest.mark.parametrize("keeps_in", [["account"], ["number"], ["account", "number"]], ids=str)
def test_traffic_of_a_virtual_number_is_found_wherever_it_is_kept(emulator: Emulator, keeps_in: Any) -> None:
    emulator.emulation.keeps_in = frozenset(keeps_in)
    api = OvhClient(settings(emulator, sender=None, virtual_number="+33639980099"))
    (id_,) = api.send("hello", [ALICE], "tag-1").sent.ids
    assert api.outgoing_ids("tag-1") == [id_]
    assert api.outgoing(id_).tag == "tag-1"
    reply = emulator.emulation.reply(ALICE, "ack")
    assert api.incoming_ids(datetime.now(UTC) - timedelta(hours=1)) == [reply.id]
    assert api.incoming(reply.id).message == "ack"
    emulator.emulation.phones_off.add(ALICE)
    (pending,) = api.send("again", [ALICE], "tag-2").sent.ids
    for sms in emulator.emulation.accepted:
        sms.delivery_receipt = 0
    emulator.emulation.delivery_delay = 3600
    assert pending in api.pending_ids()
    assert api.pending(pending).tag == "tag-2"


def test_the_policy_allows_what_is_called_and_no_more(emulator: Emulator) -> None:
    given = policy(settings(emulator, client_id=None), "sms-ab12345-1")
    actions = [one["action"] for one in given["permissions"]["allow"]]
    assert actions == [
        f"sms:apiovh:{name}"
        for name in ("get", "jobs/create", "jobs/get", "outgoing/get", "incoming/get", "senders/get")
    ]
    assert given["resources"] == [{"urn": "urn:v1:eu:resource:sms:sms-ab12345-1"}]
    more = policy(settings(emulator, sender=None, virtual_number="+33639980099"), None)
    assert {"action": "sms:apiovh:virtualNumbers/incoming/get"} in more["permissions"]["allow"]
