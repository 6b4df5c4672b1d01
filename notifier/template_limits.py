"""Jinja's sandbox with limits on time and size: a template that loops for ever or doubles a text costs no page.

The sandbox of Jinja keeps templates from files and calls, not from computing. Here each loop, macro and include
counts its rounds, and each value is measured that a literal, an operator, a function or a filter makes. Before an
operation whose result can be much larger than its operands, the product of their sizes is checked.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Callable, ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from contextlib import contextmanager
from functools import wraps
from string import Formatter
from types import CodeType, GeneratorType
from typing import Any

from jinja2 import nodes
from jinja2.exceptions import TemplateRuntimeError
from jinja2.runtime import Context, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

MAX_SOURCE = 64 * 1024
"""The characters that a template may have."""
_MOST_ROUNDS = 100_000
_MOST_SECONDS = 1.0  # of computing, for one text
_LONGEST_TEXT = 20_000
"""The characters that one text may have; SMS of six parts hold 918."""
_LARGEST = 200_000
"""The size of one value: its characters and items, counted recursively."""
_MOST_MADE = 10_000_000
"""The sizes of all values of one text together."""
_LARGEST_PRODUCT = 10_000_000
_WIDEST = 10_000
"""The largest width or count, and the sum of the widths in a format."""
_MOST_WRITTEN = 200_000
_LONGEST_RANGE = 1000
_MOST_BITS = 4096
_CONTAINER = 8
"""The size of an empty list or dictionary, which takes as much memory as that many items."""
_PERCENT = re.compile(r"%(?:\([^)]*\))?[-+ #0]*(\d+|\*)?(?:\.(\d+|\*))?")
"""A conversion of a ``%`` format with its width and precision; ``*`` takes them from the arguments."""
_FORMATS = frozenset({"%", "format", "format_map"})
_GROWS_WITH_TEXT = _FORMATS | {"batch", "indent", "join", "replace", "slice", "translate", "wordwrap"}
"""What makes a text or list that can be as large as the product of what it is given."""
_GROWS_WITH_NUMBER = frozenset(
    {
        "*",
        "batch",
        "center",
        "expandtabs",
        "indent",
        "ljust",
        "rjust",
        "round",
        "slice",
        "to_bytes",
        "tojson",
        "zfill",
    }
)
"""What makes a value as large as a number that it is given."""
_SEQUENCES = (str, bytes, list, tuple)
_SCALARS = (bool, float, type(None))
_LISTS = (list, tuple, set, frozenset, KeysView, ValuesView, ItemsView)


class LimitExceeded(TemplateRuntimeError):
    """A template computes too long, or makes something too large."""


class _Budget(threading.local):
    rounds = 0
    written = 0
    made = 0
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
        self.filters |= {name: self._limited(filter_, name) for name, filter_ in filters.items()}

    @contextmanager
    def budget(self) -> Iterator[None]:
        """Render one text."""
        own = self._budget
        own.rounds, own.written, own.made, own.until = 0, 0, 0, time.thread_time() + _MOST_SECONDS
        try:
            yield
        finally:
            own.until = float("inf")

    def compile(self, source: Any, name: Any = None, filename: Any = None, *args: Any, **how: Any) -> Any:
        """Compile *source* with its rounds counted and its values measured."""
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
        if own.rounds > _MOST_ROUNDS:
            raise LimitExceeded("the template computes for too long")
        self._check_time()
        self._add(literal)
        return ""

    def measured(self, value: Any) -> Any:
        """Return *value*, a generator as a list.

        Raises:
            LimitExceeded: it is too large, or all values of this text together are.
        """
        if isinstance(value, GeneratorType):
            return self._listed(value)
        self._make(_size(value))
        return value

    def joined(self, *parts: object) -> str:
        """Return *parts* as one text: the ``~`` of templates."""
        texts, length = [], 0
        for part in parts:
            text = self._text(part)
            length += len(text)
            _check_length(length)
            texts.append(text)
        self._make(length)
        return "".join(texts)

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call *obj* unless it is given something too large."""
        owner = getattr(getattr(obj, "__wrapped__", obj), "__self__", None)  # the sandbox wraps str.format
        if owner is self:
            return super().call(context, obj, *args, **kwargs)
        if not isinstance(obj, Macro):
            self._check_operands(getattr(obj, "__name__", ""), owner, (*args, *kwargs.values()))
        result = super().call(context, obj, *args, **kwargs)
        return result if isinstance(result, Namespace) else self.measured(result)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Compute *left* *operator* *right* unless that is too large."""
        if operator in ("*", "**") and isinstance(left, int) and isinstance(right, int):
            bits = left.bit_length() * (max(right, 0) if operator == "**" else 1) + right.bit_length()
            if bits > _MOST_BITS:
                raise LimitExceeded("a number is too large")
        elif operator == "*" and isinstance(left, _SEQUENCES):
            self._check_operands("*", left, (right,))
        elif operator == "*" and isinstance(right, _SEQUENCES):
            self._check_operands("*", right, (left,))
        elif operator == "%" and isinstance(left, str):
            self._check_operands("%", left, (right,))
        return self.measured(super().call_binop(context, operator, left, right))

    def _limited(self, filter_: Callable[..., Any], name: str) -> Callable[..., Any]:
        # The value comes first, after the environment or context that some filters take.
        at = 1 if hasattr(filter_, "jinja_pass_arg") else 0

        @wraps(filter_)
        def limited(*args: Any, **kwargs: Any) -> Any:
            value = args[at] if len(args) > at else None
            self._check_operands(name, value, (*args[at + 1 :], *kwargs.values()))
            return self.measured(filter_(*args, **kwargs))

        return limited

    def _check_operands(self, name: str, value: Any, arguments: Iterable[Any]) -> None:
        size = _size(value)
        self._make(size)
        if name in _FORMATS and isinstance(value, str) and _width(value) > _WIDEST:
            raise LimitExceeded("a format makes too wide a text")
        for argument in arguments:
            factor = _size(argument)
            self._make(factor)
            if isinstance(argument, int) and name in _GROWS_WITH_NUMBER:
                factor = abs(argument)
                if factor > _WIDEST:
                    raise LimitExceeded(
                        f"{argument} is too large a number for {name}, at most {_WIDEST} is allowed"
                    )
            elif name not in _GROWS_WITH_TEXT:
                continue
            if max(size, 1) * factor > _LARGEST_PRODUCT:
                raise LimitExceeded(f"{name} would make too large a value")

    def _written(self, value: Any) -> str:
        text = self._text(value)
        self._add(len(text))
        return text

    def _text(self, value: Any) -> str:
        if isinstance(value, str):
            _check_length(len(value))
            return value
        self.measured(value)
        return str(value)

    def _add(self, characters: int) -> None:
        self._budget.written += characters
        if self._budget.written > _MOST_WRITTEN:
            raise LimitExceeded("the template writes too much")

    def _make(self, size: int) -> None:
        self._budget.made += size
        if self._budget.made > _MOST_MADE:
            raise LimitExceeded("the template computes too much")
        self._check_time()

    def _check_time(self) -> None:
        if time.thread_time() > self._budget.until:
            raise LimitExceeded("the template computes for too long")

    def _listed(self, values: Iterable[Any]) -> list[Any]:
        listed, size = [], 0
        for value in values:
            size += _size(value) + 1
            if size > _LARGEST:
                raise LimitExceeded("a list is too large")
            self._check_time()
            listed.append(value)
        self._make(size)
        return listed


class _Counting(NodeTransformer):
    """Adds a count to each loop, macro, block, include and import, and measures what literals and slices make."""

    def _counted(self, node: Any) -> nodes.Node:
        self.generic_visit(node)
        node.body.insert(0, _count(node, node.body))
        return node  # type: ignore[no-any-return]

    visit_For = visit_Macro = visit_CallBlock = visit_Block = _counted  # noqa: N815 (Jinja calls them so)

    def _counted_before(self, node: nodes.Node) -> list[nodes.Node]:
        self.generic_visit(node)
        return [_count(node, []), node]

    visit_Include = visit_Import = visit_FromImport = _counted_before  # noqa: N815 (Jinja calls them so)

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802 (Jinja calls it so)
        self.generic_visit(node)
        return _call("joined", node.nodes, node.lineno)

    def _measured(self, node: Any) -> nodes.Node:
        self.generic_visit(node)
        is_value = getattr(node, "ctx", "load") == "load" and (
            not isinstance(node, nodes.Getitem) or isinstance(node.arg, nodes.Slice)
        )
        return _call("measured", [node], node.lineno) if is_value else node

    visit_List = visit_Tuple = visit_Dict = visit_Getitem = _measured  # noqa: N815 (Jinja calls them so)


def _call(method: str, arguments: list[nodes.Expr], line: int) -> nodes.Call:
    return nodes.Call(nodes.EnvironmentAttribute(method), arguments, [], None, None, lineno=line)


def _count(node: nodes.Node, body: Iterable[nodes.Node]) -> nodes.Node:
    literal = sum(len(data.data) for part in body for data in part.find_all(nodes.TemplateData))
    call = _call("count", [nodes.Const(literal)], node.lineno)
    return nodes.ExprStmt(call).set_lineno(node.lineno, override=True)


def _bounded_range(*arguments: int) -> range:
    made = range(*arguments)
    if len(made) > _LONGEST_RANGE:
        raise LimitExceeded(f"a range is longer than {_LONGEST_RANGE}")
    return made


def _width(format_: str) -> float:
    """Return the sum of the widths in *format_*, infinite where one is taken from the arguments."""
    widths = [width for found in _PERCENT.finditer(format_) for width in found.groups() if width]
    with contextlib.suppress(ValueError):  # it is no format of the other kind
        for _, _, spec, _ in Formatter().parse(format_):
            widths += re.findall(r"\d+|\{", spec or "")
    if "*" in widths or "{" in widths:
        return float("inf")
    return sum(int(width[:9]) for width in widths)


def _size(value: Any) -> int:
    """Return the characters and items of *value*, with those of its items.

    Raises:
        LimitExceeded: it is larger than a value may be, or cannot be measured.
    """
    if isinstance(value, str | bytes):
        _check_length(len(value))
        return len(value)
    size, waiting = 0, [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str | bytes):
            size += len(value)
        elif isinstance(value, _SCALARS):
            size += 1
        elif isinstance(value, int):
            size += 1 + value.bit_length() // 3
        elif isinstance(value, Namespace):
            raise LimitExceeded("a namespace cannot be passed to a filter or stored; use its attributes")
        elif isinstance(value, Mapping):
            size += _CONTAINER + len(value)
            waiting += value.keys()
            waiting += value.values()
        elif isinstance(value, _LISTS):
            size += _CONTAINER + len(value)
            waiting += value
        else:
            size += len(value) if isinstance(value, range) else 1
        if size > _LARGEST:
            raise LimitExceeded("a value is too large")
    return size


def _check_length(length: int) -> None:
    if length > _LONGEST_TEXT:
        raise LimitExceeded("a text is too long")
