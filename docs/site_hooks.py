"""What the documentation site needs besides mkdocs: the files outside docs/ that its pages link to."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
_PAGES = {
    "README.md": "readme.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "reporting.md",
}
"""Documents beside docs/, and the pages that they become."""
_LINK = re.compile(r"(\]\(|src=\")(\.\./)?([^)\s\"#:]+)")


def on_files(files: Files, config: Any) -> Files:
    """Add the documents of the project, and the files that people copy, under their own paths."""
    for name, page in _PAGES.items():
        text = _LINK.sub(_from_root, (ROOT / name).read_text(encoding="utf-8"))
        files.append(File.generated(config, page, content=text))
    folders = [*(ROOT / "config").rglob("*"), *(ROOT / "templates").glob("*")]
    names = {*folders, ROOT / "Dockerfile", ROOT / "LICENSE"}
    for path in sorted(path for path in names if path.is_file()):
        name = path.relative_to(ROOT).as_posix()
        files.append(File.generated(config, name, content=path.read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Let links to files outside docs/ lead to their copies."""
    return _LINK.sub(_from_docs, markdown)


def _from_docs(link: re.Match[str]) -> str:
    """Return a *link* of a page in docs/ as the site has it."""
    return f"{link[1]}{_PAGES.get(link[3], link[3])}" if link[2] else link[0]


def _from_root(link: re.Match[str]) -> str:
    """Return a *link* of a document in the root as the site has it."""
    return f"{link[1]}{_PAGES.get(link[3], link[3].removeprefix('docs/'))}"
