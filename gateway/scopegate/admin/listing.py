"""Lists a page at a time: filters, orders, and cursors that belong to them."""

from __future__ import annotations

import base64
import json
from hashlib import sha256
from typing import TYPE_CHECKING, Any, TypeVar

from scopegate.core.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from scopegate.admin.schemas import PageQuery

T = TypeVar("T")


def cursor_after(query: PageQuery, place: Any) -> str:  # noqa: ANN401 -- whatever JSON can say
    """The cursor of what follows `place`, for the filters of `query` alone.

    It is not signed: whoever makes one up chooses where to go on in a list that the caller may read.
    """
    raw = json.dumps([_filters(query), place]).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def place_of(query: PageQuery) -> Any:  # noqa: ANN401 -- as above
    """The place that the cursor of `query` names, or None where it has none.

    Raises:
        InvalidInput: it is no cursor of ours, or one of other filters.
    """
    if query.cursor is None:
        return None
    try:
        padded = query.cursor + "=" * (-len(query.cursor) % 4)
        filters, place = json.loads(base64.b64decode(padded.encode("ascii"), altchars=b"-_", validate=True))
    except (ValueError, TypeError) as error:
        raise no_cursor() from error
    if filters != _filters(query):
        raise InvalidInput(
            "query:cursor",
            "The cursor belongs to a list with other filters.",
            hint="Begin again without a cursor.",
            code="cursor_filter_mismatch",
        )
    return place


def _filters(query: PageQuery) -> str:
    said = query.model_dump(mode="json", exclude={"cursor", "limit"})
    return sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]


def page(
    items: Sequence[T], query: PageQuery, order: Callable[[T], list[Any]], *, descending: bool
) -> tuple[list[T], str | None]:
    """The items of the page that is asked for, and the cursor of the next one.

    Args:
        items: all that the filters admit.
        query: which page is wanted.
        order: what an item is ordered by, in values of JSON; no two items have the same.
        descending: whether the largest comes first.

    Raises:
        InvalidInput: as `place_of`.
    """
    place = place_of(query)
    ordered = sorted(items, key=order, reverse=descending)
    if place is not None:
        try:
            ordered = [
                item for item in ordered if (order(item) < place if descending else order(item) > place)
            ]
        except TypeError as error:
            raise no_cursor() from error
    shown = ordered[: query.limit]
    return shown, cursor_after(query, order(shown[-1])) if len(ordered) > len(shown) else None


def point_on(request: Request, response: Response, cursor: str | None) -> None:
    """Say in a header field where the next page is, if there is one (RFC 8288 section 3)."""
    if cursor is not None:
        following = request.url.include_query_params(cursor=cursor)
        response.headers["Link"] = f'<{following.path}?{following.query}>; rel="next"'


def no_cursor() -> InvalidInput:
    """The error that says that a cursor is none of ours."""
    return InvalidInput(
        "query:cursor",
        "This is no cursor.",
        hint="Pass `next_cursor` of the page before.",
        code="cursor_invalid",
    )
