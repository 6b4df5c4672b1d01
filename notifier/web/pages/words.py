"""The language of a page: every text of the pages, in English and French."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from notifier.web.pages.french import FRENCH, FRENCH_BEFORE_DAYS, FRENCH_MONTHS, FRENCH_WEEKDAYS

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


class Words:
    """Translates the texts of the pages. A text without a translation stays English."""

    def __init__(
        self,
        language: str,
        texts: Mapping[str, str],
        before_days: Mapping[str, str],
        months: tuple[str, ...],
        weekdays: tuple[str, ...],
    ) -> None:
        """Translate by *texts*, from English; by *before_days* what stands before a day, with its article."""
        self.language = language
        self._texts = texts
        self._before_days = before_days
        self._months = months
        self._weekdays = weekdays

    def __call__(self, text: str, **values: object) -> str:
        """Return *text* in this language, with *values* in the place of ``%(name)s``."""
        translated = self._texts.get(text, text)
        return translated % values if values else translated

    def before(self, text: str, *, is_today: bool) -> str:
        """Return *text* in this language as it stands before a time: in French, a day has an article."""
        return self(text) if is_today else self._before_days.get(text, self(text))

    def plural(self, one: str, many: str, number: float, **values: object) -> str:
        """Return *one* or *many* in this language, by *number*, which also replaces ``%(num)s``."""
        is_one = number < 2 if self.language == "fr" else number == 1
        return self(
            one if is_one else many, num=str(int(number)) if number == int(number) else str(number), **values
        )

    def month(self, day: date) -> str:
        """Return the month of *day*, short."""
        return self._months[day.month - 1]

    def weekday(self, day: date) -> str:
        """Return the day of the week of *day*."""
        return self._weekdays[day.weekday()]


ENGLISH = Words("en", {}, {}, _MONTHS, _WEEKDAYS)
LANGUAGES: Mapping[str, Words] = {
    "en": ENGLISH,
    "fr": Words("fr", FRENCH, FRENCH_BEFORE_DAYS, FRENCH_MONTHS, FRENCH_WEEKDAYS),
}


def preferred(header: str) -> str:
    """Return the language that a browser prefers by its header Accept-Language, among those of the pages.

    Source: RFC 9110, section 12.5.4.
    """
    best, best_weight = "en", 0.0
    for item in header.split(","):
        tag, _, weight = item.partition(";q=")
        language = tag.strip().lower().partition("-")[0]
        try:
            given = float(weight or 1)
        except ValueError:
            continue
        if language in LANGUAGES and given > best_weight:
            best, best_weight = language, given
    return best
