"""Rules of a key that another of its rules makes needless.

Rules that make another one needless together do so because one of them does: see `languages`. So it is
enough to ask each for itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scopegate.core.errors import InvalidInput, MatchingFailed
from scopegate.core.reach import why_nothing
from scopegate.core.wildcard import PatternSet, pattern_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scopegate.core.keys import Rule


def shadowed(rules: Mapping[int, Rule]) -> dict[int, int]:
    """The rows that another row makes needless, and that row; of equal ones the first stays.

    Rows that admit nothing are not told of.
    """
    by_method: dict[str, list[int]] = {}
    for row, rule in rules.items():
        if why_nothing(rule) is None:
            by_method.setdefault(rule.method, []).append(row)
    patterns = {row: pattern_of(rule.url) for row, rule in rules.items()}
    covered: dict[int, int] = {}
    for rows in by_method.values():
        try:
            together = PatternSet((patterns[row], row) for row in rows)
            for row in rows:
                pattern = patterns[row]
                # As in UrlPattern.covers, but of all rows at once: a pattern is a request that it admits.
                for other in sorted(together.matching_literally(*pattern.as_request)):
                    if other < row or (other > row and not pattern.covers(patterns[other])):
                        covered[row] = other
                        break
        except (InvalidInput, MatchingFailed):
            continue  # a key with such rules there cannot be
    return covered
