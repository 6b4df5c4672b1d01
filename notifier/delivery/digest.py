"""Digests: one message in place of several to the same contact."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime

from notifier.delivery.message import Message, NewMessage
from notifier.ids import new_id
from notifier.incidents.lifecycle import Kind
from notifier.incidents.severities import USUAL_SEVERITIES, Severities
from notifier.rendering.phrases import counted_phrase, phrase
from notifier.runtime import Runtime
from notifier.sms.encoding import Encoding, encode, measure, shorten

_MAX_NOTICES = 2
"""The maximum number of notices in a digest; it counts the others."""
_MAX_ENDED = 3
"""How many kinds of resolved alerts a digest names at most."""
_MAX_KINDS = 60
"""How many kinds of alerts a digest names at most; six parts hold no more."""


def compose_digest(merged: Sequence[Message], runtime: Runtime, now: datetime) -> NewMessage:
    """Return the message that is sent in place of the messages *merged*, which are all to one number."""
    first = merged[0]
    receiver = runtime.configuration.receiver(first.receiver)
    max_parts = receiver.max_parts if receiver is not None else 2
    language, code = runtime.language(first.contact), runtime.reply_code(first.phone, now)
    entries = [one.digest_entry for one in merged if one.digest_entry]
    alerts = digest_text(entries, language, max_parts, code, runtime.severities)
    notices = list(dict.fromkeys(one.text for one in merged if not one.digest_entry))
    if len(notices) > _MAX_NOTICES:
        notices[_MAX_NOTICES:] = [f"+{len(notices) - _MAX_NOTICES}"]
    counted = shorten("; ".join(filter(None, (alerts, *notices))), max_parts)
    text = in_full([one.text for one in merged], measure(counted).parts) or counted
    return NewMessage(
        id=new_id(now),
        contact=first.contact,
        phone=first.phone,
        text=text,
        parts=measure(text).parts,
        expires_at=max(one.expires_at for one in merged),
        kind=Kind.DIGEST,
        urgency=first.urgency,
    )


def digest_text(
    digest_entries: Iterable[str | None],
    language: str,
    max_parts: int,
    code: str = "",
    severities: Severities = USUAL_SEVERITIES,
) -> str:
    """Return one text for the messages of these *digest_entries*: the number of alerts by name, most severe first.

    *code* is the recipient's reply code, if there is one.
    """
    firing: Counter[tuple[str, str]] = Counter()
    over: Counter[tuple[str, str]] = Counter()
    for digest_entry in digest_entries:
        status, counts = json.loads(digest_entry) if digest_entry else ("firing", [])
        for name, severity, count in counts:
            (firing if status == "firing" else over)[name, severity] += count
    kinds = _by_urgency(firing, severities)
    ends = _by_urgency(over, severities)
    others = counted_phrase("digest_more", language, len(ends) - _MAX_ENDED) if len(ends) > _MAX_ENDED else ""
    listed = "; ".join(filter(None, (_listed(ends[:_MAX_ENDED]), others)))
    resolved = counted_phrase("digest_resolved", language, over.total()) + listed if over else ""
    for shown in range(min(len(kinds), _MAX_KINDS), -1, -1):
        more = counted_phrase("digest_more", language, len(kinds) - shown) if shown < len(kinds) else ""
        head = (
            counted_phrase("digest_firing", language, firing.total()) + _listed(kinds[:shown])
            if firing
            else ""
        )
        hint = (
            phrase("digest_takes_all", language, code=f" {code}" if code else "")
            if firing.total() > 1
            else ""
        )
        text = encode("; ".join(filter(None, (head, more, resolved, hint))), Encoding.GSM)
        if measure(text).parts <= max_parts:
            return text
    return shorten(text, max_parts)


def in_full(texts: Sequence[str], most: int) -> str | None:
    """Return the *texts* of messages joined, if they take at most *most* parts together.

    None if they take more, or if some are alike and would be read as one.
    """
    text = "; ".join(texts)
    return text if measure(text).parts <= most and len(set(texts)) == len(texts) else None


def _by_urgency(counts: Counter[tuple[str, str]], severities: Severities) -> list[tuple[str, str, int]]:
    found = [(name, severity, count) for (name, severity), count in counts.items()]
    return sorted(found, key=lambda kind: (severities.urgency(kind[1]), -kind[2], kind[0]))


def _listed(kinds: Sequence[tuple[str, str, int]]) -> str:
    """Return *kinds* as a list that names each severity once: ``critical DiskFull 12, InstanceDown; warning X``."""
    parts: list[str] = []
    before = None
    for name, severity, count in kinds:
        word = f"{name} {count}" if count > 1 else name
        if severity != before:
            parts.append(f"{severity} {word}".strip() if not parts else f"; {severity} {word}".rstrip())
        else:
            parts.append(f", {word}")
        before = severity
    return "".join(parts)
