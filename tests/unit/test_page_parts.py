"""The small pieces of the pages: where names break, what is broken, languages, and rows of the timeline."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from notifier import timeline
from notifier.alertmanager.webhook import Webhook
from notifier.delivery.message import MessageState
from notifier.incidents.lifecycle import Kind, ShownState
from notifier.incidents.severities import USUAL_SEVERITIES
from notifier.rendering.context import Notification, build_notification
from notifier.timeline import Entry, Outcome
from notifier.web.pages.alerts import listed, problem_of
from notifier.web.pages.french import FRENCH, FRENCH_BEFORE_DAYS
from notifier.web.pages.moments import Viewer, spelled
from notifier.web.pages.seams import with_seams
from notifier.web.pages.shown_incidents import RANKS
from notifier.web.pages.timeline_rows import timeline_rows
from notifier.web.pages.words import LANGUAGES, preferred
from tests.support.webhooks import alert, webhook

NOW = datetime(2026, 11, 30, 17, 0, tzinfo=UTC)
VIEWER = Viewer(ZoneInfo("Europe/Paris"), NOW)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("on db-1", 'on <span class="whole">db-1</span>'),
        ("PostgresReplicationBroken", "Postgres<wbr>Replication<wbr>Broken"),
        ("db-1.gra1.example.net:9100", '<span class="whole">db-1.</span><wbr>gra1.<wbr>example.<wbr>net:<wbr>9100'),
        ("<b>", "&lt;b&gt;"),
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/<wbr>script&gt;"),
        ("x" * 45, "x" * 40 + "<wbr>" + "x" * 5),
    ],
)  # fmt: skip
def test_a_name_breaks_at_its_seams_and_a_short_one_never(text: Any, expected: Any) -> None:
    assert str(with_seams(text)) == expected


@pytest.mark.parametrize(
    ("header", "language"),
    [("", "en"), ("fr-FR,fr;q=0.9,en;q=0.8", "fr"), ("de,en;q=0.7,fr;q=0.8", "fr"), ("en;q=x,fr;q=0.1", "fr"), ("*", "en")],
)  # fmt: skip
def test_a_browser_without_a_contact_chooses_the_language(header: Any, language: Any) -> None:
    assert preferred(header) == language


def test_durations_are_spelled_by_their_two_largest_units() -> None:
    durations = [
        timedelta(seconds=59),
        timedelta(minutes=5),
        timedelta(hours=3, minutes=5),
        timedelta(hours=50),
    ]
    assert [spelled(one) for one in durations] == ["less than a minute", "5 min", "3 h 5 min", "2 d 2 h"]
    assert spelled(timedelta(days=3), LANGUAGES["fr"]) == "3 j"


def notification(*alerts: Any, **fields: Any) -> Notification:
    parsed = Webhook.model_validate(webhook(*alerts, key="k", **fields))
    made = build_notification(parsed, range(len(alerts)), "ops")
    assert made is not None
    return made


def test_what_is_broken_is_said_with_the_pages_that_help() -> None:
    fires = alert("Disk", instance="db-1")
    fires["annotations"] = {
        "summary": "It fills",
        "description": "Clean it",
        "runbook_url": "https://wiki.example.net/disk",
        "dashboard": "https://grafana.example.net/d/1",
        "ticket_url": "https://tickets.example.net/7",
        "owner": "storage",
        "evil": "javascript:alert(1)",
    }
    fires["generatorURL"] = "http://prometheus.example.net/graph?g0.expr=up"
    problem = problem_of(
        notification(
            fires, externalURL="http://am.example.net/", groupLabels={"alertname": 'a"b', "job": "x"}
        )
    )
    assert (problem.summary, problem.description) == ("It fills", "Clean it")
    assert problem.notes == (("evil", "javascript:alert(1)"), ("owner", "storage"))
    assert [(link.name, link.url) for link in problem.links] == [
        ("Runbook", "https://wiki.example.net/disk"),
        ("Graph", "http://prometheus.example.net/graph?g0.expr=up"),
        ("Alertmanager", "http://am.example.net/#/alerts?filter=%7Balertname%3D%22a%5C%22b%22%2Cjob%3D%22x%22%7D"),
        ("Dashboard", "https://grafana.example.net/d/1"),
        ("Ticket", "https://tickets.example.net/7"),
    ]  # fmt: skip


def test_a_description_alone_is_the_summary() -> None:
    fires = alert("Disk")
    fires["annotations"] = {"description": "It fills"}
    problem = problem_of(notification(fires, externalURL=""))
    assert (problem.summary, problem.description, problem.links) == ("It fills", "", ())


def test_alerts_are_sorted_as_people_count() -> None:
    found = notification(
        *(alert("Down", instance=f"db-{n}") for n in (10, 9, "²", 1)),
        alert("Down", status="resolved", instance="db-0"),
    )
    assert [one.where for one in listed(found.alerts, "", VIEWER, USUAL_SEVERITIES)] == [
        "db-1",
        "db-9",
        "db-10",
        "db-²",
        "db-0",
    ]


def test_messages_of_one_cause_are_one_row_and_the_newest_comes_first() -> None:
    def page(who: str, seconds: int, state: str) -> Entry:
        outcome = Outcome("good" if state == "delivered" else "bad", state)
        return Entry(
            NOW + timedelta(seconds=seconds), "message", "Page", recipient=who, text="x", outcomes=(outcome,)
        )

    entries = [
        Entry(NOW, "opened", "Opened"),
        *(page(f"p{n}", 1, "delivered") for n in range(5)),
        page("late", 3, "expired"),
        page("next", 60, "delivered"),
        replace(page("told", 61, "delivered"), what="Notice"),
    ]
    rows = timeline_rows(entries, VIEWER)
    assert [(row.first.what, row.names, row.others) for row in rows] == [
        ("Notice", ("told",), 0),
        ("Page", ("next",), 0),
        ("Page", ("p0", "p1", "p2", "p3"), 2),
        ("Opened", (), 0),
    ]
    assert rows[2].states == (("good", "delivered", 5), ("bad", "expired", 1))
    assert len(rows[2].messages) == 6


def test_a_row_says_at_once_why_a_page_was_late() -> None:
    outcomes = (
        Outcome("bad", "attempts failed before", detail="4"),
        Outcome("bad", "attempt failed", NOW, "503"),
        Outcome("bad", "attempt failed", NOW, "503"),
        Outcome("other", "accepted by OVHcloud", NOW + timedelta(minutes=6)),
        Outcome("good", "delivered", NOW + timedelta(minutes=6, seconds=4)),
    )
    late = Entry(NOW, "message", "Page", recipient="alice", text="x", outcomes=outcomes)
    soon = replace(late, outcomes=(Outcome("good", "delivered", NOW + timedelta(seconds=59)),))
    assert [(row.took, row.failures) for row in timeline_rows([late], VIEWER)] == [("6 min", 6)]
    assert [(row.took, row.failures) for row in timeline_rows([soon], VIEWER)] == [("", 0)]


def test_the_scripts_of_others_are_named_with_their_licences() -> None:
    static = Path(__file__).parents[2] / "notifier" / "web" / "pages" / "static"
    licences = (static / "LICENSES.txt").read_text()
    others = {file.name for file in static.glob("*.min.js")}
    assert len(others) == 3
    assert all(name in licences for name in others)


PAGES = Path(__file__).parents[2] / "notifier" / "web" / "pages"
_LITERALS = r'\(\s*((?:"(?:[^"\\]|\\.)*"(?:,\s*)?)+)'


def test_every_text_of_the_pages_has_its_french() -> None:
    texts: set[str] = set()
    for file in (*PAGES.glob("templates/*.html"), *PAGES.glob("*.py")):
        name = r"(?:\b_|\bplural)" if file.suffix == ".html" else r"\bwords(?:\.plural)?"
        for call in re.findall(name + _LITERALS, file.read_text()):
            texts |= set(re.findall(r'"((?:[^"\\]|\\.)*)"', call))
        before = set(re.findall(r"""\bbefore\(["']([^"']+)["']""", file.read_text()))
        assert before <= set(FRENCH_BEFORE_DAYS)
        texts |= before
    assert len(texts) > 150
    kinds = [kind.value for kind in Kind]
    states = [*(state.value for state in MessageState), *(state.value for state in ShownState)]
    fixed = (timeline.EVENTS, timeline.MEANS, timeline.KINDS)
    texts |= {text for mapping in fixed for text in mapping.values()} | {
        text for _, text in timeline.CALLS.values()
    }
    source = Path(timeline.__file__).read_text()
    outcomes = re.findall(r'Outcome\(\s*"[a-z]+"(?: if [^,]*)?,\s*"([^"]+)"', source)
    outcomes += re.findall(r'(?:text|awaited) = "([^"]+)"[^\n]*else "([^"]+)"', source)
    assert len(outcomes) > 10
    flat = [text for found in outcomes for text in ([found] if isinstance(found, str) else found)]
    missing = {
        text
        for text in (*texts, *flat, *(word for _, _, word in RANKS), *kinds, *states)
        if text not in FRENCH
    }
    assert missing == set()


def test_a_translation_keeps_the_values_of_its_text() -> None:
    for english, french in FRENCH.items():
        assert sorted(re.findall(r"%\(\w+\)s|{\w+}", french)) == sorted(
            re.findall(r"%\(\w+\)s|{\w+}", english)
        )


def test_a_day_has_its_article_in_french() -> None:
    today, other = VIEWER.moment(NOW), VIEWER.moment(NOW + timedelta(days=2))
    for language, expected in (
        ("en", ["until", "until", "since"]),
        ("fr", ["jusqu'à", "jusqu'au", "depuis le"]),
    ):
        words = LANGUAGES[language]
        asked = (("until", today), ("until", other), ("since", other))
        assert [words.before(text, is_today=one.is_today) for text, one in asked] == expected
