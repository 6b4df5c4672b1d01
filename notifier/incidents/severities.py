"""Severities: how urgent each value of the label `severity` is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

LEVELS = ("critical", "high", "warning", "info", "none")
"""What a severity may mean, the most severe first. The position is its urgency."""
_USUAL = {
    name: urgency
    for urgency, names in enumerate(
        (
            ("critical", "page", "emergency", "fatal", "disaster", "p1"),
            ("high", "error", "major", "p2"),
            ("", "warning", "warn", "minor", "medium", "p3"),
            ("low", "info", "information", "notice", "p4"),
            ("none", "debug", "p5"),
        )
    )
    for name in names
}
"""The urgency of each usual value of the label `severity`."""


@dataclass(frozen=True, slots=True)
class Severities:
    """How urgent each value of the label `severity` is: 0 is the most severe. Values are in lower case."""

    urgencies: Mapping[str, int]
    unknown: int = LEVELS.index("warning")
    """The urgency of other values."""

    @classmethod
    def of(cls, others: Mapping[str, str]) -> Severities:
        """Return the usual severities and *others*, a map from the value of the label to its level."""
        return cls(_USUAL | {value: LEVELS.index(level) for value, level in others.items()})

    def urgency(self, severity: str) -> int:
        """Return the urgency of *severity*."""
        return self.urgencies.get(severity.lower(), self.unknown)

    def level(self, severity: str) -> str:
        """Return which of `LEVELS` *severity* means."""
        return LEVELS[self.urgency(severity)]


USUAL_SEVERITIES = Severities.of({})
