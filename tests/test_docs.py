"""The examples in the documents are good."""

import re
from pathlib import Path

import yaml

from notifier.config import load
from notifier.schedules import Rota

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
