"""Metrics that are read at a scrape, as families of Prometheus' client."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from prometheus_client.core import GaugeMetricFamily, Metric

from notifier.store.records import Queue

QUEUE: Mapping[str, tuple[tuple[str, ...], str]] = {
    "queue_messages": (("state",), "Messages under way, by state; unplanned counts webhooks."),
    "held_messages": (
        ("reason",),
        "Messages that a limit of Notifier's own holds: for a digest, or for credits.",
    ),
    "queue_oldest_timestamp_seconds": (
        (),
        "When the webhook of the oldest page that is under way was received; no series without one.",
    ),
    "queue_oldest_seconds": (
        (),
        "Age of the oldest page that is under way, since its webhook was received.",
    ),
}
"""The metrics of the queue: their labels and texts."""


def queue_families(queue: Queue | None, now: datetime) -> Iterator[Metric]:
    """Yield the families of *queue* at *now*; none while it is unknown."""
    if queue is None:
        return
    oldest = queue.oldest
    values: Mapping[str, Iterable[tuple[Sequence[str], float]]] = {
        "queue_messages": [
            ((state,), count) for state, count in {"unplanned": queue.unplanned, **queue.messages}.items()
        ],
        "held_messages": [((reason,), count) for reason, count in queue.held.items()],
        "queue_oldest_timestamp_seconds": [((), oldest.timestamp())] if oldest else [],
        "queue_oldest_seconds": [((), max(0.0, (now - oldest).total_seconds()) if oldest else 0.0)],
    }
    for name, (labels, text) in QUEUE.items():
        yield family(name, text, labels, values[name])


def family(
    name: str, text: str, labels: Sequence[str], values: Iterable[tuple[Sequence[str], float]]
) -> GaugeMetricFamily:
    """Return the gauge *name* with *values*, by labels."""
    family = GaugeMetricFamily(f"notifier_{name}", text, labels=labels)
    for labelled, number in values:
        family.add_metric(labelled, number)
    return family
