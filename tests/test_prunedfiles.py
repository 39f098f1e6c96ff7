"""Large YAML and JSON files: what is wanted is there, with its line; the rest costs nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopegate import prunedfiles
from scopegate.prunedfiles import Found, Unreadable, read

if TYPE_CHECKING:
    from pathlib import Path

    from scopegate.prunedfiles import Shape

SHAPE: Shape = {"a": None, "b": {"*": {"c": None}}}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "document"


def plain(found: Found) -> Any:
    """The value without lines."""
    if isinstance(found.value, dict):
        return {name: plain(item) for name, item in found.value.items()}
    return [plain(item) for item in found.value] if isinstance(found.value, list) else found.value


def lines(found: Found) -> dict[str, int | None]:
    assert isinstance(found.value, dict)
    return {name: item.line for name, item in found.value.items()}


def refusal(file: Path, content: str | bytes) -> str:
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(Unreadable) as refused:
        read(file, SHAPE)
    assert refused.value.code == "file_unreadable"
    return refused.value.message.removeprefix(str(file))


DOCUMENT = {"a": [1, {"x": True}, None], "z": {"a": 1}, "b": {"n": {"c": "text", "d": [2]}, "m": {}}}
WANTED = {"a": ["1", {"x": "true"}, None], "b": {"n": {"c": "text"}, "m": {}}}


def test_just_what_is_wanted_is_kept_of_json_and_of_yaml(file: Path) -> None:
    for text in (
        json.dumps(DOCUMENT),
        "\ufeff" + json.dumps(DOCUMENT, indent=1),
        "z: {a: 1}\na:\n- 1\n- {x: true}\n- null\nb:\n  n: {d: [2], c: text}\n  m: {}\n",
        "---\nb: {n: {c: text}, m: {}}\na: [1, {x: true}, ~]\n...\n",
    ):
        file.write_text(text)
        assert plain(read(file, SHAPE)) == WANTED


def test_scalars_keep_the_text_that_they_are_written_with(file: Path) -> None:
    file.write_text("a: [3.10, no, 007, 2027-01-31, ~, '', \"null\", '~', 1e3]")
    assert plain(read(file, SHAPE)) == {
        "a": ["3.10", "no", "007", "2027-01-31", None, "", "null", "~", "1e3"]
    }


def test_lines_are_those_of_keys_and_json_has_none(file: Path) -> None:
    file.write_text("# a comment\nz: 1\na:\n  - x\nb:\n  {}\n")
    assert lines(read(file, SHAPE)) == {"a": 3, "b": 5}
    file.write_text('{"a": 1}')
    assert lines(read(file, SHAPE)) == {"a": None}


def test_an_alias_is_what_has_the_anchor_wherever_that_stands(file: Path) -> None:
    file.write_text("z:\n  deep: [&item {c: [1], x: &inner 2}]\nb:\n  n: *item\n  m: *item\na: *inner\n")
    found = read(file, SHAPE)
    assert plain(found) == {"a": "2", "b": {"n": {"c": ["1"], "x": "2"}, "m": {"c": ["1"], "x": "2"}}}


def test_what_has_an_anchor_is_kept_whole_for_its_aliases(file: Path) -> None:
    file.write_text("b: {n: &n {c: 1, d: 2}}\na: *n\n")
    assert plain(read(file, SHAPE))["a"] == {"c": "1", "d": "2"}


def test_merge_keys_bring_along_what_is_not_there(file: Path) -> None:
    file.write_text(
        "z: [&one {c: 1, x: 1}, &two {c: 2, y: 2}]\n"
        "b: {n: {<<: *one, x: own}, m: {<<: [*one, *two]}, o: {'<<': 3, c: 4}, p: {c: own, <<: *two}}\n"
        "a: {<<: [*two, *one], x: own}\n"
    )
    found = plain(read(file, SHAPE))
    assert found["b"] == {"n": {"c": "1"}, "m": {"c": "1"}, "o": {"c": "4"}, "p": {"c": "own"}}
    assert found["a"] == {"c": "2", "y": "2", "x": "own"}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", ":1: the file is empty"),
        ("# nothing\n", ":2: the file is empty"),
        ("a: 1\na: 2\n", ":2: the key 'a' stands already in line 1"),
        ("a: *x\n", ":1: nothing before this has the anchor &x"),
        ("a: &x [*x]\n", ":1: nothing before this has the anchor &x"),
        ("a: 1\n---\nb: 2\n", ":2: a second document starts here; a file holds one"),
        ("a: [\n", ":1: this is not YAML"),
        ("\n? [a]\n: 1\n", ":2: expected a name as key"),
        ('{"a": 1,\n "b" 2}', ":2: this is not JSON"),
        ('{"a": 1} x', ":1: this is not JSON"),
        (b"a: 1\nb: \xff\n", ":2: this is not UTF-8"),
    ],
)
def test_what_is_no_document_is_refused_with_its_line(file: Path, content: str | bytes, told: str) -> None:
    assert refusal(file, content).startswith(told)


def test_a_file_that_is_too_large_or_none_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unreadable):
        read(file, SHAPE)
    with pytest.raises(Unreadable):
        read(file.parent, SHAPE)
    monkeypatch.setattr(prunedfiles, "MAX_SIZE", 1 << 20)
    assert "larger than 1 MiB" in refusal(file, " " * ((1 << 20) + 1))


@pytest.mark.parametrize(
    "content", ["[" * 100_000, "a: " + "[" * 1_000, '{"a":' * 100_000, "a: " + "{x: " * 500]
)
def test_towers_of_brackets_are_refused(file: Path, content: str) -> None:
    assert refusal(file, content)


def test_a_billion_laughs_cost_nothing(file: Path) -> None:
    levels = ["z:\n- &l0 [lol]\n"] + [f"- &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]\n" for n in range(1, 30)]
    file.write_text("".join(levels) + "a: *l29\n")
    found = read(file, SHAPE)
    assert isinstance(found.value, dict)
    assert isinstance(found.value["a"].value, list)


def test_merge_keys_that_bring_along_too_much_are_refused(file: Path) -> None:
    entries = "".join(f"  k{n}: 1\n" for n in range(1_000))
    merges = "".join(f"  m{n}: {{<<: *big}}\n" for n in range(200))
    assert "merge keys" in refusal(file, f"z: &big\n{entries}b:\n{merges}")


texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=5)
values = st.recursive(
    texts | st.booleans() | st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


def expected(value: object) -> Any:
    match value:
        case dict():
            return {name: expected(item) for name, item in value.items()}
        case list():
            return [expected(item) for item in value]
        case bool():
            return "true" if value else "false"
        case None:
            return None
        case _:
            return str(value)


@given(st.dictionaries(st.sampled_from("abz"), values, max_size=3))
def test_json_is_read_as_it_is_written(tmp_path_factory: pytest.TempPathFactory, document: Any) -> None:
    file = tmp_path_factory.getbasetemp() / "document.json"
    file.write_text(json.dumps(document))
    found = plain(read(file, {"a": None}))
    assert found == ({"a": expected(document["a"])} if "a" in document else {})
    assert plain(read(file, None)) == expected(document)
