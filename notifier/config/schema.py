"""``python -m notifier.config.schema``: writes the JSON Schema of the configuration, for editors to complete keys."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from notifier import assets
from notifier.alertmanager.durations import format_duration
from notifier.config.keys import sections_of
from notifier.config.model import Configuration
from notifier.config.secrets import file_keys

FILE = assets.CONFIG / "notifier.schema.json"


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of the file, for editors that complete keys."""
    schema = Configuration.model_json_schema(by_alias=True)
    for _, _, model in sections_of(Configuration):
        definition = schema["$defs"].get(model.__name__, schema)
        properties = definition["properties"]
        for name in file_keys(model):
            if name in definition.get("required", ()):
                definition["required"].remove(name)  # the file may stand in its place
            properties[f"{name}_file"] = {
                "type": "string",
                "description": f"The file that holds {name}.",
            }
        for name, info in model.model_fields.items():
            if isinstance(info.default, timedelta):
                properties[name]["default"] = format_duration(info.default)
    accounts = schema["properties"]["ovh"]
    accounts.pop("type")
    many = {key: accounts.pop(key) for key in ("items", "minItems")}
    accounts["anyOf"] = [many["items"], {"type": "array", **many}]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def text() -> str:
    """Return the expected content of the file."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
