from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.alertmanager.matchers import Matcher, MatcherError, MatchType, parse_label, parse_matchers


# The tables of prometheus/alertmanager matcher/parse/parse_test.go and pkg/labels/parse_test.go, and
# inputs on which its two parsers differ.
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("{}", []),
        ("foo=bar", [("foo", "=", "bar")]),
        ('{foo="bar"}', [("foo", "=", "bar")]),
        ('{foo!="bar"}', [("foo", "!=", "bar")]),
        ('{foo=~"[a-z]+"}', [("foo", "=~", "[a-z]+")]),
        ('{foo!~"[a-z]+"}', [("foo", "!~", "[a-z]+")]),
        ('{foo="bar",}', [("foo", "=", "bar")]),
        ('{ foo = "bar" , bar != "baz" }', [("foo", "=", "bar"), ("bar", "!=", "baz")]),
        ("foo=bar,dings!=bums", [("foo", "=", "bar"), ("dings", "!=", "bums")]),
        ('{"foo"="bar"}', [("foo", "=", "bar")]),
        ('{foo🙂="bar"}', [("foo🙂", "=", "bar")]),
        ('"été chaud"="oui"', [("été chaud", "=", "oui")]),
        ('{foo="bar🙂"}', [("foo", "=", "bar🙂")]),
        ('{foo="\\"bar\\""}', [("foo", "=", '"bar"')]),
        ('{foo="bar\\n"}', [("foo", "=", "bar\n")]),
        ('foo="\\u00e9\\x41"', [("foo", "=", "\\u00e9\\x41")]),  # both read it: the classic reading holds
        ('"f o"="\\u00e9\\xc3\\xa9"', [("f o", "=", "éé")]),
        ('foo=~"a\\.b"', [("foo", "=~", "a\\.b")]),  # classic only
        ("foo==bar", [("foo", "=", "=bar")]),
        ("foo=", [("foo", "=", "")]),
        ("foo='bar'", [("foo", "=", "'bar'")]),
        ("statuscode=~5..", [("statuscode", "=~", "5..")]),
        ('{quote="She said: \\"Hi, ladies! That\'s gender-neutral\\""}', [("quote", "=", 'She said: "Hi, ladies! That\'s gender-neutral"')]),
        ("foo=bar}", [("foo", "=", "bar")]),
        ("a=\\", [("a", "=", "\\")]),
    ],
)  # fmt: skip
def test_reads_what_alertmanager_reads(text: Any, expected: Any) -> None:
    assert [(m.name, str(m.type), m.value) for m in parse_matchers(text)] == expected


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("foo", "expected an operator"),
        ("=bar", "expected a label name"),
        ('foo="bar', "quote is never closed|double quote"),
        ('foo="b"ar"', "double quote|expected"),
        ("foo!bar", "must be followed"),
        ('"foo"="bar" "b"="c"', 'expected ","'),
        ('{"foo"="bar"', "expected"),
        ('"foo"="bar"}', "expected"),
        ('"fo\\qo"="x"', "is no escape"),
        ('foo=~"("', "is no regular expression"),
        ('"foo"="\\xff"', "no UTF-8"),
        ("`a`=b", "double quotes"),
    ],
)
def test_refuses_what_alertmanager_refuses_and_says_why(text: Any, complaint: Any) -> None:
    with pytest.raises(MatcherError, match=complaint):
        parse_matchers(text)


@pytest.mark.parametrize(
    ("matcher", "value", "matches"),
    [
        ('a="x"', "x", True),
        ('a="x"', None, False),
        ('a=""', None, True),
        ('a!="x"', None, True),
        ('a=~"x|y"', "y", True),
        ('a=~"x|y"', "xy", False),
        ('a=~"x"', "axb", False),
        ('a!~"x.*"', "xylo", False),
        ('a!~"x.*"', "oxy", True),
        ('a=~"a.b"', "a\nb", False),
        ('a=~"(?s)a.b"', "a\nb", True),
        ('a=~"(?i)ABC"', "abc", True),
        ('a=~"é+"', "éé", True),
        ('a=~".*"', None, True),
    ],
)
def test_matches_whole_values_and_takes_a_missing_label_for_empty(
    matcher: Any, value: Any, matches: Any
) -> None:
    (parsed,) = parse_matchers(matcher)
    assert parsed.matches({} if value is None else {"a": value}) is matches


def test_a_hostile_value_takes_linear_time() -> None:
    (matcher,) = parse_matchers('a=~"(x+x+)+y"')
    assert not matcher.matches({"a": "x" * 100_000})


@given(st.text(max_size=60))
def test_never_fails_otherwise_than_by_its_own_error(text: Any) -> None:
    try:
        parse_matchers(text)
    except MatcherError:
        pass


@given(
    st.text(min_size=1, max_size=20, alphabet=st.characters(exclude_categories=["C"])),
    st.text(max_size=20, alphabet=st.characters(exclude_categories=["C"])),
)
def test_what_is_written_reads_back(name: Any, value: Any) -> None:
    matcher = Matcher(name, MatchType.EQUAL, value)
    assert parse_matchers("{" + str(matcher) + "}") == (matcher,)


def test_a_label_is_one_equality() -> None:
    assert parse_label("severity=critical") == ("severity", "critical")
    # As amtool reads them:
    for text in (
        "v=1,5",
        "path=/a,b",
        "labels=a=b,c=d",
        "foo=bar,",
        "msg={x,y}",
        "foo=bar}",
    ):
        assert "=".join(parse_label(text)) == text
    for braced in ("{foo=bar", "{foo=bar}"):
        with pytest.raises(MatcherError, match="leave out the braces"):
            parse_label(braced)
    for bad in ("severity", "a!=b"):
        with pytest.raises(MatcherError):
            parse_label(bad)
