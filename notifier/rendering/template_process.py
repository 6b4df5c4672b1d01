"""Texts by templates of the operator, composed in a process of their own: one that loops for ever costs no page."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from notifier.clock import elapsed
from notifier.limited_process import LimitedProcess, ProcessEnded, serve

REST = 600.0
"""Seconds for which a template is not tried again after it exceeded a limit: others wait for it."""


class TemplateProcess:
    """Composes texts by templates that may loop for ever or fill the memory."""

    def __init__(self, sources: Mapping[str, tuple[str, str]]) -> None:
        """Take the templates by the names of their files, each with its source and path."""
        self._process = LimitedProcess("notifier.rendering.template_process", dict(sources))
        self._resting: dict[str, tuple[float, str]] = {}
        """The templates that exceeded a limit: until when they are not tried, and why."""
        self._lock = threading.Lock()
        self.start, self.close = self._process.start, self._process.close

    def compose(self, template: str, arguments: tuple[object, ...]) -> dict[str, Any]:
        """Return the text that `compose.write_text` returns for *arguments*, in the form of `compose.to_json`.

        Raises:
            ProcessEnded: *template* takes too much memory or computing, or did so within `REST`.
        """
        with self._lock:
            until, why = self._resting.get(template, (0.0, ""))
            if elapsed() < until:
                why = f"{why}; it is tried again within {REST / 60:.0f} minutes, or after a reload"
                raise ProcessEnded(why, is_exceeded=True)
            try:
                found: dict[str, Any] = self._process.call(arguments)
            except ProcessEnded as error:
                if error.is_exceeded:
                    self._resting[template] = elapsed() + REST, str(error)
                raise
            return found


def _begin(sources: Mapping[str, tuple[str, str]]) -> Callable[[Any], Any]:
    from notifier.rendering.compose import to_json, write_text
    from notifier.rendering.templates import Templates

    templates = Templates.of_sources(sources)
    return lambda arguments: to_json(write_text(templates, *arguments))


if __name__ == "__main__":
    serve(_begin)
