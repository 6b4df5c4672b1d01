"""``python -m tests.support.lowest``: the lowest versions that pyproject.toml allows of what Notifier runs with, for pip."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parents[2] / "pyproject.toml"


def lowest() -> list[str]:
    """Return a requirement of exactly the lowest version for each declared dependency."""
    project = tomllib.loads(PROJECT.read_text())["project"]
    extras = project["optional-dependencies"]
    declared = [*project["dependencies"], *extras["postgres"], *extras["fallback"]]
    return [re.sub(r">=([^,;]+).*", r"==\1", one) for one in declared]


if __name__ == "__main__":
    print("\n".join(lowest()))
