"""Pages as HTML."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import Response

from notifier import __version__
from notifier.runtime import Current
from notifier.web.pages.context import View
from notifier.web.pages.home import HomeView
from notifier.web.pages.incident import IncidentView

HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "referrer-policy": "same-origin",  # with no-referrer, forms have "Origin: null" where there is no Fetch Metadata
}
_TEMPLATES = Path(__file__).parent / "templates"
_LIVE = (HomeView, IncidentView)
"""The pages that are kept current."""


@dataclass(frozen=True, slots=True)
class ProblemView(View):
    """Why there is no page."""

    template: ClassVar[str] = "problem.html"
    title: str
    message: str
    back: str | None = None
    """Where to go on, for somebody who opened a link; others have the menu."""
    way: str = "Back"
    """The words for that."""

    @property
    def has_menu(self) -> bool:
        """Whether links to the other pages are shown."""
        return self.back is None


class Renderer:
    """Renders views."""

    def __init__(self, current: Current) -> None:
        """Show times in the zone of the configuration in force."""
        self._current = current
        self._environment = Environment(
            loader=FileSystemLoader(_TEMPLATES),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def page(self, view: View, path: str, status: int = 200) -> Response:
        """Return the page at *path* as an answer."""
        return Response(self._render("base.html", view, path), status, HEADERS, "text/html; charset=utf-8")

    def problem(
        self,
        path: str,
        status: int,
        title: str,
        message: str,
        back: str | None = None,
        way: str = "Back",
    ) -> Response:
        """Return the page for a *path* without a page, with the reason, and a *way* to the address *back*."""
        return self.page(ProblemView(title, message, back, way), path, status)

    def fragment(self, view: View, path: str) -> str:
        """Return the content of the page at *path* alone."""
        return self._render("bare.html", view, path)

    def _render(self, base: str, view: View, path: str) -> str:
        general: dict[str, Any] = {
            "base": base,
            "here": path,
            "is_live": isinstance(view, _LIVE) and view.has_menu,
            "has_menu": view.has_menu,
            "version": __version__,
            "zone": str(self._current.runtime.configuration.global_.time_zone),
        }
        shown = {field.name: getattr(view, field.name) for field in fields(view)}  # type: ignore[arg-type]  # a dataclass
        return self._environment.get_template(view.template).render({**general, **shown})
