"""Configuration files for an emulator."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from notifier.emulator import Emulator

ALICE, BOB = "+33639980001", "+33639980002"


@dataclass
class Files:
    """Writes configuration files for an emulator into a directory."""

    directory: Path
    emulator: Emulator | None = None
    storage: str = "sqlite:///notifier.db"

    def configuration(self, **changes: Any) -> dict[str, Any]:
        keys = self.emulator.emulation.credentials if self.emulator else None
        base: dict[str, Any] = {
            "web": {"listen_address": "127.0.0.1:0"},
            "storage": {"url": self.storage},
            "ovh": {
                "endpoint": self.emulator.url if self.emulator else "ovh-eu",
                "application_key": keys.application_key if keys else "key",
                "application_secret": keys.application_secret if keys else "secret-secret",
                "consumer_key": keys.consumer_key if keys else "consumer",
                "sender": "ACME",
                "timeout": "1s",
            },
            "contacts": [{"name": "alice", "phone": ALICE}, {"name": "bob", "phone": BOB, "language": "fr"}],
            "receivers": [{"name": "ops", "notify": ["alice"]}],
        }
        for section, value in changes.items():
            if value is ...:
                del base[section]
            elif isinstance(value, dict) and isinstance(base.get(section), dict):
                base[section] = {k: v for k, v in {**base[section], **value}.items() if v is not ...}
            else:
                base[section] = value
        return base

    def write(self, name: str = "notifier.yml", /, **changes: Any) -> Path:
        file = self.directory / name
        file.write_text(json.dumps(self.configuration(**changes)))  # JSON is YAML
        file.chmod(0o600)
        return file


def account(emulator: Emulator, **more: Any) -> dict[str, Any]:
    """Return the account of *emulator*, as one of several in the configuration."""
    keys = emulator.emulation.credentials
    return {
        "endpoint": emulator.url,
        "application_key": keys.application_key,
        "application_secret": keys.application_secret,
        "consumer_key": keys.consumer_key,
        "service_name": emulator.emulation.service_name,
        "sender": "ACME",
        "timeout": "1s",
        **more,
    }
