"""The files that come with the program: configuration to copy, and the SMS templates.

In a checkout they are beside the package, in a wheel inside it.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent
_ROOT = _PACKAGE / "shipped" if (_PACKAGE / "shipped").is_dir() else _PACKAGE.parent

CONFIG = _ROOT / "config"
"""The directory of the configuration files."""

TEMPLATES = {file.name: file for file in sorted((_ROOT / "templates").glob("*.j2"))}
"""The templates, by the names of their files."""
