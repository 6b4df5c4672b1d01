"""Phone numbers: read as people write them, kept as E.164, shown masked.

Validity is libphonenumber's, through ``phonenumbers``. It holds numbers reserved for fiction for invalid; tests and
examples must use them, so the mobile ones are accepted. Sources: Arcep decision 2018-0881 (+33 6 39 98 xx xx), Ofcom
"Telephone numbers for drama use" (+44 7700 900xxx).
"""

from __future__ import annotations

import re
from functools import lru_cache

import phonenumbers

_MOBILE = frozenset({phonenumbers.PhoneNumberType.MOBILE, phonenumbers.PhoneNumberType.FIXED_LINE_OR_MOBILE})
_FICTION = re.compile(r"\+33 ?63998\d{4}|\+447700900\d{3}", re.ASCII)
_OTHER = re.compile(r"[^\d\s+().\-/\u2010-\u2015\u2212\uff0b]")
"""What no number holds: letters, and the characters that begin an extension or a ``tel:``."""
_NUMBER = re.compile(
    r"(\+|%2[bB]|(?<!\d)00)(\d\d[ .(-]{0,2}\d)[\d .()-]{2,14}?(\d{2}[ .-]?\d{2})(?![ .-]?\d)", re.ASCII
)


@lru_cache(maxsize=4096)
def parse_mobile(text: str, default_region: str | None = None) -> str:
    """Return the mobile number in *text* as E.164 (``+33639980001``).

    Args:
        text: a number with ``+`` or ``00`` in front, or as dialled within *default_region*.
        default_region: the ISO 3166-1 code of the country whose national form is understood.

    Raises:
        ValueError: it is no number, or not one that receives SMS.
    """
    compact = text.strip()
    if _OTHER.search(compact) and any(map(str.isdigit, compact)):
        # libphonenumber would read letters as on a keypad, and drop an extension: a stranger would be texted.
        raise ValueError(f'"{text}" holds more than a number; write digits alone, such as +33 6 39 98 00 01')
    if compact.startswith("00"):
        compact = "+" + compact[2:]
    try:
        number = phonenumbers.parse(compact, default_region)
    except phonenumbers.NumberParseException:
        hint = "" if default_region else ", or set global.default_region to read national numbers"
        raise ValueError(f'"{text}" is not a phone number; write +33 6 39 98 00 01{hint}') from None
    e164 = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    if _FICTION.fullmatch(e164):
        return e164
    if not phonenumbers.is_valid_number(number):
        raise ValueError(f'"{text}" is not a number in use; write a mobile number such as +33 6 39 98 00 01')
    if phonenumbers.number_type(number) not in _MOBILE:
        raise ValueError(f'"{text}" is not a mobile number and cannot receive an SMS')
    return e164


def looks_like_number(text: str) -> bool:
    """Return whether *text* is meant as a phone number, not as a name: three digits with at most separators between."""
    return re.search(r"\d{3}", re.sub(r"[\W_]", "", text)) is not None


def forms(number: str) -> list[str]:
    """Return the ways in which *number* (E.164) is written, longest first: with ``+`` or ``00``, bare, national."""
    if not number.startswith("+"):
        return [number]
    digits = number.removeprefix("+")
    found = [f"00{digits}", number, digits]
    try:
        national = phonenumbers.format_number(
            phonenumbers.parse(number), phonenumbers.PhoneNumberFormat.NATIONAL
        )
    except phonenumbers.NumberParseException:
        return found
    return [*found, national, re.sub(r"\D", "", national)]


def mask(number: str) -> str:
    """Return *number* with its middle hidden, as logs may hold it: ``+336••••0001``."""
    if len(number) < 9:
        return "••••"
    return f"{number[:4]}••••{number[-4:]}"


def mask_all(text: str) -> str:
    """Return *text* with every international number in it masked, however it is spaced."""
    return _NUMBER.sub(r"\1\2••••\3", text)
