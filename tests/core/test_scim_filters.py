"""Filters of SCIM: what they mean, and what is none."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopegate.core.scim.attributes import ENTERPRISE_SCHEMA, GROUP, KINDS, USER, USER_SCHEMA
from scopegate.core.scim.grammar import (
    DEEPEST,
    LONGEST_FILTER,
    MOST_TERMS,
    Comparison,
    Operator,
    parse_filter,
)
from scopegate.core.scim.matching import conjuncts, fits
from scopegate.core.scim.refusals import ScimRefused, ScimType

ANA = {
    "schemas": [USER_SCHEMA, ENTERPRISE_SCHEMA],
    "id": "Ana",
    "externalId": "X-1",
    "userName": "ana@x.example",
    "displayName": "Ana Ström",
    "name": {"formatted": "Ana Ström", "familyName": "Ström", "givenName": "Ana"},
    "active": True,
    "emails": [{"value": "ana@x.example", "type": "work", "primary": True}],
    "groups": [{"value": "quality", "display": "Quality"}],
    "roles": [{"value": "editor"}, {"value": "Auditor"}],
    ENTERPRISE_SCHEMA: {"organization": "Sales/Vienna"},
}


@pytest.mark.parametrize(
    "text",
    [
        'userName eq "ANA@X.example"',
        'USERNAME Eq "ana@x.example"',
        f'{USER_SCHEMA}:userName eq "ana@x.example"',
        f'{ENTERPRISE_SCHEMA}:organization sw "Sales"',
        f'{ENTERPRISE_SCHEMA.upper()}:Organization eq "Sales/Vienna"',
        'id eq "Ana"',
        'externalId eq "X-1"',
        'displayName co "strö"',
        'displayName ew "STRÖM"',
        'name.familyName gt "S" and name.familyName le "ström"',
        'name.givenName ge "ana" and name.givenName lt "b"',
        "active eq true",
        'active eq "True"',
        "active ne false",
        "emails pr",
        "name pr and name.givenName pr",
        "not (title pr)",
        'emails[type eq "work" and value co "@x"]',
        'emails[not (type eq "home")]',
        'emails[type eq "work"].value eq "ana@x.example"',
        'emails[type eq "work"].value pr and id pr',
        'emails.value eq "ana@x.example"',
        'emails eq "ana@x.example"',
        'emails co "@X.EXAMPLE"',
        'groups.display eq "quality"',
        'roles eq "Auditor"',
        'roles ne "editor"',  # one of them is another
        'title ne "Boss"',
        "title eq null",
        'userName eq "x" or id eq "Ana"',
        'id eq "Ana" or userName eq "x" and active eq false',
        '(id eq "x" or id eq "Ana") and active eq true',
        'not(id eq "x")and(active eq true)',
        'addresses[type eq "work"] or id pr',
        'displayName eq "Ana Str\\u00f6m"',
        "  id pr  ",
    ],
)
def test_a_filter_that_fits(text: str) -> None:
    assert fits(parse_filter(text, [USER]), ANA)


@pytest.mark.parametrize(
    "text",
    [
        'id eq "ana"',  # exact
        'externalId eq "x-1"',
        'roles eq "auditor"',
        'title eq "Boss"',
        'title co ""',
        "title pr",
        'phoneNumbers[type eq "work"]',
        "active eq false",
        "active eq null",
        'emails[type eq "home" and value co "@x"]',
        'emails[type eq "home"].value eq "ana@x.example"',
        'phoneNumbers[type eq "work"].value eq "1"',
        'emails[type eq "work" and value co "@y"]',
        '(id eq "Ana" or userName eq "x") and active eq false',
        "userName eq 5",
        "userName eq true",
        'userName gt "zz"',
    ],
)
def test_a_filter_that_does_not_fit(text: str) -> None:
    assert not fits(parse_filter(text, [USER]), ANA)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "userName",
        "userName eq",
        'userName is "x"',
        'userName eq "x',
        "userName eq x",
        'userName eq "x" and',
        'userName eq "x" nor id pr',
        '(id eq "x"',
        'id eq "x")',
        'emails[type eq "work"',
        'emails[type eq "work"].value',
        'emails[type eq "work"].shoeSize pr',
        'emails[type eq "work"].display.value pr',
        'emails[emails[type eq "x"]]',
        'userName[value eq "x"]',
        "not id pr",
        'shoeSize eq "x"',
        'emails[shoeSize eq "x"]',
        "name.shoeSize pr",
        "active gt true",
        'active co "t"',
        "userName co 5",
        "userName gt null",
        'name eq "Ana"',
        'meta eq "x"',
        'urn:example:other:userName eq "x"',
        "id eq 01",
        "id eq .5",
        r'id eq "\x41"',
        r'id eq "\ud800"',
        'id eq "a\nb"',
        'id eq "x"\x00',
        f'id eq "{"x" * LONGEST_FILTER}"',
        " or ".join(["id pr"] * (MOST_TERMS + 1)),
        "(" * (DEEPEST + 1) + "id pr" + ")" * (DEEPEST + 1),
        "members pr",
    ],
)
def test_what_is_no_filter_is_refused(text: str) -> None:
    with pytest.raises(ScimRefused) as refused:
        parse_filter(text, [USER])
    assert refused.value.scim_type is ScimType.INVALID_FILTER


def test_bounds_admit_what_is_within_them() -> None:
    parse_filter(" or ".join(["id pr"] * MOST_TERMS), [USER])
    parse_filter("(" * DEEPEST + "id pr" + ")" * DEEPEST, [USER])


def test_a_search_of_all_kinds_knows_the_attributes_of_each() -> None:
    condition = parse_filter('userName eq "ana@x.example" or members eq "Ana"', KINDS)
    assert fits(condition, ANA)
    assert fits(condition, {"id": "g", "members": [{"value": "Ana"}]})
    assert not fits(condition, {"id": "g", "members": [{"value": "Bo"}]})
    with pytest.raises(ScimRefused):
        parse_filter('userName eq "x"', [GROUP])


def test_what_has_to_hold_is_found_at_any_depth() -> None:
    condition = parse_filter('(id eq "a" and (userName eq "b" and active eq true)) and roles pr', [USER])
    assert len(list(conjuncts(condition))) == 4
    assert len(list(conjuncts(parse_filter('id eq "a" or id eq "b"', [USER])))) == 1


# A filter that is written from a value means the value.

_names = st.sampled_from(["userName", "displayName", "externalId", "name.givenName", "emails.value", "id"])
_texts = st.text(st.characters(blacklist_categories=["Cs"]), max_size=8)
_comparisons = st.builds(
    lambda name, operator, text: (f"{name} {operator} {json.dumps(text)}", name, operator, text),
    _names,
    st.sampled_from([operator.value for operator in Operator]),
    _texts,
)


@given(_comparisons)
def test_a_comparison_is_read_as_it_is_written(written: tuple[str, str, str, str]) -> None:
    text, name, operator, value = written
    read = parse_filter(text, [USER])
    assert isinstance(read, Comparison)
    assert read.operator == operator
    assert read.value == value
    assert read.target.attribute is not None
    parts = [read.target.attribute.name, *([read.target.sub.name] if read.target.sub else [])]
    assert ".".join(parts) == name


_trees = st.recursive(
    st.builds(lambda name: (f"{name} pr", name), st.sampled_from(["id", "title", "active", "groups", "ims"])),
    lambda inner: st.one_of(
        st.builds(lambda one: (f"not ({one[0]})", ("not", one[1])), inner),
        st.builds(lambda one, two: (f"({one[0]} and {two[0]})", ("and", one[1], two[1])), inner, inner),
        st.builds(lambda one, two: (f"({one[0]} or {two[0]})", ("or", one[1], two[1])), inner, inner),
    ),
    max_leaves=8,
)


@given(_trees, st.sets(st.sampled_from(["id", "active", "groups"])))
def test_a_filter_means_what_its_parts_mean(tree: tuple[str, Any], present: set[str]) -> None:
    text, meaning = tree
    document = {name: [{"value": "x"}] if name == "groups" else "x" for name in present}

    def holds(node: Any) -> bool:
        if isinstance(node, str):
            return node in document
        word, *parts = node
        found = [holds(part) for part in parts]
        return not found[0] if word == "not" else all(found) if word == "and" else any(found)

    try:
        condition = parse_filter(text, [USER])
    except ScimRefused:
        assert text.count("(") > DEEPEST
        return
    assert fits(condition, document) is holds(meaning)


@given(st.text(st.sampled_from('ideqpr and or not()[]".work emails type :\\{}$0-5'), max_size=60))
def test_whatever_is_sent_is_read_or_refused(text: str) -> None:
    with suppress(ScimRefused):
        assert fits(parse_filter(text, KINDS), ANA) in {True, False}
