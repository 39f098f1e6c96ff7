"""Cedar policies decide what a user may do, as they stand in their directory now."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from scopegate.core.catalogue import Catalogue, Endpoint
from scopegate.core.errors import ConfigurationError, PrivilegesUnavailable
from scopegate.core.principal import Member, User, resolve_member
from scopegate.metrics import PrivilegeMetrics
from scopegate.privileges import cedar
from scopegate.privileges.cedar import CedarPrivileges, CedarSource, entities_of
from scopegate.privileges.policydirectory import PoliciesUnreadable, read_policies
from scopegate.privileges.source import Inquiry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

AGENTS = 'permit(principal in Role::"agent", action == Action::"calls.view", resource);'
EDITORS = 'permit(principal in Group::"editors", action in [Action::"calls.edit"], resource);'
NOBODY_BUT_SALES = 'forbid(principal, action, resource) unless { principal in Organization::"Sales" };'
CATALOGUE = Catalogue(
    [
        Endpoint(frozenset({"GET"}), "/calls/*", frozenset({"calls.view"})),
        Endpoint(frozenset({"POST"}), "/calls/*", frozenset({"calls.view", "calls.edit"})),
        Endpoint(frozenset({"GET"}), "/open/*"),
    ]
)
ROLES = {"agent": frozenset({"not.asked.for"})}
GROUPS = {"agents": frozenset({"agent"})}


def member(**changes: object) -> Member:
    user = User(id="maria", name="Maria", **changes)  # type: ignore[arg-type] # a test's facts
    return resolve_member(user, roles=ROLES, groups=GROUPS)


def held_directly(role: str) -> Member:
    return member(roles=frozenset({role}))


def write(directory: Path, name: str, text: str) -> None:
    """As whoever changes a policy ought to: nobody reads half of it."""
    new = directory / f".{name}.new"
    new.write_text(text)
    new.replace(directory / name)


def move(one: Path, other: Path) -> None:
    one.rename(other)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    write(tmp_path, "agents.cedar", AGENTS)
    return tmp_path


def opened(directory: Path, max_age: float = 0.05) -> CedarSource:
    return CedarPrivileges(directory, max_age=max_age).open(PrivilegeMetrics.apart())


@pytest.fixture
async def source(directory: Path) -> AsyncIterator[CedarSource]:
    made = opened(directory)
    yield made
    await made.aclose()


async def may(source: CedarSource, who: Member | None, catalogue: Catalogue = CATALOGUE) -> set[str] | None:
    answer = await source.ask(Inquiry("acme", "maria", who, catalogue))
    return None if answer is None else set(answer.privileges)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 -- it is for the clock to tell
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("who", "privileges"),
    [
        (held_directly("agent"), {"calls.view"}),
        (member(groups=frozenset({"agents"})), {"calls.view"}),
        (member(groups=frozenset({"agent"})), set()),
        (held_directly("agents"), set()),
        (member(groups=frozenset({"editors"})), {"calls.edit"}),
        (member(groups=frozenset({"editors", "agents"})), {"calls.view", "calls.edit"}),
        (member(), set()),
    ],
)
async def test_the_policies_say_which_privileges_of_the_catalogue_a_user_has(
    directory: Path, source: CedarSource, who: Member, privileges: set[str]
) -> None:
    write(directory, "editors.cedar", EDITORS)
    assert await may(source, who) == privileges


async def test_whom_the_directory_does_not_know_nobody_knows(source: CedarSource) -> None:
    assert await may(source, None) is None


async def test_a_policy_may_forbid_what_another_permits(directory: Path, source: CedarSource) -> None:
    write(directory, "sales.cedar", NOBODY_BUT_SALES)
    for organization, privileges in (
        ("Sales", {"calls.view"}),
        ("Sales/Vienna", {"calls.view"}),
        ("Sales/Vienna/North", {"calls.view"}),
        ("Support/Sales", set()),
        ("Salesmen", set()),
        ("", set()),
    ):
        who = member(roles=frozenset({"agent"}), organization=organization)
        assert await may(source, who) == privileges, organization


async def test_policies_see_the_attributes_of_the_user_and_the_tenant(
    directory: Path, source: CedarSource
) -> None:
    condition = (
        'principal.active && principal.email like "*@example.org" && principal.name == "Maria"'
        ' && principal.id == "maria" && principal.organization == "Sales" && resource == Tenant::"acme"'
    )
    write(directory, "agents.cedar", f"permit(principal, action, resource) when {{ {condition} }};")
    assert await may(source, member(email="m@example.org", organization="Sales")) == {
        "calls.view",
        "calls.edit",
    }
    assert await may(source, member(email="m@example.com", organization="Sales")) == set()


async def test_an_id_with_quotes_is_nobody_elses(directory: Path, source: CedarSource) -> None:
    write(directory, "agents.cedar", 'permit(principal == User::"kim", action, resource);')
    for user_id in ('x"||User::"kim', 'kim"', "kim\\", "Kim"):
        who = resolve_member(User(id=user_id, name="Kim"), roles={}, groups={})
        assert await may(source, who) == set()
    kim = resolve_member(User(id="kim", name="Kim"), roles={}, groups={})
    assert await may(source, kim) == {"calls.view", "calls.edit"}


async def test_a_policy_that_cannot_be_evaluated_gives_nothing_also_if_it_forbids(
    directory: Path, source: CedarSource
) -> None:
    write(directory, "broken.cedar", "forbid(principal, action, resource) when { principal.nothing };")
    assert await may(source, held_directly("agent")) == set()


async def test_many_privileges_are_evaluated_in_pieces(directory: Path, source: CedarSource) -> None:
    names = [f"p{number}" for number in range(300)]
    permitted = ", ".join(f'Action::"{name}"' for name in names[::2])
    write(directory, "agents.cedar", f"permit(principal, action in [{permitted}], resource);")
    catalogue = Catalogue([Endpoint(frozenset({"GET"}), "/x", frozenset(names))])
    others = 0

    async def others_are_served() -> None:
        nonlocal others
        while True:
            await asyncio.sleep(0)
            others += 1

    serving = asyncio.create_task(others_are_served())
    assert await may(source, member(), catalogue) == set(names[::2])
    assert others > 3
    serving.cancel()


def test_entities_name_the_organizations_up_to_the_tenant() -> None:
    found = {
        (entity["uid"]["type"], entity["uid"]["id"]): [
            (parent["type"], parent["id"]) for parent in entity["parents"]
        ]
        for entity in entities_of(
            member(organization="Sales/Vienna", groups=frozenset({"agents"}), roles=frozenset({"lead"})),
            "acme",
        )
    }
    assert found == {
        ("Organization", "Sales"): [("Tenant", "acme")],
        ("Organization", "Sales/Vienna"): [("Organization", "Sales")],
        ("User", "maria"): [
            ("Group", "agents"),
            ("Role", "agent"),
            ("Role", "lead"),
            ("Organization", "Sales/Vienna"),
        ],
    }


# The files


async def test_before_it_is_started_each_question_looks_at_the_files(
    directory: Path, source: CedarSource
) -> None:
    assert await may(source, held_directly("agent")) == {"calls.view"}
    write(directory, "agents.cedar", EDITORS)
    assert await may(source, held_directly("agent")) == set()


async def test_files_that_change_are_noticed_and_told(directory: Path, source: CedarSource) -> None:
    told = 0

    def changed() -> None:
        nonlocal told
        told += 1

    source.start(changed)
    assert await may(source, held_directly("agent")) == {"calls.view"}
    write(directory, "agents.cedar", EDITORS)
    await until(lambda: told == 1)
    assert await may(source, held_directly("agent")) == set()
    move(directory / "agents.cedar", directory / "agents.off")
    write(directory, "others.cedar", AGENTS)
    await until(lambda: told >= 2)
    assert await may(source, held_directly("agent")) == {"calls.view"}


async def test_files_that_say_the_same_change_nothing(directory: Path, source: CedarSource) -> None:
    told: list[None] = []
    source.start(lambda: told.append(None))
    before = source._files
    write(directory, "agents.cedar", AGENTS)
    await until(lambda: source._files is not before)
    assert told == []


async def test_a_change_that_is_no_policy_takes_all_until_it_is_mended(
    directory: Path, source: CedarSource, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[None] = []
    source.start(lambda: told.append(None))
    write(directory, "agents.cedar", "permit(principal, action resource);")
    await until(lambda: len(told) == 1)
    with pytest.raises(PrivilegesUnavailable):
        await may(source, held_directly("agent"))
    assert "agents.cedar" in caplog.text
    write(directory, "agents.cedar", AGENTS)
    await until(lambda: len(told) == 2)
    assert await may(source, held_directly("agent")) == {"calls.view"}


async def test_a_directory_that_is_gone_takes_all_until_it_is_back(
    directory: Path, source: CedarSource
) -> None:
    told: list[None] = []
    source.start(lambda: told.append(None))
    away = directory.with_name("away")
    move(directory, away)
    await until(lambda: len(told) == 1)
    with pytest.raises(PrivilegesUnavailable):
        await may(source, held_directly("agent"))
    move(away, directory)
    await until(lambda: len(told) == 2)
    assert await may(source, held_directly("agent")) == {"calls.view"}


async def test_files_that_take_too_long_to_read_take_all(
    source: CedarSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_go_on = threading.Event()
    read = read_policies

    def slowly(*arguments: object) -> object:
        may_go_on.wait(20)
        return read(*arguments)  # type: ignore[arg-type] # what it was given

    monkeypatch.setattr(cedar, "read_policies", slowly)
    told: list[None] = []
    source.start(lambda: told.append(None))
    await until(lambda: len(told) == 1)
    with pytest.raises(PrivilegesUnavailable):
        await may(source, held_directly("agent"))
    may_go_on.set()
    await until(lambda: len(told) == 2)
    assert await may(source, held_directly("agent")) == {"calls.view"}


async def test_a_reading_that_fails_for_another_reason_takes_all(
    source: CedarSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(cedar, "read_policies", broken)
    told: list[None] = []
    source.start(lambda: told.append(None))
    await until(lambda: len(told) == 1)
    with pytest.raises(PrivilegesUnavailable):
        await may(source, held_directly("agent"))


def test_what_has_not_changed_is_not_read_again(directory: Path) -> None:
    files = read_policies(directory)
    assert read_policies(directory, files) is files
    write(directory, "more.cedar", EDITORS)
    more = read_policies(directory, files)
    assert more is not files
    assert len(more.policies) == 2


def test_links_are_followed_as_a_mounted_volume_has_them(tmp_path: Path) -> None:
    for version, text in (("1", AGENTS), ("2", EDITORS)):
        (tmp_path / f"..{version}").mkdir()
        (tmp_path / f"..{version}" / "a.cedar").write_text(text)
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "a.cedar").symlink_to("..data/a.cedar")
    files = read_policies(tmp_path)
    (tmp_path / "..new").symlink_to("..2")
    (tmp_path / "..new").replace(tmp_path / "..data")
    assert read_policies(tmp_path, files).text == EDITORS


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.cedar", b"permit(principal, action resource);", "a.cedar: "),
        ("a.cedar", b"", None),
        ("a.txt", b"", "no file"),
        (".a.cedar", b"", "no file"),
        ("a.cedar", b"\xff", "not UTF-8"),
        ("a.cedar", b" " * (16 * 1024 * 1024 + 1), "more than"),
    ],
)
def test_what_is_no_policy_is_refused(tmp_path: Path, name: str, content: bytes, said: str | None) -> None:
    (tmp_path / name).write_bytes(content)
    if said is None:
        assert len(read_policies(tmp_path).policies) == 0
        return
    with pytest.raises(PoliciesUnreadable, match=said):
        read_policies(tmp_path)
    with pytest.raises(ConfigurationError) as refused:
        CedarPrivileges(tmp_path)
    assert refused.value.setting == "privilege_policies"


def test_policies_that_go_only_apart_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.cedar").write_text("permit(principal, action, resource)")
    (tmp_path / "b.cedar").write_text(";")
    with pytest.raises(PoliciesUnreadable):
        read_policies(tmp_path)


@pytest.mark.parametrize("max_age", [0.0, -1.0, float("inf"), float("nan")])
def test_files_are_looked_after_every_so_often(directory: Path, max_age: float) -> None:
    with pytest.raises(ConfigurationError) as refused:
        CedarPrivileges(directory, max_age=max_age)
    assert refused.value.setting == "privilege_max_age"
