"""What the values themselves can do."""

from __future__ import annotations

import pytest

from mmel.document import NIL, Link, ScoredCandidate


@pytest.mark.parametrize(
    ("most", "left"), [(0, [NIL]), (1, ["A", NIL]), (2, ["A", "B", NIL]), (9, ["A", "B", NIL, "C"])]
)
def test_a_link_is_cut_but_for_nil(most: int, left: list[str]) -> None:
    candidates = tuple(ScoredCandidate(name, 0.25, 0.0) for name in ("A", "B", NIL, "C"))
    cut = Link("A", 0.25, candidates).cut(most)
    assert [one.entity for one in cut.candidates] == left
    assert (cut.entity, cut.score) == ("A", 0.25)
