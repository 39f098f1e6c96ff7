"""Inputs for a fuzz target, as hypothesis builds them: seeds, with pieces put in, left out and doubled."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING

from hypothesis import strategies as st

if TYPE_CHECKING:
    from fuzz.targets import Target

Edit = tuple[int, int, bytes]


def _edited(data: bytes, edit: Edit) -> bytes:
    at, removed, inserted = edit
    at %= len(data) + 1
    return data[:at] + inserted + data[at + removed :]


def inputs_of(target: Target) -> st.SearchStrategy[bytes]:
    """A seed with some edits; mostly near to what is valid."""
    pieces = st.one_of(
        st.sampled_from(target.words),
        st.sampled_from(target.words),
        st.sampled_from(target.seeds).map(lambda seed: seed.partition(b"\n")[2]),
        st.binary(max_size=3),
    )
    edits: st.SearchStrategy[Edit] = st.tuples(
        st.integers(0, 400), st.one_of(st.just(0), st.integers(0, 8)), pieces
    )
    return st.builds(
        lambda seed, drawn: reduce(_edited, drawn, seed),
        st.sampled_from(target.seeds),
        st.lists(edits, max_size=6),
    )
