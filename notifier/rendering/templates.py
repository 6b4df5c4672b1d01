"""The templates: compiled, and rendered with their context."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import (
    Template,
    TemplateNotFound,
    TemplateSyntaxError,
)

from notifier.assets import TEMPLATES
from notifier.config.source import Position, Problem
from notifier.limited_process import MAX_MEMORY, ProcessEnded
from notifier.rendering.filters import make_environment
from notifier.rendering.template_process import TemplateProcess

MAX_SOURCE = 64 * 1024
"""The characters that a template may have."""


@dataclass(frozen=True, slots=True)
class TemplateFailure:
    """Why a template gave no text, and where."""

    template: str
    file: str
    line: int
    reason: str


class Templates:
    """The templates by the names of their files: those of the operator before the shipped ones."""

    def __init__(self, files: Mapping[str, Path] | None = None) -> None:
        """Read and compile *files* and the shipped templates; `problems` lists those that do not compile."""
        self.problems: list[Problem] = []
        self.process: TemplateProcess | None = None
        """Where texts are composed; None for this process."""
        self._sources: dict[str, tuple[str, str]] = {}
        for name, file in (TEMPLATES | dict(files or {})).items():
            try:
                source = file.read_text(encoding="utf-8")
            except OSError as error:
                self._report(file, 1, f"cannot be read: {error.strerror}")
            except UnicodeDecodeError:
                self._report(file, 1, "is not UTF-8; save it as UTF-8")
            else:
                if len(source) > MAX_SOURCE:
                    self._report(file, 1, f"is larger than {MAX_SOURCE // 1024} KiB")
                else:
                    self._sources[name] = source, str(file)
        self._compile()

    @classmethod
    def of_sources(cls, sources: Mapping[str, tuple[str, str]]) -> Templates:
        """Return the templates by the names of their files, each with its source and path."""
        made = cls.__new__(cls)
        made.problems, made.process, made._sources = [], None, dict(sources)
        made._compile()
        return made

    def isolate(self) -> None:
        """Have texts composed in a process of its own from now on, with limits of memory and computing."""
        self.process = TemplateProcess(self._sources)

    def start(self) -> None:
        """Start that process now, if there is one, so that the first page does not wait for it."""
        if self.process is not None:
            self.process.start()

    def close(self) -> None:
        """End that process, if there is one, once it has answered."""
        if self.process is not None:
            self.process.close()

    def _compile(self) -> None:
        self._compiled: dict[str, Template] = {}
        sources = {name: (source, file, None) for name, (source, file) in self._sources.items()}
        environment = make_environment(sources.get)
        for name, (_, file) in self._sources.items():
            try:
                self._compiled[name] = environment.get_template(name)
            except TemplateSyntaxError as error:
                self._report(Path(error.filename or file), error.lineno, f"does not compile: {error.message}")
            except RecursionError:
                self._report(Path(file), 1, "does not compile: it is nested too deep")
            except Exception as error:  # Python refuses what Jinja made of it, as dict(a=1, a=2)
                self._report(Path(file), 1, f"does not compile: {error}")

    def _report(self, file: Path, line: int, message: str) -> None:
        self.problems.append(Problem(Position(line, 1), ("templates",), message, file=str(file)))

    def sources(self, name: str) -> list[tuple[str, str]]:
        """Return the file and source of the template *name* in every language it has."""
        stem = re.compile(rf"{re.escape(name)}(\.[a-z]{{2}})?\.j2")
        return [(file, text) for key, (text, file) in self._sources.items() if stem.fullmatch(key)]

    def _file(self, name: str, language: str) -> str:
        localised = f"{name}.{language}.j2"
        return localised if localised in self._sources else f"{name}.j2"

    def render(self, name: str, language: str, context: Mapping[str, Any]) -> str | TemplateFailure:
        """Render the template *name*, in *language* if there is a file for it."""
        file_name = self._file(name, language)
        template = self._compiled.get(file_name)
        if template is None:
            return TemplateFailure(name, file_name, 1, "there is no such template, or it does not compile")
        try:
            return template.render(context)
        except TemplateNotFound as error:
            return self._failure(
                name, file_name, error, f'there is no template "{str(error.message)[:200]}" to include'
            )
        except MemoryError as error:
            return self._failure(name, file_name, error, f"it takes more than {MAX_MEMORY // 1024**2} MiB")
        except Exception as error:
            return self._failure(name, file_name, error, f"{type(error).__name__}: {str(error)[:200]}")

    def ended(self, name: str, language: str, error: ProcessEnded) -> TemplateFailure:
        """Return that rendering the template *name* ended with *error*."""
        _, file = self._sources.get(self._file(name, language), ("", name))
        return TemplateFailure(name, file, 1, str(error))

    def _failure(self, name: str, file_name: str, error: BaseException, reason: str) -> TemplateFailure:
        file, line = self._sources[file_name][1], 1
        files = {source[1] for source in self._sources.values()}
        traceback = error.__traceback__
        while traceback is not None:
            if traceback.tb_frame.f_code.co_filename in files:
                file, line = traceback.tb_frame.f_code.co_filename, traceback.tb_lineno
            traceback = traceback.tb_next
        return TemplateFailure(name, file, line, reason)
