"""What administrators can do, with the real store behind it."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from scopegate.commands import Commands, IssuedKey
from scopegate.core import keys
from scopegate.core.catalogue import Endpoint
from scopegate.core.changes import plan
from scopegate.core.errors import Conflict, FeatureDisabled, InvalidInput, KeyLimitReached, NotFound
from scopegate.core.keys import BASE62, KeyRecord, KeyState, KeyType, RetiringSecret, Rule
from scopegate.core.policies import Policies
from scopegate.core.reasons import Reason
from scopegate.enforcer import Enforcer
from scopegate.store import layout
from scopegate.store.policies import Applied
from store.facts import INCOMPILABLE, NOW, POLICIES, TAG, WEEK, key, key_id, names, user

if TYPE_CHECKING:
    from collections.abc import Callable

    from scopegate.store import Store

RULES = (Rule("GET", "/api/recordings/*"),)
PEPPER = b"pepper of the tests"


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def commands(store: Store, clock: Clock) -> Commands:
    """The operations on a tenant with policies, users and Scoped API on."""
    made = Commands(store, clock=clock)
    await made.apply_policies(POLICIES)
    await made.put_users(
        [
            user("kim", groups=names("agents")),
            user("lou", roles=names("editor")),
            user("nobody"),
            user("gone", groups=names("agents"), active=False),
        ]
    )
    await made.set_scoped_api(on=True)
    return made


def choosing(text: str) -> Callable[[str], str]:
    """Chooses the characters of `text`, over and over."""
    characters = itertools.cycle(text)
    return lambda _: next(characters)


# Creating keys


@pytest.mark.parametrize(
    "fields",
    [
        {"key_type": KeyType.DESKTOP},
        {"key_type": KeyType.EXTERNAL},
        {"key_type": KeyType.EXTERNAL, "user": "kim", "expires_at": NOW + WEEK},
        {"key_type": KeyType.EXTERNAL, "user": "nobody"},
        {"key_type": KeyType.CUSTOM, "rules": RULES},
        {"key_type": KeyType.CUSTOM, "rules": RULES, "user": "kim", "expires_at": NOW + WEEK},
    ],
    ids=lambda fields: ",".join(str(value) for value in fields.values() if isinstance(value, str)),
)
async def test_a_new_key_is_enabled_and_opens_at_once(commands: Commands, fields: dict[str, Any]) -> None:
    issued = await commands.create_key(description="Für Ω", **fields)
    record = issued.record
    assert (record.type, record.enabled, record.created_at) == (fields["key_type"], True, NOW)
    assert (record.user, record.rules) == (fields.get("user"), fields.get("rules", ()))
    assert (record.description, record.expires_at) == ("Für Ω", fields.get("expires_at"))
    assert (record.tenant, issued.warnings) == ("default", ())
    assert await commands.list_keys() == [record]
    text = keys.parse(issued.new_secret)
    assert text is not None
    assert (text.id, keys.digest(text)) == (record.id, record.digest)
    assert keys.state(record, commands.now()) is KeyState.ACTIVE
    assert issued.new_secret not in repr(issued)


async def test_a_prefix_and_a_pepper_are_used(store: Store) -> None:
    commands = Commands(store, key_prefix="acme", pepper=PEPPER)
    issued = await commands.create_key(key_type=KeyType.DESKTOP, description="d")
    text = keys.parse(issued.new_secret, prefix="acme")
    assert text is not None
    assert issued.record.digest == keys.digest(text, pepper=PEPPER) != keys.digest(text)


async def test_no_secret_reaches_the_store(commands: Commands, raw: Any) -> None:
    issued = await commands.create_key(key_type=KeyType.EXTERNAL, description="d")
    secret = issued.new_secret.rpartition("_")[2].encode()
    stored = [raw.get(name) for name in raw.keys("*") if raw.type(name) == b"string"]
    assert not any(secret[: keys.SECRET_LENGTH] in value for value in stored)


CREATION_ERRORS: dict[str, tuple[str, dict[str, Any]]] = {
    "a desktop key with an expiry": (
        "expiry_not_allowed_for_desktop",
        {"key_type": KeyType.DESKTOP, "expires_at": NOW + WEEK},
    ),
    "a desktop key with a user": (
        "user_not_allowed_for_desktop",
        {"key_type": KeyType.DESKTOP, "user": "kim"},
    ),
    "a desktop key with rules": ("rules_only_for_custom", {"key_type": KeyType.DESKTOP, "rules": RULES}),
    "an external key with rules": ("rules_only_for_custom", {"rules": RULES}),
    "a custom key without rules": ("rules_required", {"key_type": KeyType.CUSTOM}),
    "a rule twice": ("rule_duplicate", {"key_type": KeyType.CUSTOM, "rules": RULES * 2}),
    "a method that no rule may name": (
        "method_not_allowed_value",
        {"key_type": KeyType.CUSTOM, "rules": (Rule("DELETE", "/api"),)},
    ),
    "rules that cannot be compiled": (
        "invalid",
        {"key_type": KeyType.CUSTOM, "rules": tuple(Rule("GET", url) for url in INCOMPILABLE)},
    ),
    "no description": ("description_required", {"description": " "}),
    "an expiry now": ("expiry_in_past", {"expires_at": NOW}),
    "an expiry without a time zone": ("invalid", {"expires_at": datetime(2101, 1, 1)}),  # noqa: DTZ001
    "an unknown user": ("user_not_found", {"user": "who"}),
    "an unknown user and rules": (
        "user_not_found",
        {"key_type": KeyType.CUSTOM, "user": "who", "rules": RULES},
    ),
}


@pytest.mark.parametrize(("code", "fields"), CREATION_ERRORS.values(), ids=CREATION_ERRORS.keys())
async def test_a_key_that_breaks_a_rule_of_its_type_is_not_created(
    commands: Commands, code: str, fields: dict[str, Any]
) -> None:
    with pytest.raises(InvalidInput) as refused:
        await commands.create_key(**({"key_type": KeyType.EXTERNAL, "description": "d"} | fields))
    assert refused.value.code == code
    assert refused.value.hint
    assert await commands.list_keys() == []


async def test_custom_keys_need_the_flag(commands: Commands) -> None:
    kept = await commands.create_key(key_type=KeyType.CUSTOM, description="d", rules=RULES)
    await commands.set_scoped_api(on=False)
    assert not await commands.scoped_api()
    with pytest.raises(FeatureDisabled):
        await commands.create_key(key_type=KeyType.CUSTOM, description="d", rules=RULES)
    external = await commands.create_key(key_type=KeyType.EXTERNAL, description="d")
    assert {record.id for record in await commands.list_keys()} == {kept.record.id, external.record.id}
    assert (await commands.explain(kept.record.id, "GET", "/api/recordings/1")).decision.allowed


async def test_a_full_tenant_gets_no_other_key(commands: Commands, store: Store) -> None:
    for number in range(keys.KEYS_PER_TENANT):
        await store.keys.create(key(number), now=NOW)
    with pytest.raises(KeyLimitReached, match="300 of 300"):
        await commands.create_key(key_type=KeyType.DESKTOP, description="d")


# Privileges of the user (D10)


@dataclass(frozen=True)
class Preview:
    """What becomes of a custom key with these rules, bound to this user."""

    user: str
    urls: tuple[str, ...]
    refused: str | None = None
    warned: tuple[str, ...] = ()
    unlisted_allowed: bool = False


ARCHIVE = Endpoint(names("GET"), "/api/recordings/archive/*", names("archive.view"))
PREVIEWS = {
    "all endpoints are in reach": Preview("lou", ("https://api.example.com/notes",)),
    "an endpoint open to every user": Preview("nobody", ("/api/status",)),
    "a part is out of reach": Preview("kim", ("/api/recordings/*",), warned=("archive.view",)),
    "two rules, one with a part out of reach": Preview(
        "kim", ("/api/status", "/api/recordings/*"), warned=("archive.view",)
    ),
    "nothing is in reach": Preview("nobody", ("/api/recordings/1",), refused="recordings.view"),
    "one of two rules opens nothing": Preview(
        "kim", ("/api/recordings/1", "/api/recordings/archive/*"), refused="archive.view"
    ),
    "no endpoint is listed": Preview("kim", ("/api/other",), refused="no endpoint"),
    "no endpoint is listed, and that is allowed": Preview("kim", ("/api/other",), unlisted_allowed=True),
}


@pytest.mark.parametrize("case", PREVIEWS.values(), ids=PREVIEWS.keys())
async def test_a_user_has_to_be_able_to_use_the_rules(commands: Commands, case: Preview) -> None:
    await commands.apply_policies(
        replace(POLICIES, endpoints=(*POLICIES.endpoints, ARCHIVE), unlisted_allowed=case.unlisted_allowed)
    )
    fields: dict[str, Any] = {
        "key_type": KeyType.CUSTOM,
        "description": "d",
        "user": case.user,
        "rules": tuple(Rule("GET", url) for url in case.urls),
    }
    if case.refused is not None:
        with pytest.raises(InvalidInput, match=case.refused) as refused:
            await commands.create_key(**fields)
        assert (refused.value.code, refused.value.field) == ("privileges_missing", "rules")
        assert await commands.list_keys() == []
        return
    issued = await commands.create_key(**fields)
    assert len(issued.warnings) == len(case.warned)
    assert all(word in warning for word, warning in zip(case.warned, issued.warnings, strict=True))
    assert await commands.list_keys() == [issued.record]


@pytest.mark.parametrize("kind", [KeyType.EXTERNAL, KeyType.CUSTOM])
async def test_a_key_for_an_inactive_user_would_open_nothing(commands: Commands, kind: KeyType) -> None:
    rules = (Rule("GET", "/api/recordings/1"),) if kind is KeyType.CUSTOM else ()
    with pytest.raises(InvalidInput, match="not active") as refused:
        await commands.create_key(key_type=kind, description="d", user="gone", rules=rules)
    assert (refused.value.code, refused.value.field) == ("user_inactive", "user")


async def test_a_key_for_all_users_is_not_previewed(commands: Commands) -> None:
    issued = await commands.create_key(
        key_type=KeyType.CUSTOM, description="d", rules=(Rule("GET", "/unlisted"),)
    )
    assert issued.warnings == ()


# Ids


async def test_an_id_that_is_taken_is_not_used_again(store: Store, clock: Clock) -> None:
    length = keys.ID_LENGTH - keys.TENANT_TAG_LENGTH
    one, other = "a" * length, "b" * length
    secret = "s" * keys.SECRET_LENGTH
    first = await Commands(store, clock=clock, choose=choosing(one + secret)).create_key(
        key_type=KeyType.EXTERNAL, description="first"
    )
    # The id repeats, the secret does not: it is another key.
    choose = choosing(one + "t" * keys.SECRET_LENGTH + other + secret)
    second = await Commands(store, clock=clock, choose=choose).create_key(
        key_type=KeyType.EXTERNAL, description="second"
    )
    assert (first.record.id, second.record.id) == (TAG + one, TAG + other)
    assert {record.description for record in await store.keys.all(now=NOW)} == {"first", "second"}


async def test_minting_that_finds_no_free_id_gives_up(store: Store, clock: Clock) -> None:
    await store.keys.create(key(1, id=key_id(0)), now=NOW)
    with pytest.raises(Conflict, match="No free key id"):
        await Commands(store, clock=clock, choose=lambda _: "0").create_key(
            key_type=KeyType.EXTERNAL, description="d"
        )
    assert len(await store.keys.all(now=NOW)) == 1


async def test_a_key_is_found_by_its_id_or_its_beginning(commands: Commands, store: Store) -> None:
    for one in ("000aaaaaaaaa", "000aabbbbbbb", "000ccccccccc"):
        await store.keys.create(key(id=one), now=NOW)
    for reference, found in (
        ("000aaaaaaaaa", "000aaaaaaaaa"),
        ("000aaa", "000aaaaaaaaa"),
        ("000c", "000ccccccccc"),
    ):
        assert (await commands.find_key(reference)).id == found
    with pytest.raises(InvalidInput, match=r"2 keys begin with '000aa': .*000aabbbbbbb") as ambiguous:
        await commands.find_key("000aa")
    assert ambiguous.value.field == "id"
    for unknown in ("000x", "000aaaaaaaab", "aaa"):
        with pytest.raises(NotFound):
            await commands.find_key(unknown)


@pytest.mark.parametrize("text", ["000aaaaaaaaa0", "*", "000a*", f"sg_000aaaaaaaaa_{'s' * 38}"])
async def test_what_is_no_id_may_be_a_secret_and_is_not_repeated(commands: Commands, text: str) -> None:
    with pytest.raises(InvalidInput, match="not the id of a key") as refused:
        await commands.find_key(text)
    assert text not in f"{refused.value.message} {refused.value.hint}"


async def test_an_empty_reference_finds_no_key_not_even_the_only_one(
    commands: Commands, store: Store
) -> None:
    await store.keys.create(key(), now=NOW)
    with pytest.raises(InvalidInput):
        await commands.find_key("")


# Changing keys


async def test_a_key_is_disabled_and_enabled(commands: Commands, store: Store) -> None:
    await store.keys.create(key(expires_at=NOW + WEEK), now=NOW)
    for enabled in (False, False, True):
        changed = await commands.set_enabled(key().id, enabled=enabled)
        assert changed == key(expires_at=NOW + WEEK, enabled=enabled) == await store.keys.get(key().id)
    with pytest.raises(NotFound):
        await commands.set_enabled(key_id(9), enabled=False)


async def test_a_key_is_deleted(commands: Commands, store: Store) -> None:
    await store.keys.create(key(), now=NOW)
    await commands.delete_key(key().id)
    assert await commands.list_keys() == []
    with pytest.raises(NotFound):
        await commands.delete_key(key().id)


@pytest.mark.parametrize("expires_at", [NOW + 5 * WEEK, None])
async def test_an_expired_key_can_be_extended_within_its_seven_days(
    commands: Commands, store: Store, clock: Clock, expires_at: datetime | None
) -> None:
    await store.keys.create(key(expires_at=NOW), now=NOW - WEEK)
    clock.now = NOW + WEEK - timedelta(seconds=1)
    assert keys.state(key(expires_at=NOW), clock.now) is KeyState.EXPIRED
    extended = await commands.extend_key(key().id, expires_at)
    assert extended == key(expires_at=expires_at) == await store.keys.get(key().id)
    clock.now = NOW + 4 * WEEK
    assert await commands.list_keys() == [extended]


@pytest.mark.parametrize("expires_at", [NOW + 5 * WEEK, None])
async def test_a_key_cannot_be_extended_after_its_seven_days(
    commands: Commands, store: Store, clock: Clock, raw: Any, expires_at: datetime | None
) -> None:
    await store.keys.create(key(expires_at=NOW), now=NOW - WEEK)
    clock.now = NOW + WEEK
    assert raw.exists(layout.key_record(TAG, key().id)), "by its own clock Redis has no reason to drop it"
    with pytest.raises(NotFound):
        await commands.extend_key(key().id, expires_at)
    assert await commands.list_keys() == []


async def test_a_refused_extension_changes_nothing(commands: Commands, store: Store) -> None:
    await store.keys.create(key(1, expires_at=NOW + WEEK), now=NOW)
    await store.keys.create(key(2, type=KeyType.DESKTOP), now=NOW)
    for number, expires_at, code in (
        (1, NOW, "expiry_in_past"),
        (1, datetime(2101, 1, 1), "invalid"),  # noqa: DTZ001 -- that is the point
        (1, datetime(9999, 1, 1, tzinfo=UTC), "invalid"),
        (2, NOW + WEEK, "expiry_not_allowed_for_desktop"),
    ):
        with pytest.raises(InvalidInput) as refused:
            await commands.extend_key(key_id(number), expires_at)
        assert refused.value.code == code
    assert await store.keys.get(key_id(1)) == key(1, expires_at=NOW + WEEK)


# Rotating keys


@pytest.mark.parametrize("facts", [{"type": KeyType.DESKTOP}, {"user": "kim"}, {"expires_at": NOW + WEEK}])
async def test_a_rotated_key_has_two_secrets_for_a_while(
    commands: Commands, store: Store, raw: Any, facts: dict[str, Any]
) -> None:
    await store.keys.create(key(**facts), now=NOW)
    deleted_at = raw.pexpiretime(layout.key_record(TAG, key().id))
    issued = await commands.rotate_key(key().id, overlap=timedelta(hours=2))
    text = keys.parse(issued.new_secret)
    assert text is not None
    assert (text.id, keys.digest(text)) == (key().id, issued.record.digest)
    assert issued.record == await store.keys.get(key().id)
    assert issued.record == replace(
        key(**facts),
        digest=issued.record.digest,
        retiring=RetiringSecret(key().digest, NOW + timedelta(hours=2)),
    )
    assert not issued.warnings
    assert raw.pexpiretime(layout.key_record(TAG, key().id)) == deleted_at


async def test_a_third_secret_ends_the_first(commands: Commands, store: Store) -> None:
    await store.keys.create(key(), now=NOW)
    second = await commands.rotate_key(key().id)
    with pytest.raises(Conflict) as refused:
        await commands.rotate_key(key().id)
    assert refused.value.code == "secret_retiring"
    assert await store.keys.get(key().id) == second.record
    third = await commands.rotate_key(key().id, drop_retiring=True)
    assert third.record.retiring == RetiringSecret(second.record.digest, NOW + timedelta(days=1))
    assert "only two" in str(third.warnings)


async def test_of_rotations_at_the_same_time_one_is_done(commands: Commands, store: Store) -> None:
    await store.keys.create(key(), now=NOW)
    outcomes = await asyncio.gather(
        *(commands.rotate_key(key().id) for _ in range(5)), return_exceptions=True
    )
    (done,) = (outcome for outcome in outcomes if isinstance(outcome, IssuedKey))
    assert all(isinstance(outcome, Conflict | IssuedKey) for outcome in outcomes)
    assert await store.keys.get(key().id) == done.record
    assert done.record.retiring == RetiringSecret(key().digest, NOW + timedelta(days=1))


async def test_a_key_that_is_gone_or_has_expired_is_not_rotated(
    commands: Commands, store: Store, clock: Clock
) -> None:
    with pytest.raises(NotFound):
        await commands.rotate_key(key().id)
    await store.keys.create(key(expires_at=NOW), now=NOW - WEEK)
    with pytest.raises(Conflict) as refused:
        await commands.rotate_key(key().id)
    assert refused.value.code == "key_expired"
    assert await store.keys.get(key().id) == key(expires_at=NOW)
    clock.now = NOW + WEEK
    with pytest.raises(NotFound):
        await commands.rotate_key(key().id)


async def test_a_rotation_whose_answer_was_lost_is_made_once(commands: Commands, store: Store) -> None:
    """The change is made again on what it has made itself, as the client does after a lost answer."""
    await store.keys.create(key(), now=NOW)
    change = store.keys.change

    async def changed_twice(key_id: str, edit: Callable[[KeyRecord], KeyRecord], **options: Any) -> KeyRecord:
        await change(key_id, edit, **options)
        return await change(key_id, edit, **options)

    store.keys.change = changed_twice  # type: ignore[method-assign]
    issued = await commands.rotate_key(key().id)
    assert issued.record.retiring == RetiringSecret(key().digest, NOW + timedelta(days=1))


# Changing keys

GET_NOTES = Rule("GET", "https://api.example.com/notes")
STATUS = Rule("GET", "/api/status")


async def custom(commands: Commands, *rules: Rule, user: str | None = None) -> str:
    issued = await commands.create_key(
        key_type=KeyType.CUSTOM, description="d", rules=rules or RULES, user=user
    )
    return issued.record.id


async def test_rules_are_added_and_removed(commands: Commands, store: Store) -> None:
    changed = await custom(commands)
    added = await commands.add_rules(changed, (STATUS, GET_NOTES))
    assert added.record == await store.keys.get(changed)
    assert added.record.rules == (*RULES, STATUS, GET_NOTES)
    removed = await commands.remove_rules(changed, (STATUS, *RULES))
    assert removed.record == await store.keys.get(changed) == replace(added.record, rules=(GET_NOTES,))
    with pytest.raises(Conflict):
        await commands.remove_rules(changed, (GET_NOTES,))
    assert (await commands.remove_rules(changed, (GET_NOTES,), even_the_last=True)).record.rules == ()
    assert not (await commands.explain(changed, "GET", "/api/status")).decision.allowed
    assert (await commands.add_rules(changed, (STATUS,))).record.rules == (STATUS,)
    assert (await commands.explain(changed, "GET", "/api/status")).decision.allowed


async def test_rules_are_added_only_while_scoped_api_is_on_and_removed_always(
    commands: Commands, store: Store
) -> None:
    changed = await custom(commands, *RULES, STATUS)
    await commands.set_scoped_api(on=False)
    with pytest.raises(FeatureDisabled):
        await commands.add_rules(changed, (GET_NOTES,))
    assert (await store.keys.get(changed)).rules == (*RULES, STATUS)
    assert (await commands.remove_rules(changed, (STATUS,))).record.rules == RULES


async def test_a_rule_has_to_be_of_use_to_the_user_of_the_key(commands: Commands, store: Store) -> None:
    changed = await custom(commands, user="kim")
    with pytest.raises(InvalidInput) as refused:
        await commands.add_rules(changed, (STATUS, GET_NOTES))
    assert refused.value.code == "privileges_missing"
    assert refused.value.message.startswith("Row 3 (GET https://api.example.com/notes) opens nothing")
    assert (await store.keys.get(changed)).rules == RULES
    partly = await commands.add_rules(changed, (Rule("GET", "https://api.example.com/*"),))
    assert [warning.partition(" (")[0] for warning in partly.warnings] == ["Row 2"]


async def test_what_the_user_has_lost_since_does_not_hinder_another_rule(commands: Commands) -> None:
    changed = await custom(commands, Rule("POST", "https://api.example.com/notes"), user="lou")
    await commands.remove_roles("lou", ["editor"])
    added = await commands.add_rules(changed, (STATUS,))
    assert (len(added.record.rules), added.warnings) == (2, ())


@pytest.mark.parametrize("user", [None, "kim"])
async def test_of_rules_that_are_added_at_the_same_time_none_is_lost(
    commands: Commands, store: Store, user: str | None
) -> None:
    changed = await custom(commands, user=user)
    added = [Rule("GET", f"/api/recordings/{number}") for number in range(8)]
    await asyncio.gather(*(commands.add_rules(changed, (rule,)) for rule in added))
    assert set((await store.keys.get(changed)).rules) == {*RULES, *added}


async def test_a_key_is_edited(commands: Commands, store: Store, raw: Any) -> None:
    changed = await custom(commands)
    before = await store.keys.get(changed)
    edited = await commands.edit_key(changed, description="Another", expires_at=NOW + WEEK, user="kim")
    assert edited.record == await store.keys.get(changed)
    assert edited.record == replace(before, description="Another", expires_at=NOW + WEEK, user="kim")
    assert raw.pexpiretime(layout.key_record(TAG, changed)) == int((NOW + 2 * WEEK).timestamp() * 1000)
    back = await commands.edit_key(changed, expires_at=None, user=None)
    assert back.record == replace(before, description="Another")
    assert raw.ttl(layout.key_record(TAG, changed)) == -1


@pytest.mark.parametrize(
    ("user", "code"),
    [("stranger", "user_not_found"), ("gone", "user_inactive"), ("lou", "privileges_missing")],
)
async def test_a_user_who_cannot_use_the_key_is_refused(
    commands: Commands, store: Store, user: str, code: str
) -> None:
    changed = await custom(commands)
    with pytest.raises(InvalidInput) as refused:
        await commands.edit_key(changed, user=user, description="Another")
    assert refused.value.code == code
    assert (await store.keys.get(changed)).user is None


async def test_a_key_that_is_gone_cannot_be_edited(commands: Commands, store: Store, clock: Clock) -> None:
    with pytest.raises(NotFound):
        await commands.edit_key(key().id, description="Another")
    await store.keys.create(key(expires_at=NOW), now=NOW - WEEK)
    clock.now = NOW + WEEK
    for changes in ({"description": "Another"}, {"user": None}):
        with pytest.raises(NotFound):
            await commands.edit_key(key().id, **changes)


async def test_a_duplicate_has_all_but_the_secret(commands: Commands, store: Store) -> None:
    first = await custom(commands, user="kim")
    await commands.edit_key(first, expires_at=NOW + WEEK)
    await commands.rotate_key(first)
    before = await store.keys.get(first)
    issued = await commands.duplicate_key(first, description="Another")
    text = keys.parse(issued.new_secret)
    assert text is not None
    assert text.id == issued.record.id != first
    assert issued.record == replace(
        before, id=text.id, digest=keys.digest(text), description="Another", retiring=None
    )
    assert await store.keys.get(first) == before
    assert len(await commands.list_keys()) == 2


async def test_a_duplicate_is_refused_as_a_creation_is(commands: Commands, clock: Clock) -> None:
    first = await custom(commands, user="kim")
    await commands.set_scoped_api(on=False)
    with pytest.raises(FeatureDisabled):
        await commands.duplicate_key(first, description="Another")
    await commands.set_scoped_api(on=True)
    await commands.set_active("kim", active=False)
    with pytest.raises(InvalidInput):
        await commands.duplicate_key(first, description="Another")
    await commands.set_active("kim", active=True)
    await commands.edit_key(first, expires_at=NOW + WEEK)
    clock.now = NOW + WEEK
    with pytest.raises(Conflict) as refused:
        await commands.duplicate_key(first, description="Another")
    assert refused.value.code == "key_expired"


async def test_a_duplicate_counts(commands: Commands) -> None:
    first = await custom(commands)
    for number in range(keys.KEYS_PER_TENANT - 1):
        await commands.duplicate_key(first, description=f"copy {number}")
    with pytest.raises(KeyLimitReached):
        await commands.duplicate_key(first, description="one too many")


# Users


async def test_roles_are_given_and_taken(commands: Commands) -> None:
    assert (await commands.add_roles("nobody", ["agent"])).roles == {"agent"}
    _, principal = await commands.show_user("nobody")
    assert principal.privileges == {"recordings.view"}
    assert (await commands.add_roles("nobody", ["agent"])).roles == {"agent"}
    assert (await commands.remove_roles("nobody", ["agent"])).roles == names()
    _, principal = await commands.show_user("nobody")
    assert principal.privileges == names()


async def test_roles_that_make_no_sense_are_refused(commands: Commands) -> None:
    before = await commands.list_users()
    with pytest.raises(NotFound, match="no role 'undefined'"):
        await commands.add_roles("nobody", ["undefined"])
    with pytest.raises(NotFound, match="no user 'who'"):
        await commands.add_roles("who", ["agent"])
    with pytest.raises(NotFound, match="no user 'who'"):
        await commands.remove_roles("who", ["agent"])
    with pytest.raises(NotFound, match="does not hold the role 'agent' directly"):
        await commands.remove_roles("kim", ["agent"])  # who has it through a group
    assert await commands.list_users() == before


async def test_users_are_listed_by_id_and_shown_with_their_privileges(commands: Commands) -> None:
    assert [one.id for one in await commands.list_users()] == ["gone", "kim", "lou", "nobody"]
    shown, principal = await commands.show_user("kim")
    assert (shown.id, principal.privileges) == ("kim", names("recordings.view"))
    _, inactive = await commands.show_user("gone")
    assert (inactive.active, inactive.privileges) == (False, names())
    with pytest.raises(NotFound):
        await commands.show_user("who")


async def test_a_users_keys_stop_and_go_with_the_user(commands: Commands) -> None:
    issued = await commands.create_key(key_type=KeyType.EXTERNAL, description="d", user="kim")
    for active, reason in ((False, Reason.USER_INACTIVE), (True, Reason.ALLOWED)):
        assert (await commands.set_active("kim", active=active)).active is active
        explanation = await commands.explain(issued.record.id, "GET", "/api/recordings/1")
        assert explanation.decision.reason is reason


# Explaining


@dataclass(frozen=True)
class Request:
    """One request, as a URL for people and as parts for the wire."""

    method: str
    path: str
    query: str = ""
    host: str = "api.example.com"

    @property
    def url(self) -> str:
        return f"http://{self.host}{self.path}" + (f"?{self.query}" if self.query else "")


REQUESTS = [
    Request("GET", "/api/recordings/1"),
    Request("HEAD", "/api/recordings/1"),
    Request("POST", "/api/recordings/1"),
    Request("get", "/api/recordings/1"),
    Request("TRACE", "/api/recordings/1"),
    Request("GET", "/api/recordings/1", query="from=2026&to=%C3%A4"),
    Request("GET", "/api/recordings/1", query="a b"),
    Request("GET", "/api/%72ecordings/1"),
    Request("GET", "/api/recordings/../status"),
    Request("GET", "/api/recordings/%2e%2e/status"),
    Request("GET", "/api//recordings/1"),
    Request("GET", "/api/recordings/%zz"),
    Request("GET", "/api/recordings/1#fragment"),
    Request("GET", "/api/recordings/ä"),
    Request("GET", "/api/status"),
    Request("GET", "/"),
    Request("GET", "/unlisted"),
    Request("POST", "/notes"),
    Request("POST", "/notes", host="API.EXAMPLE.COM:443"),
    Request("POST", "/notes", host="other.example.com"),
    Request("POST", "/notes", host="api.example.com."),
    Request("GET", "/api/status", host="h"),
    Request("GET", "/api/status", host="http"),
    Request("GET", "/api/status", host="[::1]:8080"),
    Request("GET", "/api/status", host="user@host"),
    Request("GET", "/api/status", host="[::1"),
]


async def test_an_explanation_is_the_decision_of_the_enforcement(
    commands: Commands, store: Store, clock: Clock
) -> None:
    custom = (*RULES, Rule("POST", "https://api.example.com/notes"), Rule("GET", "/api/status"))
    wanted: list[dict[str, Any]] = [
        {"key_type": KeyType.DESKTOP},
        {"key_type": KeyType.EXTERNAL},
        {"key_type": KeyType.EXTERNAL, "user": "kim"},
        {"key_type": KeyType.EXTERNAL, "user": "lou"},
        {"key_type": KeyType.EXTERNAL, "user": "gone"},
        {"key_type": KeyType.CUSTOM, "rules": custom},
        {"key_type": KeyType.CUSTOM, "rules": RULES, "user": "kim"},
        {"key_type": KeyType.EXTERNAL, "description": "disabled"},
        {"key_type": KeyType.EXTERNAL, "description": "expired", "expires_at": NOW + timedelta(days=1)},
        {"key_type": KeyType.EXTERNAL, "description": "deleted", "expires_at": NOW + timedelta(minutes=1)},
    ]
    await commands.set_active("gone", active=True)
    issued = [await commands.create_key(**({"description": "d"} | fields)) for fields in wanted]
    await commands.set_active("gone", active=False)
    await commands.set_enabled(issued[7].record.id, enabled=False)
    clock.now = NOW + WEEK + timedelta(hours=1)
    enforcer = Enforcer(clock=clock)
    reasons = set()
    for one, request in itertools.product(issued, REQUESTS):
        explanation = await commands.explain(one.record.id, request.method, request.url)
        presented = enforcer.read(
            [(b"host", request.host.encode()), (b"x-api-key", one.new_secret.encode())], http_version="1.1"
        )
        verdict = await enforcer.judge(
            store.access, presented, request.method, request.path.encode(), query=request.query.encode()
        )
        assert (explanation.decision, explanation.request) == (verdict.decision, verdict.request), request
        assert len(explanation.steps) > 0
        reasons.add(explanation.decision.reason)
    assert reasons >= {
        Reason.ALLOWED,
        Reason.KEY_DISABLED,
        Reason.KEY_EXPIRED,
        Reason.KEY_DELETED,
        Reason.URL_NOT_ALLOWED,
        Reason.METHOD_NOT_ALLOWED,
        Reason.USER_INACTIVE,
        Reason.ENDPOINT_UNLISTED,
        Reason.PRIVILEGE_MISSING,
        Reason.PATH_DOT_SEGMENT,
        Reason.QUERY_MALFORMED,
        Reason.HOST_MALFORMED,
        Reason.METHOD_UNSUPPORTED,
    }


@pytest.mark.parametrize(
    ("url", "path", "host"),
    [
        ("/api/status", "/api/status", None),
        ("http://h", "/", "h"),
        ("https://p/", "/", "p"),
        ("HTTPS://API.example.com:8443?x=/y", "/", "api.example.com:8443"),
        ("http://http/http", "/http", "http"),
    ],
)
async def test_a_path_and_a_full_url_are_read_as_a_client_would_send_them(
    commands: Commands, store: Store, url: str, path: str, host: str | None
) -> None:
    await store.keys.create(key(), now=NOW)
    request = (await commands.explain(key().id, "GET", url)).request
    assert request is not None
    assert (request.path, request.host) == (path, host)


@pytest.mark.parametrize("url", ["", "api/status", "ftp://host/", "http://", "http:///api", "h:/x"])
async def test_what_is_no_url_is_not_explained(commands: Commands, store: Store, url: str) -> None:
    await store.keys.create(key(), now=NOW)
    with pytest.raises(InvalidInput) as refused:
        await commands.explain(key().id, "GET", url)
    assert (refused.value.field, refused.value.code) == ("url", "url_invalid")


async def test_an_unknown_key_is_not_explained(commands: Commands) -> None:
    with pytest.raises(NotFound):
        await commands.explain(key_id(9), "GET", "/")


async def test_a_key_for_all_users_is_explained_without_the_policies(
    commands: Commands, store: Store, raw: Any
) -> None:
    await store.keys.create(key(), now=NOW)
    raw.set(layout.catalogue(TAG), "{")
    assert (await commands.explain(key().id, "GET", "/api/status")).decision.allowed


# Policies


async def test_applying_policies_says_what_it_changes_and_is_idempotent(store: Store, raw: Any) -> None:
    commands = Commands(store)
    assert await commands.show_policies() == Policies()
    assert await commands.apply_policies(POLICIES) == Applied(POLICIES, plan(Policies(), POLICIES))
    assert await commands.show_policies() == POLICIES
    written = raw.info("persistence")["rdb_changes_since_last_save"]
    assert await commands.apply_policies(POLICIES) == Applied(POLICIES, ())
    assert raw.info("persistence")["rdb_changes_since_last_save"] == written
    fewer = replace(POLICIES, groups={})
    [change] = (await commands.apply_policies(fewer)).changes
    assert change.subject == "group agents"
    assert await commands.show_policies() == fewer


async def test_a_catalogue_that_cannot_be_compiled_is_not_applied(commands: Commands, store: Store) -> None:
    endpoints = tuple(Endpoint(names("GET"), url) for url in INCOMPILABLE)
    with pytest.raises(InvalidInput):
        await commands.apply_policies(Policies(endpoints=endpoints))
    assert await store.policies.get() == POLICIES


async def test_ids_are_drawn_from_all_of_base62(store: Store) -> None:
    asked: list[str] = []

    def choose(alphabet: str) -> str:
        asked.append(alphabet)
        return alphabet[-1]

    issued = await Commands(store, choose=choose).create_key(key_type=KeyType.DESKTOP, description="d")
    assert set(asked) == {BASE62}
    assert len(asked) == keys.ID_LENGTH - keys.TENANT_TAG_LENGTH + keys.SECRET_LENGTH
    assert isinstance(issued.record, KeyRecord)
