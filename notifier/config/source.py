"""A YAML file as plain values, each with its line and column.

Reads the core schema of YAML 1.2: ``true``, ``false``, ``null`` and decimal numbers have their types and everything
else is text, so that ``on``, ``12:30`` and ``+33 6 39 98 00 01`` stay as written. ``${NAME}`` in a text is replaced
from the environment, ``$$`` is a dollar. Bounded on purpose: a file of any content is read, or refused, at once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

MAX_BYTES = 1024 * 1024
MAX_VALUES = 50_000
MAX_DEPTH = 50

Path_ = tuple[str | int, ...]
"""Where a value is in the file: keys and positions from the top, such as ``("contacts", 0, "phone")``."""

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*)", re.ASCII)
_FLOAT = re.compile(r"-?(?:0|[1-9][0-9]*)\.[0-9]+", re.ASCII)
_VARIABLE = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)\})", re.ASCII)


@dataclass(frozen=True, order=True, slots=True)
class Position:
    """A place in a file, both counted from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a file. A warning does not keep the configuration from being used."""

    position: Position
    path: Path_
    message: str
    is_warning: bool = False
    file: str | None = None
    """The file, if it is not the one that was read (a template)."""

    def render(self, file: str) -> str:
        """Write it as ``FILE:LINE:COL: path: message``."""
        where = f"{self.file or file}:{self.position.line}:{self.position.column}: "
        warning = "warning: " if self.is_warning else ""
        path = f"{dotted(self.path)}: " if self.path else ""
        return f"{where}{warning}{path}{self.message}"


def dotted(path: Path_) -> str:
    """Write *path* as people do: ``contacts[0].phone``."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


@dataclass(slots=True)
class Source:
    """The content of a file: its *value*, the *problems* of reading it, and where each value stands."""

    value: Any = None
    problems: list[Problem] = field(default_factory=list)
    positions: dict[Path_, Position] = field(default_factory=dict)
    keys: dict[Path_, Position] = field(default_factory=dict)

    def position(self, path: Path_) -> Position:
        """Return where *path* stands, or the nearest thing around it that is there."""
        while path and path not in self.positions:
            path = path[:-1]
        return self.positions.get(path, Position(1, 1))

    def key_position(self, path: Path_) -> Position:
        """Return where the key of *path* stands."""
        return self.keys.get(path) or self.position(path)


class _Refused(Exception):
    def __init__(self, message: str, position: Position = Position(1, 1), path: Path_ = ()) -> None:
        self.problem = Problem(position, path, message)


def read_source(file: Path, environment: Mapping[str, str]) -> Source:
    """Read *file*; errors are in the result's problems, never raised."""
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
        return Source(problems=[Problem(Position(1, 1), (), message)])
    return parse_source(data, environment)


def parse_source(data: bytes, environment: Mapping[str, str]) -> Source:
    """Read the YAML in *data*; errors are in the result's problems, never raised."""
    source = Source()
    try:
        text = _decode(data)
        _Reader(text, source, environment).read()
        if source.value is None and not source.problems:
            raise _Refused("is empty; start from config/minimal.yml")
        if not isinstance(source.value, dict):
            raise _Refused(f"is {kind_of(source.value)} at the top; it must be a mapping of keys")
    except _Refused as refused:
        source.value = None
        source.problems.append(refused.problem)
    except yaml.MarkedYAMLError as error:
        source.value = None
        mark = error.problem_mark or error.context_mark
        position = Position(mark.line + 1, mark.column + 1) if mark else Position(1, 1)
        what = ", ".join(filter(None, (error.context, error.problem)))
        source.problems.append(Problem(position, (), f"is not YAML: {what}"))
    except yaml.YAMLError as error:
        source.value = None
        source.problems.append(Problem(Position(1, 1), (), f"is not YAML: {' '.join(str(error).split())}"))
    return source


def _decode(data: bytes) -> str:
    if len(data) > MAX_BYTES:
        raise _Refused(f"is larger than {MAX_BYTES // 1024} KiB, the most a configuration may be")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        column = error.start - before.rfind(b"\n")
        raise _Refused(
            f"is not UTF-8: byte 0x{data[error.start]:02x}; save it as UTF-8",
            Position(before.count(b"\n") + 1, column),
        ) from None


def kind_of(value: Any) -> str:
    """Name the type of a value as the file's author knows it."""
    match value:
        case None:
            return "empty"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "a text"
        case list():
            return "a list"
        case _:
            return "a mapping"


class _Reader:
    """Builds values from the parser's events, so that depth and size are bounded as they come."""

    def __init__(self, text: str, source: Source, environment: Mapping[str, str]) -> None:
        self._events = iter(yaml.parse(text, Loader=_LOADER))
        self._source = source
        self._environment = environment
        self._anchors: dict[str, tuple[Any, int] | None] = {}
        self._count = 0

    def read(self) -> None:
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent) and self._count:
                raise _Refused("holds a second document; only one is read", _position(event))
            if isinstance(event, yaml.NodeEvent):
                self._source.value = self._node(event, ())

    def _node(self, event: Any, path: Path_) -> Any:
        if len(path) > MAX_DEPTH:
            raise _Refused(f"is nested deeper than {MAX_DEPTH} levels", _position(event), path[:3])
        self._source.positions.setdefault(path, _position(event))
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, path)
        before = self._count
        self._counted(1, event)
        anchor = event.anchor
        if anchor is not None:
            self._anchors[anchor] = None  # until it is whole, it cannot be referred to
        value: Any
        if isinstance(event, yaml.ScalarEvent):
            value = self._scalar(event, path)
        elif isinstance(event, yaml.SequenceStartEvent):
            value = self._sequence(path)
        else:
            value = self._mapping(path)
        if anchor is not None:
            self._anchors[anchor] = value, self._count - before
        return value

    def _counted(self, values: int, event: Any) -> None:
        self._count += values
        if self._count > MAX_VALUES:
            raise _Refused(f"holds more than {MAX_VALUES} values once aliases are followed", _position(event))

    def _alias(self, event: Any, path: Path_) -> Any:
        anchor = self._anchors.get(event.anchor)
        if anchor is None:
            raise _Refused(f"*{event.anchor} refers to no anchor before it", _position(event), path)
        value, size = anchor
        self._counted(size, event)
        return value

    def _sequence(self, path: Path_) -> list[Any]:
        values: list[Any] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            values.append(self._node(event, (*path, len(values))))
        return values

    def _mapping(self, path: Path_) -> dict[str, Any]:
        values: dict[str, Any] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                raise _Refused("a key must be a plain word", _position(event), path)
            key = event.value
            here = (*path, key)
            if key in values:
                message = f'the key "{key}" stands here twice; keep one'
                self._source.problems.append(Problem(_position(event), here, message))
            self._source.keys.setdefault(here, _position(event))
            values[key] = self._node(next(self._events), here)
        return values

    def _scalar(self, event: Any, path: Path_) -> Any:
        text: str = event.value
        if event.style in (None, "") and not event.tag:
            if text in ("", "~", "null", "Null", "NULL"):
                return None
            if text in ("true", "True", "TRUE", "false", "False", "FALSE"):
                return text.lower() == "true"
            if _INTEGER.fullmatch(text) and len(text) < 18:
                return int(text)
            if _FLOAT.fullmatch(text):
                return float(text)
        return self._expanded(text, event, path)

    def _expanded(self, text: str, event: Any, path: Path_) -> str:
        def replace(match: re.Match[str]) -> str:
            if match["dollar"]:
                return "$"
            value = self._environment.get(match["name"])
            if value is None:
                message = f"the environment variable {match['name']} is not set (a dollar itself is $$)"
                self._source.problems.append(Problem(_position(event), path, message))
                return match[0]
            return value

        return _VARIABLE.sub(replace, text)


def _position(event: Any) -> Position:
    return Position(event.start_mark.line + 1, event.start_mark.column + 1)
