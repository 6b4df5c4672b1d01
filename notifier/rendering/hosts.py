"""Host names as people read them: short, with common parts written once."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from itertools import groupby


def short_host(host: str) -> str:
    """Return the first label of a host name, without domain and port; addresses keep all but the port.

    ``db-1.gra1.example.net:9100`` is ``db-1``, ``10.0.0.1:9100`` is ``10.0.0.1``, ``[::1]:80`` is
    ``::1``, ``https://shop.example.net/cart`` is ``shop.example.net``.
    """
    if match := re.match(r"[a-z][a-z0-9+.-]*://(?:[^/@\s]*@)?([^/:\s]+)", host):
        return match[1]
    if match := re.fullmatch(r"\[([0-9a-fA-F:.]+)\](?::\d+)?", host):
        return match[1]
    name = re.sub(r":\d+$", "", host) if host.count(":") == 1 else host
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name.split(".", 1)[0] if re.fullmatch(r"[\w.-]+", name) else name


def join_hosts(hosts: Iterable[str]) -> str:
    """Return *hosts* as one list with common parts written once: ``db-1,2,3``, ``web-a1, mail``.

    Neighbours that differ only in the digits at their end share what stands before; each host is listed once.
    """

    def stem(host: str) -> str:
        return host.rstrip("0123456789")

    shared = []
    for prefix, group in groupby(dict.fromkeys(host for host in hosts if host), key=stem):
        members = list(group)
        tails = [member[len(prefix) :] for member in members]
        if len(members) == 1 or len(prefix) < 2 or not all(tails):
            shared += members
        else:
            shared.append(prefix + ",".join(sorted(tails, key=int)))
    return ", ".join(shared)
