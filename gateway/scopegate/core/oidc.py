"""OpenID Connect: who is registered where, and which administrator somebody is of whom a provider tells."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from scopegate.core.errors import InvalidInput, ScopegateError
from scopegate.core.loopback import is_loopback

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scopegate.core.administrators import Administrator

DEFAULT_SCOPES = "openid email profile"


@dataclass(frozen=True, slots=True)
class Subject:
    """Somebody, as one provider names them: two providers may give two people the same ``id``.

    ``issuer`` and ``id`` are the claims ``iss`` and ``sub`` (OpenID Connect Core section 5.7: only the two
    together are unique, and nothing else is).
    """

    issuer: str
    id: str


@dataclass(frozen=True, slots=True)
class Claims:
    """What a provider says of somebody. ``email_verified`` is None where it does not say."""

    subject: Subject
    email: str | None = None
    email_verified: bool | None = None


@dataclass(frozen=True, slots=True)
class Registration:
    """What we are for a provider.

    ``trusts_email`` says whether an e-mail address counts of which the provider does not say whether it
    verified it; one that it says it did not verify never does.
    """

    issuer: str
    client_id: str
    client_secret: str | None = field(default=None, repr=False)
    scopes: str = DEFAULT_SCOPES
    trusts_email: bool = False


class SignInRefused(ScopegateError):
    """Whoever signed in is nobody whom we let in. ``reason`` is for the operator, and never shown to them."""

    code = "sign_in_refused"

    def __init__(self, reason: str) -> None:
        super().__init__(
            "You cannot sign in here.",
            hint="Ask a system administrator whether you are one of the administrators, and active.",
        )
        self.reason = reason


class SignInStale(ScopegateError):
    """A sign-in that comes back too late, twice, or in another browser than it was begun in."""

    code = "sign_in_stale"

    def __init__(self) -> None:
        super().__init__(
            "This sign-in is over, or was begun in another browser.",
            hint="Begin it again, and finish it here.",
        )


class ProviderUnavailable(ScopegateError):
    """The provider did not answer, or not as one: nobody can tell who signs in, so nobody does.

    ``reason`` is for the operator.
    """

    code = "provider_unavailable"

    def __init__(self, reason: str) -> None:
        super().__init__(
            "The OpenID Connect provider does not answer as it should.",
            hint="Try again in a minute; a token signs in without the provider.",
        )
        self.reason = reason


def recognise(
    claims: Claims, administrators: Iterable[Administrator], *, trusts_email: bool = False
) -> Administrator:
    """The administrator of whom the provider tells, bound to the subject.

    Whoever is bound to a subject is recognised by it alone, whatever their address is by now. Whoever is not
    yet is recognised by their e-mail address, once.

    Raises:
        SignInRefused: it is none, or none who is active.
    """
    everybody = list(administrators)
    found = next((one for one in everybody if one.subject == claims.subject), None)
    if found is None:
        address = _address(claims, trusts_email=trusts_email)
        # Ours are ASCII. What is not could become the same in lower case: the Kelvin sign becomes a k.
        if not address.isascii():
            raise SignInRefused("the e-mail address is not ASCII")
        found = next((one for one in everybody if one.email.lower() == address.lower()), None)
        if found is None:
            raise SignInRefused("no administrator has the e-mail address")
        if found.subject is not None:
            raise SignInRefused(f"administrator {found.id} signs in as another subject")
    if not found.active:
        raise SignInRefused(f"administrator {found.id} is not active")
    return replace(found, subject=claims.subject)


def _address(claims: Claims, *, trusts_email: bool) -> str:
    if not claims.email:
        raise SignInRefused("no administrator is bound to the subject, and there is no e-mail address")
    if claims.email_verified is None and trusts_email:
        return claims.email
    if claims.email_verified is not True:
        raise SignInRefused(
            "no administrator is bound to the subject, and the e-mail address is not verified"
        )
    return claims.email


def require_web_url(text: str) -> str:
    """`text` itself, if it is an absolute URL that nobody on the way can read or change.

    Raises:
        InvalidInput: it is none, has a query, a fragment or a password, or it is ``http`` to another machine.
    """
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    plain = parts.scheme == "http" and host is not None and is_loopback(text)
    if (
        not host
        or (parts.scheme != "https" and not plain)
        or not text.isascii()
        or not text.isprintable()
        or " " in text
        or parts.query
        or parts.fragment
        or "@" in parts.netloc
    ):
        raise InvalidInput(
            "url",
            f"{text!r} is not an https URL without a query.",
            hint="Write it as https://host/path; http is for this machine alone.",
        )
    return text
