"""Asking a running service over its API, for the commands."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests

from notifier.cli.options import fail

DEFAULT_URL = "http://127.0.0.1:9876"
_TIMEOUT = (5.0, 30.0)
_PAGE = 200


class Client:
    """A running service, at a URL that may contain a user and a password.

    If it cannot be reached or refuses, the command ends with the reason and what to do.
    """

    def __init__(self, url: str, token_file: Path | None = None) -> None:
        """Prepare to ask the service at *url*, with the token in *token_file* if there is one."""
        self._url = url.rstrip("/")
        self._shown = re.sub(r"(?<=//)[^/@]*@", "", self._url)
        self._has_credentials = token_file is not None or self._shown != self._url
        self._session = requests.Session()
        if token_file is not None:
            try:
                token = token_file.read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                fail(f"{token_file} cannot be read: {error}")
            self._session.headers["Authorization"] = f"Bearer {token}"

    def items(self, of: str, states: tuple[str, ...]) -> Iterator[dict[str, Any]]:
        """Yield the items *of* a list, incidents or messages, in any of *states* (all without), newest first."""
        cursor: str | None = None
        while True:
            query = {"state": states, "limit": _PAGE, **({"cursor": cursor} if cursor else {})}
            answer = self._ask("GET", f"/api/v1/{of}", params=query)
            yield from answer["items"]
            cursor = answer["next"]
            if cursor is None:
                return

    def message(self, id_: str) -> dict[str, Any]:
        """Return one message, with its timeline."""
        return self._ask("GET", f"/api/v1/messages/{quote(id_, safe='')}")

    def act(self, incident: str, action: str, by: str | None, **values: Any) -> dict[str, Any]:
        """Do *action* on an incident, by its number or id, for *by* or the authenticated user; return it."""
        body = values if by is None else {"by": by, **values}
        return self._ask("POST", f"/api/v1/incidents/{quote(incident, safe='')}/{action}", json=body)

    def _ask(self, method: str, path: str, **how: Any) -> dict[str, Any]:
        try:
            answer = self._session.request(method, self._url + path, timeout=_TIMEOUT, **how)
        except requests.RequestException as error:
            if isinstance(error, requests.exceptions.InvalidSchema | requests.exceptions.MissingSchema):
                fail(f"{self._shown} is no URL; write http://{self._shown}")
            reason = type(error).__name__
            fail(
                f"{self._shown} cannot be reached ({reason}); is notifier serve running, and is --url its address?"
            )
        if answer.status_code == 401:
            given = "refuses the credentials given" if self._has_credentials else "wants credentials"
            fail(
                f"{self._shown} {given}; give a token of web.tokens by --token-file, or --url http://USER:PASSWORD@…"
            )
        try:
            value = answer.json()
        except ValueError:
            value = None
        if not isinstance(value, Mapping) or (not answer.ok and "error" not in value):
            fail(f"{self._shown}{path} answers {answer.status_code}, but it is not Notifier; check --url")
        if not answer.ok:
            fail(str(value["error"]))
        return dict(value)
