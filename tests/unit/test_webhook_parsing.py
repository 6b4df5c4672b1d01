from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.alertmanager.webhook import WebhookError, identity, parse_envelope, parse_webhook
from tests.support.webhooks import PAYLOADS, alert, payload, webhook


@pytest.mark.parametrize("file", sorted(PAYLOADS.glob("*.json")), ids=lambda file: file.stem)
def test_reads_every_captured_webhook(file: Any) -> None:
    given = json.loads(file.read_bytes())
    read = parse_webhook(file.read_bytes())
    assert read.receiver == given["receiver"]
    assert read.status == given["status"]
    assert [a.labels for a in read.alerts] == [a["labels"] for a in given["alerts"]]
    assert [a.annotations for a in read.alerts] == [a["annotations"] for a in given["alerts"]]
    assert read.common_labels == given["commonLabels"]
    assert read.group_key == given["groupKey"]
    assert read.truncated_alerts == given["truncatedAlerts"]
    assert identity(read) == identity(parse_envelope(file.read_bytes()))


def test_reads_what_newer_versions_add() -> None:
    read = parse_webhook(payload("firing-one-0.34"))
    assert read.notification_reason == "first notification"
    assert read.route_labels == {"tier": "1"}


def test_only_a_body_without_an_alert_is_refused() -> None:
    for body, complaint in [
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "recursion"),
        (b"null", "no JSON object"),
        (b"{}", "alerts: it holds no alert"),
        (b'{"alerts": null}', "alerts: it holds no alert"),
        (b'{"alerts": [null, 1]}', "alerts: it holds no alert"),
    ]:
        with pytest.raises(WebhookError, match=complaint):
            parse_envelope(body)


def without(name: Any, where: Any) -> Any:
    return {key: value for key, value in where.items() if key != name}


@pytest.mark.parametrize(
    "body",
    [
        without("receiver", webhook(alert())),
        without("status", webhook(alert())),
        {**webhook(alert()), "status": "FIRING"},
        {**webhook(alert()), "groupKey": None, "receiver": None, "groupLabels": None},
        {"alerts": [alert()]},
        webhook(without("startsAt", alert())),
        webhook({**alert(), "startsAt": None}),
        webhook({**alert(), "startsAt": "soon"}),
        {**webhook(alert()), "alerts": [without("status", alert())]},
        webhook({**alert(), "status": "Firing"}),
        webhook({**alert(), "fingerprint": None, "annotations": {"a": {"b": 1}}}),
        webhook({**alert(), "labels": {**alert()["labels"], "up": False, "none": None, "list": [1]}}),
        {**webhook(), "status": "firing", "alerts": [None, alert()]},
    ],
    ids=str,
)
def test_what_is_missing_or_null_loses_no_page(body: Any) -> None:
    raw = json.dumps(body).encode()
    read = parse_webhook(raw)
    assert [(one.status, one.labels["alertname"]) for one in read.alerts] == [("firing", "InstanceDown")]
    assert read.status == "firing"
    assert identity(read) == identity(parse_envelope(raw))


def test_values_of_labels_become_texts() -> None:
    labels = {"up": False, "none": None, "list": [1], "number": 1.5, "text": "x"}
    read = parse_webhook(json.dumps(webhook({**alert(), "labels": labels})).encode())
    assert read.alerts[0].labels == {"up": "false", "none": "", "list": "[1]", "number": "1.5", "text": "x"}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda raw: b"\xef\xbb\xbf" + raw,
        lambda raw: raw.replace(b"Instance", b"Inst\xffance"),
        lambda raw: raw.replace(b"Instance", b"Inst\\ud800ance"),
        lambda raw: raw.replace(b"Instance", b"Inst\nance"),
    ],
    ids=["a byte order mark", "a byte that is no UTF-8", "half of a surrogate pair", "a line end"],
)
def test_text_that_is_not_quite_json_loses_no_page(spoil: Any) -> None:
    raw = spoil(json.dumps(webhook(alert())).encode())
    assert parse_webhook(raw).alerts[0].labels["alertname"].endswith("Down")
    assert identity(parse_webhook(raw)) == identity(parse_envelope(raw))


def test_what_is_beside_the_point_and_malformed_loses_no_page() -> None:
    odd = {**webhook({**alert(), "annotations": None, "endsAt": "never", "generatorURL": 7}), "commonLabels": None,
           "truncatedAlerts": -1, "externalURL": ["x"], "commonAnnotations": "y", "routeLabels": 3}  # fmt: skip
    body = json.dumps(odd).encode()
    parse_envelope(body)
    read = parse_webhook(body)
    assert read.alerts[0].annotations == {}
    assert read.alerts[0].ends_at is None
    assert (read.truncated_alerts, read.external_url, read.common_labels) == (0, "", {})


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_arbitrary_bytes_are_read_or_refused(body: Any) -> None:
    try:
        parse_envelope(body)
    except WebhookError:
        pass


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.data())
def test_whatever_the_envelope_lets_in_is_a_webhook(data: Any) -> None:
    body = webhook(alert())
    for name in data.draw(st.lists(st.sampled_from([*body, "alerts.0"]), max_size=3)):
        if name == "alerts.0":
            key = data.draw(st.sampled_from(list(alert())))
            if isinstance(body["alerts"], list) and body["alerts"]:
                body["alerts"][0][key] = data.draw(json_values)
        else:
            body[name] = data.draw(json_values)
    raw = json.dumps(body).encode()
    try:
        envelope = parse_envelope(raw)
    except WebhookError:
        return
    assert identity(parse_webhook(raw)) == identity(envelope)


def test_the_same_set_of_alerts_is_the_same_webhook_in_any_order() -> None:
    one, two = alert(instance="a"), alert(instance="b")
    first = parse_webhook(json.dumps(webhook(one, two)).encode())
    second = parse_webhook(json.dumps(webhook(two, one, externalURL="http://other")).encode())
    assert identity(first) == identity(second)


@pytest.mark.parametrize(
    "other",
    [
        webhook(alert(), receiver="db"),
        webhook(alert(), key="{}:{other}"),
        webhook(alert(status="resolved")),
        webhook(alert(starts_at="2026-11-22T12:13:31Z")),
        webhook(alert(instance="other")),
        webhook(alert(), alert(instance="b")),
    ],
)
def test_any_difference_makes_another_webhook(other: Any) -> None:
    first = parse_webhook(json.dumps(webhook(alert())).encode())
    assert identity(first) != identity(parse_webhook(json.dumps(other).encode()))


def test_the_receiver_it_was_posted_for_makes_another_webhook() -> None:
    read = parse_webhook(payload("firing-one"))
    assert identity(read) != identity(read, "db")
