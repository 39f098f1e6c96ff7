"""Picking endpoints: finding them by words, and the rules that open them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scopegate.core.catalogue import ANY_METHOD
from scopegate.core.keys import Rule
from scopegate.core.request import METHODS, rule_method

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scopegate.core.catalogue import Endpoint


def words_of(text: str) -> tuple[str, ...]:
    """The words of a search, in the form that `mentions` compares."""
    return tuple(text.casefold().split())


def mentions(words: Iterable[str], texts: Iterable[str]) -> bool:
    """Whether each word is a part of one of `texts`, whatever the case; without words, always."""
    folded = [text.casefold() for text in texts]
    return all(any(word in text for text in folded) for word in words)


def is_picked(endpoint: Endpoint, words: Iterable[str], method: str | None = None) -> bool:
    """Whether a search for `words`, and for what a `method` can call, finds an endpoint.

    Words are looked for in methods, URL, summary and privileges. An endpoint of GET is one for HEAD too.
    """
    if method is not None and endpoint.methods.isdisjoint({method, rule_method(method), ANY_METHOD}):
        return False
    return mentions(words, (*endpoint.methods, endpoint.url, endpoint.summary, *endpoint.privileges))


def rules_for(endpoint: Endpoint, rule_methods: frozenset[str]) -> tuple[Rule, ...]:
    """The rules of a custom key that open all of an endpoint, as far as rules may name its methods."""
    methods = METHODS if ANY_METHOD in endpoint.methods else endpoint.methods
    named = {rule_method(method) for method in methods}
    return tuple(Rule(method, endpoint.url) for method in sorted(named & rule_methods))
