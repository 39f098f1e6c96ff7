"""Privileges that are called after the scopes of somebody else."""

from __future__ import annotations

import re
from collections import Counter
from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_OTHER = re.compile(r"[^A-Za-z0-9._:-]+")
_LONGEST = 100  # of a name
_MARK = 12  # hexadecimal digits


def privilege_names(scopes: Iterable[str]) -> dict[str, str]:
    """A privilege's name for each scope: the scope itself where it is a name, else much like it.

    Characters that no name has become a ``-``. No two scopes get the same name: where they would, or a name
    would be too long or empty, a digest of the scope is put behind it.
    """
    distinct = set(scopes)
    plain = {scope: _OTHER.sub("-", scope) for scope in distinct}
    # A scope that is a name keeps it, whoever else would like to have it.
    wanted = Counter(name for scope, name in plain.items() if name != scope)
    return {
        scope: name
        if len(name) <= _LONGEST
        and name.strip("-")
        and (name == scope or (wanted[name] == 1 and name not in distinct))
        else _marked(scope, name)
        for scope, name in plain.items()
    }


def _marked(scope: str, name: str) -> str:
    digest = sha256(scope.encode("utf-8", "surrogatepass")).hexdigest()[:_MARK]
    return f"{name[: _LONGEST - _MARK - 1]}-{digest}"
