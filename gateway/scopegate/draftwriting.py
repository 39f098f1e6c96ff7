"""A drafted catalogue as the text of a policy file; what a person has to know stands in comments."""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml

from scopegate.core.operations import as_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scopegate.core.catalogue import Endpoint
    from scopegate.core.operations import DraftedEntry
    from scopegate.openapifiles import ApiDescription

_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_SHOWN = 3
_ENDLESS = 1 << 30  # columns


def write_draft(source: str, described: ApiDescription, entries: Sequence[DraftedEntry]) -> str:
    """The text of a policy file with `entries`, which were drafted from what `source` describes."""
    lines = [f"# {line}".rstrip() for line in _head(source, described, entries)]
    lines.append("endpoints:" if entries else "endpoints: []")
    for entry in entries:
        lines += [f"  # {line}" for line in _comments(entry)]
        lines.append(f"  - {_flow(entry.endpoint)}{_OPEN if entry.is_open else ''}")
    return "\n".join((*lines, ""))


def _head(source: str, described: ApiDescription, entries: Sequence[DraftedEntry]) -> Iterator[str]:
    open_to_all = sum(entry.is_open for entry in entries)
    overlapped = sum(entry.overlap is not None for entry in entries)
    api = " ".join(part for part in (described.title, described.version) if part)
    yield as_line(f"A draft of the catalogue of {api or 'an API'}, from {source}.", most=_LONGEST)
    yield f"{_count(len(described.operations), 'operation')}, {_count(len(entries), 'entry', 'entries')}."
    yield "Read it and correct it, then see what it would change: scopegate diff DIRECTORY"
    if open_to_all:
        yield f"{_count(open_to_all, 'entry is', 'entries are')} open to every active user: check them."
    if overlapped:
        yield (
            f"{_count(overlapped, 'entry needs', 'entries need')} more than the document says,"
            " for * matches across '/' and all entries that match count together."
        )
    if described.names:
        yield "Privileges that are spelt otherwise than what they stand for:"
        yield from (f"  {name}: {as_line(scope)}" for scope, name in described.names.items())
    if described.notes:
        yield from ("", *described.notes)
    yield ""


def _comments(entry: DraftedEntry) -> Iterator[str]:
    operations = entry.operations
    for operation in operations[:_SHOWN]:
        called = f" ({operation.operation_id})" if operation.operation_id else ""
        if called or operation.template != operation.url:
            yield f"{operation.method} {operation.template}{called}"
    if len(operations) > 1:
        yield f"{len(operations)} operations have this URL here; it requires what all of them do."
    remarks = dict.fromkeys(remark for operation in operations for remark in operation.remarks)
    yield from list(remarks)[:_SHOWN]
    if entry.overlap is not None:
        labels = entry.overlap.labels
        more = f" and {len(labels) - _SHOWN} more" if len(labels) > _SHOWN else ""
        yield (
            f"Needs {', '.join(sorted(entry.overlap.privileges))} as well:"
            f" it is matched by {', '.join(labels[:_SHOWN])}{more} too."
        )


def _flow(endpoint: Endpoint) -> str:
    said = {
        "methods": sorted(endpoint.methods),
        "url": endpoint.url,
        "privileges": sorted(endpoint.privileges),
        **({"summary": endpoint.summary} if endpoint.summary else {}),
    }
    text: str = yaml.dump(
        said, Dumper=_DUMPER, default_flow_style=True, sort_keys=False, allow_unicode=True, width=_ENDLESS
    )
    return text.rstrip("\n")


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one}" if number == 1 else f"{number} {many or f'{one}s'}"


_OPEN = "  # open to every active user: check"
_LONGEST = 300
