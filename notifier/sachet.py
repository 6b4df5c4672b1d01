"""Moving from Sachet: its configuration as one of ours, and what cannot be taken over.

Source: ``cmd/sachet/config.go`` and ``provider/ovh/ovh.go`` of messagebird/sachet.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from notifier.phones import parse_mobile
from notifier.values import Name, Sender

_KEYS = ("endpoint", "application_key", "application_secret", "consumer_key", "service_name")
_PLACEHOLDERS = {
    "application_key": "${OVH_APPLICATION_KEY}",
    "application_secret": "${OVH_APPLICATION_SECRET}",
    "consumer_key": "${OVH_CONSUMER_KEY}",
}


class SachetError(ValueError):
    """The file is no configuration of Sachet; the text says what it lacks."""


@dataclass(slots=True)
class Migrated:
    """Our configuration as *text*, and *notes* on what a person has to look at."""

    text: str = ""
    notes: list[str] = field(default_factory=list)


def migrate(text: str) -> Migrated:
    """Return the configuration of Sachet in *text* as one of ours.

    Raises:
        SachetError: it is none.
    """
    try:
        source = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SachetError(f"it is no YAML: {' '.join(str(error).split())}") from None
    receivers = source.get("receivers") if isinstance(source, dict) else None
    named = [one for one in receivers if isinstance(one, dict)] if isinstance(receivers, list) else []
    if not named:
        raise SachetError("it has no receivers; give Sachet's config.yaml")
    done = Migrated()
    contacts: dict[str, str] = {}
    made = [_receiver(one, contacts, done.notes) for one in named]
    providers = source.get("providers")
    ovh = providers.get("ovh") if isinstance(providers, dict) else None
    document = {
        "storage": {"url": "sqlite:///notifier.db"},
        "ovh": _account(ovh if isinstance(ovh, dict) else None, named, done.notes),
        "contacts": [{"name": name, "phone": phone} for phone, name in contacts.items()],
        "receivers": [one for one in made if one is not None],
    }
    if not document["receivers"]:
        raise SachetError("none of its receivers has a mobile number under to")
    if source.get("templates"):
        done.notes.append("templates: they are Go's; Notifier has its own (page), see docs/templates.md")
    done.notes.append(
        "contacts: give them the names of people; who is a contact can reply and be on call, see docs/oncall.md"
    )
    done.notes.append(
        "web: Sachet listens on every address; Notifier on 127.0.0.1:9876 unless web has credentials as well"
    )
    done.text = "# Made from Sachet's configuration by: notifier migrate sachet\n" + yaml.safe_dump(
        document, sort_keys=False, allow_unicode=True, width=100
    )
    return done


def _receiver(one: Mapping[str, Any], contacts: dict[str, str], notes: list[str]) -> dict[str, Any] | None:
    name = str(one.get("name", ""))
    where = f'receiver "{name}"'
    try:
        TypeAdapter(Name).validate_python(name)
    except ValidationError:
        notes.append(f"{where}: it has no name that can be used; left out")
        return None
    notify = []
    to = one.get("to")
    for given in to if isinstance(to, list) else []:
        phone = _phone(str(given))
        if phone is None:
            notes.append(f'{where}: "{given}" is no mobile number; left out')
        else:
            notify.append(contacts.setdefault(phone, f"person-{len(contacts) + 1}"))
    if not notify:
        notes.append(f"{where}: nobody is left to be texted; left out")
        return None
    if one.get("text"):
        notes.append(
            f"{where}: its text is a template of Go; Notifier's page says what fires, where and since when"
        )
    provider = one.get("provider")
    if provider not in (None, "ovh"):
        notes.append(f"{where}: it was sent by {provider}, and will be by OVHcloud")
    return {"name": name, "notify": list(dict.fromkeys(notify))}


def _phone(given: str) -> str | None:
    digits = re.sub(r"[ .()-]", "", given)
    for form in (digits, f"+{digits}"):
        try:
            return parse_mobile(form, None)
        except ValueError:
            continue
    return None


def _account(
    ovh: Mapping[str, Any] | None, receivers: Iterable[Mapping[str, Any]], notes: list[str]
) -> dict[str, Any]:
    if ovh is None:
        notes.append("ovh: Sachet sent by others; make an account at OVHcloud, then: notifier ovh login")
        account: dict[str, Any] = dict(_PLACEHOLDERS)
    else:
        account = {key: str(ovh[key]).replace("$", "$$") for key in _KEYS if ovh.get(key)}
        account |= {key: value for key, value in _PLACEHOLDERS.items() if key not in account}
        notes.append("ovh: move the secrets into files (application_secret_file, consumer_key_file)")
    senders = list(dict.fromkeys(str(one["from"]) for one in receivers if one.get("from")))
    try:
        account["sender"] = TypeAdapter(Sender).validate_python(senders[0])
    except (IndexError, ValidationError):
        account["sender_for_response"] = True
        notes.append(
            "ovh: no sender that OVHcloud knows; a short number that takes replies sends (France only)"
        )
    if len(senders) > 1:
        notes.append(f"ovh: an account has one sender; {', '.join(senders[1:])} left out")
    return account
