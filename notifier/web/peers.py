"""The address by which callers are counted."""

from __future__ import annotations

import ipaddress


def peer_of(address: str) -> str:
    """Return the key for limits per client: the IPv4 address, or the /64 network of an IPv6 address.

    A /64 is the smallest network that a customer is given (RFC 6177). An IPv4 address in IPv6 form is that address.
    Anything else is returned unchanged.
    """
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.IPv6Network((parsed, 64), strict=False))
    return str(parsed)
