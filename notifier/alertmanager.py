"""Alertmanager's webhook, version 4, as typed models.

Source: ``Message`` of prometheus/alertmanager ``notify/webhook`` and ``Data`` of its ``template``.
Fields of later versions and of Grafana and Mimir are let through unread. A webhook is refused only when
it cannot page anybody: Alertmanager does not retry after a 400, so what is refused is lost.
"""

from __future__ import annotations

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
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from notifier.clock import clamp

Status = Literal["firing", "resolved"]
Instant = Annotated[datetime, AfterValidator(clamp)]
"""A date from JSON. Any date is accepted: Alertmanager passes on whatever a client of its API has sent."""


class WebhookError(ValueError):
    """A body is no webhook; the message names the field and what is wrong with it."""


class _Model(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="ignore", coerce_numbers_to_str=True, hide_input_in_errors=True
    )


# -- what a webhook must have -----------------------------------------------------------------------------


class AlertKey(_Model):
    """What an alert must have: enough to route it and to tell it from others."""

    status: Status
    labels: dict[str, str]
    starts_at: Instant = Field(alias="startsAt")
    fingerprint: str = ""


class Envelope(_Model):
    """What a webhook must have. Reading no more than that is all there is time for in a storm."""

    receiver: str
    status: Status
    alerts: tuple[AlertKey, ...]
    group_key: str = Field(default="", alias="groupKey")


# -- all of it --------------------------------------------------------------------------------------------


def _or_default(default: Any) -> Any:
    """Return what makes a field that is not as it should be count as if it was left out."""

    def validate(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(value)
        except ValidationError:
            return default

    return WrapValidator(validate)


Pairs = Annotated[dict[str, str], _or_default({})]
LenientText = Annotated[str, _or_default("")]


class Alert(AlertKey):
    """One alert of the group. While it fires, Alertmanager sends the year 1 as *ends_at*: that is `EARLIEST`."""

    annotations: Pairs = Field(default_factory=dict)
    ends_at: Annotated[Instant | None, _or_default(None)] = Field(default=None, alias="endsAt")
    generator_url: LenientText = Field(default="", alias="generatorURL")


class Webhook(_Model):
    """What Alertmanager says of one group for one of its receivers; whatever is an `Envelope` is one."""

    receiver: str
    status: Status
    alerts: tuple[Alert, ...]
    group_key: str = Field(default="", alias="groupKey")
    group_labels: Pairs = Field(default_factory=dict, alias="groupLabels")
    common_labels: Pairs = Field(default_factory=dict, alias="commonLabels")
    common_annotations: Pairs = Field(default_factory=dict, alias="commonAnnotations")
    external_url: LenientText = Field(default="", alias="externalURL")
    version: LenientText = "4"
    truncated_alerts: Annotated[int, Field(ge=0), _or_default(0)] = Field(default=0, alias="truncatedAlerts")
    notification_reason: LenientText = ""
    route_labels: Pairs = Field(default_factory=dict, alias="routeLabels")


M = TypeVar("M", bound=BaseModel)


def parse_envelope(body: bytes) -> Envelope:
    """Read what a webhook must have from the JSON in *body*.

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
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        field = ".".join(map(str, first["loc"]))
        others = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        where = f"{field}: " if field else ""
        raise WebhookError(f"not a webhook of Alertmanager: {where}{first['msg']}{others}") from None


def identity(webhook: Envelope | Webhook, posted_to: str | None = None) -> bytes:
    """Return the digest under which a repetition of *webhook* is recognised.

    Two webhooks are the same when they have the same receiver, group key and set of (fingerprint,
    status, startsAt) and were posted for the same receiver (*posted_to*, of ``POST /alert/{receiver}``).
    """
    alerts = [
        f"{alert.fingerprint or fingerprint(alert.labels)} {alert.status} {alert.starts_at.isoformat()}"
        for alert in webhook.alerts
    ]
    alerts.sort()
    text = "\0".join((posted_to or "", webhook.receiver, webhook.group_key, *alerts))
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def group_hash(webhook: Envelope | Webhook) -> int:
    """Return 64 signed bits that webhooks of the same group have in common."""
    digest = hashlib.blake2b(webhook.group_key.encode("utf-8", "replace"), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)


def fingerprint(labels: Mapping[str, str]) -> str:
    """Return what stands in for the fingerprint where a sender leaves it out."""
    return hashlib.blake2b(json.dumps(sorted(labels.items())).encode(), digest_size=8).hexdigest()
