"""The faults that the emulator can be given."""

from __future__ import annotations

import threading
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field


class FaultKind(StrEnum):
    """The kinds of faults."""

    ERROR = "error"
    """It is answered with a status and OVHcloud's error object, and not carried out."""
    HTML = "html"
    """It is answered with a status and a page, as a proxy does, and not carried out."""
    GARBAGE = "garbage"
    """It is carried out, and answered 200 with something that is no JSON."""
    RESET_BEFORE = "reset-before"
    """The connection is reset before anything is done."""
    RESET_AFTER = "reset-after"
    """It is carried out, and the connection reset before the answer."""
    HANG_BEFORE = "hang-before"
    """The request is not carried out; the connection is closed without an answer after a while."""
    HANG_AFTER = "hang-after"
    """The request is carried out; the connection is closed without an answer after a while."""


class Fault(BaseModel):
    """A failure that befalls requests of a *method* whose path ends in *path*, *times* times or always."""

    model_config = ConfigDict(extra="forbid")

    kind: FaultKind
    method: str = "POST"
    path: str = "/jobs"
    times: int | None = Field(default=1, ge=1)
    status: int = 500
    error_class: str = "Server::InternalServerError"
    error_code: str | None = None
    message: str = "Internal server error"
    headers: dict[str, str] = Field(default_factory=dict)
    seconds: float = 30.0

    def befalls(self, method: str, path: str) -> bool:
        """Whether a request is one of those it takes hold of."""
        return self.method in (method, "*") and path.endswith(self.path)


class Faults:
    """The faults to come, oldest first; safe to change while the emulator runs."""

    def __init__(self) -> None:
        """Begin without any."""
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> None:
        """Let *fault* befall the requests to come."""
        with self._lock:
            self._faults.append(fault)

    def clear(self) -> None:
        """Fail no more."""
        with self._lock:
            self._faults.clear()

    def armed(self) -> list[Fault]:
        """Return the faults to come, oldest first."""
        with self._lock:
            return [fault.model_copy() for fault in self._faults]

    def take(self, method: str, path: str) -> Fault | None:
        """Return the fault that befalls this request, if any."""
        with self._lock:
            for fault in self._faults:
                if fault.befalls(method, path):
                    if fault.times is not None:
                        fault.times -= 1
                        if fault.times == 0:
                            self._faults.remove(fault)
                    return fault
        return None
