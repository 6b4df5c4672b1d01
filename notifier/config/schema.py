"""``python -m notifier.config.schema``: writes the JSON Schema of the configuration, for editors to complete keys."""

from __future__ import annotations

import json

from notifier import assets
from notifier.config.model import json_schema

FILE = assets.CONFIG / "notifier.schema.json"


def text() -> str:
    """Return what the file must hold."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
