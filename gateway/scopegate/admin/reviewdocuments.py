"""What the review of keys takes and answers, as the API and its client share it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from scopegate.admin.schemas import KeyId, Output, PageQuery, TenantQuery
from scopegate.core.keys import KeyState, KeyType
from scopegate.core.reasons import Reason
from scopegate.core.review import Colleagues, FindingCode

if TYPE_CHECKING:
    from scopegate.core.reaching import Reacher
    from scopegate.core.request import CanonicalRequest
    from scopegate.core.review import Finding as CoreFinding

UNDECIDED = "undecided"


class ShownRequest(Output):
    """A request that shows something. Its URL is a path, or a full URL where the host matters."""

    method: str
    url: str


class Finding(Output):
    """Something that is to be known of a key.

    ``row`` counts from 1, and is null where it is about the whole key. ``other`` is the row that makes this
    one needless, or the id of the key that was compared.
    """

    key: str
    code: FindingCode
    detail: str
    row: int | None
    other: str | None
    missing_privileges: list[str]
    endpoint: str | None = Field(description="The first entry of the catalogue that the user may not use.")
    request: ShownRequest | None = Field(description="One that shows it.")


class FindingList(Output):
    """All that is to be said of one key."""

    items: list[Finding]


class FindingPage(Output):
    """Some of what is to be said of all keys."""

    items: list[Finding]
    next_cursor: str | None
    has_more: bool


class FindingsQuery(PageQuery):
    """Which findings are wanted."""

    code: list[FindingCode] = Field(default=[], description="Only these; all if none is named.")


class KeyFindingsQuery(TenantQuery):
    """What a key is compared with."""

    compare: KeyId | None = Field(
        default=None, description="The id of another key: what the first opens and this does not is told too."
    )
    among: Colleagues | None = Field(
        default=None,
        description="The same, with all other keys: of the tenant, or of users of the same organization, or"
        " who have a group in common.",
    )


class AccessQuery(PageQuery):
    """Which endpoint is meant."""

    method: str = Field(max_length=20, examples=["GET"])
    url: str = Field(
        max_length=4_096,
        examples=["/api/recordings/*"],
        description="A path or a full URL, as in a rule: `*` stands for any characters.",
    )


class KeyAccess(Output):
    """A key that lets in something of an endpoint.

    ``row`` is the rule by which it does, counted from 1; null for keys without rules. ``wholly``: that rule
    covers all that was asked for. ``request`` is one that it lets in, and that is allowed now if any is;
    ``reason`` is what the gateway says to it now. ``missing_privileges``: those that the user lacks for it,
    whatever state the key is in. Where the wildcards are too many to tell, ``reason`` is "undecided".
    """

    key: str
    type: KeyType
    description: str
    state: KeyState
    user: str | None = Field(description="As whom; null: all users.")
    row: int | None
    wholly: bool
    allowed: bool
    reason: str
    missing_privileges: list[str]
    request: ShownRequest | None


class KeyAccessPage(Output):
    """Some of the keys that let in something of an endpoint."""

    items: list[KeyAccess]
    next_cursor: str | None
    has_more: bool


def finding(found: CoreFinding) -> Finding:
    """Something that is to be known of a key."""
    return Finding(
        key=found.key,
        code=found.code,
        detail=found.message,
        row=found.row,
        other=found.other,
        missing_privileges=list(found.missing),
        endpoint=found.endpoint,
        request=_request(found.request),
    )


def key_access(found: Reacher) -> KeyAccess:
    """A key that lets in something of an endpoint."""
    record = found.record
    return KeyAccess(
        key=record.id,
        type=record.type,
        description=record.description,
        state=found.state,
        user=record.user,
        row=found.row,
        wholly=found.wholly,
        allowed=found.reason is Reason.ALLOWED,
        reason=UNDECIDED if found.reason is None else found.reason.value,
        missing_privileges=list(found.missing),
        request=_request(found.request),
    )


def _request(request: CanonicalRequest | None) -> ShownRequest | None:
    if request is None:
        return None
    at = "" if request.host is None else f"https://{request.host}"
    return ShownRequest(method=request.method, url=at + request.path)
