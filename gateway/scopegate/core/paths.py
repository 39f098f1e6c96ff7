"""The canonical path: what is matched is byte for byte what is forwarded.

Grammar: RFC 3986 section 3.3 (``path-absolute``). An escape of an unreserved character is decoded
(section 6.2.2.2: the two spellings are equal), every other escape is kept in upper case (section
6.2.2.1). Whatever two parsers are known to read differently is refused, never repaired.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from scopegate.core.reasons import Reason, RequestRefused

if TYPE_CHECKING:
    from collections.abc import Iterator

# Nearly every request is spelled like this: no escapes, no segment that starts with a dot or a
# semicolon, so nothing below has anything to find in it.
_PLAIN = re.compile(rb"(?:/[A-Za-z0-9_~!$&'()*+,=:@-][A-Za-z0-9._~!$&'()*+,;=:@-]*+)++/?|/")

_NOT_A_PATH_BYTE = re.compile(rb"[^A-Za-z0-9._~!$&'()*+,;=:@/%-]")
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})?")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_PARAMETERS = re.compile(";[^/]*")
_PARAMETERS_DECODED = re.compile("(?:;|%3B)[^/]*")
_SLASHES = re.compile("//+")
_DELIMITER = re.compile(";|%3B|%3F|%23")
_DOUBLE_ENCODED = re.compile(r"%25(?:[0-9A-Fa-f]{2}|[uU][0-9A-Fa-f]{4})")  # IIS knows %uXXXX
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_FIRST_PRINTABLE = 0x20
_DELETE = 0x7F


def canonical_path(raw: bytes) -> str:
    """The canonical spelling of a request's path.

    Args:
        raw: the path as it stood in the request line, undecoded, without the query.

    Raises:
        RequestRefused: the path is not one that everybody reads alike; the reason names the class.
    """
    if _PLAIN.fullmatch(raw):
        return raw.decode("ascii")
    _require_path_bytes(raw)
    path = _ESCAPE.sub(_normalized_escape, raw.decode("ascii"))
    _require_one_reading(path)
    _require_plain_segments(path)
    return path


def readings(path: str) -> tuple[str, ...]:
    """How the upstream may read a canonical path; nearly always in one way, the path itself.

    An upstream that decodes and then parses again cuts the path at an escaped ``?`` or ``#``, or at
    the one of them that it knows; Java's servers cut ``;parameters`` off each segment; Windows knows
    no name that ends in dots or spaces, and servers merge the slashes around one that is empty. One
    upstream may do several of these, one after the other. A rule has to admit every reading, and
    every reading's privileges are required: so ``/a/*.css`` does not open ``/a/admin;.css``.
    """
    return (path, *other_readings(path))


def other_readings(path: str) -> tuple[str, ...]:
    """The `readings` of a canonical path beside the path itself."""
    if "%" not in path and ";" not in path and "./" not in path and not path.endswith("."):
        return ()
    found = [path]
    for known in found:
        for reading in _read_otherwise(known):
            if reading not in found:
                found.append(reading)
    return tuple(found[1:])


def _read_otherwise(path: str) -> Iterator[str]:
    """What one habit of an upstream makes of a path. Each of them only leaves something out."""
    if "%3F" in path:
        yield path.split("%3F", 1)[0]
    if "%23" in path:
        yield path.split("%23", 1)[0]
    if ";" in path:
        yield _PARAMETERS.sub("", path)
    if "%3B" in path:
        yield _PARAMETERS_DECODED.sub("", path)
    if "./" in path or "%20" in path or path.endswith("."):
        names = path.replace("%20", " ").split("/")
        yield "/".join([name.rstrip(". ") for name in names]).replace(" ", "%20")
    if "//" in path:
        yield _SLASHES.sub("/", path)


def _require_path_bytes(raw: bytes) -> None:
    if not raw.startswith(b"/"):
        raise RequestRefused(Reason.PATH_MALFORMED)
    odd = _NOT_A_PATH_BYTE.search(raw)
    if odd is None:
        return
    byte = odd[0]
    if byte == b"\\":
        raise RequestRefused(Reason.PATH_BACKSLASH)
    if byte[0] < _FIRST_PRINTABLE or byte[0] == _DELETE:
        raise RequestRefused(Reason.PATH_CONTROL_CHARACTER)
    raise RequestRefused(Reason.PATH_ILLEGAL_CHARACTER)


def _normalized_escape(escape: re.Match[str]) -> str:
    digits = escape[1]
    if digits is None:
        raise RequestRefused(Reason.PATH_BROKEN_ESCAPE)
    character = chr(int(digits, 16))
    return character if character in _UNRESERVED else f"%{digits.upper()}"


def _require_one_reading(path: str) -> None:
    if "%2F" in path:
        raise RequestRefused(Reason.PATH_ENCODED_SLASH)
    if "%5C" in path:
        raise RequestRefused(Reason.PATH_BACKSLASH)
    # An upstream that decodes twice reads another path than we match.
    if _DOUBLE_ENCODED.search(path):
        raise RequestRefused(Reason.PATH_DOUBLE_ENCODED)
    try:
        text = unquote_to_bytes(path).decode("utf-8")
    except UnicodeDecodeError:
        raise RequestRefused(Reason.PATH_INVALID_UTF8) from None
    if _CONTROL.search(text):
        raise RequestRefused(Reason.PATH_CONTROL_CHARACTER)


def _require_plain_segments(path: str) -> None:
    # "..;x" is "..", and ";x" is nothing, to servers that cut path parameters off before they resolve.
    segments = path.split("/")[1:]
    if any(segment.startswith(("%3B", ";")) or not segment for segment in segments[:-1]):
        raise RequestRefused(Reason.PATH_EMPTY_SEGMENT)
    # "..%3Fx" is ".." to servers that decode before they cut the query off.
    if any(_may_be_dots(_DELIMITER.split(segment, 1)[0]) for segment in segments):
        raise RequestRefused(Reason.PATH_DOT_SEGMENT)


def _may_be_dots(name: str) -> bool:
    """Whether a name is a dot segment, or could be one to a server that cuts off spaces (Windows)."""
    bare = name.replace("%20", "")
    return bare in {".", ".."} or (len(name) > len(bare) > 0 and not bare.strip("."))
