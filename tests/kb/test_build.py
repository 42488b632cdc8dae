"""Building: what is stored, and what happens when something goes wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmel.document import Alias, Entity
from mmel.errors import ConfigError, InputError
from mmel.formats.jsonl import read_entities
from mmel.kb import KnowledgeBase, cached_build, layout, tables
from mmel.kb.arrays import LinkWriter, NpyWriter
from mmel.kb.build import build


def test_meta(kb: KnowledgeBase) -> None:
    meta = kb.meta
    assert (meta.name, meta.date, meta.source, meta.revision) == ("harbour", "2020-02-02", "invented", 1)
    assert (meta.entities, meta.surfaces, meta.aliases, meta.links, meta.dangling_links) == (6, 8, 10, 7, 1)
    assert meta.lineage == meta.content_hash
    assert layout.KbMeta.from_dict(json.loads(json.dumps(meta.to_dict()))) == meta


def test_the_hash_is_of_the_content_alone(tmp_path: Path, entities: tuple[Entity, ...]) -> None:
    first = build(entities, tmp_path / "a", name="one", date="2001-01-01")
    assert build(iter(entities), tmp_path / "b", source="elsewhere").content_hash == first.content_hash
    # Pinned: another machine, Python or SQLite must give the same.
    assert first.content_hash == "4e61b91f27df044a7cff0beac4a1a6229ac55a2161a2a475da50939d0c0dd638"
    for changed in (
        entities[:-1],
        entities[::-1],
        (*entities[:-1], replace(entities[-1], title="Zoe Quills")),
        (*entities[:-1], replace(entities[-1], aliases=(Alias("Zoe", 4),))),
        (*entities[:-1], replace(entities[-1], extra={"year": 1})),
    ):
        assert build(changed, tmp_path / "c").content_hash != first.content_hash
    same = (*entities[:-1], replace(entities[-1], aliases=(Alias("Zoe", 3.0),)))
    assert build(same, tmp_path / "c").content_hash == first.content_hash


def test_a_name_an_entity_lists_twice_is_counted_once(tmp_path: Path) -> None:
    build([Entity("A", "A", aliases=(Alias("x", 1), Alias("x", 2))), Entity("B", "B", aliases=(Alias("x"),))], tmp_path)
    assert [(match.index, match.prior) for match in KnowledgeBase.open(tmp_path).lookup("x")] == [(0, 0.75), (1, 0.25)]


def test_a_count_of_any_size(tmp_path: Path) -> None:
    entities = [Entity("A", "A", aliases=(Alias("x", 10**30),)), Entity("B", "B", aliases=(Alias("x", 0.5),))]
    build(entities, tmp_path)
    assert list(KnowledgeBase.open(tmp_path)) == entities
    assert [match.prior for match in KnowledgeBase.open(tmp_path).lookup("x")] == pytest.approx([1, 0.5e-30])


def test_more_than_one_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmel.kb.build._BATCH", 7)
    monkeypatch.setattr("mmel.kb.build._LINK_BATCH", 5)
    entities = [
        Entity(f"E{i}", f"T{i}", links=tuple(f"E{j}" for j in range(0, 30, max(i, 1))), popularity=i) for i in range(20)
    ]
    meta = build(entities, tmp_path)
    kb = KnowledgeBase.open(tmp_path)
    expected = np.zeros((20, 20))
    for i in range(20):
        expected[i, 0 : 20 : max(i, 1)] = 1
    assert np.array_equal(kb.links.toarray(), expected)
    assert kb.popularity.tolist() == list(range(20))
    assert meta.links == expected.sum()
    assert meta.links + meta.dangling_links == sum(len(entity.links) for entity in entities)


@settings(max_examples=50, deadline=None)
@given(pairs=st.sets(st.tuples(st.integers(0, 9), st.integers(0, 9))), cuts=st.lists(st.integers(0, 100), max_size=4))
def test_links_written_in_parts(
    tmp_path_factory: pytest.TempPathFactory, pairs: set[tuple[int, int]], cuts: list[int]
) -> None:
    data = tmp_path_factory.mktemp("links")
    ordered = np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2)
    with LinkWriter(data, 10, len(ordered)) as writer:
        for part in np.split(ordered, sorted(min(cut, len(ordered)) for cut in cuts)):
            writer.append(part[:, 0], part[:, 1])
    indptr, indices, ones = (np.load(data / name) for name in layout.LINKS)
    assert indptr.tolist() == [int((ordered[:, 0] < row).sum()) for row in range(11)]
    assert indices.tolist() == ordered[:, 1].tolist()
    assert ones.tolist() == [1.0] * len(ordered)


def test_npy_writer(tmp_path: Path) -> None:
    with NpyWriter(tmp_path / "x.npy", np.float32) as writer:
        for part in ([1, 2], [], [3]):
            writer.append(np.array(part))
    assert np.load(tmp_path / "x.npy", mmap_mode="r").tolist() == [1, 2, 3]


# -- bad input


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (Entity("F1", "again"), r"duplicate entity id 'F1': records 1 and 7"),
        (Entity(" ", "no id"), "has no id"),
        (Entity("N", "n", aliases=(Alias("", 1),)), r"entity 'N' \(index 6\): has an alias without a name"),
        (Entity("N", "n", aliases=(Alias("n", -1),)), "alias 'n' has count -1"),
        (Entity("N", "n", aliases=(Alias("n", float("nan")),)), "alias 'n' has count nan"),
        (Entity("N", "half \ud800"), "half of a surrogate pair"),
        (Entity("N", "n", popularity=1 << 63), "has popularity 9223372036854775808"),
    ],
)
def test_a_bad_record_leaves_the_old_base(
    tmp_path: Path, entities: tuple[Entity, ...], bad: Entity, reason: str
) -> None:
    before = build(entities[:2], tmp_path)
    with pytest.raises(InputError, match=reason):
        build([*entities, bad], tmp_path)
    assert KnowledgeBase.open(tmp_path).meta == before
    assert not list(tmp_path.glob("*.incomplete"))


def test_nothing_to_build_from(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no entity to build from"):
        build([], tmp_path / "kb")
    (tmp_path / "empty.jsonl").write_text("\n \n")
    with pytest.raises(InputError, match="no entity to build from"):
        build(read_entities(tmp_path / "empty.jsonl"), tmp_path / "kb")


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b'{"id": "A"}\n{"id": \n', "kb.jsonl:2.*is no JSON"),
        (b'{"id": "A"}\n{"id": "\xe9"}\n', "kb.jsonl:2.*not UTF-8"),
    ],
)
def test_a_broken_line_names_its_place(tmp_path: Path, content: bytes, place: str) -> None:
    (tmp_path / "kb.jsonl").write_bytes(content)
    with pytest.raises(InputError, match=place):
        build(read_entities(tmp_path / "kb.jsonl"), tmp_path / "kb")


def test_no_base_half_a_base_and_a_damaged_one(tmp_path: Path, entities: tuple[Entity, ...]) -> None:
    with pytest.raises(InputError, match="no such folder"):
        KnowledgeBase.open(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"is no knowledge base: .*kb\.json"):
        KnowledgeBase.open(tmp_path)
    half = tmp_path / "half"
    (half / "kb-data-0123abcd.incomplete").mkdir(parents=True)
    with pytest.raises(InputError, match=r"half a knowledge base.*Remedy: build it again"):
        KnowledgeBase.open(half)
    build(entities, half)
    assert not list(half.glob("*.incomplete"))
    (database,) = half.glob("kb-data-*/kb.sqlite")
    os.truncate(database, 4096)
    with pytest.raises(InputError, match=r"damaged: this file has 4,096 bytes instead of"):
        KnowledgeBase.open(half)
    database.unlink()
    with pytest.raises(InputError, match="damaged: this file is missing"):
        KnowledgeBase.open(half)
    (half / "kb.json").write_text('{"format": 99}')
    with pytest.raises(InputError, match="field 'format': is 99"):
        KnowledgeBase.open(half)
    (half / "kb.json").write_text("{")
    with pytest.raises(InputError, match="does not describe a knowledge base"):
        KnowledgeBase.open(half)
    build(entities, half)
    assert len(KnowledgeBase.open(half)) == len(entities)


def test_out_is_a_file(tmp_path: Path, entities: tuple[Entity, ...]) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="is a file"):
        build(entities, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_other_files_in_the_folder_stay(tmp_path: Path, entities: tuple[Entity, ...]) -> None:
    (tmp_path / "data-2024").mkdir()
    (tmp_path / "kb-data-old").mkdir()
    build(entities, tmp_path)
    build(entities[:2], tmp_path)
    assert (tmp_path / "data-2024").is_dir()
    (tmp_path / "kb-data-old").rmdir()
    assert len(list(tmp_path.glob("kb-data-*"))) == 1


def test_two_writers_do_not_meet(tmp_path: Path, entities: tuple[Entity, ...]) -> None:
    with layout.new_state(tmp_path), pytest.raises(InputError, match="cannot be locked"):
        build(entities, tmp_path)
    build(entities, tmp_path)


def test_an_old_sqlite_is_named(tmp_path: Path, entities: tuple[Entity, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sqlite3.sqlite_version_info", (3, 31, 1))
    with pytest.raises(ConfigError, match=r"knowledge bases need 3\.34\.0"):
        build(entities, tmp_path)
    with pytest.raises(ConfigError):
        KnowledgeBase.open(tmp_path)


# -- killed


_KILLED = """
import os, signal, sys
from mmel.document import Alias, Entity
from mmel.kb.build import build
from mmel.kb.update import add
folder, step, last = sys.argv[1], sys.argv[2], int(sys.argv[3])
seen = 0
def hook(event, arguments):
    global seen
    if event in ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "sqlite3.connect") or (
        event == "open" and folder in str(arguments[0]) and arguments[1] not in (None, "r", "rb")):
        seen += 1
        if seen == last:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
entities = [Entity(f"N{i}", f"New {i}", aliases=(Alias(f"New {i}"), Alias("Mira", 3)), links=("F1",)) for i in range(3)]
(build if step == "build" else add)(*((entities, folder)))
print(seen)
"""


def _run_killed(folder: Path, step: str, last: int) -> subprocess.CompletedProcess[str]:
    root = str(Path(__file__).resolve().parents[2])
    return subprocess.run(
        [sys.executable, "-c", _KILLED, str(folder), step, str(last)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": root},
        check=False,
    )


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.parametrize("step", ["build", "add"])
def test_killed_at_any_step_leaves_the_old_base_or_the_new(
    tmp_path: Path, entities: tuple[Entity, ...], step: str
) -> None:
    whole = tmp_path / "whole"
    before = build(entities, whole, name="kb", date="2020-02-02")
    steps = int(_run_killed(whole, step, 0).stdout)
    after = KnowledgeBase.open(whole).meta
    outcomes = []
    for last in sorted({*range(1, steps + 1, max(1, steps // 6)), *range(steps - 4, steps + 1)}):
        folder = tmp_path / f"{step}-{last}"
        build(entities, folder, name="kb", date="2020-02-02")
        assert _run_killed(folder, step, last).returncode == -signal.SIGKILL
        kb = KnowledgeBase.open(folder)
        outcomes.append(kb.meta.content_hash)
        assert kb.meta.content_hash in (before.content_hash, after.content_hash)
        assert len(list(kb)) == len(kb) == kb.links.shape[0] == len(kb.popularity)
        assert kb.lookup("Mira")
        # What the killed writer left is no hindrance.
        build(entities[:1], folder)
        assert len(list(folder.glob("kb-data-*"))) == 1
    assert outcomes[0] == before.content_hash
    assert outcomes[-1] == after.content_hash


# -- cache


def test_cached_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entities: tuple[Entity, ...]) -> None:
    monkeypatch.setenv("MMEL_CACHE", str(tmp_path))
    calls = []

    def factory() -> Iterator[Entity]:
        calls.append(1)
        yield from entities

    folder = cached_build(factory, "invented-0123", name="invented", date="2020-02-02")
    assert folder == tmp_path / "kb" / "invented-0123"
    assert cached_build(factory, "invented-0123") == folder
    assert len(calls) == 1
    assert KnowledgeBase.open(folder).meta.name == "invented"
    (folder / "kb.json").unlink()
    cached_build(factory, "invented-0123")
    assert len(calls) == 2
    for key in ("", "../x", ".hidden", "a/b"):
        with pytest.raises(InputError, match="no cache key"):
            cached_build(factory, key)


def test_count_rows_and_schema_agree(kb: KnowledgeBase) -> None:
    assert tables.count_rows(kb._db, "surfaces") == kb.meta.surfaces
    assert tables.count_rows(kb._db, "aliases") == kb.meta.aliases
    assert tables.count_rows(kb._db, "dangling") == kb.meta.dangling_links


@pytest.mark.data
def test_movies(tmp_path: Path, data_root: Path) -> None:
    meta = build(read_entities(data_root / "movies" / "kb.jsonl"), tmp_path)
    assert (meta.entities, meta.surfaces, meta.dangling_links) == (77_150, 93_080, 0)
    kb = KnowledgeBase.open(tmp_path)
    matches = kb.lookup("John", k=None)
    assert sum(match.prior for match in matches) == pytest.approx(1)
    links = kb.links
    assert links.nnz == meta.links
    # Links of this base go both ways.
    assert (links != links.T).nnz == 0
