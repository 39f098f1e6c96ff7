"""The published schema takes what the loader takes, and refuses what a schema can."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from scopegate.policyfiles import PolicyFileError, load
from scopegate.policyschema import schema_text
from scopegate.policywriting import SCHEMA_FILE, SCHEMA_LINE

ROOT = Path(__file__).parent.parent
SCHEMA = Draft202012Validator(json.loads(schema_text()))


def taken(document: object, directory: Path) -> bool:
    """Whether the loader takes a file that says `document`."""
    (directory / "all.yaml").write_text(yaml.safe_dump(document, allow_unicode=True))
    try:
        load(directory)
    except PolicyFileError:
        return False
    return True


def test_it_is_published_as_it_is() -> None:
    assert (ROOT / "policies" / SCHEMA_FILE).read_text() == schema_text()
    Draft202012Validator.check_schema(json.loads(schema_text()))


@pytest.mark.parametrize("file", sorted((ROOT / "policies").glob("*.yaml")), ids=lambda file: file.name)
def test_the_shipped_files_name_it_and_meet_it(file: Path) -> None:
    text = file.read_text()
    assert text.startswith(SCHEMA_LINE)
    assert SCHEMA.is_valid(yaml.safe_load(text))


ENTRY = {"methods": ["GET"], "url": "/a", "privileges": ["x"]}


def entry(**changes: Any) -> dict[str, Any]:
    return {"endpoints": [ENTRY | changes]}


def expecting(line: str) -> dict[str, Any]:
    return {"principals": {"m": {}}, "expectations": [line]}


GOOD = [
    {"endpoints": []},
    {"unlisted_endpoints": "allow"},
    {"roles": {}, "groups": {}},
    {"roles": {"a.b:c_d-e": {"privileges": []}}, "groups": {"g": {"roles": ["a.b:c_d-e"]}}},
    {"roles": {"a" * 100: {"privileges": ["p" * 100]}}},
    entry(methods=["*", "DELETE"], url="*", privileges=[]),
    entry(url="**"),
    entry(url="HTTPS://Host:8443/a b".replace(" ", "%20")),
    entry(summary=""),
    entry(summary="Überblick 🎧 über alles"),
    entry(summary="s" * 200),
    {"principals": {"m": {"roles": [], "groups": [], "active": False}}},
    expecting("m GET /a -> deny"),
    expecting("  m  OPTIONS  https://host/a  ->  deny  user_inactive "),
]


@pytest.mark.parametrize("document", GOOD, ids=str)
def test_both_take_what_is_good(document: object, tmp_path: Path) -> None:
    assert taken(document, tmp_path)
    assert SCHEMA.is_valid(document)


BAD: list[object] = [
    {},
    [],
    "endpoints",
    None,
    {"endpoint": []},
    {"endpoints": None},
    {"endpoints": {}},
    {"endpoints": ["GET /a"]},
    {"endpoints": [{"methods": ["GET"], "url": "/a"}]},
    entry(privilege=[]),
    entry(methods=[]),
    entry(methods="GET"),
    entry(methods=["get"]),
    entry(methods=["GET", "GET"]),
    entry(url=7),
    entry(url=""),
    entry(url="a"),
    entry(url="ftp://host/a"),
    entry(url="/a?b=1"),
    entry(url="/a#b"),
    entry(url="/a b"),
    entry(url="/a\\b"),
    entry(url="/" + "a" * 3_000),
    entry(privileges=None),
    entry(privileges="x"),
    entry(privileges=["a b"]),
    entry(privileges=["x", "x"]),
    entry(privileges=[7]),
    entry(summary=7),
    entry(summary=["s"]),
    entry(summary="s" * 201),
    {"unlisted_endpoints": "denied"},
    {"unlisted_endpoints": False},
    {"roles": []},
    {"roles": {"a b": {"privileges": []}}},
    {"roles": {"a" * 101: {"privileges": []}}},
    {"roles": {"a": None}},
    {"roles": {"a": ["x"]}},
    {"roles": {"a": {}}},
    {"roles": {"a": {"privileges": [], "roles": []}}},
    {"groups": {"g": {"privileges": []}}},
    {"groups": {"g": {"roles": ["a b"]}}},
    {"principals": {"m": {"active": 1}}},
    {"principals": {"m": {"role": []}}},
    {"principals": {"m": None}},
    expecting("m GET /a"),
    expecting("m GET /a -> perhaps"),
    expecting("m GET /a => deny"),
    expecting("m get /a -> deny"),
    expecting("m GET /* -> deny"),
    expecting("m GET /a?b -> deny"),
    expecting("m GET /a -> allow user_inactive"),
    expecting("m GET /a -> deny key_expired"),
    {"principals": {"m": {}}, "expectations": [7]},
    {"principals": {"m": {}}, "expectations": "m GET /a -> deny"},
]


@pytest.mark.parametrize("document", BAD, ids=lambda document: str(document)[:60])
def test_both_refuse_what_is_bad(document: object, tmp_path: Path) -> None:
    assert not taken(document, tmp_path)
    assert not SCHEMA.is_valid(document)


names = st.text(alphabet="aZ9._:-", min_size=1, max_size=3)
lists = st.lists(names, max_size=3, unique=True)
endpoints = st.fixed_dictionaries(
    {
        "methods": st.lists(st.sampled_from(["GET", "POST", "*", "HEAD"]), min_size=1, unique=True),
        "url": st.sampled_from(["*", "**", "/", "/a", "/a/*", "/%41", "https://h/a", "HTTP://H:80/*", "/;*"]),
        "privileges": lists,
    },
    optional={"summary": st.sampled_from(["", "Say a", "é\U0001f3a7", "a\u2060b", "s" * 200])},
)
# What is put in the place of something that is good.
others = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), lists, st.just({})),
    st.sampled_from(
        ["", "a" * 100, "a" * 101, "é", "GET", "TRACE", "a\u2028b", "a\tb", "http://h", "/../a", "deny"]
    ),
    st.text(alphabet="/a*%41:hHtTpPs.?# \\\n->", max_size=9),
)


@st.composite
def documents(draw: st.DrawFn) -> Any:
    """Files that say something, one half of them with something else in one place."""
    roles, groups, people = (draw(lists) for _ in range(3))
    lines = st.builds(
        "{}{}{} -> {}".format,
        st.sampled_from(people) if people else st.nothing(),
        st.sampled_from([" GET ", "  PUT\t"]),
        st.sampled_from(["/a", "/%41", "https://h:1/a"]),
        st.sampled_from(["allow", "deny", "deny  user_inactive", "deny "]),
    )
    some_roles = st.lists(st.sampled_from(roles), unique=True) if roles else st.just([])
    document: dict[str, Any] = {
        "endpoints": draw(st.lists(endpoints, max_size=2)),
        "unlisted_endpoints": draw(st.sampled_from(["deny", "allow"])),
        "roles": {name: {"privileges": draw(lists)} for name in roles},
        "groups": {name: {"roles": draw(some_roles)} for name in groups},
        "principals": {name: {"roles": draw(some_roles), "active": draw(st.booleans())} for name in people},
        "expectations": draw(st.lists(lines, max_size=2) if people else st.just([])),
    }
    if draw(st.booleans()):
        replace(draw, document)
    return document


def replace(draw: st.DrawFn, parent: Any) -> None:
    """Put something else in the place of one thing inside `parent`, however deep, or add it."""
    while True:
        places = list(parent) if isinstance(parent, dict) else list(range(len(parent)))
        if not places or draw(st.integers(0, 9)) == 0:
            if isinstance(parent, dict):
                parent[draw(names)] = draw(others)
            else:
                parent.append(draw(others))
            return
        place = draw(st.sampled_from(places))
        if not isinstance(parent[place], (dict, list)) or draw(st.integers(0, 4)) == 0:
            parent[place] = draw(others)
            return
        parent = parent[place]


@given(documents())
def test_it_takes_whatever_the_loader_takes(
    tmp_path_factory: pytest.TempPathFactory, document: object
) -> None:
    if taken(document, tmp_path_factory.mktemp("any")):
        assert SCHEMA.is_valid(document)
