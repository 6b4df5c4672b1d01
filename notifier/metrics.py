"""Every metric, defined once. Labels never hold a phone number."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from notifier import __version__
from notifier.metric_families import QUEUE, family, queue_families
from notifier.ovh.session import Call
from notifier.store.engine import StoreUnavailable
from notifier.store.records import Queue

T = TypeVar("T")

_LATENCY = (0.05, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 1800, 3600)
_REQUEST = (0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10)
_DELIVERY = (1, 2.5, 5, 10, 20, 30, 60, 120, 300, 900, 3600, 21600, 86400)


@dataclass(frozen=True, slots=True)
class Definition:
    """A metric, for its reference."""

    name: str
    kind: str
    labels: tuple[str, ...]
    text: str


class Metrics:
    """The metrics of one service, on a registry of their own."""

    def __init__(self) -> None:
        """Define them all; nothing has happened yet."""
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)

        self.definitions: list[Definition] = []
        """The metrics that are defined so far."""

        def counter(name: str, text: str, *labels: str) -> Counter:
            self._define(name, "counter", labels, text)
            return Counter(f"notifier_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            self._define(name, "gauge", labels, text)
            return Gauge(f"notifier_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: Sequence[float], *labels: str) -> Histogram:
            self._define(name, "histogram", labels, text)
            return Histogram(f"notifier_{name}", text, labels, buckets=buckets, registry=registry)

        self.webhooks = counter("webhooks_total", "Webhooks answered, by status code.", "code")
        self.webhook_duration = histogram(
            "webhook_duration_seconds",
            "Time that it took to read and store a webhook, of those answered 200.",
            _REQUEST,
        )
        self.webhooks_duplicate = counter(
            "webhooks_duplicate_total", "Webhooks that repeated one stored moments before."
        )
        self.webhooks_unknown_receiver = counter(
            "webhooks_unknown_receiver_total",
            "Webhooks that named a receiver which is not configured, and went to the first one.",
        )
        self.notifications = counter(
            "notifications_total",
            "Notifications planned: one for each receiver of a webhook.",
            "receiver",
            "status",
        )
        self.notifications_muted = counter(
            "notifications_muted_total",
            "Notifications that a time interval kept from being sent.",
            "receiver",
        )
        self.sms = counter(
            "sms_total",
            "Messages accepted by OVHcloud, rejected or expired; one sent again with a reduced text counts again.",
            "receiver",
            "outcome",
        )
        self.sms_accepted_timestamp = gauge(
            "sms_last_accepted_timestamp_seconds",
            "When OVHcloud last accepted a message of this process; 0 if it has accepted none.",
        )
        self.sms_delivery = counter(
            "sms_delivery_total",
            "Accepted messages by their final receipt: delivered or undelivered.",
            "receiver",
            "outcome",
        )
        self.sms_parts = counter("sms_parts_total", "Parts of the messages that OVHcloud accepted.")
        self.sms_credits = counter("sms_credits_total", "Credits that OVHcloud took for messages.")
        self.sms_merged = counter(
            "sms_merged_total", "Messages that went out as part of a digest.", "receiver"
        )
        self.sms_reduced = counter(
            "sms_reduced_total",
            "Messages sent again with less in their text, because OVHcloud or an operator refused the content.",
            "receiver",
        )
        self.sms_resent = counter(
            "sms_resent_unsettled_total",
            "Messages sent again because OVHcloud would not say within settle_timeout whether it took them.",
        )
        self.ovh_requests = counter(
            "ovh_requests_total",
            "Calls to OVHcloud, by status code (error where no answer came).",
            "method",
            "route",
            "code",
        )
        self.ovh_request_duration = histogram(
            "ovh_request_duration_seconds", "Time that calls to OVHcloud took.", _REQUEST, "method", "route"
        )
        self.ovh_credits_left = gauge("ovh_credits_left", "Credits left on the account.", "service_name")
        self.sending_paused = gauge(
            "sending_paused",
            "1 while an account sends nothing until a fault is fixed, by its kind.",
            "account",
            "reason",
        )
        self.page_latency = histogram(
            "page_latency_seconds",
            "Time from a webhook being received to its message being accepted by OVHcloud.",
            _LATENCY,
            "receiver",
        )
        self.delivery_latency = histogram(
            "delivery_latency_seconds",
            "Time from a webhook being received to its message reaching the handset.",
            _DELIVERY,
            "receiver",
        )
        self.escalations = counter(
            "escalations_total", "Steps taken because nobody had acknowledged.", "receiver"
        )
        self.acknowledgements = counter(
            "acknowledgements_total", "Incidents acknowledged, by the way it was done.", "via"
        )
        self.fallback = counter(
            "fallback_total",
            "Attempts to send a message through a second channel: sent or failed.",
            "service",
            "outcome",
        )
        self.calls = counter(
            "calls_total",
            "Phone calls, by how they ended: acknowledged, unanswered, failed or withdrawn.",
            "outcome",
        )
        self.alertmanager_queries = counter(
            "alertmanager_queries_total",
            "Questions to members of Alertmanager about open incidents.",
            "outcome",
        )
        self.calendar_read = gauge(
            "calendar_last_read_timestamp_seconds",
            "When the calendar of a schedule was last read.",
            "schedule",
        )
        self.heartbeat_last_seen = gauge(
            "heartbeat_last_seen_timestamp_seconds", "When a heartbeat was last seen.", "heartbeat"
        )
        self.heartbeat_late = gauge(
            "heartbeat_late", "1 while a heartbeat has not been seen for its timeout.", "heartbeat"
        )
        self.watchdog_success_timestamp = gauge(
            "watchdog_last_success_timestamp_seconds",
            "When the dead man's switch was last called, or configured if it never was; NaN without one.",
        )
        self.jobs_overdue = gauge(
            "jobs_overdue", "Jobs that have been sending for 30 s longer than the time-out of a call."
        )
        self.last_resort = counter(
            "last_resort_pages_total",
            "Items paged by built-in means, because Notifier could not process them: internal errors.",
            "worker",
        )
        self.template_errors = counter(
            "template_errors_total", "Messages whose template failed; they went out without it.", "template"
        )
        self.worker_failures = counter(
            "worker_failures_total", "Failures of a worker to do a piece of work.", "worker"
        )
        self.worker_last_success = gauge(
            "worker_last_success_timestamp_seconds", "When a worker last did a piece of work.", "worker"
        )
        self.restart_required = gauge(
            "restart_required", "1 while a change of the configuration waits for a restart."
        )
        self.replicas = gauge("replicas", "Replicas that work on the database, this one among them.")
        self.store_errors = counter("store_errors_total", "Failures to read or write the store.")
        self.authentication_failures = counter(
            "authentication_failures_total",
            "Requests with missing or wrong credentials, or for an unknown link.",
        )
        self.reload_successful = gauge(
            "config_last_reload_successful", "Whether the last attempt to load the configuration succeeded."
        )
        self.config_hash = gauge(
            "config_hash", "Hash of the configuration in use, without its secrets: the same on all replicas."
        )
        self.reload_success_timestamp = gauge(
            "config_last_reload_success_timestamp_seconds", "When the configuration was last loaded."
        )
        for code in ("200", "400", "401", "413", "503"):
            self.webhooks.labels(code)
        gauge("build_info", "The version that runs.", "version").labels(__version__).set(1)

    def _define(self, name: str, kind: str, labels: Sequence[str], text: str) -> None:
        self.definitions.append(Definition(f"notifier_{name}", kind, tuple(labels), text))

    def watch_queue(self, queue: Callable[[], Queue], now: Callable[[], datetime]) -> None:
        """Have each scrape show the queue."""
        last = _last_known(queue)  # its age grows while the store is unavailable
        for name, (labels, text) in QUEUE.items():
            self._define(name, "gauge", labels, text)
        self._at_scrape(lambda: queue_families(last(), now()))

    def watch_ready(self, is_ready: Callable[[], bool]) -> None:
        """Have each scrape show whether webhooks are taken, as ``/-/ready`` does."""
        self._watch(
            "ready", "1 while webhooks are taken and pages planned.", (), lambda: [((), float(is_ready()))]
        )

    def expect_workers(self, items_set_aside: Mapping[str, Callable[[], int]]) -> None:
        """Let the series of the workers be there before anything happens.

        *items_set_aside* maps the name of each worker to a function that counts the items that it cannot process.
        """
        for name in items_set_aside:
            self.worker_failures.labels(name)
            self.worker_last_success.labels(name)
            self.last_resort.labels(name)
        text = "Items that a worker could not process, and tries again."
        self._watch(
            "items_set_aside",
            text,
            ("worker",),
            lambda: [((name,), count()) for name, count in items_set_aside.items()],
        )

    def forget(self, gauge: Gauge, **labels: str) -> None:
        """Remove the series of *gauge* with these labels, which are not configured any more."""
        for series in list(next(iter(gauge.collect())).samples):
            if labels.items() <= series.labels.items():
                gauge.remove(*series.labels.values())

    def watch_on_call(self, on_call: Callable[[], Iterable[tuple[str, str]]]) -> None:
        """Have each scrape show who is on call, as (schedule, contact)."""
        text, labels = "Who is on call; no series for a gap.", ("schedule", "contact")
        self._watch("oncall_info", text, labels, lambda: [(who, 1.0) for who in on_call()])

    def watch_gaps(self, gaps: Callable[[], Mapping[str, datetime]]) -> None:
        """Show at each scrape when the next gap of each schedule begins."""
        text = "When nobody is on call next; no series where somebody is for the next two weeks."
        self._watch(
            "oncall_next_hole_timestamp_seconds",
            text,
            ("schedule",),
            lambda: [((name,), at.timestamp()) for name, at in gaps().items()],
        )

    def watch_incidents(self, count: Callable[[], Mapping[tuple[str, str], int]]) -> None:
        """Have each scrape show how many incidents are not resolved, by receiver and state."""
        text, labels, last = "Incidents that are not resolved.", ("receiver", "state"), _last_known(count)
        self._watch("incidents", text, labels, lambda: (last() or {}).items())  # noqa: PLW0108 (read at each scrape)

    def watch_sources(self, sources: Callable[[], Mapping[str, datetime]]) -> None:
        """Have each scrape show when the last webhook of each Alertmanager came."""
        text, last = (
            "When the last webhook of an Alertmanager came, by its external URL.",
            _last_known(sources),
        )
        self._watch(
            "webhook_last_received_timestamp_seconds",
            text,
            ("source",),
            lambda: [((url,), at.timestamp()) for url, at in (last() or {}).items()],
        )

    def _watch(
        self,
        name: str,
        text: str,
        labels: Sequence[str],
        values: Callable[[], Iterable[tuple[Sequence[str], float]]],
    ) -> None:
        """Have each scrape show the gauge *name* with the *values*, by labels."""
        self._define(name, "gauge", labels, text)
        self._at_scrape(lambda: [family(name, text, labels, values())])

    def _at_scrape(self, families: Callable[[], Iterable[Metric]]) -> None:
        self.registry.register(_Collector(families))

    def observe_call(self, call: Call) -> None:
        """Count a call to OVHcloud."""
        self.ovh_requests.labels(call.method, call.route, call.code).inc()
        self.ovh_request_duration.labels(call.method, call.route).observe(call.seconds)

    def forget_heartbeat(self, name: str) -> None:
        """Remove the series of a heartbeat that is not configured any more."""
        for gauge in (self.heartbeat_last_seen, self.heartbeat_late):
            self.forget(gauge, heartbeat=name)

    def expect_receivers(self, receivers: Iterable[str]) -> None:
        """Let the series of *receivers* be there, at zero, before anything happens to them."""
        for receiver in receivers:
            for outcome in ("accepted", "rejected", "expired"):
                self.sms.labels(receiver, outcome)
            for outcome in ("delivered", "undelivered"):
                self.sms_delivery.labels(receiver, outcome)
            for status in ("firing", "resolved"):
                self.notifications.labels(receiver, status)
            self.page_latency.labels(receiver)

    def expect_templates(self, templates: Iterable[str]) -> None:
        """Let the series of *templates* be there, at zero: an increase is only seen of one that is."""
        for template in templates:
            self.template_errors.labels(template)

    def exposition(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)


class _Collector(Collector):
    """Yields the families that a function returns when metrics are scraped."""

    def __init__(self, families: Callable[[], Iterable[Metric]]) -> None:
        self._families = families

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        yield from self._families()


def _last_known(read: Callable[[], T]) -> Callable[[], T | None]:
    """Return a function that returns what *read* returns, or the last value while the store is unavailable."""
    last: list[T] = []

    def value() -> T | None:
        with contextlib.suppress(StoreUnavailable):
            last[:] = [read()]
        return last[0] if last else None

    return value
