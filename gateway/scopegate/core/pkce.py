"""Proof Key for Code Exchange (RFC 7636), by S256 alone."""

from __future__ import annotations

import hmac
import re
from base64 import urlsafe_b64encode
from hashlib import sha256

_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")  # 256 bits in base64url without padding
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")


def challenge_of(verifier: str) -> str:
    """The challenge that a verifier meets (RFC 7636 section 4.2)."""
    return urlsafe_b64encode(sha256(verifier.encode("ascii")).digest()).decode("ascii").rstrip("=")


def is_challenge(text: str) -> bool:
    """Whether some verifier could meet it."""
    return _CHALLENGE.fullmatch(text) is not None


def meets(verifier: str, challenge: str) -> bool:
    """Whether it is a verifier at all (RFC 7636 section 4.1), and the one of this challenge."""
    return _VERIFIER.fullmatch(verifier) is not None and hmac.compare_digest(
        challenge_of(verifier), challenge
    )
