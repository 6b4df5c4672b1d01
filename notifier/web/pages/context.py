"""What all pages use: the sources of their content, and who reads them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar
from urllib.parse import unquote

from starlette.requests import Request

from notifier.clock import Clock
from notifier.health import Readiness
from notifier.logs import Redaction
from notifier.permissions import Permission
from notifier.runtime import Current
from notifier.store.store import Store
from notifier.web.pages.moments import Viewer
from notifier.web.pages.words import LANGUAGES, preferred
from notifier.workers.account_monitor import AccountMonitor

ME = "notifier-me"
"""The cookie with the name of the contact who acts."""


class Missing(Exception):
    """There is no such page; the text names what is missing."""


class View:
    """The content of a page: a dataclass, whose fields the template gets."""

    template: ClassVar[str]
    is_live: ClassVar[bool] = False
    """Whether the page is kept current."""

    @property
    def has_menu(self) -> bool:
        """Whether links to the other pages are shown: their readers can sign in."""
        return True


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads a page. *user* is who is signed in, *name* who acts.

    A user who is a contact acts as that one. Others, such as a login that a team shares, choose a contact, or act as
    the user; *name* is empty until this browser knows.
    """

    user: str | None
    name: str
    language: str
    may_act: bool = True


def stranger(request: Request) -> Reader:
    """Return the reader of a page for whoever makes *request*, in the language of the browser."""
    return Reader(None, "", preferred(request.headers.get("accept-language", "")))


@dataclass(frozen=True, slots=True)
class PageContext:
    """The sources of the pages."""

    store: Store
    current: Current
    clock: Clock
    account: AccountMonitor
    readiness: Callable[[], Readiness]
    redaction: Redaction

    def reader(self, request: Request) -> Reader:
        """Return the reader for *request*, with the language of the contact, or else of the browser."""
        user: str | None = request.state.caller.user
        contacts = self.current.runtime.contacts
        may_act = request.state.caller.has(Permission.ACT)
        chosen = unquote(request.cookies.get(ME, ""))
        name = chosen if chosen in self.people(user) else ""
        if user is not None and user in contacts:
            name = user
        if name in contacts:
            return Reader(user, name, self.language_of(name), may_act)
        return replace(stranger(request), user=user, name=name, may_act=may_act)

    def outsider(self, request: Request) -> Reader:
        """Return the reader of a page that anybody may see, in the language of who acts in this browser."""
        chosen = unquote(request.cookies.get(ME, ""))
        reader = stranger(request)
        known = chosen in self.current.runtime.contacts
        return replace(reader, language=self.language_of(chosen)) if known else reader

    def people(self, user: str | None) -> tuple[str, ...]:
        """Return the names under which *user*, or whoever is not signed in, may act."""
        contacts = tuple(self.current.runtime.contacts)
        if user in contacts:
            return (str(user),)
        return (*contacts, user) if user else contacts

    def choices(self, user: str | None) -> tuple[str, ...]:
        """Return the names under which *user* may act, those who are on call first."""
        now, schedules = self.clock(), self.current.runtime.schedules.by_name.values()
        on_call = {schedule.on_call(now) for schedule in schedules}
        return tuple(sorted(self.people(user), key=lambda name: name not in on_call))

    def is_secure(self, request: Request) -> bool:
        """Return whether *request* came by TLS, also if a proxy ended that."""
        external = self.current.runtime.configuration.global_.external_url or ""
        origin = request.headers.get("origin", "")
        return "https" in {one.partition(":")[0] for one in (str(request.url), external, origin)}

    def language_of(self, contact: str) -> str:
        """Return the language of *contact*, if the pages have it, else English."""
        language = self.current.runtime.language(contact)
        return language if language in LANGUAGES else "en"

    def viewer(self, reader: Reader) -> Viewer:
        """Return the time zone, language and time for *reader*: those of the contact, or `global.time_zone`."""
        runtime = self.current.runtime
        known = runtime.contacts.get(reader.name)
        zone = known.time_zone if known is not None else runtime.configuration.global_.time_zone
        return Viewer(zone, self.clock(), LANGUAGES[reader.language])
