"""The corpus of hostile and harmless requests: how a case becomes bytes, and what is wrong with its outcome.

`corpus/README.md` explains the fields.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

FOLDER = Path(__file__).parent / "corpus"
FORWARD_AUTH = "forward-auth"
_EXPECTATIONS = ("allow", "deny", "bad_request", "allow_or_bad_request")
_ORIGIN_FORM = re.compile(r"\A[^ \r\n]+ (?=/)")
_FULL_URL = re.compile(r"([a-z]+://[^/]*)(/.*)", re.IGNORECASE | re.DOTALL)
_WEBSOCKET = "Upgrade: websocket"
_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})[ \r]")
_OUR_ALIAS = re.compile(r"\r\n(?=[^:\r\n]*_)x[_-]scopegate[_-][^:\r\n]*:[ \t]*[^ \t\r\n]", re.IGNORECASE)
_KEY_ID = re.compile(rb"(?i)\r\nx-scopegate-key-id: ([0-9A-Za-z]*)\r\n")
_FOR = re.compile(rb"for ([0-9A-Za-z]{12})")
# No case is a reason to fail, here or behind us.
_FAILURES = frozenset({500, 502, 503, 504})


@dataclass(frozen=True, kw_only=True)
class Case:
    """One request and what may come of it. Texts are as on the wire, each character a byte."""

    id: str
    kind: str
    why: str
    expect: str
    method: str
    request: str
    rule: tuple[str, str]
    body: str | None = None
    form: str | None = None
    half_close: bool = False
    is_raw: bool = False
    targets: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    no_value: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    must_have: tuple[str, ...] = ()
    fields: tuple[tuple[str, str], ...] = ()
    response_no_value: tuple[str, ...] = ()
    never_status: frozenset[int] = frozenset()
    max_seconds: float | None = None
    optional: bool = False

    def mentions(self, placeholder: str) -> bool:
        return placeholder in self.request

    @property
    def has_path(self) -> bool:
        """Whether its target is in origin-form, so that a mount's path can stand before it."""
        return _ORIGIN_FORM.match(self.request) is not None

    def data(self, values: Mapping[str, str], *, prefix: str = "") -> bytes:
        """The bytes to send, with `prefix` before the path, if it has one."""
        request = _ORIGIN_FORM.sub(rf"\g<0>{prefix}", self.request, count=1) if prefix else self.request
        raw = _filled(request, values).encode("latin-1")
        return raw.replace(b"{CL}", b"%d" % len(raw.partition(b"\r\n\r\n")[2]))

    def rule_under(self, prefix: str) -> tuple[str, str]:
        """The method and the URL of the key's rule, for an application at `prefix`."""
        method, url = self.rule
        full = _FULL_URL.fullmatch(url)
        if full:
            return method, full[1] + prefix + full[2]
        return method, (prefix + url if url.startswith("/") else url)


class Seen(NamedTuple):
    """A request as it reached the upstream, whole; texts are as on the wire."""

    method: str
    target: str
    fields: tuple[tuple[str, str], ...]
    body: str

    def values(self, name: str) -> list[str]:
        return [value for other, value in self.fields if other.lower() == name]


@dataclass(frozen=True)
class Answer:
    """What the client got."""

    data: bytes
    seconds: float

    @property
    def status(self) -> int | None:
        """Of the first final answer, if there is any."""
        return final_status(self.data)


@dataclass
class Outcome:
    """What became of one case."""

    case: Case
    values: Mapping[str, str]
    ids: frozenset[str]
    answer: Answer
    prefix: str = ""
    seen: list[Seen] = field(default_factory=list)

    def wrong(self) -> list[str]:
        """Everything that should not have come of it."""
        return [
            *self._wrong_verdict(),
            *self._wrong_answer(),
            *(found for seen in self.seen for found in self._wrong_arrival(seen)),
            *(found for seen in self.seen for found in self._wrong_fields(seen)),
        ]

    def _wrong_verdict(self) -> Iterable[str]:
        expect, status = self.case.expect, self.answer.status
        targets = [seen.target for seen in self.seen]
        if expect == "allow":
            if not targets:
                yield f"it did not arrive (status {status})"
            if status not in {101, 200}:
                yield f"it was answered with {status}"
        elif targets and not expect.startswith("allow"):
            yield "it arrived"
        if len(set(targets)) < len(targets):
            yield f"it arrived {len(targets)} times"
        if not targets and status is not None and (status < 400 or status in _FAILURES):
            yield f"it was refused with {status}"

    def _wrong_answer(self) -> Iterable[str]:
        answer = self.answer
        if answer.status in self.case.never_status:
            yield f"it was answered with {answer.status}"
        limit = self.case.max_seconds
        if limit is not None and answer.seconds > limit:
            yield f"it took {answer.seconds:.3f} s"
        secrets = [*self.case.response_no_value, "{KEY}", "{KEY2}"]
        for secret in secrets:
            if _filled(secret, self.values).encode("latin-1") in answer.data:
                yield f"the answer tells {secret}"
        strangers = {key.decode() for key in _FOR.findall(answer.data)} - self.ids
        if strangers:
            yield f"it got the answer for {strangers}"

    def _wrong_arrival(self, seen: Seen) -> Iterable[str]:
        case = self.case
        target = seen.target.removeprefix(self.prefix)
        if not seen.target.startswith(self.prefix) or not any(self._is(target, one) for one in case.targets):
            yield f"{seen.target[:80]!r} arrived"
        if {target, seen.target} & set(case.never):
            yield f"{seen.target[:80]!r} arrived, never to be seen"
        # A handshake has no method in ASGI, whatever a server took for one: it is judged as a GET.
        if seen.method != case.method and not (seen.method == "GET" and _WEBSOCKET in case.request):
            yield f"{seen.method!r} arrived"
        if case.body is not None and seen.body != _filled(case.body, self.values):
            yield f"its body arrived as {seen.body[:80]!r}"

    def _wrong_fields(self, seen: Seen) -> Iterable[str]:
        case = self.case
        for text in (*case.no_value, "{KEY}", "{KEY2}"):
            found = [name for name, value in seen.fields if _filled(text, self.values) in value]
            if found:
                yield f"{text} arrived in {found}"
        yield from (f"{name} arrived" for name in case.absent if seen.values(name.lower()))
        yield from (f"{name} did not arrive" for name in case.must_have if not seen.values(name.lower()))
        for name, value in case.fields:
            if seen.values(name.lower()) != [_filled(value, self.values)]:
                yield f"{name} arrived as {seen.values(name.lower())}"

    def _is(self, target: str, expected: str) -> bool:
        if expected.startswith("sha:"):
            return hashlib.sha256(target.encode("latin-1")).hexdigest() == expected[4:]
        return target == _filled(expected, self.values)


class Asked(Outcome):
    """What a proxy was told that asked about a case.

    Nobody who is asked can take a field off a request. So one that an application behind could take
    for our own, which the proxy does not replace, is refused whatever the case says.
    """

    def wrong(self) -> list[str]:
        return [*self._wrong_verdict(), *self._wrong_answer()]

    def _wrong_verdict(self) -> Iterable[str]:
        status = self.answer.status
        expect = "deny" if _OUR_ALIAS.search(self.case.request) else self.case.expect
        if status == 200:
            if not expect.startswith("allow"):
                yield "it was allowed"
            told = _KEY_ID.findall(self.answer.data)
            if len(told) != 1 or told[0].decode() not in self.ids:
                yield f"it was allowed for {told}"
            if not self.answer.data.endswith(b"\r\n\r\n"):
                yield "the answer has a body"
        elif expect == "allow":
            yield f"it was refused with {status}"
        elif status is not None and not 400 <= status < 500:
            yield f"it was answered with {status}"


def final_status(data: bytes) -> int | None:
    """The status of the first answer in `data` that is not interim, if there is any."""
    return next((code for code in map(int, _STATUS.findall(data)) if code >= 200 or code == 101), None)


def read(path: Path) -> list[Case]:
    """The cases of a file, one in each line."""
    return [_case(json.loads(line)) for line in path.read_text("utf-8").splitlines() if line.strip()]


def _case(row: dict[str, Any]) -> Case:
    row = dict(row)
    body = _decoded(row.pop("body_b64", None))
    raw = _decoded(row.pop("raw_b64", None))
    method, target, headers = row.pop("method"), row.pop("raw_target"), row.pop("headers")
    if row.pop("raw_target_utf8", False):
        target = target.encode("utf-8").decode("latin-1")
    grant = row.pop("grant")
    milliseconds = row.pop("max_ms", None)
    case = Case(
        id=row.pop("id"),
        kind=row.pop("class"),
        why=row.pop("why"),
        expect=row.pop("expect"),
        method=method,
        request=_request(method, target, headers, body or "") if raw is None else raw,
        rule=(grant["method"], grant["url"]),
        body=_decoded(row.pop("upstream_body_b64", None)) if raw is not None else body or "",
        form=row.pop("form", None),
        half_close=row.pop("half_close", False),
        is_raw=raw is not None,
        targets=_texts(row.pop("upstream_target", ())),
        never=_texts(row.pop("upstream_never", ())),
        no_value=_texts(row.pop("upstream_no_value", ())),
        absent=_texts(row.pop("upstream_absent", ())),
        must_have=_texts(row.pop("upstream_must_have", ())),
        fields=tuple((name, value) for name, value in row.pop("upstream_fields", ())),
        response_no_value=_texts(row.pop("response_no_value", ())),
        never_status=frozenset(row.pop("never_status", ())),
        max_seconds=None if milliseconds is None else milliseconds / 1_000,
        optional=row.pop("optional", False),
    )
    if row:
        raise ValueError(f"{case.id}: nobody knows the fields {sorted(row)}")
    if case.expect not in _EXPECTATIONS:
        raise ValueError(f"{case.id}: nobody knows the expectation {case.expect!r}")
    return case


def _request(method: str, target: str, headers: list[list[str]], body: str) -> str:
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    if not any(name.lower() == "connection" for name, _ in headers):
        lines.append("Connection: close")
    return "\r\n".join([*lines, "", body])


def _decoded(text: str | None) -> str | None:
    return None if text is None else base64.b64decode(text).decode("latin-1")


def _texts(value: str | Iterable[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _filled(text: str, values: Mapping[str, str]) -> str:
    if "{" in text:
        for placeholder, value in values.items():
            text = text.replace(placeholder, value)
    return text
