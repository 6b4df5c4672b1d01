"""The service: starts, reloads and stops everything, on one event loop and a few threads."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import structlog
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from notifier import __version__, systemd
from notifier.clock import Clock, elapsed, utc_now
from notifier.config.loading import ConfigurationError, Loading
from notifier.config.loading import load as load_configuration
from notifier.config.model import Configuration
from notifier.config.secrets import secrets_of
from notifier.config.web import TlsServerConfig, listen_url
from notifier.delivery.message import Hold
from notifier.logs import Redaction
from notifier.metrics import Metrics
from notifier.oncall.schedules import Calendar
from notifier.rendering.compose import Templates
from notifier.runtime import Current, prepare
from notifier.store.engine import StoreUnavailable
from notifier.store.reloads import Reload
from notifier.store.store import Store
from notifier.web.answers import Answers
from notifier.web.api import ApiRoutes
from notifier.web.app import Readiness, build
from notifier.web.callbacks import Callbacks
from notifier.web.connections import MAX_HEADERS, Connections, limited, most_connections, watched
from notifier.web.gate import Gate
from notifier.web.pages import Pages
from notifier.web.webhook import WebhookEndpoint
from notifier.workers.backpressure import Backpressure
from notifier.workers.context import Context
from notifier.workers.wiring import Workers

log = structlog.get_logger(__name__)

_LONG_WAIT = timedelta(seconds=10)
"""For so long nothing may be sent, by OVHcloud's wish or an account's rate, before it is told at `/-/ready`."""
_STUCK = timedelta(minutes=1)
"""For longer, nothing that is to be sent now should wait: the dead man's switch is not called then."""
_LONGEST_RECORDING = 5.0  # seconds
_SWITCH_INTERVAL = 0.0005
"""Seconds after which a thread that computes lets another one in: the event loop must not wait for 5 ms."""


def load(file: Path) -> tuple[Loading, Templates]:
    """Read the configuration in *file* and its templates; all that is wrong is in the loading's problems."""
    loading = load_configuration(file)
    templates = Templates(loading.template_files)
    if loading.template_files:
        templates.isolate()
    loading.problems += templates.problems
    if templates.problems:
        loading.configuration = None
    return loading, templates


class Service:
    """Notifier, from a configuration file.

    Raises on construction:
        ConfigurationError: the file cannot be used.
        StoreRefused, StoreUnavailable: the database is not for this process, or its place cannot be had.
    """

    def __init__(self, file: Path, redaction: Redaction | None = None, clock: Clock = utc_now) -> None:
        """Read *file* and take the database; nothing runs yet."""
        self._file = file
        self._redaction = redaction or Redaction()
        self.metrics = Metrics()
        loading, templates = load(file)
        if loading.configuration is None:
            raise ConfigurationError(file, loading.errors)
        self._warn(loading)
        self._keep_private(loading.configuration)
        known: dict[tuple[str, str], Calendar] = {}
        self.current = Current(prepare(loading, templates, self.metrics.observe_call, known), known)
        self._loaded(True, clock)
        self._clock = clock
        self._started_with = self.configuration
        self.store = Store(self.configuration.storage.place(file.parent))
        self.metrics.replicas.set(1)
        self.backpressure = backpressure = Backpressure()
        context = Context(self.store, self.current, clock, self.metrics, backpressure)
        self.workers = Workers(context, self._does_page)
        self._replicas = self.workers.replicas if self.store.backend.is_shared else None
        self._listener = self.store.listen(self._wake_worker)
        self._running = self.workers.all(is_shared=self.store.backend.is_shared)
        self._gate = Gate(self.configuration.web, self.metrics)
        self._webhook = WebhookEndpoint(
            self.current, self.workers.intake, self._gate, self.metrics, backpressure, self._refusing
        )
        self.pages = Pages(
            self.store,
            self.current,
            self.workers.actions,
            self._gate,
            clock,
            self.workers.account_monitor,
            self.readiness,
            self._redaction,
            backpressure,
        )
        self.app = build(
            webhook=self._webhook,
            gate=self._gate,
            metrics=self.metrics,
            readiness=self.readiness,
            reload=self.reload,
            callbacks=Callbacks(self.current, self.workers.receipts.hint, self.workers.replies.hint),
            api=ApiRoutes(
                self.store, self.current, self.workers.actions, self._gate, clock, self._redaction.hide
            ),
            pages=self.pages.routes(),
            origin=lambda: self.configuration.origin,
            protects_metrics=lambda: self.configuration.web.metrics_require_credentials,
        )
        self.metrics.watch_queue(self.store.outbox.queue, clock)
        self.metrics.watch_on_call(lambda: self.current.runtime.schedules.now(clock()))
        self.metrics.watch_gaps(lambda: self.current.runtime.schedules.gaps(clock()))
        self.metrics.watch_incidents(self.store.incidents.counts)
        self.metrics.watch_ready(lambda: self._not_ready() is None)
        self.metrics.expect_workers({worker.name: worker.set_aside.__len__ for worker in self._running})
        self._reloading = asyncio.Lock()
        self._reload_problem: str | None = None
        self._needs_restart: tuple[str, ...] = ()
        self.connections = Connections(
            most_connections(tls=self.configuration.web.tls_server_config is not None)
        )
        self.ask_to_stop: Callable[[], object] = lambda: None
        """Ends `run`, from any thread."""

    @property
    def configuration(self) -> Configuration:
        """The configuration in force."""
        return self.current.runtime.configuration

    def readiness(self) -> Readiness:
        """Return whether webhooks are taken, and what hinders paging."""
        warnings = self._account_warnings()
        for name, problem in self.workers.calendars.problems.items():
            warnings.append(f'the calendar of "{name}" {self._redaction.hide(problem)}; its last copy holds')
        if self.workers.watchdog.problem is not None:
            warnings.append(f"the watchdog cannot be called: {self.workers.watchdog.problem}")
        if (stuck := self._stuck()) is not None:
            warnings.append(stuck)
        warnings += self._own_warnings()
        return Readiness(self._not_ready(), tuple(warnings), self._is_hindered())

    def _own_warnings(self) -> list[str]:
        """Return what hinders Notifier itself: workers, limits, the configuration."""
        warnings, now = [], elapsed()
        for worker in self._running:
            if (problem := worker.failure(now)) is not None:
                warnings.append(self._redaction.hide(problem))
            if items := worker.set_aside.items():
                error = next(iter(items.values())).error
                message = f"the {worker.name} cannot process {len(items)} item(s), and tries again: {error}"
                warnings.append(self._redaction.hide(message))
        if self.workers.dispatcher.overdue:
            count = _counted(self.workers.dispatcher.overdue, "job has", "jobs have")
            warnings.append(f"{count} been sending for longer than a call can take")
        held = self.workers.dispatcher.held
        if held.get(Hold.CREDITS):
            count = _counted(held[Hold.CREDITS], "message waits", "messages wait")
            warnings.append(f"limits.credits is reached: {count} for it")
        if held.get(Hold.DIGEST):
            count = _counted(held[Hold.DIGEST], "message", "messages")
            warnings.append(f"limits.per_contact holds {count}, to go as digests")
        if self._reload_problem is not None:
            warnings.append(
                f"the last reload failed, the configuration before is in force: {self._reload_problem}"
            )
        if self._needs_restart:
            warnings.append(f"a restart is needed for the change of {', '.join(self._needs_restart)}")
        return warnings

    def _refusing(self) -> str | None:
        """Return why pages would not be planned or sent, though webhooks can be stored; None when all is well."""
        now = elapsed()
        problems = (worker.failure(now) for worker in (self.workers.planner, self.workers.dispatcher))
        return next((self._redaction.hide(problem) for problem in problems if problem is not None), None)

    def _not_ready(self) -> str | None:
        """Return why webhooks are not taken; None while they are."""
        outage = self.store.outage
        return f"the store is unavailable: {outage}" if outage is not None else self._refusing()

    def _is_hindered(self) -> bool:
        """Whether there is no account by which anything can be sent."""
        now = self._clock()
        return all(
            one.paused is not None or one.problem is not None or one.ready_at(now) > now + _LONG_WAIT
            for one in self.workers.dispatcher.accounts.all(self.current.runtime.apis).values()
        )

    def _does_page(self) -> bool:
        """Whether alerts are taken, planned, escalated and sent."""
        is_escalating = self.workers.escalator.failure(elapsed()) is None
        is_well = self._not_ready() is None and is_escalating and not self._is_hindered()
        return is_well and self._stuck() is None

    def _stuck(self) -> str | None:
        """Return what is wrong where a webhook or a message has waited for longer than `_STUCK`."""
        now = self._clock()
        try:
            unplanned = self.store.webhooks.oldest_unplanned()
            oldest = self.store.ledger.waiting_longest(now, _STUCK)
        except StoreUnavailable:  # which is told as such
            return None
        if unplanned is not None and now - unplanned >= _STUCK:
            since = unplanned.astimezone(self.configuration.global_.time_zone)
            return f"a webhook has waited to be planned since {since:%d %b %H:%M:%S %Z}"
        if oldest is None or now - oldest.created_at < _STUCK:
            return None
        since = oldest.created_at.astimezone(self.configuration.global_.time_zone)
        why = self._redaction.hide(oldest.error or "the reason is not known")
        return f"a message has waited to be sent since {since:%d %b %H:%M:%S %Z}: {why}"

    def _account_warnings(self) -> list[str]:
        """Return what hinders each account, and whether that hinders sending."""
        standings = self.workers.dispatcher.accounts.all(self.current.runtime.apis)
        warnings = []
        for name, standing in standings.items():
            of = f"{name}: " if len(standings) > 1 else ""
            if (paused := standing.paused) is not None:
                message = f"{of}sending is paused ({paused.reason}): {paused.message}"
                warnings.append(self._redaction.hide(message))
            elif standing.problem is not None:
                message = of + standing.problem
                warnings.append(self._redaction.hide(message))
        now = self._clock()
        ready = min(standing.ready_at(now) for standing in standings.values())
        if warnings and any(standing.is_sound(now) for standing in standings.values()):
            warnings.append("the other accounts send instead")
        elif ready > now + _LONG_WAIT and self.workers.dispatcher.paused is None:
            warnings.append(
                f"nothing is sent until {ready.astimezone(self.configuration.global_.time_zone):%H:%M:%S %Z}: "
                "OVHcloud asked for that, or the rate is used up"
            )
        return warnings

    # reloading

    async def reload(self, by: str | None = None) -> str | None:
        """Read the file again and put it in force; return what is wrong with it, in which case nothing changes.

        *by* is the user or token that asks for it.
        """
        async with self._reloading:  # one after the other: the file that was read last is in force
            systemd.reloading()
            try:
                problems = await self._reload(by)
                await self._record_reload(by)
                return problems
            finally:
                systemd.tell("READY=1")

    async def _record_reload(self, by: str | None) -> None:
        problem = self._reload_problem and self._redaction.hide(self._reload_problem)
        written = self.store.reloads.add(Reload(self._clock(), by, problem))
        try:
            await asyncio.wait_for(asyncio.wrap_future(written), _LONGEST_RECORDING)
        except (StoreUnavailable, TimeoutError) as error:  # the reload itself has been done, or refused
            log.error("reload cannot be recorded", by=by, error=str(error) or "it takes too long")

    def _renewed_tls(self, tls: TlsServerConfig | None) -> ssl.SSLContext | None:
        """Return the TLS context for new connections, None without TLS; whether there is TLS is decided at the start.

        Raises:
            OSError: a file cannot be loaded, or certificate and key do not belong together.
        """
        has_tls = self._started_with.web.tls_server_config is not None
        return _tls_context(tls) if tls is not None and has_tls else self.connections.tls

    def _refuse_reload(self, problems: str, first: str, by: str | None) -> str:
        log.error("reload failed, the configuration in force stays", problems=problems, by=by)
        self._reload_problem = first
        self._loaded(False, self._clock)
        return problems

    async def _reload(self, by: str | None) -> str | None:
        loop = asyncio.get_running_loop()
        loading, templates = await loop.run_in_executor(None, load, self._file)
        if loading.configuration is None:
            problems = "\n".join(problem.render(str(self._file)) for problem in loading.errors)
            return self._refuse_reload(problems, loading.errors[0].render(self._file.name), by)
        new, old = loading.configuration, self._started_with
        try:
            tls = self._renewed_tls(new.web.tls_server_config)
        except OSError as error:  # ssl.SSLError is one
            problem = (
                f"web.tls_server_config: its files cannot be loaded: {error}; check them, and reload again"
            )
            return self._refuse_reload(problem, problem, by)
        self._warn(loading)
        self._keep_private(new)
        before = self.current.runtime.templates
        self.current.runtime = prepare(loading, templates, self.metrics.observe_call, self.current.calendars)
        loop.run_in_executor(None, templates.start)
        loop.run_in_executor(None, before.close)
        self._gate.admit_as(new.web)
        self.connections.tls = tls
        changes = {
            "web.listen_address": old.web.listen_address != new.web.listen_address,
            "web.tls_server_config": (old.web.tls_server_config is None)
            != (new.web.tls_server_config is None),
            "storage.url": old.storage.url != new.storage.url,
        }
        self._needs_restart = tuple(key for key, is_changed in changes.items() if is_changed)
        for key in self._needs_restart:
            log.warning("a change takes effect at the next start", key=key)
        self.metrics.restart_required.set(bool(self._needs_restart))
        self._reload_problem = None
        self._loaded(True, self._clock)
        log.info("configuration reloaded", file=str(self._file), by=by)
        self.workers.account_monitor.wake()  # the new client learns OVHcloud's time before a page needs it
        self.workers.dispatcher.wake()
        self.workers.calendars.wake()
        return None

    def _wake_worker(self, name: str) -> None:
        """Wake the worker of that name: another replica has something for it."""
        for worker in self._running:
            if worker.name == name:
                worker.wake()

    def _keep_private(self, configuration: Configuration) -> None:
        self._redaction.keep_secret(secrets_of(configuration))
        self._redaction.mask_numbers(configuration.numbers())

    def _warn(self, loading: Loading) -> None:
        for problem in loading.problems:
            log.warning("configuration", problem=problem.render(str(self._file)))

    def _loaded(self, successful: bool, clock: Clock) -> None:
        self.metrics.reload_successful.set(successful)
        if successful:
            self.metrics.reload_success_timestamp.set(clock().timestamp())
            self.metrics.expect_receivers(r.name for r in self.configuration.receivers)
            self.metrics.expect_templates(r.template for r in self.configuration.receivers)

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
        self._gate.close()
        return all(ended)

    def run(self, on_ready: Callable[[int], None] = lambda port: None) -> None:
        """Serve until SIGTERM or SIGINT; SIGHUP reloads. *on_ready* is told the port."""
        with _switching_often(), asyncio.Runner() as runner:
            runner.run(self._serve(on_ready))

    async def _serve(self, on_ready: Callable[[int], None]) -> None:
        web = self.configuration.web
        listener = _listen(web.host, web.port)
        if web.tls_server_config is not None:
            self.connections.tls = _tls_context(web.tls_server_config)
        settings = uvicorn.Config(
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
        server = _Server(settings)
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
        _spare_the_collector()
        port = listener.getsockname()[1]
        url = listen_url(web, port)
        log.info("notifier started", version=__version__, url=url, database=self.store.name)
        server.on_started = lambda: self._ready(port, on_ready)
        server.on_asked = self.pages.stop
        alive = loop.create_task(self._show_life())
        try:
            await server.serve([listener])
        finally:
            alive.cancel()
            systemd.tell("STOPPING=1")
            stopping_at = server.asked_to_stop_at or time.monotonic()
            deadline = stopping_at + self.configuration.global_.shutdown_timeout.total_seconds()
            drained = await loop.run_in_executor(None, self.stop, deadline)
            log.info("notifier stopped", drained=drained)

    def _ready(self, port: int, on_ready: Callable[[int], None]) -> None:
        systemd.tell("READY=1", f"STATUS=listens on port {port}")
        on_ready(port)

    async def _show_life(self) -> None:
        """Show systemd's watchdog that the event loop turns and every worker lives."""
        interval = systemd.watchdog_interval()
        while interval is not None:
            if all(worker.is_alive for worker in self._running):
                systemd.tell("WATCHDOG=1")
            await asyncio.sleep(interval)


class _Server(uvicorn.Server):
    """uvicorn, with the signals left to the service."""

    asked_to_stop_at: float | None = None
    on_started: Callable[[], None] = staticmethod(lambda: None)
    on_asked: Callable[[], None] = staticmethod(lambda: None)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield

    def ask_to_stop(self) -> None:
        """Answer what is under way, then end."""
        self.asked_to_stop_at = self.asked_to_stop_at or time.monotonic()
        self.should_exit = True
        self.on_asked()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        if self.started:
            self.on_started()


class AddressUnavailable(Exception):
    """The address to listen on cannot be had; the text says why and what to do."""


def _counted(count: int, one: str, several: str) -> str:
    return f"{count} {one if count == 1 else several}"


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise AddressUnavailable(
            f"cannot listen on {host}:{port}: {error.strerror}; change web.listen_address or end what listens there"
        ) from None
    listener.listen(2048)
    listener.setblocking(False)
    return listener


def _tls_context(settings: TlsServerConfig) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=settings.client_ca_file)
    context.load_cert_chain(settings.cert_file, settings.key_file)
    if settings.client_ca_file is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _spare_the_collector() -> None:
    """Have the garbage collector leave alone what was made at the start, and look less often at the rest.

    What comes and goes with a webhook holds no cycles; looking for some took half of the time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


@contextmanager
def _switching_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_INTERVAL)
    with contextlib.ExitStack() as stack:
        stack.callback(sys.setswitchinterval, before)
        yield
