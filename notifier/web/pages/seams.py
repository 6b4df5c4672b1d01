"""Where a long name may break into two lines: at its own seams, never in the middle of a word."""

from __future__ import annotations

import re

from markupsafe import Markup, escape

_SEAM = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[./:_@=,])(?=[^./:_@=,\s])")
_SHORT = 18
"""Pieces up to this length stay on one line, also at their hyphens."""
_LONGEST = 40
"""The number of characters without a seam after which a name breaks anywhere."""


def with_seams(text: str) -> Markup:
    """Return *text* as HTML in which long words break at dots, slashes and capitals, and short ones do not."""
    return Markup("").join(_word(word) for word in re.split(r"(\s+)", text))


def _word(word: str) -> Markup:
    if len(word) <= _SHORT:
        return _piece(word)
    pieces = []
    for piece in _SEAM.split(word):
        pieces += [_piece(piece[at : at + _LONGEST]) for at in range(0, len(piece), _LONGEST)]
    return Markup("<wbr>").join(pieces)


def _piece(piece: str) -> Markup:
    is_whole = "-" in piece and len(piece) <= _SHORT
    return Markup('<span class="whole">{}</span>').format(piece) if is_whole else escape(piece)
