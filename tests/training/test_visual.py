"""Training of the visual side on a small film world: from portraits to a linker that is opened again."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mmel.config import Config
from mmel.datasets import open_dataset
from mmel.document import NIL, Document, VisualMention
from mmel.errors import ConfigError, InputError
from mmel.evaluate import main as evaluate_main
from mmel.formats.jsonl import read_documents
from mmel.kb import KnowledgeBase
from mmel.linker import Linker
from mmel.training.session import train_linker
from mmel.training.visual import fit_temperature, photographs
from mmel.vision.tasks import Ranking
from tests.tiny import write_film_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film world of a few people with its pictures, as a `movies` folder, its base beside it."""
    return write_film_world(tmp_path_factory.mktemp("seen") / "films", 8, {"train": 30, "val": 12}, 5)


def settings(world: Path, run: Path, *overrides: str) -> Config:
    return Config().with_overrides(
        [
            "name=seen", f"run={run}", f"kb={world.parent / 'kb'}", "device=cpu", "modalities=visual",
            "data.dataset=movies", f"data.root={world}", "data.dev_split=val",
            f"encoder.cache={world.parent / 'encodings'}",
            "vision.patch.side=32", "vision.patch.grid=4", "vision.patch.dim=24", "vision.patch.layers=2",
            "vision.patch.heads=2", "vision.patch.feed_forward=32", "vision.patch_train.steps=4",
            "vision.patch_train.people=6", "vision.patch_train.every=2", "vision.patch_train.initial_crops=200",
            *overrides,
        ]
    )  # fmt: skip


def trained(config: Config) -> dict[str, object]:
    metrics, _ = train_linker(config, restart=False, say=lambda _: None)
    return metrics


@pytest.fixture(scope="module")
def run(world: Path) -> Path:
    """The finished run folder of a visual linker; not to be written."""
    trained(settings(world, world.parent / "run"))
    return world.parent / "run"


@pytest.fixture
def documents(world: Path) -> list[Document]:
    return list(read_documents(world / "documents.val.jsonl"))


def test_an_opened_linker_links_as_in_training(world: Path, run: Path, documents: list[Document]) -> None:
    linker = Linker.from_pretrained(run)
    assert linker.text is None and linker.visual is not None and linker.visual.pictures is not None
    linked = list(linker.link(documents, world, nil=False))
    links = [link for one in linked for link in one.visual_links]
    golds = [mention.entity for one in documents for mention in one.visual_mentions]
    assert len(links) == len(golds) and all(one.text_links == () for one in linked)
    right = np.mean([link.entity == gold for link, gold in zip(links, golds, strict=True)])
    result = json.loads((run / "metrics.json").read_text())["validation"]["val"]["visual"]
    assert right == pytest.approx(result["recall_at"]["1"]) and right > 2 / len(linker.visual.pictures.gallery.entities)
    for link in links:
        scores = [candidate.score for candidate in link.candidates]
        assert scores == sorted(scores, reverse=True) and sum(scores) == pytest.approx(1, abs=1e-6)
    assert not linker.skips.counts and linker.missing_images == 0


def test_the_order_and_company_of_documents_change_no_link(world: Path, run: Path, documents: list[Document]) -> None:
    linker = Linker.from_pretrained(run)
    whole = [one.visual_links for one in linker.link(documents, world)]
    one_by_one = [one.visual_links for one in linker.link(documents[::-1], world, documents_per_batch=1)]
    assert one_by_one[::-1] == whole


def test_pictures_that_cannot_be_read_are_counted(world: Path, run: Path, documents: list[Document]) -> None:
    linker = Linker.from_pretrained(run)
    first = next(one for one in documents if one.visual_mentions)
    lost = replace(first, visual_mentions=(VisualMention("nowhere.jpg"), *first.visual_mentions))
    (linked,) = linker.link([lost], world)
    assert linked.visual_links[0].entity == NIL and linked.visual_links[0].candidates == ()
    (alone,) = Linker.from_pretrained(run).link([first], world)
    assert linked.visual_links[1:] == alone.visual_links
    assert linker.missing_images == 1 and "nowhere.jpg" in linker.skips.summary()


def test_the_folder_of_the_pictures_must_be_known(run: Path, documents: list[Document]) -> None:
    with pytest.raises(ConfigError, match="give `pictures`"):
        list(Linker.from_pretrained(run).link(documents))


def test_a_grown_base_needs_its_pictures_and_has_a_gallery_of_its_own(
    world: Path, run: Path, documents: list[Document], tmp_path: Path
) -> None:
    from mmel.kb.update import add

    shutil.copytree(world.parent / "kb", tmp_path / "kb")
    with KnowledgeBase.open(tmp_path / "kb") as old:
        someone = next(entity for entity in old if entity.images)
    add([replace(someone, id="X1", title="A Double", links=())], tmp_path / "kb")
    with KnowledgeBase.open(tmp_path / "kb") as grown:
        with pytest.raises(InputError, match="another knowledge base"):
            Linker.from_pretrained(run, grown)
        linker = Linker.from_pretrained(run, grown, pictures=world)
        assert linker.visual is not None and linker.visual.pictures is not None
        known = Linker.from_pretrained(run).visual
        assert known is not None and known.pictures is not None
        assert len(linker.visual.pictures.gallery.entities) == len(known.pictures.gallery.entities) + 1


def test_adapters_and_training_pictures(world: Path, tmp_path: Path, documents: list[Document]) -> None:
    config = settings(
        world, tmp_path / "run", "vision.patch_train.steps=0", "vision.adapter=trained",
        "vision.adapter_train.epochs=2", "vision.train_pictures=true",
    )  # fmt: skip
    metrics = trained(config)
    linker = Linker.from_pretrained(tmp_path / "run")
    assert linker.visual is not None and linker.visual.pictures is not None
    side = linker.visual.pictures
    train = [m for d in read_documents(world / "documents.train.jsonl") for m in d.visual_mentions]
    labelled = {m.image for m in train if m.entity not in (None, NIL)}
    profiles = sum(len(entity.images) for entity in linker.kb)
    assert side.adapters is not None and len(side.gallery.owners) == profiles + len(labelled)
    assert len([line for line in metrics["visual_history"] if "mrr" in line]) == 3  # type: ignore[attr-defined]
    assert all(one.visual_links for one in linker.link(documents, world) if one.document.visual_mentions)


def test_pooling_is_learned_after_the_adapters(world: Path, tmp_path: Path) -> None:
    trained(
        settings(
            world, tmp_path / "run", "vision.patch_train.steps=0", "vision.adapter=trained",
            "vision.adapter_train.epochs=0", "vision.train_pictures=true", "vision.pooling=learned",
        )
    )  # fmt: skip
    linker = Linker.from_pretrained(tmp_path / "run")
    assert linker.visual is not None and linker.visual.pictures is not None
    side = linker.visual.pictures
    assert side.adapters is not None and bool((side.adapters.pooling.weights != 0).any())
    assert len(side.gallery.owners) == len(side.gallery.entities)


def test_distillation_learns_from_everybody(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Teacher:
        def encode(self, pictures: list[object]) -> np.ndarray:
            grey = np.stack([np.asarray(p.convert("L").resize((8, 8)), np.float32).ravel() for p in pictures])  # type: ignore[attr-defined]
            grey -= grey.mean(1, keepdims=True)
            return np.asarray(grey / np.linalg.norm(grey, axis=1, keepdims=True))

    monkeypatch.setattr("mmel.training.visual.make_image_encoder", lambda *_, **__: Teacher())
    said: list[str] = []
    config = settings(world, tmp_path / "run", "vision.patch_train.loss=distil", "vision.teacher=onnx-face")
    train_linker(config, restart=False, say=said.append)
    with KnowledgeBase.open(world.parent / "kb") as kb:
        everybody = sum(len(entity.images) for entity in kb)
    mentions = {m.image for d in read_documents(world / "documents.train.jsonl") for m in d.visual_mentions if m.entity}
    assert any(f"{everybody + len(mentions):,} photographs" in line for line in said)
    with pytest.raises(ConfigError, match=r"needs vision\.teacher"):
        trained(settings(world, tmp_path / "none", "vision.patch_train.loss=distil"))


def test_evaluation_writes_a_page(world: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.html"
    words = ["--model", str(run), "--dataset", "movies", "--root", str(world), "--split", "val"]
    assert evaluate_main([*words, "--kb", str(world.parent / "kb"), "--report", str(page)]) == 0
    assert "R@1" in capsys.readouterr().out
    shown = page.read_text(encoding="utf-8")
    golds = {m.entity for d in read_documents(world / "documents.val.jsonl") for m in d.visual_mentions}
    assert all(gold in shown for gold in golds if gold) and "://" not in shown.replace("http://www.w3.org", "")


def test_photographs_are_of_people_in_documents_and_each_once(world: Path) -> None:
    dataset = open_dataset("movies", world)
    documents = list(dataset.documents("train"))
    known = photographs([(dataset, [*documents, *documents[:3]])])
    mentioned = {m.entity for d in documents for m in d.visual_mentions if m.entity not in (None, NIL)}
    assert {record.id for record in known.records} == mentioned
    assert len(set(known.regions)) == len(known.regions) == len(known.people)
    assert set(known.people[known.profile]) <= set(known.people[~known.profile])


def test_the_temperature_is_the_most_likely_one() -> None:
    rng = np.random.default_rng(0)
    scores = -np.sort(-rng.normal(size=(4000, 5)) * 0.3, axis=1)
    weight = np.exp(scores / 0.1)
    drawn = (weight / weight.sum(1, keepdims=True)).cumsum(1) > rng.random((4000, 1))
    entities = np.tile(np.arange(5), (4000, 1))
    assert fit_temperature(Ranking(entities, scores), drawn.argmax(1)) == pytest.approx(0.1, rel=0.15)
    assert fit_temperature(Ranking(entities[:2], scores[:2]), np.array([9, 9])) == 0.05
