"""Names of the text that nobody asked for: which are taken, and which are left."""

from __future__ import annotations

import pytest

from mmel.candidates.names import with_context_names
from mmel.kb import KnowledgeBase
from tests.tiny import document


@pytest.mark.parametrize(
    ("marked", "found"),
    [
        ("[Mira|C1] met Otto Renn at dusk.", ["Otto", "Renn"]),  # the base knows both, but no Otto Renn
        ("[Mira|C1] saw Glass Harbour again.", ["Glass Harbour"]),
        ("[Mira|C1] read Otto's letter.", ["Otto"]),
        ("Zero came. [Mira|C1] left.", []),  # may be any word: it opens a sentence
        ("Zero came. [Mira|C1] saw Zero.", ["Zero", "Zero"]),
        ("[Mira Dole|C1] smiled.", []),  # inside a mention
        ("[Mira|C1] sold zero tickets.", []),
        ("Nothing here is known to Anyone Else.", []),
    ],
)
def test_what_joins(tiny_kb: KnowledgeBase, marked: str, found: list[str]) -> None:
    original = document(marked)
    (extended,) = with_context_names([original], tiny_kb)
    extended.check_spans()
    added = [m for m in extended.text_mentions if m not in original.text_mentions]
    assert [m.text for m in added] == found
    assert all(m.entity is None for m in added)
    assert [m for m in extended.text_mentions if m in original.text_mentions] == list(original.text_mentions)
    starts = [m.start for m in extended.text_mentions]
    assert starts == sorted(starts)


def test_the_longest_name_wins(tiny_kb: KnowledgeBase) -> None:
    (extended,) = with_context_names([document("They watched Old Quillhaven burn.")], tiny_kb)
    assert [m.text for m in extended.text_mentions] == ["Old Quillhaven"]
