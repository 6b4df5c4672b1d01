"""Webhooks: those of a real Alertmanager, and made ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

PAYLOADS = Path(__file__).parents[1] / "payloads"


def payload(name: str) -> bytes:
    return (PAYLOADS / f"{name}.json").read_bytes()


def alert(
    name: str = "InstanceDown",
    *,
    status: str = "firing",
    starts_at: str = "2026-11-22T12:13:30Z",
    **labels: str,
) -> dict[str, Any]:
    return {
        "status": status,
        "labels": {"alertname": name, **labels},
        "annotations": {},
        "startsAt": starts_at,
        "endsAt": "2026-11-22T12:20:00Z" if status == "resolved" else "0001-01-01T00:00:00Z",
        "generatorURL": "",
        "fingerprint": "",
    }


def webhook(
    *alerts: dict[str, Any], receiver: str = "ops", key: str = "{}:{}", **more: Any
) -> dict[str, Any]:
    firing = any(a["status"] == "firing" for a in alerts)
    return {
        "version": "4",
        "receiver": receiver,
        "status": "firing" if firing else "resolved",
        "alerts": list(alerts),
        "groupKey": key,
        "groupLabels": {},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "http://alertmanager",
        "truncatedAlerts": 0,
        **more,
    }
