"""Small pages for people whose browser is on the way from one place to another; they run no script."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from fastapi import Response

from scopegate.admin.problems import problem_of

if TYPE_CHECKING:
    from scopegate.core.errors import ScopegateError

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
{refresh}<title>{title}</title>
<link rel="stylesheet" href="/admin/v1/reference.css">
</head>
<body>
<main>
<h1>{title}</h1>
{paragraphs}
</main>
</body>
</html>
"""


def notice(title: str, *paragraphs: str, status: int = 200, goes_to: str | None = None) -> Response:
    """A page that says something, and goes on to `goes_to`, a path of ours, by itself."""
    # A page of ours leads there, and no redirect from elsewhere: so, the browser sends its cookie along.
    refresh = "" if goes_to is None else f'<meta http-equiv="refresh" content="0; url={escape(goes_to)}">\n'
    page = _PAGE.format(
        refresh=refresh,
        title=escape(title),
        paragraphs="\n".join(f"<p>{escape(text)}</p>" for text in paragraphs),
    )
    return Response(page, status, media_type="text/html", headers=_HEADERS)


def refusal(error: ScopegateError, request_id: str) -> Response:
    """A page that says why something is refused."""
    problem, _ = problem_of(error)
    response = notice(
        problem.title,
        *(text for text in (error.message, error.hint, f"Request id: {request_id}") if text),
        status=problem.status,
    )
    response.raw_headers.extend(problem.headers)
    return response
