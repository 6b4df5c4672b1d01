"""The protocol of systemd for a service of ``Type=notify``: ready, reloading, stopping, alive.

Source: sd_notify(3) and sd_watchdog_enabled(3). Nothing is sent if systemd did not start the process.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time

_PATIENCE = 1.0
"""Seconds to wait for a systemd that does not read: webhooks are not answered meanwhile."""


def notify(*lines: str) -> None:
    """Send systemd *lines* such as ``READY=1``; do nothing without systemd, or if it does not read them."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as to,
    ):
        to.settimeout(_PATIENCE)
        to.sendto("\n".join(lines).encode(), address)


def reloading() -> None:
    """Notify systemd that a reload begins; `notify` ``READY=1`` when it ends."""
    notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")


def watchdog_interval() -> float | None:
    """Return after how many seconds to show that the process lives; None without a watchdog."""
    wanted = os.environ.get("WATCHDOG_USEC", "")
    owner = os.environ.get("WATCHDOG_PID", str(os.getpid()))
    if not wanted.isdecimal() or int(wanted) == 0 or owner != str(os.getpid()):
        return None
    return int(wanted) / 2_000_000
