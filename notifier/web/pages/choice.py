"""The page that asks who acts: by a button for each contact. Who is signed in can sign out there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from notifier.web.pages.context import View


@dataclass(frozen=True, slots=True)
class ChoiceView(View):
    """Asks who acts, and posts the *fields* of the form, with the answer, to *action*."""

    template: ClassVar[str] = "choice.html"
    action: str
    fields: Sequence[tuple[str, str]]
    people: Sequence[str]
    me: str
    user: str | None = None
    """Who is signed in."""
    can_sign_out: bool = False
    """Whether a session ends with a button: not where a proxy or a program's credentials name the user."""
