"""The privilege source that decides by Cedar policies, in this process."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from typing import TYPE_CHECKING, Any

from cedarpy import Entities, is_authorized_batch

from scopegate.core.errors import ConfigurationError, PrivilegesUnavailable
from scopegate.core.principal import NO_PRIVILEGES
from scopegate.privileges.policydirectory import PoliciesUnreadable, read_policies
from scopegate.privileges.source import Answer
from scopegate.throttle import Throttle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from cedarpy import PolicySet

    from scopegate.core.catalogue import Catalogue
    from scopegate.core.principal import Member, Privileges
    from scopegate.metrics import PrivilegeMetrics
    from scopegate.privileges.policydirectory import PolicyFiles
    from scopegate.privileges.source import Inquiry

log = logging.getLogger("scopegate")

MAX_AGE = 5.0  # seconds
_SLICE = 0.001  # seconds for which other requests wait at the most, unless one decision takes longer


class CedarPrivileges:
    """Decide by the Cedar policies in a directory what a user may do (docs/privilege-sources.md).

    Args:
        directory: where the ``*.cedar`` files are.
        max_age: the seconds within which it is known that they have changed.

    Raises:
        ConfigurationError: there are no policies, or not only policies.
    """

    def __init__(self, directory: Path, *, max_age: float = MAX_AGE) -> None:
        if not 0 < max_age < float("inf"):
            raise ConfigurationError(
                "privilege_max_age", "Cedar policies are looked after every so often: it is more than 0."
            )
        self.directory = directory
        self.max_age = max_age
        try:
            self._files = read_policies(directory)
        except PoliciesUnreadable as error:
            raise ConfigurationError(
                "privilege_policies",
                f"{_sentence(error)}",
                hint="Name a directory of Cedar policies, in files *.cedar.",
            ) from error

    def open(self, metrics: PrivilegeMetrics) -> CedarSource:
        """As `SourceOptions.open`."""
        return CedarSource(self.directory, self._files, metrics, interval=self.max_age / 2)


class CedarSource:
    """Evaluates the policies for each privilege that the catalogue of the tenant names.

    Args:
        directory: where the policies are.
        files: the policies as they were read before.
        metrics: where questions are counted.
        interval: the seconds between two looks at the directory, and for one of them.
        ticks: tells the seconds since some moment.
    """

    name = "cedar"
    max_age = float("inf")
    stale_if_error = 0.0

    def __init__(
        self,
        directory: Path,
        files: PolicyFiles,
        metrics: PrivilegeMetrics,
        *,
        interval: float,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directory = directory
        self._files: PolicyFiles | None = files
        self._latest = files  # that could be read
        self._metrics = metrics
        self._interval = interval
        self._ticks = ticks
        self._throttle = Throttle()
        self._changed: Callable[[], None] = _nothing
        self._watch: asyncio.Task[None] | None = None

    def start(self, changed: Callable[[], None]) -> None:
        """Look after the files from now on."""
        self._changed = changed
        if self._watch is None:
            self._watch = asyncio.create_task(self._keep_watch())

    async def aclose(self) -> None:
        """Stop looking."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)

    async def ask(self, inquiry: Inquiry) -> Answer | None:
        """As `PrivilegeSource.ask`. Whom the directory does not know, nobody knows."""
        if inquiry.member is None:
            return None
        if self._watch is None:
            await self._look()
        files = self._files
        if files is None:
            self._metrics.not_asked()
            raise PrivilegesUnavailable("The Cedar policies cannot be read.")
        began = self._ticks()
        try:
            held = await self._evaluate(files.policies, inquiry.member, inquiry.tenant, inquiry.catalogue)
        except ValueError as error:
            self._metrics.failed(self._ticks() - began)
            raise PrivilegesUnavailable("The Cedar policies cannot be evaluated.") from error
        self._metrics.answered(self._ticks() - began)
        return Answer(active=True, privileges=held)

    async def _evaluate(
        self, policies: PolicySet, member: Member, tenant: str, catalogue: Catalogue
    ) -> Privileges:
        """The privileges that the policies permit, some at a time: others want to be served meanwhile."""
        named = NO_PRIVILEGES.union(*(endpoint.privileges for endpoint in catalogue.endpoints))
        entities = Entities.from_json_str(json.dumps(list(entities_of(member, tenant))))
        left = sorted(named)
        held: set[str] = set()
        size = 1
        while left:
            some, left = left[:size], left[size:]
            began = self._ticks()
            results = is_authorized_batch(
                [_request(member.user_id, privilege, tenant) for privilege in some], policies, entities
            )
            for privilege, result in zip(some, results, strict=True):
                # Cedar leaves a policy out that cannot be evaluated, also one that forbids.
                if result.diagnostics.errors:
                    self._warn(privilege, result.diagnostics.errors[0])
                elif result.allowed:
                    held.add(privilege)
            each = (self._ticks() - began) / len(some)
            size = max(1, int(_SLICE / each)) if each else len(left)
            await asyncio.sleep(0)
        return frozenset(held)

    async def _keep_watch(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            look = asyncio.create_task(self._look())
            try:
                await asyncio.wait([look], timeout=self._interval)
                if not look.done():
                    self._set(None, f"{self._directory} cannot be read within {self._interval:g} s")
                    await asyncio.wait([look])
                if (failure := look.exception()) is not None:
                    self._set(None, f"reading {self._directory} failed with {type(failure).__name__}")
            finally:
                look.cancel()

    async def _look(self) -> None:
        """Have the policies in force that the files say now; none where they cannot be read."""
        try:
            files = await asyncio.to_thread(read_policies, self._directory, self._latest)
        except PoliciesUnreadable as error:
            self._set(None, str(error))
        else:
            self._latest = files
            self._set(files, "")

    def _set(self, files: PolicyFiles | None, problem: str) -> None:
        before, self._files = self._files, files
        if files is None and before is not None:
            log.error("requests of users are refused until it is mended: %s", problem)
        elif files is not None and (before is None or before.text != files.text):
            log.info("other Cedar policies are in force")
        else:
            return
        self._changed()

    def _warn(self, privilege: str, error: str) -> None:
        unmentioned = self._throttle.due("evaluation")
        if unmentioned is not None:
            log.warning(
                "the privilege %s is not given, for a Cedar policy cannot be evaluated: %s (%d more before)",
                privilege,
                error,
                unmentioned,
            )


def entities_of(member: Member, tenant: str) -> Iterator[dict[str, Any]]:
    """A user of the directory as Cedar entities.

    ``User::"<id>"`` is in its groups, in its roles, which may be held through groups, and in its
    organization, which is in those above it, up to the tenant.
    """
    user = member.user
    parents = [
        *(_uid("Group", group) for group in sorted(user.groups)),
        *(_uid("Role", role) for role in sorted(member.roles)),
    ]
    above = _uid("Tenant", tenant)
    steps = user.organization.split("/") if user.organization else []
    for depth in range(1, len(steps) + 1):
        organization = _uid("Organization", "/".join(steps[:depth]))
        yield {"uid": organization, "attrs": {}, "parents": [above]}
        above = organization
    yield {
        "uid": _uid("User", user.id),
        "attrs": {
            "id": user.id,
            "name": user.name,
            "email": user.email,
            "organization": user.organization,
            "active": user.active,
        },
        "parents": [*parents, above],
    }


def _uid(kind: str, name: str) -> dict[str, str]:
    return {"type": kind, "id": name}


def _request(user: str, privilege: str, tenant: str) -> dict[str, Any]:
    return {
        "principal": _uid("User", user),
        "action": _uid("Action", privilege),
        "resource": _uid("Tenant", tenant),
        "context": {},
    }


def _nothing() -> None:
    pass


def _sentence(error: Exception) -> str:
    text = str(error)
    return f"{text[0].upper()}{text[1:]}."
