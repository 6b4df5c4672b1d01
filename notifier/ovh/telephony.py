"""Phone calls by a VoIP line at OVHcloud.

Source: OVHcloud's API schema for ``/telephony``. It was never tried with a real account.
"""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import quote

from pydantic import TypeAdapter

from notifier.config.ovh import TelephonySettings
from notifier.ovh.client import OvhClient
from notifier.ovh.errors import CallFailed
from notifier.ovh.models import AutomaticCall

_ROUTE = "/telephony/{billingAccount}/line/{serviceName}/automaticCall"


class Line:
    """A line of an account. Each of its calls raises `CallFailed`."""

    def __init__(self, api: OvhClient, settings: TelephonySettings) -> None:
        """Call by *api*."""
        self.api = api
        self._number = settings.line
        self._path = (
            f"/telephony/{quote(settings.billing_account, safe='')}/line/{settings.line}/automaticCall"
        )

    def call(self, phone: str, text: str, ring: timedelta) -> str:
        """Have OVHcloud call *phone* (E.164) and read *text*; return the identifier of the call.

        The phone rings for as long as *ring*.
        """
        parameters = {
            "calledNumber": "00" + phone.removeprefix("+"),
            "callingNumber": self._number,
            "dialplan": "ReadText",
            "isAnonymous": False,
            "timeout": int(ring.total_seconds()),
            "ttsTextDialplan": text,
        }
        return self.api.call(
            "POST",
            _ROUTE,
            self._path,
            lambda answer, _: str(TypeAdapter(int | str).validate_python(answer)),
            parameters,
        )

    def try_right_to_call(self) -> None:
        """Raise `CallFailed` where the credentials may not call: posts a call without a number, which calls nobody."""
        try:
            self.api.call("POST", _ROUTE, self._path, lambda answer, _: answer, {})
        except CallFailed as error:
            if error.failure.status != 400 or error.failure.code == "QUERY_TIME_OUT":
                raise

    def get(self, identifier: str) -> AutomaticCall:
        """Return what has become known of a phone call."""
        path = f"{self._path}/{quote(identifier, safe='')}"
        return self.api.call(
            "GET", _ROUTE + "/{identifier}", path, lambda answer, _: AutomaticCall.model_validate(answer)
        )

    def identifiers(self) -> list[str]:
        """Return the identifiers of the phone calls that the line has made."""
        return self.api.call(
            "GET", _ROUTE, self._path, lambda answer, _: TypeAdapter(list[str]).validate_python(answer)
        )


def line_of(api: OvhClient) -> Line | None:
    """Return the line of an account; None if it has none."""
    return None if api.settings.telephony is None else Line(api, api.settings.telephony)
