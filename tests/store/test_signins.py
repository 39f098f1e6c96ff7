"""Sign-ins that are under way: each is taken once, by what it was begun with, and not for ever."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from scopegate.store.signins import HANDOVER_LIFETIME, SIGN_IN_LIFETIME
from store.facts import BEGUN, HANDOVER

if TYPE_CHECKING:
    from scopegate.store import Store


async def test_a_sign_in_is_taken_once_whoever_else_tries(store: Store) -> None:
    await store.system.sign_ins.begin("state", BEGUN)
    taken = await asyncio.gather(*[store.system.sign_ins.take("state") for _ in range(20)])
    assert [one for one in taken if one is not None] == [BEGUN]


async def test_a_code_is_redeemed_once_whoever_else_tries(store: Store) -> None:
    await store.system.sign_ins.hand_over("code", HANDOVER)
    redeemed = await asyncio.gather(*[store.system.sign_ins.redeem("code") for _ in range(20)])
    assert [one for one in redeemed if one is not None] == [HANDOVER]


async def test_neither_can_be_had_as_the_other(store: Store) -> None:
    await store.system.sign_ins.begin("secret", BEGUN)
    assert await store.system.sign_ins.redeem("secret") is None
    assert await store.system.sign_ins.take("secret") == BEGUN


async def test_what_nobody_began_is_nothing(store: Store) -> None:
    assert await store.system.sign_ins.take("state") is None
    assert await store.system.sign_ins.redeem("code") is None


async def test_neither_is_kept_for_ever_nor_under_its_secret(store: Store, raw: Any) -> None:
    await store.system.sign_ins.begin("a-secret-state", BEGUN)
    [begun] = raw.keys("*")
    assert 0 < raw.ttl(begun) <= SIGN_IN_LIFETIME.total_seconds()
    assert await store.system.sign_ins.take("a-secret-state") == BEGUN
    await store.system.sign_ins.hand_over("a-secret-code", HANDOVER)
    [offered] = raw.keys("*")
    assert 0 < raw.ttl(offered) <= HANDOVER_LIFETIME.total_seconds()
    assert b"secret" not in begun + offered
