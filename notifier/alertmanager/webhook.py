"""Alertmanager's webhook, version 4, as typed models.

Source: ``Message`` of prometheus/alertmanager ``notify/webhook`` and ``Data`` of its ``template``.
Fields of later versions and of Grafana and Mimir are let through unread. A webhook is refused only when
it cannot page anybody: Alertmanager does not retry after a 400, so a refused webhook is lost.
"""

from __future__ import annotations

import codecs
import contextlib
import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from notifier.clock import EARLIEST, clamp

Status = Literal["firing", "resolved"]
Instant = Annotated[datetime, AfterValidator(clamp)]
"""A date from JSON. Any date is accepted: Alertmanager passes on whatever a client of its API has sent."""


class WebhookError(ValueError):
    """A body is no webhook; the message names the field and the error."""


class _Model(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="ignore", coerce_numbers_to_str=True, hide_input_in_errors=True
    )


def _or_default(default: Any) -> Any:
    """Return a validator that treats an invalid value as if the field was left out."""

    def validate(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(value)
        except ValidationError:
            return default

    return WrapValidator(validate)


Pairs = Annotated[dict[str, str], _or_default({})]
LenientText = Annotated[str, _or_default("")]
Count = Annotated[int, Field(ge=0), _or_default(0)]


# -- what a webhook must have -----------------------------------------------------------------------------


class AlertKey(_Model):
    """The keys that an alert must have, to be routed and identified."""

    status: Status
    labels: dict[str, str]
    starts_at: Instant = Field(alias="startsAt")
    fingerprint: str = ""


class Envelope(_Model):
    """The fields that a webhook must have. Reading no more than that is all there is time for in a storm."""

    receiver: str
    status: Status
    alerts: tuple[AlertKey, ...] = Field(min_length=1)
    group_key: str = Field(default="", alias="groupKey")
    group_labels: Pairs = Field(default_factory=dict, alias="groupLabels")
    truncated_alerts: Count = Field(default=0, alias="truncatedAlerts")


# -- all of it --------------------------------------------------------------------------------------------


class Alert(AlertKey):
    """One alert of the group. While it fires, Alertmanager sends the year 1 as *ends_at*: that is `EARLIEST`."""

    annotations: Pairs = Field(default_factory=dict)
    ends_at: Annotated[Instant | None, _or_default(None)] = Field(default=None, alias="endsAt")
    generator_url: LenientText = Field(default="", alias="generatorURL")


class Webhook(Envelope):
    """Alertmanager's alerts of one group for one of its receivers; whatever is an `Envelope` is one."""

    alerts: tuple[Alert, ...] = Field(min_length=1)
    common_labels: Pairs = Field(default_factory=dict, alias="commonLabels")
    common_annotations: Pairs = Field(default_factory=dict, alias="commonAnnotations")
    external_url: LenientText = Field(default="", alias="externalURL")
    version: LenientText = "4"
    notification_reason: LenientText = ""
    route_labels: Pairs = Field(default_factory=dict, alias="routeLabels")


M = TypeVar("M", bound=BaseModel)

_STATES = ("firing", "resolved")


def _repaired(body: bytes) -> dict[str, Any]:
    """Return the webhook in *body* with every field that a page needs, from the fields that are there.

    Alertmanager needs none of these repairs; scripts do, and a refused alert is lost.

    Raises:
        WebhookError: it is not JSON, or holds no alert.
    """
    try:
        # A BOM, bytes that are no UTF-8 and halves of surrogate pairs are no reason to lose a page.
        text = body.removeprefix(codecs.BOM_UTF8).decode("utf-8", "replace")
        found: Any = json.loads(text, strict=False)
        found = json.loads(json.dumps(found, ensure_ascii=False).encode("utf-8", "replace"))
    except (ValueError, RecursionError) as error:
        raise WebhookError(f"not a webhook of Alertmanager: not JSON: {error}") from None
    if not isinstance(found, dict):
        raise WebhookError("not a webhook of Alertmanager: it is no JSON object")
    given = found.get("alerts")
    alerts = [alert for alert in given if isinstance(alert, dict)] if isinstance(given, list) else []
    if not alerts:
        raise WebhookError("not a webhook of Alertmanager: alerts: it holds no alert")
    state = _state(found.get("status"))
    found["alerts"] = [_repaired_alert(alert, state) for alert in alerts]
    states = {state, *(alert["status"] for alert in found["alerts"])}
    found["status"] = "firing" if "firing" in states else "resolved"
    for name in ("receiver", "groupKey"):
        found[name] = _text(found.get(name))
    for name in ("groupLabels", "commonLabels", "commonAnnotations"):
        found[name] = _texts(found.get(name))
    return found


def _repaired_alert(alert: Mapping[str, Any], state: str | None) -> dict[str, Any]:
    """Return *alert* with every field that a page needs; without a status it has that of the group, else it fires."""
    try:
        starts_at = _DATE.validate_python(alert.get("startsAt"))
    except ValidationError:
        starts_at = EARLIEST  # it is not known
    return {
        **alert,
        "status": _state(alert.get("status")) or state or "firing",
        "labels": _texts(alert.get("labels")),
        "annotations": _texts(alert.get("annotations")),
        "startsAt": starts_at,
        "fingerprint": _text(alert.get("fingerprint")),
    }


def _state(value: object) -> str | None:
    state = str(value).lower()
    return state if state in _STATES else None


def _texts(value: object) -> dict[str, str]:
    return {name: _text(text) for name, text in value.items()} if isinstance(value, dict) else {}


def _text(value: object) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False)


_DATE = TypeAdapter[datetime](Instant)

SCOPE_LENGTH = 8
"""The number of bytes of an identity that stand for group, receiver and address."""
RESERVED = "heartbeat/"
"""How the group keys of Notifier's own incidents begin; no webhook's does."""
_LONGEST_KEY = 500


def parse_envelope(body: bytes) -> Envelope:
    """Read the required fields of a webhook from the JSON in *body*.

    Raises:
        WebhookError: it is not JSON, or lacks what a page needs.
    """
    return _parse(Envelope, body)


def parse_webhook(body: bytes) -> Webhook:
    """Read all of the webhook in *body*; what is beyond the `Envelope` and malformed counts as left out.

    Raises:
        WebhookError: it is not JSON, or lacks what a page needs.
    """
    return _parse(Webhook, body)


def _parse(model: type[M], body: bytes) -> M:
    with contextlib.suppress(ValidationError):
        return model.model_validate_json(body)
    try:
        return model.model_validate(_repaired(body))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        field = ".".join(map(str, first["loc"]))
        others = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        where = f"{field}: " if field else ""
        raise WebhookError(f"not a webhook of Alertmanager: {where}{first['msg']}{others}") from None


def group_key(webhook: Envelope) -> str:
    """Return the key of the group of alerts of *webhook*.

    That is Alertmanager's, or a digest of it if it is very long or would pass for one of Notifier's own. A sender
    that leaves it out, as scripts do, has one derived: from the receiver and the group's labels, or where there are
    none from the fingerprints of the alerts, so that unrelated alerts do not share an incident.
    """
    key = webhook.group_key
    if not key:
        labels = sorted(webhook.group_labels.items())
        alerts = sorted(alert.fingerprint or fingerprint(alert.labels) for alert in webhook.alerts)
        return "derived/" + _hex(json.dumps([webhook.receiver, labels] if labels else alerts))
    return key if len(key) <= _LONGEST_KEY and not key.startswith(RESERVED) else _hex(key)


def identity(webhook: Envelope, posted_to: str | None = None) -> bytes:
    """Return the digest of *webhook* by which a repetition is recognised.

    It begins with `SCOPE_LENGTH` bytes that webhooks of the same group and receiver share, if they were posted for the
    same receiver (*posted_to*, of ``POST /alert/{receiver}``). The rest is a digest of the status, the number of
    alerts that were cut off, and the set of (fingerprint, status, startsAt).
    """
    alerts = [
        f"{alert.fingerprint or fingerprint(alert.labels)} {alert.status} {alert.starts_at.isoformat()}"
        for alert in webhook.alerts
    ]
    alerts.sort()
    scope = "\0".join((posted_to or "", webhook.receiver, group_key(webhook)))
    content = "\0".join((webhook.status, str(webhook.truncated_alerts), *alerts))
    return _digest(scope, SCOPE_LENGTH) + _digest(content, 16)


def group_hash(webhook: Envelope) -> int:
    """Return 64 signed bits that webhooks of the same group have in common."""
    return int.from_bytes(_digest(group_key(webhook), 8), signed=True)


def _digest(text: str, size: int) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=size).digest()


def _hex(text: str) -> str:
    return _digest(text, 16).hex()


def fingerprint(labels: Mapping[str, str]) -> str:
    """Return a substitute for a fingerprint that the sender leaves out."""
    return hashlib.blake2b(json.dumps(sorted(labels.items())).encode(), digest_size=8).hexdigest()
