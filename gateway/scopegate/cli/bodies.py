"""What a person typed as the bodies of the administration API."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import pydantic

from scopegate.core.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def body(kind: Callable[..., T], **members: object) -> T:
    """A body with these members.

    Raises:
        InvalidInput: a member is not what the API takes.
    """
    try:
        return kind(**members)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field = ".".join(map(str, first["loc"]))
        raise InvalidInput(field, f"{field}: {first['msg']}.") from None
