"""Templates that failed are logged and counted; a built-in text is sent instead."""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from notifier.metrics import Metrics
from notifier.planning.texts import OutgoingText

log = structlog.get_logger(__name__)


def report_failures(metrics: Metrics, written: Iterable[OutgoingText], **about: object) -> None:
    """Log and count the templates that failed."""
    for page in written:
        if (failure := page.text.failure) is not None:
            metrics.template_errors.labels(failure.template).inc()
            log.error(
                "template failed, sending a built-in text",
                **about,
                template=failure.template,
                file=f"{failure.file}:{failure.line}",
                error=failure.reason,
            )
