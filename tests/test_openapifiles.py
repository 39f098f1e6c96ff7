"""OpenAPI documents become operations, drafts of catalogues, and errors that say where."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from scopegate import openapifiles, policyfiles
from scopegate.core.errors import InvalidInput
from scopegate.core.operations import Operation, draft
from scopegate.draftwriting import write_draft
from scopegate.openapifiles import ApiDescription, OpenApiFileError, PrivilegesFrom, load_openapi

if TYPE_CHECKING:
    from pathlib import Path

PETS = """\
openapi: 3.1.0
info: {title: Pets, version: "1.2"}
servers:
- url: https://{region}.example.com/api/{version}
  variables: {version: {default: v2}}
security:
- oauth: [read:pets]
paths:
  /pets:
    get: {operationId: listPets, summary: List pets}
    post:
      operationId: addPet
      description: |
        Add a pet
        to the shop.
      security: [{oauth: [write:pets, audit]}, {key: []}]
  /pets/{petId}:
    parameters: [{name: petId, in: path}]
    get:
      security: [{}, {oauth: [read:pets], mtls: [owner]}, {key: []}]
    delete: {security: [{key: []}]}
    trace: {}
  /pets/{petId}/photos:
    get: {security: []}
  /status:
    get:
      servers: [{url: "https://status.example.com/"}]
      security: [{}]
webhooks:
  newPet: {post: {}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "openapi.yaml"


def load(file: Path, text: str, **options: Any) -> ApiDescription:
    file.write_text(text)
    return load_openapi(file, **options)


def of_paths(
    file: Path, paths: dict[str, Any], *, root: dict[str, Any] | None = None, **options: Any
) -> ApiDescription:
    """What a document with these paths says."""
    document = {"openapi": "3.0.3", "paths": paths, **(root or {})}
    return load(file, json.dumps(document), **options)


def summary(found: ApiDescription) -> dict[str, list[str]]:
    return {one.label: sorted(one.privileges) for one in found.operations}


def test_a_document_becomes_operations(file: Path) -> None:
    found = load(file, PETS)
    assert (found.title, found.version) == ("Pets", "1.2")
    assert summary(found) == {
        "GET /api/v2/pets": ["read:pets"],
        "POST /api/v2/pets": ["audit", "write:pets"],
        "GET /api/v2/pets/*": ["owner", "read:pets"],
        "DELETE /api/v2/pets/*": [],
        "GET /api/v2/pets/*/photos": [],
        "GET /status": [],
    }
    by_label = {one.label: one for one in found.operations}
    assert by_label["GET /api/v2/pets"] == Operation(
        method="GET",
        url="/api/v2/pets",
        template="/pets",
        operation_id="listPets",
        summary="List pets",
        privileges=frozenset({"read:pets"}),
    )
    assert by_label["POST /api/v2/pets"].summary == "Add a pet to the shop."
    assert by_label["POST /api/v2/pets"].remarks == ("The document also admits key without a scope.",)
    assert by_label["GET /api/v2/pets/*"].remarks == (
        "The document also admits anybody, or key without a scope.",
    )
    assert by_label["GET /status"].remarks == ("The document has it at another server, status.example.com.",)
    assert found.notes == ("Left out: TRACE /pets/{petId}; the gateway refuses it.",)
    assert found.names == {}


def test_json_says_the_same_as_yaml(file: Path) -> None:
    assert load(file, json.dumps(yaml.safe_load(PETS))) == load(file, PETS)


@pytest.mark.parametrize(
    ("servers", "base_path", "url"),
    [
        (None, None, "/a"),
        ([], None, "/a"),
        ([{"url": "/"}], None, "/a"),
        ([{"url": "/v1/"}], None, "/v1/a"),
        ([{"url": "v1"}], None, "/v1/a"),
        ([{"url": "https://h:8443/v1?x#y"}], None, "/v1/a"),
        ([{"url": "//h/v1"}], None, "/v1/a"),
        ([{"url": "{scheme}://h/v1", "variables": {"scheme": {"default": "https"}}}], None, "/v1/a"),
        ([{"url": "https://{h}/v1"}], None, "/v1/a"),
        ([{"url": "https://h/{v}"}], "/v9", "/v9/a"),
        ([{"url": "https://h/v1"}], "", "/a"),
        ([{"url": "https://h/v1"}], "/api/v2/", "/api/v2/a"),
        ([{"url": "https://h/v1"}, {"url": "https://h/v2"}], None, "/v1/a"),
    ],
)
def test_paths_are_below_their_first_server(
    file: Path, servers: list[dict[str, Any]] | None, base_path: str | None, url: str
) -> None:
    root = {} if servers is None else {"servers": servers}
    found = of_paths(file, {"/a": {"get": {}}}, root=root, base_path=base_path)
    assert [(one.url, one.remarks) for one in found.operations] == [(url, ())]


def test_servers_of_a_path_and_of_an_operation_come_first(file: Path) -> None:
    servers = [{"url": "https://H/path"}]
    item = {"servers": servers, "get": {}, "post": {"servers": [{"url": "http://h/operation"}]}}
    found = of_paths(file, {"/a": item}, root={"servers": [{"url": "https://h/root"}]})
    # One host, whatever its case and scheme, is no other server.
    assert [(one.url, one.remarks) for one in found.operations] == [("/path/a", ()), ("/operation/a", ())]


def test_path_items_are_found_where_they_are_referred_to(file: Path) -> None:
    root = {
        "components": {
            "pathItems": {"shared": {"get": {"summary": "Shared"}, "post": {}}, "on": {"$ref": "#/paths/~1b"}}
        }
    }
    paths = {
        "/a": {"$ref": "#/components/pathItems/shared", "get": {"summary": "Own"}},
        "/b": {"$ref": "#/components/pathItems/shared"},
        "/c": {"$ref": "#/components/pathItems/on"},
    }
    found = of_paths(file, paths, root=root)
    assert [(one.label, one.summary) for one in found.operations] == [
        *(("GET /a", "Own"), ("POST /a", "")),
        *(("GET /b", "Shared"), ("POST /b", "")),
        *(("GET /c", "Shared"), ("POST /c", "")),
    ]


def test_methods_that_the_gateway_refuses_are_left_out_and_told(file: Path) -> None:
    others: dict[str, Any] = {"LINK": {}, "PURGE": {}}
    found = of_paths(file, {"/a": {"trace": {}, "query": {}, "additionalOperations": others, "head": {}}})
    assert [one.label for one in found.operations] == ["HEAD /a"]
    assert [note.split(";")[0] for note in found.notes] == [
        f"Left out: {method} /a" for method in ("TRACE", "QUERY", "LINK", "PURGE")
    ]


def test_paths_that_no_request_can_have_are_left_out_and_told(file: Path) -> None:
    found = of_paths(file, {"/a//b": {"get": {}}, "/" + "{x}/" * 20: {"get": {}}, "/c": {"get": {}}})
    assert [one.label for one in found.operations] == ["GET /c"]
    assert [note[:18] for note in found.notes] == ["Left out: GET /a//", "Left out: GET /{x}"]


def test_what_follows_a_question_mark_or_a_hash_is_told_not_to_be_compared(file: Path) -> None:
    found = of_paths(file, {"/#Action=Run": {"get": {}}, "/a?b=c": {"get": {}}, "/p/{x?}": {"get": {}}})
    assert [one.url for one in found.operations] == ["/", "/a", "/p/*"]
    assert [bool(one.remarks) for one in found.operations] == [True, True, False]


def test_scopes_that_are_no_names_become_some_and_are_told(file: Path) -> None:
    scope = "https://www.googleapis.com/auth/drive"
    found = of_paths(file, {"/a": {"get": {"security": [{"o": [scope]}]}}, "/b": {"get": {"security": []}}})
    assert found.names == {scope: "https:-www.googleapis.com-auth-drive"}
    assert summary(found)["GET /a"] == ["https:-www.googleapis.com-auth-drive"]


def test_one_whole_alternative_is_required_and_the_others_are_told(file: Path) -> None:
    security = [
        {"key": []},
        {"o": ["a"], "p": ["b", "c"]},
        {"o": ["d"]},
        {"q": ["b"]},
        {"r": ["e"]},
        {"s": ["f"]},
    ]
    (one,) = of_paths(file, {"/a": {"get": {"security": security}}}).operations
    assert one.privileges == {"a", "b", "c"}
    assert one.remarks == ("The document also admits key without a scope, or d, or b, or 2 more.",)


def test_tags_can_stand_in_for_scopes(file: Path) -> None:
    paths: dict[str, Any] = {
        "/a": {"get": {"tags": ["Pets", "My Shop"]}, "head": {"tags": ["Pets"]}, "post": {"tags": ["Pets"]}},
        "/b": {"delete": {}},
    }
    found = of_paths(file, paths, privileges_from=PrivilegesFrom.TAGS)
    assert summary(found) == {
        "GET /a": ["My-Shop.read", "Pets.read"],
        "HEAD /a": ["Pets.read"],
        "POST /a": ["Pets.write"],
        "DELETE /b": [],
    }
    assert found.names == {"My Shop.read": "My-Shop.read"}


def test_privileges_can_be_left_out(file: Path) -> None:
    assert not any(
        one.privileges or one.remarks
        for one in load(file, PETS, privileges_from=PrivilegesFrom.NONE).operations[:5]
    )


def refusals(file: Path, text: str) -> list[str]:
    with pytest.raises(OpenApiFileError) as refused:
        load(file, text)
    assert refused.value.code == "openapi_invalid"
    return [line.removeprefix(f"{file}") for line in refused.value.message.split("\n")]


HEAD = "openapi: 3.0.0\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("swagger: '2.0'\npaths: {}\n", [":1: swagger: this is a Swagger 2.0 document"]),
        ("paths: {}\n", [":1: this is no OpenAPI document: no 'openapi'"]),
        ("- a\n", [":1: this is no OpenAPI document: no 'openapi'"]),
        ("openapi: 4.0\npaths: {}\n", [":1: openapi: '4.0' is no version 3.x"]),
        ("openapi: 3.10.0\npaths: {}\n", [":1: openapi: '3.10.0' is no version 3.x"]),
        (HEAD, [": there are no 'paths'"]),
        (HEAD + "paths: [/a]\n", [":2: paths: expected a mapping"]),
        (HEAD + "paths:\n  a: {}\n", [":3: paths.a: a path begins with '/'"]),
        (HEAD + "paths:\n  /a: []\n", [":3: paths./a: expected a mapping"]),
        (HEAD + "paths:\n  /a:\n    get: 7\n", [":4: paths./a.get: expected a mapping"]),
        (
            HEAD + "security: 7\npaths:\n  /a: {get: {}, put: {}}\n",
            [":2: paths./a.get.security: expected a list", ":2: paths./a.put.security: expected a list"],
        ),
        (
            HEAD + "paths:\n  /a:\n    get:\n      security: [o]\n",
            [":5: paths./a.get.security[0]: expected a mapping"],
        ),
        (
            HEAD + "paths:\n  /a:\n    get:\n      security:\n      - {o: a}\n",
            [":6: paths./a.get.security[0].o: expected a list"],
        ),
        (
            HEAD + "paths:\n  /a:\n    $ref: other.yaml#/a\n",
            [":4: paths./a: it refers to another file, 'other.yaml#/a'; bundle the document into one first"],
        ),
        (
            HEAD + "paths:\n  /a: {$ref: '#/paths/~1b'}\n",
            [":3: paths./a: it refers to '#/paths/~1b', which is no path item here"],
        ),
        (
            HEAD + "paths:\n  /a: {$ref: '#/paths/~1a'}\n",
            [":3: paths./a: its references lead on and on"],
        ),
        (
            HEAD + "servers:\n- url: https://h/{v}\npaths: {/a: {get: {}}}\n",
            [":3: servers[0].url: a variable of its path has no default; pass the path with --base-path"],
        ),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_place(file: Path, text: str, told: list[str]) -> None:
    assert refusals(file, text) == told


def test_swagger_2_is_refused_with_the_way_out(file: Path) -> None:
    file.write_text('{"swagger": "2.0", "paths": {}}')
    with pytest.raises(OpenApiFileError) as refused:
        load_openapi(file)
    assert "Convert" in str(refused.value.hint)


@pytest.mark.parametrize("base_path", ["v1", "/a//b", "/a?b", "https://h"])
def test_a_base_path_that_is_none_is_refused(file: Path, base_path: str) -> None:
    with pytest.raises(InvalidInput):
        load(file, PETS, base_path=base_path)


def test_more_operations_than_there_may_be_are_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openapifiles, "MAX_OPERATIONS", 3)
    assert "more than 3 operations" in refusals(file, PETS)[0]


def test_aliases_that_multiply_operations_are_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openapifiles, "MAX_OPERATIONS", 1_000)
    left_out = ", ".join(f"M{n}: {{}}" for n in range(500))
    paths = "".join(f"  /p{n}: *item\n" for n in range(500))
    text = f"{HEAD}x: &item {{additionalOperations: {{{left_out}}}}}\npaths:\n{paths}"
    assert "more than 1000 operations" in refusals(file, text)[0]


def test_alternatives_without_end_are_refused(file: Path) -> None:
    security = json.dumps([{"o": [str(n)]} for n in range(101)])
    text = f"{HEAD}paths:\n  /a:\n    get: {{security: {security}}}\n"
    assert refusals(file, text) == [":4: paths./a.get.security: there are more than 100 items"]


# Drafts


def written(found: ApiDescription, tmp_path: Path) -> str:
    """The text of the draft, which is loaded and compared with the draft itself."""
    entries = draft(found.operations)
    text = write_draft("openapi.yaml", found, entries)
    directory = tmp_path / "policies"
    directory.mkdir(exist_ok=True)
    (directory / "catalogue.yaml").write_text(text)
    loaded = policyfiles.load(directory).policies
    assert set(loaded.endpoints) == {entry.endpoint for entry in entries}
    assert {one.url: one.summary for one in loaded.endpoints} == {
        entry.endpoint.url: entry.endpoint.summary for entry in entries
    } or len(entries) != len({entry.endpoint.url for entry in entries})
    assert loaded.unlisted_allowed is None
    return text


def test_a_draft_is_a_policy_file_that_says_what_to_look_at(file: Path, tmp_path: Path) -> None:
    assert written(load(file, PETS), tmp_path) == (
        "# A draft of the catalogue of Pets 1.2, from openapi.yaml.\n"
        "# 6 operations, 6 entries.\n"
        "# Read it and correct it, then see what it would change: scopegate diff DIRECTORY\n"
        "# 2 entries are open to every active user: check them.\n"
        "# 1 entry needs more than the document says, for * matches across '/' and all entries that match"
        " count together.\n"
        "#\n"
        "# Left out: TRACE /pets/{petId}; the gateway refuses it.\n"
        "#\n"
        "endpoints:\n"
        "  # GET /pets (listPets)\n"
        "  - {methods: [GET], url: /api/v2/pets, privileges: ['read:pets'], summary: List pets}\n"
        "  # POST /pets (addPet)\n"
        "  # The document also admits key without a scope.\n"
        "  - {methods: [POST], url: /api/v2/pets, privileges: [audit, 'write:pets'],"
        " summary: Add a pet to the shop.}\n"
        "  # GET /pets/{petId}\n"
        "  # The document also admits anybody, or key without a scope.\n"
        "  - {methods: [GET], url: /api/v2/pets/*, privileges: [owner, 'read:pets']}\n"
        "  # DELETE /pets/{petId}\n"
        "  - {methods: [DELETE], url: /api/v2/pets/*, privileges: []}  # open to every active user: check\n"
        "  # GET /pets/{petId}/photos\n"
        "  # Needs owner, read:pets as well: it is matched by GET /api/v2/pets/* too.\n"
        "  - {methods: [GET], url: /api/v2/pets/*/photos, privileges: []}\n"
        "  # The document has it at another server, status.example.com.\n"
        "  - {methods: [GET], url: /status, privileges: []}  # open to every active user: check\n"
    )


def test_a_draft_of_nothing_is_a_policy_file_too(file: Path, tmp_path: Path) -> None:
    assert "endpoints: []" in written(of_paths(file, {}), tmp_path)


def test_operations_that_became_one_entry_are_told(file: Path, tmp_path: Path) -> None:
    paths = {f"/#Action={name}": {"get": {"summary": f"Do {name}"}} for name in "ABCDE"}
    text = written(of_paths(file, paths), tmp_path)
    assert "5 operations have this URL here; it requires what all of them do." in text
    assert "summary: Do A (and 4 more)" in text


words = st.text(max_size=30)
hostile = st.one_of(
    words,
    st.sampled_from(["\n- {methods: ['*'], url: '*', privileges: []}", "x\u2028y", "a # b", "{}", "*", "&a"]),
)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["/a", "/b/{x}", "/c d"]),
            st.sampled_from(["get", "put"]),
            hostile,
            hostile,
            hostile,
        ),
        max_size=4,
    ),
    hostile,
)
def test_whatever_a_document_says_the_draft_says_no_more(
    tmp_path_factory: pytest.TempPathFactory,
    drawn: list[tuple[str, str, str, str, str]],
    title: str,
) -> None:
    paths: dict[str, Any] = {}
    for template, method, text, operation_id, scope in drawn:
        security = [{"o": [scope]}, {text: [text]}]
        paths.setdefault(template + text.replace("{", "").replace("}", ""), {})[method] = {
            "summary": text,
            "operationId": operation_id,
            "security": security,
        }
    directory = tmp_path_factory.mktemp("drafts")
    found = of_paths(directory / "spec.json", paths, root={"info": {"title": title, "version": title}})
    written(found, directory)
    assert len(found.operations) + len(found.notes) == sum(map(len, paths.values()))
