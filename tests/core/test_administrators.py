"""Who may do what, for which tenants."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from scopegate.core.administrators import (
    PERMISSIONS,
    Administrator,
    Caller,
    Permission,
    Role,
    operator,
    require,
    require_administrator,
    require_somebody_left,
)
from scopegate.core.errors import Conflict, Forbidden, InvalidInput, NotFound
from scopegate.core.tenants import no_such_tenant

# What each role may do, written out once more.
MAY: dict[Role, set[str]] = {
    Role.SYSTEM_ADMINISTRATOR: {permission.value for permission in Permission},
    Role.KEY_ADMINISTRATOR: {
        *("read_keys", "change_keys", "read_users", "change_users", "read_policies", "change_policies"),
        *("read_settings", "change_settings", "read_audit"),
    },
    Role.AUDITOR: {
        *("read_keys", "read_users", "read_policies", "read_settings", "read_audit"),
        *("read_administrators", "read_system_audit"),
    },
    Role.PROVISIONER: {"provision"},
}


def administrator(**changes: Any) -> Administrator:
    fields: dict[str, Any] = {
        "id": "maria0000000",
        "name": "Maria",
        "email": "maria@example.com",
        "role": Role.SYSTEM_ADMINISTRATOR,
        "created_at": datetime(2100, 1, 1, tzinfo=UTC),
    }
    return Administrator(**(fields | changes))


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("permission", Permission)
@pytest.mark.parametrize("tenants", [None, frozenset({"acme"})], ids=["all tenants", "one tenant"])
@pytest.mark.parametrize("tenant_id", ["acme", "other", None])
def test_a_role_permits_what_it_says_for_its_tenants(
    role: Role, permission: Permission, tenants: frozenset[str] | None, tenant_id: str | None
) -> None:
    caller = Caller(actor="maria", role=role, tenants=tenants)
    if tenants is not None and tenant_id == "other":
        with pytest.raises(NotFound) as unseen:
            require(caller, permission, tenant_id)
        assert str(unseen.value) == str(no_such_tenant("other"))
    elif permission.value not in MAY[role] or (tenants is not None and tenant_id is None):
        with pytest.raises(Forbidden) as refused:
            require(caller, permission, tenant_id)
        assert refused.value.hint
    else:
        require(caller, permission, tenant_id)


def test_a_refusal_names_the_roles_that_would_do() -> None:
    caller = Caller(actor="maria", role=Role.AUDITOR)
    with pytest.raises(Forbidden) as refused:
        require(caller, Permission.CHANGE_KEYS, "acme")
    assert refused.value.hint == "It needs the role system_administrator or key_administrator."


def test_each_role_has_its_permissions_and_none_has_more_than_the_system_administrator() -> None:
    assert PERMISSIONS.keys() == set(Role)
    assert PERMISSIONS[Role.SYSTEM_ADMINISTRATOR] == set(Permission)


def test_the_operator_of_the_machine_may_do_everything() -> None:
    for permission in Permission:
        require(operator("cli:root@host"), permission, "acme")
        require(operator("cli:root@host"), permission, None)


def test_a_system_administrator_is_one_of_all_tenants() -> None:
    with pytest.raises(InvalidInput) as refused:
        administrator(tenants=frozenset({"acme"}))
    assert refused.value.field == "tenants"


@pytest.mark.parametrize("tenants", [None, frozenset(), frozenset({"acme", "other"})])
def test_a_provisioner_is_one_of_one_tenant(tenants: frozenset[str] | None) -> None:
    with pytest.raises(InvalidInput) as refused:
        administrator(role=Role.PROVISIONER, tenants=tenants)
    assert refused.value.field == "tenants"
    administrator(role=Role.PROVISIONER, tenants=frozenset({"acme"}))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "Ma\nria"}, "name"),
        ({"email": ""}, "email"),
        ({"email": "maria"}, "email"),
        ({"email": "maria@"}, "email"),
        ({"email": "@example.com"}, "email"),
        ({"email": "maria@example.com, bo@example.com"}, "email"),
        ({"email": "maria@exa@mple.com"}, "email"),
        ({"email": "maria@example.com\n"}, "email"),
        ({"email": "m" * 65 + "@example.com"}, "email"),
        ({"role": Role.AUDITOR, "tenants": frozenset()}, "tenants"),
    ],
)
def test_an_administrator_can_be_called(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        require_administrator(administrator(**changes), [])
    assert refused.value.field == field


def test_an_address_is_one_administrators() -> None:
    maria = administrator()
    require_administrator(maria, [maria])
    with pytest.raises(Conflict):
        require_administrator(administrator(id="other", email="MARIA@example.COM"), [maria])


@pytest.mark.parametrize(
    "after",
    [
        [],
        [administrator(active=False)],
        [administrator(role=Role.KEY_ADMINISTRATOR)],
        [administrator(role=Role.AUDITOR), administrator(id="bo", active=False)],
    ],
)
def test_a_system_administrator_is_left(after: list[Administrator]) -> None:
    with pytest.raises(Conflict) as refused:
        require_somebody_left([administrator()], after)
    assert refused.value.code == "last_system_administrator"
    require_somebody_left([administrator()], [*after, administrator(id="kim")])
    require_somebody_left([replace(administrator(), active=False)], after)
