"""Jinja's sandbox with limits on time and size: a template that loops for ever or doubles a text costs no page.

The sandbox of Jinja keeps templates from files and calls, not from computing. So each loop, macro and include counts
its rounds against a budget, and no operation makes a value larger than a text can be of use.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from types import CodeType
from typing import Any

from jinja2 import nodes
from jinja2.exceptions import TemplateRuntimeError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

MAX_SOURCE = 64 * 1024
"""The characters that a template may have."""
_MOST_ROUNDS = 100_000
_MOST_SECONDS = 1.0  # of computing, for one text
_LONGEST = 20_000
"""The length that a text or list may have; SMS of six parts hold 918 characters."""
_MOST_WRITTEN = 200_000
_LARGEST = 10_000
"""The largest number that may be given to a function or filter, as a width or a count."""
_LONGEST_RANGE = 1000
_MOST_BITS = 4096
_WIDE = re.compile(r"\d{5}|\*")
"""In a format, a width that is too large, or one that is given beside it."""


class LimitExceeded(TemplateRuntimeError):
    """A template computes too long, or makes something too large."""


class _Budget(threading.local):
    rounds = 0
    written = 0
    until = float("inf")


class LimitedEnvironment(ImmutableSandboxedEnvironment):
    """An environment whose templates are rendered within limits, each text under `budget`."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self, **options: Any) -> None:
        """Take the *options* of a Jinja environment."""
        super().__init__(**options, finalize=self._written, optimized=False)
        self._budget = _Budget()
        self.globals.pop("lipsum")
        self.globals["range"] = _bounded_range
        self.limit_filters(self.filters)

    def limit_filters(self, filters: Mapping[str, Callable[..., Any]]) -> None:
        """Have *filters* within limits, too."""
        self.filters |= {name: _limited(filter_, name) for name, filter_ in filters.items()}

    @contextmanager
    def budget(self) -> Iterator[None]:
        """Render one text."""
        own = self._budget
        own.rounds, own.written, own.until = 0, 0, time.thread_time() + _MOST_SECONDS
        try:
            yield
        finally:
            own.until = float("inf")

    def compile(self, source: Any, name: Any = None, filename: Any = None, *args: Any, **how: Any) -> Any:
        """Compile *source* with its rounds counted."""
        if isinstance(source, str):
            tree = self.parse(source, name, filename)
            source = _Counting().visit(tree)
        compiled: str | CodeType = super().compile(source, name, filename, *args, **how)
        return compiled

    def count(self, literal: int) -> str:
        """Count a round that writes *literal* characters of the template itself.

        Raises:
            LimitExceeded: there were too many.
        """
        own = self._budget
        own.rounds += 1
        if own.rounds > _MOST_ROUNDS or time.thread_time() > own.until:
            raise LimitExceeded("the template computes for too long")
        self._add(literal)
        return ""

    def joined(self, *parts: object) -> str:
        """Return *parts* as one text: the ``~`` of templates."""
        text = "".join(_checked(str(part)) for part in parts)
        _check_size(len(text))
        return text

    def _written(self, value: Any) -> Any:
        if isinstance(value, str):
            self._add(len(_checked(value)))
        return value

    def _add(self, characters: int) -> None:
        self._budget.written += characters
        if self._budget.written > _MOST_WRITTEN:
            raise LimitExceeded("the template writes too much")

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call *obj* unless it is given something too large."""
        owner = getattr(getattr(obj, "__wrapped__", obj), "__self__", None)  # the sandbox wraps str.format
        if owner is self:
            return super().call(context, obj, *args, **kwargs)
        name = getattr(obj, "__name__", "")
        _check_arguments(name, owner, (*args, *kwargs.values()))
        return _checked(super().call(context, obj, *args, **kwargs))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Compute *left* *operator* *right* unless that is too large."""
        if operator == "%" and isinstance(left, str):
            _check_format(left)
        elif operator == "+" and _is_long(left) and _is_long(right):
            _check_size(len(left) + len(right))
        elif operator in ("*", "**") and isinstance(left, int) and isinstance(right, int):
            bits = left.bit_length() * (max(right, 0) if operator == "**" else 1) + right.bit_length()
            if bits > _MOST_BITS:
                raise LimitExceeded("a number is too large")
        elif operator == "*":
            long, times = (left, right) if _is_long(left) else (right, left)
            if _is_long(long) and isinstance(times, int):
                _check_size(len(long) * times)
        return super().call_binop(context, operator, left, right)


class _Counting(NodeTransformer):
    """Adds a count to each loop, macro, call block and include, and limits ``~``."""

    def _counted(self, node: Any) -> nodes.Node:
        self.generic_visit(node)
        node.body.insert(0, _count(node, node.body))
        return node  # type: ignore[no-any-return]

    visit_For = visit_Macro = visit_CallBlock = visit_Block = _counted  # noqa: N815 (Jinja calls them so)

    def visit_Include(self, node: nodes.Include) -> list[nodes.Node]:  # noqa: N802 (Jinja calls it so)
        return [_count(node, []), node]

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802 (Jinja calls it so)
        self.generic_visit(node)
        return nodes.Call(
            nodes.EnvironmentAttribute("joined"), node.nodes, [], None, None, lineno=node.lineno
        )


def _count(node: nodes.Node, body: Iterable[nodes.Node]) -> nodes.Node:
    literal = sum(len(data.data) for part in body for data in part.find_all(nodes.TemplateData))
    call = nodes.Call(nodes.EnvironmentAttribute("count"), [nodes.Const(literal)], [], None, None)
    return nodes.ExprStmt(call).set_lineno(node.lineno, override=True)


def _bounded_range(*arguments: int) -> range:
    made = range(*arguments)
    if len(made) > _LONGEST_RANGE:
        raise LimitExceeded(f"a range is longer than {_LONGEST_RANGE}")
    return made


def _limited(filter_: Callable[..., Any], name: str) -> Callable[..., Any]:
    @wraps(filter_)
    def limited(*args: Any, **kwargs: Any) -> Any:
        # The value comes first, after the environment or context that some filters take.
        at = 1 if hasattr(filter_, "jinja_pass_arg") else 0
        _check_arguments(name, args[at] if len(args) > at else None, (*args[at + 1 :], *kwargs.values()))
        return _checked(filter_(*args, **kwargs))

    return limited


def _check_arguments(name: str, value: Any, arguments: Iterable[Any]) -> None:
    if isinstance(value, str):
        _check_size(len(value))
        if name in ("format", "format_map", "__mod__"):
            _check_format(value)
    longest = _LONGEST if name != "replace" else _LONGEST // 20
    for argument in arguments:
        if isinstance(argument, int) and abs(argument) > _LARGEST:
            raise LimitExceeded(f"{argument} is too large a number for {name}")
        if _is_long(argument) and len(argument) > longest:
            raise LimitExceeded(f"a text is too long for {name}")


def _check_format(format_: str) -> None:
    if _WIDE.search(format_):
        raise LimitExceeded("a format makes too wide a text")


def _is_long(value: Any) -> bool:
    return isinstance(value, str | list | tuple)


def _check_size(size: int) -> None:
    if size > _LONGEST:
        raise LimitExceeded("a text or list is too long")


def _checked(value: Any) -> Any:
    if _is_long(value):
        _check_size(len(value))
    return value
