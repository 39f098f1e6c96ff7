"""What the property tests of the core draw from: small alphabets that are made to collide."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from hypothesis import strategies as st

from scopegate.core.catalogue import Endpoint
from scopegate.core.keys import BASE62, Rule
from scopegate.core.principal import Principal, Privileges, User, resolve
from scopegate.core.request import CanonicalRequest

UNRESERVED = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
SUB_DELIMS = "!$&'()*+,;="

# Pieces that path readers are known to disagree on, beside plain ones, so that a joined list of them is
# accepted about as often as it is refused.
_PIECES = (
    *b"/ / /a /b /api a b . .. ... - _ ~ ; ;v=1 * %2e %2E %2f %5C %3b %3F %23 %25 %252e %41 %7e %2a".split(),
    *b"%20 %c3%a9 %C3 %00 %0a %7F %c2%85 %zz % %u0041 \\ \xe9".split(),
    b" ",
    b"\n",
)
_SAFE_PIECES = (
    b"/a /b /api a b 1 - _ ~ .x ...x ;v=1 * : @ + %41 %7e %2a %20 %3Fq %23q %3bp %c3%a9 %e2%82%ac %25x %2Dx"
).split()


def raw_paths() -> st.SearchStrategy[bytes]:
    """Paths as clients may send them, most of them hostile."""
    return st.lists(st.sampled_from(_PIECES), max_size=8).map(lambda pieces: b"/" + b"".join(pieces))


def acceptable_raw_paths() -> st.SearchStrategy[bytes]:
    """Paths that are accepted, in spellings that are not always canonical."""
    return st.lists(st.sampled_from(_SAFE_PIECES), max_size=8).map(lambda pieces: b"/x" + b"".join(pieces))


def small_paths() -> st.SearchStrategy[str]:
    """Canonical paths over so few pieces that a drawn pattern often matches one."""
    pieces = st.lists(st.sampled_from(["a", "b", "ab", ".b", "/a", "/b", "%3F", "%23"]), max_size=7)
    return pieces.map(lambda drawn: "/a" + "".join(drawn))


def small_path_patterns() -> st.SearchStrategy[str]:
    """Path patterns over the pieces of `small_paths` and stars."""
    pieces = st.lists(
        st.sampled_from(["a", "b", "ab", ".b", "/a", "/b", "%3F", "*", "*", "**", "/*"]), max_size=7
    )
    return st.builds("{}{}".format, st.sampled_from(("/a", "/*")), pieces.map("".join))


def small_hosts() -> st.SearchStrategy[str | None]:
    return st.sampled_from((None, "b", "a.b", "evil", "b:80", "b:443", "b:8080", "[::1]"))


def small_host_patterns() -> st.SearchStrategy[str]:
    return st.sampled_from(("b", "B", "*.b", "*", "a.*", "*b", "b:443", "b:8080", "*:8080", "[::1]:80"))


def small_patterns() -> st.SearchStrategy[str]:
    """Patterns of every form: a path, a full URL, the star alone."""
    full = st.builds(
        "{}{}{}".format,
        st.sampled_from(("https://", "http://")),
        small_host_patterns(),
        small_path_patterns(),
    )
    return st.one_of(st.just("*"), small_path_patterns(), full)


def base62(length: int) -> st.SearchStrategy[str]:
    return st.text(BASE62, min_size=length, max_size=length)


def header_fields() -> st.SearchStrategy[list[tuple[bytes, bytes]]]:
    """Header fields of a client, with all that it should not send."""
    names = (
        b"host accept cookie connection connection x-trace x_trace x-scopegate-user x_scopegate_user"
        b" x_scopegate-tenant x-api-key x_api_key authorization content-length upgrade te x-forwarded-for"
        b" x_http_method_override x-original-url remote_user"
    ).split()
    values = st.one_of(
        st.sampled_from((b"", b"close", b"keep-alive, X-Trace", b"host", b"x_scopegate_user, te")),
        st.binary(max_size=4),
    )
    return st.lists(st.tuples(st.sampled_from(names), values), max_size=10)


@dataclass(frozen=True)
class Directory:
    """One user and what the directory says of roles and groups."""

    user: User
    roles: dict[str, Privileges]
    groups: dict[str, frozenset[str]]

    @property
    def principal(self) -> Principal:
        return resolve(self.user, roles=self.roles, groups=self.groups)

    def with_user(self, **changes: Any) -> Directory:
        return replace(self, user=replace(self.user, **changes))


def _subsets(of: str) -> st.SearchStrategy[frozenset[str]]:
    return st.frozensets(st.sampled_from(of), max_size=len(of))


def directories() -> st.SearchStrategy[Directory]:
    """Roles A B C and groups X Y Z, some of them undefined, over the privileges p q r."""
    users = st.builds(
        User,
        id=st.just("kim"),
        name=st.just("Kim"),
        active=st.sampled_from((True, True, True, False)),
        roles=_subsets("ABC"),
        groups=_subsets("XYZ"),
    )
    return st.builds(
        Directory,
        user=users,
        roles=st.dictionaries(st.sampled_from("ABC"), _subsets("pqr")),
        groups=st.dictionaries(st.sampled_from("XYZ"), _subsets("ABC")),
    )


def requests() -> st.SearchStrategy[CanonicalRequest]:
    methods = st.sampled_from(("GET", "GET", "HEAD", "POST", "DELETE"))
    return st.builds(CanonicalRequest, methods, small_paths(), small_hosts())


def rules() -> st.SearchStrategy[Rule]:
    return st.builds(Rule, st.sampled_from(("GET", "GET", "POST", "DELETE")), small_patterns())


def endpoints() -> st.SearchStrategy[Endpoint]:
    methods = st.frozensets(st.sampled_from(("GET", "HEAD", "POST", "*")), min_size=1, max_size=3)
    return st.builds(Endpoint, methods, small_patterns(), _subsets("pqr"))
