"""Joint runs on a small film world: both sides trained, coupled, opened again; sides of finished runs coupled anew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmel.config import Config
from mmel.document import NIL, Document
from mmel.errors import ConfigError, InputError
from mmel.evaluate import main as evaluate_main
from mmel.formats.jsonl import read_documents
from mmel.linker import Linker
from mmel.training.session import metrics_table, train_linker
from tests.tiny import small_config, write_film_world

VISION = (
    "modalities=[text, visual]", "vision.patch.side=32", "vision.patch.grid=4", "vision.patch.dim=24",
    "vision.patch.layers=2", "vision.patch.heads=2", "vision.patch.feed_forward=32", "vision.patch_train.steps=0",
    "vision.patch_train.people=6", "vision.patch_train.initial_crops=200",
)  # fmt: skip


def quietly(config: Config) -> dict[str, Any]:
    return train_linker(config, restart=False, say=lambda _: None)[0]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_film_world(tmp_path_factory.mktemp("joint") / "films", 8, {"train": 30, "val": 16, "test": 16}, 5)


@pytest.fixture(scope="module")
def run(world: Path, tiny_encoder: Path) -> Path:
    """A finished joint run; not to be written."""
    quietly(small_config(world, tiny_encoder, world.parent / "run", *VISION, "coupling.plan=transport"))
    return world.parent / "run"


@pytest.fixture
def documents(world: Path) -> list[Document]:
    return list(read_documents(world / "documents.val.jsonl"))


def test_joint_is_scored_beside_each_modality_alone(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    result = metrics["validation"]["val"]
    for modality in ("text", "visual"):
        gain = result["alone"][modality]["gain"]
        joint = result[modality]["accuracy"]
        assert gain["accuracy"] == pytest.approx(joint - result["alone"][modality]["accuracy"])
        assert gain["low"] <= gain["accuracy"] <= gain["high"]
    # Faces of this tiny encoder say little, so that the names must help them here: far beyond chance.
    assert result["visual"]["accuracy"] > result["alone"]["visual"]["accuracy"] + 0.1
    assert "accuracy alone" in metrics_table(metrics) and set(metrics["seconds"]) >= {"train", "visual", "coupling"}


def test_an_opened_run_links_as_in_training_whatever_the_batch(
    run: Path, world: Path, documents: list[Document]
) -> None:
    linked = list(Linker.from_pretrained(run).link(documents, world, nil=False))
    right = [
        link.entity == mention.entity
        for one in linked
        for link, mention in zip(one.visual_links, one.document.visual_mentions, strict=True)
    ]
    result = json.loads((run / "metrics.json").read_text())["validation"]["val"]
    assert np.mean(right) == pytest.approx(result["visual"]["accuracy"])
    alone = list(Linker.from_pretrained(run).link(documents[::-1], world, documents_per_batch=1, nil=False))[::-1]
    for one, other in zip(linked, alone, strict=True):
        assert [x.entity for x in one.text_links] == [x.entity for x in other.text_links]
        assert [x.entity for x in one.visual_links] == [x.entity for x in other.visual_links]
        assert [x.score for x in one.text_links] == pytest.approx([x.score for x in other.text_links], abs=1e-4)


def test_joint_links_and_those_alone_are_judged_in_any_company(
    run: Path, world: Path, documents: list[Document]
) -> None:
    linker = Linker.from_pretrained(run)
    decided, ignored = (list(linker.link(documents, world, nil=nil)) for nil in (True, False))
    apart = list(linker.link(documents[::-1], world, documents_per_batch=1))[::-1]
    for one, best, other in zip(decided, ignored, apart, strict=True):
        assert (one.alone is None) == (best.alone is None)
        views = [(one, best, other), (one.alone or one, best.alone or best, other.alone or other)]
        for a, b, c in views:
            for side in ("text_links", "visual_links"):
                for x, y, z in zip(getattr(a, side), getattr(b, side), getattr(c, side), strict=True):
                    assert x.confidence == y.confidence and x.candidates == y.candidates
                    assert x.confidence is not None and 0 <= x.confidence <= 1
                    assert x.entity in (NIL, y.entity)
                    assert y.entity == (x.candidates[0].entity if x.candidates else NIL)
                    assert x.score == pytest.approx(z.score, abs=1e-4)
        for pair in one.couplings:
            if NIL in (one.text_links[pair.text].entity, one.visual_links[pair.visual].entity):
                assert pair.path == ()


def test_every_link_says_why(run: Path, world: Path, documents: list[Document]) -> None:
    linker = Linker.from_pretrained(run)
    for one in linker.link(documents, world):
        if one.alone is None:
            assert not one.couplings
            continue
        assert len(one.alone.text_links) == len(one.text_links) and one.alone.document is one.document
        for link in (*one.text_links, *one.visual_links):
            assert {"alone", "linked", "meets"} <= set(link.candidates[0].columns)
        masses = [pair.mass for pair in one.couplings]
        assert masses == sorted(masses, reverse=True) and 0 < sum(masses) <= 1 + 1e-9
        for pair in one.couplings:
            if pair.path:
                ends = one.text_links[pair.text].entity, one.visual_links[pair.visual].entity
                assert (pair.path[0], pair.path[-1]) == ends
                for a, b in zip(pair.path, pair.path[1:], strict=False):
                    assert b in linker.kb.entity(a).links or a in linker.kb.entity(b).links


def test_documents_of_one_modality_keep_its_links(run: Path, world: Path, documents: list[Document]) -> None:
    from dataclasses import replace

    both = next(one for one in documents if one.text_mentions and one.visual_mentions)
    names, faces = replace(both, visual_mentions=()), replace(both, text="nobody is named", text_mentions=())
    linker = Linker.from_pretrained(run)
    (joint, only_names, only_faces) = linker.link([both, names, faces], world)
    assert joint.alone is not None and only_names.alone is None and only_faces.alone is None
    assert only_names.text_links == joint.alone.text_links and only_faces.visual_links == joint.alone.visual_links
    assert linker.coupler is not None and linker.coupler.coupled == 1 and linker.coupler.counts.total() == 2


def test_finished_sides_are_coupled_anew(run: Path, world: Path, tiny_encoder: Path, tmp_path: Path) -> None:
    taken = (f"coupling.text_run={run}", f"coupling.visual_run={run}")
    sides = json.loads((run / "metrics.json").read_text())["validation"]["val"]["alone"]
    for plan in ("uniform", "none"):
        config = small_config(world, tiny_encoder, tmp_path / plan, *VISION, *taken, f"coupling.plan={plan}")
        result = quietly(config)["validation"]["val"]
        mine = result["alone"] if plan == "uniform" else result
        for modality in ("text", "visual"):
            assert mine[modality]["accuracy"] == pytest.approx(sides[modality]["accuracy"])
        assert Linker.from_pretrained(tmp_path / plan).coupler is None or plan == "uniform"
    with pytest.raises(InputError, match="no finished run"):
        quietly(small_config(world, tiny_encoder, tmp_path / "x", *VISION, f"coupling.text_run={tmp_path / 'nowhere'}"))


def test_a_coupling_needs_both_modalities(world: Path, tiny_encoder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"coupling.plan=uniform joins two modalities"):
        quietly(small_config(world, tiny_encoder, tmp_path / "run", "train.epochs=1", "coupling.plan=uniform"))


def test_evaluate_prints_alone_beside_joint(
    run: Path, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, page = tmp_path / "out.json", tmp_path / "page.html"
    command = ["--model", str(run), "--dataset", "movies", "--root", str(world), "--split", "test"]
    kb = ["--kb", str(world.parent / "kb")]
    assert evaluate_main([*command, *kb, "--json", str(out), "--report", str(page)]) == 0
    shown = capsys.readouterr()
    assert "visual accuracy" in shown.out and "95 % interval" in shown.out and "documents coupled" in shown.err
    assert set(json.loads(out.read_text())["alone"]) == {"text", "visual"}
    assert "alone" in page.read_text()


def test_noise_is_the_same_for_a_picture_and_differs_by_seed() -> None:
    from mmel.vision.linker import noisy

    vectors = np.random.default_rng(0).normal(size=(200, 64)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    first = noisy(vectors, 1.0, 0)
    assert np.array_equal(noisy(vectors[::-1], 1.0, 0)[::-1], first) and not np.array_equal(
        noisy(vectors, 1.0, 1), first
    )
    assert np.linalg.norm(first, axis=1) == pytest.approx(1, abs=1e-5)
    # A unit vector and noise of expected length 1 at a right angle: cosine 1 / sqrt 2.
    assert float((first * vectors).sum(1).mean()) == pytest.approx(0.5**0.5, abs=0.03)
