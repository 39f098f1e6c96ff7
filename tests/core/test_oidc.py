"""Which administrator somebody is of whom a provider tells, and which URLs a provider can have."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from scopegate.core.administrators import Administrator, Role, require_administrator
from scopegate.core.deeds import Action, administrator_changed
from scopegate.core.errors import Conflict, InvalidInput
from scopegate.core.oidc import Claims, SignInRefused, Subject, recognise, require_web_url

ISSUER = "https://id.example.com"
SUBJECT = Subject(ISSUER, "248289761001")
OTHER = Subject("https://other.example.com", SUBJECT.id)


def administrator(**changes: Any) -> Administrator:
    fields: dict[str, Any] = {
        "id": "maria0000000",
        "name": "Maria",
        "email": "Maria.K@example.com",
        "role": Role.AUDITOR,
        "created_at": datetime(2100, 1, 1, tzinfo=UTC),
    }
    return Administrator(**(fields | changes))


MARIA = administrator()
BOUND = administrator(subject=SUBJECT)
BO = administrator(id="bo0000000000", email="bo@example.com")


def claims(email: str | None = "maria.k@example.com", *, verified: bool | None = True) -> Claims:
    return Claims(SUBJECT, email, verified)


@pytest.mark.parametrize(
    ("told", "administrators"),
    [
        pytest.param(claims(), [BO, MARIA], id="a verified address"),
        pytest.param(claims("MARIA.K@EXAMPLE.COM"), [BO, MARIA], id="in whatever case"),
        pytest.param(claims(), [BO, BOUND], id="a bound subject"),
        pytest.param(claims("bo@example.com"), [BO, BOUND], id="a bound subject with another's address"),
        pytest.param(claims(None, verified=None), [BO, BOUND], id="a bound subject without an address"),
        pytest.param(claims(verified=False), [BO, BOUND], id="a bound subject with an unverified address"),
    ],
)
def test_an_administrator_is_recognised_and_bound(told: Claims, administrators: list[Administrator]) -> None:
    assert recognise(told, administrators) == BOUND


@pytest.mark.parametrize(
    ("told", "administrators"),
    [
        pytest.param(claims(), [], id="there is no administrator"),
        pytest.param(claims(), [BO], id="another address"),
        pytest.param(claims(verified=False), [MARIA], id="an unverified address"),
        pytest.param(claims(verified=None), [MARIA], id="an address that may be unverified"),
        pytest.param(claims(None), [MARIA], id="no address"),
        pytest.param(claims(""), [administrator(email="")], id="an empty address"),
        pytest.param(claims("maria.\u212a@example.com"), [MARIA], id="an address with the Kelvin sign"),
        pytest.param(claims(), [replace(MARIA, active=False)], id="inactive"),
        pytest.param(claims(), [replace(BOUND, active=False)], id="bound and inactive"),
        pytest.param(claims(), [replace(MARIA, subject=OTHER)], id="the same id of another provider"),
    ],
)
def test_anybody_else_is_refused_with_one_answer(told: Claims, administrators: list[Administrator]) -> None:
    with pytest.raises(SignInRefused) as refused:
        recognise(told, administrators)
    nobody = SignInRefused("")
    told_of = (refused.value.code, refused.value.message, refused.value.hint)
    assert told_of == (nobody.code, nobody.message, nobody.hint)
    assert refused.value.reason


@pytest.mark.parametrize(("verified", "recognised"), [(None, True), (True, True), (False, False)])
def test_where_addresses_are_trusted_one_that_is_said_to_be_unverified_still_is_not(
    verified: bool | None,  # noqa: FBT001 -- a row of the table
    *,
    recognised: bool,
) -> None:
    told = claims(verified=verified)
    if recognised:
        assert recognise(told, [MARIA], trusts_email=True) == BOUND
    else:
        with pytest.raises(SignInRefused):
            recognise(told, [MARIA], trusts_email=True)


def test_no_two_administrators_are_bound_to_the_same_subject() -> None:
    require_administrator(BOUND, [BOUND, replace(BO, subject=OTHER)])
    with pytest.raises(Conflict) as refused:
        require_administrator(BOUND, [replace(BO, subject=SUBJECT)])
    assert refused.value.code == "subject_taken"


def test_binding_is_a_deed_of_its_own_and_unbinding_an_edit() -> None:
    bound, unbound = administrator_changed(MARIA, BOUND), administrator_changed(BOUND, MARIA)
    assert bound is not None
    assert unbound is not None
    assert (bound.action, unbound.action) == (Action.ADMINISTRATOR_BIND, Action.ADMINISTRATOR_EDIT)
    assert bound.changed == {
        "subject": {"before": None, "after": {"issuer": ISSUER, "id": SUBJECT.id}},
    }


@pytest.mark.parametrize(
    "url",
    [
        "https://id.example.com",
        "https://id.example.com:8443/realms/ops/",
        "http://127.0.0.1:8081",
        "http://[::1]:8081",
        "http://localhost:9000/tenant",
    ],
)
def test_https_is_a_web_url_and_http_on_this_machine(url: str) -> None:
    assert require_web_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "id.example.com",
        "//id.example.com",
        "http://id.example.com",
        "http://127.0.0.1.example.com",
        "http://localhost.example.com",
        "ftp://id.example.com",
        "https://",
        "https://user:pass@id.example.com",
        "https://id.example.com?x=1",
        "https://id.example.com#x",
        "https://id.example.com:port",
        "https://[::1",
        "https://id.example.com/a b",
        "https://id.example.com/\n",
        "https://id.ex\u00e4mple.com",
    ],
)
def test_anything_else_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        require_web_url(url)
    assert refused.value.hint
