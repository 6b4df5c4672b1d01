"""Pages as people read them."""

from __future__ import annotations

import re
from html import unescape
from typing import Any


def words(html: Any) -> Any:
    """Return what people read of a page: its text, without tags."""
    text = re.sub(r"<[^>]*>", " ", html.replace("<wbr>", "").replace('<span class="whole">', ""))
    return re.sub(r" ([.,:)])", r"\1", " ".join(unescape(text).split()))
