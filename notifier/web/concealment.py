"""Messages as people may read them: without reply codes, by which a reader could forge a reply."""

from __future__ import annotations

from dataclasses import replace

from notifier.incidents.reply_codes import hide_codes
from notifier.runtime import Runtime
from notifier.store.ledger import LedgerMessage, MessageDetails


def concealed(runtime: Runtime, message: LedgerMessage) -> LedgerMessage:
    """Return *message* with its reply codes hidden."""
    return replace(message, text=_without_codes(runtime, message, message.text))


def concealed_details(runtime: Runtime, details: MessageDetails) -> MessageDetails:
    """Return *details* with the reply codes of its messages and of each attempt hidden."""
    attempts = tuple(
        replace(attempt, text=_without_codes(runtime, details.sent, attempt.text))
        for attempt in details.attempts
    )
    merged = tuple(concealed(runtime, message) for message in details.merged)
    digest = None if details.digest is None else concealed(runtime, details.digest)
    message = concealed(runtime, details.message)
    return replace(details, message=message, attempts=attempts, merged=merged, digest=digest)


def _without_codes(runtime: Runtime, message: LedgerMessage, text: str) -> str:
    key = runtime.configuration.code_key
    times = [at for at in (message.created_at, message.sent_at) if at is not None]
    return text if key is None else hide_codes(text, key, message.phone, times)
