"""What the demo sets up, and the requests that it invites people to make."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

from scopegate.core.errors import NotFound
from scopegate.core.keys import KeyType, Rule
from scopegate.core.principal import User
from scopegate.core.reasons import Reason
from scopegate.problems import refusal

if TYPE_CHECKING:
    from pathlib import Path

    from scopegate.commands import Commands
    from scopegate.core.policies import Policies

# The user whose rights the story changes, by taking this role.
MARIA = "maria"
ROLE = "supervisor"
USERS_FILE = "users.jsonl"


def _read_users() -> tuple[User, ...]:
    """The people of the demo: a file with a line of JSON for each, as ``scopegate user import`` takes it."""
    lines = resources.files(__package__).joinpath(USERS_FILE).read_text(encoding="utf-8").splitlines()
    return tuple(
        User(**{**said, "groups": frozenset(said["groups"]), "roles": frozenset(said["roles"])})
        for said in map(json.loads, lines)
    )


USERS = _read_users()

KEYS_FILE = "keys.env"


@dataclass(frozen=True, slots=True)
class DemoKeys:
    """The texts of the demo's keys; outside a demo nobody stores such a thing."""

    desktop: str
    external: str
    custom: str

    def as_shell(self) -> str:
        """Assignments that a shell can read."""
        return f"DESKTOP={self.desktop}\nEXTERNAL={self.external}\nCUSTOM={self.custom}\n"

    @classmethod
    def from_shell(cls, text: str) -> DemoKeys:
        """What `as_shell` wrote; ValueError or TypeError if it did not write this."""
        return cls(**{name.lower(): value for name, value in (line.split("=") for line in text.split())})


@dataclass(frozen=True, slots=True)
class Call:
    """One request to try: what it shows, and the key to send, if any."""

    shows: str
    method: str
    path: str
    key: str | None


def calls(keys: DemoKeys) -> tuple[Call, ...]:
    """The requests to try, in the order of the story."""
    return (
        Call("Maria's custom key reads a recording", "GET", "/api/recordings/1", keys.custom),
        Call("no key", "GET", "/api/recordings/1", None),
        Call("a URL outside the key's rules", "GET", "/api/users", keys.custom),
        Call("a method that the rules do not name", "POST", "/api/recordings/1", keys.custom),
        Call("Tom's external key reads a recording", "GET", "/api/recordings/1", keys.external),
        Call("a privilege that Tom lacks", "GET", "/api/reports/1", keys.external),
        Call("the desktop key opens everything", "GET", "/api/users", keys.desktop),
    )


async def set_up(commands: Commands, policies: Policies, data_dir: Path) -> DemoKeys:
    """Make sure that policies, users and keys are there; what is there already stays as it is."""
    known = {user.id for user in await commands.list_users()}
    if not known:
        await commands.apply_policies(policies)
        await commands.set_scoped_api(on=True)
    await commands.put_users([user for user in USERS if user.id not in known])
    file = data_dir / KEYS_FILE
    kept = await _kept_keys(commands, file)
    if kept is not None:
        return kept
    keys = await _create_keys(commands)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        out.write(keys.as_shell())
    return keys


async def expected_status(commands: Commands, call: Call) -> int:
    """The status with which the gateway answers `call` as things stand; 200 if it lets it through."""
    if call.key is None:
        return refusal(Reason.KEY_MISSING).status
    decision = (await commands.explain(_key_id(call.key), call.method, call.path)).decision
    return 200 if decision.allowed else refusal(decision.reason).status


async def _kept_keys(commands: Commands, file: Path) -> DemoKeys | None:
    try:
        keys = DemoKeys.from_shell(file.read_text())  # noqa: ASYNC240 -- at start, once
        for text in (keys.desktop, keys.external, keys.custom):
            await commands.find_key(_key_id(text))
    except (OSError, NotFound, ValueError, TypeError, IndexError):
        return None
    return keys


async def _create_keys(commands: Commands) -> DemoKeys:
    desktop = await commands.create_key(
        key_type=KeyType.DESKTOP, description="Desktop client of the recording service"
    )
    external = await commands.create_key(
        key_type=KeyType.EXTERNAL, description="Tom's reporting tool", user="tom"
    )
    custom = await commands.create_key(
        key_type=KeyType.CUSTOM,
        description="Created for Face-to-Face recording",
        user=MARIA,
        rules=(Rule("GET", "/api/recordings/*"), Rule("GET", "/api/reports/*")),
    )
    return DemoKeys(desktop=desktop.new_secret, external=external.new_secret, custom=custom.new_secret)


def _key_id(text: str) -> str:
    return text.split("_")[1]
