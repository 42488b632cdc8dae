"""BERT from a local folder, without transformers: that takes longer to import than a short text takes to link.

The operations are those of transformers' `BertModel` with `sdpa` attention, in their order: the vectors are the same
to the last bit. What is no plain BERT is left to transformers.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional

WEIGHTS, _CONFIG, _PIECES = "model.safetensors", "config.json", "tokenizer.json"
# With these, and only these, a BERT is computed as it is here.
_PLAIN = {"model_type": "bert", "hidden_act": "gelu", "is_decoder": False, "position_embedding_type": "absolute"}
_SPECIAL = ("[PAD]", "[CLS]", "[SEP]")


class Reading(Protocol):
    """A transformer with its word pieces.

    Attributes:
        dim: d, the width of a vector. begin, end, pad: ids of the special pieces.
    """

    dim: int
    begin: int
    end: int
    pad: int

    def cut(self, texts: Sequence[str], most: int) -> list[list[int]]:
        """Pieces of each text with the special ones, at most `most`."""
        ...

    def pieces(self, texts: Sequence[str]) -> tuple[list[list[int]], list[list[tuple[int, int]]]]:
        """All pieces of each text, without special ones, and the characters that each covers."""
        ...

    def words(self, ids: Sequence[int]) -> Tensor:
        """`[t, d]` word embeddings of pieces, as they are before any other piece is seen."""
        ...

    def hidden(self, ids: Tensor, mask: Tensor) -> Tensor:
        """`[b, t, d]` vectors of pieces `[b, t]`, of which `mask` (0 or 1) says which are there."""
        ...


class _Layer(NamedTuple):
    """Pairs of weight and bias."""

    attended: tuple[Tensor, Tensor]
    out: tuple[Tensor, Tensor]
    norm: tuple[Tensor, Tensor]
    up: tuple[Tensor, Tensor]
    down: tuple[Tensor, Tensor]
    last: tuple[Tensor, Tensor]


class PlainBert:
    """See Reading. `folder` is one that `is_plain_bert` accepts."""

    def __init__(self, folder: Path, device: str) -> None:
        from safetensors.torch import load_file
        from tokenizers import Tokenizer

        config = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
        self.dim, self._heads = int(config["hidden_size"]), int(config["num_attention_heads"])
        self._eps = float(config["layer_norm_eps"])
        self._tokenizer = Tokenizer.from_file(str(folder / _PIECES))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()  # for good: it could not be changed while another thread reads
        ids = self._tokenizer.get_vocab()
        self.pad, self.begin, self.end = (ids[name] for name in _SPECIAL)
        self._weights = load_file(folder / WEIGHTS, device=device)
        self._layers = [self._layer(f"encoder.layer.{n}") for n in range(config["num_hidden_layers"])]

    def _pair(self, name: str) -> tuple[Tensor, Tensor]:
        return self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]

    def _layer(self, name: str) -> _Layer:
        attended = zip(
            *(self._pair(f"{name}.attention.self.{part}") for part in ("query", "key", "value")), strict=True
        )
        weight, bias = (torch.cat(parts) for parts in attended)
        others = ("attention.output.dense", "attention.output.LayerNorm", "intermediate.dense", "output.dense")
        return _Layer((weight, bias), *(self._pair(f"{name}.{part}") for part in (*others, "output.LayerNorm")))

    def cut(self, texts: Sequence[str], most: int) -> list[list[int]]:
        return [[self.begin, *ids[: most - 2], self.end] for ids in self.pieces(texts)[0]]

    def pieces(self, texts: Sequence[str]) -> tuple[list[list[int]], list[list[tuple[int, int]]]]:
        found = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [each.ids for each in found], [each.offsets for each in found]

    def words(self, ids: Sequence[int]) -> Tensor:
        return self._weights["embeddings.word_embeddings.weight"][torch.tensor(ids, dtype=torch.long)]

    def hidden(self, ids: Tensor, mask: Tensor) -> Tensor:
        x = self._embedded(ids)
        batch, length, dim = x.shape
        seen = None if bool(mask.all()) else mask.bool()[:, None, None]
        for layer in self._layers:
            attended = functional.linear(x, *layer.attended).view(batch, length, 3, self._heads, -1)
            query, key, value = attended.permute(2, 0, 3, 1, 4)
            heads = functional.scaled_dot_product_attention(query, key, value, seen)
            read = functional.linear(heads.transpose(1, 2).reshape(batch, length, dim), *layer.out)
            x = self._normed(read + x, layer.norm)
            thought = functional.linear(functional.gelu(functional.linear(x, *layer.up)), *layer.down)
            x = self._normed(thought + x, layer.last)
        return x

    def _embedded(self, ids: Tensor) -> Tensor:
        words, kinds, places = (
            self._weights[f"embeddings.{name}_embeddings.weight"] for name in ("word", "token_type", "position")
        )
        return self._normed(words[ids] + kinds[0] + places[: ids.shape[1]], self._pair("embeddings.LayerNorm"))

    def _normed(self, x: Tensor, pair: tuple[Tensor, Tensor]) -> Tensor:
        return functional.layer_norm(x, (self.dim,), *pair, self._eps)


def is_plain_bert(folder: Path) -> bool:
    """Whether a folder holds a BERT of the usual form in one file, with its word pieces."""
    if not all((folder / name).is_file() for name in (WEIGHTS, _CONFIG, _PIECES)):
        return False
    try:
        config = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
        pieces = json.loads((folder / _PIECES).read_text(encoding="utf-8"))
    except ValueError:
        return False  # transformers says what is wrong
    return _is_plain(config) and _has_pieces(pieces) and _names(folder / WEIGHTS) >= _needed(config)


def _is_plain(config: dict[str, Any]) -> bool:
    return all(config.get(name, value) == value for name, value in _PLAIN.items()) and "model_type" in config


def _has_pieces(tokenizer: dict[str, Any]) -> bool:
    added = {each["content"] for each in tokenizer.get("added_tokens", ())}
    return tokenizer.get("model", {}).get("type") == "WordPiece" and added.issuperset(_SPECIAL)


def _names(file: Path) -> set[str]:
    from safetensors import safe_open

    with safe_open(file, "pt") as tensors:
        return set(tensors.keys())


def _needed(config: dict[str, Any]) -> set[str]:
    """Tensors without which the weights are named in another way."""
    layers = range(int(config["num_hidden_layers"]))
    return {"embeddings.LayerNorm.weight", *(f"encoder.layer.{n}.output.LayerNorm.weight" for n in layers)}
