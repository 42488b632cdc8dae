"""Small stand-ins: a tiny random BERT, an encoder whose vectors are known, documents from marked-up text."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

import numpy as np

from mmel.config import Config, Scorer, load_config
from mmel.datasets.filmworld import generate
from mmel.document import Alias, Candidate, Document, Entity, TextMention
from mmel.encoders.cache import Encoding
from mmel.kb.build import build
from mmel.text.features import SCORERS

# The scorers that need nothing else to be switched on; of these, those without parameters.
ALL_SCORERS: tuple[Scorer, ...] = tuple(name for name in get_args(Scorer) if name not in ("retrieval", "pictures"))
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


def write_nine_tasks(root: Path, mentions: int = 24, seed: int = 0) -> Path:
    """A set in the form of M3EL 2024 whose people share surnames and are told apart by the patterns on their pictures.

    The last entity has no picture, and neither has the last mention of the validation split.
    """
    import json

    from PIL import Image

    random = np.random.default_rng(seed)
    names = [f"{first} {last}" for last in ("Vale", "Orrin", "Sund") for first in ("Ada", "Bo", "Cy")]
    patterns = random.integers(0, 200, (len(names), 4, 4))

    def drawn(number: int, name: str) -> list[str]:
        (root / "images").mkdir(parents=True, exist_ok=True)
        shades = np.kron(patterns[number], np.ones((8, 8)))[..., None]
        pixels = np.clip(shades + random.normal(scale=6, size=(32, 32, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(root / "images" / name)
        return [name, "", f"images/{name}"]

    people = [
        {"Qid": f"Q{i}", "name": name, "description": f"{name} is known in town {i}.", "image": drawn(i, f"p{i}.png")}
        for i, name in enumerate(names)
    ]
    people[-1]["image"] = ["", "", ""]
    for split in ("train", "val"):
        made = []
        for i in range(mentions):
            gold = int(random.integers(len(names)))
            surname = names[gold].split()[1]
            listed = [person for person in people if str(person["name"]).endswith(surname)]
            image = drawn(gold, f"{split}{i}.png")
            sentence = f"Today {surname} was seen in town {gold}."
            made.append({"Qid": f"Q{gold}", "name": surname, "description": "", "sentence": sentence,
                         "image": image, "candidates": listed})  # fmt: skip
        if split == "val":
            made[-1]["image"] = ["", "", ""]
        (root / f"{split}.json").write_text(json.dumps(made))
    return root


def nine_tasks_settings(root: Path, encoder: Path, run: Path, *overrides: str) -> Config:
    """Settings of a short run of the experiment m3el-mtmt on it; everything that is written lies beside `root`."""
    return load_config(
        "m3el-mtmt",
        [
            f"run={run}", f"kb={root.parent / 'kb'}", "device=cpu", f"data.root={root}",
            f"encoder.name={encoder}", f"encoder.cache={root.parent / 'encodings'}", "encoder.max_tokens=32",
            "model.match_dim=4", "model.dropout=0.1",
            "model.input_dropout=0.2", "train.swapped_pictures=0.2", "model.hidden=16",
            "train.epochs=12", "train.learning_rate=1e-2",
            "train.schedule=threshold", "train.lower_at_f1=1", "train.batch_pairs=4", "train.ema_decay=0.9",
            "vision.encoder=patch-transformer", "vision.patch.side=32", "vision.patch.grid=4", "vision.patch.dim=24",
            "vision.patch.layers=1", "vision.patch.heads=2", "vision.patch.feed_forward=32",
            "vision.patch_train.steps=0", "vision.patch_train.initial_crops=0", "vision.patch_train.people=3",
            *overrides,
        ],
    )  # fmt: skip


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
