"""Points at which a test has the process killed, to show that nothing is lost between any two writes.

The environment variable ``NOTIFIER_FAULT_POINT`` names one: ``after-commit:3`` kills the process the third time it gets
there. Nobody else sets it, and without it a point costs nothing worth measuring.
"""

from __future__ import annotations

import os
import signal
from functools import cache

VARIABLE = "NOTIFIER_FAULT_POINT"

_reached = 0


@cache
def _wanted() -> tuple[str, int] | None:
    name, _, count = os.environ.get(VARIABLE, "").partition(":")
    return (name, int(count or 1)) if name else None


def reach(name: str) -> None:
    """Kill the process by SIGKILL if this is the point that is wanted."""
    global _reached  # noqa: PLW0603 (one count for the process)
    wanted = _wanted()
    if wanted is None or wanted[0] != name:
        return
    _reached += 1
    if _reached == wanted[1]:
        os.kill(os.getpid(), signal.SIGKILL)
