"""The examples in the documents are good."""

import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import yaml

from notifier import reference
from notifier.alertmanager import parse_webhook
from notifier.config import Recipient, load
from notifier.rendering import Style, Templates, compose, notification
from notifier.schedules import Rota
from tests.conftest import payload

DOCS = Path(__file__).parent.parent / "docs"


def test_the_rota_of_the_first_page_can_be_used(files):
    (example,) = (
        one
        for one in re.findall(r"```yaml\n(.*?)```", (DOCS.parent / "README.md").read_text(), re.DOTALL)
        if "rotations" in one
    )
    loading = load(files.write(**yaml.load(example, yaml.SafeLoader)))
    assert loading.problems == []
    from tests.test_schedules import PARIS, at

    rota = Rota.of(loading.configuration, {})["platform"]
    assert [rota.on_call(at(day, PARIS)) for day in ("2026-01-05T10:00", "2026-12-25T10:00")] == [
        "alice",
        "carol",
    ]


def test_the_rota_of_the_page_on_call_can_be_used(files):
    (example,) = re.findall(r"```yaml\n(.*?)```", (DOCS / "oncall.md").read_text(), re.DOTALL)
    loading = load(files.write(**yaml.load(example, yaml.BaseLoader)))
    assert loading.problems == []
    shifts = Rota.of(loading.configuration, {})["platform"]
    from tests.test_schedules import PARIS, at

    assert shifts.on_call(at("2026-01-05T10:00", PARIS)) == "alice"
    assert shifts.on_call(at("2026-01-05T13:00", PARIS)) == "carol"
    assert shifts.on_call(at("2026-12-25T23:00", PARIS)) == "carol"


def test_the_reference_is_current():
    assert reference.FILE.read_text(encoding="utf-8") == reference.text(), "run: make schema"


def test_several_accounts_are_written_as_shown(files, tmp_path):
    (example,) = re.findall(r"```yaml\n(.*?)```", (DOCS / "ovhcloud.md").read_text(), re.DOTALL)
    shown = yaml.safe_load(example)["ovh"]
    for name in ("application_secret", "consumer_key", "client_secret"):
        (tmp_path / name).write_text("hush-hush\n")
        (tmp_path / name).chmod(0o600)
    for account in shown:
        for key, file in account.items():
            if key.endswith("_file"):
                account[key] = str(tmp_path / Path(file).name)
    loading = load(files.write(ovh=shown))
    assert loading.problems == []
    assert [one.name for one in loading.configuration.accounts] == ["sms-ab12345-1", "sms-cd67890-1"]


def examples():
    """Yield each example of docs/templates.md: its words, its template (the shipped one where there is none), its texts."""
    section = (
        (DOCS / "templates.md").read_text(encoding="utf-8").partition("## Examples")[2].partition("\n## ")[0]
    )
    shown = re.findall(r"(?ms)^(.+?)\n\n(?:```jinja\n(.*?)```\n\n)?```text\n(.*?)```", section)
    assert len(shown) == 5
    payloads: list[str] = []
    for words, source, texts in shown:
        payloads = re.findall(r"`([\w-]+)\.json`", words) or payloads
        yield words, payloads, source, texts


@pytest.mark.parametrize(("words", "payloads", "source", "texts"), examples())
def test_templates_give_what_the_page_shows(words, payloads, source, texts, tmp_path):
    name = (re.findall(r"`(\w+)(?:\.j2)?`", words.rpartition("\n\n")[2]) or ["page"])[0] if source else "page"
    (tmp_path / f"{name}.j2").write_text(source, encoding="utf-8")
    templates = Templates({f"{name}.j2": tmp_path / f"{name}.j2"} if source else {})
    reader = Recipient(
        "alice", "+33639980001", "fr" if "`language: fr`" in words else "en", ZoneInfo("Europe/Paris")
    )
    now = datetime(2026, 11, 22, 12, 20, tzinfo=UTC)
    rendered = []
    for payload_name in payloads:
        webhook = parse_webhook(payload(payload_name))
        told = notification(webhook, range(len(webhook.alerts)), "ops")
        result = compose(templates, replace(told, number=7), reader, Style(template=name), now)
        assert result.failure is None
        rendered.append(result.text)
    assert texts == "\n".join(rendered) + "\n"


def test_links_between_the_documents_lead_somewhere():
    for file in (DOCS.parent / "README.md", *DOCS.glob("*.md")):
        for target, anchor in re.findall(
            r"\]\((?!https?:)([^)#\s]*)(#[^)]*)?\)", file.read_text(encoding="utf-8")
        ):
            place = (file.parent / target).resolve() if target else file
            assert place.exists(), f"{file.name}: {target}"
            if anchor and place.suffix == ".md":
                headings = re.findall(r"(?m)^#+ (.+)$", place.read_text(encoding="utf-8"))
                slugs = {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}
                assert anchor[1:] in slugs, f"{file.name}: {target}{anchor}"
