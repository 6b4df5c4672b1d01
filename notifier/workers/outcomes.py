"""The outcomes of calls to OVHcloud: stored, logged and counted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from datetime import datetime
from typing import TypeVar

import structlog

from notifier.delivery.message import Ending, Job, MessageState
from notifier.store.engine import StoreUnavailable
from notifier.workers.context import Context
from notifier.workers.log_fields import message_fields

T = TypeVar("T")

log = structlog.get_logger(__name__)

_AFTER_FAILURE = 0.5  # seconds


class Outcomes:
    """Stores the outcomes of jobs, on the threads that worked on them."""

    def __init__(self, context: Context, is_stopping: Callable[[], bool]) -> None:
        """Write to the store of *context*, until *is_stopping*."""
        self._context = context
        self._is_stopping = is_stopping

    def write(self, operation: Callable[[], Future[T]]) -> T:
        """Return the result of *operation*, tried again for as long as the store cannot be used.

        Raises:
            StoreUnavailable: the store cannot be used, and Notifier stops.
        """
        pause = threading.Event()
        while True:
            try:
                return operation().result()
            except StoreUnavailable:
                self._context.metrics.store_errors.inc()
                if self._is_stopping():
                    raise
                pause.wait(_AFTER_FAILURE)

    def report(self, job: Job, endings: Sequence[Ending], now: datetime, query_id: str | None = None) -> None:
        """Log and count how messages of *job* ended at *now*; *query_id* is OVHcloud's for the call."""
        metrics = self._context.metrics
        by_id = {message.id: message for message in job.messages}
        for ending in endings:
            message = by_id[ending.message_id]
            metrics.sms.labels(message.receiver, ending.state).inc()
            fields = {**message_fields(message), "job": job.tag, "query": query_id}
            if ending.state is MessageState.ACCEPTED:
                latency = (now - message.received_at).total_seconds()
                metrics.sms_parts.inc(message.parts)
                metrics.sms_accepted_timestamp.set(now.timestamp())
                metrics.page_latency.labels(message.receiver).observe(max(0.0, latency))
                log.info("message accepted", **fields, ovh_id=ending.ovh_id, seconds=round(latency, 3))
            else:
                log.error(f"message {ending.state}", **fields, error=ending.error)
