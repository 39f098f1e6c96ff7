"""Core values as the answers of the administration API."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from scopegate.admin import schemas
from scopegate.admin.listing import page
from scopegate.admin.problems import pointer_to, problem_of
from scopegate.core.drafts import Draft, DraftRule
from scopegate.core.errors import InvalidInput
from scopegate.core.keys import Rule, retiring_at
from scopegate.core.lifetimes import NOT_GIVEN
from scopegate.core.usage import Known
from scopegate.problems import problem_json, refusal
from scopegate.representations import explanation_object, key_object

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from scopegate.administration import Identity, IssuedToken
    from scopegate.commands import Explanation, Imported, IssuedKey, Outcome
    from scopegate.core.administrators import Administrator
    from scopegate.core.admintokens import AdminToken
    from scopegate.core.drafts import Preview
    from scopegate.core.errors import ScopegateError
    from scopegate.core.keys import KeyRecord
    from scopegate.core.quota import Quota
    from scopegate.core.settling import Settled
    from scopegate.core.tenants import Tenant
    from scopegate.core.usage import KeyLastUse, KeyUsage, LastUse, Span


def key(record: KeyRecord, now: datetime) -> schemas.Key:
    """A key, with its state at `now`."""
    return schemas.Key(**key_object(record, now))


def key_details(record: KeyRecord, now: datetime, use: KeyLastUse) -> schemas.KeyDetails:
    """A key, with its state at `now` and what is known of its use."""
    secrets = [schemas.Secret(status="current", until=None, last_used=_last_use(use.current))]
    retiring = retiring_at(record, now)
    if retiring is not None and use.retiring is not None:
        secrets.append(
            schemas.Secret(status="retiring", until=retiring.until, last_used=_last_use(use.retiring))
        )
    return schemas.KeyDetails(**key_object(record, now), last_used=_last_use(use.key), secrets=secrets)


def _last_use(use: LastUse) -> schemas.LastUse:
    return schemas.LastUse(known=use.known, at=use.at)


def changed_key(record: KeyRecord, now: datetime, warnings: Sequence[str] = ()) -> schemas.ChangedKey:
    """A key after a change."""
    return schemas.ChangedKey(**key_object(record, now), warnings=list(warnings))


def issued_key(issued: IssuedKey, now: datetime) -> schemas.IssuedKey:
    """A key with its secret, or why there is none to show."""
    return schemas.IssuedKey(
        **key_object(issued.record, now),
        warnings=list(issued.warnings),
        secret=issued.secret,
        secret_status=_secret_status(issued),
    )


def _secret_status(issued: IssuedKey) -> schemas.SecretStatus:
    if issued.replayed:
        return "already_shown"
    return "not_made" if issued.secret is None else "shown"


def quota(found: Quota) -> schemas.Quota:
    """How many keys a tenant has, and what they are."""
    return schemas.Quota(
        limit=found.limit,
        used=found.used,
        left=found.left,
        by_type=dict(found.by_type),
        by_state=dict(found.by_state),
        reclaimable=found.reclaimable,
        never_expiring=found.never_expiring,
    )


def key_page(
    records: Sequence[KeyRecord], uses: Mapping[str, KeyLastUse], query: schemas.KeyQuery, now: datetime
) -> schemas.KeyPage:
    """The page of keys that is asked for.

    Raises:
        InvalidInput: the cursor is none, or one of other filters.
    """
    # Rules decide nothing here, and there may be many: only what is shown has them.
    admitted = [key_details(replace(record, rules=()), now, uses[record.id]) for record in records]
    admitted = [one for one in admitted if _admits(query, one) and _is_idle(query, one, now)]
    field = query.sort.removeprefix("-")
    # What is answered has whole seconds, in which several keys can be created.
    created = {record.id: record.created_at for record in records}
    items, cursor = page(
        admitted,
        query,
        lambda one: [created[one.id].timestamp(), one.id] if field == "created_at" else _order(one, field),
        descending=query.sort.startswith("-"),
    )
    by_id = {record.id: record for record in records}
    items = [key_details(by_id[one.id], now, uses[one.id]) for one in items]
    return schemas.KeyPage(items=items, next_cursor=cursor, has_more=cursor is not None, total=len(admitted))


def _is_idle(query: schemas.KeyQuery, one: schemas.KeyDetails, now: datetime) -> bool:
    if query.idle is None:
        return True
    begun = one.created_at if one.last_used.known is Known.NEVER else one.last_used.at
    return begun is not None and begun <= now - timedelta(days=query.idle)


def _admits(query: schemas.KeyQuery, one: schemas.Key) -> bool:
    wanted = query.q
    return (
        (not query.type or one.type in query.type)
        and (not query.state or one.state in query.state)
        and (query.user is None or one.user == query.user)
        and (wanted is None or one.id.startswith(wanted) or wanted.casefold() in one.description.casefold())
    )


def _order(one: schemas.KeyDetails, field: str) -> list[Any]:
    if field == "last_used":
        use = one.last_used
        at = use.at if use.known is Known.USED else None
        return [at is not None, 0.0 if at is None else at.timestamp(), one.id]  # who was never used first
    value = getattr(one, field)
    if isinstance(value, str):
        return [value.casefold(), one.id]
    # What never happens is after all that does.
    return [value is None, 0.0 if value is None else value.timestamp(), one.id]


def rules_of(rows: Sequence[schemas.RuleBody]) -> tuple[Rule, ...]:
    """The rules that a caller lists.

    Raises:
        InvalidInput: that names the row.
    """
    rules = []
    for row, body in enumerate(rows, start=1):
        try:
            rules.append(Rule(body.method, body.url))
        except InvalidInput as error:
            raise InvalidInput(
                f"rules[{row}].{error.field}", f"Row {row}: {error.message}", hint=error.hint, code=error.code
            ) from error
    return tuple(rules)


def key_usage(record: KeyRecord, found: KeyUsage, *, by_hour: bool) -> schemas.KeyUsage:
    """What came of the requests with a key."""
    whole = found.in_all()
    by_rule = [(rule, found.of_rule(rule).in_all().allowed) for rule in record.rules]
    elsewhere = whole.allowed - sum(allowed for _, allowed in by_rule)
    rules = [
        schemas.RuleUsage(rule=schemas.Rule(method=rule.method, url=rule.url), allowed=allowed)
        for rule, allowed in by_rule
    ]
    spans = found.by_hour() if by_hour else found.by_day()
    return schemas.KeyUsage(
        first=found.first,
        last=found.last,
        counted_since=found.counted_since,
        allowed=whole.allowed,
        refused=whole.refused,
        reasons=_reasons(whole),
        rules=[*rules, schemas.RuleUsage(rule=None, allowed=elsewhere)],
        spans=[
            schemas.UsageSpan(
                start=span.start, allowed=span.allowed, refused=span.refused, reasons=_reasons(span)
            )
            for span in spans
        ],
    )


def _reasons(span: Span) -> dict[str, int]:
    return {reason.value: count for reason, count in sorted(span.reasons.items())}


def explanation(found: Explanation) -> schemas.Explanation:
    """A decision, check by check."""
    decision = found.decision
    status = None if decision.allowed else refusal(decision.reason).status
    shown: dict[str, Any] = explanation_object(found)
    return schemas.Explanation(**shown, status=status)


def tenant(found: Tenant, *, keys: int) -> schemas.Tenant:
    """A tenant that has so many keys."""
    return schemas.Tenant(id=found.id, name=found.name, tag=found.tag, created_at=found.created_at, keys=keys)


def settings(settled: Settled) -> schemas.TenantSettings:
    """What is settled for a tenant."""
    found = settled.settings
    return schemas.TenantSettings(
        key_limit=found.key_limit,
        key_limit_max=found.key_limit_max,
        rule_methods=sorted(found.rule_methods),
        default_lifetime=found.default_lifetime,
        max_lifetime=found.max_lifetime,
        unlisted_endpoints="allow" if settled.unlisted_allowed else "deny",
    )


def administrator(found: Administrator) -> schemas.Administrator:
    """An administrator."""
    return schemas.Administrator(
        id=found.id,
        name=found.name,
        email=found.email,
        role=found.role,
        tenants=None if found.tenants is None else sorted(found.tenants),
        active=found.active,
        created_at=found.created_at,
        subject=None
        if found.subject is None
        else schemas.Subject(issuer=found.subject.issuer, id=found.subject.id),
    )


def token(found: AdminToken, last_used_at: datetime | None) -> schemas.Token:
    """A token, without its text."""
    return schemas.Token(**_of_token(found), last_used_at=last_used_at)


def issued_token(issued: IssuedToken, *, made: bool = True) -> schemas.IssuedToken:
    """A token with its text, unless a dry run has not `made` it."""
    return schemas.IssuedToken(
        **_of_token(issued.token), last_used_at=None, secret=issued.secret if made else None
    )


def identity(found: Identity) -> schemas.Identity:
    """Who the caller is."""
    caller = found.caller
    return schemas.Identity(
        actor=caller.actor,
        role=caller.role,
        tenants=None if caller.tenants is None else sorted(caller.tenants),
        permissions=sorted(caller.permissions),
        administrator=None if found.administrator is None else administrator(found.administrator),
        token=None if found.token is None else token(found.token, None),
    )


def _of_token(found: AdminToken) -> dict[str, Any]:
    return {
        "id": found.id,
        "kind": found.kind,
        "administrator": found.administrator,
        "description": found.description,
        "created_at": found.created_at,
        "expires_at": found.expires_at,
    }


def draft_of(body: schemas.KeyDraft) -> Draft:
    """The key that a caller thinks of."""
    return Draft(
        type=body.type,
        description=body.description,
        expires_at=body.expires_at if "expires_at" in body.model_fields_set else NOT_GIVEN,
        user=body.user,
        rules=tuple(DraftRule(row.method, row.url) for row in body.rules),
    )


def preview(found: Preview) -> schemas.KeyPreview:
    """What would become of a draft."""
    return schemas.KeyPreview(
        creatable=not found.problems,
        expires_at=found.expires_at,
        problems=[
            schemas.DraftProblem(
                pointer=pointer_to(one.field) if one.field else "",
                code=one.code,
                detail=one.message,
                hint=one.hint,
            )
            for one in found.problems
        ],
        cautions=[
            schemas.DraftCaution(
                code=one.code, detail=one.message, row=one.row, missing_privileges=list(one.missing)
            )
            for one in found.cautions
        ],
        rules=[
            schemas.ReadRule(
                row=one.row,
                method=one.method,
                url=one.url,
                sentence=one.sentence,
                covered_by=one.covered_by,
            )
            for one in found.rules
        ],
        access=[
            schemas.EndpointAccess(
                method=one.method,
                url=one.url,
                row=one.row,
                wholly=one.wholly,
                allowed=one.allowed,
                missing_privileges=list(one.missing),
            )
            for one in found.access
        ],
        left=found.left,
    )


def outcome(one: Outcome, now: datetime, request_id: str) -> schemas.BulkOutcome:
    """What became of one key."""
    return schemas.BulkOutcome(
        id=one.id,
        ok=one.error is None,
        key=None if one.record is None else key(one.record, now),
        problem=None if one.error is None else _problem(one.error, request_id),
    )


def imported(one: Imported, now: datetime, request_id: str) -> schemas.ImportOutcome:
    """What became of one document."""
    return schemas.ImportOutcome(
        row=one.row,
        ok=one.error is None,
        key=None if one.issued is None else issued_key(one.issued, now),
        problem=None if one.error is None else _problem(one.error, request_id),
    )


def _problem(error: ScopegateError, request_id: str) -> schemas.ProblemDetails:
    found, members = problem_of(error)
    return schemas.ProblemDetails.model_validate({**problem_json(found, request_id), **members})
