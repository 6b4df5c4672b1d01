import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.alertmanager import WebhookError, identity, parse_envelope, parse_webhook
from tests.conftest import PAYLOADS, alert, payload, webhook


@pytest.mark.parametrize("file", sorted(PAYLOADS.glob("*.json")), ids=lambda file: file.stem)
def test_reads_every_captured_webhook(file):
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


def test_reads_what_newer_versions_add():
    read = parse_webhook(payload("firing-one-0.34"))
    assert read.notification_reason == "first notification"
    assert read.route_labels == {"tier": "1"}


def test_refuses_what_cannot_page_and_names_the_field():
    for body, complaint in [
        (b"", "Invalid JSON"),
        (b"\xff\xfe", "Invalid JSON"),
        (b"[" * 100_000, "recursion"),
        (b"null", "object"),
        (b"{}", "receiver: Field required"),
        (json.dumps(webhook({**alert(), "status": "odd"})).encode(), r"alerts\.0\.status"),
        (json.dumps(webhook({**alert(), "labels": ["a"]})).encode(), r"alerts\.0\.labels"),
        (json.dumps(webhook({**alert(), "startsAt": "soon"})).encode(), r"alerts\.0\.startsAt"),
    ]:
        with pytest.raises(WebhookError, match=complaint):
            parse_envelope(body)


def test_what_is_beside_the_point_and_malformed_loses_no_page():
    odd = {**webhook({**alert(), "annotations": None, "endsAt": "never", "generatorURL": 7}), "commonLabels": None,
           "truncatedAlerts": -1, "externalURL": ["x"], "commonAnnotations": "y", "routeLabels": 3}  # fmt: skip
    body = json.dumps(odd).encode()
    parse_envelope(body)
    read = parse_webhook(body)
    assert read.alerts[0].annotations == {}
    assert read.alerts[0].ends_at is None
    assert (read.truncated_alerts, read.external_url, read.common_labels) == (0, "", {})


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_arbitrary_bytes_are_read_or_refused(body):
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
def test_whatever_the_envelope_lets_in_is_a_webhook(data):
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


def test_the_same_set_of_alerts_is_the_same_webhook_in_any_order():
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
def test_any_difference_makes_another_webhook(other):
    first = parse_webhook(json.dumps(webhook(alert())).encode())
    assert identity(first) != identity(parse_webhook(json.dumps(other).encode()))


def test_the_receiver_it_was_posted_for_makes_another_webhook():
    read = parse_webhook(payload("firing-one"))
    assert identity(read) != identity(read, "db")
