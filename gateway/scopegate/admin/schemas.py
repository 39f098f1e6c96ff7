"""What the administration API takes and answers, as the API and its client share it."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StrictBool,
    StrictInt,
    WithJsonSchema,
)

from scopegate.core.administrators import Permission, Role
from scopegate.core.admintokens import TokenKind
from scopegate.core.bulk import BulkAction
from scopegate.core.keys import ID_LENGTH, KeyState, KeyType
from scopegate.core.usage import Known

DEFAULT_PAGE = 50
LARGEST_PAGE = 500
LARGEST_BULK = 1_000  # keys
LARGEST_DRAFT = 1_000  # rules
_FULL_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def _moment(value: object) -> object:
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value
    if not isinstance(value, str) or not _DATE_TIME.fullmatch(value):
        raise ValueError("a date and time with an offset (RFC 3339), such as 2027-03-31T23:59:00+02:00")
    try:
        return datetime.fromisoformat(value).astimezone(UTC)
    except OverflowError as error:
        raise ValueError("a date and time that exists") from error


def _written(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _day(value: object) -> object:
    if isinstance(value, date) or (isinstance(value, str) and _FULL_DATE.fullmatch(value)):
        return value
    raise ValueError("a day, such as 2027-03-31")


Day = Annotated[date, BeforeValidator(_day), WithJsonSchema({"type": "string", "format": "date"})]
"""RFC 3339 section 5.6, of UTC."""
Moment = Annotated[
    datetime,
    BeforeValidator(_moment),
    PlainSerializer(_written, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""RFC 3339 section 5.6, always with an offset; answers are in UTC with ``Z``."""


KeyId = Annotated[str, Field(max_length=ID_LENGTH)]
"""What is longer may be a secret, and an outcome would repeat it."""


class Input(BaseModel):
    """What a caller says. A member that we do not know is refused: it may have been meant to restrict."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Output(BaseModel):
    """What is answered. A client of an earlier version overlooks members that it does not know."""

    model_config = ConfigDict(extra="ignore", frozen=True)


# Problems


class FieldProblem(Output):
    """What is wrong with one field. ``pointer`` is a JSON Pointer (RFC 6901) into the request body."""

    pointer: str
    code: str
    detail: str


class ProblemDetails(Output):
    """RFC 9457. ``code`` is stable; programs match on it. ``errors`` names the fields at fault."""

    model_config = ConfigDict(extra="allow", frozen=True)

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    hint: str | None = None
    errors: list[FieldProblem] | None = None


# Queries


class TenantQuery(Input):
    """Which tenant is meant."""

    tenant: str = Field(default="default", description="The id of the tenant.", max_length=100)


DRY_RUN = Field(
    default=False, description="Check everything and answer as if it was done, but change nothing."
)


class ChangeQuery(TenantQuery):
    """Which tenant is meant, and whether anything is to be changed."""

    dry_run: bool = DRY_RUN


class PageQuery(TenantQuery):
    """Which piece of a list is wanted."""

    limit: int = Field(default=DEFAULT_PAGE, ge=1, le=LARGEST_PAGE, description="Items at most.")
    cursor: str | None = Field(
        default=None, max_length=2_000, description="`next_cursor` of the page before; with the same filters."
    )


# Keys


class RuleBody(Input):
    """One row of a custom key: a method and a URL pattern, in which ``*`` stands for any characters."""

    method: str = Field(max_length=20, examples=["GET"])
    url: str = Field(max_length=4_096, examples=["/api/recordings/*"])


class KeyCreation(Input):
    """A new key. It is enabled at once."""

    type: KeyType
    description: str = Field(examples=["Created for Face-to-Face recording"])
    expires_at: Moment | None = Field(
        default=None, description="When the key expires; null: never. Left out: the tenant's default."
    )
    user: str | None = Field(
        default=None,
        max_length=200,
        description="The id of the one user whom the key acts for; null: all users.",
    )
    rules: list[RuleBody] = Field(default=[], description="What a custom key opens; other keys have none.")


class KeyEdit(Input):
    """Other values for a key; a member that is left out keeps its value."""

    description: str | None = Field(default=None, description="What the key is for; it cannot be null.")
    expires_at: Moment | None = Field(default=None, description="When the key expires; null: never.")
    user: str | None = Field(default=None, max_length=200, description="A user's id; null: all users.")
    enabled: StrictBool | None = Field(
        default=None, description="Whether the key is enabled; it cannot be null."
    )


class RulesBody(Input):
    """Rules of a custom key, in their order."""

    rules: list[RuleBody]


class RulesRemoval(RulesBody):
    """Rules that a custom key loses."""

    even_the_last: StrictBool = Field(
        default=False, description="Also if none is left, so that the key opens nothing; otherwise 409."
    )


class Extension(Input):
    """Another expiry for a key, also for one that expired less than seven days ago."""

    expires_at: Moment | None = Field(description="When the key expires; null: never.")


class Rotation(Input):
    """Another secret for a key."""

    overlap_seconds: StrictInt = Field(
        default=86_400, ge=0, le=604_800, description="For how long the secret that the key had stays valid."
    )
    drop_retiring: StrictBool = Field(
        default=False,
        description="Give up a secret that is still retiring from the rotation before; otherwise 409.",
    )


class Duplication(Input):
    """A new key like another one."""

    description: str


class Rule(Output):
    """One row of a custom key."""

    method: str
    url: str


class Key(Output):
    """One key. Its secret is never here."""

    id: str
    type: KeyType
    state: KeyState
    description: str
    user: str | None
    created_at: Moment
    expires_at: Moment | None
    delete_at: Moment | None
    retiring_until: Moment | None
    rules: list[Rule]


class LastUse(Output):
    """What is known of the last use of a key, or of one of its secrets; at most a minute late.

    "used": it was at ``at``. "never": it never was. "not_since": not since ``at``, and of the time before
    nothing is known. "nothing": nothing is known. A request that was refused is a use as well, if the
    secret was right.
    """

    known: Known
    at: Moment | None


class Secret(Output):
    """A secret of a key that is valid now. One that is retiring is valid until ``until``."""

    status: Literal["current", "retiring"]
    until: Moment | None
    last_used: LastUse


class KeyDetails(Key):
    """A key, and what is known of its use."""

    last_used: LastUse
    secrets: list[Secret]


class RuleUsage(Output):
    """What one rule of a key has admitted; null: what no rule that the key has now did."""

    rule: Rule | None
    allowed: int


class UsageSpan(Output):
    """What came of the requests within the hour or the day that begins at ``start``."""

    start: Moment
    allowed: int
    refused: int
    reasons: dict[str, int]


class KeyUsage(Output):
    """What came of the requests with a key. ``counted_since``: before that nothing was counted."""

    first: Day
    last: Day
    counted_since: Moment | None
    allowed: int
    refused: int
    reasons: dict[str, int]
    rules: list[RuleUsage]
    spans: list[UsageSpan]


class UsageQuery(TenantQuery):
    """Which days are wanted, and in which steps."""

    first: Day | None = Field(
        default=None, description="The first day (UTC); left out: 29 days before `last`."
    )
    last: Day | None = Field(default=None, description="The last day (UTC); left out: today.")
    by: Literal["day", "hour"] = Field(default="day", description="How long a span is.")


class ChangedKey(Key):
    """A key after a change, and what is to be said of it."""

    warnings: list[str] = []


SecretStatus = Literal["shown", "already_shown", "not_made"]


class IssuedKey(ChangedKey):
    """A key with its secret, which no other answer has.

    ``secret`` is null with ``secret_status`` "already_shown" where the request was sent before, and
    "not_made" after a dry run.
    """

    secret: str | None = Field(repr=False)
    secret_status: SecretStatus = "shown"  # noqa: S105 -- no secret


class Quota(Output):
    """How many keys a tenant has of those that it may have. Expired ones count until they are deleted."""

    limit: int
    used: int
    left: int
    by_type: dict[KeyType, int]
    by_state: dict[KeyState, int]
    reclaimable: int = Field(description="Keys that have expired, and can be deleted now.")
    never_expiring: int


class KeyPage(Output):
    """Some keys. ``total`` counts all that the filters admit."""

    items: list[KeyDetails]
    next_cursor: str | None
    has_more: bool
    total: int


KeySort = Literal[
    "created_at",
    "-created_at",
    "expires_at",
    "-expires_at",
    "description",
    "-description",
    "last_used",
    "-last_used",
]


class KeyQuery(PageQuery):
    """Which keys are wanted; newest first unless ``sort`` says otherwise."""

    type: list[KeyType] = Field(default=[], description="Only keys of these types.")
    state: list[KeyState] = Field(default=[], description="Only keys in these states.")
    user: str | None = Field(default=None, max_length=200, description="Only keys of this user.")
    q: str | None = Field(
        default=None, max_length=200, description="Only keys with this in their id or description."
    )
    idle: int | None = Field(
        default=None, ge=1, le=400, description="Only keys that were not used for so many days, for sure."
    )
    sort: KeySort = Field(
        default="-created_at", description="By what they are sorted; `-`: the largest first."
    )


# Decisions


class ExplanationRequest(Input):
    """A request that a key might send."""

    key_id: str = Field(max_length=100)
    method: str = Field(max_length=40, examples=["GET"])
    url: str = Field(max_length=8_192, examples=["/api/recordings/1"])


class ExplanationStep(Output):
    """One check of a decision."""

    check: str
    outcome: str
    detail: str


class Explanation(Output):
    """Why a key opens a request, or not. ``status`` is what the gateway answers to one that is refused."""

    allowed: bool
    reason: str
    status: int | None
    rule: int | None
    missing_privileges: list[str]
    steps: list[ExplanationStep]


# Flags


class Flag(Output):
    """A feature flag of a tenant."""

    name: str
    on: bool


class FlagBody(Input):
    """How a feature flag is to stand."""

    on: StrictBool


# The audit log

SYSTEM_LOG = Field(
    default=False,
    description="The log of tenants, administrators and tokens, in place of the tenant's.",
)


class AuditLogQuery(TenantQuery):
    """Which audit log is meant."""

    system: bool = SYSTEM_LOG


class AuditQuery(PageQuery):
    """Which entries of the audit log are wanted, newest first."""

    system: bool = SYSTEM_LOG

    key: str | None = Field(default=None, max_length=100, description="Only changes of this key.")
    actor: str | None = Field(default=None, max_length=300, description="Only changes by this actor.")
    since: Moment | None = Field(default=None, description="Only changes since then.")


class AuditPage(Output):
    """Some entries of the audit log, as they are kept, newest first."""

    items: list[dict[str, Any]]
    next_cursor: str | None
    has_more: bool


class AuditVerification(Output):
    """Whether the audit log is whole, and up to which entry."""

    whole: bool
    entries: int
    sequence: int
    hash: str
    broken_at: int | None
    what: str | None


# Users


class UserQuery(PageQuery):
    """Who is looked for; all of it has to hold."""

    q: str | None = Field(
        default=None,
        max_length=200,
        description="Words; each begins a word of the name, the e-mail or the id.",
    )
    organization: str | None = Field(
        default=None, max_length=500, description="In this organization, or below it."
    )
    group: str | None = Field(default=None, max_length=200, description="In this group.")
    filter: list[str] = Field(
        default=[],
        max_length=20,
        description="Conditions `field:operator:value`; fields: id, name, email, organization, group, role, "
        "user_name, external_id; operators: equals, contains, starts, ends.",
    )
    active: bool | None = Field(default=None, description="Only people who are active, or who are not.")


class User(Output):
    """A person of the directory."""

    id: str
    name: str
    email: str
    organization: str
    active: bool
    groups: list[str]
    roles: list[str]
    user_name: str | None = Field(default=None, description="With what they sign in elsewhere; null: the id.")
    external_id: str | None = Field(default=None, description="What the provisioning system calls them.")
    given_name: str | None = None
    family_name: str | None = None


class UserWithPrivileges(User):
    """A person, and what the person may do now."""

    privileges: list[str]


class UserPage(Output):
    """Some people. Nobody counts them all."""

    items: list[User]
    next_cursor: str | None
    has_more: bool


# Tenants


class TenantCreation(Input):
    """A new tenant. Its id never changes."""

    id: str = Field(max_length=100, examples=["acme"])
    name: str | None = Field(default=None, description="What people call it; left out: its id.")


class TenantNaming(Input):
    """Another name for a tenant."""

    name: str


class Tenant(Output):
    """A tenant. ``tag`` is what the ids of its keys begin with."""

    id: str
    name: str
    tag: str
    created_at: Moment | None
    keys: int = Field(description="How many keys it has.")


class TenantList(Output):
    """All tenants that the caller may know of."""

    items: list[Tenant]


class SettingsBody(Input):
    """Other settings of a tenant; a member that is left out keeps its value."""

    key_limit: StrictInt | None = Field(default=None, description="How many keys the tenant may have.")
    key_limit_max: StrictInt | None = Field(
        default=None, description="How high `key_limit` may be set; for system administrators."
    )
    rule_methods: list[str] | None = Field(
        default=None, description="The methods that rules may name; for system administrators."
    )
    default_lifetime: StrictInt | None = Field(
        default=None, description="Days after which a new key expires that was given no expiry; null: never."
    )
    max_lifetime: StrictInt | None = Field(
        default=None, description="The longest time in days until a key expires; null: for ever."
    )
    unlisted_endpoints: Literal["deny", "allow"] | None = Field(
        default=None, description="Whether user-bound keys open endpoints that the catalogue does not list."
    )


class TenantSettings(Output):
    """What is settled for a tenant."""

    key_limit: int
    key_limit_max: int
    rule_methods: list[str]
    default_lifetime: int | None
    max_lifetime: int | None
    unlisted_endpoints: Literal["deny", "allow"]


# Administrators and their tokens


class Subject(Input):
    """Somebody, as one OpenID Connect provider names them: its claims ``iss`` and ``sub``."""

    issuer: str = Field(min_length=1, max_length=500)
    id: str = Field(min_length=1, max_length=255)


class AdministratorCreation(Input):
    """A new administrator, who has no token yet."""

    name: str
    email: str
    role: Role
    tenants: list[str] | None = Field(
        default=None, description="The ids of the tenants that it is about; null: all of them."
    )


class AdministratorEdit(Input):
    """Other facts of an administrator; a member that is left out keeps its value."""

    name: str | None = Field(default=None, description="It cannot be null.")
    email: str | None = Field(default=None, description="It cannot be null.")
    role: Role | None = Field(default=None, description="It cannot be null.")
    tenants: list[str] | None = Field(default=None, description="Ids of tenants; null: all of them.")
    active: StrictBool | None = Field(default=None, description="It cannot be null.")
    subject: Subject | None = Field(
        default=None, description="As whom a provider knows them; null: it is bound at the next sign-in."
    )


class Administrator(Output):
    """Who administers. ``tenants`` is null for all; ``subject`` until a provider has signed them in once."""

    id: str
    name: str
    email: str
    role: Role
    tenants: list[str] | None
    active: bool
    created_at: Moment
    subject: Subject | None


class AdministratorList(Output):
    """All administrators."""

    items: list[Administrator]


class TokenCreation(Input):
    """A new token of an administrator."""

    description: str = Field(examples=["Nightly report of Eva"])
    expires_at: Moment | None = Field(
        default=None, description="At most 366 days from now; left out: 90 days from now."
    )
    administrator: str | None = Field(
        default=None, description="The id of whose it is; left out: the caller."
    )


class Token(Output):
    """A token or a session of an administrator. Its text is never here."""

    id: str
    kind: TokenKind
    administrator: str
    description: str
    created_at: Moment
    expires_at: Moment
    last_used_at: Moment | None = Field(description="To the minute; null: never.")


class IssuedToken(Token):
    """A token with its text, which no other answer has. A dry run makes none."""

    secret: str | None = Field(repr=False)


class TokenList(Output):
    """Tokens and sessions, the oldest first."""

    items: list[Token]


class TokenQuery(Input):
    """Whose tokens are wanted."""

    administrator: str | None = Field(
        default=None, max_length=100, description="The id of an administrator; left out: the caller."
    )


class NoQuery(Input):
    """This operation has no query parameters."""


class SystemChangeQuery(Input):
    """Whether anything is to be changed."""

    dry_run: bool = DRY_RUN


class Bootstrap(Input):
    """The first system administrator, for whoever has the bootstrap token."""

    token: str = Field(max_length=200, repr=False, description="The text that the first start printed.")
    name: str
    email: str


class Identity(Output):
    """Who the caller is. The operator of the machine is no administrator and has no token."""

    actor: str
    role: Role
    tenants: list[str] | None
    permissions: list[Permission]
    administrator: Administrator | None
    token: Token | None


# Many keys, and drafts


class BulkChange(Input):
    """The same for many keys."""

    action: BulkAction
    ids: list[KeyId] = Field(min_length=1, max_length=LARGEST_BULK, description="Whole ids of keys.")
    expires_at: Moment | None = Field(
        default=None, description="The new expiry of keys that are extended; null: never."
    )


class BulkOutcome(Output):
    """What became of one key: the key (null where it was deleted), or the problem."""

    id: str
    ok: bool
    key: Key | None
    problem: ProblemDetails | None


class BulkOutcomes(Output):
    """What became of each key. That some were refused makes the request no failure."""

    succeeded: int
    failed: int
    items: list[BulkOutcome]


class KeyDocument(Output):
    """A key without any secret, to be kept or taken elsewhere."""

    id: str
    type: KeyType
    description: str
    enabled: bool
    created_at: Moment
    expires_at: Moment | None
    user: str | None
    rules: list[Rule]


class KeyDocuments(Output):
    """All keys of a tenant, newest first."""

    keys: list[KeyDocument]


class KeyImport(Input):
    """Keys to be created from documents; ``id`` and ``created_at`` in them are overlooked."""

    keys: list[dict[str, Any]] = Field(min_length=1, max_length=LARGEST_BULK)


class ImportOutcome(Output):
    """What became of one document, of those counted from 1: a key with its secret, or the problem."""

    row: int
    ok: bool
    key: IssuedKey | None
    problem: ProblemDetails | None


class ImportOutcomes(Output):
    """What became of each document. The secrets are in this answer only."""

    succeeded: int
    failed: int
    items: list[ImportOutcome]


class DraftProblem(Output):
    """A reason for which the key would be refused; ``pointer`` is empty where it is no field's."""

    pointer: str
    code: str
    detail: str
    hint: str | None


class DraftCaution(Output):
    """What does not stand in the way, and should be known. ``row`` counts rules from 1."""

    code: str
    detail: str
    row: int
    missing_privileges: list[str]


class ReadRule(Output):
    """How a rule is read. ``covered_by`` is the row of another one that admits all that this one does."""

    row: int
    method: str
    url: str
    sentence: str
    covered_by: int | None


class EndpointAccess(Output):
    """What the key would open of an endpoint of the catalogue.

    ``row`` is the rule by which it does, null for keys without rules; ``wholly`` tells whether that covers
    all of it. ``missing_privileges``: those that the user lacks, where it is not ``allowed``.
    """

    method: str
    url: str
    row: int | None
    wholly: bool
    allowed: bool
    missing_privileges: list[str]


class KeyPreview(Output):
    """What would become of a draft. ``left`` is how many keys could be created after it."""

    creatable: bool
    expires_at: Moment | None
    problems: list[DraftProblem]
    cautions: list[DraftCaution]
    rules: list[ReadRule]
    access: list[EndpointAccess]
    left: int


class KeyDraft(Input):
    """A key that somebody thinks of; the same as for its creation, and it may be wrong."""

    type: KeyType
    description: str = ""
    expires_at: Moment | None = Field(
        default=None, description="When the key expires; null: never. Left out: the tenant's default."
    )
    user: str | None = Field(default=None, max_length=200, description="A user's id; null: all users.")
    rules: list[RuleBody] = Field(default=[], max_length=LARGEST_DRAFT)


# Sessions


class SessionOpening(Input):
    """A token of an administrator, in place of which a browser gets a session."""

    token: str = Field(max_length=200, repr=False, description="The token; a session opens no other.")


class Session(Output):
    """A session, which is in the cookie and nowhere else."""

    administrator: str
    expires_at: Moment


class OidcStatus(Output):
    """Whether administrators can sign in at an OpenID Connect provider."""

    configured: bool


class OidcLogin(Input):
    """Where a browser goes once it has signed in: to a path here, or to a command line on its own machine."""

    return_to: str | None = Field(
        default=None, max_length=2_000, description="A path of this server, such as /console/keys."
    )
    port: int | None = Field(
        default=None, ge=1, le=65_535, description="Where a command line listens on 127.0.0.1 (RFC 8252)."
    )
    state: str | None = Field(
        default=None, min_length=16, max_length=200, description="What it knows the answer by."
    )
    code_challenge: str | None = Field(
        default=None, max_length=200, description="Its S256 challenge (RFC 7636)."
    )


class OidcRedemption(Input):
    """What a command line got from the browser, and the verifier of its challenge."""

    code: str = Field(max_length=200, repr=False)
    code_verifier: str = Field(max_length=200, repr=False)
