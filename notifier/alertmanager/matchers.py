"""Matchers as Alertmanager reads them: ``team=~"db|storage"``, ``severity!=info``, ``"été"="oui"``.

Two parsers, as Alertmanager has had since 0.27 in its default mode: the UTF-8 one, and the classic one
of earlier versions to which it falls back. Where both read an input and disagree, the classic reading
holds. Sources: prometheus/alertmanager ``matcher/parse``, ``matcher/compat`` and ``pkg/labels``.

Regular expressions are RE2's and fully anchored, through ``google-re2``: the same syntax as Go's
``regexp``, and linear time whatever the label holds. The two engines differ in ``\\C``, which Go lacks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from typing import Any

import re2


class MatcherError(ValueError):
    """A matcher cannot be read; the message gives the position and what was expected."""


class MatchType(StrEnum):
    """The four operators."""

    EQUAL = "="
    NOT_EQUAL = "!="
    REGEXP = "=~"
    NOT_REGEXP = "!~"


@cache
def _options() -> Any:
    options = re2.Options()
    options.log_errors = False
    return options


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition on one label; a label that is missing counts as empty."""

    name: str
    type: MatchType
    value: str
    _regex: Any = field(init=False, repr=False, compare=False, default=None)

    def __post_init__(self) -> None:
        """Compile the regular expression.

        Raises:
            MatcherError: it is no RE2 expression.
        """
        if self.type in (MatchType.REGEXP, MatchType.NOT_REGEXP):
            try:
                regex = re2.compile(self.value, _options())
            except re2.error as error:
                raise MatcherError(f'"{self.value}" is no regular expression: {_reason(error)}') from None
            object.__setattr__(self, "_regex", regex)

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether *labels* fulfil this condition."""
        value = labels.get(self.name, "")
        if self.type is MatchType.EQUAL:
            return value == self.value
        if self.type is MatchType.NOT_EQUAL:
            return value != self.value
        found = self._regex.fullmatch(value) is not None
        return found is (self.type is MatchType.REGEXP)

    def __str__(self) -> str:
        """Write the matcher in the form that both parsers read."""
        name = quoted(self.name) if any(map(_is_reserved, self.name)) else self.name
        return f"{name}{self.type}{quoted(self.value)}"


def _reason(error: re2.error) -> str:
    text = error.args[0] if error.args else error
    return text.decode() if isinstance(text, bytes) else str(text)


def parse_matchers(text: str) -> tuple[Matcher, ...]:
    """Read the comma-separated matchers in *text*, braces optional.

    Raises:
        MatcherError: neither of Alertmanager's parsers reads it.
    """
    return _agreed(lambda: tuple(_Utf8Parser(text).parse()), lambda: tuple(_classic(text)))


def _agreed(
    read_modern: Callable[[], tuple[Matcher, ...]], read_classic: Callable[[], tuple[Matcher, ...]]
) -> tuple[Matcher, ...]:
    """Return what both parsers read, or the one that can; where they disagree, the reading of the classic one."""
    try:
        modern = read_modern()
    except MatcherError as modern_error:
        try:
            return read_classic()
        except MatcherError as classic_error:
            no_classic = str(classic_error).startswith("bad matcher format")
            raise (modern_error if no_classic else classic_error) from None
    try:
        return read_classic()
    except MatcherError:
        return modern


def parse_label(text: str) -> tuple[str, str]:
    """Read one ``name=value``, the form of the arguments of ``amtool config routes test``.

    The value may hold commas and braces; braces around it all are refused, as amtool does.

    Raises:
        MatcherError: it is not one label, or not with ``=``.
    """
    if text.startswith("{"):
        raise MatcherError(f'"{text}": leave out the braces; write name=value')
    (matcher,) = _agreed(lambda: (_Utf8Parser(text).parse_one(),), lambda: (_classic_matcher(text),))
    if matcher.type is not MatchType.EQUAL:
        raise MatcherError(f'"{text}" is not a label; write name=value')
    return matcher.name, matcher.value


# -- the UTF-8 parser ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str  # one of { } , = or a quoted or unquoted text
    text: str
    column: int


_OPERATOR = re.compile(r"=~|!~|!=|=")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_ESCAPE = re.compile(
    r'\\(?:(?P<simple>[abfnrtv\\"])|x(?P<byte>[0-9a-fA-F]{2})|(?P<octal>[0-3][0-7]{2})'
    r"|u(?P<u4>[0-9a-fA-F]{4})|U(?P<u8>[0-9a-fA-F]{8})|(?P<bad>.?))",
    re.DOTALL,
)
_SIMPLE = dict(zip('abfnrtv\\"', '\a\b\f\n\r\t\v\\"', strict=True))


def _is_space(char: str) -> bool:
    return char in "\t\n\v\f\r \x85\xa0" or (char > "\xff" and char.isspace())


def _is_reserved(char: str) -> bool:
    return char in "{}!=~,\\\"'`" or _is_space(char)


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    while at < len(text):
        char = text[at]
        if _is_space(char):
            at += 1
            continue
        if char in "{},":
            token = _Token(char, char, at)
        elif char in "=!":
            operator = _OPERATOR.match(text, at)
            if operator is None:
                raise MatcherError(f'column {at + 1}: "!" must be followed by "=" or "~"')
            token = _Token("operator", operator[0], at)
        elif char == '"':
            quoted = _QUOTED.match(text, at)
            if quoted is None:
                raise MatcherError(f"column {at + 1}: the quote is never closed")
            token = _Token("quoted", quoted[0], at)
        elif _is_reserved(char):
            raise MatcherError(f"column {at + 1}: {char} must stand inside double quotes")
        else:
            end = at
            while end < len(text) and not _is_reserved(text[end]):
                end += 1
            token = _Token("unquoted", text[at:end], at)
        yield token
        at += len(token.text)


class _Utf8Parser:
    def __init__(self, text: str) -> None:
        self._tokens = [*_tokens(text), _Token("end", "", len(text))]
        self._at = 0

    def _peek(self) -> _Token:
        return self._tokens[self._at]

    def _take(self, *kinds: str, expected: str) -> _Token:
        token = self._peek()
        if token.kind not in kinds:
            found = f'"{token.text}"' if token.text else "the end"
            raise MatcherError(f"column {token.column + 1}: expected {expected}, found {found}")
        self._at += 1
        return token

    def parse(self) -> Iterator[Matcher]:
        braced = self._peek().kind == "{"
        if braced:
            self._at += 1
        last = "}" if braced else "end"
        while self._peek().kind != last:
            yield self._matcher()
            if self._peek().kind != last:
                self._take(",", expected='"," or "}"' if braced else '","')
        if braced:
            self._at += 1
            self._take("end", expected="the end")

    def parse_one(self) -> Matcher:
        matcher = self._matcher()
        self._take("end", expected="the end")
        return matcher

    def _matcher(self) -> Matcher:
        name = self._take("quoted", "unquoted", expected="a label name")
        operator = self._take("operator", expected='an operator such as "=", "!=", "=~" or "!~"')
        value = self._take("quoted", "unquoted", expected="a label value")
        return Matcher(_unquote(name), MatchType(operator.text), _unquote(value))


def _unquote(token: _Token) -> str:
    if token.kind != "quoted":
        return token.text
    if "\n" in token.text:
        raise MatcherError(f"column {token.column + 1}: a quoted text may not hold a line end; write \\n")

    def replace(match: re.Match[str]) -> str:
        if match["simple"]:
            return _SIMPLE[match["simple"]]
        code = match["u4"] or match["u8"]
        if code and (int(code, 16) < 0xD800 or 0xDFFF < int(code, 16) <= 0x10FFFF):
            return chr(int(code, 16))
        if match["byte"] or match["octal"]:
            number = int(match["byte"], 16) if match["byte"] else int(match["octal"], 8)
            return chr(0xDC00 + number) if number > 0x7F else chr(number)
        raise MatcherError(f'column {token.column + 1}: "{match[0]}" is no escape; write two backslashes')

    text = _ESCAPE.sub(replace, token.text[1:-1])
    try:  # bytes above 7F were kept as lone surrogates, to be read together as UTF-8
        return text.encode("utf-8", "surrogateescape").decode("utf-8")
    except UnicodeError:
        raise MatcherError(f"column {token.column + 1}: the escapes are no UTF-8") from None


def quoted(text: str) -> str:
    """Return *text* in double quotes, as Go reads it."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


# -- the classic parser -------------------------------------------------------------------------------

_CLASSIC = re.compile(
    r"[\t\n\f\r ]*([a-zA-Z_:][a-zA-Z0-9_:]*)[\t\n\f\r ]*(=~|=|!=|!~)[\t\n\f\r ]*(.*?)[\t\n\f\r ]*", re.DOTALL
)


def _classic(text: str) -> Iterator[Matcher]:
    text = text.removeprefix("{").removesuffix("}")
    start, quoted, escaped = 0, False, False
    for at, char in enumerate(text):
        if char == "," and not quoted:
            yield _classic_matcher(text[start:at])
            start = at + 1
        elif char == '"' and not escaped:
            quoted = not quoted
        escaped = char == "\\" and not escaped
    if last := text[start:].strip():
        yield _classic_matcher(last)


def _classic_matcher(text: str) -> Matcher:
    match = _CLASSIC.fullmatch(text)
    if match is None:
        raise MatcherError(f"bad matcher format: {text}")
    name, operator, raw = match.groups()
    quoted = raw.startswith('"')
    if quoted:
        raw = raw[1:]
        ends = re.fullmatch(r'(?:[^"\\]|\\.)*"', raw, re.DOTALL)
        if ends is None:
            raise MatcherError(f'{text}: a double quote inside the value must be written \\"')
        raw = raw[:-1]
    elif re.search(r'(?<!\\)(?:\\\\)*"', raw):
        raise MatcherError(f'{text}: a double quote inside the value must be written \\"')
    value = re.sub(r'\\([n"\\])', lambda m: "\n" if m[1] == "n" else m[1], raw)
    return Matcher(name, MatchType(operator), value)
