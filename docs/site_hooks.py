"""What the documentation site needs besides mkdocs: the files outside docs/ that its pages link to."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
_OUTSIDE = re.compile(r"\]\(\.\./([^)#\s]+)(#[^)\s]*)?\)")
_PAGES = {"README.md": "index.md"}


def on_files(files: Files, config: Any) -> Files:
    """Add the files that people copy, and those beside the README, under their own paths."""
    folders = [*(ROOT / "config").rglob("*"), *(ROOT / "templates").glob("*")]
    names = {*folders, *(ROOT / name for name in ("Dockerfile", "SECURITY.md", "LICENSE"))}
    for path in sorted(path for path in names if path.is_file()):
        name = path.relative_to(ROOT).as_posix()
        files.append(
            File.generated(config, name.replace(".md", ".txt"), content=path.read_text(encoding="utf-8"))
        )
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Let links to files outside docs/ lead to their copies."""

    def inside(match: re.Match[str]) -> str:
        name, anchor = match[1], match[2] or ""
        target = _PAGES.get(name, name.replace(".md", ".txt") if name == "SECURITY.md" else name)
        return f"]({target}{anchor if target == name else ''})"

    return _OUTSIDE.sub(inside, markdown)
