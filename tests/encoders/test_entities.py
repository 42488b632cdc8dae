"""Entity vectors of every source, on files written here in each format."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from mmel.config import load_config
from mmel.document import Alias, Entity
from mmel.encoders.cache import Encoding
from mmel.encoders.entities import EntityVectors, entity_vectors
from mmel.encoders.keyed import CONVENTIONS
from mmel.encoders.text import CachedTextEncoder
from mmel.encoders.trained import DIM, TrainedVectors
from mmel.errors import ConfigError, InputError
from mmel.kb import KnowledgeBase
from mmel.kb.build import build
from mmel.kb.update import add
from mmel.text.entity_text import entity_texts

ENTITIES = (
    Entity(
        "E1", "Salt Road (film)", "film", "A caravan loses its guide.", (Alias("Salt Road", 4),), links=("E2", "E3")
    ),
    Entity("E2", 'Ines "Rook" Tavara', "person", "Plays the guide.", (Alias("Ines", 2),), links=("E1",)),
    Entity("E3", "Ödön Karst", "person", "Plays the trader.", (Alias("Ödön", 1),), links=("E1",)),
    Entity("E4", "Quillhaven", "place", "", (Alias("Quillhaven", 1),)),
)
VALUES = {"E1": [3.0, 4.0, 0.0], "E2": [0.0, -2.0, 0.0], "E3": [0.0, 0.0, 0.5]}
EXPECTED = np.array([[0.6, 0.8, 0], [0, -1, 0], [0, 0, 1], [0, 0, 0]])
REPORT = "entities without a vector: 1 of 4"


class FakeEncoder:
    """Vectors that only the words decide."""

    def __init__(self, *_: object, **__: object) -> None:
        self.id, self.dim = "fake", 24

    def encode(self, texts: Sequence[str]) -> list[Encoding]:
        return [Encoding(_unit(_word(t) for t in re.findall(r"\w+", x)), np.array([[0, len(x)]])) for x in texts]

    def encode_tokens(self, texts: Sequence[str]) -> list[Encoding]:
        out = []
        for text in texts:
            found = list(re.finditer(r"\w+", text))
            spans = np.array([m.span() for m in found], np.int32).reshape(-1, 2)
            vectors = np.array([_word(m.group()) for m in found], np.float16).reshape(-1, self.dim)
            out.append(Encoding(vectors, spans))
        return out

    def embed_tokens(self, texts: Sequence[str]) -> list[Encoding]:
        return self.encode_tokens(texts)


def _word(word: str) -> np.ndarray:
    return np.random.default_rng(zlib.crc32(word.casefold().encode())).standard_normal(24)


def _unit(vectors: object) -> np.ndarray:
    total = np.sum([np.ones(24) / 100, *vectors], axis=0, keepdims=True)  # type: ignore[misc]
    return (total / np.linalg.norm(total)).astype(np.float16)


@pytest.fixture
def kb(tmp_path: Path) -> KnowledgeBase:
    build(ENTITIES, tmp_path / "kb", date="2020-02-02")
    return KnowledgeBase.open(tmp_path / "kb")


Open = Callable[..., EntityVectors]


@pytest.fixture
def opened(tmp_path: Path, kb: KnowledgeBase) -> Open:
    """`entity_vectors` of a source, with a cache of the test's own."""

    def open_source(source: str | Path, said: list[str] | None = None, base: KnowledgeBase = kb) -> EntityVectors:
        encoder = CachedTextEncoder(FakeEncoder(), tmp_path / "cache")
        say = None if said is None else said.append
        return entity_vectors(str(source), encoder, entity_texts, base, folder=tmp_path / "cache", say=say)

    return open_source


def keyed(convention: str) -> dict[str, list[float]]:
    """VALUES under the keys of a convention, after a word that is no entity."""
    key = CONVENTIONS[convention]
    return {"caravan": [1.0, 1.0, 1.0]} | {key(e.id, e.title): VALUES[e.id] for e in ENTITIES if e.id in VALUES}


def write_text(path: Path, rows: Mapping[str, Sequence[float]], header: bool = True) -> Path:
    lines = [f"{len(rows)} {len(next(iter(rows.values())))}"] if header else []
    lines += [f"{key} {' '.join(map(str, values))}" for key, values in rows.items()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_binary(path: Path, rows: Mapping[str, Sequence[float]]) -> Path:
    """As the word2vec tool writes it: a header line, then key, space, little-endian float32s, line break."""
    body = b"".join(k.encode() + b" " + struct.pack(f"<{len(v)}f", *v) + b"\n" for k, v in rows.items())
    path.write_bytes(f"{len(rows)} 3\n".encode() + body)
    return path


def write_native(path: Path, rows: Mapping[str, Sequence[float]]) -> Path:
    from gensim.models import KeyedVectors

    vectors = KeyedVectors(3)
    vectors.add_vectors(list(rows), np.array(list(rows.values()), np.float32))
    vectors.save(str(path))
    return path


def write_arrays(folder: Path, lines: Sequence[str], rows: Sequence[Sequence[float]]) -> Path:
    folder.mkdir()
    (folder / "dict.entity").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    np.save(folder / "entity_embeddings.npy", np.array(rows, np.float32))
    return folder


def check(source: EntityVectors, kb: KnowledgeBase) -> None:
    found = source.vectors(kb, range(4))
    assert found.dtype == np.float16
    assert found.shape == (4, source.dim) == (4, 3)
    np.testing.assert_allclose(found, EXPECTED, atol=1e-3)
    np.testing.assert_array_equal(source.vectors(kb, np.array([3, 0, 0])), found[[3, 0, 0]])
    assert source.vectors(kb, []).shape == (0, 3)


@pytest.mark.parametrize("convention", [c for c in CONVENTIONS if c != "title"])
def test_text_files_name_entities_by_any_convention(
    convention: str, tmp_path: Path, kb: KnowledgeBase, opened: Open
) -> None:
    said: list[str] = []
    check(opened(write_text(tmp_path / "v.txt", keyed(convention)), said), kb)
    assert sum(REPORT in line for line in said) == 1
    assert f"keys: {convention})" in said[-1]


@pytest.mark.parametrize("name", ["glove.txt", "fasttext.vec"])
def test_text_files_without_a_first_line_of_sizes(name: str, tmp_path: Path, kb: KnowledgeBase, opened: Open) -> None:
    check(opened(write_text(tmp_path / name, keyed("entity id"), header=False)), kb)


def test_binary_and_native_files(tmp_path: Path, kb: KnowledgeBase, opened: Open) -> None:
    check(opened(write_binary(tmp_path / "v.bin", keyed("ENTITY/Title_with_underscores"))), kb)
    check(opened(write_native(tmp_path / "v.kv", keyed("title"))), kb)


def test_packed_files(tmp_path: Path, kb: KnowledgeBase, opened: Open) -> None:
    import gzip

    plain = write_text(tmp_path / "v.txt", keyed("entity id"))
    (tmp_path / "v.txt.gz").write_bytes(gzip.compress(plain.read_bytes()))
    check(opened(tmp_path / "v.txt.gz"), kb)


def test_the_convention_that_finds_most_wins(tmp_path: Path, kb: KnowledgeBase, opened: Open) -> None:
    said: list[str] = []
    source = opened(write_text(tmp_path / "v.txt", keyed("entity id") | {"Quillhaven": [1, 0, 0]}), said)
    check(source, kb)  # Quillhaven is the title of E4, and ids find three
    assert said[-1].endswith(REPORT)


def test_vectors_of_length_zero_stay_zero(tmp_path: Path, kb: KnowledgeBase, opened: Open) -> None:
    source = opened(write_text(tmp_path / "v.txt", {"E1": [0, 0, 0], "E2": [0, 5, 0]}))
    np.testing.assert_array_equal(source.vectors(kb, [0, 1]), [[0, 0, 0], [0, 1, 0]])


def test_a_file_is_converted_once_and_then_memory_mapped(tmp_path: Path, kb: KnowledgeBase, opened: Open) -> None:
    path, said = write_text(tmp_path / "v.txt", keyed("entity id")), list[str]()
    first = opened(path, said)
    (made,) = (tmp_path / "cache" / "entity-vectors").glob("*/vectors.kv")
    state = made.stat()
    shutil.move(path, tmp_path / "elsewhere.txt")
    second = opened(tmp_path / "elsewhere.txt", said)
    assert (made.stat().st_mtime_ns, made.stat().st_ino) == (state.st_mtime_ns, state.st_ino)
    assert [line for line in said if "converting" in line] == [f"{path}: converting to {made}, once"]
    assert first.id == second.id
    assert isinstance(second._matrix, np.memmap)  # type: ignore[attr-defined]
    check(second, kb)
    changed = keyed("entity id") | {"E4": [1.0, 2.0, 3.0]}
    assert opened(write_text(tmp_path / "elsewhere.txt", changed)).id != first.id


@pytest.mark.parametrize("counts", ["", "\t1000", "{row}", "{row_from_1}"])
def test_arrays(counts: str, tmp_path: Path, kb: KnowledgeBase, opened: Open) -> None:
    rows = keyed("en.wikipedia.org/wiki/Title_with_underscores")
    order = [2, 0, 3, 1]
    numbered = "row" in counts
    lines = []
    for place, key in enumerate(rows):
        row = order[place] if numbered else place
        number = f"\t{row + ('1' in counts)}" if numbered else counts
        lines.append(f"{key}{number}")
    values = list(rows.values())
    if numbered:
        values = [values[order.index(row)] for row in range(4)]
    check(opened(write_arrays(tmp_path / "vectors", lines, values)), kb)


def test_arrays_may_lack_the_row_of_the_unknown(tmp_path: Path, kb: KnowledgeBase, opened: Open) -> None:
    rows = keyed("title")
    said: list[str] = []
    check(opened(write_arrays(tmp_path / "vectors", [*rows, "#UNK#"], list(rows.values())), said), kb)
    assert said == [f"entity vectors of {tmp_path / 'vectors'} (dimension 3, keys: title): {REPORT}"]


def test_a_title_that_is_not_utf8_keeps_its_row(tmp_path: Path, kb: KnowledgeBase, opened: Open) -> None:
    folder = write_arrays(tmp_path / "vectors", ["x"], [[9, 9, 9], *VALUES.values()])
    (folder / "dict.entity").write_bytes(b"\xff\xfe\nE1\nE2\nE3\n")
    said: list[str] = []
    check(opened(folder, said), kb)
    assert said[0] == f"{folder / 'dict.entity'}: 1 titles are not UTF-8; their entities have no vector"


def test_sentence_vectors_are_those_of_the_entity_texts(kb: KnowledgeBase, opened: Open) -> None:
    source = opened("sentence")
    texts = entity_texts(np.array([2, 0]), kb)
    np.testing.assert_array_equal(
        source.vectors(kb, [2, 0]), np.concatenate([e.vectors for e in FakeEncoder().encode(texts)])
    )
    assert (source.id, source.dim) == ("sentence-fake", 24)


# -- trained here


def test_training_is_deterministic_and_kept_in_the_base(tmp_path: Path, kb: KnowledgeBase, opened: Open) -> None:
    shutil.copytree(kb.folder, tmp_path / "copy")
    said: list[str] = []
    source = opened("trained", said)
    found = source.vectors(kb, range(4))
    assert found.shape == (4, source.dim) == (4, DIM)
    np.testing.assert_allclose(np.linalg.norm(found.astype(float), axis=1), 1, atol=1e-3)
    assert kb.vector_names == [source.id]
    file = next(kb.folder.glob("*/vectors/*.npy"))
    written = file.stat().st_mtime_ns
    np.testing.assert_array_equal(opened("trained").vectors(kb, [3, 1]), found[[3, 1]])
    assert file.stat().st_mtime_ns == written
    assert said == [f"entity vectors '{source.id}' (dimension {DIM}): entities without a vector: 0 of 4"]
    # Another process, whose strings hash otherwise, finds the same.
    script = (
        "import sys, numpy as np\n"
        "from mmel.encoders.trained import train\n"
        "from mmel.kb import KnowledgeBase\n"
        "from mmel.text.entity_text import entity_texts\n"
        "np.save(sys.argv[2], train(KnowledgeBase.open(sys.argv[1]), entity_texts))\n"
    )
    arguments = [sys.executable, "-c", script, str(tmp_path / "copy"), str(tmp_path / "again.npy")]
    subprocess.run(arguments, check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "again.npy"), found)


def test_a_later_revision_finds_the_vectors_its_model_was_trained_on(kb: KnowledgeBase) -> None:
    before = TrainedVectors(kb, entity_texts)
    old = before.vectors(kb, range(4))
    add([Entity("E5", "Marsh Lantern", "place", "An inn.")], kb.folder)
    later, said = KnowledgeBase.open(kb.folder), list[str]()
    source = TrainedVectors(later, entity_texts, said.append, trained_on=before.id)
    assert source.id == before.id
    np.testing.assert_array_equal(source.vectors(later, range(5)), np.concatenate([old, np.zeros((1, DIM))]))
    assert said[-1].endswith("entities without a vector: 1 of 5")
    fresh = TrainedVectors(later, entity_texts)
    assert fresh.id != before.id
    assert fresh.vectors(later, [4]).any()


def test_a_copy_without_its_vectors_makes_the_same(tmp_path: Path, kb: KnowledgeBase) -> None:
    shutil.copytree(kb.folder, tmp_path / "copy")
    made = TrainedVectors(kb, entity_texts)
    assert TrainedVectors(KnowledgeBase.open(tmp_path / "copy"), entity_texts, trained_on=made.id).id == made.id


def test_related_entities_are_close_in_trained_vectors(tmp_path: Path) -> None:
    from mmel.datasets.filmworld import generate
    from mmel.encoders.trained import train

    build(generate(films=30, documents={"train": 1}).entities, tmp_path / "films")
    kb = KnowledgeBase.open(tmp_path / "films")
    vectors = train(kb, entity_texts).astype(float)
    cosines = vectors @ vectors.T
    linked = kb.links.toarray() > 0
    assert cosines[linked].mean() > 0.2
    assert abs(cosines[~linked].mean()) < 0.05


def test_an_entity_without_a_word_has_no_vector(tmp_path: Path, opened: Open) -> None:
    build([Entity("a", "!?"), Entity("b", "Lantern"), Entity("c", "Marsh")], tmp_path / "signs")
    kb = KnowledgeBase.open(tmp_path / "signs")
    said: list[str] = []
    found = opened("trained", said, kb).vectors(kb, [0, 1])
    assert not found[0].any() and found[1].any()
    assert said[-1].endswith("entities without a vector: 1 of 3")
    build([Entity("a", "!?")], tmp_path / "only")
    empty = KnowledgeBase.open(tmp_path / "only")
    with pytest.raises(InputError, match=r"no entity has a word to learn from\. Remedy: encoder\.entities=sentence"):
        opened("trained", None, empty)


def test_trained_vectors_are_refused_for_another_base(tmp_path: Path, kb: KnowledgeBase, opened: Open) -> None:
    source = opened("trained")
    build(ENTITIES[:2], tmp_path / "other")
    other = KnowledgeBase.open(tmp_path / "other")
    with pytest.raises(InputError, match="are vectors of another base"):
        source.vectors(other, [0])
    with pytest.raises(InputError, match=f"'other' has no vectors '{source.id}'"):
        TrainedVectors(other, entity_texts, trained_on=source.id)
    assert other.vector_names == []


# -- bad input


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("v.txt", b"2 3\nE1 1 2 3\nE2 1 2\n", r"v\.txt:3: is no text file of word2vec or GloVe .* as many"),
        ("v.txt", b"E1 1 2 3\nE2 1 x 3\n", r"v\.txt:2: .*could not convert string to float"),
        ("v.txt", b"3 3\nE1 1 2 3\n", r"v\.txt: .*promises 3 rows of 3 numbers, it is shorter"),
        ("v.txt", b"2 1\nE1 1.25\n", r"v\.txt: .*unexpected end of input"),
        ("v.txt", b"", r"v\.txt: is empty"),
        ("v.vec", b"E1\n", r"v\.vec: holds no vector"),
        (
            "v.txt",
            b"caravan 1 2\nguide 3 4\n",
            r"no key names an entity of 'kb'; its first keys are 'caravan', 'guide'",
        ),
        ("v.txt", b"E1 nan 2\nE2 3 4\n", r"v\.txt: row 0 is not finite"),
        (
            "v.bin",
            b"2 3\nE1 \0\0\0\0",
            r"v\.bin: is no binary file .*Remedy: a \.bin is what word2vec and gensim write",
        ),
        ("v.bin", b"\x80\x04\x95\0\0", r"v\.bin: is no binary file .*its first line is not 'rows dimension'"),
        ("v.bin", b"999999999999 300\nE1 ", r"v\.bin: .*promises 999,999,999,999 rows"),
        ("v.kv", b"E1 1 2 3\n", r"v\.kv: are no vectors that gensim saved .*Remedy: save them with KeyedVectors\.save"),
    ],
)
def test_a_broken_file_is_one_clear_error(
    name: str, content: bytes, message: str, tmp_path: Path, kb: KnowledgeBase, opened: Open
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        opened(tmp_path / name).vectors(kb, range(4))
    assert not list((tmp_path / "cache").glob("entity-vectors/.*incomplete"))


def test_a_pickle_of_something_else_is_refused(tmp_path: Path, opened: Open) -> None:
    import pickle

    (tmp_path / "v.kv").write_bytes(pickle.dumps({"E1": [1, 2]}))
    with pytest.raises(InputError, match=r"v\.kv: are no vectors that gensim saved"):
        opened(tmp_path / "v.kv")


@pytest.mark.parametrize(
    ("lines", "rows", "message"),
    [
        (["E1", "E2"], [[1, 2]], r"entity_embeddings\.npy: has 1 rows, dict\.entity has 2 lines"),
        (["E1\t1\t2"], [[1, 2]], r"dict\.entity:1: is no entity \(3 columns\)"),
        (["E1", "E2\tx"], [[1, 2], [3, 4]], r"dict\.entity:2: is no entity \(could not convert"),
        (["E1"], [[[1, 2]]], r"entity_embeddings\.npy: is float32 \[1, 1, 2\]\. Remedy: it must be floats"),
        (["x"], [[1, 2]], r"vectors: no key names an entity of 'kb'"),
    ],
)
def test_arrays_that_do_not_fit(
    lines: list[str], rows: list[list[float]], message: str, tmp_path: Path, kb: KnowledgeBase, opened: Open
) -> None:
    with pytest.raises(InputError, match=message):
        opened(write_arrays(tmp_path / "vectors", lines, rows)).vectors(kb, [0])


def test_what_is_not_there(tmp_path: Path, opened: Open) -> None:
    with pytest.raises(InputError, match=r"gone\.txt: there is no such file"):
        opened(tmp_path / "gone.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"dict\.entity: is missing"):
        opened(tmp_path / "empty")
    write_arrays(tmp_path / "cut", ["E1"], [[1, 2]])
    (tmp_path / "cut" / "entity_embeddings.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(InputError, match=r"entity_embeddings\.npy: is no array"):
        opened(tmp_path / "cut")
    with pytest.raises(ConfigError, match="encoder.entities is 'sentense'.* Did you mean 'sentence'"):
        opened("sentense")


# -- in a run


@pytest.fixture
def trained_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Path, list[str]]]:
    """Trains the sample on a few documents with a fake text encoder; the run folder and what was said."""
    monkeypatch.setattr("mmel.text.linker.TransformerEncoder", FakeEncoder)
    monkeypatch.setenv("MMEL_CACHE", str(tmp_path / "cache"))

    def train(source: str | Path) -> tuple[Path, list[str]]:
        from mmel.training.session import train_linker

        settings = [
            f"encoder.entities={source}",
            f"run={tmp_path / 'run'}",
            "data.limit=6",
            "train.epochs=1",
            "modalities=text",
            "coupling.plan=none",
        ]
        said: list[str] = []
        train_linker(load_config("sample", settings), restart=True, say=said.append)
        return tmp_path / "run", said

    return train


def test_a_linker_trains_and_links_with_vectors_of_a_file(
    tmp_path: Path, trained_run: Callable[..., tuple[Path, list[str]]]
) -> None:
    from mmel.datasets import open_dataset
    from mmel.linker import Linker

    dataset = open_dataset("sample")
    dice = np.random.default_rng(0)
    rows = {entity.id: dice.standard_normal(7).round(3).tolist() for entity in dataset.entities()}
    rows.pop(next(iter(rows)))
    path = write_text(tmp_path / "film-vectors.txt", rows)
    run, said = trained_run(path)
    assert sum("entities without a vector: 1 of" in line for line in said) == 1
    linker = Linker.from_pretrained(run)
    assert linker.text is not None and linker.text.preparer.entities.dim == 7
    documents = [d for _, d in zip(range(3), dataset.documents("val"), strict=False)]
    inputs = linker.text.preparer(documents)
    assert (inputs.entities.shape[1], inputs.titles.shape[1]) == (7, 24)
    linked = list(linker.link(documents))
    assert [len(x.text_links) for x in linked] == [len(d.text_mentions) for d in documents]
    # Other vectors under the same name are not those the model knows.
    write_text(path, {key: [value * 2 for value in values[::-1]] for key, values in rows.items()})
    with pytest.raises(InputError, match=r"the model was trained on entity vectors 'word2vec-.*Remedy: name the same"):
        Linker.from_pretrained(run)


def test_a_linker_trains_with_vectors_trained_here(trained_run: Callable[..., tuple[Path, list[str]]]) -> None:
    from mmel.linker import Linker

    run, said = trained_run("trained")
    assert sum("entities without a vector: 0 of" in line for line in said) == 1
    linker = Linker.from_pretrained(run)
    assert linker.text is not None and linker.text.preparer.entities.id in linker.kb.vector_names
