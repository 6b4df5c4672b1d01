"""The texts that confirm an acknowledgement by a reply."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from notifier.incidents.lifecycle import Incident
from notifier.incidents.severities import Severities
from notifier.rendering.phrases import notice
from notifier.sms.encoding import clip

_MAX_NAMED = 12
"""The number of incidents whose numbers a text contains."""


def confirmation(
    taken: Sequence[Incident], left: Sequence[Incident], language: str, severities: Severities
) -> str:
    """Return the text that confirms an acknowledgement of *taken*, and counts the incidents that are *left* open."""
    first = taken[0]
    if len(taken) == 1:
        text = notice("you_have", language, number=first.number, title=first.title)
    else:
        numbers = " ".join(f"#{one.number}" for one in taken[:_MAX_NAMED])
        more = " ..." if len(taken) > _MAX_NAMED else ""
        text = notice("you_have_all", language, count=len(taken), numbers=numbers + more)
    rest = still_open(left, language, severities)
    return f"{clip(text, 160 - len(rest) - 1)} {rest}" if rest else text


def still_open(left: Sequence[Incident], language: str, severities: Severities) -> str:
    """Return the text that counts the incidents that are *left* open, by severity; empty if there is none."""
    if not left:
        return ""
    found = Counter(one.severity or "alert" for one in left)
    ordered = sorted(found.items(), key=lambda one: severities.urgency(one[0]))
    counts = ", ".join(f"{count} {severity}" for severity, count in ordered)
    return notice("still_open", language, counts=counts)
