"""Pages as HTML."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import Response

from notifier import __version__
from notifier.web.pages.context import PageContext, Reader, View
from notifier.web.pages.delivery_status import DeliveryStatus
from notifier.web.pages.seams import with_seams
from notifier.web.pages.words import LANGUAGES

HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "manifest-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "referrer-policy": "same-origin",  # with no-referrer, forms have "Origin: null" where there is no Fetch Metadata
}
_VARY = {"vary": "accept-language, authorization, cookie"}
_TEMPLATES = Path(__file__).parent / "templates"
_STRANGER = Reader(None, "", "en")


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

    def __init__(self, context: PageContext) -> None:
        """Show the times and languages of the configuration in *context*."""
        self._context = context
        self._environments = {language: _environment(language) for language in LANGUAGES}

    def page(
        self,
        view: View,
        path: str,
        reader: Reader,
        status: int = 200,
        *,
        query: str = "",
        delivery: DeliveryStatus | None = None,
    ) -> Response:
        """Return the page at *path*, with the *query*, as an answer to *reader*; *delivery* is shown in its bar."""
        text = self._render("base.html", view, path, query, reader, delivery)
        return Response(text, status, {**HEADERS, **_VARY}, "text/html; charset=utf-8")

    def problem(
        self,
        path: str,
        status: int,
        title: str,
        message: str,
        back: str | None = None,
        way: str = "Back",
        reader: Reader = _STRANGER,
    ) -> Response:
        """Return the page for a *path* without a page, with the reason, and a *way* to the address *back*."""
        return self.page(ProblemView(title, message, back, way), path, reader, status)

    def fragment(self, view: View, path: str, reader: Reader, delivery: DeliveryStatus | None) -> str:
        """Return what a page that is kept current shows of *view*."""
        return self._render("bare.html", view, path, "", reader, delivery)

    def _render(
        self, base: str, view: View, path: str, query: str, reader: Reader, delivery: DeliveryStatus | None
    ) -> str:
        viewer = self._context.viewer(reader)
        general: dict[str, Any] = {
            "base": base,
            "here": path,
            "whole_path": f"{path}?{query}" if query else path,
            "is_live": view.is_live and view.has_menu,
            "has_menu": view.has_menu,
            "reader": reader,
            "delivery": delivery,
            "version": __version__,
            "zone": str(viewer.zone),
            "now": viewer.moment(viewer.now).exact,
        }
        shown = {field.name: getattr(view, field.name) for field in fields(view)}  # type: ignore[arg-type]  # a dataclass
        template = self._environments[reader.language].get_template(view.template)
        return template.render({**general, **shown, "view": view})


def _environment(language: str) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    words = LANGUAGES[language]
    environment.globals.update(_=words, plural=words.plural, before_time=words.before, language=language)
    environment.filters["seams"] = with_seams
    return environment
