"""People as documents, as an import has them: what a document says is so, what it does not say stays."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypedDict

from scopegate.core.directory import require_person
from scopegate.core.errors import InvalidInput
from scopegate.core.principal import User

if TYPE_CHECKING:
    from collections.abc import Collection

# That a text is empty means the same as that there is none.
_OPTIONAL = ("user_name", "external_id", "given_name", "family_name")
_TEXTS = ("name", "email", "organization")
_SETS = ("groups", "roles")
FIELDS = ("id", "name", "email", "organization", "active", "groups", "roles", *_OPTIONAL)


class PersonFacts(TypedDict, total=False):
    """Facts of a person, where they are said."""

    name: str
    email: str
    organization: str
    active: bool
    groups: frozenset[str]
    roles: frozenset[str]
    user_name: str | None
    external_id: str | None
    given_name: str | None
    family_name: str | None


@dataclass(frozen=True, slots=True)
class PersonDocument:
    """What a document says of the person with an id."""

    id: str
    facts: PersonFacts

    def person(self, before: User | None) -> User:
        """The person that there is then, given who was there before.

        Raises:
            InvalidInput: the directory does not take such a person, or a new one without a name.
        """
        return edited(self.id, before, self.facts)


def edited(user_id: str, before: User | None, facts: PersonFacts) -> User:
    """The person with other `facts`; a new one if there was none before.

    Raises:
        InvalidInput: as `PersonDocument.person`.
    """
    if before is None:
        if "name" not in facts:
            raise InvalidInput("name", "A new person needs a name.", hint="Say the name.")
        return require_person(User(id=user_id, **facts))
    return require_person(replace(before, **facts))


def facts_of(said: dict[str, Any]) -> PersonFacts:
    """The facts that `said` names, each of the type that it has to be of."""
    facts: Any = {name: value for name, value in said.items() if name != "id"}
    for name in _SETS:
        if name in facts:
            facts[name] = frozenset(facts[name])
    for name in _OPTIONAL:
        if name in facts:
            facts[name] = facts[name] or None
    checked: PersonFacts = facts
    return checked


def read_person(document: object) -> PersonDocument:
    """What a document says.

    Raises:
        InvalidInput: it is none of a person, or says something more.
    """
    if not isinstance(document, dict):
        raise _wrong("", "A person is an object.")
    unknown = sorted(str(name) for name in document.keys() - set(FIELDS))
    if unknown:
        raise _wrong(unknown[0], f"A person has no field {unknown[0]!r}.")
    if not isinstance(document.get("id"), str):
        raise _wrong("id", "A person has an id, which is a text.")
    _require(document, _TEXTS, (str,), "a text")
    _require(document, _OPTIONAL, (str, type(None)), "a text, or null")
    _require(document, ("active",), (bool,), "true or false")
    for name in _SETS:
        if name in document and not _are_texts(document[name]):
            raise _wrong(name, f"{name} has to be a list of texts.")
    return PersonDocument(document["id"], facts_of(document))


def _require(document: dict[Any, Any], names: Collection[str], kinds: tuple[type, ...], what: str) -> None:
    for name in names:
        if name in document and not isinstance(document[name], kinds):
            raise _wrong(name, f"{name} has to be {what}.")


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _wrong(field: str, message: str) -> InvalidInput:
    return InvalidInput(field, message, hint=f"Its fields are {', '.join(FIELDS)}.", code="document_invalid")
