"""The description of the API, and the page that shows it to people."""

from __future__ import annotations

import re
from html import unescape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx


async def test_every_operation_of_the_description_is_on_the_page(api: httpx.AsyncClient) -> None:
    described: dict[str, Any] = (await api.get("/openapi.json")).json()
    page = unescape((await api.get("/reference")).text)
    shown = 0
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            assert f'id="{operation["operationId"]}"' in page
            assert operation["summary"] in page
            assert f'$SCOPEGATE_SERVER{path}"' in page, (method, path)
            for parameter in operation.get("parameters", ()):
                assert parameter["name"] in page
            shown += 1
    assert shown > 30
    assert described["openapi"].startswith("3.1.")


async def test_the_page_needs_nothing_and_may_load_nothing_but_its_style(api: httpx.AsyncClient) -> None:
    answer = await api.get("/reference")
    assert answer.headers["content-type"].startswith("text/html")
    policy = dict(one.strip().split(" ", 1) for one in answer.headers["Content-Security-Policy"].split(";"))
    assert policy == {
        "default-src": "'none'",
        "style-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    page = answer.text
    assert not re.search(r"<script|<iframe|<object|<img|\son\w+=|\sstyle=|javascript:", page, re.IGNORECASE)
    linked = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert [one for one in linked if not one.startswith("#")] == ["./reference.css", "./openapi.json"]
    style = await api.get("/reference.css")
    assert style.headers["content-type"].startswith("text/css")
    assert "url(" not in style.text
    assert "@import" not in style.text


async def test_the_links_within_the_page_lead_somewhere(api: httpx.AsyncClient) -> None:
    page = (await api.get("/reference")).text
    anchors = set(re.findall(r'id="([^"]+)"', page))
    targets = set(re.findall(r'href="#([^"]+)"', page))
    assert targets
    assert targets <= anchors


async def test_every_operation_says_what_it_does_and_how_it_refuses(api: httpx.AsyncClient) -> None:
    described: dict[str, Any] = (await api.get("/openapi.json")).json()
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            assert operation["summary"], (method, path)
            assert operation["description"], (method, path)
            assert {"400", "401", "403", "404", "503"} <= operation["responses"].keys()
            if "requestBody" in operation:
                assert "422" in operation["responses"], (method, path)
