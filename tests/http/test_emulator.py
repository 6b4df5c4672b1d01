"""The emulator behaves as OVHcloud does, where the other tests do not show it already."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading
import urllib.parse
from datetime import timedelta
from typing import Any

import pytest
import requests

from notifier.config.ovh import Ovh
from notifier.emulator import Emulation, Emulator
from notifier.emulator.models import Refusal
from notifier.ovh.client import OvhClient
from notifier.ovh.session import ServerClock, ThreadClient
from notifier.ovh.telephony import line_of
from tests.support.clock import Hand
from tests.support.files import ALICE, BOB

JOB = {"message": "hello", "receivers": [ALICE], "sender": "ACME", "noStopClause": True}


@pytest.fixture
def emulation(hand: Hand) -> Any:
    return Emulation(clock=lambda: hand().timestamp())


@pytest.fixture
def client(emulator: Emulator) -> Any:
    keys = emulator.emulation.credentials
    OvhClient(Ovh(endpoint=emulator.url, application_key="x"))  # makes the URL known to the wrapper
    return ThreadClient(
        ServerClock(), lambda call: None, endpoint=emulator.url, application_key=keys.application_key,
        application_secret=keys.application_secret, consumer_key=keys.consumer_key,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"colour": "red"}, r"\[colour\]"),
        ({"sender": "NOBODY"}, "is not valid"),
        ({"sender": None}, "is not valid"),
        ({"senderForResponse": True}, "exclude each other"),
        ({"message": ""}, r"\[message\]"),
        ({"receivers": []}, r"\[receivers\]"),
        ({"tag": "x" * 21}, "20 characters"),
        ({"message": "x" * 1000}, "6 is the most"),
    ],
)
def test_refuses_bad_parameters_by_name(emulation: Any, change: Any, complaint: Any) -> None:
    with pytest.raises(Refusal, match=complaint):
        emulation.send({**JOB, **change})
    assert emulation.accepted == []


def test_a_virtual_number_refuses_what_a_sender_takes(emulation: Any) -> None:
    with pytest.raises(Refusal, match="noStopClause|sender"):
        emulation.send(JOB, "+33639980099")


def test_the_stop_clause_is_added_unless_it_is_declined(emulation: Any) -> None:
    emulation.send({**JOB, "noStopClause": False})
    assert emulation.accepted[0].message.endswith("STOP 36180")


SHORT = {"receivers": [ALICE], "senderForResponse": True, "noStopClause": True}


@pytest.mark.parametrize(
    "text", ["see https://x.example.net/y", "ask ops@example.net", "call +33 6 39 98 00 01"]
)
def test_contact_information_from_a_short_number_is_refused(emulation: Any, text: Any) -> None:
    with pytest.raises(Refusal, match="cannot send contact information with shortcode") as refused:
        emulation.send({**SHORT, "message": text})
    assert refused.value.status == 400
    assert emulation.accepted == []


def test_whether_a_host_name_is_contact_information_can_be_chosen(emulation: Any) -> None:
    for text in ("db-1.example.net is down", "10.0.0.5 is down"):
        emulation.send({**SHORT, "message": text})
        emulation.refuses_host_names = True
        with pytest.raises(Refusal, match="contact information"):
            emulation.send({**SHORT, "message": text})
        emulation.refuses_host_names = False
    emulation.send({**SHORT, "message": "FIRING #1 critical DiskFull db-1 since 12:13"})


def test_credits_go_by_parts_and_run_out(emulation: Any) -> None:
    emulation.credits = 3
    assert emulation.send({**JOB, "message": "x" * 161})["creditsLeft"] == 1
    with pytest.raises(Refusal, match="credits"):
        emulation.send({**JOB, "receivers": [ALICE, BOB]})


def test_receipts_come_with_time(emulation: Any, hand: Hand) -> None:
    emulation.delivery_delay = 5
    emulation.receipts[BOB] = (2, 23)
    emulation.phones_off.add("+33639980003")
    ids = emulation.send({**JOB, "receivers": [ALICE, BOB, "+33639980003"]})["ids"]
    assert emulation.pending() == ids
    hand.move(seconds=5)
    assert [emulation.sms(i)["deliveryReceipt"] for i in ids] == [1, 2, 8]
    assert emulation.pending() == [ids[2]]
    with pytest.raises(Refusal):
        emulation.job(ids[0])


def test_late_listing_hides_a_job_for_a_while(emulation: Any, hand: Hand) -> None:
    emulation.listing_delay = 10
    (id_,) = emulation.send({**JOB, "tag": "t"})["ids"]
    assert emulation.outgoing({"tag": "t"}) == []
    with pytest.raises(Refusal):
        emulation.sms(id_)
    hand.move(seconds=10)
    assert emulation.outgoing({"tag": "t"}) == [id_]
    assert emulation.outgoing({"tag": "u"}) == []
    now = hand().isoformat()
    assert emulation.outgoing({"creationDatetime.from": now}) == []
    assert emulation.outgoing({"creationDatetime.to": now}) == [id_]
    for bad in ({"colour": "x"}, {"creationDatetime.from": "soon"}):
        with pytest.raises(Refusal):
            emulation.outgoing(bad)


def test_replies_cost_and_stop_blacklists(emulation: Any) -> None:
    emulation.send({**JOB, "tag": "t"})
    reply = emulation.reply(ALICE, "ack")
    assert emulation.incoming({"sender": ALICE}) == [reply.id]
    assert emulation.incoming({"tag": "other"}) == []
    assert emulation.incoming_reply(reply.id)["tag"] == "t"
    emulation.reply(ALICE, "STOP")
    assert emulation.send(JOB)["invalidReceivers"] == [ALICE]
    with pytest.raises(Refusal):
        emulation.incoming_reply(1)


def test_every_path_answers(emulator: Emulator, client: Any) -> None:
    service = "/sms/sms-emu12345-1"
    (id_,) = client.post(f"{service}/jobs", **JOB)["ids"]
    assert client.get(service)["creditsLeft"] == 999
    assert client.get(f"{service}/outgoing/{id_}")["receiver"] == ALICE
    assert client.get(f"{service}/senders/ACME")["status"] == "enable"
    assert client.get(f"{service}/blacklists") == []
    assert client.post("/sms/estimate", message="é" * 10, noStopClause=True)["charactersClass"] == "7bits"
    assert client.post("/sms/estimate", message="x")["characters"] > 1
    assert client.get("/sms/ptts", ptt=24)["code"] == 24
    emulator.reply(ALICE, "ok")
    (reply,) = client.get(f"{service}/incoming")
    assert client.get(f"{service}/incoming/{reply}")["message"] == "ok"
    for path in ("/sms/other", f"{service}/nothing", "/sms/ptts?ptt=999", f"{service}/senders/X"):
        with pytest.raises(Exception, match="exist"):
            client.get(path)
    with pytest.raises(Exception, match="colour"):
        client.put(service, colour="red")
    assert requests.get(emulator.url.replace("/1.0", "/2.0"), timeout=5).status_code == 404
    key = {"X-Ovh-Application": emulator.emulation.credentials.application_key}
    for data in ("[", "[]"):
        bad = requests.post(emulator.url + "/auth/credential", data=data, headers=key, timeout=5)
        assert bad.status_code == 400
    unknown = requests.post(emulator.url + "/auth/credential", data="{}", timeout=5)
    assert unknown.json()["errorCode"] == "INVALID_KEY"


def test_receipts_and_replies_are_called_back(emulator: Emulator, client: Any) -> None:
    called = []

    class Target(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            called.append(dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Target)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/x"
    client.put("/sms/sms-emu12345-1", callBack=url, smsResponse={"responseType": "cgi", "cgiUrl": url})
    (id_,) = client.post("/sms/sms-emu12345-1/jobs", **JOB)["ids"]
    emulator.call_back()
    emulator.call_back()
    emulator.reply(ALICE, "ack")
    assert [c.get("description") or c.get("message") for c in called] == ["1", "ack"]
    assert called[0]["id"] == str(id_)
    server.shutdown()
    server.server_close()


def test_it_runs_by_itself_and_is_told_over_http_how_to_fail() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "notifier.emulator", "--credits", "5"], stdout=subprocess.PIPE, text=True
    )
    try:
        url = process.stdout.readline().strip()
        own = url.replace("/1.0", "/emulator")
        assert requests.get(own + "/messages", timeout=5).json() == []
        assert requests.post(own + "/settings", json={"credits": 7}, timeout=5).status_code == 200
        assert requests.post(own + "/settings", json={"colour": 7}, timeout=5).status_code == 400
        assert requests.post(own + "/faults", json={"kind": "odd"}, timeout=5).status_code == 400
        fault = {"kind": "error", "method": "GET", "path": "/auth/time", "status": 503}
        assert requests.post(own + "/faults", json=fault, timeout=5).status_code == 200
        assert requests.get(url + "/auth/time", timeout=5).status_code == 503
        assert requests.get(url + "/auth/time", timeout=5).status_code == 200
        requests.post(own + "/faults", json={**fault, "times": None}, timeout=5)
        requests.delete(own + "/faults", timeout=5)
        assert requests.get(url + "/auth/time", timeout=5).status_code == 200
        assert (
            requests.post(own + "/replies", json={"phone": ALICE, "text": "ok"}, timeout=5).status_code == 200
        )
        assert requests.get(own + "/nothing", timeout=5).status_code == 404
        assert json.loads(requests.get(own + "/messages", timeout=5).text) == []
    finally:
        process.terminate()
        assert process.wait(20) == 0


@pytest.mark.parametrize("headers", [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://evil.example"}])
def test_a_page_of_another_site_may_not_reply(emulator: Emulator, headers: Any) -> None:
    control = f"{emulator.url.removesuffix('/1.0')}/emulator"
    reply = {"phone": ALICE, "text": "ack"}
    assert requests.post(control + "/replies", json=reply, headers=headers, timeout=9).status_code == 403
    own = {"Origin": emulator.url.removesuffix("/1.0")}
    assert requests.post(control + "/replies", json=reply, headers=own, timeout=9).status_code == 200


def test_a_phone_that_is_called_rings_on_its_page_until_somebody_answers(emulator: Emulator) -> None:
    emulator.owners = {"alice": ALICE}
    keys = emulator.emulation.credentials
    telephony = emulator.emulation.telephony
    settings = Ovh.model_validate(
        {
            "endpoint": emulator.url,
            "application_key": keys.application_key,
            "application_secret": keys.application_secret,
            "consumer_key": keys.consumer_key,
            "telephony": {"billing_account": telephony.billing_account, "line": telephony.line},
        }
    )
    line, control = line_of(OvhClient(settings)), emulator.url.replace("/1.0", "/emulator")
    identifier = line.call(ALICE, "hello", timedelta(seconds=40))
    state = requests.get(control + "/state", timeout=9).json()
    assert state["phones"][0]["ringing"] == "hello"
    assert line.get(identifier).hangup_cause == "UnknownOrCallUnfinished"
    pressed = requests.post(control + "/keys", json={"phone": ALICE, "key": "1"}, timeout=9)
    assert pressed.status_code == 200
    call = line.get(identifier)
    assert (call.dtmf, call.hangup_cause) == ("1", "NormalCallClearing")
    assert call.answered_at is not None
    assert line.identifiers() == [identifier]
    line.try_right_to_call()
    assert line.identifiers() == [identifier]
    again = requests.post(control + "/keys", json={"phone": ALICE, "key": ""}, timeout=9)
    assert again.status_code == 400
    assert "does not ring" in again.text


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"ttsText": "hello"}, r"\[ttsText\] Given parameter is not known"),
        ({"dialplan": "PlayAudioFile"}, r"\[dialplan\]"),
        ({"isAnonymous": None}, r"\[isAnonymous\]"),
        ({"calledNumber": ""}, r"\[calledNumber\]"),
        ({"ttsTextDialplan": ""}, r"\[ttsTextDialplan\]"),
    ],
)
def test_refuses_bad_phone_calls_by_name(emulation: Any, change: Any, complaint: Any) -> None:
    call = {
        "calledNumber": "0033639980001", "dialplan": "ReadText", "isAnonymous": False, "ttsTextDialplan": "hi",
    }  # fmt: skip
    assert emulation.telephony.call(call) == "call-1"
    with pytest.raises(Refusal, match=complaint):
        emulation.telephony.call({**call, **change})
    assert len(emulation.telephony.calls) == 1
