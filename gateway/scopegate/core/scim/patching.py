"""Patches (RFC 7644 section 3.5.2) as they are read, and what they make of a document."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from scopegate.core.scim.attributes import Attribute, Kind, Mutability, Type
from scopegate.core.scim.grammar import All, Comparison, Operator, Path, Target, parse_path
from scopegate.core.scim.matching import targets, value_fits
from scopegate.core.scim.reading import read_value, require_schema
from scopegate.core.scim.refusals import ScimRefused, ScimType

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from scopegate.core.scim.grammar import Filter
    from scopegate.core.scim.reading import Document

PATCH_SCHEMA = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
MOST_OPERATIONS = 1_000


class Op(StrEnum):
    """What an operation does."""

    ADD = "add"
    REPLACE = "replace"
    REMOVE = "remove"


_OPS = frozenset(op.value for op in Op)


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation on one target. ``value`` is as it was sent; None where there is none."""

    op: Op
    path: Path
    value: Any = None


def read_patch(kind: Kind, body: Mapping[str, Any]) -> list[Operation]:
    """The operations of a patch of a `kind`, each with a path; those on what is not kept are left out.

    Read as identity providers write them: the word of an operation in any case, and without a path
    the names of attributes may be paths.

    Raises:
        ScimRefused: it is no patch, or a path names nothing that a client can write.
    """
    require_schema(body, PATCH_SCHEMA)
    said = next((value for name, value in body.items() if name.lower() == "operations"), None)
    if not isinstance(said, list) or not said:
        raise ScimRefused(ScimType.INVALID_SYNTAX, "Operations is a list of at least one operation.")
    if len(said) > MOST_OPERATIONS:
        raise ScimRefused(ScimType.INVALID_SYNTAX, f"A patch has at most {MOST_OPERATIONS} operations.")
    return [operation for one in said for operation in _operations(kind, one)]


def patched(document: Document, operations: list[Operation]) -> Document:
    """What the operations make of a document; of what they do not name, nothing changes.

    Raises:
        ScimRefused: one of them cannot be done, so none is.
    """
    made = deepcopy(document)
    for operation in operations:
        _apply(made, operation)
    return made


def _operations(kind: Kind, said: object) -> Iterator[Operation]:
    if not isinstance(said, dict):
        raise ScimRefused(ScimType.INVALID_SYNTAX, "An operation is an object.")
    members = {name.lower(): value for name, value in said.items()}
    word = members.get("op")
    if not isinstance(word, str) or word.lower() not in _OPS:
        raise ScimRefused(ScimType.INVALID_SYNTAX, "op is add, replace or remove.")
    op, path, value = Op(word.lower()), members.get("path"), members.get("value")
    if path is None or path == "":
        yield from _without_path(kind, op, value)
        return
    if not isinstance(path, str):
        raise ScimRefused(ScimType.INVALID_PATH, "path is a text.")
    yield from _with_path(kind, op, parse_path(path, kind), value)


def _without_path(kind: Kind, op: Op, value: object) -> Iterator[Operation]:
    if op is Op.REMOVE:
        raise ScimRefused(ScimType.NO_TARGET, "What is to be removed? There is no path.")
    if not isinstance(value, dict):
        raise ScimRefused(ScimType.INVALID_VALUE, "Without a path the value is an object of attributes.")
    for name, one in value.items():
        if name.lower() == "schemas":
            continue
        path = parse_path(name, kind)
        attribute = path.target.attribute
        if attribute is not None and attribute.mutability is Mutability.READ_ONLY:
            continue  # a client that repeats what it was told (Okta sends the id) changes nothing by it
        yield from _with_path(kind, op, path, one)


def _with_path(kind: Kind, op: Op, path: Path, value: object) -> Iterator[Operation]:
    if path.extension is not None:
        yield from _on_extension(kind, op, path.extension, value)
        return
    attribute = path.target.attribute
    if attribute is None or not path.target.keeps:
        return
    if attribute.mutability is Mutability.READ_ONLY:
        raise ScimRefused(ScimType.MUTABILITY, f"{attribute.name} cannot be written.")
    if op is not Op.REMOVE and value is None:
        op = Op.REMOVE  # RFC 7643 section 2.5: null is no value
    yield Operation(op, path, value)


def _on_extension(kind: Kind, op: Op, schema: str, value: object) -> Iterator[Operation]:
    """A whole schema: what the value names of it, or all of it to be removed."""
    if op is Op.REMOVE:
        if schema == kind.schema:
            raise ScimRefused(ScimType.MUTABILITY, "A resource keeps its own schema.")
        for attribute in kind.extensions.get(schema, ()):
            yield Operation(op, Path(Target(schema, attribute)))
        return
    if not isinstance(value, dict):
        raise ScimRefused(ScimType.INVALID_VALUE, f"{schema} is an object.")
    for name, one in value.items():
        if name.lower() != "schemas":
            yield from _with_path(kind, op, parse_path(f"{schema}:{name}", kind), one)


def _apply(document: Document, operation: Operation) -> None:
    target = operation.path.target
    attribute = target.attribute
    if attribute is None:
        return
    where = document if target.schema is None else document.setdefault(target.schema, {})
    if attribute.multi:
        _apply_to_values(where, attribute, operation)
    elif target.sub is not None:
        whole = where.setdefault(attribute.name, {})
        _set(whole, target.sub, operation)
        if not whole:
            del where[attribute.name]
    elif attribute.type is Type.COMPLEX and operation.op is not Op.REMOVE:
        # RFC 7644 sections 3.5.2.1 and 3.5.2.3: sub-attributes that are not named stay.
        said = read_value(attribute, operation.value) or {}
        if said:
            where.setdefault(attribute.name, {}).update(said)
    else:
        _set(where, attribute, operation)
    if target.schema is not None and not where:
        del document[target.schema]


def _set(where: Document, attribute: Attribute, operation: Operation) -> None:
    if operation.op is Op.REMOVE:
        if attribute.required:
            raise ScimRefused(ScimType.MUTABILITY, f"{attribute.name} is required, and stays.")
        where.pop(attribute.name, None)
        return
    where[attribute.name] = read_value(attribute, operation.value)


def _apply_to_values(where: Document, attribute: Attribute, operation: Operation) -> None:
    present: list[Document] = where.get(attribute.name, [])
    sub = operation.path.target.sub
    condition = operation.path.condition
    if condition is None and sub is None:
        kept = _whole_values(attribute, present, operation)
    else:
        kept = _chosen_values(attribute, present, operation)
    kept = _with_one_primary(kept, present)
    if kept:
        where[attribute.name] = kept
    else:
        where.pop(attribute.name, None)


def _whole_values(attribute: Attribute, present: list[Document], operation: Operation) -> list[Document]:
    if operation.op is Op.REMOVE and operation.value is None:
        return []
    said = [one for one in read_value(attribute, operation.value) or [] if one]
    if operation.op is Op.REMOVE:  # the values that it names, as Microsoft Entra ID removes members
        gone = [one.get("value") for one in said]
        return [one for one in present if one.get("value") not in gone]
    kept = [] if operation.op is Op.REPLACE else list(present)
    for one in said:
        if one not in kept:
            kept.append(one)
    return kept


def _chosen_values(attribute: Attribute, present: list[Document], operation: Operation) -> list[Document]:
    """The values with those changed that the path chooses."""
    sub, condition = operation.path.target.sub, operation.path.condition
    if condition is not None and not all(one.keeps for one in targets(condition)):
        # Nobody can tell which of them are meant: all, so that no right stays that should go. Microsoft
        # Entra ID keeps the one role of a person at roles[primary eq "True"].value.
        chosen = [] if operation.op is Op.ADD else present
        condition = None
    else:
        chosen = [one for one in present if condition is None or value_fits(condition, one)]
    if operation.op is Op.REMOVE:
        if sub is None:
            return [one for one in present if one not in chosen]
        return [_without(one, sub.name) if one in chosen else one for one in present]
    if sub is None:
        [said] = read_value(attribute, operation.value) or [{}]
    else:
        said = {sub.name: read_value(sub, operation.value)}
    if chosen:
        keeps = operation.op is Op.ADD or sub is not None
        return [({**one, **said} if keeps else said) if one in chosen else one for one in present]
    # Nothing fits. Providers mean a value that would: Microsoft Entra ID also says "replace" then.
    implied = {} if condition is None else _implied(condition)
    if implied is None:
        raise ScimRefused(ScimType.NO_TARGET, f"No value of {attribute.name} fits the path.")
    return [*present, {**implied, **said}]


def _implied(condition: Filter) -> Document | None:
    """The value that a condition describes, if it does nothing but that."""
    parts = condition.parts if isinstance(condition, All) else (condition,)
    made: Document = {}
    for part in parts:
        if not isinstance(part, Comparison) or part.operator is not Operator.EQUAL or part.value is None:
            return None
        if part.target.sub is not None:
            made[part.target.sub.name] = part.value
    return made


def _without(value: Document, name: str) -> Document:
    return {other: one for other, one in value.items() if other != name}


def _with_one_primary(values: list[Document], before: list[Document]) -> list[Document]:
    """RFC 7643 section 2.4: a value that becomes the primary one takes that from the others."""
    primary = [one for one in values if one.get("primary") is True]
    if len(primary) < 2:  # noqa: PLR2004 -- there is nothing to choose
        return [one for one in values if one]
    new = [one for one in primary if one not in before]
    last = (new or primary)[-1]
    return [
        {**one, "primary": False} if one is not last and one.get("primary") is True else one
        for one in values
        if one
    ]
