from __future__ import annotations

import json
import re
import subprocess
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notifier.alertmanager.matchers import Matcher, MatchType, parse_matchers
from notifier.routing import Route, Routing, match
from tests.support.processes import program

NAMES = ("severity", "team", "env")
VALUES = ("critical", "warning", "db", "storage", "prod", "a.b", "a b", 'q"x', "", "é")
REGEXES = ("crit.*", "db|storage", "(pro|sta)d?", ".+", "", "a.b", "[a-z]+", "(?i)DB", ".*")


def quoted(value: Any) -> Any:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


matchers = st.one_of(
    st.tuples(st.sampled_from(NAMES), st.sampled_from(("=", "!=")), st.sampled_from(VALUES)),
    st.tuples(st.sampled_from(NAMES), st.sampled_from(("=~", "!~")), st.sampled_from(REGEXES)),
).map(lambda parts: parts[0] + parts[1] + quoted(parts[2]))


def nodes(children: Any) -> Any:
    return st.fixed_dictionaries(
        {"matchers": st.lists(matchers, max_size=2), "continue": st.booleans(), "routes": children}
    )


trees = st.recursive(nodes(st.just([])), lambda child: nodes(st.lists(child, max_size=3)), max_leaves=8)
labels = st.dictionaries(st.sampled_from(NAMES), st.sampled_from([v for v in VALUES if v]), max_size=3)


def numbered(tree: Any) -> Any:
    """Give each node a receiver of its own, so that the answer tells the node."""
    count = 0

    def visit(node: Any, is_root: Any) -> Any:
        nonlocal count
        node = {**node, "receiver": f"r{count}"}
        count += 1
        if is_root:
            node["matchers"], node["continue"] = [], False
        node["routes"] = [visit(child, False) for child in node["routes"]]
        return node

    root = visit(tree, True)
    return root, [f"r{number}" for number in range(count)]


def ours(node: Any) -> Any:
    parsed = tuple(m for text in node["matchers"] for m in parse_matchers(text))
    return Route(node["receiver"], parsed, node["continue"], tuple(map(ours, node["routes"])))


@settings(max_examples=150)
@given(tree=trees, alert=labels)
def test_routes_as_amtool_does(tmp_path_factory: pytest.TempPathFactory, tree: Any, alert: Any) -> None:
    amtool = program("amtool")
    root, receivers = numbered(tree)
    file = tmp_path_factory.mktemp("amtool") / "alertmanager.yml"
    file.write_text(json.dumps({"route": root, "receivers": [{"name": name} for name in receivers]}))
    arguments = [f"{name}={quoted(value)}" for name, value in alert.items()]
    answer = subprocess.run(
        [amtool, "config", "routes", "test", f"--config.file={file}", *arguments],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    assert ",".join(node.receiver for node in match(ours(root), alert)) == answer.stdout.strip()


def test_a_receiver_is_reached_once_however_many_routes_lead_to_it() -> None:
    tree = Route("top", (), False, (Route("db", (), True), Route("db", (), True), Route("web")))
    routing = Routing(("top", "db", "web"), tree)
    assert routing.split("x", [{}]) == {"db": [0], "web": [0]}


def test_each_alert_finds_its_own_way() -> None:
    tree = Route(
        "top",
        (),
        False,
        (Route("db", parse_matchers("team=db")), Route("named", parse_matchers("__receiver__=pager"))),
    )
    routing = Routing(("top", "db", "named"), tree)
    assert routing.split("other", [{"team": "db"}, {"team": "web"}, {"team": "db"}]) == {
        "db": [0, 2],
        "top": [1],
    }
    assert routing.split("pager", [{"team": "web"}]) == {"named": [0]}


def test_without_a_tree_the_name_in_the_webhook_decides_and_an_unknown_one_goes_to_the_first() -> None:
    routing = Routing(("ops", "db"))
    assert routing.split("db", [{}]) == {"db": [0]}
    assert routing.split("nobody", [{}]) == {"ops": [0]}
    assert routing.is_unknown("nobody")
    assert not routing.is_unknown("db")


def test_what_was_posted_for_a_receiver_goes_past_the_tree() -> None:
    assert Routing(("ops", "db"), Route("ops")).split("x", [{}, {}], only="db") == {"db": [0, 1]}


@pytest.mark.parametrize(
    "name",
    ["team.db", "db+web", "On-call (SMS)", "ns/config/receiver", "plain-name_1", r"a\b", "x|y[1]{2}^$?*"],
)
def test_the_name_that_alertmanager_quotes_finds_its_receiver(name: Any) -> None:
    quoted = re.sub(r"([\\.+*?()|\[\]{}^$])", r"\\\1", name)  # Go's regexp.QuoteMeta
    flat = Routing(("first", name))
    assert list(flat.split(quoted, [{}])) == [name]
    assert not flat.is_unknown(quoted)
    matcher = Matcher("__receiver__", MatchType.EQUAL, name)
    tree = Routing(("first", "x"), Route("first", routes=(Route("x", (matcher,)),)))
    assert list(tree.split(quoted, [{}])) == ["x"]
    exact = Routing(("first", name, quoted))
    assert list(exact.split(quoted, [{}])) == [quoted], "a name that is written as it arrives comes first"
