"""Tenants: which ids there can be, and that no tag is given twice."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import cycle

import pytest

from scopegate.core.errors import Conflict, InvalidInput
from scopegate.core.tenants import DEFAULT_TENANT, Tenant, new_tenant

NOW = datetime(2100, 1, 1, tzinfo=UTC)


def made(
    tenant_id: str = "acme", name: str = "Acme", *, digits: str = "a", taken: tuple[Tenant, ...] = ()
) -> Tenant:
    chosen = cycle(digits)
    return new_tenant(
        tenant_id, name, (DEFAULT_TENANT, *taken), now=NOW, choose=lambda _alphabet: next(chosen)
    )


@pytest.mark.parametrize("tenant_id", ["a", "0", "acme", "acme-2", "a" * 40, "a--b"])
def test_a_tenant_has_an_id_a_name_and_a_tag(tenant_id: str) -> None:
    assert made(tenant_id) == Tenant(tenant_id, "aaa", "Acme", NOW)


@pytest.mark.parametrize(
    "tenant_id", ["", "A", "Acme", "-a", "a-", "a_b", "a.b", "a b", "a\n", "ä", "a" * 41]
)
def test_what_is_no_slug_is_no_id(tenant_id: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        made(tenant_id)
    assert refused.value.field == "id"
    assert refused.value.hint


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "\x00", "\u202eevil", "n" * 101])
def test_a_name_says_something_on_one_line(name: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        made(name=name)
    assert refused.value.field == "name"


@pytest.mark.parametrize("tenant_id", ["default", "acme"])
def test_an_id_is_given_once(tenant_id: str) -> None:
    with pytest.raises(Conflict):
        made(tenant_id, taken=(Tenant("acme", "bbb"),))


def test_a_tag_is_given_once() -> None:
    taken = (Tenant("one", "aaa"), Tenant("two", "bbb"))
    assert made(digits="000" + "aaa" + "bbb" + "ccc", taken=taken).tag == "ccc"


def test_where_no_tag_is_found_there_is_no_tenant() -> None:
    with pytest.raises(Conflict):
        made(digits="0")
