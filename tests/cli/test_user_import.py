"""``scopegate user import``: each row stands or falls alone, and what breaks off goes on."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

import pytest

from e2e.processes import SCOPEGATE, running, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from cli.conftest import Instance

HEADER = "id,name,email,organization,active,groups,roles,user_name,external_id,given_name,family_name\n"


@pytest.fixture(params=["local", "remote"])
def anywhere(request: pytest.FixtureRequest) -> Instance:
    """An instance that is reached through its store, and one over HTTP."""
    found: Instance = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "people.csv"


def imported(instance: Instance, file: Path, *options: str | Path, code: int = 0) -> Any:
    finished = instance.run("user", "import", file, *options, "-o", "json")
    assert finished.code == code, finished
    return json.loads(finished.out)


def reported(report: Path) -> list[dict[str, str]]:
    with report.open(newline="") as file:
        return list(csv.DictReader(file))


def counts(said: dict[str, Any]) -> tuple[int, ...]:
    return tuple(said[name] for name in ("added", "changed", "unchanged", "failed"))


def test_people_are_added_and_changed_and_the_second_time_left_alone(anywhere: Instance, file: Path) -> None:
    file.write_text(
        HEADER
        + 'p1,"Huber, Maria",m@example.com,Sales/Vienna,yes,agents;quality,agent,MH,x1,Maria,Huber\n'
        + '"p2","O\'Brien ""Bo""",,,no,,,,,,\n'
        + "tom,Tom Lang,tom@example.com,IT,,agents,,,,,\n"
    )
    assert counts(imported(anywhere, file)) == (2, 1, 0, 0)
    assert list(file.parent.iterdir()) == [file], "what is kept meanwhile goes with the end"
    maria = anywhere.data("user", "show", "p1")
    assert {
        name: maria[name] for name in ("name", "groups", "roles", "user_name", "external_id", "active")
    } == {
        "name": "Huber, Maria",
        "groups": ["agents", "quality"],
        "roles": ["agent"],
        "user_name": "MH",
        "external_id": "x1",
        "active": True,
    }
    bo = anywhere.data("user", "show", "p2")
    assert (bo["name"], bo["active"], bo["email"], bo["user_name"]) == ('O\'Brien "Bo"', False, "", None)
    assert counts(imported(anywhere, file)) == (0, 0, 3, 0)
    file.write_text("id;organisation\np1;IT\n")
    assert counts(imported(anywhere, file)) == (0, 1, 0, 0)
    assert anywhere.data("user", "show", "p1") == {
        **maria,
        "organization": "IT",
        "etag": anywhere.data("user", "show", "p1")["etag"],
    }


@pytest.mark.parametrize(
    "written",
    [
        "id,name,groups\nw1,Anä Berg,agents\nw2,Two,\n".encode(),
        b"\xef\xbb\xbf" + "ID;Display Name;Group\r\nw1;Anä Berg;agents\r\nw2;Two;\r\n".encode(),
        'user-id\tname\tgroups\nw1\tAnä Berg\t"agents"\n\nw2\tTwo\t'.encode(),
    ],
    ids=["plain", "as a spreadsheet saves it", "tabs, an empty line, no end of the last"],
)
def test_csv_is_read_however_it_is_written(instance: Instance, file: Path, written: bytes) -> None:
    file.write_bytes(written)
    said = imported(instance, file)
    assert (said["rows"], said["failed"]) == (2, 0)
    one = instance.data("user", "show", "w1")
    assert (one["name"], one["groups"]) == ("Anä Berg", ["agents"])


def test_json_lines_are_read(instance: Instance, tmp_path: Path) -> None:
    file = tmp_path / "people.jsonl"
    file.write_text('{"id": "j1", "name": "J", "roles": ["agent"], "active": false}\n\n{"id": "j2"}\n[]\nx\n')
    report = tmp_path / "bad.jsonl"
    assert counts(imported(instance, file, "--report", report, code=8)) == (1, 0, 0, 3)
    bad = [json.loads(line) for line in report.read_text().splitlines()]
    assert [(one["line"], one["id"], one["field"], one["code"]) for one in bad] == [
        (3, "j2", "name", "invalid"),
        (4, None, None, "row_invalid"),
        (5, None, None, "row_invalid"),
    ]
    assert (instance.data("user", "show", "j1")["roles"], bad[1]["row"]) == (["agent"], "[]")


def test_each_bad_row_is_reported_and_none_is_half_applied(anywhere: Instance, file: Path) -> None:
    rows = [
        HEADER.strip(),
        "b1,Good One,,,,,,,,,",
        "b2,,,,,,,,,,",
        "b3,Three,,,perhaps,,,,,,",
        "b4,Four,,,,,nope,,,,",
        "b5,Five,,A//B,,,,,,,",
        "b6,too,few",
        '"b7","a quote',
        'over two lines",,,,,,,,,',
        'b8,"bad" quote,,,,,,,,,',
        "b9,Nine,,,,nobody-knows-it,,,,,",
        "b1,Good One Again,,,,,,,,,",
        "=1+1,Formula,,,,,nope,,,,",
        "b10,\udce9,,,,,,,,,",
        "b11,Good Two,,,,,,,,,",
    ]
    file.write_bytes("\n".join(rows).encode("utf-8", "surrogateescape"))
    report = file.with_name("bad.csv")
    assert counts(imported(anywhere, file, "--report", report, code=8)) == (2, 0, 0, 11)
    bad = reported(report)
    assert [(int(one["line"]), one["field"], one["code"]) for one in bad] == [
        (3, "name", "invalid"),
        (4, "active", "row_invalid"),
        (5, "roles", "role_unknown"),
        (6, "organization", "invalid"),
        (7, "", "row_invalid"),
        (8, "name", "invalid"),
        (10, "", "row_invalid"),
        (11, "groups", "group_unknown"),
        (12, "id", "id_repeated"),
        (13, "roles", "role_unknown"),
        (14, "", "row_invalid"),
    ]
    assert "Lines 2 and 12" in bad[8]["problem"]
    assert bad[5]["row"] == '"b7","a quote\nover two lines",,,,,,,,,'
    assert bad[9]["row"].startswith("'=1+1")
    assert report.stat().st_mode & 0o777 == 0o600
    taken = anywhere.data("user", "search", "--filter", "id:starts:b")
    assert [(one["id"], one["name"]) for one in taken] == [("b1", "Good One"), ("b11", "Good Two")]
    people = anywhere.run("user", "import", file)
    assert (people.code, "line 12: Lines 2 and 12" in people.err) == (8, True)
    again = anywhere.run("user", "import", file, "--report", report)
    assert (again.code, "that does not exist yet" in again.err) == (6, True)


def test_where_no_row_is_good_it_is_invalid(instance: Instance, file: Path) -> None:
    file.write_text("id,name\nx1,\n")
    assert counts(imported(instance, file, code=6)) == (0, 0, 0, 1)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("id,name,phone", "'phone'"),
        ("name,email", "no column id"),
        ("id,name,Full name", "twice"),
        ("", "no column id"),
    ],
)
def test_a_header_that_is_none_of_people_is_refused(
    instance: Instance, file: Path, header: str, said: str
) -> None:
    file.write_text(f"{header}\nh1,x,y\n")
    refused = instance.run("user", "import", file)
    assert (refused.code, refused.out) == (6, "")
    assert said in refused.err


def test_a_rehearsal_says_what_would_be_and_keeps_nothing(instance: Instance, file: Path) -> None:
    file.write_text("id,name,groups\nr1,R,newgroup\ntom,Else,agents\n")
    said = imported(instance, file, "--dry-run", "--create-groups")
    assert counts(said) == (1, 1, 0, 0)
    assert instance.run("user", "show", "r1").code == 3
    assert instance.run("group", "show", "newgroup").code == 3
    assert list(file.parent.iterdir()) == [file]
    assert counts(imported(instance, file, "--create-groups")) == (1, 1, 0, 0)
    assert instance.data("group", "show", "newgroup")["members"] == 1


def test_an_import_that_is_interrupted_goes_on(remote: Instance, file: Path) -> None:
    rows = 6_000
    lines = [
        f"i{number:05},Person {number},{'bad role' if number % 1_000 == 7 else ''}" for number in range(rows)
    ]
    lines.append("i00003,Person 3 again,")
    file.write_text("id,name,roles\n" + "\n".join(lines) + "\n")
    report, state = file.with_name("bad.csv"), file.with_name("people.csv.import")
    command = ("user", "import", file, "--report", report, "-o", "json")

    def has_come_far() -> bool:
        return state.exists() and json.loads(state.read_text())["behind"] > 1_000

    with running(*SCOPEGATE, *command, directory=file.parent / "run", env=remote.env) as process:
        wait_until(has_come_far, "a part is imported", process=process)
        assert process.interrupt() == 130
        assert "The same command goes on from there." in process.err
    done = json.loads(state.read_text())
    assert 0 < done["behind"] < rows
    finished = remote.run(*command)
    assert finished.code == 8, finished
    assert "Going on behind" in finished.err
    said = json.loads(finished.out)
    assert said["rows"] == rows + 1
    assert said["added"] + said["unchanged"] == rows - 6, "a piece whose answer was lost is the same"
    bad = reported(report)
    assert [int(one["line"]) for one in bad] == [*(number * 1_000 + 9 for number in range(6)), rows + 2]
    assert bad[-1]["code"] == "id_repeated"
    assert not state.exists()


def test_a_file_that_was_changed_meanwhile_begins_anew(instance: Instance, file: Path) -> None:
    state = file.with_name("people.csv.import")
    file.write_text("id,name\nn1,N\n")
    state.write_text(json.dumps({"file": "another", "destination": "store default", "behind": 100}))
    finished = instance.run("user", "import", file)
    assert "begins anew" in finished.err
    assert instance.data("user", "show", "n1")["name"] == "N"
    assert not state.exists()


def test_a_server_that_is_gone_leaves_what_is_needed_to_go_on(file: Path) -> None:
    from e2e.processes import scopegate  # noqa: PLC0415

    file.write_text("id,name\nn1,N\n")
    env = {"SCOPEGATE_TOKEN": "adm_x"}
    gone = scopegate("user", "import", file, "--server", "http://127.0.0.1:9", env=env)
    assert (gone.code, gone.out) == (7, "")
    assert json.loads(file.with_name("people.csv.import").read_text())["behind"] == 0
