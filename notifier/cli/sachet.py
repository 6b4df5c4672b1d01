"""Moving from Sachet: its configuration as one of ours, and what cannot be taken over.

Source: ``cmd/sachet/config.go`` and ``provider/ovh/ovh.go`` of messagebird/sachet.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from notifier.config.types import OVH_ENDPOINTS, Name, SenderName
from notifier.sms.phones import parse_mobile

_KEYS = ("endpoint", "application_key", "application_secret", "consumer_key", "service_name")
_PLACEHOLDERS = {
    "application_key": "${OVH_APPLICATION_KEY}",
    "application_secret": "${OVH_APPLICATION_SECRET}",
    "consumer_key": "${OVH_CONSUMER_KEY}",
}


class SachetError(ValueError):
    """The file is not a configuration of Sachet; the text gives the reason."""


@dataclass(slots=True)
class Migrated:
    """Notifier's configuration as *text*, and *notes* on what to check, which *text* contains as comments."""

    text: str = ""
    notes: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    """The recipients that were left out: nobody will page them."""


def migrate(text: str) -> Migrated:
    """Convert the configuration of Sachet in *text*.

    Raises:
        SachetError: it is none.
    """
    try:
        source = yaml.load(text, yaml.BaseLoader)  # noqa: S506 (texts alone, as Sachet's own reading leaves them)
    except yaml.YAMLError as error:
        raise SachetError(f"it is no YAML: {' '.join(str(error).split())}") from None
    receivers = source.get("receivers") if isinstance(source, dict) else None
    named = [one for one in receivers if isinstance(one, dict)] if isinstance(receivers, list) else []
    if not named:
        raise SachetError("it has no receivers; give Sachet's config.yaml")
    done = Migrated()
    contacts: dict[str, str] = {}
    made = [_receiver(one, contacts, done) for one in _each_once(named, done.notes)]
    providers = source.get("providers")
    ovh = providers.get("ovh") if isinstance(providers, dict) else None
    receivers_ = [one for one in made if one is not None]
    if not receivers_:
        raise SachetError("none of its receivers has a mobile number under to")
    if len(receivers_) < len(made):
        done.notes.append(
            "receivers: alerts for a receiver that is left out here page the first one; remove such receivers from "
            "alertmanager.yml, too"
        )
    document = {
        "storage": {"url": "sqlite:///notifier.db"},
        "ovh": _account(ovh if isinstance(ovh, dict) else None, named, done.notes),
        "contacts": [{"name": name, "phone": phone} for phone, name in contacts.items()],
        "receivers": receivers_,
    }
    if source.get("templates"):
        done.notes.append("templates: they are Go's; Notifier has its own (page), see docs/templates.md")
    done.notes.append(
        "contacts: give them the names of people; who is a contact can reply and be on call, see docs/oncall.md"
    )
    done.notes.append(
        "web: Sachet listens on every address, Notifier only on 127.0.0.1:9876; to change that, set "
        "web.listen_address and credentials"
    )
    head = ["Made from Sachet's configuration by: notifier migrate sachet", *done.notes]
    done.text = "".join(f"# {' '.join(line.split())}\n" for line in head) + yaml.safe_dump(
        document, sort_keys=False, allow_unicode=True, width=100
    )
    return done


def _each_once(receivers: Iterable[Mapping[str, Any]], notes: list[str]) -> list[Mapping[str, Any]]:
    """Return the first receiver of each name, as Sachet takes it."""
    first: dict[str, Mapping[str, Any]] = {}
    for one in receivers:
        name = str(one.get("name", ""))
        if name in first:
            notes.append(f'receiver "{name}": there is another of that name before it; left out')
        first.setdefault(name, one)
    return list(first.values())


def _receiver(one: Mapping[str, Any], contacts: dict[str, str], done: Migrated) -> dict[str, Any] | None:
    name, notes = str(one.get("name", "")), done.notes
    where = f'receiver "{name}"'
    try:
        TypeAdapter(Name).validate_python(name)
    except ValidationError:
        notes.append(f"{where}: it has no name that can be used; left out")
        done.dropped.append(where)
        return None
    notify = []
    to = one.get("to")
    for given in to if isinstance(to, list) else []:
        phone = _phone(str(given))
        if phone is None:
            notes.append(f'{where}: "{given}" is no mobile number; left out')
            done.dropped.append(f'{where}: "{given}"')
        else:
            notify.append(contacts.setdefault(phone, f"person-{len(contacts) + 1}"))
    if not notify:
        notes.append(f"{where}: nobody is left to be texted; left out")
        done.dropped.append(where)
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
    ovh: Mapping[str, Any] | None, receivers: Sequence[Mapping[str, Any]], notes: list[str]
) -> dict[str, Any]:
    if ovh is None:
        notes.append(
            "ovh: Sachet did not send by OVHcloud; make an account at OVHcloud, then: notifier ovh login"
        )
        account: dict[str, Any] = dict(_PLACEHOLDERS)
    else:
        account = {key: str(ovh[key]).replace("$", "$$") for key in _KEYS if ovh.get(key)}
        account |= {key: value for key, value in _PLACEHOLDERS.items() if key not in account}
        notes.append("ovh: move the secrets into files (application_secret_file, consumer_key_file)")
        if account.get("endpoint", OVH_ENDPOINTS[0]) not in OVH_ENDPOINTS:
            notes.append(
                f"ovh: {account['endpoint']} is not OVHcloud's; {OVH_ENDPOINTS[0]} is used instead, check the keys"
            )
            account["endpoint"] = OVH_ENDPOINTS[0]
        if str(ovh.get("no_stop_clause", "true")).lower() != "true":
            notes.append(
                "ovh: no_stop_clause is always true here: with the clause, nothing is delivered at night"
            )
        if ovh.get("priority") not in (None, "high"):
            notes.append(f"ovh: priority {ovh['priority']} is left out; pages go with high")
        if str(ovh.get("sender_for_response", "")).lower() == "true":
            return account | {"sender_for_response": True}
    return account | _sender(receivers, notes)


def _sender(receivers: Sequence[Mapping[str, Any]], notes: list[str]) -> dict[str, Any]:
    """Return who sends: the first sender that OVHcloud was given, or else one that it could be."""
    own = [one for one in receivers if one.get("provider", "ovh") == "ovh"]
    others = [one for one in receivers if one not in own]
    senders = list(dict.fromkeys(str(one["from"]) for one in (*own, *others) if one.get("from")))
    chosen = next((sender for sender in senders if _is_sender(sender)), None)
    left = ", ".join(sender for sender in senders if sender != chosen)
    if left:
        notes.append(f"ovh: an account has one sender; {left} left out")
    if chosen is not None:
        return {"sender": chosen}
    notes.append(
        "ovh: no sender that OVHcloud could know; a short number that takes replies sends (France only)"
    )
    return {"sender_for_response": True}


def _is_sender(text: str) -> bool:
    try:
        TypeAdapter(SenderName).validate_python(text)
    except ValidationError:
        return False
    return True
