"""Retrieval by pictures in a run: trained, saved, opened again, on another base, with pictures that are lost."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mmel.config import Config
from mmel.document import Document
from mmel.errors import ConfigError, InputError
from mmel.evaluate import main
from mmel.formats.jsonl import read_documents, read_linked, write_documents
from mmel.kb import KnowledgeBase
from mmel.kb.build import build
from mmel.linker import Linker
from mmel.training.clip import check_clip
from mmel.training.run import RunFolder
from mmel.training.session import train_linker
from mmel.vision.regions import UNREADABLE
from tests.encoders.images.models import write_clip
from tests.tiny import nine_tasks_settings, small_config, write_film_world

CLIP = ("clip-text-image", "clip-image-image")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film world whose documents show the people that they name, as far as these have pictures; some are lost."""
    root = write_film_world(tmp_path_factory.mktemp("clip-run") / "films", 6, {"train": 6, "val": 5}, 4)
    with KnowledgeBase.open(root.parent / "kb") as kb:
        shown = {entity.id: entity.images for entity in kb}
    for split in ("train", "val"):
        file = root / f"documents.{split}.jsonl"
        documents = []
        for number, one in enumerate(read_documents(file)):
            own = [image for m in one.text_mentions for image in shown.get(m.entity or "", ())]
            lost = ["lost.png"] if number % 4 == 1 else []
            documents.append(replace(one, images=tuple([*own, *lost] if number % 4 else ())))
        write_documents(file, documents)
    return root


def settings(world: Path, tiny_encoder: Path, run: Path, *overrides: str) -> Config:
    return small_config(
        world, tiny_encoder, run, f"candidates.retrieval=[names,{','.join(CLIP)}]", "candidates.retrieved_k=8",
        "model.scorers=[prior,retrieval]", "train.epochs=1", *overrides,
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained(world: Path, tiny_encoder: Path) -> Path:
    pytest.importorskip("open_clip")
    folder = write_clip(world.parent / "run-retrieval-clip")
    run = world.parent / "run"
    said: list[str] = []
    tuned = ["vision.clip_train.epochs=2", "vision.clip_train.batch=4", "vision.clip_train.learning_rate=3e-3"]
    config = settings(world, tiny_encoder, run, f"vision.encoder=open-clip:local-dir:{folder}", *tuned)
    metrics, skips = train_linker(config, restart=False, say=said.append)
    assert metrics["clip"]["best_epoch"] > 0, metrics["clip"]
    assert skips.counts[UNREADABLE] == 2, "one picture, by each retriever"
    assert any(line.startswith("clip-image-image: ") and line.endswith(" could not be read") for line in said)
    return run


def documents_of(world: Path) -> list[Document]:
    return list(read_documents(world / "documents.val.jsonl"))


def candidates(linker: Linker, documents: Sequence[Document], pictures: Path) -> list[list[tuple[str, float]]]:
    return [
        [(c.entity, round(c.score, 6)) for c in link.candidates]
        for one in linker.link(documents, pictures)
        for link in one.text_links
    ]


def test_a_run_finds_the_same_when_it_is_opened(trained: Path, world: Path, tmp_path: Path) -> None:
    about = json.loads((trained / "retrieval.json").read_text())
    assert list(about["weights"]) == ["names", *CLIP] and about["tuned"]["on"] == ["val"]
    assert sorted(file.name for file in (trained / "galleries").iterdir()) == sorted(CLIP)
    assert RunFolder(trained).reads_pictures
    linker, documents = Linker.from_pretrained(trained), documents_of(world)
    assert linker.text is not None and linker.visual is None
    inputs = linker.text.preparer(documents, pictures=world)
    metrics = json.loads((trained / "metrics.json").read_text())["validation"]["val"]
    assert inputs.recall == pytest.approx(metrics["candidate_recall_steps"])
    out = tmp_path / "linked.jsonl"
    code = main(["--model", str(trained), "--dataset", "movies", "--root", str(world), "--split", "val",
                 "--out", str(out)])  # fmt: skip
    assert code == 1, "a picture is lost"
    told = [
        [(c.entity, round(c.score, 6)) for c in link.candidates] for one in read_linked(out) for link in one.text_links
    ]
    fresh = Linker.from_pretrained(trained)
    assert candidates(fresh, documents, world)
    evaluated = Linker.from_pretrained(trained, pictures=world)
    assert told == [
        [(c.entity, round(c.score, 6)) for c in link.candidates]
        for one in evaluated.link(documents, world, nil=False)
        for link in one.text_links
    ]
    assert fresh.skips.counts == {UNREADABLE: 2}
    with pytest.raises(ConfigError, match=r"folder of the documents' pictures is not known. Remedy: give `pictures`"):
        list(fresh.link(documents))


def test_what_learned_is_what_encodes(trained: Path) -> None:
    retrieval = Linker.from_pretrained(trained).text.preparer.retrieval  # type: ignore[union-attr]
    assert retrieval is not None
    texts, pictures = retrieval.pictured
    assert texts.regions is pictures.regions, "read once for both"
    tuned = texts.regions.encoder.id  # type: ignore[union-attr]
    assert tuned == texts.gallery.meta.encoder_id and texts.gallery.meta.encoder_id in pictures.gallery.meta.encoder_id
    assert (trained / "visual" / "clip.safetensors").is_file()
    copy = trained.parent / "untuned"
    shutil.copytree(trained, copy)
    config = Config.load(copy).with_overrides(["vision.clip_train.epochs=0"])
    config.save(copy / "config.yaml")
    with pytest.raises(InputError, match="was built with the encoder"):
        Linker.from_pretrained(copy)


def test_what_has_no_picture_is_masked(trained: Path, world: Path) -> None:
    linker, documents = Linker.from_pretrained(trained), documents_of(world)
    assert linker.text is not None
    inputs = linker.text.preparer(documents, pictures=world)
    assert np.isfinite(inputs.features).all()
    names = inputs.feature_names
    assert [name.removeprefix("retrieval.") for name in names[-7:]] == [
        "names", "clip-text-image", "clip-text-image_known", "clip-image-image", "clip-image-image_known",
        "ensemble", "log_reciprocal_rank",
    ]  # fmt: skip
    mask, ids = inputs.candidates.mask, inputs.candidates.ids
    shown = np.array([bool(set(one.images) - {"lost.png"}) for one in documents])[inputs.table.doc][:, None]
    pictured = np.array([bool(entity.images) for entity in linker.kb])[np.maximum(ids, 0)]
    known = {name: inputs.features[..., names.index(f"retrieval.{name}_known")] for name in CLIP}
    np.testing.assert_array_equal(known["clip-text-image"] > 0, mask & shown)
    np.testing.assert_array_equal(known["clip-image-image"] > 0, mask & shown & pictured)
    assert 0 < (mask & shown & pictured).sum() < (mask & shown).sum() < mask.sum()
    blind = linker.text.preparer([replace(one, images=()) for one in documents])
    retrieval = linker.text.preparer.retrieval
    assert retrieval is not None
    alone = retrieval.ensemble.members[0].retrieve(blind.table, 8)
    gathered = retrieval.ensemble.gather(blind.table)
    if retrieval.ensemble.weights[0]:
        np.testing.assert_array_equal(
            gathered.ids[:, : alone.ids.shape[1]][alone.scores > 0], alone.ids[alone.scores > 0]
        )
        assert gathered.ensemble.max() == pytest.approx(1), "the weights of the others count in full"


def test_another_base(trained: Path, world: Path) -> None:
    documents = documents_of(world)
    with KnowledgeBase.open(world.parent / "kb") as own:
        build([entity for i, entity in enumerate(own) if i % 5], world.parent / "small", name=own.meta.name)
    with KnowledgeBase.open(world.parent / "small") as small:
        with pytest.raises(InputError, match="was made of another knowledge base, and the folder"):
            Linker.from_pretrained(trained, small, check_kb=False)
        moved = Linker.from_pretrained(trained, small, check_kb=False, pictures=world)
        linker = Linker.from_pretrained(trained)
        assert moved.text is not None and linker.text is not None
        retrieval = linker.text.preparer.retrieval
        assert retrieval is not None and moved.text.preparer.retrieval is not None
        hidden = retrieval.on(small, None, moved.text.preparer.sentences)
        table = moved.text.preparer(documents, pictures=world).table
        for one, other in zip(hidden.pictured, moved.text.preparer.retrieval.pictured, strict=True):
            np.testing.assert_array_equal(one.retrieve(table, 8).ids, other.retrieve(table, 8).ids)
        assert hidden.pictured[0].skips is retrieval.pictured[0].skips


def test_an_untrained_transformer_compares_pictures(nine_tasks: Path, tiny_encoder: Path, tmp_path: Path) -> None:
    config = nine_tasks_settings(
        nine_tasks, tiny_encoder, tmp_path / "run", "candidates.retrieval=[names,clip-image-image]",
        "train.epochs=1", "train.swapped_pictures=0", "train.modality_dropout=0",
        "model.scorers=[prior,retrieval,pictures]",
    )  # fmt: skip
    train_linker(config, restart=False, say=lambda _: None)
    linker = Linker.from_pretrained(tmp_path / "run")
    assert linker.text is not None and linker.text.preparer.retrieval is not None
    (retriever,) = linker.text.preparer.retrieval.pictured
    assert retriever.gallery.meta.entities == 8 and retriever.gallery.meta.absent == 1
    bare = tmp_path / "bare"
    shutil.copytree(tmp_path / "run", bare)
    shutil.rmtree(bare / "galleries")
    with pytest.raises(InputError, match="holds no whole gallery"):
        Linker.from_pretrained(bare)
    RunFolder(tmp_path / "run").clear()
    assert not (tmp_path / "run" / "galleries").exists()


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["vision.encoder=resnet50"], r"clip-text-image', which compares with texts, and 'resnet50' encodes none.*Re"),
        (["vision.encoder=patch-transformer", "vision.text_encoder=open-clip:ViT-B-32"], "is not there by then.*Re"),
        (["vision.encoder=open-clip:ViT-B-32", "coupling.text_run=x"], "is no finished run"),
        (["vision.encoder=open-clip:ViT-B-32", "model.scorers=[prior,retrieval,pictures]", "vision.task=V2VEL",
          "train.swapped_pictures=0.5"], "columns of the scorer 'retrieval' tell of the own pictures.*Remedy"),
    ],
)  # fmt: skip
def test_settings_that_do_not_go_together(
    world: Path, tiny_encoder: Path, tmp_path: Path, overrides: list[str], said: str
) -> None:
    with pytest.raises((ConfigError, InputError), match=said):
        train_linker(settings(world, tiny_encoder, tmp_path, *overrides), restart=False, say=lambda _: None)


def test_clip_is_tuned_for_retrieval() -> None:
    check_clip(
        Config().with_overrides(
            ["vision.encoder=open-clip:x", "vision.clip_train.epochs=1", "candidates.retrieval=[clip-text-image]"]
        )
    )
