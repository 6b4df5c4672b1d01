"""Messages that Notifier writes itself: notices of what happened to an incident, answers, and texts of people."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime

from notifier.delivery.message import NewMessage
from notifier.ids import new_id
from notifier.incidents.lifecycle import Incident, Kind
from notifier.runtime import Runtime
from notifier.sms.encoding import measure
from notifier.sms.recipient import Recipient


def incident_notices(
    runtime: Runtime,
    incident: Incident,
    involved: Iterable[Recipient],
    text: Callable[[Recipient], str],
    now: datetime,
    *,
    by: str = "",
    phone: str | None = None,
) -> tuple[NewMessage, ...]:
    """Return the notices about *incident* for those *involved* and for who has it, each once.

    Args:
        runtime: the configuration in force.
        incident: the subject.
        involved: those who were paged for it.
        text: returns the text for a recipient.
        now: the time.
        by: who caused it, and needs no notice.
        phone: the number of that person, if it is known.
    """
    others = {one.phone: one for one in involved}
    if (holder := runtime.contacts.get(incident.holder or "")) is not None:
        others.setdefault(holder.phone, holder)
    return tuple(
        own_message(runtime, one, text(one), Kind.NOTICE, now, incident)
        for one in others.values()
        if one.phone != phone and (not one.name or one.name != by)
    )


def own_message(
    runtime: Runtime, to: Recipient, text: str, kind: Kind, now: datetime, incident: Incident | None = None
) -> NewMessage:
    """Return a message of *kind* to *to*."""
    return NewMessage(
        id=new_id(now),
        contact=to.name,
        phone=to.phone,
        text=text,
        parts=measure(text).parts,
        expires_at=now + runtime.configuration.global_.expire_after,
        kind=kind,
        incident_id=incident.id if incident is not None else None,
    )


def shown_time(instant: datetime, reader: Recipient, now: datetime) -> str:
    """Return *instant* in the time zone of *reader*: the time, with the date if it is not today."""
    local, today = instant.astimezone(reader.time_zone), now.astimezone(reader.time_zone).date()
    return f"{local:%H:%M}" if local.date() == today else f"{local:%d/%m %H:%M}"
