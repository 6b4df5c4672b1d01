"""A configuration file as plain values, with the positions of its values and the problems found so far."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from notifier.config.source import Path_, Problem, Source


@dataclass(slots=True)
class RawFile:
    """The values of a file before they are models."""

    source: Source
    directory: Path
    """The directory that relative paths of the file start from."""
    value: dict[str, Any]
    refused: set[Path_] = field(default_factory=set)
    """The paths of keys that were refused."""
    unread: set[Path_] = field(default_factory=set)
    """The paths of secrets whose files could not be read."""

    def problem(self, path: Path_, message: str, *, is_warning: bool = False) -> None:
        """Report a problem with the value at *path*."""
        self.source.problems.append(Problem(self.source.position(path), path, message, is_warning))

    def refuse_key(self, path: Path_, message: str) -> None:
        """Report a problem with the key at *path*; its value is not looked at."""
        self.refused.add(path)
        self.source.problems.append(Problem(self.source.key_position(path), path, message))

    def section(self, name: str) -> dict[str, Any]:
        """Return the section *name* of the file; an empty one if it is not a mapping."""
        section = self.value.get(name)
        return section if isinstance(section, dict) else {}

    def sections(self, path: Path_) -> Iterator[tuple[Path_, dict[str, Any]]]:
        """Yield the sections at *path* with their paths: the one, or each of a list."""
        value: Any = self.value
        for step in path:
            value = value.get(step) if isinstance(value, dict) else None
        if isinstance(value, dict):
            yield path, value
        for number, item in enumerate(value if isinstance(value, list) else []):
            if isinstance(item, dict):
                yield (*path, number), item

    def items(self, name: str) -> Iterator[tuple[Path_, dict[str, Any]]]:
        """Yield the sections of the list *name* with their paths."""
        items = self.value.get(name)
        for number, item in enumerate(items if isinstance(items, list) else []):
            if isinstance(item, dict):
                yield (name, number), item


def names_of(items: Any) -> list[str]:
    """Return the names of the sections in a list."""
    if not isinstance(items, list):
        return []
    return [item["name"] for item in items if isinstance(item, dict) and isinstance(item.get("name"), str)]


def nearest(word: str, words: Iterable[str]) -> str:
    """Return a hint at the one of *words* that is nearest to *word*; empty if none is near."""
    close = difflib.get_close_matches(word, list(words), n=1)
    return f'; did you mean "{close[0]}"?' if close else ""
