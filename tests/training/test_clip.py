"""Pairs of documents and entities, and a run that fine-tunes CLIP before it links pictures by it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mmel.config import Config
from mmel.document import NIL, Document, Entity, TextMention, VisualMention
from mmel.encoders.images import make_image_encoder
from mmel.errors import ConfigError
from mmel.linker import Linker
from mmel.training.clip import Pair, as_pairs, check_clip, entity_pairs, mention_pairs
from mmel.training.session import train_linker
from mmel.vision.linker import CLIP_FILE
from tests.encoders.images.models import TINY
from tests.tiny import nine_tasks_settings, write_film_world

open_clip = pytest.importorskip("open_clip")

HOME = Path("home")


def shown(*golds: str | None, images: Sequence[str] = ("a.jpg",)) -> Document:
    """A document that names `Ada` once for each gold, with pictures."""
    mentions = tuple(TextMention(i * 4, i * 4 + 3, "Ada", gold) for i, gold in enumerate(golds))
    return Document("d", "Ada " * len(golds), text_mentions=mentions, images=tuple(images))


# --- pairs ----------------------------------------------------------------------------------------------------------


def test_each_mention_with_each_picture() -> None:
    pairs = list(
        mention_pairs([shown("E1", NIL, images=("a.jpg", "b.jpg", "a.jpg")), shown("E2", images=())], HOME, "M-S")
    )
    text = "Ada: Ada Ada"
    assert pairs == [
        Pair(HOME / "a.jpg", text, "E1"),
        Pair(HOME / "b.jpg", text, "E1"),
        Pair(HOME / "a.jpg", text, None),
        Pair(HOME / "b.jpg", text, None),
    ]
    assert as_pairs(pairs).owners.tolist() == [0, 0, -1, -1]


def test_entities_with_name_and_description() -> None:
    ada, bea = Entity("E1", "Ada", description="A guide.", images=("x.jpg", "y.jpg")), Entity("E2", "Bea")
    assert list(entity_pairs([ada, bea], HOME)) == [
        Pair(HOME / "x.jpg", "Ada. A guide.", "E1"),
        Pair(HOME / "y.jpg", "Ada. A guide.", "E1"),
    ]


def test_what_fine_tuning_needs() -> None:
    base = Config().with_overrides(["modalities=visual", "vision.clip_train.epochs=1"])
    with pytest.raises(ConfigError, match="fine-tunes an open-clip model, the encoder is 'patch-transformer'"):
        check_clip(base)
    clip = base.with_overrides(["vision.encoder=open-clip:ViT-B-32/openai"])
    check_clip(clip)
    check_clip(base.with_overrides(["vision.text_encoder=open-clip:ViT-B-32/openai"]))
    with pytest.raises(ConfigError, match="has no use: no picture is linked or scored"):
        check_clip(clip.with_overrides(["modalities=text"]))
    check_clip(Config())


# --- a run ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film world with its pictures; the weights of open_clip's `run-clip` beside it."""
    world = write_film_world(tmp_path_factory.mktemp("clip") / "films", 12, {"train": 4, "val": 4}, 5)
    (world.parent / "run-clip.json").write_text(json.dumps(TINY))
    open_clip.add_model_config(world.parent / "run-clip.json")
    torch.manual_seed(1)
    torch.save(open_clip.create_model("run-clip").state_dict(), world.parent / "weights.pt")
    return world


def settings(world: Path, run: Path, *overrides: str) -> Config:
    return Config().with_overrides(
        [
            "name=clip", f"run={run}", f"kb={world.parent / 'kb'}", "device=cpu", "modalities=visual",
            "data.dataset=movies", f"data.root={world}", "data.dev_split=val",
            f"encoder.cache={world.parent / 'encodings'}", "vision.encoder=open-clip:run-clip",
            f"vision.weights={world.parent / 'weights.pt'}", "vision.task=V2TEL", "vision.text=name+description",
            "vision.clip_train.epochs=2", "vision.clip_train.batch=16", "vision.clip_train.learning_rate=1e-3",
            "confidence.hide=none",
            *overrides,
        ]
    )  # fmt: skip


def test_a_run_is_fine_tuned_and_links_by_the_tuned_weights(world: Path, tmp_path: Path) -> None:
    said: list[str] = []
    metrics, _ = train_linker(settings(world, tmp_path / "run"), restart=False, say=said.append)
    clip = metrics["clip"]
    assert [line["epoch"] for line in clip["history"]] == [0, 1, 2] and clip["missing_images"] == 0
    assert clip["history"][0]["accuracy"] is not None and clip["pairs"] > clip["validation_pairs"] > 0
    assert any("no validation document has a picture; 3 pairs of other entities are held out" in one for one in said)
    file = tmp_path / "run" / "visual" / CLIP_FILE
    tuned = make_image_encoder("open-clip:run-clip", file)
    linker = Linker.from_pretrained(tmp_path / "run")
    assert linker.visual is not None and linker.visual.texts is not None
    assert linker.visual.texts.regions.encoder.id == tuned.id
    assert not list(file.parent.glob("*checkpoint*"))
    again = settings(world, tmp_path / "by-hand", "vision.clip_train.epochs=0", f"vision.weights={file}")
    by_hand, _ = train_linker(again, restart=False, say=said.append)
    assert by_hand["validation"]["val"]["visual"] == metrics["validation"]["val"]["visual"]


def test_documents_with_pictures_validate_and_lost_ones_are_counted(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from mmel.kb import KnowledgeBase
    from mmel.training.clip import tune_clip
    from mmel.training.run import RunFolder

    kb = KnowledgeBase.open(world.parent / "kb")
    people = [entity for entity in kb if entity.images]
    documents = [shown(entity.id, images=entity.images) for entity in people[:6]]
    linked = replace(documents[0], images=(), visual_mentions=(VisualMention("x.jpg", None, people[7].id),))
    config = settings(
        world, tmp_path, "vision.clip_train.epochs=1", "vision.clip_train.entities=linked", "vision.mention_text=S1-M-D"
    )
    said: list[str] = []
    train = {"train": [*documents, linked, shown("E1", images=("nowhere.jpg",))]}
    metrics = tune_clip(config, kb, world, train, {"val": documents[:3]}, RunFolder(tmp_path / "run"), said.append)
    own, more = sum(len(entity.images) for entity in people[:6]), len(people[7].images)
    assert said[0] == f"CLIP: {own + 1} pairs of mentions and {own + more} of entities"
    assert said[1] == "CLIP: 7 of 7 mentions have no description and are read without"
    assert metrics["validation_pairs"] == sum(len(entity.images) for entity in people[:3])
    assert metrics["missing_images"] == 1 and "nowhere.jpg" in capsys.readouterr().err


def test_texts_of_mentions_are_scored_by_the_tuned_model(
    world: Path, nine_tasks: Path, tiny_encoder: Path, tmp_path: Path
) -> None:
    config = nine_tasks_settings(
        nine_tasks, tiny_encoder, tmp_path / "run", "train.epochs=1", "vision.encoder=open-clip:run-clip",
        f"vision.weights={world.parent / 'weights.pt'}", "vision.clip_train.epochs=2", "vision.clip_train.batch=8",
        "vision.clip_train.learning_rate=1e-3", "vision.mention_text=S1-M",
    )  # fmt: skip
    metrics, _ = train_linker(config, restart=False, say=lambda _: None)
    clip = metrics["clip"]
    assert (clip["pairs"], clip["validation_pairs"], clip["missing_images"]) == (24 + 8, 23, 0)
    assert clip["history"][0]["among"] == 8
    linker = Linker.from_pretrained(tmp_path / "run", pictures=nine_tasks)
    assert linker.text is not None and linker.text.preparer.pictures is not None
    scorer = linker.text.preparer.pictures
    tuned = make_image_encoder("open-clip:run-clip", tmp_path / "run" / "visual" / CLIP_FILE)
    assert "pictures.text_image" in scorer.columns and scorer.side.regions.encoder.id == tuned.id
