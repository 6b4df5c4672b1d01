"""What all pages use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from notifier.clock import Clock
from notifier.health import Readiness
from notifier.logs import Redaction
from notifier.runtime import Current
from notifier.store.store import Store
from notifier.web.pages.moments import Viewer
from notifier.workers.account_monitor import AccountMonitor


class Missing(Exception):
    """There is no such page; the text names what is missing."""


class View:
    """The content of a page: a dataclass, whose fields the template gets."""

    template: ClassVar[str]

    @property
    def has_menu(self) -> bool:
        """Whether links to the other pages are shown: their readers can sign in."""
        return True


@dataclass(frozen=True, slots=True)
class PageContext:
    """The sources of the pages."""

    store: Store
    current: Current
    clock: Clock
    account: AccountMonitor
    readiness: Callable[[], Readiness]
    redaction: Redaction

    def viewer(self) -> Viewer:
        """Return the time zone (``global.time_zone``) and the time for which pages are shown."""
        return Viewer(self.current.runtime.configuration.global_.time_zone, self.clock())
