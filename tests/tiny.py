"""Small stand-ins: a tiny random BERT, an encoder whose vectors are known, documents from marked-up text."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

import numpy as np

from mmel.config import Config, Scorer
from mmel.datasets.filmworld import generate
from mmel.document import Alias, Candidate, Document, Entity, TextMention
from mmel.encoders.cache import Encoding
from mmel.kb.build import build
from mmel.text.features import SCORERS

# The scorers that need nothing else to be switched on; of these, those without parameters.
ALL_SCORERS: tuple[Scorer, ...] = tuple(name for name in get_args(Scorer) if name not in ("retrieval",))
PLAIN_SCORERS = tuple(name for name in SCORERS if name in ALL_SCORERS)

_MARKED = re.compile(r"\[([^\]|]+)(?:\|([^\]]*))?\]")

# Two films that share first names, two towns that share theirs, and a page that nothing links to.
ENTITIES = (
    Entity("F1", "Salt Road (film)", "film", "A caravan loses its guide.", (Alias("Salt Road", 9),),
           links=("C1", "C2", "P1")),
    Entity("C1", "Mira Dole", "character", "The guide.", (Alias("Mira", 4), Alias("Mira Dole", 2)), links=("F1", "P1")),
    Entity("C2", "Otto Renn", "character", "", (Alias("Otto", 3), Alias("Renn", 1)), links=("F1",)),
    Entity("F2", "Glass Harbour", "film", "A pilot hides a ledger.", (Alias("Glass Harbour", 5),), links=("C3", "C4")),
    Entity("C3", "Mira Voss", "character", "", (Alias("Mira", 6),), links=("F2",)),
    Entity("C4", "Otto Brandt", "character", "The smuggler.", (Alias("Otto", 3),), links=("F2",)),
    Entity("P1", "Ines Tavara", "person", "Plays the guide.", (Alias("Ines Tavara", 7), Alias("Ines", 1)),
           links=("C1",)),
    Entity("T1", "Quillhaven, Ohio", "place", "A town.", (Alias("Quillhaven", 2),)),
    Entity("T2", "Quillhaven (Kent)", "place", "", (Alias("Quillhaven", 2), Alias("Old Quillhaven", 1))),
    Entity("X1", "Zero", "page", "Nothing links here.", (Alias("Zero", 1),)),
)  # fmt: skip


def document(
    marked: str, id: str = "d", candidates: Mapping[str, Sequence[Candidate] | None] | None = None
) -> Document:
    """A document from text with mentions in brackets: `[surface]` without a label, `[surface|entity]` with one.

    `candidates` gives the list of a surface.
    """
    text, mentions, at = "", [], 0
    for match in _MARKED.finditer(marked):
        text += marked[at : match.start()]
        surface, entity = match.group(1), match.group(2)
        listed = (candidates or {}).get(surface)
        mentions.append(
            TextMention(len(text), len(text) + len(surface), surface, entity, None if listed is None else tuple(listed))
        )
        text += surface
        at = match.end()
    return Document(id, text + marked[at:], text_mentions=tuple(mentions))


class OneHotEncoder:
    """Every word is one token with a one-hot vector of its own; a sentence is the mean of its words."""

    def __init__(self, words: str, id: str = "one-hot") -> None:
        self.words = {word: i for i, word in enumerate(dict.fromkeys(words.split()))}
        self.id, self.dim = id, len(self.words)
        self.encoded: list[str] = []

    def _row(self, word: str) -> np.ndarray:
        row = np.zeros(self.dim, np.float16)
        if word in self.words:
            row[self.words[word]] = 1
        return row

    def encode(self, texts: Sequence[str]) -> list[Encoding]:
        self.encoded += texts
        out = []
        for text in texts:
            rows = np.array([self._row(""), *(self._row(w) for w in re.findall(r"\w+", text))], np.float32)
            mean = rows.sum(0, keepdims=True)
            unit = mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-6)
            out.append(Encoding(unit.astype(np.float16), np.array([[0, len(text)]], np.int32)))
        return out

    def encode_tokens(self, texts: Sequence[str]) -> list[Encoding]:
        self.encoded += texts
        out = []
        for text in texts:
            found = list(re.finditer(r"\w+", text))
            spans = np.array([m.span() for m in found], np.int32).reshape(-1, 2)
            rows = np.array([self._row(m.group()) for m in found], np.float16).reshape(-1, self.dim)
            out.append(Encoding(rows, spans))
        return out

    def embed_tokens(self, texts: Sequence[str]) -> list[Encoding]:
        return self.encode_tokens(texts)


def write_encoder(folder: Path, seed: int = 0, pooler: bool = True, shard: str = "1GB") -> Path:
    """A random BERT of one layer and 16 units whose word pieces are single characters."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    folder.mkdir(parents=True, exist_ok=True)
    letters = [chr(c) for c in range(33, 127) if not chr(c).isupper()]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{c}" for c in letters if c.isalnum())]
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    config = BertConfig(
        vocab_size=len(pieces),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=256,
    )
    torch.manual_seed(seed)
    BertModel(config, add_pooling_layer=pooler).save_pretrained(folder, max_shard_size=shard)
    AutoTokenizer.from_pretrained(folder).save_pretrained(folder)
    return folder


def write_film_world(root: Path, films: int, documents: Mapping[str, int], seed: int, drawn: bool = True) -> Path:
    """A small film world as a folder of the dataset `movies`, its base beside it; its pictures where `drawn`."""
    world = generate(films, documents, seed)
    world.save(root)
    if drawn:
        world.draw(root)
    build(world.entities, root.parent / "kb", name="films", date="2020-02-02")
    return root


def small_config(films: Path, encoder: Path, run: Path, *overrides: str) -> Config:
    """Settings of a training run of a second or two; everything that is written lies beside `films`."""
    return Config().with_overrides(
        [
            "name=small",
            f"run={run}",
            f"kb={films.parent / 'kb'}",
            "device=cpu",
            "data.dataset=movies",
            f"data.root={films}",
            "data.train_split=train",
            "data.dev_split=val",
            "candidates.keep_prior=6",
            "candidates.graph_k=6",
            "candidates.annotations=false",
            f"encoder.name={encoder}",
            f"encoder.cache={films.parent / 'encodings'}",
            "encoder.max_tokens=32",
            "model.dim=16",
            "model.match_dim=8",
            "model.hidden=16",
            "model.inference=mean-field",
            "model.context_words=10",
            "model.attention_words=4",
            "train.epochs=3",
            "train.schedule=cosine",
            "train.learning_rate=1e-2",
            "train.loss=cross_entropy",
            "train.batch_pairs=300",
            "train.ema_decay=0.9",
            "detection.text=names",
            *overrides,
        ]
    )
