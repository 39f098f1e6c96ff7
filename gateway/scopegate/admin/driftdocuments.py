"""What ``/admin/v1/drift`` takes and answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from scopegate.admin.endpointdocuments import HttpMethod
from scopegate.admin.schemas import Input, Output, Rule
from scopegate.core.drift import Extent
from scopegate.core.errors import InvalidInput
from scopegate.core.keys import KeyState, KeyType, state
from scopegate.core.operations import Operation
from scopegate.core.policies import require_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from scopegate.core.drift import Drift, IdleRule, Reach
    from scopegate.core.keys import KeyRecord

LARGEST_API = 20_000  # operations
_MOST_PRIVILEGES = 1_000
_LONGEST_NAME = 100


class ApiOperation(Input):
    """One operation of an API: a method, and a URL in which ``*`` stands for parameters."""

    method: HttpMethod
    url: str = Field(max_length=4_096, examples=["/api/recordings/*/audio"])
    operation_id: str = Field(default="", max_length=200)
    summary: str = Field(default="", max_length=200)
    privileges: list[Annotated[str, Field(max_length=_LONGEST_NAME)]] = Field(
        default=[], max_length=_MOST_PRIVILEGES, description="What a caller needs, as its description says."
    )


class DriftRequest(Input):
    """What an API offers now, and what it did before."""

    operations: list[ApiOperation] = Field(
        min_length=1, max_length=LARGEST_API, description="All that the API has now."
    )
    before: list[ApiOperation] | None = Field(
        default=None,
        max_length=LARGEST_API,
        description="All that it had; left out or null: what the catalogue in force lists.",
    )


class ToldOperation(Output):
    """An operation that came or went."""

    method: str
    url: str
    operation_id: str
    summary: str
    privileges: list[str]


class DriftKey(Output):
    """A key, as far as it matters here."""

    id: str
    type: KeyType
    state: KeyState
    description: str
    user: str | None


class KeyReach(Output):
    """That a key covers an operation.

    ``rows`` are the rules by which it does, from 1; keys without rules cover everything. ``wholly`` tells
    whether they cover all of the operation. ``opens`` is how much of what they cover the key opens now;
    ``reason`` is why it does not open the rest, and ``missing_privileges`` those that the user lacks for it.
    ``would_miss_privileges``: those that the user would lack if the catalogue said what the description says.
    """

    key: DriftKey
    rows: list[int]
    wholly: bool
    opens: Extent
    reason: str
    missing_privileges: list[str]
    would_miss_privileges: list[str]


class AddedOperation(ToldOperation):
    """A new operation, and the keys that cover it."""

    keys: list[KeyReach]


class IdleRuleOfKey(Output):
    """A rule that covered an operation that is gone, and covers none any more."""

    key: DriftKey
    row: int
    rule: Rule


class DriftReport(Output):
    """What came and went, and what it means for the keys.

    ``grows``: whether some key opens more than before. ``unbounded_keys`` open everything that is added.
    """

    grows: bool
    added: list[AddedOperation]
    removed: list[ToldOperation]
    idle_rules: list[IdleRuleOfKey]
    unbounded_keys: list[DriftKey]


def operations_of(field: str, listed: Sequence[ApiOperation]) -> list[Operation]:
    """The operations that a caller lists.

    Raises:
        InvalidInput: that names the row.
    """
    return [_operation(f"{field}[{row}]", body) for row, body in enumerate(listed, start=1)]


def _operation(place: str, body: ApiOperation) -> Operation:
    try:
        return Operation(
            method=body.method,
            url=body.url,
            operation_id=body.operation_id,
            summary=body.summary,
            privileges=frozenset(require_name("privileges", name) for name in body.privileges),
        )
    except InvalidInput as error:
        raise InvalidInput(
            f"{place}.{error.field}", error.message, hint=error.hint, code=error.code
        ) from error


def drift_report(found: Drift, now: datetime) -> DriftReport:
    """A drift as it is answered."""
    return DriftReport(
        grows=found.grows,
        added=[
            AddedOperation(**_told(one.operation), keys=[_reach(reach, now) for reach in one.reaches])
            for one in found.added
        ],
        removed=[ToldOperation(**_told(operation)) for operation in found.removed],
        idle_rules=[_idle(rule, now) for rule in found.idle],
        unbounded_keys=_keys(found.unbounded, now),
    )


def _told(operation: Operation) -> dict[str, Any]:
    return {
        "method": operation.method,
        "url": operation.url,
        "operation_id": operation.operation_id,
        "summary": operation.summary,
        "privileges": sorted(operation.privileges),
    }


def _reach(reach: Reach, now: datetime) -> KeyReach:
    return KeyReach(
        key=_key(reach.record, now),
        rows=list(reach.rows),
        wholly=reach.wholly,
        opens=reach.opens,
        reason=reach.reason.value,
        missing_privileges=list(reach.missing),
        would_miss_privileges=list(reach.would_miss),
    )


def _idle(idle: IdleRule, now: datetime) -> IdleRuleOfKey:
    rule = idle.record.rules[idle.row - 1]
    return IdleRuleOfKey(
        key=_key(idle.record, now), row=idle.row, rule=Rule(method=rule.method, url=rule.url)
    )


def _keys(records: Iterable[KeyRecord], now: datetime) -> list[DriftKey]:
    return [_key(record, now) for record in records]


def _key(record: KeyRecord, now: datetime) -> DriftKey:
    return DriftKey(
        id=record.id,
        type=record.type,
        state=state(record, now),
        description=record.description,
        user=record.user,
    )
