"""``python -m tests.audit``: whether a version that is locked is known to be vulnerable.

Ends with 1 where one is; where the data cannot be had, it says so and ends with 0.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

CONSTRAINTS = Path(__file__).parent.parent / "constraints.txt"
SERVICES = ("pypi", "osv")


def audit(service: str) -> tuple[list[dict[str, Any]], str]:
    """Return what *service* knows of each package, and why it could not be asked."""
    command = [
        sys.executable, "-m", "pip_audit", "--requirement", str(CONSTRAINTS), "--no-deps", "--disable-pip",
        "--vulnerability-service", service, "--timeout", "10", "--progress-spinner", "off", "--format", "json",
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired:
        return [], "it did not answer within 2 minutes"
    try:
        return json.loads(done.stdout)["dependencies"], ""
    except (ValueError, KeyError):
        return [], (done.stderr.strip().splitlines() or ["no reason given"])[-1]


def main() -> int:
    """Print what was found; return the exit code."""
    for service in SERVICES:
        packages, reason = audit(service)
        known = [package for package in packages if "skip_reason" not in package]
        if not known:
            reason = reason or next((package["skip_reason"] for package in packages), "nothing was said")
            if "No module named" in reason:
                print(f"pip-audit is not installed: {reason}")
                return 1
            print(f"audit skipped, the data of {service} cannot be had: {reason}")
            continue
        found = [(package, one) for package in known for one in package["vulns"]]
        for package, one in found:
            print(
                f"{package['name']} {package['version']}: {one['id']}, mended in {', '.join(one['fix_versions'])}"
            )
        print(f"audit by {service}: {len(known)} packages, {len(found)} vulnerabilities")
        return 1 if found else 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
