"""The service: starts and stops everything, on one event loop and a few threads."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import structlog
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from notifier import __version__, systemd
from notifier.clock import Clock, utc_now
from notifier.config.model import Configuration
from notifier.config.web import listen_url
from notifier.health import Health
from notifier.logs import Redaction
from notifier.metrics import Metrics
from notifier.reload import Reloader
from notifier.server import Server, listen, spare_the_collector, switching_often, tls_context
from notifier.store.engine import StoreUnavailable
from notifier.store.store import Store
from notifier.web.access import AccessControl
from notifier.web.answers import Answers
from notifier.web.api.operations import Endpoints
from notifier.web.api.routes import ApiRoutes
from notifier.web.app import build
from notifier.web.callbacks import Callbacks
from notifier.web.connections import MAX_HEADERS, Connections, limited, most_connections, watched
from notifier.web.feeds import Feeds
from notifier.web.pages.context import PageContext
from notifier.web.pages.routes import Pages
from notifier.web.probes import Probes
from notifier.web.webhook import WebhookEndpoint
from notifier.workers.backpressure import Backpressure
from notifier.workers.context import Context
from notifier.workers.wiring import Workers

log = structlog.get_logger(__name__)


class Service:
    """Notifier, from a configuration file.

    Raises on construction:
        ConfigurationError: the file cannot be used.
        StoreRefused, StoreUnavailable: the database is not for this process, or cannot be opened.
    """

    def __init__(self, file: Path, redaction: Redaction | None = None, clock: Clock = utc_now) -> None:
        """Read *file* and take the database; nothing runs yet."""
        redaction = redaction or Redaction()
        self.metrics = Metrics()
        self.reloader = Reloader(file, redaction, self.metrics, clock)
        self.current = self.reloader.current
        self.store = Store(self.configuration.storage.place(file.parent))
        self.backpressure = Backpressure()
        context = Context(self.store, self.current, clock, self.metrics, self.backpressure)
        self.workers = Workers(
            context,
            lambda: self.health.does_page(),  # noqa: PLW0108 (made after them)
            lambda: self.health.for_operators(),  # noqa: PLW0108 (likewise)
        )
        self.health = Health(context, self.workers, self.reloader.warnings, redaction.hide)
        self._replicas = self.workers.replicas if self.store.backend.is_shared else None
        self._running = self.workers.all(is_shared=self.store.backend.is_shared)
        self._listener = self.store.listen(self._wake_worker)
        self._access = AccessControl(
            self.configuration.web, self.configuration.session_key, self.metrics, clock
        )
        self.webhook = WebhookEndpoint(
            self.current,
            self.workers.intake,
            self._access,
            self.metrics,
            self.backpressure,
            self.health.refusal,
        )
        actions, endpoints = self.workers.actions, Endpoints(self._access, self.current)
        context_of_pages = PageContext(
            self.store,
            self.current,
            clock,
            self.workers.account_monitor,
            self.health.readiness,
            redaction,
        )
        self.pages = Pages(context_of_pages, actions, self._access, self.backpressure)
        readiness, hints = self.health.readiness, (self.workers.receipts.hint, self.workers.replies.hint)
        routes = [
            *Probes(self.current, self._access, self.metrics, readiness, self.reload).routes(),
            *Callbacks(self.current, *hints).routes(),
            *ApiRoutes(self.store, self.current, actions, endpoints, clock, redaction.hide).routes(),
            *Feeds(self.current, endpoints, clock).routes(),
            *self.pages.routes(),
        ]
        self.app = build(self.webhook, routes, self.pages.missing)
        self._watch(clock)
        self.reloader.subscribe(lambda new: self._access.replace_credentials(new.web, new.session_key))
        self.reloader.subscribe(self._wake_after_reload)
        self.connections = Connections(
            most_connections(tls=self.configuration.web.tls_server_config is not None)
        )
        self.ask_to_stop: Callable[[], object] = lambda: None
        """Ends `run`, from any thread."""

    @property
    def configuration(self) -> Configuration:
        """The configuration in force."""
        return self.current.runtime.configuration

    async def reload(self, by: str | None = None) -> str | None:
        """Read the file again and put it in force; return its errors, in which case nothing changes.

        *by* is the user or token that asks for it.
        """
        return await self.reloader.reload(self.store.reloads, self.connections, by)

    def _watch(self, clock: Clock) -> None:
        """Register the metrics that are read at each scrape."""
        self.metrics.replicas.set(1)
        self.metrics.watch_queue(self.store.outbox.queue, clock)
        self.metrics.watch_on_call(lambda: self.current.runtime.schedules.now(clock()))
        self.metrics.watch_gaps(lambda: self.current.runtime.schedules.gaps(clock()))
        self.metrics.watch_incidents(self.store.incidents.counts)
        self.metrics.watch_sources(lambda: self.store.timestamps.sources(clock()))
        self.metrics.watch_ready(lambda: self.health.not_ready() is None)
        self.metrics.expect_workers({worker.name: worker.set_aside.__len__ for worker in self._running})

    def _wake_after_reload(self, _: Configuration) -> None:
        self.workers.account_monitor.wake()  # the new client learns OVHcloud's time before a page needs it
        self.workers.dispatcher.wake()
        self.workers.calendars.wake()

    def _wake_worker(self, name: str) -> None:
        """Wake the worker of that name: another replica has something for it."""
        for worker in self._running:
            if worker.name == name:
                worker.wake()

    # running

    def start(self) -> None:
        """Open the database and start the workers.

        Raises:
            StoreRefused: the database is newer than this program.
        """
        self.store.start()
        self.current.runtime.templates.start()
        with contextlib.suppress(StoreUnavailable):  # it is tried again
            if self._replicas is not None:
                self._replicas.work()  # before it takes work, others must know of it
            self.workers.calendars.recall()
        if self._listener is not None:
            self._listener.start()
        for worker in self._running:
            worker.start()
        self.pages.start()

    def stop(self, deadline: float) -> bool:
        """Stop the workers, waiting until *deadline* (monotonic); return whether all work was ended."""
        for worker in self._running:
            worker.stop()
        ended = [worker.join(deadline - time.monotonic()) for worker in self._running]
        if self._listener is not None:
            self._listener.stop()
        if self._replicas is not None and all(ended):
            with contextlib.suppress(StoreUnavailable, TimeoutError):
                self._replicas.leave()
        self.store.stop()
        self.current.runtime.templates.close()
        self.pages.stop()
        self._access.close()
        return all(ended)

    def run(self, on_ready: Callable[[int], None] = lambda port: None) -> None:
        """Serve until SIGTERM or SIGINT; SIGHUP reloads. *on_ready* is called with the port."""
        with switching_often(), asyncio.Runner() as runner:
            runner.run(self._serve(on_ready))

    async def _serve(self, on_ready: Callable[[int], None]) -> None:
        web = self.configuration.web
        listener = listen(web.host, web.port)
        if web.tls_server_config is not None:
            self.connections.tls = tls_context(web.tls_server_config)
        server = Server(self._settings())
        loop = asyncio.get_running_loop()
        tasks: set[asyncio.Task[str | None]] = set()

        def hang_up() -> None:
            task = loop.create_task(self.reload())
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        if threading.current_thread() is threading.main_thread():  # no other may handle signals
            loop.add_signal_handler(signal.SIGHUP, hang_up)
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, server.ask_to_stop)
        self.ask_to_stop = lambda: loop.call_soon_threadsafe(server.ask_to_stop)
        self.start()
        spare_the_collector()
        port = listener.getsockname()[1]
        url = listen_url(web, port)
        log.info("notifier started", version=__version__, url=url, database=self.store.name)
        server.on_started = lambda: self._ready(port, on_ready)
        server.on_asked = self.pages.end_streams
        server.on_shutdown = self.connections.refuse
        alive = loop.create_task(self._show_life())
        try:
            await server.serve([listener])
        finally:
            alive.cancel()
            systemd.notify("STOPPING=1")
            stopping_at = server.asked_to_stop_at or time.monotonic()
            deadline = stopping_at + self.configuration.global_.shutdown_timeout.total_seconds()
            drained = await loop.run_in_executor(None, self.stop, deadline)
            log.info("notifier stopped", drained=drained)

    def _settings(self) -> uvicorn.Config:
        """Return the settings of the HTTP server."""
        return uvicorn.Config(
            watched(Answers(self.app)),
            http=limited(self.connections, H11Protocol),
            h11_max_incomplete_event_size=MAX_HEADERS,
            ws="none",
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=int(self.configuration.global_.shutdown_timeout.total_seconds()) or 1,
            backlog=2048,
        )

    def _ready(self, port: int, on_ready: Callable[[int], None]) -> None:
        systemd.notify("READY=1", f"STATUS=listens on port {port}")
        on_ready(port)

    async def _show_life(self) -> None:
        """Show systemd's watchdog that the event loop turns and every worker lives."""
        interval = systemd.watchdog_interval()
        while interval is not None:
            if all(worker.is_alive for worker in self._running):
                systemd.notify("WATCHDOG=1")
            await asyncio.sleep(interval)
