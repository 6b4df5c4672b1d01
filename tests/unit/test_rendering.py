from __future__ import annotations

import json
import string
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.alertmanager.webhook import parse_webhook
from notifier.rendering.compose import Style, compose, fit, plain_text, say_late, title
from notifier.rendering.context import build_notification
from notifier.rendering.hosts import join_hosts, short_host
from notifier.rendering.phrases import TEXTS, counted_phrase
from notifier.rendering.templates import Templates
from notifier.sms.encoding import Coding, Encoding, encode, measure
from notifier.sms.recipient import Recipient
from tests.support.webhooks import alert, payload, webhook

NOW = datetime(2026, 11, 22, 12, 20, tzinfo=UTC)
PARIS = ZoneInfo("Europe/Paris")
ALICE = Recipient("alice", "+33639980001", "en", PARIS)
AMELIE = Recipient("amelie", "+33639980002", "fr", PARIS)
SHIPPED = Templates()


def told(body: Any, **how: Any) -> Any:
    read = parse_webhook(body if isinstance(body, bytes) else json.dumps(body).encode())
    return build_notification(read, range(len(read.alerts)), "ops", **how)


def text(body: Any, recipient: Any = ALICE, style: Any = Style(), templates: Any = SHIPPED) -> Any:
    return compose(templates, told(body), recipient, style, NOW)


def own(tmp_path: Path, source: Any, name: Any = "page.j2") -> Any:
    (tmp_path / name).write_text(source)
    return Templates({name: tmp_path / name})


# What the person who is woken reads.
@pytest.mark.parametrize(
    ("name", "english", "french"),
    [
        ("firing-one", "FIRING critical InstanceDown db-1 (gra1) since 13:13: Instance db-1 down",
         "ALERTE critical InstanceDown db-1 (gra1) depuis 13:13 : Instance db-1 down"),
        ("firing-three", "FIRING critical InstanceDown db-1,2,3 (gra1) since 13:13",
         "ALERTE critical InstanceDown db-1,2,3 (gra1) depuis 13:13"),
        ("partly-resolved", "FIRING critical InstanceDown db-2,3 (gra1) since 13:13 [1 resolved]",
         "ALERTE critical InstanceDown db-2,3 (gra1) depuis 13:13 [1 résolue]"),
        ("resolved", "RESOLVED critical InstanceDown db-2,3 (gra1) at 13:13 after 5s",
         "RÉSOLU critical InstanceDown db-2,3 (gra1) à 13:13 après 5s"),
        ("unicode", "FIRING warning Température élevée salle-3 (rbx) since 13:13: La température de la salle 3 dépasse 35 degC",
         "ALERTE warning Température élevée salle-3 (rbx) depuis 13:13 : La température de la salle 3 dépasse 35 degC"),
        ("watchdog", "FIRING none Watchdog since 13:13: Always firing, so that its absence can be noticed",
         "ALERTE none Watchdog depuis 13:13 : Always firing, so that its absence can be noticed"),
    ],
)  # fmt: skip
def test_the_shipped_texts(name: Any, english: Any, french: Any) -> None:
    for recipient, expected in ((ALICE, english), (AMELIE, french)):
        result = text(payload(name), recipient)
        assert result.text == expected
        assert result.failure is None
        assert result.size.parts == 1


# Names and texts as those of the rules that come with Kubernetes, node_exporter and PostgreSQL, the longest among them.
ORDINARY = [
    ("KubePersistentVolumeFillingUp", {"namespace": "payments", "persistentvolumeclaim": "data-postgres-0"},
     "PersistentVolume is filling up and is expected to fill within four days."),
    ("KubeDeploymentRolloutStuck", {"namespace": "storefront", "deployment": "checkout-frontend"},
     "Deployment rollout is not progressing."),
    ("KubePodCrashLooping", {"namespace": "payments", "pod": "payments-api-7d9f8b6c5-x2x9k", "container": "api"},
     'Pod payments/payments-api-7d9f8b6c5-x2x9k (api) is in waiting state (reason: "CrashLoopBackOff").'),
    ("NodeFilesystemAlmostOutOfSpace", {"instance": "db-12.gra1.example.net:9100", "mountpoint": "/var/lib/postgresql"},
     "Filesystem has less than 3% space left on /dev/mapper/vg0-data {mounted on /var/lib/postgresql}."),
    ("PostgresqlReplicationLag", {"instance": "pg-replica-2.rbx.example.net:9187"},
     "Replication lag is 312 s; the replica could not be promoted without a loss of what was written since."),
    ("HttpErrorRateHigh", {"service": "checkout", "instance": "10.42.117.203:8080"}, ""),
]  # fmt: skip


@pytest.mark.parametrize("cluster", ["", "prod-eu-west-1"])
@pytest.mark.parametrize("severity", ["critical", "warning"])
@pytest.mark.parametrize(("name", "labels", "summary"), ORDINARY)
def test_one_alert_with_ordinary_labels_costs_one_part(
    name: Any, labels: Any, summary: Any, severity: Any, cluster: Any
) -> None:
    where = {**labels, "severity": severity, **({"cluster": cluster} if cluster else {})}
    for status in ("firing", "resolved"):
        heartbeat_notification = alert(name, status=status, starts_at="2026-10-20T12:13:30Z", **where)
        heartbeat_notification["annotations"] = {"summary": summary}
        body = webhook(
            heartbeat_notification,
            commonLabels=heartbeat_notification["labels"],
            commonAnnotations=heartbeat_notification["annotations"],
        )
        for reason in ("page", "update", "reminder", "escalation", "reopened"):
            for recipient in (ALICE, AMELIE):
                message = replace(told(body), number=999, reason=reason)
                result = compose(SHIPPED, message, recipient, Style(), NOW)
                assert result.failure is None
                assert (result.size.parts, result.more) == (1, 0), result.text
                assert f"#999 {severity} {name} " in result.text
                if status == "firing" and summary:
                    assert summary[:15] in result.text


def test_a_storm_names_what_fits_and_counts_the_rest() -> None:
    result = text(payload("truncated-storm"), style=Style(max_parts=1))
    assert result.text.startswith("FIRING warning HighLatency web-000,001,")
    assert f"+{result.more} more" in result.text
    assert result.shown + result.more == 60
    assert result.size.parts == 1


def test_the_most_severe_comes_first() -> None:
    body = webhook(
        alert("Slow", severity="warning"),
        alert("Down", severity="critical"),
        alert("Old", status="resolved", severity="critical"),
    )
    assert text(body).text.startswith("FIRING critical Down; warning Slow since")


@pytest.mark.parametrize(
    ("alerts_", "expected"),
    [
        (
            [alert("Crash", pod="cart-7f9c6d", instance="10.42.0.17:8080")],
            "FIRING Crash cart-7f9c6d since 13:13",
        ),
        (
            [alert(instance="db-1.gra1.example.net:9100"), alert(instance="db-1.rbx2.example.net:9100")],
            "FIRING InstanceDown db-1.gra1.example.net, db-1.rbx2.example.net since 13:13",
        ),
        ([alert(instance="db-1:9100"), alert(instance="db-1:9187")], "FIRING InstanceDown db-1 since 13:13"),
        (
            [
                alert("Disk", severity="warning", instance="web-1", starts_at="2026-11-20T12:00:00Z"),
                alert("Down", severity="critical", instance="db-1"),
            ],
            "FIRING critical Down db-1; warning Disk web-1 since 13:13",
        ),
    ],
)
def test_places_severities_and_times_are_not_mixed_up(alerts_: Any, expected: Any) -> None:
    assert text(webhook(*alerts_)).text == expected


def test_late_pages_say_so() -> None:
    assert say_late("FIRING critical x", timedelta(minutes=25), "en", 1) == "LATE 25m: FIRING critical x"
    assert say_late("ALERTE x", timedelta(hours=1), "fr", 1) == "RETARD 1h : ALERTE x"
    crammed = say_late("word " * 31 + "end", timedelta(minutes=25), "de", 1)
    assert measure(crammed).parts == 1
    assert crammed.endswith("word...")


def test_an_older_start_shows_its_date() -> None:
    body = webhook(alert(starts_at="2026-11-20T23:50:00Z", instance="db-1"))
    assert "since 21 Nov 00:50" in text(body).text
    body = webhook(alert(starts_at="2025-08-20T12:00:00Z", instance="db-1"))
    assert "depuis 20 aout 2025 14:00" in text(body, AMELIE).text


names = st.sampled_from(["InstanceDown", "DiskFull", "HighLatency"])
hosts = st.from_regex(r"[a-z]{1,8}-?[0-9]{0,3}(\.example\.net)?(:9100)?", fullmatch=True) | st.text(
    max_size=12
)
alerts = st.lists(
    st.builds(
        lambda name, host, severity, status: alert(name, instance=host, severity=severity, status=status),
        names, hosts, st.sampled_from(["critical", "warning"]), st.sampled_from(["firing", "resolved"]),
    ),
    min_size=1, max_size=40,
)  # fmt: skip


@given(alerts, st.integers(1, 3), st.sampled_from(Encoding), st.sampled_from([ALICE, AMELIE]))
def test_no_text_exceeds_its_parts_or_fails_to_encode(
    many: Any, parts: Any, encoding: Any, recipient: Any
) -> None:
    result = text(webhook(*many), recipient, Style(max_parts=parts, encoding=encoding))
    assert measure(result.text).parts <= parts
    assert result.failure is None
    result.text.encode("utf-16-le")
    if encoding is Encoding.GSM:
        assert result.size.coding is Coding.GSM


@given(alerts, st.text(alphabet="aé{€ ", min_size=1, max_size=300), st.sampled_from([ALICE, AMELIE]))
def test_what_is_said_of_alerts_costs_no_part_of_its_own(many: Any, summary: Any, recipient: Any) -> None:
    bare = text(webhook(*many), recipient, Style(max_parts=4))
    noted = [{**one, "annotations": {"summary": summary}} for one in many]
    told_more = text(webhook(*noted, commonAnnotations={"summary": summary}), recipient, Style(max_parts=4))
    assert (told_more.size.parts, told_more.shown) == (bare.size.parts, bare.shown)


@given(alerts, st.integers(1, 2))
def test_fitting_shows_the_most_alerts_possible(many: Any, parts: Any) -> None:
    message = told(webhook(*many))
    found = compose(SHIPPED, message, ALICE, Style(max_parts=parts), NOW)

    def write(shown: Any) -> Any:
        limited = compose_exactly(message, shown)
        return measure(limited).parts <= parts

    best = max((shown for shown in range(1, len(message.alerts) + 1) if write(shown)), default=1)
    assert found.shown == best


def compose_exactly(message: Any, shown: Any) -> Any:
    """Render with exactly *shown* alerts, found another way than by fitting."""
    from notifier.rendering.compose import _context

    return encode(
        str(SHIPPED.render("page", "en", _context(message, ALICE, NOW, shown, message.number))).strip(),
        Encoding.GSM,
    )


@given(st.lists(st.integers(1, 40), min_size=1, max_size=60), st.integers(1, 2))
def test_fit_finds_the_most(lengths: Any, parts: Any) -> None:
    def write(shown: Any) -> Any:
        more = len(lengths) - shown
        return " ".join(["x" * n for n in lengths[:shown]] + ([f"+{more} more"] if more else []))

    found, shown = fit(write, len(lengths), parts)
    possible = [n for n in range(1, len(lengths) + 1) if measure(write(n)).parts <= parts]
    assert shown == max(possible, default=1)
    assert measure(found).parts <= parts


def test_megabytes_of_label_make_a_short_text() -> None:
    body = webhook({**alert(instance="x" * 2_000_000), "annotations": {"summary": "y " * 1_000_000}})
    result = text(body)
    assert result.size.parts <= 2
    assert result.text.startswith("FIRING InstanceDown xxx")
    assert "since 13:13: y y" in result.text


def test_thousands_of_alerts_make_one_text() -> None:
    body = webhook(*(alert(instance=f"web-{n}") for n in range(5000)))
    result = text(body)
    assert result.shown + result.more == 5000
    assert result.size.parts <= 2


@pytest.mark.parametrize(
    "value", ["{{ 7 * 7 }}", "{% for x in range(9) %}a{% endfor %}", "{# x #}", "{{ self.__class__ }}", "\x1b[31m\x00\u202e", "a\nb\r\nFIRING none AllGood"]
)  # fmt: skip
def test_labels_are_never_read_as_templates_nor_make_lines(value: Any) -> None:
    result = text(webhook({**alert(value, instance=value), "annotations": {"summary": value}}))
    assert result.failure is None
    assert "49" not in result.text
    assert "aaaa" not in result.text
    assert "\n" not in result.text
    assert all(ord(c) >= 32 for c in result.text)


@pytest.mark.parametrize(
    ("source", "line", "reason"),
    [
        ("{{ nothing }}", 1, "UndefinedError: 'nothing' is undefined"),
        ("fine\n{{ alerts[0].labels.nothing }}", 2, "UndefinedError"),
        ("\n\n{{ 1 / 0 }}", 3, "ZeroDivisionError"),
        ("{{ alerts[99].name }}", 1, "UndefinedError"),
        ("{% include 'none.j2' %}", 1, "no template"),
        ("   \n", 1, "the text is empty"),
        ("{{ ''.__class__.__mro__ }}", 1, "SecurityError"),
        ("{{ alerts[0].__init__.__globals__ }}", 1, "SecurityError"),
        ("{{ contact.__class__ }}", 1, "SecurityError"),
        ("{% for x in range(999999999) %}{% endfor %}", 1, "OverflowError: Range too big"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", 1, "RecursionError"),
    ],
)
def test_a_template_that_fails_costs_no_page(tmp_path: Path, source: Any, line: Any, reason: Any) -> None:
    result = text(payload("firing-three"), templates=own(tmp_path, source))
    assert result.text == "FIRING critical InstanceDown db-1,2,3"
    assert result.failure.template == "page"
    assert result.failure.line == line
    assert reason in result.failure.reason
    if "j2" in result.failure.file and "none" not in source and source.strip():
        assert result.failure.file == str(tmp_path / "page.j2")


def test_the_built_in_text_keeps_to_the_style_at_every_length(tmp_path: Path) -> None:
    alerts = [
        {"status": "firing", "labels": {"alertname": f"See https://site-{n}.example.net/health"},
         "annotations": {}, "startsAt": "2026-11-22T12:13:30Z", "endsAt": "0001-01-01T00:00:00Z"}
        for n in range(40)
    ]  # fmt: skip
    body = json.dumps({**json.loads(payload("firing-one")), "alerts": alerts}).encode()
    result = text(body, templates=own(tmp_path, "{{ 1 / 0 }}"), style=Style(urls=False, max_parts=1))
    assert result.failure is not None
    assert "://" not in result.text


def test_a_template_that_does_not_compile_costs_no_page(tmp_path: Path) -> None:
    templates = own(tmp_path, "{% if %}")
    assert templates.problems
    assert text(payload("firing-one"), templates=templates).text.startswith("FIRING critical")


def test_templates_cannot_change_what_the_next_one_sees(tmp_path: Path) -> None:
    templates = own(tmp_path, "{{ common_labels.update({'a': 'b'}) }}")
    assert "SecurityError" in text(payload("firing-one"), templates=templates).failure.reason


def test_the_context_is_alertmanagers_data_in_snake_case(tmp_path: Path) -> None:
    source = (
        "{{ receiver }}|{{ status }}|{{ alerts | length }}|{{ firing | length }}|{{ resolved | length }}|{{ more }}|"
        "{{ group_labels.alertname }}|{{ common_labels.job }}|{{ common_annotations | length }}|{{ external_url }}|"
        "{{ group_key }}|{{ truncated_alerts }}|{{ contact.name }}|{{ alerts[0].labels.instance }}|"
        "{{ alerts[0].fingerprint }}|{{ alerts[0].starts_at.year }}|{{ alerts[0].ends_at }}|{{ alerts[2].ends_at.year }}"
    )
    result = text(payload("partly-resolved"), style=Style(max_parts=6), templates=own(tmp_path, source))
    assert result.failure is None
    assert result.text == (
        "ops|firing|3|2|1|0|InstanceDown|node|0|http://alertmanager.example.net:9093|"
        '{}:{alertname="InstanceDown", cluster="gra1"}|0|alice|db-2.gra1.example.net:9100|'
        "b98f661be9a3dce9|2026|None|2026"
    )


def test_the_filters(tmp_path: Path) -> None:
    source = (
        "{{ 5400 | duration }} {{ (now - alerts[0].starts_at) | duration }} {{ alerts[0].starts_at | local_time }} "
        "{{ alerts[0].labels.instance | short_host }} {{ alerts | map(attribute='where') | common_prefix }} "
        "{{ alerts | where }} {{ common_labels | site }} {{ 'one two three four' | clip(13) }}"
    )
    result = text(payload("firing-three"), templates=own(tmp_path, source))
    assert result.text == "1h30m 6m 13:13 db-1 db-1,2,3 db-1,2,3 gra1 one two..."


@pytest.mark.parametrize(
    ("host", "short"),
    [
        ("db-1.gra1.example.net:9100", "db-1"),
        ("db-1", "db-1"),
        ("10.0.0.1:9100", "10.0.0.1"),
        ("10.0.0.1", "10.0.0.1"),
        ("[2001:db8::1]:9100", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("https://shop.example.net/cart", "shop.example.net"),
        ("https://user:pw@shop.example.net/cart", "shop.example.net"),
        ("a b.c", "a b.c"),
        ("", ""),
    ],
)
def test_short_hosts(host: Any, short: Any) -> None:
    assert short_host(host) == short


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ([], ""),
        (["db-1"], "db-1"),
        (["db-1", "db-2", "db-1"], "db-1,2"),
        (["web-000", "web-001", "mail"], "web-000,001, mail"),
        (["a1", "b1"], "a1, b1"),
        (["db", "db-1"], "db, db-1"),
        (["db", "db1"], "db, db1"),
    ],
)
def test_host_lists_say_what_they_share_once(given_: Any, expected: Any) -> None:
    assert join_hosts(given_) == expected


def test_urls_go_where_they_would_be_blocked(tmp_path: Path) -> None:
    templates = own(tmp_path, "{{ status }} {{ external_url }} end")
    assert text(payload("firing-one"), templates=templates, style=Style(urls=False)).text == "firing end"


def test_a_text_of_nothing_but_a_url_still_pages(tmp_path: Path) -> None:
    templates = own(tmp_path, "{{ external_url }}")
    result = text(payload("firing-one"), templates=templates, style=Style(urls=False))
    assert result.text == "FIRING critical InstanceDown db-1"


def test_resolved_alerts_are_left_out_where_they_are_not_wanted() -> None:
    assert told(payload("resolved"), send_resolved=False) is None
    partly = told(payload("partly-resolved"), send_resolved=False)
    assert [a.status for a in partly.alerts] == ["firing", "firing"]


def test_common_labels_are_those_of_the_alerts_that_reach_the_receiver() -> None:
    read = parse_webhook(payload("firing-three"))
    one = build_notification(read, [1], "ops")
    assert one.common_labels["instance"] == "db-2.gra1.example.net:9100"
    assert one.common_annotations == {"summary": "Instance db-2 down"}
    assert "db-2 down" in compose(SHIPPED, one, ALICE, Style(), NOW).text


def test_the_plain_text_names_and_counts() -> None:
    assert (
        plain_text(told(payload("truncated-storm")), 2) == "FIRING warning HighLatency web-000,001 +58 more"
    )


def test_an_alert_without_a_name_goes_by_where_it_is() -> None:
    body = webhook({**alert(), "labels": {"instance": "db-1:9100"}})
    assert text(body).text == "FIRING db-1 since 13:13"
    assert text(webhook({**alert(), "labels": {}})).text == "FIRING alert since 13:13"


def test_a_title_names_what_fits_in_order_and_counts_the_rest() -> None:
    body = webhook(*(alert("NodeUnreachable", instance=f"web-{n}:9100") for n in (3, 30, 7, *range(40, 67))))
    assert title(told(body)) == "NodeUnreachable web-3,7,30,40,41,42,43,44,45,46 +20"
    assert title(told(webhook(alert("A", instance="db-2"), alert("A", instance="db-1")))) == "A db-1,2"
    long = webhook(
        *(alert("LongNameOfAnAlertThatSaysALot", instance=f"a-rather-long-host-{n}") for n in range(4))
    )
    assert title(told(long)) == "LongNameOfAnAlertThatSaysALot a-rather-long-host-0,1,2,3"
    longer = webhook(alert("A" * 40, instance="h" * 30), alert("B" * 40))
    assert title(told(longer)).endswith("... +1")
    assert len(title(told(longer))) <= 60


def test_an_escalation_says_that_others_did_not_answer() -> None:
    body = webhook(alert("Down", instance="db-1", severity="critical"))
    texts = {
        (reason, who.language): compose(
            SHIPPED, replace(told(body), reason=reason), who, Style(), NOW
        ).text.split()[0]
        for reason in ("page", "escalation", "reopened")
        for who in (ALICE, AMELIE)
    }
    assert [texts[reason, "en"] for reason in ("page", "escalation", "reopened")] == [
        "FIRING",
        "ESCALATED",
        "REOPENED",
    ]
    assert [texts[reason, "fr"] for reason in ("page", "escalation", "reopened")] == [
        "ALERTE",
        "ESCALADE",
        "ROUVERT",
    ]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{% macro add(ns) %}{% set ns.n = ns.n + 1 %}{% endmacro %}{% set ns = namespace(n=1) %}"
         "{{ add(ns) }}{{ add(ns) }}{{ ns.n }}", "3"),
        ("{{ '%d' | format(1700000000) }} {{ '%s' % 1700000000 }} {{ '{}'.format(1700000000) }}",
         "1700000000 1700000000 1700000000"),
        ("{{ alerts[0].annotations.limit | default(1073741824) }}", "1073741824"),
        ("{{ 1.5 * 1048576 }} {{ (2 ** 40) // 1024 }} {{ 10 % 3 }}", "1572864.0 1073741824 1"),
        ("{{ alerts | map(attribute='labels.instance') | map('short_host') | unique | join(', ') }}", "db-1, db-2, db-3"),
        ("{{ alerts | selectattr('severity', 'equalto', 'none') | list | length }}", "0"),
        ("{% for k, v in alerts[0].labels | dictsort %}{{ k }}={{ v }};{% endfor %}",
         "alertname=InstanceDown;cluster=gra1;instance=db-1.gra1.example.net:9100;job=node;severity=critical;team=platform;"),
        ("{% set first, last = alerts[0], alerts[-1] %}{{ first.where }} {{ last.where }}", "db-1 db-3"),
        ("{{ alerts[:2] | map(attribute='where') | list }} {{ {'a': [1, (2,)]} }}", "['db-1', 'db-2'] {'a': [1, (2,)]}"),
        ("{{ ('x' * 10000) | truncate(300) | length }}", "300"),
        ("{% set next = cycler('a', 'b') %}{{ next.next() }}{{ next.next() }}{{ next.next() }}", "aba"),
    ],
)  # fmt: skip
def test_what_templates_usually_do_is_within_the_limits(tmp_path: Path, source: Any, expected: Any) -> None:
    result = text(
        payload("firing-three"), templates=own(tmp_path, source), style=Style(encoding=Encoding.UNICODE)
    )
    assert result.failure is None
    assert result.text.strip() == expected


def test_long_annotations_of_many_alerts_may_be_joined(tmp_path: Path) -> None:
    alerts = [
        {"status": "firing", "labels": {"alertname": f"A{n}"}, "annotations": {"summary": "x" * 400},
         "startsAt": "2026-11-22T12:13:30Z", "endsAt": "0001-01-01T00:00:00Z"}
        for n in range(300)
    ]  # fmt: skip
    body = json.dumps({**json.loads(payload("firing-one")), "alerts": alerts}).encode()
    source = "{{ alerts | map(attribute='annotations.summary') | map('truncate', 20) | join(', ') }}"
    result = text(body, templates=own(tmp_path, source))
    assert result.failure is None
    assert result.text.startswith("xxxxx")


def test_every_fixed_text_exists_in_each_language_with_the_same_values() -> None:
    def values(text: Any) -> Any:
        return {name for _, name, _, _ in string.Formatter().parse(text) if name}

    english, french = TEXTS["en"], TEXTS["fr"]
    assert {name: values(text) for name, text in french.items()} == {
        name: values(text) for name, text in english.items()
    }
    assert counted_phrase("digest_firing", "fr", 3) == "3 autres alertes : "
    assert counted_phrase("digest_firing", "de", 1) == "1 more alert: "
