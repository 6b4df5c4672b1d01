"""The rights that Notifier needs: for a consumer key, and as a policy for IAM."""

from __future__ import annotations

from typing import Any

from notifier.config.ovh import Ovh


def rights(settings: Ovh) -> list[tuple[str, str]]:
    """Return the rights that a consumer key needs, as (method, path)."""
    needed = [("GET", "/sms"), ("GET", "/sms/*"), ("POST", "/sms/*/jobs")]
    if settings.virtual_number:
        needed.append(("POST", "/sms/*/virtualNumbers/*/jobs"))
    if settings.telephony is not None:
        of_line = "/telephony/*/line/*/automaticCall"
        needed += [("GET", of_line), ("GET", of_line + "/*"), ("POST", of_line)]
    return needed


def policy(settings: Ovh, service_name: str | None) -> dict[str, Any]:
    """Return the IAM policy that a service account (OAuth2) needs, in the form of ``POST /v2/iam/policy``.

    Source: the actions of OVHcloud's IAM for ``sms``. What only the operator knows is in capitals.
    """
    actions = ["get", "jobs/create", "jobs/get", "outgoing/get", "incoming/get", "senders/get"]
    if settings.virtual_number:
        of_number = ("jobs/create", "jobs/get", "outgoing/get", "incoming/get")
        actions += [f"virtualNumbers/{action}" for action in of_number]
    resources = [{"urn": f"urn:v1:eu:resource:sms:{service_name or 'SERVICE_NAME'}"}]
    allowed = [{"action": f"sms:apiovh:{action}"} for action in actions]
    if settings.telephony is not None:  # by the pattern of the others; not verified
        resources.append({"urn": f"urn:v1:eu:resource:telephony:{settings.telephony.billing_account}"})
        allowed += [
            {"action": f"telephony:apiovh:line/automaticCall/{action}"} for action in ("get", "create")
        ]
    client = settings.client_id or "CLIENT_ID"
    return {
        "name": "notifier",
        "description": "What Notifier needs to send SMS and follow them",
        "identities": [f"urn:v1:eu:identity:credential:NIC_HANDLE/oauth2-{client}"],
        "resources": resources,
        "permissions": {"allow": allowed},
    }
