"""Context views and words against closed forms: one token a word, one-hot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmel.candidates import MentionTable
from mmel.document import Document, TextMention
from mmel.encoders.text import CachedTextEncoder
from mmel.kb import KnowledgeBase
from mmel.text.context import VIEWS, MentionContext, encode_context
from tests.tiny import OneHotEncoder, document

WORDS = "a b c d e f g h i j"


class Encoded:
    """Documents, encoded; vectors are read back as bags of words."""

    def __init__(self, kb: KnowledgeBase, folder: Path, *documents: Document, window: int = 2, words: int = 4) -> None:
        self.encoder = OneHotEncoder(WORDS)
        table = MentionTable.of(documents, kb)
        cached = CachedTextEncoder(self.encoder, folder)
        self.context: MentionContext = encode_context(table, cached, window, words)

    def view(self, name: str, mention: int = 0) -> dict[str, float]:
        row = self.context.view(name)[mention]
        return {word: round(float(row[i]), 3) for word, i in self.encoder.words.items() if row[i]}

    def words(self, mention: int = 0) -> str:
        rows = self.context.words[mention]
        names = list(self.encoder.words)
        return " ".join("-" if r < 0 else names[int(self.context.tokens[r].argmax())] for r in rows)


def unit(words: str) -> dict[str, float]:
    """The unit mean of some words."""
    counts = {word: words.split().count(word) for word in words.split()}
    norm = float(np.linalg.norm(list(counts.values())))
    return {word: round(count / norm, 3) for word, count in counts.items()}


def test_views_are_unit_means_of_their_words(tiny_kb: KnowledgeBase, tmp_path: Path) -> None:
    found = Encoded(tiny_kb, tmp_path, document("a b. C c b [d e] f g c h. I j"))
    expected = {
        "mention": "d e", "window": "c b d e f g", "left": "c b", "right": "f g",
        "sentence": "c b d e f g c h", "document": "a b c b d e f g c h j",
    }  # fmt: skip
    for name in VIEWS:
        assert found.view(name) == unit(expected[name]), name


def test_the_edges_of_a_text(tiny_kb: KnowledgeBase, tmp_path: Path) -> None:
    found = Encoded(tiny_kb, tmp_path, document("[a] b c d [e]"))
    assert [found.view(name) for name in ("left", "right", "window")] == [{}, unit("b c"), unit("a b c")]
    assert [found.view(name, 1) for name in ("left", "right", "window")] == [unit("c d"), {}, unit("c d e")]
    alone = Encoded(tiny_kb, tmp_path / "other", document("[a]"))
    assert [alone.view(name) for name in VIEWS] == [{"a": 1.0}, {"a": 1.0}, {}, {}, {"a": 1.0}, {"a": 1.0}]
    assert alone.words() == "- - a -"


def test_a_mention_within_a_word_and_over_a_sentence_end(tiny_kb: KnowledgeBase, tmp_path: Path) -> None:
    found = Encoded(tiny_kb, tmp_path, document("a b-[c]-d e f. G [a b. C d] e"))
    assert found.view("mention") == unit("c")
    assert found.view("window") == unit("a b c d e f")
    assert (found.view("left"), found.view("right")) == (unit("a b"), unit("d e f"))
    assert found.view("sentence", 1) == unit("a b d")


def test_a_long_window_takes_the_whole_text(tiny_kb: KnowledgeBase, tmp_path: Path) -> None:
    found = Encoded(tiny_kb, tmp_path, document("a b [c] d\ne"), window=50)
    assert found.view("window") == found.view("document") == unit("a b c d e")
    assert found.view("sentence") == unit("a b c d")


@pytest.mark.parametrize(
    ("count", "expected"), [(4, "c d e f"), (3, "d e f"), (1, "e"), (10, "- a b c d e f g h i"), (0, "")]
)
def test_context_words_are_those_around_the_mention(
    tiny_kb: KnowledgeBase, tmp_path: Path, count: int, expected: str
) -> None:
    assert Encoded(tiny_kb, tmp_path, document("a b c [d e] f g h i j"), words=count).words() == expected


def test_documents_do_not_mix(tiny_kb: KnowledgeBase, tmp_path: Path) -> None:
    texts = ["a b [c] d", "no mention", "e [f] g [h]", "", "i [j]"]
    documents = [document(text, str(i)) for i, text in enumerate(texts)]
    together = Encoded(tiny_kb, tmp_path, *documents)
    row = 0
    for one in documents:
        alone = Encoded(tiny_kb, tmp_path, one)
        for mention in range(len(one.text_mentions)):
            np.testing.assert_array_equal(together.context.views[row], alone.context.views[mention])
            assert together.words(row) == alone.words(mention)
            row += 1
    assert row == len(together.context.views) == 4


def test_more_wordpieces_than_are_held_at_a_time(
    tiny_kb: KnowledgeBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = [document(f"{'a ' * i}[b] {'c ' * i}[d]", str(i)) for i in range(6)]
    whole = Encoded(tiny_kb, tmp_path, *documents)
    monkeypatch.setattr("mmel.text.context._TOKENS", 5)
    parts = Encoded(tiny_kb, tmp_path, *documents)
    np.testing.assert_array_equal(parts.context.views, whole.context.views)
    np.testing.assert_array_equal(parts.context.words, whole.context.words)


@pytest.mark.parametrize("text", ["", "no mention", "…", "  "])
def test_nothing_to_pool(tiny_kb: KnowledgeBase, tmp_path: Path, text: str) -> None:
    found = Encoded(tiny_kb, tmp_path, document(text))
    assert found.context.views.shape == (0, len(VIEWS), 10)
    assert found.context.words.shape == (0, 4)
    assert Encoded(tiny_kb, tmp_path).context.views.shape == (0, len(VIEWS), 10)


def test_mentions_of_a_text_without_tokens_are_zero(tiny_kb: KnowledgeBase, tmp_path: Path) -> None:
    silent = Document("d", "… !", text_mentions=(TextMention(0, 1, "…"), TextMention(1, 2, " ")))
    for documents in ([silent], [silent, document("a [b] c")]):
        found = Encoded(tiny_kb, tmp_path, *documents)
        assert not found.context.views[:2].any()
        assert found.context.tokens[np.maximum(found.context.words, 0)].shape == (len(found.context.words), 4, 10)
        assert (found.context.words[:2] == -1).all()


def test_unit_norm_with_a_real_tokenizer(tiny_kb: KnowledgeBase, tmp_path: Path, tiny_encoder: Path) -> None:
    from mmel.encoders.text import TransformerEncoder

    one = document("Zoë Ferreira-Łuk (1961) met [Mira]'s [Otto]—at “Quillhaven”. Then, [Ines] left!", "r")
    cached = CachedTextEncoder(TransformerEncoder(str(tiny_encoder), "float32"), tmp_path)
    context = encode_context(MentionTable.of([one], tiny_kb), cached, 6, 10)
    np.testing.assert_allclose(np.linalg.norm(context.views, axis=-1), 1, atol=1e-5)
    (tokens,) = cached.token_vectors([one.text])
    for row, mention in enumerate(one.text_mentions):
        inside = (tokens.spans[:, 0] < mention.end) & (tokens.spans[:, 1] > mention.start)
        mean = tokens.vectors[inside].astype(np.float32).mean(0)
        np.testing.assert_allclose(context.view("mention")[row], mean / np.linalg.norm(mean), atol=1e-5)
        near = context.words[row][context.words[row] >= 0]
        assert inside[near].any() and (np.diff(near) == 1).all()
