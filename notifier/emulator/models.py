"""The things of OVHcloud's API, as the emulator keeps and shows them: messages, replies, credentials, refusals."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from notifier.sms.encoding import measure


@dataclass(frozen=True, slots=True)
class Credentials:
    """The keys that the emulator takes."""

    application_key: str = "emulator-key"
    application_secret: str = "emulator-secret"  # noqa: S105 (of the emulator, known to all)
    consumer_key: str = "emulator-consumer"


class Refusal(Exception):
    """A call that is answered with an error."""

    def __init__(self, status: int, kind: str, message: str, code: str | None = None) -> None:
        """Answer *status* with OVHcloud's error object of class *kind*."""
        self.status = status
        self.body: dict[str, Any] = {"class": kind, "message": message}
        if code is not None:
            self.body |= {"errorCode": code, "httpCode": f"{status} {kind.rpartition('::')[2]}"}
        super().__init__(message)


def bad_request(message: str) -> Refusal:
    """Return the refusal of a parameter."""
    return Refusal(400, "Client::BadRequest", message)


def not_found() -> Refusal:
    """Return the refusal of an object that is not there."""
    return Refusal(404, "Client::NotFound", "The requested object does not exist")


@dataclass(slots=True)
class Sms:
    """A message that was accepted."""

    id: int
    receiver: str
    message: str
    sender: str | None
    tag: str | None
    parts: int
    credits: float
    accepted_at: float
    listed_at: float
    delivered_at: float | None = None
    delivery_receipt: int = 0
    ptt: int = 3
    is_called_back: bool = False

    def json(self) -> dict[str, Any]:
        """Return it as ``/outgoing/{id}`` and ``/jobs/{id}`` do."""
        return {
            "id": self.id,
            "tag": self.tag,
            "receiver": self.receiver,
            "sender": self.sender,
            "message": self.message,
            "messageLength": measure(self.message).length,
            "numberOfSms": self.parts,
            "credits": self.credits,
            "creationDatetime": rfc3339(self.accepted_at),
            "sentAt": rfc3339(self.accepted_at),
            "deliveredAt": None if self.delivered_at is None else rfc3339(self.delivered_at),
            "deliveryReceipt": self.delivery_receipt,
            "ptt": self.ptt,
        }


@dataclass(slots=True)
class Reply:
    """A message that came back."""

    id: int
    sender: str
    message: str
    tag: str | None
    at: float
    to: str = ""
    """The sender that it replies to."""

    def json(self) -> dict[str, Any]:
        """Return it as ``/incoming/{id}`` does."""
        return {
            "id": self.id,
            "sender": self.sender,
            "message": self.message,
            "tag": self.tag,
            "credits": 1,
            "creationDatetime": rfc3339(self.at),
        }


@dataclass(frozen=True, slots=True)
class Letter:
    """A message to somebody's inbox, which is not OVHcloud's: a second channel of the demo."""

    to: str
    title: str
    text: str
    at: float


def rfc3339(instant: float) -> str:
    return datetime.fromtimestamp(instant, UTC).isoformat(timespec="seconds")
