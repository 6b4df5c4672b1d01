"""An emulated SMS account: an SMS account, its jobs, history, receipts, replies and credits.

Source: OVHcloud's API schema for ``/sms`` and its guides; see ``docs/ovhcloud.md``.
"""

from __future__ import annotations

import fnmatch
import hashlib
import itertools
import re
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from notifier.emulator.models import Credentials, Refusal, Reply, Sms, bad_request, not_found
from notifier.emulator.telephony import Telephony
from notifier.ovh.models import REASONS
from notifier.sms.encoding import MAX_PARTS, measure

_CLOCK_TOLERANCE = 30  # seconds
_E164 = re.compile(r"\+[1-9]\d{6,14}")
_CONTACT = re.compile(
    r"(?:\w://|www\.)\S|\S@\S+\.\w|(?:\+|\b00)\d(?:[ .-]?\d){7}|\b0\d(?:[ .-]?\d\d){4}\b", re.ASCII
)
"""Content that OVHcloud refuses with a short number: URLs, e-mail addresses, telephone numbers."""
_HOST_NAME = re.compile(_CONTACT.pattern + r"|\b[a-zA-Z][\w-]*\.\w|\b\d+\.\d+\.\d+\.\d+\b", re.ASCII)
"""The same, and bare host names and IP addresses: whether it refuses those, too, is not known."""
_STOP = "\nSTOP 36180"
_JOB_PARAMETERS = {
    "message",
    "receivers",
    "receiversDocumentUrl",
    "receiversSlotId",
    "charset",
    "class",
    "coding",
    "differedPeriod",
    "priority",
    "tag",
    "validityPeriod",
    "sender",
    "senderForResponse",
    "noStopClause",
}


def _at(text: str) -> float:
    try:
        return datetime.fromisoformat(text.replace(" ", "+")).timestamp()
    except ValueError:
        raise bad_request(f"[creationDatetime] {text} is not a date") from None


@dataclass
class Emulation:
    """An account. Its attributes may be changed while it is in use; *clock* gives seconds since 1970."""

    clock: Callable[[], float] = time.time
    service_name: str = "sms-emu12345-1"
    credentials: Credentials = field(default_factory=Credentials)
    rules: list[tuple[str, str]] = field(default_factory=lambda: [("*", "/*")])
    is_valid_credential: bool = True
    clock_offset: float = 0.0
    """Seconds that OVHcloud's clock is ahead of *clock*."""
    credits: float = 1000.0
    status: str = "enable"
    senders: dict[str, str] = field(
        default_factory=lambda: {"NOTIFIER": "enable", "ACMEOPS": "enable", "ACME": "enable"}
    )
    virtual_numbers: set[str] = field(default_factory=lambda: {"+33639980099"})
    keeps_in: frozenset[str] = frozenset({"account", "number"})
    """Which lists hold the traffic of a virtual number: the account's, the number's own, or both."""
    invalid_numbers: set[str] = field(default_factory=set)
    prices: dict[str, float] = field(default_factory=dict)
    """The price of a part to a number, in credits; one if it is not here."""
    phones_off: set[str] = field(default_factory=set)
    receipts: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Receipts for messages to a number, as (deliveryReceipt, ptt); delivered if it is not here."""
    refuses_host_names: bool = False
    """Whether a host name counts as contact information, which a short number may not send."""
    delivery_delay: float = 0.0
    listing_delay: float = 0.0
    """Seconds until an accepted job shows in lists."""
    settings: dict[str, Any] = field(default_factory=dict)
    accepted: list[Sms] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    telephony: Telephony = field(init=False)
    _ids: itertools.count[int] = field(default_factory=lambda: itertools.count(100_000_001))
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        """Add the line that makes phone calls."""
        self.telephony = Telephony(lambda: self.clock())  # noqa: PLW0108 (tests replace it)

    # who calls

    def server_time(self) -> float:
        """Return the time of OVHcloud's clock."""
        return self.clock() + self.clock_offset

    def authenticate(self, headers: Mapping[str, str], method: str, url: str, path: str, body: str) -> None:
        """Check signature, clock and rights; raise `Refusal`."""
        bearer = headers.get("Authorization", "")
        if bearer.startswith("Bearer "):
            if bearer.removeprefix("Bearer ") not in self.tokens:
                raise Refusal(401, "Client::Unauthorized", "Invalid token", "INVALID_TOKEN")
            return
        keys = self.credentials
        if headers.get("X-Ovh-Application") != keys.application_key:
            raise Refusal(403, "Client::Forbidden", "Invalid application key", "INVALID_KEY")
        if not headers.get("X-Ovh-Consumer"):
            raise Refusal(403, "Client::Forbidden", "You must login first", "NOT_CREDENTIAL")
        if headers["X-Ovh-Consumer"] != keys.consumer_key or not self.is_valid_credential:
            raise Refusal(403, "Client::Forbidden", "This credential is not valid", "INVALID_CREDENTIAL")
        stamp = headers.get("X-Ovh-Timestamp", "")
        if not stamp.isdecimal() or abs(int(stamp) - self.server_time()) > _CLOCK_TOLERANCE:
            raise Refusal(400, "Client::BadRequest", "Query out of time", "QUERY_TIME_OUT")
        signed = "+".join((keys.application_secret, keys.consumer_key, method, url, body, stamp))
        signature = "$1$" + hashlib.sha1(signed.encode()).hexdigest()  # noqa: S324 (as OVHcloud does)
        if not secrets.compare_digest(headers.get("X-Ovh-Signature", ""), signature):
            raise Refusal(400, "Client::BadRequest", "Invalid signature", "INVALID_SIGNATURE")
        for verb, pattern in self.rules:
            if verb in (method, "*") and fnmatch.fnmatchcase(path, pattern):
                return
        raise Refusal(403, "Client::Forbidden", "This call has not been granted", "NOT_GRANTED_CALL")

    def issue_token(self, client_id: str, client_secret: str) -> dict[str, Any]:
        """Return an OAuth2 token for the application's key and secret."""
        keys = self.credentials
        if (client_id, client_secret) != (keys.application_key, keys.application_secret):
            raise Refusal(401, "Client::Unauthorized", "invalid_client")
        token = secrets.token_urlsafe(16)
        self.tokens.add(token)
        return {"access_token": token, "token_type": "Bearer", "expires_in": 3600, "scope": "all"}

    def request_credential(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Grant the rules asked for, under the consumer key of the credentials."""
        self.rules = [(rule["method"], rule["path"]) for rule in body.get("accessRules", [])]
        self.allowed_ips = list(body.get("allowedIPs") or [])
        return {
            "consumerKey": self.credentials.consumer_key,
            "validationUrl": "https://eu.api.ovh.com/auth/?credentialToken=emulator",
            "state": "pendingValidation",
        }

    # sending

    def send(self, body: Mapping[str, Any], virtual_number: str | None = None) -> dict[str, Any]:
        """Take a job, as ``POST /sms/{serviceName}/jobs`` does."""
        known = _JOB_PARAMETERS - (
            {"sender", "senderForResponse", "noStopClause"} if virtual_number else set()
        )
        for name in body:
            if name not in known:
                raise bad_request(f"[{name}] Given parameter is not known")
        with self._lock:
            if self.status != "enable":
                raise Refusal(403, "Client::Forbidden", "This service is disabled", "FORBIDDEN")
            if virtual_number is not None and virtual_number not in self.virtual_numbers:
                raise not_found()
            sender = virtual_number or self._sender(body)
            return self._accept(body, sender, is_short=bool(body.get("senderForResponse")))

    def _sender(self, body: Mapping[str, Any]) -> str:
        sender = body.get("sender")
        if body.get("senderForResponse"):
            if sender:
                raise bad_request("[sender] sender and senderForResponse exclude each other")
            return "38180"
        if not isinstance(sender, str) or self.senders.get(sender) != "enable":
            raise bad_request(f"[sender] Sender {sender} is not valid")
        return sender

    def _accept(self, body: Mapping[str, Any], sender: str, *, is_short: bool) -> dict[str, Any]:
        message, receivers = body.get("message"), body.get("receivers")
        if not isinstance(message, str) or not message:
            raise bad_request("[message] Missing parameter")
        if not isinstance(receivers, list) or not receivers:
            raise bad_request("[receivers] Missing parameter")
        if len(str(body.get("tag") or "")) > 20:
            raise bad_request("[tag] is longer than 20 characters")
        contacts = _HOST_NAME if self.refuses_host_names else _CONTACT
        if is_short and contacts.search(message):
            raise bad_request("cannot send contact information with shortcode")
        if not body.get("noStopClause") and sender in self.senders:
            message += _STOP
        parts = measure(message).parts
        if parts > MAX_PARTS:
            raise bad_request(f"[message] takes {parts} parts; {MAX_PARTS} is the most")
        numbers = [f"+{r[2:]}" if str(r).startswith("00") else str(r) for r in receivers]
        valid = [n for n in numbers if _E164.fullmatch(n) and n not in self.invalid_numbers]
        costs = [parts * self.prices.get(number, 1.0) for number in valid]
        cost = sum(costs)
        if cost > self.credits:
            raise Refusal(403, "Client::Forbidden", "Not enough credits on this account", "FORBIDDEN")
        self.credits -= cost
        now = self.clock()
        for number, credits_ in zip(valid, costs, strict=True):
            sms = Sms(
                next(self._ids), number, message, sender, body.get("tag"), parts, credits_, now,
                now + self.listing_delay,
            )  # fmt: skip
            self.accepted.append(sms)
        return {
            "ids": [sms.id for sms in self.accepted[-len(valid) :]] if valid else [],
            "validReceivers": valid,
            "invalidReceivers": [n for n in numbers if n not in valid],
            "totalCreditsRemoved": cost,
            "creditsLeft": self.credits,
            "tag": body.get("tag"),
        }

    def estimate(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return the estimate for a message, as ``POST /sms/estimate`` does."""
        message = str(body.get("message", ""))
        if not body.get("noStopClause") and body.get("senderType", "alpha") == "alpha":
            message += _STOP
        size = measure(message)
        return {
            "characters": size.length,
            "charactersClass": str(size.coding),
            "maxCharactersPerPart": size.part_length,
            "parts": size.parts,
        }

    # following up

    def settle(self) -> list[Sms]:
        """Deliver the messages that are due; return those whose receipt has not been called back."""
        ended = []
        with self._lock:
            now = self.clock()
            for sms in self.accepted:
                if sms.delivery_receipt in (0, 4, 8) and now >= sms.accepted_at + self.delivery_delay:
                    if sms.receiver in self.phones_off:
                        sms.delivery_receipt, sms.ptt = 8, 24
                        continue
                    sms.delivery_receipt, sms.ptt = self.receipts.get(sms.receiver, (1, 4))
                    sms.delivered_at = now if sms.delivery_receipt == 1 else None
                if sms.delivery_receipt in (1, 2, 16) and not sms.is_called_back:
                    sms.is_called_back = True
                    ended.append(sms)
        return ended

    def holds(self, sender: str | None, number: str | None) -> bool:
        """Return whether the lists of *number* (None for the account) hold the traffic of *sender*."""
        if sender in self.virtual_numbers:
            return number in (None, sender) and ("account" if number is None else "number") in self.keeps_in
        return number is None

    def outgoing(self, query: Mapping[str, str], number: str | None = None) -> list[int]:
        """Return the ids of the history, the account's or that of a virtual *number*, that *query* selects."""
        known = {"tag", "receiver", "sender", "deliveryReceipt", "ptt"}
        dates = {"creationDatetime.from", "creationDatetime.to"}
        for name in query:
            if name not in known | dates:
                raise bad_request(f"[{name}] Given parameter is not known")
        self.settle()
        now = self.clock()
        return [
            sms.id
            for sms in list(self.accepted)
            if sms.listed_at <= now
            and self.holds(sms.sender, number)
            and all(str(sms.json()[name]) == query[name] for name in known & set(query))
            and _within(sms.accepted_at, query)
        ]

    def sms(self, id_: int, number: str | None = None) -> dict[str, Any]:
        """Return one message of the history."""
        self.settle()
        for sms in list(self.accepted):
            if sms.id == id_ and sms.listed_at <= self.clock() and self.holds(sms.sender, number):
                return sms.json()
        raise not_found()

    def pending(self, number: str | None = None) -> list[int]:
        """Return the ids of the pending jobs."""
        self.settle()
        now = self.clock()
        return [
            sms.id
            for sms in list(self.accepted)
            if sms.delivery_receipt in (0, 4, 8) and sms.listed_at <= now and self.holds(sms.sender, number)
        ]

    def job(self, id_: int, number: str | None = None) -> dict[str, Any]:
        """Return one pending job."""
        if id_ not in self.pending(number):
            raise not_found()
        return self.sms(id_, number)

    # replies

    def reply(self, phone: str, text: str) -> Reply:
        """Let the owner of *phone* reply to the last message it got."""
        with self._lock:
            last = next((sms for sms in reversed(self.accepted) if sms.receiver == phone), None)
            to = (last.sender if last else None) or ""
            reply = Reply(next(self._ids), phone, text, last.tag if last else None, self.clock(), to)
            self.replies.append(reply)
            self.credits -= 1
            if text.strip().upper() == "STOP":
                self.invalid_numbers.add(phone)
        return reply

    def incoming(self, query: Mapping[str, str], number: str | None = None) -> list[int]:
        """Return the ids of the replies that *query* selects."""
        return [
            reply.id
            for reply in list(self.replies)
            if all(query.get(name, value) == value for name, value in (("sender", reply.sender),))
            and query.get("tag", reply.tag) == reply.tag
            and self.holds(reply.to, number)
            and _within(reply.at, query)
        ]

    def incoming_reply(self, id_: int, number: str | None = None) -> dict[str, Any]:
        """Return one reply."""
        for reply in list(self.replies):
            if reply.id == id_ and self.holds(reply.to, number):
                return reply.json()
        raise not_found()

    # the account

    def account(self) -> dict[str, Any]:
        """Return the account, as ``GET /sms/{serviceName}`` does."""
        return {
            "name": self.service_name,
            "status": self.status,
            "creditsLeft": self.credits,
            "callBack": self.settings.get("callBack"),
            "smsResponse": self.settings.get("smsResponse"),
        }

    def change(self, body: Mapping[str, Any]) -> None:
        """Change the account's settings, as ``PUT /sms/{serviceName}`` does."""
        for name in body:
            if name not in ("callBack", "smsResponse", "description", "creditThresholdForAutomaticRecredit"):
                raise bad_request(f"[{name}] Given parameter is not known")
        self.settings.update(body)

    def sender(self, name: str) -> dict[str, Any]:
        """Return one sender."""
        if name not in self.senders:
            raise not_found()
        return {"sender": name, "status": self.senders[name], "type": "alpha", "description": ""}

    def ptt(self, query: Mapping[str, str]) -> dict[str, Any]:
        """Describe a code, as ``GET /sms/ptts`` does."""
        code = query.get("ptt", "")
        if not code.isdecimal() or int(code) not in REASONS:
            raise not_found()
        return {"code": int(code), "comment": REASONS[int(code)], "description": REASONS[int(code)]}


def _within(instant: float, query: Mapping[str, str]) -> bool:
    begins, ends = query.get("creationDatetime.from"), query.get("creationDatetime.to")
    return (begins is None or instant >= _at(begins)) and (ends is None or instant <= _at(ends))
