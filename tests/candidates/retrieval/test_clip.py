"""Retrieval by pictures with a tiny random CLIP: against all cosines, and documents whose pictures are not there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mmel.candidates import MentionTable
from mmel.candidates.retrieval import Ensemble
from mmel.candidates.retrieval.clip import PictureRetriever
from mmel.document import Entity
from mmel.encoders.images.open_clip import OpenClipEncoder
from mmel.kb import KnowledgeBase
from mmel.kb.build import build
from mmel.vision.gallery import picture_gallery, text_gallery
from mmel.vision.regions import RegionEncoder
from tests.encoders.images.models import noise, write_clip
from tests.tiny import document

pytest.importorskip("open_clip")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> OpenClipEncoder:
    folder = write_clip(tmp_path_factory.mktemp("clip") / "retrieval-clip")
    return OpenClipEncoder(f"local-dir:{folder}")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base of six entities, the first four with pictures, of which the documents show some."""
    root = tmp_path_factory.mktemp("pictures")
    for number, picture in enumerate(noise(7, 40)):
        picture.save(root / f"{number}.png")
    (root / "broken.png").write_bytes(b"no picture")
    images = [("0.png", "1.png"), ("2.png",), ("3.png",), ("4.png",), (), ()]
    build([Entity(f"E{i}", f"Name {i}", images=own) for i, own in enumerate(images)], root / "kb")
    return root


@pytest.fixture
def table(world: Path) -> MentionTable:
    shown = (("1.png",), ("5.png", "3.png"), ("broken.png", "2.png"), ("gone.png",), ())
    documents = [replace(document("[Name] and [Other]", str(i)), images=own) for i, own in enumerate(shown)]
    return MentionTable.of(documents, KnowledgeBase.open(world / "kb"), world)


@pytest.mark.parametrize("name", ["clip-text-image", "clip-image-image"])
def test_against_all_cosines(
    name: str, encoder: OpenClipEncoder, world: Path, table: MentionTable, tmp_path: Path
) -> None:
    from mmel.pictures import load_picture

    kb, regions = KnowledgeBase.open(world / "kb"), RegionEncoder(encoder, folder=tmp_path)
    if name == "clip-text-image":
        gallery, owners = text_gallery(kb, encoder), list(range(6))
        rows = encoder.encode_text([f"Name {i}" for i in owners])
    else:
        gallery, _ = picture_gallery(kb, world, regions)
        rows = encoder.encode([load_picture(world / f"{i}.png") for i in range(5)])
        owners = [0, 0, 1, 2, 3]
    retriever = PictureRetriever(name, gallery, regions)  # type: ignore[arg-type]
    expected = np.full((10, 6), np.nan)
    for d, pictures in enumerate(([1], [5, 3], [2])):
        seen = encoder.encode([load_picture(world / f"{i}.png") for i in pictures])
        for owner, values in zip(owners, rows @ seen.T, strict=True):
            expected[2 * d : 2 * d + 2, owner] = np.fmax(expected[2 * d, owner], values.max())
    ids = np.tile([0, 1, 2, 3, 4, 5, -1], (10, 1))
    scores = retriever.score(table, ids)
    np.testing.assert_allclose(scores[:, :6], expected, atol=2e-3)
    assert (scores[:, 6] == 0).all()
    found = retriever.retrieve(table, 6)
    there = found.ids >= 0
    np.testing.assert_allclose(retriever.score(table, found.ids)[there], found.scores[there], atol=1e-6)
    assert (found.ids[6:] == -1).all(), "nothing without a picture that can be read"
    assert ((found.ids[:6] >= 0).sum(1) == len(gallery.entities)).all()
    assert (np.diff(found.scores[:6, : len(gallery.entities)], axis=1) <= 0).all()
    if name == "clip-image-image":
        assert found.ids[[0, 2, 4], 0].tolist() == [0, 2, 1], "the picture itself is nearest"
    assert sum(retriever.skips.counts.values()) == 2, "one broken, one that is gone"
    (world / "cut.png").write_bytes(b"")
    further = [replace(document("[Name]"), images=("cut.png", "gone.png", "0.png"))]
    own = retriever.retrieve(MentionTable.of(further, kb, world), 6)
    assert sum(retriever.skips.counts.values()) == 3, "one more, and those of before"
    assert own.ids[0, 0] == 0 or name == "clip-text-image"
    together = Ensemble([retriever, retriever], depth=4).retrieve(table, 3)
    assert (together.ids[:6, 0] == found.ids[:6, 0]).all() and (together.ids[6:] == -1).all()


def test_no_document_has_a_picture(encoder: OpenClipEncoder, world: Path, tmp_path: Path) -> None:
    kb = KnowledgeBase.open(world / "kb")
    retriever = PictureRetriever("clip-text-image", text_gallery(kb, encoder), RegionEncoder(encoder, folder=tmp_path))
    table = MentionTable.of([document("[Name]")], kb)
    assert (retriever.retrieve(table, 3).ids == -1).all()
    assert np.isnan(retriever.score(table, np.array([[0, 5]]))).all()
    assert retriever.score(table, np.array([[-1]])) == 0
