"""What the fusions read: windows around mentions, titles with descriptions, padding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mmel.candidates import MentionTable
from mmel.document import Document
from mmel.encoders.text import CachedTextEncoder
from mmel.kb import KnowledgeBase
from mmel.text.fusion_inputs import FusionInputs, FusionReader, FusionSettings, padded
from tests.tiny import OneHotEncoder, document

WORDS = "a b c d e f g h Mira Otto Salt Road film The guide"


def read(kb: KnowledgeBase, folder: Path, documents: list[Document], most: int = 4) -> FusionInputs:
    encoder = CachedTextEncoder(OneHotEncoder(WORDS), folder, keep_documents=False)
    table = MentionTable.of(documents, kb)
    return FusionReader(encoder, FusionSettings(most))(table, kb.indices(["C1", "F1", "X1"]), kb)


def words_of(rows: np.ndarray) -> list[str]:
    names = list(dict.fromkeys(WORDS.split()))
    return [names[int(row.argmax())] if row.any() else "" for row in rows]


def test_a_short_text_is_one_window_and_a_long_one_is_read_around_each_mention(
    tiny_kb: KnowledgeBase, tmp_path: Path
) -> None:
    documents = [document("[Mira] a [Otto]"), document("[Mira] a b c d [Otto] e f [Salt Road]"), document("a")]
    found = read(tiny_kb, tmp_path, documents)
    windows = [words_of(found.mentions.tokens[w]) for w in found.window]
    assert windows[:2] == [["Mira", "a", "Otto"]] * 2 and found.window[0] == found.window[1]
    assert windows[2:] == [["Mira", "a", "b", "c"], ["c", "d", "Otto", "e"], ["e", "f", "Salt", "Road"]]
    assert found.span.tolist() == [[0, 0], [2, 2], [0, 0], [2, 2], [2, 3]]


def test_a_mention_longer_than_its_window_keeps_its_first_tokens(tiny_kb: KnowledgeBase, tmp_path: Path) -> None:
    found = read(tiny_kb, tmp_path, [document("a [b c d e f] g")], most=3)
    assert words_of(found.mentions.tokens[0]) == ["b", "c", "d"] and found.span.tolist() == [[0, 2]]


@pytest.mark.parametrize("text", ["[...]", "[...] a b", "a b [...]"])
def test_a_mention_without_tokens(text: str, tiny_kb: KnowledgeBase, tmp_path: Path) -> None:
    found = read(tiny_kb, tmp_path, [document(text)])
    assert found.span.tolist() == [[-1, -1]]
    assert len(found.mentions.tokens[0]) == text.count("a") + text.count("b")


def test_entities_are_read_by_title_and_description(tiny_kb: KnowledgeBase, tmp_path: Path) -> None:
    found = read(tiny_kb, tmp_path, [document("[Mira]")], most=5)
    assert [words_of(rows) for rows in found.entities.tokens] == [
        ["Mira", "", "The", "guide"],  # Mira Dole. The guide.
        ["Salt", "Road", "film", "", ""],  # Salt Road (film). A caravan ...
        ["", "", "", ""],  # Zero. Nothing links here.
    ]
    assert found.entities.cells is None


def test_vectors_of_entities_stay_on_disk(tiny_kb: KnowledgeBase, tmp_path: Path) -> None:
    encoder = CachedTextEncoder(OneHotEncoder(WORDS), tmp_path, keep_documents=False)
    reader, table = FusionReader(encoder, FusionSettings(4)), MentionTable.of([document("[Mira]")], tiny_kb)
    reader(table, np.arange(3), tiny_kb)
    encoder.encoder.encoded.clear()  # type: ignore[attr-defined]
    reader(table, np.arange(3), tiny_kb)
    assert encoder.encoder.encoded == ["Mira"]  # type: ignore[attr-defined]


def test_padded() -> None:
    rows, there = padded([np.ones((2, 3), np.float16), np.zeros((0, 3), np.float16)], torch.device("cpu"))
    assert rows.dtype == torch.float32 and rows.tolist() == [[[1.0] * 3] * 2, [[0.0] * 3] * 2]
    assert there.tolist() == [[True, True], [False, False]]
