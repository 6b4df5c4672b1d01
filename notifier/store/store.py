"""The store: one object for each group of tables, on one database."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import URL, Connection

from notifier.store.calls import CallStore
from notifier.store.database import Database
from notifier.store.fallbacks import FallbackStore
from notifier.store.incidents import Incidents
from notifier.store.jobs import JobStore
from notifier.store.ledger import Ledger
from notifier.store.links import LinkStore
from notifier.store.outbox import Outbox
from notifier.store.paged_incidents import PagedIncidents
from notifier.store.receipts import ReceiptStore
from notifier.store.reloads import Reloads
from notifier.store.replicas import ReplicaStore
from notifier.store.replies import ReplyStore
from notifier.store.retention import RetentionStore
from notifier.store.timestamps import Timestamps
from notifier.store.webhooks import WebhookStore


class Store(Database):
    """The history of webhooks, incidents, messages and jobs.

    Reads may be called from any thread and raise `StoreUnavailable`; writing methods return a future that is done once
    the data is on disk.
    """

    def __init__(self, place: Path | URL) -> None:
        """Take the database at *place*, as `Database` does."""
        super().__init__(place, self._remember)
        self._repetitions = self.backend.repetitions()
        self.incidents = Incidents(self)
        self.paged = PagedIncidents(self)
        self.webhooks = WebhookStore(self, self._repetitions)
        self.jobs = JobStore(self)
        self.outbox = Outbox(self, self.jobs)
        self.receipts = ReceiptStore(self)
        self.replies = ReplyStore(self)
        self.timestamps = Timestamps(self)
        self.replicas = ReplicaStore(self)
        self.reloads = Reloads(self)
        self.fallbacks = FallbackStore(self)
        self.links = LinkStore(self)
        self.calls = CallStore(self)
        self.ledger = Ledger(self, self.incidents, self.fallbacks, self.calls)
        self.retention = RetentionStore(self)

    def _remember(self, connection: Connection) -> None:
        self._repetitions.remember(connection)
