"""``python -m tests.support.prometheus_operator``: writes the rules as the Prometheus operator takes them."""

from __future__ import annotations

import textwrap
from pathlib import Path

CONFIG = Path(__file__).parents[2] / "config"
FILE = CONFIG / "kubernetes" / "monitoring.yml"
_HEAD = """# For the Prometheus operator: what it scrapes, and the rules of ../prometheus/rules.yml. `make schema` writes this file.
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata:
  name: notifier
  labels: {app.kubernetes.io/name: notifier}
spec:
  selector:
    matchLabels: {app.kubernetes.io/name: notifier}
  endpoints:
    - {port: http, path: /metrics, interval: 30s}
---
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: notifier
  labels: {app.kubernetes.io/name: notifier}
spec:
"""


def text() -> str:
    """Return the expected content of the file."""
    rules = (CONFIG / "prometheus" / "rules.yml").read_text(encoding="utf-8")
    return _HEAD + textwrap.indent(rules[rules.index("groups:") :], "  ")


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
