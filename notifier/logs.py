"""Structured logs, as logfmt or JSON. Phone numbers are masked and secrets hidden."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterable
from enum import StrEnum
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from notifier.sms.phones import forms, mask, mask_all

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Characters that move the cursor, end a line or change the direction of text: texts of others must not forge a line.
"""


class LogFormat(StrEnum):
    """How a line is written."""

    LOGFMT = "logfmt"
    JSON = "json"


class LogLevel(StrEnum):
    """The least level that is written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Redaction:
    """The last step before a line is written: hides secrets and numbers wherever they turn up in it."""

    def __init__(self) -> None:
        """Begin without secrets."""
        self._secrets: tuple[str, ...] = ()
        self._numbers: dict[str, str] = {}

    def keep_secret(self, secrets: Iterable[str]) -> None:
        """Hide *secrets* from now on, in addition to those known before: a reload does not make one public."""
        known = {*self._secrets, *(secret for secret in secrets if len(secret) > 3)}
        self._secrets = tuple(sorted(known, key=len, reverse=True))

    def mask_numbers(self, numbers: Iterable[str]) -> None:
        """Mask *numbers* from now on in every form they are known to take; others are masked by their looks."""
        for number in numbers:
            for form in forms(number):
                if len(form) > 5:
                    self._numbers[form] = mask(form)

    def hide(self, text: str) -> str:
        """Return *text* without secrets and with masked numbers."""
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, "[secret]")
        for number, masked in self._numbers.items():
            if number in text:
                text = text.replace(number, masked)
        return mask_all(text)

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> EventDict:  # noqa: ARG002
        """Hide secrets and numbers in *event*; a processor of structlog."""
        return {key: self._hidden(value) for key, value in event.items()}

    def _hidden(self, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [self._hidden(item) for item in value]
        if isinstance(value, int | float | None):
            return value
        return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), self.hide(str(value)))


def _unlisted(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:  # noqa: ARG001
    for key, value in event.items():
        if isinstance(value, list):
            event[key] = ",".join(map(str, value))
    return event


def _complete(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:  # noqa: ARG001
    """Drop fields that are None, and write exceptions on one line."""
    kept = {key: value for key, value in event.items() if value is not None}
    if "exception" in kept:
        kept["exception"] = " | ".join(line.strip() for line in kept["exception"].splitlines())
    return kept


def configure_logging(
    format_: LogFormat = LogFormat.LOGFMT, level: LogLevel = LogLevel.INFO, stream: TextIO | None = None
) -> Redaction:
    """Write all logs, those of libraries too, to *stream* (standard error); return the `Redaction` that hides secrets
    and numbers in them.
    """
    redaction = Redaction()
    logging.raiseExceptions = False  # a log that cannot be written must not keep a page from going out
    number = logging.getLevelNamesMapping()[level.upper()]
    keys = ("timestamp", "level", "event")
    tail: list[Processor] = (
        [structlog.processors.EventRenamer("msg"), structlog.processors.JSONRenderer(ensure_ascii=False)]
        if format_ is LogFormat.JSON
        else [
            _unlisted,
            structlog.processors.LogfmtRenderer(key_order=keys, drop_missing=True, bool_as_flag=False),
        ]
    )
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _complete,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(number),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, redaction, *tail],
        )
    )
    _take_over(handler, number)
    return redaction


def _take_over(handler: logging.Handler, level: int) -> None:
    """Have all logs from *level* on go to *handler*, and those of libraries from warnings on."""
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "urllib3", "asyncio", "alembic"):
        library = logging.getLogger(name)
        library.handlers, library.propagate = [], True
        library.setLevel(max(level, logging.WARNING))
    # Its warnings are about what strangers send, a line for each request.
    logging.getLogger("uvicorn.error").setLevel(max(level, logging.ERROR))
