"""The columns of pictures against brute force, what is missing, and that hidden modalities change no score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from mmel.candidates import Candidates, MentionTable
from mmel.config import ModelConfig, VisionConfig
from mmel.detection.align import ARCFACE_TEMPLATE
from mmel.detection.faces import Faces
from mmel.document import Document, Entity, TextMention
from mmel.encoders.images.base import ImageEncoder
from mmel.errors import ConfigError
from mmel.kb import KnowledgeBase
from mmel.kb.build import build
from mmel.linker import Linker
from mmel.text.anchored import make_text_model
from mmel.text.batch import make_batch
from mmel.text.linker import predict
from mmel.text.modalities import GROUPS, TASKS, allowed
from mmel.text.pictures import PictureColumns, PictureScorer, above, pictured
from mmel.text.prepare import TextInputs
from mmel.training.trainer import column_scales, picture_ratios
from mmel.vision.gallery import picture_gallery
from mmel.vision.linker import Side, VisualLinker
from mmel.vision.regions import Region, RegionEncoder
from mmel.vision_settings import MentionText

if TYPE_CHECKING:
    from PIL.Image import Image

CPU = torch.device("cpu")


class Colours:
    """A picture is its mean colour, a text the colour that is called as its words: one space of both."""

    id, dim, size = "colours", 3, 8

    def encode(self, pictures: Sequence[Image]) -> np.ndarray:
        rows = np.stack([np.asarray(one, np.float32).reshape(-1, 3).mean(0) + 1 for one in pictures])
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class ColoursAndWords(Colours):
    id = "colours and words"

    def encode_text(self, texts: Sequence[str]) -> np.ndarray:
        rows = np.array([[1 + text.count(word) for word in ("red", "green", "blue")] for text in texts], np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from PIL import Image

    root = tmp_path_factory.mktemp("colours")
    shades = {"r": (250, 20, 10), "g": (10, 240, 30), "b": (20, 10, 230), "rg": (200, 190, 0), "gb": (5, 180, 200)}
    for name, colour in shades.items():
        Image.new("RGB", (8, 8), colour).save(root / f"{name}.png")
    (root / "broken.png").write_text("no picture")
    return root


@pytest.fixture(scope="module")
def kb(folder: Path) -> KnowledgeBase:
    entities = [
        Entity("R", "Ruth Vale", description="likes red", images=("r.png", "rg.png")),
        Entity("G", "Gus Vale", description="likes green", images=("g.png",)),
        Entity("N", "Nan Vale", description="likes blue"),
        Entity("X", "Xi Vale", images=("broken.png",)),
    ]
    build(entities, folder / "kb", date="2020-02-02")
    return KnowledgeBase.open(folder / "kb")


def scorer_of(
    kb: KnowledgeBase, folder: Path, encoder: ImageEncoder, mention_text: MentionText = "M-S1"
) -> PictureScorer:
    regions = RegionEncoder(encoder, None, folder / "cache")
    gallery, _ = picture_gallery(kb, folder, regions)
    vision = VisionConfig(text="name+description", mention_text=mention_text)
    return PictureScorer(VisualLinker(vision, kb, Side(regions, gallery)))


def documents() -> list[Document]:
    mention = (TextMention(0, 4, "Vale"),)
    images = (("g.png", "gb.png", "g.png"), (), ("broken.png", "absent.png"), ("r.png",))
    return [Document(str(i), "Vale in green.", text_mentions=mention, images=each) for i, each in enumerate(images)]


def columns_of(scorer: PictureScorer, kb: KnowledgeBase, folder: Path) -> PictureColumns:
    ids = np.array([[0, 1, 2, 3], [0, 1, -1, -1], [1, 0, -1, -1], [3, 2, 1, 0]])
    candidates = Candidates(ids, np.zeros(ids.shape, np.float32), np.ones(ids.shape, np.uint8))
    return scorer(MentionTable.of(documents(), kb), candidates, folder)


def test_mentions_are_read_as_clip_was_trained_to(
    kb: KnowledgeBase, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    encode = ColoursAndWords.encode_text

    def noted(encoder: ColoursAndWords, texts: Sequence[str]) -> np.ndarray:
        read.extend(texts)
        return encode(encoder, texts)

    monkeypatch.setattr(ColoursAndWords, "encode_text", noted)
    columns_of(scorer_of(kb, folder, ColoursAndWords(), "S-M"), kb, folder)
    assert read[:4] == ["Vale in green. Vale"] * 4


def test_columns_are_those_of_brute_force(kb: KnowledgeBase, folder: Path) -> None:
    scorer = scorer_of(kb, folder, ColoursAndWords())
    found = columns_of(scorer, kb, folder)
    encoder = ColoursAndWords()
    vector = {f"{n}.png": scorer.side.regions.encode([Region(folder / f"{n}.png")]).vectors[0] for n in
              ("r", "g", "b", "rg", "gb")}  # fmt: skip
    own = np.stack([vector["g.png"], vector["gb.png"]])
    pictures = {0: [vector["r.png"], vector["rg.png"]], 1: [vector["g.png"]]}
    names = [name.removeprefix("pictures.") for name in scorer.columns]
    column = {name: found.values[0, :, i] for i, name in enumerate(names)}
    for entity, shown in pictures.items():
        assert column["image_image_best"][entity] == pytest.approx((own @ np.stack(shown).T).max(), abs=1e-5)
        means = [np.mean(x, 0) / np.linalg.norm(np.mean(x, 0)) for x in (own, shown)]
        assert column["image_image_mean"][entity] == pytest.approx(means[0] @ means[1], abs=1e-3)
        text = encoder.encode_text(["Vale: Vale in green."])[0]
        assert column["text_image"][entity] == pytest.approx((np.stack(shown) @ text).max(), abs=1e-5)
    best = column["image_image_best"]
    assert column["image_image_above"][:2] == pytest.approx([best[0] - best[1], best[1] - best[0]], abs=1e-6)
    words = encoder.encode_text(["likes red", "likes green", "likes blue", "Xi Vale"])
    assert column["image_text"] == pytest.approx((own @ words.T).max(0), abs=1e-5)
    assert found.evidence[0, 0] == pytest.approx(np.log1p(2))
    assert found.evidence[0, 3] == pytest.approx((own @ encoder.encode_text(["Vale: Vale in green."])[0]).max(), 1e-5)


def test_what_is_missing_is_masked_and_counted(kb: KnowledgeBase, folder: Path) -> None:
    scorer = scorer_of(kb, folder, ColoursAndWords())
    found = columns_of(scorer, kb, folder)
    there = {group: found.available[..., i].astype(int).tolist() for i, group in enumerate(GROUPS)}
    candidates = [[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1]]
    pictured_ones = [[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1]]
    shown = [1, 0, 0, 1]
    assert found.shown.astype(int).tolist() == shown
    assert there["T-T"] == candidates and there["T-I"] == pictured_ones == found.pictured.astype(int).tolist()
    assert there["I-T"] == [[s * c for c in row] for s, row in zip(shown, candidates, strict=True)]
    assert there["I-I"] == [[s * c for c in row] for s, row in zip(shown, pictured_ones, strict=True)]
    assert not found.evidence[1:3].any() and np.isfinite(found.values).all()
    image = [i for i, name in enumerate(scorer.columns) if "image_image" in name]
    assert not found.values[..., image][~found.available[..., GROUPS.index("I-I")]].any()
    assert sum(scorer.skips.counts.values()) == 2  # one broken, one absent


def test_an_encoder_without_words_compares_pictures_only(kb: KnowledgeBase, folder: Path) -> None:
    scorer = scorer_of(kb, folder, Colours())
    assert all(name.startswith("pictures.image_image") for name in scorer.columns)
    found = columns_of(scorer, kb, folder)
    assert not found.available[..., [GROUPS.index("T-I"), GROUPS.index("I-T")]].any()
    with pytest.raises(ConfigError, match="folder of these is not known"):
        scorer(MentionTable.of(documents(), kb), Candidates(*(np.zeros((4, 0)),) * 3), None)
    without = [replace(one, images=()) for one in documents()]
    ids = np.zeros((4, 1), np.int64)
    assert not scorer(MentionTable.of(without, kb), Candidates(ids, ids, ids), None).shown.any()


class Halves:
    """Finds a face in each half of a picture that is wide, one in another."""

    id = "halves"

    def detect(self, pictures: Sequence[Image]) -> list[Faces]:
        return [self._faces(*picture.size) for picture in pictures]

    def _faces(self, width: int, height: int) -> Faces:
        half = width / 2 if width > height else width
        boxes = np.array([(x, 0, x + half, height) for x in np.arange(0, width, half)], np.float32)
        landmarks = boxes[:, None, :2] + ARCFACE_TEMPLATE[None] * (boxes[:, 2:] - boxes[:, :2])[:, None] / 112
        return Faces(boxes, landmarks.astype(np.float32), np.full(len(boxes), 0.9, np.float32))


def test_several_faces_of_a_picture_are_several_pictures(kb: KnowledgeBase, tmp_path: Path, folder: Path) -> None:
    from PIL import Image

    wide = Image.new("RGB", (80, 40), (20, 10, 230))
    wide.paste((10, 240, 30), (40, 0, 80, 40))
    wide.save(folder / "wide.png")
    regions = RegionEncoder(Colours(), Halves(), tmp_path / "cache", refine=False, unaligned="crop")
    gallery, _ = picture_gallery(kb, folder, regions)
    scorer = PictureScorer(VisualLinker(VisionConfig(), kb, Side(regions, gallery)))
    shown = [replace(documents()[0], images=(image,)) for image in ("g.png", "wide.png", "broken.png")]
    ids = np.array([[0, 1]] * 3)
    found = scorer(MentionTable.of(shown, kb), Candidates(ids, np.zeros((3, 2)), ids), folder)
    assert found.evidence[:, 0] == pytest.approx(np.log1p([1, 2, 0]))
    assert found.shown.tolist() == [True, True, False]
    best, mean = found.values[..., 0], found.values[..., 1]
    assert best[1, 1] == pytest.approx(best[0, 1], abs=0.02) and mean[1, 1] < best[1, 1] - 0.1
    assert sum(scorer.skips.counts.values()) == 1


def test_a_gallery_of_training_pictures_is_refused(kb: KnowledgeBase, folder: Path) -> None:
    side = scorer_of(kb, folder, Colours()).side
    with pytest.raises(ConfigError, match=r"vision\.train_pictures=true"):
        PictureScorer(VisualLinker(VisionConfig(train_pictures=True), kb, side))


def test_above_is_the_distance_to_the_best_other() -> None:
    scores = np.array([[0.5, 0.9, 0.2, 5.0], [0.3, 1.0, 1.0, 1.0], [0.4, 0.4, 0.1, 0.0]], np.float32)
    there = np.array([[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1]], bool)
    expected: list[list[float]] = [[-0.4, 0.4, -0.7, 0], [0, 0, 0, 0], [0, 0, -0.3, -0.4]]
    np.testing.assert_allclose(above(scores, there), expected, atol=1e-6)
    assert above(np.ones((2, 1)), np.ones((2, 1), bool)).tolist() == [[0], [0]]


def test_pictures_of_one_gold_are_labelled_pictures() -> None:
    one = Document("1", "Vale Vale", text_mentions=(TextMention(0, 4, "Vale", "R"), TextMention(5, 9, "Vale", "R")),
                   images=("a", "b", "a"))  # fmt: skip
    two = replace(one, text_mentions=(one.text_mentions[0], TextMention(5, 9, "Vale", "G")))
    first, second = pictured([one, two])
    assert [(m.image, m.entity) for m in first.visual_mentions] == [("a", "R"), ("b", "R")]
    assert second is two


# --- a prepared set ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def linker(nine_tasks_run: Path, nine_tasks: Path) -> Linker:
    return Linker.from_pretrained(nine_tasks_run, pictures=nine_tasks)


@pytest.fixture(scope="module")
def read(nine_tasks: Path) -> list[Document]:
    from mmel.datasets import open_dataset

    return list(open_dataset("m3el-mtmt", nine_tasks).documents("val"))


@pytest.fixture(scope="module")
def inputs(linker: Linker, read: list[Document], nine_tasks: Path) -> TextInputs:
    assert linker.text is not None
    return linker.text.preparer(read, pictures=nine_tasks, swap=(1, 2))


def with_towers(inputs: TextInputs, random: np.random.Generator) -> TextInputs:
    """The inputs with columns of all groups, as an encoder with a text tower would give them."""
    assert inputs.pictures is not None
    extra = random.normal(size=(*inputs.candidates.ids.shape, 2)).astype(np.float32)
    available = inputs.pictures.available.copy()
    available[..., 1] = inputs.pictures.pictured
    available[..., 2] = inputs.pictures.shown[:, None] & inputs.candidates.mask
    values = np.concatenate([inputs.pictures.values, extra], -1)
    return replace(
        inputs,
        features=np.concatenate([inputs.features, extra], -1),
        feature_names=[*inputs.feature_names, "pictures.text_image", "pictures.image_text"],
        pictures=replace(inputs.pictures, values=values, available=available),
    )


KINDS: dict[str, dict[str, Any]] = {
    "gated": {"gate": True, "passes": 0},
    "mean-field": {"scorers": ("surface", "context", "mulrel", "coreference", "link_coherence", "pictures")},
    "lbp": {"scorers": ("context", "local_attention", "mulrel", "pictures"), "inference": "lbp", "gate": True},
}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("kind", KINDS)
def test_what_a_task_hides_does_not_change_its_scores(inputs: TextInputs, kind: str, task: str) -> None:
    random = np.random.default_rng(3)
    shown = with_towers(inputs, random)
    if kind == "lbp":  # the run itself reads no words
        words = np.zeros((len(shown.table), 3), np.int64)
        tokens = random.normal(size=(1, shown.titles.shape[1])).astype(np.float16)
        shown = replace(shown, context=replace(shown.context, words=words, tokens=tokens))
    config = ModelConfig(dim=8, match_dim=4, hidden=8, inference="mean-field").model_copy(
        update={"scorers": ("surface", "context", "pictures"), **KINDS[kind]}
    )
    torch.manual_seed(0)
    dims = shown.titles.shape[1], shown.entities.shape[1]
    model = make_text_model(config, shown.feature_names, *dims, *column_scales([shown])).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    expected = predict(model, shown, 1000, CPU, task)
    found = predict(model, hidden_anew(shown, task, random), 1000, CPU, task)
    np.testing.assert_array_equal(found, expected)
    if task != "I+T->I+T":
        assert (predict(model, hidden_anew(shown, task, random), 1000, CPU) != predict(model, shown, 1000, CPU)).any()


def test_ratios_of_pictures_are_those_of_two_normal_distributions(inputs: TextInputs) -> None:
    """Of equal deviation s and means u, v of golds and others: slope (u - v) / s^2, offset (v^2 - u^2) / 2 s^2."""
    assert inputs.pictures is not None
    random, (m, k) = np.random.default_rng(0), (4000, inputs.candidates.ids.shape[1])
    gold = random.integers(-1, k, m)
    right = np.arange(k) == gold[:, None]
    cosine = np.where(right, 0.6, 0.2) + 0.2 * random.normal(size=(m, k))
    available = np.zeros((m, k, 4), bool)
    available[: m // 2, ..., 3] = True
    many = replace(
        inputs,
        features=np.stack([random.normal(size=(m, k)), np.where(available[..., 3], cosine, 0)], -1).astype(np.float32),
        gold=gold,
        pictures=replace(inputs.pictures, available=available),
    )
    mean, scale = torch.tensor([0.0, 0.1]), torch.tensor([1.0, 0.5])
    slope, offset = picture_ratios([many], [(3, 1), (2, 0)], mean, scale)
    # In x = (cosine - 0.1) / 0.5 the means are 1 and 0.2, the deviation 0.4.
    assert float(slope[0]) == pytest.approx(0.8 / 0.16, rel=0.05)
    assert float(offset[0]) == pytest.approx((0.04 - 1.0) / 0.32, rel=0.06)
    assert (float(slope[1]), float(offset[1])) == (1.0, 0.0)  # no candidate has the group


def hidden_anew(inputs: TextInputs, task: str, random: np.random.Generator) -> TextInputs:
    """The inputs with everything redrawn that is of a modality which the task hides."""
    assert inputs.pictures is not None
    mention, entity = (side.split("+") for side in task.split("->"))

    def redrawn(values: np.ndarray) -> np.ndarray:
        return random.normal(size=values.shape).astype(values.dtype)

    groups = np.array(
        [GROUPS.index({"te": "T-I", "im": "I-T"}.get(name[9:11], "T-T")) for name in inputs.feature_names]
    )
    groups[[name.startswith("pictures.image_image") for name in inputs.feature_names]] = GROUPS.index("I-I")
    hidden = ~allowed(task)
    features, available = inputs.features.copy(), inputs.pictures.available.copy()
    features[..., hidden[groups]] = redrawn(features[..., hidden[groups]])
    for g in np.flatnonzero(hidden):
        if g != GROUPS.index("T-T"):
            available[..., g] = random.random(available.shape[:2]) < 0.5
    evidence = inputs.pictures.evidence.copy()
    if "I" not in mention:
        evidence = redrawn(evidence)
    if "T" not in mention:
        evidence[:, -1] = redrawn(evidence[:, -1])
    changed = replace(
        inputs, features=features, pictures=replace(inputs.pictures, available=available, evidence=evidence)
    )
    if "T" not in entity:
        changed = replace(changed, titles=redrawn(inputs.titles), entities=redrawn(inputs.entities))
    if "T" not in mention:
        changed = replace(changed, context=replace(inputs.context, views=redrawn(inputs.context.views)))
    if hidden[GROUPS.index("T-T")]:
        prior = random.random(inputs.candidates.prior.shape).astype(np.float32)
        changed = replace(changed, candidates=replace(inputs.candidates, prior=prior))
    return changed


def test_scores_do_not_depend_on_who_is_in_the_batch(
    linker: Linker, read: list[Document], nine_tasks: Path, inputs: TextInputs
) -> None:
    assert linker.text is not None
    together = linker.text.scores(inputs)
    for d in (0, len(read) - 1):
        alone = linker.text.scores(linker.text.preparer(read[d : d + 1], pictures=nine_tasks))[0]
        np.testing.assert_allclose(alone, together[d, : len(alone)], atol=2e-4)


def test_swapped_columns_are_those_of_other_pictures(inputs: TextInputs) -> None:
    from mmel.text.modalities import Drawn

    assert inputs.pictures is not None
    rows = len(inputs.table)
    swapped = np.arange(rows) % 3 - 1
    pieces = [(i, i + 1) for i in range(rows)]
    batch = make_batch(inputs, pieces, False, Drawn(np.ones((rows, 4), bool), swapped))
    width = inputs.pictures.values.shape[-1]
    found = batch.features[..., -width:].numpy()
    for number, columns in ((-1, inputs.pictures), *enumerate(inputs.swapped)):
        np.testing.assert_array_equal(found[swapped == number], columns.values[swapped == number])
    np.testing.assert_array_equal(batch.features[..., :-width].numpy(), inputs.features[..., :-width])
    assert (inputs.features[..., -width:] == inputs.pictures.values).all()  # the batch is a copy
