"""Checks of where a request comes from: the page that sends it, and the host name by which it came (DNS rebinding)."""

from __future__ import annotations

import ipaddress

from starlette.requests import Request
from starlette.types import Scope


def has_nul(request: Request) -> bool:
    """Whether the path or the query holds NUL, which no name holds and PostgreSQL cannot search for."""
    return "\0" in request.url.path or "%00" in request.url.query


def is_from_a_page(scope: Scope) -> bool:
    """Return whether the request names the page that it comes from, as every browser does that posts a form."""
    return any(name in (b"sec-fetch-site", b"origin") for name, _ in scope["headers"])


FOREIGN = (
    "a page of another site may not do that; if there is a proxy before Notifier, have it forward the header Host, or "
    "set global.external_url"
)


NO_PAGE = (
    "a form must come from a page of Notifier, which browsers show by the header Origin or Sec-Fetch-Site; "
    "programs use the API"
)


def is_foreign(scope: Scope, own: str | None = None) -> bool:
    """Whether a browser sends the request for a page of another site (cross-site request forgery).

    *own* is the host by which people reach this service, if a proxy does not pass that on.

    Source: Fetch Metadata Request Headers (W3C), and ``Origin`` for browsers that send none.
    """
    headers = dict(scope["headers"])
    site = headers.get(b"sec-fetch-site")
    if site is not None:
        return site not in (b"same-origin", b"none")
    origin = headers.get(b"origin")
    if origin is None:
        return False
    scheme, _, host = origin.partition(b"://")
    known = {headers.get(b"host", b""), (own or "").encode()}
    return _bare(host, scheme) not in {_bare(one, scheme) for one in known if one}


STRANGE = "Notifier does not know this host name; if people reach it by that name, set global.external_url"


def is_ours(scope: Scope, own: str | None = None) -> bool:
    """Return whether the host of a request cannot be a name that somebody else moved here (DNS rebinding).

    Such are addresses, ``localhost``, names without a dot, and *own*, the host of `external_url`.
    """
    name = _name(dict(scope["headers"]).get(b"host", b"").decode("latin-1"))
    if name == _name(own or "") or "." not in name or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _name(host: str) -> str:
    """Return the name or address in *host*, without its port."""
    host = host.lower()
    name = host.rpartition("]")[0].removeprefix("[") if host.startswith("[") else host.partition(":")[0]
    return name.removesuffix(".")


def _bare(host: bytes, scheme: bytes) -> bytes:
    """Return *host* without the port that *scheme* has anyway."""
    return host.lower().removesuffix(b":443" if scheme == b"https" else b":80")
