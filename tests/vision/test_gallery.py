"""Galleries against a twin that looks at every picture of every entity; building, keeping, and what does not fit."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmel.document import Entity
from mmel.errors import ConfigError, InputError, SkipReport
from mmel.kb import KnowledgeBase
from mmel.kb.build import build
from mmel.vision import gallery as module
from mmel.vision.adapter import Adapters
from mmel.vision.gallery import Gallery, adapted_id, build_gallery, picture_gallery, text_gallery
from mmel.vision.index import pair_scores
from mmel.vision.regions import Region, RegionFeatures
from tests.vision.test_index import unit

PEOPLE = (
    Entity("A", "Ada Lorn", "person", "A pilot.", images=("a1.jpg", "a2.jpg", "lost.jpg")),
    Entity("B", "Ben Ott", "person", images=("b.jpg",)),
    Entity("C", "Cid Vale", "person", "A guide."),
    Entity("D", "Dora Senn", "person", images=("lost.jpg",)),
    Entity("E", "Eli Marr", "person", "A smith.", images=("e.jpg", "a1.jpg")),
)


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KnowledgeBase]:
    folder = tmp_path_factory.mktemp("people") / "kb"
    build(PEOPLE, folder, name="people", date="2020-02-02")
    with KnowledgeBase.open(folder) as kb:
        yield kb


class Portraits:
    """Stands for a RegionEncoder: a picture's vector is drawn from its name; those called lost have none."""

    id = "portraits"

    def encode(self, regions: Sequence[Region], on_batch: Callable[[int], None] | None = None) -> RegionFeatures:
        skips = SkipReport()
        vectors = np.full((len(regions), 6), np.nan, np.float32)
        for row, region in enumerate(regions):
            if region.path.name.startswith("lost"):
                skips.add("region without a face", str(region.path))
            else:
                vectors[row] = self.vector(region.path.name)
        found = np.isfinite(vectors[:, 0])
        return RegionFeatures(vectors, found, np.full(len(regions), 0.9), np.full(len(regions), 80.0), skips)

    @staticmethod
    def vector(name: str) -> np.ndarray:
        return unit(1, 6, seed=sum(map(ord, name)))[0]


class Words:
    """Stands for a text tower: a text's vector is drawn from its letters."""

    id, dim = "words", 6

    def encode_text(self, texts: Sequence[str]) -> np.ndarray:
        return np.concatenate([unit(1, 6, seed=sum(map(ord, text))) for text in texts])


def twin(queries: np.ndarray, vectors: np.ndarray, owners: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Max over each entity's pictures, sorted by falling score, then by entity."""
    scores = np.full((len(queries), k), -np.inf, np.float32)
    entities = np.full((len(queries), k), -1)
    for number in range(len(queries)):
        every = pair_scores(vectors, queries[number : number + 1], np.arange(len(vectors))[None])[0]
        best = {int(owner): every[owners == owner].max() for owner in np.unique(owners)}
        order = sorted(best, key=lambda owner: (-best[owner], owner))[:k]
        entities[number, : len(order)] = order
        scores[number, : len(order)] = [best[owner] for owner in order]
    return scores, entities


@st.composite
def pictures(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Vectors with many ties and their owners in any order; queries; k."""
    random = np.random.default_rng(draw(st.integers(0, 10_000)))
    count = draw(st.integers(1, 30))
    points = random.integers(-1, 2, (count, 3)) + 1e-3
    queries = random.integers(-1, 2, (draw(st.integers(0, 4)), 3)) + 1e-3
    points, queries = (one / np.linalg.norm(one, axis=1, keepdims=True) for one in (points, queries))
    owners = random.integers(0, 5, count)
    return points.astype(np.float32), owners, queries.astype(np.float32), draw(st.integers(1, 8))


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=pictures())
def test_max_over_the_pictures_of_an_entity(
    case: tuple[np.ndarray, np.ndarray, np.ndarray, int], people: KnowledgeBase
) -> None:
    vectors, owners, queries, k = case
    gallery = build_gallery(people, owners, vectors, encoder_id="x")
    scores, entities = gallery.search(queries, k)
    expected_scores, expected = twin(queries, vectors, owners, k)
    np.testing.assert_array_equal(entities, expected)
    np.testing.assert_array_equal(scores, expected_scores)
    np.testing.assert_array_equal(gallery.score(queries, entities), scores)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=pictures(), seed=st.integers(0, 99), pooling=st.sampled_from(["max", "mean"]))
def test_the_order_of_pictures_changes_nothing(
    case: tuple[np.ndarray, np.ndarray, np.ndarray, int], seed: int, pooling: str, people: KnowledgeBase
) -> None:
    vectors, owners, queries, k = case
    if pooling == "mean":
        vectors = unit(len(vectors), 3, seed)
    order = np.random.default_rng(seed).permutation(len(vectors))
    one = build_gallery(people, owners, vectors, encoder_id="x", pooling=pooling)
    other = build_gallery(people, owners[order], vectors[order], encoder_id="x", pooling=pooling)
    np.testing.assert_allclose(other.search(queries, k)[0], one.search(queries, k)[0], atol=1e-6)
    if pooling == "max":
        np.testing.assert_array_equal(other.search(queries, k)[1], one.search(queries, k)[1])


def test_scores_of_chosen_entities(people: KnowledgeBase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAIRS", 3)
    vectors, owners, queries = unit(9, 6), np.array([0, 4, 0, 1, 4, 0, 1, 4, 4]), unit(5, 6, 1)
    gallery = build_gallery(people, owners, vectors, encoder_id="x")
    found = gallery.score(queries, np.tile([4, -1, 2, 0], (5, 1)))
    assert np.isneginf(found[:, 1:3]).all()
    for query, row in zip(queries, found, strict=True):
        assert row[0] == pytest.approx(max(query @ vectors[owners == 4].T), abs=1e-6)
        assert row[3] == pytest.approx(max(query @ vectors[owners == 0].T), abs=1e-6)
    assert gallery.score(queries, np.full((5, 2), 3)).tolist() == [[-np.inf] * 2] * 5
    assert gallery.score(queries, np.empty((5, 0), np.int64)).shape == (5, 0)
    assert gallery.score(queries[:0], np.empty((0, 3), np.int64)).shape == (0, 3)


def test_means_of_chosen_entities(people: KnowledgeBase) -> None:
    vectors, owners = unit(6, 6), np.array([0, 4, 0, 1, 4, 0])
    gallery = build_gallery(people, owners, vectors.astype(np.float16), encoder_id="x")
    chosen = np.array([4, 2, 0, 1, 4])
    found = gallery.means(chosen)
    for entity, row in zip(chosen, found, strict=True):
        total = vectors[owners == entity].sum(0)
        np.testing.assert_allclose(row, total / max(np.linalg.norm(total), 1e-12), atol=2e-3)
    assert found.dtype == np.float32 and not found[1].any()
    assert gallery.means(chosen[:0]).shape == (0, 6)


def test_mean_of_the_pictures(people: KnowledgeBase) -> None:
    vectors, owners = unit(5, 6), np.array([4, 0, 4, 0, 4])
    gallery = build_gallery(people, owners, vectors, encoder_id="x", pooling="mean")
    mean = vectors[owners == 4].mean(0)
    assert gallery.score(vectors[:1], np.array([[4]]))[0, 0] == pytest.approx(
        vectors[0] @ mean / np.linalg.norm(mean), abs=1e-6
    )
    assert gallery.owners.tolist() == [0, 4]


def test_learned_pooling_and_adapters(people: KnowledgeBase) -> None:
    import torch

    vectors, owners = unit(5, 6), np.array([4, 0, 4, 0, 4])
    confidence, size = np.array([0.1, 0.9, 0.9, 0.5, 0.2]), np.array([30.0, 200, 90, 112, 50])
    adapters = Adapters(6)
    for weight in adapters.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    gallery = build_gallery(
        people, owners, vectors, encoder_id="x", pooling="learned", adapters=adapters, confidence=confidence, size=size
    )
    with torch.no_grad():
        rows = adapters.pooling(
            adapters.entity(torch.from_numpy(vectors)),
            torch.tensor([1, 0, 1, 0, 1]),
            torch.from_numpy(confidence).float(),
            torch.from_numpy(size).float(),
        )
    np.testing.assert_allclose(gallery.index.rows, rows.numpy(), atol=1e-6)
    assert gallery.meta.encoder_id == adapted_id("x", adapters) == f"x+{adapters.id}"
    plain = build_gallery(people, owners, vectors, encoder_id="x", adapters=Adapters(6))
    np.testing.assert_allclose(plain.index.rows, vectors[np.argsort(owners, kind="stable")], atol=1e-6)


def test_the_pictures_of_a_base(people: KnowledgeBase) -> None:
    gallery, skips = picture_gallery(people, "portraits", Portraits())
    assert gallery.owners.tolist() == [0, 0, 1, 4, 4]
    assert gallery.entities.tolist() == [0, 1, 4]
    assert (gallery.meta.entities, gallery.meta.absent, gallery.meta.lost) == (3, 2, 2)
    assert skips.counts == {"region without a face": 2}
    scores, entities = gallery.search(Portraits.vector("a1.jpg")[None], 3)
    assert entities[0, :2].tolist() == [0, 4]
    assert scores[0, :2].tolist() == pytest.approx([1, 1])
    pooled, _ = picture_gallery(people, "portraits", Portraits(), pooling="mean")
    assert len(pooled.owners) == 3


def test_the_texts_of_a_base(people: KnowledgeBase) -> None:
    gallery = text_gallery(people, Words())
    assert gallery.search(Words().encode_text(["Cid Vale"]), 1)[1].tolist() == [[2]]
    assert gallery.meta.source == "name"
    described = text_gallery(people, Words(), "name+description", entities=np.array([4, 1]))
    assert described.search(Words().encode_text(["Eli Marr. A smith."]), 2)[0][0, 0] == pytest.approx(1)
    assert described.search(Words().encode_text(["Ben Ott"]), 2)[1][0, 0] == 1
    assert (described.meta.entities, described.meta.absent) == (2, 0)


def test_approximate_galleries_have_k_entities(people: KnowledgeBase) -> None:
    pytest.importorskip("faiss")
    owners = np.repeat([0, 1, 4], [40, 1, 1])
    gallery = build_gallery(people, owners, unit(42, 6), encoder_id="x", index="hnsw", parameters={"links": 8})
    assert sorted(gallery.search(unit(1, 6), 3)[1][0]) == [0, 1, 4]
    assert gallery.search(unit(1, 6), 4)[1][0, 3] == -1


@pytest.mark.parametrize("pooling", ["max", "mean"])
def test_kept_on_disk(people: KnowledgeBase, pooling: str, tmp_path: Path) -> None:
    gallery, _ = picture_gallery(people, "portraits", Portraits(), pooling=pooling)
    gallery.save(tmp_path / "g")
    opened = Gallery.open(tmp_path / "g", "portraits", people)
    assert opened.meta == gallery.meta
    assert isinstance(opened.index.rows, np.memmap)
    for one, other in zip(gallery.search(unit(4, 6), 3), opened.search(unit(4, 6), 3), strict=True):
        np.testing.assert_array_equal(one, other)


def test_opened_with_another_encoder_or_base(people: KnowledgeBase, tiny_kb: KnowledgeBase, tmp_path: Path) -> None:
    picture_gallery(people, "portraits", Portraits())[0].save(tmp_path / "g")
    with pytest.raises(
        InputError, match=r"g: .*built with the encoder 'portraits', queries come from 'resnet50-1'. Remedy"
    ):
        Gallery.open(tmp_path / "g", "resnet50-1", people)
    with pytest.raises(
        InputError, match=r"another state of a knowledge base \('people', .*Remedy: build the gallery again"
    ):
        Gallery.open(tmp_path / "g", "portraits", tiny_kb)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "gallery.json").unlink(),
        lambda folder: (folder / "gallery.json").write_text("[]"),
        lambda folder: (folder / "gallery.json").write_text(json.dumps({"format": 7})),
        lambda folder: (folder / "owners.npy").write_bytes(b""),
        lambda folder: np.save(folder / "owners.npy", np.arange(2)),
        lambda folder: (folder / "index" / "rows.npy").unlink(),
    ],
)
def test_damaged_folders(people: KnowledgeBase, damage: Callable[[Path], object], tmp_path: Path) -> None:
    picture_gallery(people, "portraits", Portraits())[0].save(tmp_path / "g")
    damage(tmp_path / "g")
    with pytest.raises(InputError, match="Remedy: build the (gallery|index) again"):
        Gallery.open(tmp_path / "g", "portraits", people)


def test_empty_galleries(people: KnowledgeBase, tiny_kb: KnowledgeBase) -> None:
    with pytest.raises(InputError, match="no entity of '.*' has a picture"):
        picture_gallery(tiny_kb, "portraits", Portraits())
    with pytest.raises(
        InputError, match=r"empty: none of 5 entities of 'people' has a vector \(2 pictures gave none\)"
    ):
        build_gallery(people, np.empty(0, np.int64), np.empty((0, 6), np.float32), encoder_id="x", lost=2)
    with pytest.raises(InputError, match=r"field 'name': the gallery is empty"):
        text_gallery(people, Words(), entities=np.empty(0, np.int64))


def test_settings_that_do_not_exist(people: KnowledgeBase) -> None:
    owners, vectors = np.array([0, 1]), unit(2, 6)
    with pytest.raises(ConfigError, match="pooling is 'maks'. Did you mean 'max'"):
        build_gallery(people, owners, vectors, encoder_id="x", pooling="maks")
    with pytest.raises(ConfigError, match="'learned' needs adapters"):
        build_gallery(people, owners, vectors, encoder_id="x", pooling="learned")
    with pytest.raises(InputError, match="owners from 0 to 9 in a base of 5"):
        build_gallery(people, np.array([9, 0]), vectors, encoder_id="x")
    with pytest.raises(ConfigError, match="text is 'title'"):
        text_gallery(people, Words(), "title")


@pytest.mark.data
def test_photographs_find_their_people(data_root: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    from mmel.detection import make_detector
    from mmel.encoders.images import make_image_encoder
    from mmel.formats.jsonl import read_entities
    from mmel.vision.regions import RegionEncoder
    from mmel.vision.tasks import View, gold_ranks, ranking_metrics, recall

    news, weights = data_root / "newsfaces", data_root.parent / "weights"
    if not news.is_dir() or not weights.is_dir():
        pytest.skip(f"no {news} or no {weights}")
    records = json.loads((news / "WIKIPerson_Dev.json").read_text(encoding="utf-8"))[:40]
    wanted = {record["wikiid"] for record in records}
    build([entity for entity in read_entities(news / "kb.jsonl") if entity.id in wanted], tmp_path / "kb")
    encoder = RegionEncoder(
        make_image_encoder("onnx-face", weights / "mobilefacenet_foamliu.onnx"),
        make_detector("yunet", weights / "yunet_n_dynamic.onnx"),
        tmp_path / "cache",
    )
    with KnowledgeBase.open(tmp_path / "kb") as kb:
        gallery, _ = picture_gallery(kb, news, encoder)
        features = encoder.encode([Region(news / "images" / record["image"]) for record in records])
        ranks = gold_ranks(
            recall(View(gallery, features.vectors), 10), kb.indices([record["wikiid"] for record in records])
        )
    assert gallery.meta.absent == 0
    assert ranking_metrics(ranks)["recall_at"]["1"] > 0.9
