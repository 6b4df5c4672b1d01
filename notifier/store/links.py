"""Links that open an incident: the hashes of their tokens, and the messages that ended with them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, insert, select

from notifier.incidents.links import VALID_FOR, Link
from notifier.store.database import Tables
from notifier.store.schema import incidents, links, messages


@dataclass(frozen=True, slots=True)
class StoredLink:
    """A link: the incident that it opens, when that was resolved, the contact who received it, and when it expires."""

    incident_id: str
    resolved_at: datetime | None
    contact: str
    expires_at: datetime


class LinkStore(Tables):
    """The links of a database."""

    def get(self, hash_: str) -> StoredLink | None:
        """Return the link whose token has the hash *hash_*; None if there is none.

        Raises:
            StoreUnavailable: it cannot be read now.
        """
        statement = (
            select(incidents.c.id, incidents.c.resolved_at, messages.c.contact, links.c.expires_at)
            .join(messages, messages.c.id == links.c.message_id)
            .join(incidents, incidents.c.id == messages.c.incident_id)
            .where(links.c.hash == hash_)
        )
        with self._database.reading() as connection:
            row = connection.execute(statement).first()
        return None if row is None else StoredLink(*row)


def add_link(connection: Connection, link: Link, message_id: str, now: datetime) -> None:
    """Write down that a message ends with *link*."""
    row = {"hash": link.hash, "message_id": message_id, "expires_at": now + VALID_FOR}
    connection.execute(insert(links), row)
