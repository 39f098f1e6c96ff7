"""What ``/admin/v1/endpoints`` takes and answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from scopegate.admin.schemas import Output, PageQuery, Rule

if TYPE_CHECKING:
    from scopegate.commands.endpoints import PickedEndpoint

HttpMethod = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


class EndpointQuery(PageQuery):
    """Which endpoints are wanted; all of the filters have to admit one."""

    q: str | None = Field(
        default=None,
        max_length=200,
        description="Words; each is a part of a method, the URL, the summary or a privilege.",
    )
    method: HttpMethod | None = Field(default=None, description="Only what can be called with this method.")
    # The place in the list is a URL, which may be long.
    cursor: str | None = Field(
        default=None, max_length=4_000, description="`next_cursor` of the page before; with the same filters."
    )


class Endpoint(Output):
    """An endpoint of the catalogue. ``methods`` may be ``*`` alone, for all of them.

    ``rules`` are those that a custom key needs to open it; none where rules may name none of its methods.
    """

    methods: list[str]
    url: str
    summary: str
    privileges: list[str]
    rules: list[Rule]


class EndpointPage(Output):
    """Some endpoints, by URL."""

    items: list[Endpoint]
    next_cursor: str | None
    has_more: bool


def endpoint_document(picked: PickedEndpoint) -> Endpoint:
    """An endpoint as it is answered."""
    endpoint = picked.endpoint
    return Endpoint(
        methods=sorted(endpoint.methods),
        url=endpoint.url,
        summary=endpoint.summary,
        privileges=sorted(endpoint.privileges),
        rules=[Rule(method=rule.method, url=rule.url) for rule in picked.rules],
    )
