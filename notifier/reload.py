"""Reloads: the file is read again and put in force, whole or not at all."""

from __future__ import annotations

import asyncio
import hashlib
import json
import ssl
from collections.abc import Callable
from pathlib import Path

import structlog

from notifier import systemd
from notifier.clock import Clock
from notifier.config.loading import ConfigurationError, Loading
from notifier.config.loading import load as load_configuration
from notifier.config.model import Configuration
from notifier.config.secrets import secrets_of
from notifier.config.web import TlsServerConfig
from notifier.logs import Redaction
from notifier.metrics import Metrics
from notifier.oncall.schedules import Calendar
from notifier.rendering.templates import Templates
from notifier.runtime import Current, prepare
from notifier.server import tls_context
from notifier.store.engine import StoreUnavailable
from notifier.store.reloads import Reload, Reloads
from notifier.web.connections import Connections

log = structlog.get_logger(__name__)

_HASH_BYTES = 6
"""As many as a floating point number holds exactly; Alertmanager's hash has as many."""
_LONGEST_RECORDING = 5.0  # seconds


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


class Reloader:
    """The configuration in force, and its replacement by a newer one."""

    def __init__(self, file: Path, redaction: Redaction, metrics: Metrics, clock: Clock) -> None:
        """Read *file*.

        Raises:
            ConfigurationError: it cannot be used.
        """
        self.file = file
        self._redaction = redaction
        self._metrics = metrics
        self._clock = clock
        self._lock = asyncio.Lock()
        self._subscribers: list[Callable[[Configuration], object]] = []
        self._problem: str | None = None
        self._restart_keys: tuple[str, ...] = ()
        loading, templates = load(file)
        if loading.configuration is None:
            raise ConfigurationError(file, loading.errors)
        self._started_with = loading.configuration
        self._announce(loading, loading.configuration)
        calendars: dict[tuple[str, str], Calendar] = {}
        self.current = Current(prepare(loading, templates, metrics.observe_call, calendars), calendars)
        self._show_success(loading, loading.configuration)

    def subscribe(self, subscriber: Callable[[Configuration], object]) -> None:
        """Have *subscriber* called with each configuration that a reload puts in force."""
        self._subscribers.append(subscriber)

    def warnings(self) -> list[str]:
        """Return the problems of the configuration in use: a failed reload, or a restart that is needed."""
        warnings = []
        if self._problem is not None:
            warnings.append(f"the last reload failed, the configuration before is in force: {self._problem}")
        if self._restart_keys:
            warnings.append(f"a restart is needed for the change of {', '.join(self._restart_keys)}")
        return warnings

    async def reload(self, reloads: Reloads, connections: Connections, by: str | None = None) -> str | None:
        """Read the file again and put it in force; return its errors, in which case nothing changes.

        Args:
            reloads: where the reload is recorded.
            connections: get the new certificate.
            by: the user or token that asked for it.
        """
        async with self._lock:  # one after the other: the file that was read last is in force
            systemd.reloading()
            try:
                problems = await self._reload(connections, by)
                await self._record(reloads, by)
                return problems
            finally:
                systemd.notify("READY=1")

    async def _reload(self, connections: Connections, by: str | None) -> str | None:
        loop = asyncio.get_running_loop()
        loading, templates = await loop.run_in_executor(None, load, self.file)
        if loading.configuration is None:
            problems = "\n".join(problem.render(str(self.file)) for problem in loading.errors)
            return self._refuse(problems, loading.errors[0].render(self.file.name), by)
        new = loading.configuration
        try:
            tls = self._renewed_tls(new.web.tls_server_config, connections.tls)
        except OSError as error:  # ssl.SSLError is one
            problem = (
                f"web.tls_server_config: its files cannot be loaded: {error}; check them, and reload again"
            )
            return self._refuse(problem, problem, by)
        self._announce(loading, new)
        before = self.current.runtime.templates
        runtime = prepare(loading, templates, self._metrics.observe_call, self.current.calendars)
        self.current.runtime = runtime
        loop.run_in_executor(None, templates.start)
        loop.run_in_executor(None, before.close)
        connections.tls = tls
        self._show_restart(new)
        self._problem = None
        self._show_success(loading, new)
        log.info("configuration reloaded", file=str(self.file), by=by)
        for subscriber in self._subscribers:
            subscriber(new)
        return None

    def _renewed_tls(
        self, settings: TlsServerConfig | None, before: ssl.SSLContext | None
    ) -> ssl.SSLContext | None:
        """Return the TLS context for new connections; whether there is TLS is decided at the start."""
        has_tls = self._started_with.web.tls_server_config is not None
        return tls_context(settings) if settings is not None and has_tls else before

    def _refuse(self, problems: str, first: str, by: str | None) -> str:
        log.error("reload failed, the old configuration stays in use", problems=problems, by=by)
        self._problem = first
        self._metrics.reload_successful.set(False)
        return problems

    async def _record(self, reloads: Reloads, by: str | None) -> None:
        problem = self._problem and self._redaction.hide(self._problem)
        written = reloads.add(Reload(self._clock(), by, problem))
        try:
            await asyncio.wait_for(asyncio.wrap_future(written), _LONGEST_RECORDING)
        except (StoreUnavailable, TimeoutError) as error:  # the reload itself has been done, or refused
            log.error("reload cannot be recorded", by=by, error=str(error) or "it takes too long")

    def _announce(self, loading: Loading, configuration: Configuration) -> None:
        """Log warnings about a file, and keep its secrets and numbers out of the logs."""
        for problem in loading.problems:
            log.warning("configuration", problem=problem.render(str(self.file)))
        self._redaction.keep_secret(secrets_of(configuration))
        self._redaction.mask_numbers(configuration.numbers())

    def _show_restart(self, new: Configuration) -> None:
        """Report which changes take effect at the next start."""
        old = self._started_with
        has_tls, had_tls = (one.web.tls_server_config is not None for one in (new, old))
        changes = {
            "web.listen_address": old.web.listen_address != new.web.listen_address,
            "web.tls_server_config": has_tls != had_tls,
            "storage.url": old.storage.url != new.storage.url,
        }
        self._restart_keys = tuple(key for key, is_changed in changes.items() if is_changed)
        for key in self._restart_keys:
            log.warning("a change takes effect at the next start", key=key)
        self._metrics.restart_required.set(bool(self._restart_keys))

    def _show_success(self, loading: Loading, configuration: Configuration) -> None:
        written = json.dumps(loading.written, sort_keys=True, default=str).encode()
        self._metrics.config_hash.set(int.from_bytes(hashlib.sha256(written).digest()[:_HASH_BYTES]))
        self._metrics.reload_successful.set(True)
        self._metrics.reload_success_timestamp.set(self._clock().timestamp())
        self._metrics.expect_receivers(receiver.name for receiver in configuration.receivers)
        self._metrics.expect_templates(receiver.template for receiver in configuration.receivers)
