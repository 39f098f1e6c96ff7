"""What is done to keys, users, policies and flags, told from what was there before and what is there now."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import UTC
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from scopegate.core.administrators import Administrator
    from scopegate.core.admintokens import AdminToken, BootstrapToken
    from scopegate.core.changes import Change
    from scopegate.core.keys import KeyRecord
    from scopegate.core.principal import Group, User
    from scopegate.core.settling import Settled
    from scopegate.core.tenants import Tenant

JsonObject = dict[str, Any]

NOT_SHOWN = "(not shown)"
# Of any other field of a key, a secret's digest first of all, an entry shows only that it changed.
_SHOWN_OF_KEYS = frozenset(
    {"type", "description", "created_at", "enabled", "expires_at", "user", "rules", "retiring"}
)


_RIGHTS = ("active", "groups", "roles")


class Action(StrEnum):
    """What was done."""

    KEY_CREATE = "key.create"
    KEY_ENABLE = "key.enable"
    KEY_DISABLE = "key.disable"
    KEY_EXTEND = "key.extend"
    KEY_ROTATE = "key.rotate"
    KEY_RULES = "key.rules"
    KEY_EDIT = "key.edit"
    KEY_EXPIRE = "key.expire"
    KEY_DELETE = "key.delete"
    USER_ADD = "user.add"
    USER_PUT = "user.put"
    USER_ROLE_ADD = "user.role.add"
    USER_ROLE_REMOVE = "user.role.remove"
    USER_ACTIVATE = "user.activate"
    USER_DEACTIVATE = "user.deactivate"
    USER_EDIT = "user.edit"
    USER_DELETE = "user.delete"
    USER_IMPORT = "user.import"
    GROUP_ADD = "group.add"
    GROUP_EDIT = "group.edit"
    GROUP_MEMBERS = "group.members"
    GROUP_DELETE = "group.delete"
    POLICIES_APPLY = "policies.apply"
    FLAG_SET = "flag.set"
    TENANT_CREATE = "tenant.create"
    TENANT_EDIT = "tenant.edit"
    TENANT_SETTINGS = "tenant.settings"
    ADMINISTRATOR_CREATE = "administrator.create"
    ADMINISTRATOR_EDIT = "administrator.edit"
    ADMINISTRATOR_DELETE = "administrator.delete"
    ADMINISTRATOR_BIND = "administrator.bind"
    TOKEN_CREATE = "token.create"  # noqa: S105 -- the words
    TOKEN_REVOKE = "token.revoke"  # noqa: S105 -- likewise
    TOKEN_BOOTSTRAP = "token.bootstrap"  # noqa: S105 -- likewise


_OF_MANY_USERS = frozenset({Action.USER_IMPORT.value, Action.GROUP_MEMBERS.value})


@dataclass(frozen=True, slots=True)
class Deed:
    """What was done to what. ``changed`` has, by name, what was there before and what is there now."""

    action: Action
    kind: str
    id: str
    changed: Mapping[str, JsonObject]


def moment_text(moment: datetime) -> str:
    """RFC 3339 in UTC with ``Z``, to the millisecond."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def key_created(record: KeyRecord) -> Deed:
    """A new key."""
    return Deed(Action.KEY_CREATE, "key", record.id, _differences({}, _of_key(record)))


def key_changed(before: KeyRecord, after: KeyRecord) -> Deed | None:
    """Another record of the same key; None if it is the same record."""
    hidden = {
        one.name: {"before": NOT_SHOWN, "after": NOT_SHOWN}
        for one in fields(before)
        if one.name not in _SHOWN_OF_KEYS and getattr(before, one.name) != getattr(after, one.name)
    }
    changed = {**_differences(_of_key(before), _of_key(after)), **hidden}
    if not changed:
        return None
    match sorted(changed):
        case ["enabled"]:
            action = Action.KEY_ENABLE if after.enabled else Action.KEY_DISABLE
        case ["expires_at"]:
            action = Action.KEY_EXTEND
        case ["rules"]:
            action = Action.KEY_RULES
        case names if "digest" in names:
            action = Action.KEY_ROTATE
        case _:
            action = Action.KEY_EDIT
    return Deed(action, "key", after.id, changed)


def key_deleted(key_id: str, before: KeyRecord | None) -> Deed:
    """A key that goes; its record is None where nobody can read it."""
    shown = {} if before is None else _of_key(before)
    return Deed(Action.KEY_DELETE, "key", key_id, _differences(shown, {}))


def key_expired(key_id: str, record: KeyRecord | None, expired_at: datetime) -> Deed:
    """A key that has expired; its record is None where there is none that can be read."""
    before = None
    if record is not None:
        before = "active" if record.enabled else "disabled"
    return Deed(
        Action.KEY_EXPIRE,
        "key",
        key_id,
        {
            "expired_at": {"before": None, "after": moment_text(expired_at)},
            "state": {"before": before, "after": "expired"},
        },
    )


def key_lapsed(key_id: str, record: KeyRecord | None, delete_at: datetime) -> Deed:
    """A key that goes because its time after the expiry is over; its record may have gone before."""
    if record is not None:
        return key_deleted(key_id, record)
    due = {"delete_at": {"before": moment_text(delete_at), "after": None}}
    return Deed(Action.KEY_DELETE, "key", key_id, due)


def user_added(user: User) -> Deed:
    """A new user."""
    return Deed(Action.USER_ADD, "user", user.id, _differences({}, _of_user(user)))


def user_put(before: User | None, after: User) -> Deed | None:
    """A user who is stored, whoever was there; None if it is the same."""
    changed = _differences({} if before is None else _of_user(before), _of_user(after))
    return Deed(Action.USER_PUT, "user", after.id, changed) if changed else None


def user_changed(before: User, after: User) -> Deed | None:
    """A user with other facts; None if they are the same."""
    changed = _differences(_of_user(before), _of_user(after))
    if not changed:
        return None
    action = Action.USER_EDIT
    if list(changed) == ["roles"]:
        if before.roles < after.roles:
            action = Action.USER_ROLE_ADD
        elif after.roles < before.roles:
            action = Action.USER_ROLE_REMOVE
    elif list(changed) == ["active"]:
        action = Action.USER_ACTIVATE if after.active else Action.USER_DEACTIVATE
    return Deed(action, "user", after.id, changed)


def user_deleted(user_id: str, before: User | None) -> Deed:
    """A user who goes; None where nobody can read the record."""
    shown = {} if before is None else _of_user(before)
    return Deed(Action.USER_DELETE, "user", user_id, _differences(shown, {}))


def users_imported(stored: Iterable[tuple[User | None, User]]) -> Deed | None:
    """Many users who are stored, each behind who was there before; None if nobody is different.

    Of a new user there are the rights alone, for one entry tells of many.
    """
    changed: dict[str, JsonObject] = {}
    for before, after in stored:
        if before is None:
            rights = _of_user(after)
            changed[after.id] = {"before": None, "after": {name: rights[name] for name in _RIGHTS}}
        elif differences := _differences(_of_user(before), _of_user(after)):
            changed[after.id] = {
                moment: {name: one[moment] for name, one in differences.items()}
                for moment in ("before", "after")
            }
    return Deed(Action.USER_IMPORT, "users", "", changed) if changed else None


def group_added(group: Group) -> Deed:
    """A new group of the directory."""
    return Deed(Action.GROUP_ADD, "group", group.id, _differences({}, _of_group(group)))


def group_changed(before: Group, after: Group) -> Deed | None:
    """A group that is called otherwise; None if it is not."""
    changed = _differences(_of_group(before), _of_group(after))
    return Deed(Action.GROUP_EDIT, "group", after.id, changed) if changed else None


def group_deleted(before: Group) -> Deed:
    """A group that goes; its members have left it before."""
    return Deed(Action.GROUP_DELETE, "group", before.id, _differences(_of_group(before), {}))


def members_changed(group_id: str, *, added: Iterable[str], removed: Iterable[str]) -> Deed | None:
    """Users who come to be in a group, and who are in it no longer; None if there are none."""
    changed = {
        **{user_id: {"before": False, "after": True} for user_id in added},
        **{user_id: {"before": True, "after": False} for user_id in removed},
    }
    return Deed(Action.GROUP_MEMBERS, "group", group_id, changed) if changed else None


def users_in(action: str, target: str, changed: Iterable[str]) -> tuple[str, ...]:
    """The ids of the users whose records an entry tells of, given what it is about and what it names."""
    if action in _OF_MANY_USERS:
        return tuple(changed)
    return (target,) if action.startswith("user.") else ()


def policies_applied(changes: Iterable[Change]) -> Deed | None:
    """Other policies; None if nothing is different."""
    changed: dict[str, JsonObject] = {}
    for change in changes:
        if change.before != change.after:
            changed[change.subject] = {"before": _names(change.before), "after": _names(change.after)}
        if change.summaries is not None:
            before, after = change.summaries
            changed[f"summary of {change.subject}"] = {"before": before, "after": after}
    return Deed(Action.POLICIES_APPLY, "policies", "", changed) if changed else None


def flag_set(name: str, *, before: bool, after: bool) -> Deed | None:
    """A feature flag that is turned; None if it stands like that already."""
    if before == after:
        return None
    return Deed(Action.FLAG_SET, "flag", name, {"on": {"before": before, "after": after}})


def tenant_created(tenant: Tenant) -> Deed:
    """A new tenant."""
    return Deed(Action.TENANT_CREATE, "tenant", tenant.id, _differences({}, _of_tenant(tenant)))


def tenant_changed(before: Tenant, after: Tenant) -> Deed | None:
    """A tenant that is called otherwise; None if it is not."""
    changed = _differences(_of_tenant(before), _of_tenant(after))
    return Deed(Action.TENANT_EDIT, "tenant", after.id, changed) if changed else None


def settings_changed(before: Settled, after: Settled) -> Deed | None:
    """Other settings of a tenant, in whose own log it stands; None if they are the same."""
    changed = _differences(_of_settled(before), _of_settled(after))
    return Deed(Action.TENANT_SETTINGS, "settings", "", changed) if changed else None


def administrator_created(administrator: Administrator) -> Deed:
    """A new administrator."""
    changed = _differences({}, _of_administrator(administrator))
    return Deed(Action.ADMINISTRATOR_CREATE, "administrator", administrator.id, changed)


def administrator_changed(before: Administrator, after: Administrator) -> Deed | None:
    """An administrator with other facts; None if they are the same."""
    changed = _differences(_of_administrator(before), _of_administrator(after))
    if not changed:
        return None
    bound = list(changed) == ["subject"] and after.subject is not None
    action = Action.ADMINISTRATOR_BIND if bound else Action.ADMINISTRATOR_EDIT
    return Deed(action, "administrator", after.id, changed)


def administrator_deleted(before: Administrator) -> Deed:
    """An administrator who goes."""
    changed = _differences(_of_administrator(before), {})
    return Deed(Action.ADMINISTRATOR_DELETE, "administrator", before.id, changed)


def token_created(token: AdminToken) -> Deed:
    """A new token of an administrator."""
    return Deed(Action.TOKEN_CREATE, "token", token.id, _differences({}, _of_token(token)))


def token_revoked(token_id: str, before: AdminToken | None) -> Deed:
    """A token that goes; its record is None where nobody can read it."""
    shown = {} if before is None else _of_token(before)
    return Deed(Action.TOKEN_REVOKE, "token", token_id, _differences(shown, {}))


def bootstrap_offered(token: BootstrapToken) -> Deed:
    """A token with which the first system administrator can be made; the one before it is good no more."""
    changed = _differences({}, {"expires_at": moment_text(token.expires_at)})
    return Deed(Action.TOKEN_BOOTSTRAP, "token", token.id, changed)


def _names(names: tuple[str, ...] | None) -> list[str] | None:
    return None if names is None else list(names)


def _of_key(record: KeyRecord) -> JsonObject:
    return {
        "type": record.type.value,
        "description": record.description,
        "created_at": moment_text(record.created_at),
        "enabled": record.enabled,
        "expires_at": None if record.expires_at is None else moment_text(record.expires_at),
        # Of the secret that the key had before: until when it is good beside the present one.
        "retiring_until": None if record.retiring is None else moment_text(record.retiring.until),
        "user": record.user,
        "rules": [{"method": rule.method, "url": rule.url} for rule in record.rules],
    }


def _of_user(user: User) -> JsonObject:
    return {
        "name": user.name,
        "email": user.email,
        "organization": user.organization,
        "active": user.active,
        "groups": sorted(user.groups),
        "roles": sorted(user.roles),
        "user_name": user.user_name,
        "external_id": user.external_id,
        "given_name": user.given_name,
        "family_name": user.family_name,
    }


def _of_group(group: Group) -> JsonObject:
    return {"name": group.name, "external_id": group.external_id}


def _of_tenant(tenant: Tenant) -> JsonObject:
    return {"tag": tenant.tag, "name": tenant.name}


def _of_settled(settled: Settled) -> JsonObject:
    settings = settled.settings
    return {
        "key_limit": settings.key_limit,
        "key_limit_max": settings.key_limit_max,
        "rule_methods": sorted(settings.rule_methods),
        "default_lifetime": settings.default_lifetime,
        "max_lifetime": settings.max_lifetime,
        "unlisted_endpoints": settled.unlisted_endpoints,
    }


def _of_administrator(administrator: Administrator) -> JsonObject:
    return {
        "name": administrator.name,
        "email": administrator.email,
        "role": administrator.role.value,
        "tenants": None if administrator.tenants is None else sorted(administrator.tenants),
        "active": administrator.active,
        "subject": None
        if administrator.subject is None
        else {"issuer": administrator.subject.issuer, "id": administrator.subject.id},
    }


def _of_token(token: AdminToken) -> JsonObject:
    return {
        "kind": token.kind.value,
        "administrator": token.administrator,
        "description": token.description,
        "expires_at": moment_text(token.expires_at),
        "opened_by": token.opened_by,
    }


def _differences(before: JsonObject, after: JsonObject) -> dict[str, JsonObject]:
    return {
        name: {"before": before.get(name), "after": after.get(name)}
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name) or before.keys() != after.keys()
    }
