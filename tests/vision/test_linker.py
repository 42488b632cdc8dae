"""What is asked of visual mentions: their gold entities."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mmel.document import NIL, Document, Entity, VisualMention
from mmel.kb import KnowledgeBase
from mmel.kb.build import build
from mmel.vision.linker import mention_golds


def test_golds_of_mentions(tmp_path: Path) -> None:
    build([Entity("A", "One"), Entity("B", "Two")], tmp_path / "kb", date="2020-02-02")

    def document(*entities: str | None) -> Document:
        return Document("d", "", visual_mentions=tuple(VisualMention("x.jpg", entity=entity) for entity in entities))

    with KnowledgeBase.open(tmp_path / "kb") as kb:
        found = mention_golds([document("B", None, "A"), document(), document(NIL, "C", "B")], kb)
        np.testing.assert_array_equal(found, [1, -1, 0, -1, -1, 1])
        assert found.dtype == np.int64
        assert mention_golds([], kb).shape == (0,)
