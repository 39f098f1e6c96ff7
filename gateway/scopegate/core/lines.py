"""Texts that people write and others read in one line: descriptions, names."""

from __future__ import annotations

import unicodedata

from scopegate.core.errors import InvalidInput

# Unicode's embeddings, overrides and isolates: with them a text reads otherwise than it is stored.
_BIDI_CONTROLS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def is_one_line(text: str) -> bool:
    """Whether a text stands on one line, and reads as it is stored."""
    return not any(_breaks_the_line(character) for character in text)


def require_line(field: str, text: str, *, most: int) -> str:
    """`text` itself, if it says something in one line of at most `most` characters.

    Raises:
        InvalidInput: on `field`; it says which of it.
    """
    name = field.replace("_", " ")
    if not text.strip():
        raise InvalidInput(field, f"The {name} is empty.", hint=f"Write 1 to {most} characters.")
    if len(text) > most:
        raise InvalidInput(
            field, f"The {name} has {len(text)} characters; {most} are allowed.", hint="Shorten it."
        )
    if not is_one_line(text):
        raise InvalidInput(
            field,
            f"The {name} has line breaks, control characters or characters that reverse the text.",
            hint="Write it on one line.",
        )
    return text


def _breaks_the_line(character: str) -> bool:
    return unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} or character in _BIDI_CONTROLS
