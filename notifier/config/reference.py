"""``python -m notifier.config.reference``: writes the reference of the configuration from its models."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from notifier.config.schema import json_schema

FILE = Path(__file__).parents[2] / "docs" / "configuration.md"

_HEAD = """# Configuration reference

Made from the models by `make schema`; [`config/notifier.yml`](../config/notifier.yml) is an example with every key
and comments. Durations are written as in Prometheus (`30s`, `1h30m`, `7d`), time zones as IANA names. `${VARIABLE}`
in a text is replaced by the environment variable, and `$$` by one dollar sign; any other `$` stays, for example in a
bcrypt hash. A secret `x` can be in a file: set `x_file` to its path, relative to the directory of `notifier.yml`.
Notifier rejects an unknown key and suggests the most similar known key.
"""


def text() -> str:
    """Return the expected content of the file."""
    schema = json_schema()
    definitions: dict[str, Any] = schema["$defs"]
    top = [f"| `{key}` | {_purpose(value, definitions)} |" for key, value in schema["properties"].items()]
    parts = [_HEAD, "## The file\n", "| key | |\n|---|---|\n" + "\n".join(top)]
    seen: set[str] = set()
    for key, value in schema["properties"].items():
        for path, name in _sections(key, value, definitions):
            if name not in seen:
                seen.add(name)
                parts.append(_section(path, definitions[name]))
    return "\n".join(parts) + "\n"


def _names(value: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the definitions that *value* refers to, and how: "" as itself, "[]" as a list, ".NAME" by names."""
    if "$ref" in value:
        yield value["$ref"].rpartition("/")[2], ""
    for one in value.get("anyOf", ()):
        yield from _names(one)
    for key, mark in (("items", "[]"), ("additionalProperties", ".NAME")):
        if isinstance(value.get(key), dict):
            yield from ((name, mark) for name, _ in _names(value[key]))


def _sections(path: str, value: dict[str, Any], definitions: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the sections under *path* with their paths, outer ones first; one that holds itself once."""
    for name, mark in dict.fromkeys(_names(value)):
        if "properties" not in definitions[name]:
            continue
        here = path if path == "ovh" else path + mark
        yield here, name
        for key, inner in definitions[name]["properties"].items():
            if all(one != name for one, _ in _names(inner)):
                yield from _sections(f"{here}.{key}", inner, definitions)


def _purpose(value: dict[str, Any], definitions: dict[str, Any]) -> str:
    """Return what *value* is for: its own, or that of the section it holds."""
    if value.get("description"):
        return _told(value)
    return next(
        (_told({"description": definitions[name].get("description")}) for name, _ in _names(value)), ""
    )


def _section(path: str, definition: dict[str, Any]) -> str:
    required = definition.get("required", ())
    rows = [
        f"| `{key}` | {_kind(value)} | {'**required** ' if key in required else ''}{_told(value)} |"
        for key, value in definition["properties"].items()
        if not key.endswith("_file") or key in ("cert_file", "key_file", "client_ca_file", "ca_file")
    ]
    about = " ".join(definition.get("description", "").split())
    return f"\n## `{path}`\n\n{about}\n\n| key | default | |\n|---|---|---|\n" + "\n".join(rows)


def _kind(value: dict[str, Any]) -> str:
    default = value.get("default")
    if default in (None, "", [], {}) or isinstance(default, dict):
        return ""
    return f"`{default if isinstance(default, str) else json.dumps(default)}`"


def _told(value: dict[str, Any]) -> str:
    described = " ".join(str(value.get("description", "")).split()).replace("|", "\\|")
    choices = value.get("enum") or [c for one in value.get("anyOf", ()) for c in one.get("enum", ())]
    return described + (f" One of {', '.join(f'`{choice}`' for choice in choices)}." if choices else "")


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
