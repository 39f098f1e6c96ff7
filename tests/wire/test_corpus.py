"""Every case of the corpus, byte for byte, against each form of use."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from wire.corpora import FOLDER, FORWARD_AUTH, Case, read
from wire.corpuslab import ASKED_FORMS, FORMS, Form, Lab

if TYPE_CHECKING:
    from collections.abc import Iterator

_FURTHER = "SCOPEGATE_TEST_CORPUS"


def _cases() -> list[Case]:
    paths = sorted(FOLDER.glob("*.jsonl"))
    if os.environ.get(_FURTHER):
        paths.append(Path(os.environ[_FURTHER]))
    return [case for path in paths for case in read(path)]


_CASES = _cases()
_SENT = [case for case in _CASES if case.form is None]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with ExitStack() as stack:
        yield Lab(stack, _SENT)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_every_case_ends_as_it_has_to(lab: Lab, form: Form) -> None:
    run = lab.run(form)
    assert len(run.outcomes) + len(run.left_out) == len(_SENT)
    assert not [case.id for case in run.left_out if case.expect == "allow"]
    wrong = run.wrong()
    assert not wrong, f"{len(wrong)} of {len(run.outcomes)}:\n" + "\n".join(wrong)


@pytest.mark.parametrize("form", [FORMS[0], FORMS[4]], ids=lambda form: form.name)
def test_what_gets_through_is_seen(lab: Lab, form: Form) -> None:
    """With keys that open everything, what only a rule refuses arrives, and is found wrong."""
    run = lab.run(form, opened="*")
    arrived = {outcome.case.kind for outcome in run.outcomes if "it arrived" in outcome.wrong()}
    assert arrived >= {"outside", "wildcard", "trailing", "case", "empty-segment", "encoded-delim"} - {
        "empty-segment"
    }
    assert not run.stray


@pytest.fixture(scope="module")
def asked_lab() -> Iterator[Lab]:
    with ExitStack() as stack:
        yield Lab(stack, _CASES)


@pytest.mark.parametrize("form", ASKED_FORMS, ids=lambda form: form.name)
def test_who_is_asked_judges_every_case_as_who_forwards_it(asked_lab: Lab, form: Form) -> None:
    run = asked_lab.run(form)
    assert len(run.outcomes) + len(run.left_out) == len(_CASES)
    assert not [case.id for case in run.left_out if case.expect == "allow" or case.form is not None]
    wrong = run.wrong()
    assert not wrong, f"{len(wrong)} of {len(run.outcomes)}:\n" + "\n".join(wrong)


def test_what_is_allowed_is_seen_where_somebody_is_asked(asked_lab: Lab) -> None:
    run = asked_lab.run(ASKED_FORMS[0], opened="*")
    allowed = {outcome.case.kind for outcome in run.outcomes if "it was allowed" in outcome.wrong()}
    assert allowed >= {"outside", "wildcard", "trailing", "case", "encoded-delim", "forward-auth"}


def test_every_form_that_a_case_names_is_known() -> None:
    assert {case.form for case in _CASES} == {None, FORWARD_AUTH}


def test_no_two_cases_have_the_same_name() -> None:
    assert not [name for name, times in Counter(case.id for case in _CASES).items() if times > 1]
