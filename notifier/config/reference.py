"""``python -m notifier.config.reference``: writes the reference of the configuration from its models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from notifier.config.keys import sections_of
from notifier.config.model import Configuration
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
    sections = list(sections_of(Configuration))
    held = {path[0]: definitions[model.__name__] for path, _, model in sections if len(path) == 1}
    top = [
        f"| `{key}` | {_description({'description': held.get(key, {}).get('description', '')} | value)} |"
        for key, value in schema["properties"].items()
    ]
    parts = [_HEAD, "## The file\n", "| key | |\n|---|---|\n" + "\n".join(top)]
    parts += [_section(place, definitions[model.__name__]) for _, place, model in sections if place]
    return "\n".join(parts) + "\n"


def _section(path: str, definition: dict[str, Any]) -> str:
    required = definition.get("required", ())
    rows = [
        f"| `{key}` | {_kind(value)} | {'**required** ' if key in required else ''}{_description(value)} |"
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


def _description(value: dict[str, Any]) -> str:
    described = " ".join(str(value.get("description", "")).split()).replace("|", "\\|")
    choices = value.get("enum") or [c for one in value.get("anyOf", ()) for c in one.get("enum", ())]
    return described + (f" One of {', '.join(f'`{choice}`' for choice in choices)}." if choices else "")


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
