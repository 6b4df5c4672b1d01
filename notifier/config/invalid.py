"""Reports values that pydantic refuses, in words and with their positions."""

from __future__ import annotations

from typing import Any

from notifier.config.raw import RawFile
from notifier.config.source import Path_, kind_of

_WRONG_TYPES = {
    "string_type": "a text",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping of keys",
    "model_attributes_type": "a mapping of keys",
    "path_type": "the path of a file",
}

_EXAMPLES = {
    "ovh": "; it names the account that sends, see config/minimal.yml",
    "receivers": "; write receivers: [{name: ops, notify: [alice]}]",
    "notify": "; write notify: [alice]",
    "contact": "; name a contact, or write contact: null for nobody",
    "phone": '; write phone: "+33 6 39 98 00 01"',
}


def _example(path: Path_) -> str:
    return _EXAMPLES.get(str(path[-1]), "")


def report_invalid(raw: RawFile, detail: Any) -> None:
    """Report one of the errors of a `pydantic.ValidationError`, unless its key was refused before."""
    path: Path_ = tuple(detail["loc"])
    if path[:1] == ("ovh",) and not isinstance(raw.value.get("ovh"), list):
        path = ("ovh", *path[2:])  # one account is written without a list
    if any(path[: len(refused)] == refused for refused in raw.refused):
        return
    kind, context, given = detail["type"], detail.get("ctx", {}), detail.get("input")
    if kind == "too_short" and given:
        return  # pydantic counts those that are right; problems of the others are reported already
    if kind == "missing":
        raw.problem(path[:-1], f'the key "{path[-1]}" is missing{_example(path)}')
        return
    if kind == "value_error":
        message = str(context["error"])
    elif kind in _WRONG_TYPES:
        shown = f', is "{given}"' if isinstance(given, str) else f", is {kind_of(given)}"
        message = f"must be {_WRONG_TYPES[kind]}{shown}"
    elif kind == "too_short":
        message = "must have at least one item"
    elif kind == "string_pattern_mismatch":
        message = f'"{given}" does not fit; it must match {context["pattern"]}'
    else:
        message = f"{detail['msg'][0].lower()}{detail['msg'][1:]}"
    raw.problem(path, message)
