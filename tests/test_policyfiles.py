from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from scopegate import yamlfiles
from scopegate.core.catalogue import Endpoint
from scopegate.core.lines import is_one_line
from scopegate.core.policies import Policies
from scopegate.core.principal import User
from scopegate.core.reasons import Reason
from scopegate.policyfiles import SECTIONS, PolicyFileError, load
from scopegate.policywriting import dump, dump_document
from scopegate.yamlfiles import MAX_FILE_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable

    Write = Callable[..., Path]

ROOT = Path(__file__).parent.parent
CATALOGUE = "endpoints: []\n"
ROLES = "roles: {}\n"


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes policy files and gives their directory, so named that messages start with ``policies/``."""
    monkeypatch.chdir(tmp_path)

    def write(
        catalogue: str | bytes | None = CATALOGUE,
        roles: str | bytes | None = ROLES,
        expectations: str | bytes | None = None,
        **others: str,
    ) -> Path:
        directory = Path("policies")
        directory.mkdir()
        contents = {
            "catalogue.yaml": catalogue,
            "roles.yaml": roles,
            "expectations.yaml": expectations,
            **others,
        }
        for name, content in contents.items():
            if content is not None:
                data = content if isinstance(content, bytes) else content.encode()
                (directory / name).write_bytes(data)
        return directory

    return write


def problems(directory: Path) -> list[str]:
    with pytest.raises(PolicyFileError) as caught:
        load(directory)
    assert caught.value.code == "policy_files_invalid"
    assert caught.value.hint
    lines = caught.value.message.split("\n")
    assert lines == [str(problem) for problem in caught.value.problems]
    return lines


def entry(text: str) -> str:
    return f"endpoints:\n  - {text}\n"


SAID = ", ".join(SECTIONS)
QUOTE = "to mean the text, write"
NO_ANCHORS = "anchors and aliases are not allowed; repeat the value, or quote a text that starts with & or *"
KNOWN_METHODS = "Choose from DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT or '*'."
NAME = "A name has 1 to 100 ASCII letters, digits and . _ : -"


@pytest.mark.parametrize(
    ("catalogue", "expected"),
    [
        pytest.param("", ["1: the file is empty"], id="empty"),
        pytest.param("# only this\n", ["1: the file is empty"], id="comments-only"),
        pytest.param("- a\n", [f"1: expected a mapping with {SAID}, found a list"], id="root"),
        pytest.param("{}\n", [f"1: the file says nothing; it can say {SAID}"], id="nothing-said"),
        pytest.param(
            "\nendpoint: []\n", ["2: unknown key 'endpoint'. Did you mean 'endpoints'?"], id="misspelt-key"
        ),
        pytest.param(
            "endpoints: []\nowner: me\nzone: 1\n",
            [
                f"2: unknown key 'owner'. Known: {', '.join(sorted(SECTIONS))}.",
                f"3: unknown key 'zone'. Known: {', '.join(sorted(SECTIONS))}.",
            ],
            id="unknown-keys",
        ),
        pytest.param(
            "endpoints: []\nunlisted_endpoints: deny\nendpoints: []\n",
            ["3: the key 'endpoints' stands already in line 1"],
            id="duplicate-key",
        ),
        pytest.param(
            "endpoints:\n", ["1: endpoints: expected a list of endpoints, found nothing"], id="null"
        ),
        pytest.param(
            "unlisted_endpoints: denied\nendpoints: []\n",
            ["1: unlisted_endpoints: expected deny or allow, found 'denied'"],
            id="no-choice",
        ),
        pytest.param(
            "unlisted_endpoints: no\nendpoints: []\n",
            [f"1: unlisted_endpoints: expected deny or allow, found true or false; {QUOTE} 'no' in quotes"],
            id="yaml-boolean",
        ),
        pytest.param(
            entry("GET /api"),
            ["2: endpoints[0]: expected a mapping with methods, url, privileges, summary, found text"],
            id="entry-is-text",
        ),
        pytest.param(
            entry("{methods: [GET], url: /a, privileges: 7}"),
            ["2: endpoints[0].privileges: expected a list of privileges, found a number"],
            id="number-for-list",
        ),
        pytest.param(
            entry("{methods: GET, url: /a, privileges: []}"),
            ["2: endpoints[0].methods: expected a list of methods, found text"],
            id="text-for-list",
        ),
        pytest.param(
            entry("{methods: [GET], url: [/a], privileges: []}"),
            ["2: endpoints[0].url: expected a URL, found a list"],
            id="list-for-text",
        ),
        pytest.param(
            "endpoints:\n- methods: [GET]\n  url: /a\n  privileges:\n  - a\n  - 2027-01-31\n  - {}\n",
            [
                f"6: endpoints[0].privileges[1]: expected text, found a date; {QUOTE} '2027-01-31' in quotes",
                "7: endpoints[0].privileges[2]: expected text, found a mapping",
            ],
            id="items-of-wrong-types",
        ),
        pytest.param(
            entry("{methods: [GET], url: /a}"),
            ["2: endpoints[0]: 'privileges' is missing"],
            id="no-privileges",
        ),
        pytest.param(
            entry("{methods: [GET], url: /a, privilages: []}"),
            ["2: endpoints[0]: unknown key 'privilages'. Did you mean 'privileges'?"],
            id="misspelt-privileges",
        ),
        pytest.param(
            entry("{methods: [], url: /a, privileges: []}"),
            [f"2: endpoints[0].methods: An empty list names no HTTP method. {KNOWN_METHODS}"],
            id="no-methods",
        ),
        pytest.param(
            entry("{methods: [GET], url: /a, privileges: [], summary: ['a']}"),
            ["2: endpoints[0].summary: expected a line of text, found a list"],
            id="summary-is-a-list",
        ),
        pytest.param(
            entry(f"{{methods: [GET], url: /a, privileges: [], summary: {'a' * 201}}}"),
            ["2: endpoints[0].summary: The summary has 201 characters; 200 are allowed. Shorten it."],
            id="long-summary",
        ),
        pytest.param(
            "endpoints:\n  - methods:\n      - GET\n      - get\n    url: a\n    privileges: [a b, x, x]\n",
            [
                f"4: endpoints[0].methods[1]: get names no HTTP method. {KNOWN_METHODS}",
                "5: endpoints[0].url: The URL 'a' is not a URL. Start with https:// or /, use * as wildcard.",
                f"6: endpoints[0].privileges[0]: 'a b' is not a name. {NAME}",
                "6: endpoints[0].privileges[2]: 'x' is listed twice",
            ],
            id="four-in-one-entry",
        ),
        pytest.param(
            "endpoints:\n"
            "  - {methods: [GET, POST], url: /a, privileges: [x]}\n"
            "  - {methods: [GET], url: /a, privileges: []}\n"
            "  - {methods: [POST, GET], url: /%61, privileges: [y]}\n",
            ["4: endpoints[2]: GET,POST /a is listed already in line 2; put all privileges into one entry"],
            id="duplicate-entry",
        ),
        pytest.param(
            "endpoints:\n  on: 1\n",
            ["1: endpoints: expected a list of endpoints, found a mapping"],
            id="mapping-for-list",
        ),
        pytest.param(
            "endpoints: []\non: 1\n? [a]\n: 2\n",
            [
                "2: expected a name as key, found true or false; to mean the text, write 'on' in quotes",
                "3: expected a name as key, found a list",
            ],
            id="keys-that-are-no-text",
        ),
        pytest.param(
            "endpoints: !!python/tuple ['x']\n",
            [
                "1: endpoints: expected a list of endpoints, found a value with the tag '!!python/tuple'",
            ],
            id="tagged-list",
        ),
        pytest.param(
            entry("{methods: [GET], url: !env HOME, privileges: []}"),
            ["2: endpoints[0].url: expected a URL, found a value with the tag '!env'"],
            id="tagged-text",
        ),
        pytest.param(
            "a: &x [1]\nendpoints: *x\n",
            [f"1: {NO_ANCHORS}"],
            id="anchor",
        ),
        pytest.param(
            entry("{methods: [GET], url: *recordings, privileges: []}"),
            [f"2: {NO_ANCHORS}"],
            id="alias",
        ),
        pytest.param(
            entry("{methods: [*], url: /a, privileges: []}"),
            ["2: this is not YAML: * begins an alias; write '*' in quotes"],
            id="bare-star",
        ),
        pytest.param(
            "endpoints:\n\t- a\n",
            ["2: this is not YAML: a tab in the indentation; indent with spaces"],
            id="tab",
        ),
        pytest.param(
            "endpoints: []\n---\nendpoints: []\n",
            ["2: a second document starts here; a file holds one"],
            id="two-documents",
        ),
        pytest.param(
            b"endpoints: []\n# caf\xe9\n",
            ["2: the byte 0xE9 is not UTF-8; save the file as UTF-8"],
            id="latin-1",
        ),
        pytest.param(
            "endpoints: []\n# é\n# \x07\n",
            ["3: the character U+0007 cannot stand in a YAML file"],
            id="control",
        ),
        pytest.param("[" * 100_000, ["1: nested deeper than 16 levels"], id="tower-of-brackets"),
        pytest.param("- " * 100_000, ["1: nested deeper than 16 levels"], id="tower-of-dashes"),
    ],
)
def test_a_problem_is_told_with_its_file_line_and_place(
    write: Write, catalogue: str | bytes, expected: list[str]
) -> None:
    assert problems(write(catalogue)) == [f"policies/catalogue.yaml:{line}" for line in expected]


@pytest.mark.parametrize(
    ("catalogue", "line"),
    [("endpoints: [\n", 1), ("endpoints: []\n]\n", 2), ("endpoints: 'a\n\n", 2), ("a: b: c\n", 1)],
)
def test_a_syntax_error_is_told_with_its_line(write: Write, catalogue: str, line: int) -> None:
    [problem] = problems(write(catalogue))
    assert re.fullmatch(rf"policies/catalogue\.yaml:{line}: this is not YAML: .+", problem)


@pytest.mark.parametrize(
    ("roles", "expected"),
    [
        (
            "roles:\n  agent: {privileges: []}\ngroups:\n  agents: {roles: [agent, agnt, boss]}\n",
            [
                "4: groups.agents.roles[1]: The role 'agnt' is not defined. Did you mean 'agent'?",
                "4: groups.agents.roles[2]: The role 'boss' is not defined. Known: agent.",
            ],
        ),
        (
            "roles: {}\ngroups:\n  agents: {roles: [agent]}\n",
            ["3: groups.agents.roles[0]: The role 'agent' is not defined. Known: none."],
        ),
        (
            "groups:\n  agents: {roles: [agent]}\n",
            ["2: groups.agents.roles[0]: The role 'agent' is not defined. Known: none."],
        ),
        (
            # What is wrong inside a role does not make it undefined.
            "roles:\n  agent: {privilege: []}\ngroups:\n  agents: {roles: [agent]}\n",
            ["2: roles.agent: unknown key 'privilege'. Did you mean 'privileges'?"],
        ),
        (
            "roles:\n  'a b': {privileges: []}\n  c:\n",
            [
                f"2: roles: 'a b' is not a name. {NAME}",
                "3: roles.c: expected a mapping with privileges, found nothing",
            ],
        ),
        ("roles: [agent]\n", ["1: roles: expected a mapping of roles, found a list"]),
        (
            "roles:\n  agent: {privileges: []}\n  agent: {privileges: [x]}\n",
            ["3: roles: the key 'agent' stands already in line 2"],
        ),
        (
            "roles:\n  007: {privileges: []}\n",
            ["2: roles: expected a name as key, found a number; to mean the text, write '007' in quotes"],
        ),
    ],
)
def test_a_problem_of_the_roles_is_told_with_its_place(write: Write, roles: str, expected: list[str]) -> None:
    assert problems(write(roles=roles)) == [f"policies/roles.yaml:{line}" for line in expected]


ONE_REQUEST = "An expectation is about one request: write a URL that a client would call."
NOT_AN_EXPECTATION = (
    "This is no expectation."
    " Write '<principal> <METHOD> <URL> -> allow', '... -> deny' or '... -> deny <reason>'."
)
REASONS = "Choose from privilege_missing, endpoint_unlisted, user_inactive, or leave it out."


@pytest.mark.parametrize(
    ("expectations", "expected"),
    [
        ("# nothing yet\n", ["1: the file is empty"]),
        (
            "expectations: [m GET /a -> deny]\n",
            ["1: expectations[0]: The principal 'm' is not defined. Known: none."],
        ),
        (
            (
                "principals: {m: {}}\nexpectations: [m GET /a -> allow user_inactive,\n"
                "  m GET /a -> deny why,\n"
                "  m GET /a -> deny key_expired]\n"
            ),
            [
                f"2: expectations[0]: {NOT_AN_EXPECTATION}",
                f"3: expectations[1]: 'why' is no reason why a user is denied something. {REASONS}",
                f"4: expectations[2]: 'key_expired' is no reason why a user is denied something. {REASONS}",
            ],
        ),
        (
            "principals:\n  m: {roles: [agnt], groups: [agents], active: 1}\nexpectations: []\n",
            [
                "2: principals.m.roles[0]: The role 'agnt' is not defined. Did you mean 'agent'?",
                "2: principals.m.groups[0]: The group 'agents' is not defined. Known: none.",
                "2: principals.m.active: expected true or false, found a number",
            ],
        ),
        (
            "principals: {m: {}}\nexpectations:\n- m GET /a\n- mm GET /a -> deny\n- 7\n- m GET /* -> allow\n",
            [
                f"3: expectations[0]: {NOT_AN_EXPECTATION}",
                "4: expectations[1]: The principal 'mm' is not defined. Did you mean 'm'?",
                f"5: expectations[2]: expected a line of text, found a number; {QUOTE} '7' in quotes",
                f"6: expectations[3]: The URL '/*' has a wildcard. {ONE_REQUEST}",
            ],
        ),
        (
            "principles: {m: {}}\nexpectations: [m GET /a -> deny]\n",
            ["1: unknown key 'principles'. Did you mean 'principals'?"],
        ),
    ],
)
def test_a_problem_of_the_expectations_is_told_with_its_place(
    write: Write, expectations: str, expected: list[str]
) -> None:
    directory = write(roles="roles: {agent: {privileges: []}}\n", expectations=expectations)
    assert problems(directory) == [f"policies/expectations.yaml:{line}" for line in expected]


def test_the_problems_of_all_files_are_told_by_file_and_line(write: Write) -> None:
    directory = write(
        "endpoints: 1\nunlisted_endpoints: x\n",
        "roles: 1\n",
        "principals:\n  m: {roles: [agent]}\nexpectations: 1\n",
    )
    # Who holds "agent" is not blamed for it while the roles cannot be read.
    assert [line.split(": expected")[0] for line in problems(directory)] == [
        "policies/catalogue.yaml:1: endpoints",
        "policies/catalogue.yaml:2: unlisted_endpoints",
        "policies/expectations.yaml:3: expectations",
        "policies/roles.yaml:1: roles",
    ]


def test_a_missing_directory_is_told(tmp_path: Path) -> None:
    assert problems(tmp_path / "none") == [f"{tmp_path}/none: there is no such directory"]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (
            {"catalogue": None, "roles": None, "roles.json": "{}", ".hidden.yaml": "x"},
            ["policies: there is no policy file, such as catalogue.yaml"],
        ),
        ({"agents.yml": ""}, ["policies/agents.yml:1: the file is empty"]),
        ({"AGENTS.YAML": ""}, ["policies/AGENTS.YAML:1: the file is empty"]),
    ],
)
def test_any_yaml_file_counts_and_one_is_needed(
    write: Write, files: dict[str, str | None], expected: list[str]
) -> None:
    assert problems(write(**files)) == expected


def test_other_files_in_the_directory_are_left_alone(write: Write) -> None:
    load(write(**{".hidden.yaml": "\t[", "notes.yaml.orig": "x", "README.md": "#", "schema.json": "{"}))


def test_files_in_a_directory_below_cannot_go_unread(write: Write) -> None:
    directory = write()
    (directory / "drafts").mkdir()
    load(directory)
    (directory / "drafts" / "roles.yml").write_text(ROLES)
    assert problems(directory) == ["policies/drafts: files in a directory below are not read; move them up"]


def test_it_does_not_matter_which_file_says_what(write: Write) -> None:
    loaded = load(
        write(
            "expectations: [maria GET /a -> allow]\ngroups:\n  agents: {roles: [agent]}\n",
            "endpoints: [{methods: [GET], url: /a, privileges: [x]}]\n",
            None,
            **{
                "one.yml": "roles: {agent: {privileges: [x]}}\nendpoints: []\nprincipals: {}\n",
                "two.yaml": "roles: {none: {privileges: []}}\nprincipals: {maria: {groups: [agents]}}\n"
                "unlisted_endpoints: allow\nexpectations: [maria GET /b -> allow]\n",
            },
        )
    )
    assert loaded.policies == Policies(
        (Endpoint(frozenset({"GET"}), "/a", frozenset({"x"})),),
        unlisted_allowed=True,
        roles={"agent": frozenset({"x"}), "none": frozenset()},
        groups={"agents": frozenset({"agent"})},
    )
    assert [verdict.holds for verdict in loaded.verdicts()] == [True, True]


def test_what_two_files_say_is_told_with_both_places(write: Write) -> None:
    said = (
        "unlisted_endpoints: deny\n"
        "endpoints:\n"
        "  - {methods: [GET], url: /a, privileges: []}\n"
        "roles:\n"
        "  agent: {privileges: []}\n"
        "groups:\n"
        "  agents: {roles: []}\n"
        "principals:\n"
        "  maria: {}\n"
    )
    first = "policies/catalogue.yaml"
    assert problems(write(said, f"\n{said}")) == [
        f"policies/roles.yaml:{line}"
        for line in (
            f"2: unlisted_endpoints: unlisted_endpoints is said already in {first}:1; say it once",
            f"4: endpoints[0]: GET /a is listed already in {first}:3; put all privileges into one entry",
            f"6: roles.agent: the role 'agent' is defined already in {first}:5",
            f"8: groups.agents: the group 'agents' is defined already in {first}:7",
            f"10: principals.maria: the principal 'maria' is defined already in {first}:9",
        )
    ]


def test_nobody_is_blamed_for_naming_what_another_file_may_define(write: Write) -> None:
    directory = write("endpoints: [", "groups:\n  agents: {roles: [agent]}\n")
    assert [line.split(": ")[0] for line in problems(directory)] == ["policies/catalogue.yaml:1"]


def test_an_expectation_may_say_why_something_is_denied(write: Write) -> None:
    loaded = load(
        write(
            "endpoints: [{methods: [GET], url: /a, privileges: [x]}]\n",
            expectations="principals: {kim: {}, max: {active: false}}\nexpectations:\n"
            "- kim GET /a -> deny privilege_missing\n"
            "- kim GET /b -> deny endpoint_unlisted\n"
            "- max GET /a -> deny user_inactive\n"
            "- max GET /a -> deny privilege_missing\n",
        )
    )
    assert [verdict.holds for verdict in loaded.verdicts()] == [True, True, True, False]
    assert loaded.verdicts()[3].describe() == (
        "policies/expectations.yaml:6: max GET /a -> deny privilege_missing: fails,"
        " the answer is deny (user_inactive)"
    )


def test_what_is_no_file_is_told_and_never_waited_for(write: Write) -> None:
    directory = write(catalogue=None, roles=None)
    (directory / "catalogue.yaml").mkdir()
    os.mkfifo(directory / "roles.yaml")
    assert problems(directory) == [
        "policies/catalogue.yaml: this is not a file",
        "policies/roles.yaml: this is not a file",
    ]


def test_a_file_that_cannot_be_read_is_told(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = write()

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert problems(directory) == [
        "policies/catalogue.yaml: the file cannot be read: Permission denied",
        "policies/roles.yaml: the file cannot be read: Permission denied",
    ]


def test_a_file_may_be_just_as_large_as_the_limit(write: Write) -> None:
    full = CATALOGUE + "#" * (MAX_FILE_SIZE - len(CATALOGUE))
    directory = write(full)
    load(directory)
    (directory / "catalogue.yaml").write_text(full + "#")
    assert problems(directory) == ["policies/catalogue.yaml: the file is larger than 4 MiB"]


def test_a_billion_laughs_cost_nothing(write: Write) -> None:
    lines = ["a0: &a0 [lol]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 40)]
    started = time.perf_counter()
    [problem] = problems(write("\n".join(lines)))
    assert "anchors and aliases are not allowed" in problem
    assert time.perf_counter() - started < 5


def test_a_catalogue_that_cannot_be_matched_in_bounded_memory_is_told(write: Write) -> None:
    url = "/" + ("a" * 110 + "*") * 16
    entries = "".join(f"  - {{methods: [GET], url: {url}{i}, privileges: []}}\n" for i in range(1_500))
    [problem] = problems(write("\nendpoints:\n" + entries))
    assert problem.startswith("policies/catalogue.yaml:2: endpoints: The rules are too complex")


def test_symbolic_links_are_followed_as_mounted_files_are_links(write: Write, tmp_path: Path) -> None:
    directory = write(catalogue=None)
    (tmp_path / "real.yaml").write_text(CATALOGUE)
    (directory / "catalogue.yaml").symlink_to(tmp_path / "real.yaml")
    load(directory)


def test_the_pure_python_reader_of_yaml_will_do(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yamlfiles, "_LOADER", yaml.SafeLoader)
    directory = write(entry("{methods: [GET], url: /a, privileges: [x]}"))
    assert len(load(directory).policies.endpoints) == 1
    (directory / "roles.yaml").write_text("roles: &x {}\n")
    assert problems(directory)[0].startswith("policies/roles.yaml:1: anchors")
    (directory / "roles.yaml").write_text("roles:\n\t- x\n")
    assert problems(directory)[0].startswith("policies/roles.yaml:2: this is not YAML: a tab")


def test_files_say_what_they_say(write: Write) -> None:
    loaded = load(
        write(
            b"\xef\xbb\xbf" + b"unlisted_endpoints: allow\r\nendpoints:\r\n"
            b"  - {methods: ['*', GET], url: '*', privileges: [x]}\r\n",
            "roles:\n  agent: {privileges: [x, y]}\ngroups:\n  agents: {roles: [agent]}\n",
            "principals:\n  maria: {roles: [agent], groups: [agents], active: off}\n  bo: {}\n"
            "expectations:\n  - maria GET /a -> deny\n  - bo  POST  /a  ->  deny\n",
        )
    )
    assert loaded.policies == Policies(
        (Endpoint(frozenset({"*", "GET"}), "*", frozenset({"x"})),),
        unlisted_allowed=True,
        roles={"agent": frozenset({"x", "y"})},
        groups={"agents": frozenset({"agent"})},
    )
    assert loaded.principals == {
        "maria": User(
            id="maria",
            name="maria",
            roles=frozenset({"agent"}),
            groups=frozenset({"agents"}),
            active=False,
        ),
        "bo": User(id="bo", name="bo"),
    }
    assert [(str(e), e.source) for e in loaded.expectations] == [
        ("maria GET /a -> deny", "policies/expectations.yaml:5"),
        ("bo POST /a -> deny", "policies/expectations.yaml:6"),
    ]


def test_what_is_left_out_denies(write: Write) -> None:
    loaded = load(write())
    assert loaded.policies == Policies(unlisted_allowed=None)
    assert loaded.policies.catalogue().unlisted_allowed is False
    assert (loaded.expectations, loaded.principals) == ((), {})


names = st.one_of(
    st.sampled_from(["on", "no", "null", "007", "1.5", "2027-01-31", "1:30", "-", "._:-", "0x1F", "---"]),
    st.from_regex(r"[A-Za-z0-9._:-]{1,100}", fullmatch=True),
)
privileges = st.frozensets(names, max_size=4)
endpoints = st.builds(
    Endpoint,
    st.frozensets(st.sampled_from(["GET", "POST", "*"]), min_size=1),
    st.sampled_from(["/a", "/a/*", "*", "https://h/a", "/a,b:c", "/a;b", "/%20%7B", "/'a", "/!$&()+=@~*"]),
    privileges,
    st.text(max_size=8).filter(lambda text: not text or (text.strip() != "" and is_one_line(text))),
)


@st.composite
def any_policies(draw: st.DrawFn) -> Policies:
    entries = draw(st.lists(endpoints, max_size=6, unique_by=lambda entry: (entry.methods, entry.url)))
    roles = draw(st.dictionaries(names, privileges, max_size=4))
    some_roles = st.frozensets(st.sampled_from(sorted(roles))) if roles else st.just(frozenset())
    groups = draw(st.dictionaries(names, some_roles, max_size=4))
    return Policies(tuple(entries), draw(st.sampled_from([True, False, None])), roles, groups)


@given(any_policies())
def test_what_is_dumped_loads_as_the_same(
    tmp_path_factory: pytest.TempPathFactory, policies: Policies
) -> None:
    directory = tmp_path_factory.mktemp("dump")
    for name, text in dump(policies).items():
        (directory / name).write_bytes(text.encode())
    assert load(directory).policies == policies
    document = tmp_path_factory.mktemp("document")
    (document / "all.yaml").write_bytes(dump_document(policies).encode())
    assert load(document).policies == policies


@given(st.one_of(st.binary(max_size=200), st.text(alphabet="{}[]-:,*&!#|>'\"\t\n ae?%@`", max_size=60)))
def test_no_content_gets_past_the_reader_other_than_as_problems(
    tmp_path_factory: pytest.TempPathFactory, content: bytes | str
) -> None:
    directory = tmp_path_factory.mktemp("any")
    data = content if isinstance(content, bytes) else content.encode()
    (directory / "catalogue.yaml").write_bytes(data)
    (directory / "roles.yaml").write_text(ROLES)
    with pytest.raises(PolicyFileError):
        load(directory)


def test_the_shipped_policies_meet_their_expectations() -> None:
    loaded = load(ROOT / "policies")
    assert [verdict.describe() for verdict in loaded.verdicts() if not verdict.holds] == []
    reasons = {verdict.decision.reason for verdict in loaded.verdicts()}
    assert reasons == {
        Reason.ALLOWED,
        Reason.PRIVILEGE_MISSING,
        Reason.USER_INACTIVE,
        Reason.ENDPOINT_UNLISTED,
    }


def test_the_administrator_has_every_privilege_that_the_shipped_catalogue_requires() -> None:
    policies = load(ROOT / "policies").policies
    required = frozenset[str]().union(*(endpoint.privileges for endpoint in policies.endpoints))
    assert policies.roles["administrator"] == required


DOCS = (ROOT / "docs" / "policies.md").read_text()
FENCE = re.compile(r"```(?:yaml|text)\n(.*?)```", re.DOTALL)


def documented(first_line: str) -> str:
    blocks = [fence[1] for fence in FENCE.finditer(DOCS)]
    [block] = [block for block in blocks if block.startswith(first_line)]
    return block


def test_the_documented_files_load_and_meet_their_expectations(write: Write) -> None:
    loaded = load(
        write(
            documented("# catalogue.yaml\n"),
            documented("# roles.yaml\n"),
            documented("# expectations.yaml\n"),
        )
    )
    assert len(loaded.verdicts()) == 5
    assert [verdict.describe() for verdict in loaded.verdicts() if not verdict.holds] == []


def test_the_documented_errors_are_the_errors(write: Write) -> None:
    told = problems(write(documented("# broken\n")))
    assert told == documented("policies/catalogue.yaml:").splitlines()
