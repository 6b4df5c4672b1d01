"""``python -m tests.support.references``: writes the references of the commands, the API and the metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from notifier.cli.app import app
from notifier.clock import utc_now
from notifier.metrics import Metrics
from notifier.store.records import Queue
from notifier.web.api.openapi import document
from notifier.web.api.routes import OPERATIONS

DOCS = Path(__file__).parents[2] / "docs"
_COMMANDS = """# Commands

Made from the commands by `make schema`. Every command explains itself with `--help`. Exit status: 0 for success, 1 for
failure or a negative answer, 2 for wrong usage.
"""
_API = """# API

Made from the models by `make schema`; a running service describes itself at `GET /api/v1/openapi.json`. Times are
RFC 3339 in UTC, lists are `{"items": […], "next": cursor or null}`, errors are `{"error": "…"}`. Callers authenticate
as `web` demands: with a bearer token, or a name and a password.
"""
_METRICS = """# Metrics

Made from their definitions by `make schema`; `GET /metrics` has them. Labels never hold a phone number. There are
[rules](../config/prometheus/rules.yml) and a [dashboard](../config/grafana/notifier.json).

| metric | kind | labels | |
|---|---|---|---|
"""


def commands() -> str:
    """Return the reference of the commands, from their own help."""
    root = typer.main.get_command(app)
    parts = [_COMMANDS]
    parts += [_command(words, command) for words, command in _leaves(root, ("notifier",))]
    return "\n".join(parts)


def _leaves(command: Any, words: tuple[str, ...]) -> list[tuple[tuple[str, ...], Any]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        return [(words, command)]
    return [leaf for name, one in inner.items() if not one.hidden for leaf in _leaves(one, (*words, name))]


def _command(words: tuple[str, ...], command: Any) -> str:
    context = typer.Context(command, info_name=words[-1])
    help_ = "\n".join(line.rstrip() for line in (command.help or "").replace("\b", "").strip().splitlines())
    rows = []
    for parameter in command.params:
        if getattr(parameter, "hidden", False) or parameter.name == "help":
            continue
        is_option = parameter.param_type_name == "option"
        name = ", ".join(parameter.opts) if is_option else (parameter.metavar or parameter.name.upper())
        text = (getattr(parameter, "help", "") or "").replace("|", "\\|").replace("\n", " ")
        rows.append(f"| `{name}` | {text} |")
    usage = " ".join([*words, *command.collect_usage_pieces(context)])
    table = "\n\n| | |\n|---|---|\n" + "\n".join(rows) if rows else ""
    return f"## {' '.join(words)}\n\n    {usage}\n\n{help_}{table}\n"


def api() -> str:
    """Return the reference of the API, from its OpenAPI document."""
    described, parts = document(OPERATIONS), [_API]
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            parts.append(_operation(method.upper(), path, operation))
    parts.append("## Models\n")
    for name, model in described["components"]["schemas"].items():
        parts.append(_model(name, model))
    return "\n".join(parts)


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    lines = [f"## {method} {path}\n", operation.get("summary", ""), operation.get("description", "")]
    rows = [
        f"| `{one['name']}` | {one['in']} | {one.get('description', '')} |"
        for one in operation.get("parameters", ())
    ]
    if rows:
        lines += ["\n| parameter | in | |\n|---|---|---|", *rows]
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    if body is not None:
        lines.append(f"\nBody: {_type(body)}")
    answers = [
        f"| {code} | {answer.get('description', '')} | {_type(_schema(answer))} |"
        for code, answer in operation["responses"].items()
    ]
    lines += ["\n| status | | answer |\n|---|---|---|", *answers, ""]
    return "\n".join(lines)


def _schema(answer: dict[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = next(iter(answer.get("content", {}).values()), {})
    schema: dict[str, Any] = content.get("schema", {})
    return schema


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return " or ".join(_type(one) for one in schema[key])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    return str(schema.get("format") or schema.get("type") or "")


def _model(name: str, model: dict[str, Any]) -> str:
    rows = [
        f"| `{key}` | {_type(value)} | {' '.join(value.get('description', '').split())} |".replace("\n", " ")
        for key, value in model.get("properties", {}).items()
    ]
    table = "\n\n| field | | |\n|---|---|---|\n" + "\n".join(rows) if rows else f"\n\n{_type(model)}"
    return f"### {name}\n\n{' '.join(model.get('description', '').split())}{table}\n"


def metrics() -> str:
    """Return the reference of the metrics, from their definitions."""
    rows = []
    defined = Metrics()
    defined.watch_queue(lambda: Queue({}, 0, None), utc_now)
    defined.watch_ready(lambda: True)
    defined.watch_on_call(lambda: ())
    defined.watch_gaps(dict)
    defined.watch_incidents(dict)
    defined.watch_sources(dict)
    defined.expect_workers({})
    for family in defined.definitions:
        labels = ", ".join(f"`{label}`" for label in family.labels)
        rows.append(f"| `{family.name}` | {family.kind} | {labels} | {family.text} |")
    return _METRICS + "\n".join(sorted(rows)) + "\n"


PAGES = {"commands.md": commands, "api.md": api, "metrics.md": metrics}


def write() -> None:
    """Write the pages."""
    for name, text in PAGES.items():
        (DOCS / name).write_text(text(), encoding="utf-8")


if __name__ == "__main__":
    write()
