"""What is to be said of the keys of a tenant, and which of them reach an endpoint."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from scopegate.commands.tenant import OnTenant
from scopegate.core.errors import InvalidInput, NotFound
from scopegate.core.reaching import Question, Reacher, who_reaches
from scopegate.core.review import Colleagues, Finding, Review, broader
from scopegate.core.wildcard import UrlPattern

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from datetime import datetime

    from scopegate.core.catalogue import Catalogue
    from scopegate.core.keys import KeyRecord
    from scopegate.core.principal import Principal, User
    from scopegate.core.review import FindingCode


Place = tuple[str, int]
"""A finding in the list of all: the id of its key, and which of the key's it is."""


@dataclass(frozen=True, slots=True)
class _Facts:
    """The keys by id, the users whom they are bound to, and what endpoints require."""

    records: list[KeyRecord]
    principals: Mapping[str, Principal | None]
    catalogue: Catalogue
    now: datetime


class Reviewing(OnTenant):
    """Looks at the keys of a tenant. What takes long is done in a thread, so that others are served."""

    async def key_findings(
        self, key_id: str, *, compare: str | None = None, among: Colleagues | None = None
    ) -> list[Finding]:
        """All that is to be said of one key.

        Args:
            key_id: the id of the key.
            compare: the id of another one; what the first opens and this does not is told as well.
            among: which other keys it is held against as well, all at once.

        Raises:
            NotFound: there is no such key.
            InvalidInput: the key is bound to nobody, so it has no such colleagues.
        """
        record = await self._store.keys.get(key_id)
        other = None if compare is None else await self._store.keys.get(compare)
        facts = await self._facts([record])
        others = [] if among is None else await self._colleagues(record, among)

        def look() -> list[Finding]:
            found = list(Review(facts.principals, facts.catalogue).findings(record))
            if other is not None:
                found += broader(record, [other])
            if others:
                found += broader(record, others)
            return found

        return await asyncio.to_thread(look)

    async def findings(
        self, *, after: Place | None, most: int, codes: Collection[FindingCode] = ()
    ) -> list[tuple[Place, Finding]]:
        """What is to be said of all keys, each by itself, by id of the key.

        Args:
            after: the last one that is known already.
            most: how many are wanted.
            codes: which findings are wanted; all if there is none.
        """
        records = [one for one in await self._by_id() if after is None or one.id >= after[0]]
        facts = await self._facts(records)

        def all_of_them() -> Iterator[tuple[Place, Finding]]:
            review = Review(facts.principals, facts.catalogue)
            for record in facts.records:
                for number, finding in enumerate(review.findings(record)):
                    place = (record.id, number)
                    if (after is None or place > after) and (not codes or finding.code in codes):
                        yield place, finding

        return await asyncio.to_thread(lambda: list(islice(all_of_them(), most)))

    async def who_reaches(self, method: str, url: str, *, after: str | None, most: int) -> list[Reacher]:
        """The keys that let in something of an endpoint, as whom and whether now, by id.

        Args:
            method: a method of requests.
            url: a path or a full URL; it may have wildcards.
            after: the id of the last key that is known already.
            most: how many are wanted.

        Raises:
            InvalidInput: that is no endpoint.
        """
        asked = Question(method, UrlPattern.parse(url))
        records = [one for one in await self._by_id() if after is None or one.id > after]
        facts = await self._facts(records)

        def look() -> list[Reacher]:
            found = who_reaches(asked, facts.records, facts.principals, facts.catalogue, facts.now)
            return list(islice(found, most))

        return await asyncio.to_thread(look)

    async def _by_id(self) -> list[KeyRecord]:
        return sorted(await self._store.keys.all(now=self._clock()), key=lambda record: record.id)

    async def _facts(self, records: list[KeyRecord]) -> _Facts:
        catalogue = (await self._store.policies.get()).catalogue()
        users = {record.user for record in records if record.user is not None}
        principals = {user: (await self.entitlement(user))[0] for user in sorted(users)}
        return _Facts(records, principals, catalogue, self._clock())

    async def _colleagues(self, record: KeyRecord, among: Colleagues) -> list[KeyRecord]:
        """The other keys that a key is held against."""
        others = [one for one in await self._by_id() if one.id != record.id]
        if among is Colleagues.TENANT:
            return others
        mine = None if record.user is None else await self._user(record.user)
        if mine is None:
            raise InvalidInput(
                "query:among",
                f"The key {record.id} is bound to no user of the directory, so it has no colleagues there.",
                hint="Compare it with another key, or with all keys of the tenant.",
                code="no_colleagues",
            )
        found = {user: await self._user(user) for user in sorted({one.user for one in others if one.user})}
        return [
            one for one in others if one.user is not None and _are_colleagues(mine, found[one.user], among)
        ]

    async def _user(self, user_id: str) -> User | None:
        try:
            return await self._store.users.get(user_id)
        except NotFound:
            return None


def _are_colleagues(one: User, other: User | None, among: Colleagues) -> bool:
    if other is None:
        return False
    if among is Colleagues.GROUPS:
        return not one.groups.isdisjoint(other.groups)
    return one.organization != "" and one.organization == other.organization
