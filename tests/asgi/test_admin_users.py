"""Finding the person whom a key is to act for (D8)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from asgi.adminapi import POLICIES, pointers, refusal
from scopegate.core.principal import User

if TYPE_CHECKING:
    import httpx

    from asgi.adminapi import ControlPlane

PEOPLE = (
    User(id="ana", name="Ana Berg", email="ana@example.com", organization="IT", groups=frozenset({"it"})),
    User(
        id="maria",
        name="Maria Hübner",
        email="m.huebner@example.com",
        organization="Sales/Vienna",
        roles=frozenset({"supervisor"}),
    ),
    User(
        id="tom",
        name="Tom Lang",
        email="tom@example.com",
        organization="Sales/Vienna/Team 1",
        groups=frozenset({"agents"}),
    ),
    User(
        id="zoe",
        name="Zoe Lang",
        email="zoe@elsewhere.example",
        organization="Salesforce",
        groups=frozenset({"agents", "it"}),
        active=False,
    ),
)


@pytest.fixture
async def filled(plane: ControlPlane, api: httpx.AsyncClient) -> httpx.AsyncClient:
    """A client of a tenant with four people."""
    await plane.fill(POLICIES, PEOPLE)
    return api


SEARCHES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "everybody": ({}, ["ana", "maria", "tom", "zoe"]),
    "a word": ({"q": "lang"}, ["tom", "zoe"]),
    "beginnings of words": ({"q": "la to"}, ["tom"]),
    "without accents": ({"q": "hubner"}, ["maria"]),
    "in another case": ({"q": "HÜBNER"}, ["maria"]),
    "the middle of a word": ({"q": "ang"}, []),
    "an address": ({"q": "tom@example.com"}, ["tom"]),
    "an organization and those below it": ({"organization": "Sales"}, ["maria", "tom"]),
    "the organization below": ({"organization": "Sales/Vienna/Team 1"}, ["tom"]),
    "a group": ({"group": "agents"}, ["tom", "zoe"]),
    "active people": ({"active": "true"}, ["ana", "maria", "tom"]),
    "people who are not": ({"active": "false"}, ["zoe"]),
    "a condition": ({"filter": "email:contains:elsewhere"}, ["zoe"]),
    "two conditions": ({"filter": ["name:starts:z", "group:equals:it"]}, ["zoe"]),
    "a role": ({"filter": "role:equals:supervisor"}, ["maria"]),
    "all of it": ({"q": "lang", "group": "agents", "organization": "Sales", "active": "true"}, ["tom"]),
    "nobody": ({"q": "lang", "filter": "name:starts:a"}, []),
}


@pytest.mark.parametrize(("params", "expected"), SEARCHES.values(), ids=SEARCHES.keys())
async def test_people_are_found(
    filled: httpx.AsyncClient, params: dict[str, Any], expected: list[str]
) -> None:
    answer = await filled.get("/users", params=params)
    assert answer.status_code == 200, answer.text
    assert [one["id"] for one in answer.json()["items"]] == expected


async def test_pages_put_together_are_everybody(filled: httpx.AsyncClient) -> None:
    first = (await filled.get("/users", params={"limit": 3})).json()
    assert first["has_more"] is True
    second = (await filled.get("/users", params={"limit": 3, "cursor": first["next_cursor"]})).json()
    assert [one["id"] for one in first["items"] + second["items"]] == ["ana", "maria", "tom", "zoe"]
    assert (second["has_more"], second["next_cursor"]) == (False, None)


@pytest.mark.parametrize("condition", ["name", "name:like:x", "password:equals:x", ":equals:x", ""])
async def test_what_is_no_condition_is_refused(filled: httpx.AsyncClient, condition: str) -> None:
    answer = await filled.get("/users", params={"filter": condition})
    assert refusal(answer) == (400, "condition_invalid")
    assert pointers(answer) == ["query:filter"]
    assert "starts" in answer.json()["hint"]


async def test_a_person_is_shown_with_the_privileges_held_now(filled: httpx.AsyncClient) -> None:
    maria = (await filled.get("/users/maria")).json()
    assert maria["privileges"] == ["recordings.edit", "recordings.view", "reports.view"]
    assert (await filled.get("/users/zoe")).json()["active"] is False
    assert refusal(await filled.get("/users/nobody")) == (404, "not_found")
