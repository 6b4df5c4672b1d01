"""Barer texts, for a message whose content OVHcloud refuses or an operator takes for spam.

With a short number OVHcloud refuses a message with contact information: URLs, e-mail addresses, telephone numbers, by
some reports host names. The same words would be refused at every retry and every step of the escalation, so a text
with less in it is sent at once.
"""

from __future__ import annotations

import re
from enum import IntEnum
from zoneinfo import ZoneInfo

from notifier.clock import is_known
from notifier.incidents.lifecycle import Incident, Kind
from notifier.rendering.phrases import phrase
from notifier.sms.encoding import Encoding, encode, shorten

CONTENT_PTTS = frozenset({28, 29})
"""The ``ptt`` of OVHcloud for spam, and for content that is not permitted."""


class Reduction(IntEnum):
    """How much was left out of a text. The values are stored in databases."""

    WITHOUT_LINK = -1
    """The link at its end."""
    NONE = 0
    REDUCED = 1
    """Status, number, severity, alert name, place without dots, time."""
    MINIMAL = 2
    """Status, number and severity."""


def next_reduction(reduction: int, *, has_link: bool) -> Reduction:
    """Return how much to leave out of a text that was refused, with the link at its end if it had one."""
    return Reduction.WITHOUT_LINK if has_link else Reduction(max(reduction, 0) + 1)


_STATUS = {Kind.PAGE: "firing", Kind.UPDATE: "update", Kind.REMINDER: "reminder", Kind.RESOLVED: "resolved"}
"""The names of the phrases for the status."""
_LONG_NUMBER = re.compile(r"\+?\d(?:[ .()/-]?\d){7,}")
"""What may be taken for a telephone number."""
_NOT_PLAIN = re.compile(r"[^\w\s#:,;()+-]", re.ASCII)


def reduce(
    text: str,
    kind: str,
    incident: Incident | None,
    reduction: Reduction,
    language: str,
    zone: ZoneInfo,
    code: str = "",
) -> str:
    """Return *text* with less in it, within one SMS part.

    Args:
        text: the text that was refused.
        kind: the purpose of the message.
        incident: its incident; without one, as a digest, the words of the text are kept.
        reduction: how much is left out.
        language: of the recipient.
        zone: of the recipient, for the time.
        code: the reply code that follows the number.
    """
    if incident is None or kind not in _STATUS:
        words = plain(text)
        if reduction is Reduction.MINIMAL:
            words = " ".join(re.findall(r"#\d+[A-Z]*|[^\W\d_]+", words))
        return shorten(words, 1)
    status = phrase(_STATUS[Kind(kind)], language)
    head = " ".join(filter(None, (status, f"#{incident.number}{code}", plain(incident.severity))))
    if reduction is Reduction.MINIMAL:
        return shorten(head, 1)
    began = incident.began_at or incident.opened_at
    since = ""
    if kind != Kind.RESOLVED and is_known(began):
        since = f" {phrase('since', language)} {began.astimezone(zone):%H:%M}"
    return shorten(f"{head} {plain(incident.title)}{since}", 1)


def plain(text: str) -> str:
    """Return *text* in the GSM alphabet without dots, ``@`` and ``/``, and without long numbers."""
    words = _LONG_NUMBER.sub(" ", encode(text, Encoding.GSM))
    return " ".join(_NOT_PLAIN.sub(" ", words).split())
