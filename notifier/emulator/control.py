"""The emulator's own paths, under ``/emulator``: faults, settings, replies, and the screens of the phones."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from notifier.emulator.faults import Fault
from notifier.emulator.models import Letter, bad_request, not_found

if TYPE_CHECKING:  # which serves these paths
    from collections.abc import Sequence

    from notifier.emulator.account import Emulation
    from notifier.emulator.server import Emulator

_CHANGEABLE = (
    "credits", "status", "clock_offset", "listing_delay", "delivery_delay", "is_valid_credential", "phones_off",
)  # fmt: skip


def parse_mapping(body: str) -> dict[str, Any]:
    """Return the JSON object in *body*.

    Raises:
        Refusal: it holds none.
    """
    try:
        content = json.loads(body or "{}")
    except ValueError:
        raise bad_request("The body is not JSON") from None
    if not isinstance(content, dict):
        raise bad_request("The body is not an object")
    return content


def _state(emulator: Emulator) -> dict[str, Any]:
    """Return the messages on the phones."""
    accounts = [one.emulation for one in emulator.accounts]
    armed = [fault for one in emulator.accounts for fault in one.faults.armed()]
    for account in accounts:
        account.settle()
    phones = [_phone(emulator, accounts, name, number) for name, number in emulator.owners.items()]
    return {
        "accounts": [{"name": one.service_name, "credits": one.credits} for one in accounts],
        "armed": [{"kind": fault.kind, "status": fault.status, "times": fault.times} for fault in armed],
        "faults": sum(fault.times or 1 for fault in armed),
        "inbox": [
            {"id": number, "to": one.to, "title": one.title, "text": one.text, "at": one.at}
            for number, one in enumerate(emulator.inbox)
        ],
        "pages": emulator.pages,
        "can_fire": emulator.on_alert is not None,
        "phones": phones,
    }


def _phone(emulator: Emulator, accounts: Sequence[Emulation], name: str, number: str) -> dict[str, Any]:
    """Return what the phone of *number* shows."""
    received: list[dict[str, Any]] = [
        {
            "id": f"{account.service_name} {sms.id}",
            "text": sms.message,
            "at": sms.accepted_at,
            "sender": sms.sender,
            "parts": sms.parts,
            "credits": sms.credits,
            "account": account.service_name,
            "is_delivered": sms.delivered_at is not None,
            "is_reply": False,
        }
        for account in accounts
        for sms in list(account.accepted)
        if sms.receiver == number
    ]
    replies: list[dict[str, Any]] = [
        {"id": f"{account.service_name} {one.id}", "text": one.message, "at": one.at, "is_reply": True}
        for account in accounts
        for one in list(account.replies)
        if one.sender == number
    ]
    ringing = next(filter(None, (account.telephony.ringing(number) for account in accounts)), None)
    return {
        "name": name,
        "number": number,
        "is_off": number in emulator.emulation.phones_off,
        "messages": sorted(received + replies, key=lambda one: (one["at"], one["id"])),
        "ringing": ringing.text if ringing is not None else None,
    }


def _reply(emulator: Emulator, phone: str, text: str) -> None:
    """Let *phone* reply to the last message it got, of any account."""
    if phone in emulator.emulation.phones_off:
        raise bad_request("[phone] It is switched off")

    def last(one: Emulator) -> float:
        return max(
            (sms.accepted_at for sms in list(one.emulation.accepted) if sms.receiver == phone),
            default=0.0,
        )

    max(emulator.accounts, key=last).reply(phone, text)


def _add_fault(body: str, *emulators: Emulator) -> None:
    for one in emulators:
        try:
            one.faults.add(Fault.model_validate_json(body))
        except ValidationError as error:
            raise bad_request(str(error)) from None


def _change(emulator: Emulator, settings: dict[str, Any]) -> None:
    emulations = [one.emulation for one in emulator.accounts]
    for name, value in settings.items():
        if name not in _CHANGEABLE:
            raise bad_request(f"[{name}] is not one of {', '.join(_CHANGEABLE)}")
        if name == "phones_off":  # whichever account sends to them
            for emulation in emulations:
                emulation.phones_off = set(value)
        else:
            setattr(emulator.emulation, name, value)


def _receive(emulator: Emulator, to: str, letter: dict[str, Any]) -> None:
    """Put what apprise posts to ``json://`` into the inbox."""
    title, text = (str(letter.get(name, "")) for name in ("title", "message"))
    emulator.inbox.append(Letter(to, title, text, emulator.emulation.clock()))


def control(emulator: Emulator, command: str, what: str, body: str) -> Any:
    """Return the answer to *command* (``GET``, ``POST``, …) of the path ``/emulator/`` *what*.

    Raises:
        Refusal: there is no such path, or the body is wrong.
    """
    match command, what:
        case "GET", "messages":
            return [
                {**sms.json(), "acceptedAt": sms.accepted_at} for sms in list(emulator.emulation.accepted)
            ]
        case "GET", "state":
            return _state(emulator)
        case "POST", "alerts" if emulator.on_alert is not None:
            emulator.on_alert(str(parse_mapping(body).get("status", "firing")))
        case "POST", "faults":
            _add_fault(body, emulator)
        case "POST", "faults/everywhere":
            _add_fault(body, *emulator.accounts)
        case "DELETE", "faults":
            for one in emulator.accounts:
                one.faults.clear()
        case "POST", "settings":
            _change(emulator, parse_mapping(body))
        case "POST", "replies":
            reply = parse_mapping(body)
            _reply(emulator, str(reply.get("phone", "")), str(reply.get("text", "")))
        case "POST", path if path.startswith("inbox/"):
            _receive(emulator, path.removeprefix("inbox/"), parse_mapping(body))
        case "POST", "keys":
            pressed = parse_mapping(body)
            emulator.emulation.telephony.press(str(pressed.get("phone", "")), str(pressed.get("key", "")))
        case _:
            raise not_found()
    return None
