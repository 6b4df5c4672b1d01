"""Keys that the configuration does not have: each is refused, with the key that was probably meant."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from notifier.config.keys import fields_of, section_of, sections_of
from notifier.config.model import Configuration
from notifier.config.raw import RawFile, nearest
from notifier.config.secrets import secret_keys
from notifier.config.source import Path_

_ALERTMANAGERS = frozenset({"group_by", "group_wait", "group_interval", "repeat_interval"})
_DEPRECATED = {
    "match": "write it as matchers: ['label=\"value\"']",
    "match_re": "write it as matchers: ['label=~\"value\"']",
}


def refuse_unknown_keys(raw: RawFile, value: Any, model: type[BaseModel], path: Path_) -> None:
    """Report every key of *value*, the section at *path*, that *model* does not have, and remove it."""
    if not isinstance(value, dict):
        return
    known = fields_of(model)
    secrets = secret_keys().get(tuple(step for step in path if not isinstance(step, int)), ())
    for key in list(value):
        here = (*path, key)
        if key in known:
            section, holder = section_of(known[key])
            if section is not None and holder is tuple and isinstance(value[key], list):
                for number, item in enumerate(value[key]):
                    refuse_unknown_keys(raw, item, section, (*here, number))
            elif section is not None and holder is dict and isinstance(value[key], dict):
                for name, item in value[key].items():
                    refuse_unknown_keys(raw, item, section, (*here, name))
            elif section is not None:
                refuse_unknown_keys(raw, value[key], section, here)
        elif not (key.endswith("_file") and key.removesuffix("_file") in secrets):
            raw.refuse_key(here, _unknown(key, here, [*known, *(f"{s}_file" for s in secrets)]))
            del value[key]


def _unknown(key: str, path: Path_, known: list[str]) -> str:
    if path[0] == "route":
        if key in _ALERTMANAGERS:
            return f"{key} is Alertmanager's own work; leave it in alertmanager.yml"
        if key in _DEPRECATED:
            return f'"{key}" is deprecated; {_DEPRECATED[key]}'
    message = f'unknown key "{key}"'
    if near := nearest(key, known):
        return message + near
    places = [place for _, place, model in sections_of(Configuration) if key in fields_of(model)]
    if places:
        return f"{message} here; it belongs under {places[0] or 'the top level'}"
    return f"{message}; known are {', '.join(known)}"
