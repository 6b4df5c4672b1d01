"""``python -m tests.support.audit``: whether a version that is locked is known to be vulnerable.

Ends with 1 where one is, and with 2 where nobody could be asked. It needs the internet, so `make check` goes without.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

CONSTRAINTS = Path(__file__).parents[2] / "constraints.txt"
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
        unknown = [package for package in packages if "skip_reason" in package]
        if unknown and not reason:
            reason = f"{unknown[0]['skip_reason']} ({len(unknown)} packages)"
        if not packages or unknown:
            print(f"{service} could not be asked about every package: {reason or 'nothing was said'}")
            continue
        found = [(package, one) for package in packages for one in package["vulns"]]
        for package, one in found:
            print(
                f"{package['name']} {package['version']}: {one['id']}, fixed in {', '.join(one['fix_versions'])}"
            )
        print(f"audit by {service}: {len(packages)} packages, {len(found)} vulnerabilities")
        return 1 if found else 0
    print("not audited: nobody could be asked about every package")
    return 2


if __name__ == "__main__":
    sys.exit(main())
