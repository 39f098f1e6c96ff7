"""Operations of an API: patterns of templates, drafts of catalogue entries, and where entries add up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopegate.core.catalogue import LONGEST_SUMMARY, Catalogue, Endpoint
from scopegate.core.errors import InvalidInput
from scopegate.core.operations import (
    DraftedEntry,
    Operation,
    Overlap,
    as_line,
    draft,
    overlaps,
    pattern_of_template,
)
from scopegate.core.request import CanonicalRequest


def names(*given: str) -> frozenset[str]:
    return frozenset(given)


def operation(label: str, *privileges: str, template: str = "", summary: str = "") -> Operation:
    method, url = label.split()
    return Operation(
        method=method, url=url, privileges=names(*privileges), template=template, summary=summary
    )


@pytest.mark.parametrize(
    ("base", "template", "pattern"),
    [
        ("", "/pets", "/pets"),
        ("", "/", "/"),
        ("/v1", "/", "/v1/"),
        ("/v1/", "/pets/{id}", "/v1/pets/*"),
        ("", "/pets/{id}/photos/{photo-id}", "/pets/*/photos/*"),
        ("", "/files/{name}.{format}", "/files/*.*"),
        ("", "/{owner}{repo}", "/*"),
        ("", "/maps/{+path}", "/maps/*"),
        ("", "/items(id='{id}')/$count", "/items(id='*')/$count"),
        ("", "/a b/ü", "/a%20b/%C3%BC"),
        ("", "/%7Eme/%c3%bc", "/~me/%C3%BC"),
        ("", "/#Action=Run", "/"),
        ("", "/search?kind={kind}", "/search"),
        ("", "/search/{query?}", "/search/*"),
        ("", "/{unclosed", "/%7Bunclosed"),
        ("", "/wild/*", "/wild/*"),
    ],
)
def test_a_template_becomes_a_pattern(base: str, template: str, pattern: str) -> None:
    assert pattern_of_template(base, template) == pattern


@pytest.mark.parametrize("template", ["//double", "/a/../b", "/a%2Fb", "/a\\b"])
def test_a_template_that_no_request_can_have_is_refused(template: str) -> None:
    with pytest.raises(InvalidInput):
        pattern_of_template("", template)


@pytest.mark.parametrize("label", ["TRACE /a", "get /a", "GET a"])
def test_what_is_no_operation_is_refused(label: str) -> None:
    with pytest.raises(InvalidInput):
        operation(label)


def test_each_method_and_url_is_an_entry_in_the_order_of_the_document() -> None:
    listed = [operation("GET /b", "b"), operation("POST /b", "b"), operation("GET /a", summary="List a")]
    assert [entry.endpoint for entry in draft(listed)] == [
        Endpoint(names("GET"), "/b", names("b")),
        Endpoint(names("POST"), "/b", names("b")),
        Endpoint(names("GET"), "/a", names(), "List a"),
    ]


def test_operations_of_one_pattern_are_one_entry_that_requires_all_of_it() -> None:
    by_id = operation("GET /pets/*", "read", template="/pets/{id}", summary="By id")
    by_name = operation("GET /pets/*", "find", template="/pets/{name}", summary="By name")
    assert draft([by_id, by_name]) == (
        DraftedEntry(
            Endpoint(names("GET"), "/pets/*", names("read", "find"), "By id (and 1 more)"), (by_id, by_name)
        ),
    )


def overlap_of(*labels: str) -> Overlap | None:
    """The overlap of the first of some entries, each of which requires a privilege of its own name."""
    return draft([operation(label, label.replace(" ", "").replace("/", ".")) for label in labels])[0].overlap


@pytest.mark.parametrize(
    ("labels", "wider"),
    [
        (["GET /pets/*/photos", "GET /pets/*"], ["GET /pets/*"]),
        (["GET /pets/mine", "GET /pets/*"], ["GET /pets/*"]),
        (["GET /pets/*", "GET /pets/mine"], []),
        (["GET /pets/*", "GET /pets/*/photos"], []),
        (["GET /pets/*", "POST /pets/*"], []),
        (["HEAD /pets/*", "GET /pets/*"], ["GET /pets/*"]),
        (["GET /pets/*", "HEAD /pets/*"], []),
        (
            ["GET /a/*/b/*", "GET /*", "GET /a/*", "GET /*/b/*", "GET /b/*"],
            ["GET /*", "GET /*/b/*", "GET /a/*"],
        ),
        (["GET /a/*.json", "GET /a/*.xml", "GET /a/*"], ["GET /a/*"]),
        (["GET *", "GET /*"], ["GET /*"]),
        (["GET /a%20b/c", "GET /a*/c"], ["GET /a*/c"]),
    ],
)
def test_entries_that_match_all_of_an_entry_add_to_it(labels: list[str], wider: list[str]) -> None:
    overlap = overlap_of(*labels)
    assert ([] if overlap is None else list(overlap.labels)) == wider


def test_an_entry_that_asks_for_nothing_more_is_no_overlap() -> None:
    narrow, wide = operation("GET /pets/*/photos", "read", "photos"), operation("GET /pets/*", "read")
    assert draft([narrow, wide])[0].overlap is None


def test_entries_for_all_methods_add_to_each() -> None:
    endpoints = [Endpoint(names("GET"), "/a/b", names("x")), Endpoint(names("*"), "/a/*", names("y"))]
    assert overlaps(endpoints) == {0: Overlap(("* /a/*",), names("y"))}


segments = st.lists(st.sampled_from(["a", "b", "{p}", "{q}", "a{p}"]), min_size=1, max_size=4)
drawn = st.builds(
    Operation,
    method=st.sampled_from(["GET", "HEAD", "POST"]),
    url=segments.map(lambda parts: pattern_of_template("", "/" + "/".join(parts))),
    privileges=st.frozensets(st.sampled_from(["p", "q", "r"]), max_size=2),
)


@given(st.lists(drawn, max_size=8))
def test_a_usual_request_needs_what_its_entry_and_its_overlap_say(operations: list[Operation]) -> None:
    entries = draft(operations)
    catalogue = Catalogue(entry.endpoint for entry in entries)
    for entry in entries:
        (method,) = entry.endpoint.methods
        # No literal of the templates has this character.
        request = CanonicalRequest(method, entry.endpoint.url.replace("*", "x"))
        more = names() if entry.overlap is None else entry.overlap.privileges
        assert catalogue.required(request) == entry.endpoint.privileges | more
        assert not more & entry.endpoint.privileges


@given(st.lists(drawn, max_size=8))
def test_no_operation_needs_less_than_it_says(operations: list[Operation]) -> None:
    catalogue = Catalogue(entry.endpoint for entry in draft(operations))
    for one in operations:
        required = catalogue.required(CanonicalRequest(one.method, one.url.replace("*", "x")))
        assert required is not None
        assert one.privileges <= required


@given(st.text(), st.integers(1, 300))
def test_a_line_is_one_line_that_is_short_enough_and_prints(text: str, most: int) -> None:
    line = as_line(text, most=most)
    assert len(line) <= most
    assert line.isprintable()
    assert as_line(line, most=most) == line


@given(st.text(max_size=400))
def test_whatever_is_written_can_be_a_summary(text: str) -> None:
    (entry,) = draft([operation("GET /a", summary=text)])
    assert len(entry.endpoint.summary) <= LONGEST_SUMMARY
