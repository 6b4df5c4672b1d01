"""Who was paged for which incidents, as replies and notices need it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, bindparam, exists, func, or_, select

from notifier.delivery.fallback import FallbackState
from notifier.delivery.message import FAILED, WAITING, MessageState
from notifier.incidents.lifecycle import PAGING, Incident, IncidentState, Kind
from notifier.sms.recipient import Recipient
from notifier.store.database import Tables
from notifier.store.incident_rows import COLUMNS, UNRESOLVED, to_incident
from notifier.store.schema import fallbacks, incidents, messages

_SEEN = (MessageState.SENDING, MessageState.UNSETTLED, MessageState.ACCEPTED, MessageState.DELIVERED)
"""The states of messages that somebody may have read."""
_UNREACHED = (*FAILED, MessageState.WITHDRAWN)
_INVOLVED = (
    select(
        messages.c.contact,
        messages.c.phone,
        messages.c.state,
        exists()
        .where(fallbacks.c.message_id == messages.c.id, fallbacks.c.state == FallbackState.SENT)
        .label("is_sent_otherwise"),
    )
    .where(messages.c.incident_id == bindparam("incident"), messages.c.kind.in_(PAGING))
    .order_by(messages.c.id)
)
_MERGED = messages.alias("merged")
_SENT_AT = func.coalesce(messages.c.sent_at, messages.c.created_at)


@dataclass(frozen=True, slots=True)
class PagedRecipient:
    """Somebody who was paged for an incident: a contact's name (empty for a bare number), and the number."""

    contact: str
    phone: str


class PagedIncidents(Tables):
    """The incidents of a database, by who was paged for them."""

    def involved(self, incident_id: str, *, without_waiting: bool = False) -> list[PagedRecipient]:
        """Return who was paged for an incident, each once, but for those whose page failed or was withdrawn.

        *without_waiting* leaves out those whose pages still wait to be sent.
        """
        left_out = (*_UNREACHED, *WAITING) if without_waiting else _UNREACHED
        with self._database.reading() as connection:
            rows = connection.execute(_INVOLVED, {"incident": incident_id}).all()
        return list(
            dict.fromkeys(
                PagedRecipient(row.contact, row.phone)
                for row in rows
                if row.state not in left_out or row.is_sent_otherwise
            )
        )

    def latest_of(self, person: Recipient, before: datetime, *states: IncidentState) -> list[Incident]:
        """Return the incidents, in one of *states*, of the last page sent to *person* before *before*.

        The page's own incident is the first; the others were merged into the page.
        """
        wanted = incidents.c.state.in_(states)
        with self._database.reading() as connection:
            numbers = _numbers(connection, person)
            page = (
                select(messages.c.id, messages.c.incident_id)
                .where(
                    messages.c.phone.in_(numbers),
                    messages.c.kind.in_((*PAGING, Kind.DIGEST)),
                    or_(_is_seen(before), _is_sent_otherwise(before)),
                    or_(
                        exists().where(incidents.c.id == messages.c.incident_id, wanted),
                        exists().where(
                            _MERGED.c.merged_into == messages.c.id,
                            incidents.c.id == _MERGED.c.incident_id,
                            wanted,
                        ),
                    ),
                )
                .order_by(_SENT_AT.desc(), messages.c.id.desc())
                .limit(1)
            )
            last = connection.execute(page).first()
            if last is None:
                return []
            merged = select(messages.c.incident_id).where(messages.c.merged_into == last.id)
            rows = connection.execute(
                select(*COLUMNS)
                .where(wanted, or_(incidents.c.id == last.incident_id, incidents.c.id.in_(merged)))
                .order_by(incidents.c.id)
            )
            return sorted(map(to_incident, rows), key=lambda incident: incident.id != last.incident_id)

    def open_of(self, person: Recipient, before: datetime) -> list[Incident]:
        """Return the open incidents for which *person* was paged before *before*, newest first.

        Pages that went out in a digest count; those that are still queued do not.
        """
        carrier = messages.alias("carrier")
        with self._database.reading() as connection:
            numbers = _numbers(connection, person)
            is_sent = or_(_is_seen(before), _is_sent_otherwise(before))
            is_merged = (messages.c.state == MessageState.MERGED) & exists().where(
                carrier.c.id == messages.c.merged_into,
                carrier.c.state.in_(_SEEN),
                carrier.c.sent_at <= before,
            )
            page = exists().where(
                messages.c.incident_id == incidents.c.id,
                messages.c.phone.in_(numbers),
                messages.c.kind.in_(PAGING),
                or_(is_sent, is_merged),
            )
            statement = (
                select(*COLUMNS)
                .where(UNRESOLVED, incidents.c.state == IncidentState.OPEN, page)
                .order_by(incidents.c.id.desc())
            )
            return [to_incident(row) for row in connection.execute(statement)]

    def paged_with(self, incident: Incident, person: Recipient) -> list[Incident]:
        """Return *incident*, and those that *person* was paged for by the same messages."""
        with self._database.reading() as connection:
            numbers = _numbers(connection, person)
            own = select(messages.c.id).where(
                messages.c.incident_id == incident.id,
                messages.c.phone.in_(numbers),
                messages.c.kind.in_(PAGING),
            )
            # One text may serve several receivers of a group. Such messages are merged into the same digest.
            digests = select(messages.c.merged_into).where(messages.c.id.in_(own))
            merged = connection.execute(
                select(*COLUMNS)
                .distinct()
                .join(messages, messages.c.incident_id == incidents.c.id)
                .where(
                    or_(
                        messages.c.merged_into.in_(own),
                        (incidents.c.group_key == incident.group_key) & messages.c.merged_into.in_(digests),
                    ),
                    UNRESOLVED,
                    incidents.c.id != incident.id,
                )
                .order_by(incidents.c.id)
            )
            return [incident, *map(to_incident, merged)]


def _is_seen(before: datetime) -> ColumnElement[bool]:
    """Return the condition that somebody may have read a message before *before*."""
    return messages.c.state.in_(_SEEN) & (messages.c.sent_at <= before)


def _is_sent_otherwise(before: datetime) -> ColumnElement[bool]:
    """Return the condition that a message had been sent through a second channel before *before*."""
    return exists().where(
        fallbacks.c.message_id == messages.c.id,
        fallbacks.c.state == FallbackState.SENT,
        fallbacks.c.finished_at <= before,
    )


def _numbers(connection: Connection, person: Recipient) -> list[str]:
    """Return the present number of *person*, and earlier ones that were paged for unresolved incidents."""
    if not person.name:
        return [person.phone]
    statement = (
        select(messages.c.phone)
        .distinct()
        .join(incidents, incidents.c.id == messages.c.incident_id)
        .where(UNRESOLVED, messages.c.contact == person.name)
    )
    return sorted({person.phone, *connection.execute(statement).scalars()})
