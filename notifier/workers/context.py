"""What every worker works with."""

from __future__ import annotations

from dataclasses import dataclass

from notifier.clock import Clock
from notifier.metrics import Metrics
from notifier.runtime import Current
from notifier.store.store import Store
from notifier.workers.backpressure import Backpressure


@dataclass(frozen=True, slots=True)
class Context:
    """The store, the configuration in force, the clock, the metrics, and how busy the intake is."""

    store: Store
    current: Current
    clock: Clock
    metrics: Metrics
    backpressure: Backpressure
