"""What pytest is set to: the fixtures, the examples of hypothesis, and the tables at the end."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings

from notifier.logs import LogLevel, configure_logging

pytest_plugins = ["tests.support.compiled", "tests.support.fixtures", "tests.support.postgres"]

configure_logging(level=LogLevel.WARNING)
settings.register_profile(
    "suite", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("suite")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the table of faults."""
    reports = [*terminalreporter.stats.get("passed", ()), *terminalreporter.stats.get("failed", ())]
    rows = [value for report in reports for name, value in report.user_properties if name == "fault"]
    writes = [value for report in reports for name, value in report.user_properties if name == "writes"]
    if writes:
        terminalreporter.section("writes: lost, failed or run twice")
        for engine, scenario, count, ways, wrong in writes:
            line = f"{engine}, {scenario}: {count} writes, {ways} of 3 ways each"
            terminalreporter.write_line(f"{line:<58} {wrong:>6} differ")
    if attacks := [value for report in reports for name, value in report.user_properties if name == "attack"]:
        terminalreporter.section("attacks")
        titles = (
            f"{'while there is, or are,':<58} {'webhooks':>8} {'p99 ms':>8} {'memory MB':>9} {'log KiB':>7}"
        )
        terminalreporter.write_line(titles)
        for row in attacks:
            terminalreporter.write_line(row)
    if rows:
        terminalreporter.section("faults")
        terminalreporter.write_line(f"{'what happens':<58} {'alerts':>6} {'lost':>5} {'twice':>6}  exit")
        for row in rows:
            terminalreporter.write_line(row)
