"""Fine-tuning of a tiny CLIP model with random weights: it learns, goes on after a kill, and counts what is lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch.nn import functional

from mmel.encoders.images import make_image_encoder
from mmel.encoders.images.open_clip import ClipParts, open_parts
from mmel.errors import InputError, MmelError
from mmel.vision import train_clip as module
from mmel.vision.losses import info_nce
from mmel.vision.train_clip import ClipPairs, augmentation, train_clip
from mmel.vision_settings import ClipTrainConfig
from tests.encoders.images.models import TINY

open_clip = pytest.importorskip("open_clip")

COLOURS = {
    "red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 40, 220), "white": (240, 240, 240),
    "black": (15, 15, 15), "yellow": (230, 220, 40), "violet": (210, 40, 210), "turquoise": (40, 210, 210),
}  # fmt: skip
RULE = ClipTrainConfig(epochs=10, batch=8, learning_rate=5e-3, crop=0.6)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of the model `trained-clip`, which open_clip then knows."""
    folder = tmp_path_factory.mktemp("clip")
    (folder / "trained-clip.json").write_text(json.dumps(TINY))
    open_clip.add_model_config(folder / "trained-clip.json")
    torch.manual_seed(1)
    torch.save(open_clip.create_model("trained-clip").state_dict(), folder / "weights.pt")
    return folder / "weights.pt"


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> ClipPairs:
    """Pictures of a colour, and texts that name it; four times, as one owner's."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    pictures, texts, owners = [], [], []
    for number, (colour, shade) in enumerate(COLOURS.items()):
        for copy, text in enumerate((f"all {colour}", colour, f"{colour} it is", f"so {colour}")):
            pixels = np.array(shade) + rng.normal(0, 12, (40, 40, 3))
            pictures.append(folder / f"{number}-{copy}.png")
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(pictures[-1])
            texts.append(text)
            owners.append(number)
    return ClipPairs(tuple(pictures), tuple(texts), np.array(owners, np.int64))


def parts(model: Path, rule: ClipTrainConfig = RULE) -> ClipParts:
    return open_parts("trained-clip", model, augmentation=augmentation(rule))


# --- the loss -------------------------------------------------------------------------------------------------------


def unit(n: int, seed: int) -> torch.Tensor:
    return functional.normalize(torch.randn(n, 5, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_the_loss_is_clips_where_all_pairs_differ() -> None:
    images, texts, scale = unit(6, 0), unit(6, 1), torch.tensor(14.0)
    expected = open_clip.ClipLoss()(images, texts, scale)
    for alike in (torch.eye(6, dtype=torch.bool), torch.zeros(6, 6, dtype=torch.bool)):
        torch.testing.assert_close(info_nce(images, texts, scale, alike), expected)


def test_pairs_that_are_alike_are_not_held_against_each_other() -> None:
    images, texts, scale = unit(4, 2), unit(4, 3), torch.tensor(7.0)
    owners = torch.tensor([0, 1, 0, 2])
    alike = owners[:, None] == owners
    total = 0.0
    for a, b in ((images, texts), (texts, images)):
        for i in range(4):
            others = [j for j in range(4) if j == i or owners[j] != owners[i]]
            total -= float(torch.log_softmax(scale * (b[others] @ a[i]), 0)[others.index(i)])
    assert float(info_nce(images, texts, scale, alike)) == pytest.approx(total / 8, abs=1e-5)


def test_the_closed_form_of_two_pairs() -> None:
    eye, scale = torch.eye(2), torch.tensor(2.0)
    expected = float(np.log1p(np.exp(-2.0)))
    assert float(info_nce(eye, eye, scale, torch.eye(2, dtype=torch.bool))) == pytest.approx(expected)
    assert float(info_nce(eye, eye, scale, torch.ones(2, 2, dtype=torch.bool))) == 0


def test_what_is_alike() -> None:
    files = [Path(name) for name in "aabcd"]
    pairs = ClipPairs(tuple(files), ("1", "2", "3", "3", "4"), np.array([0, -1, 1, -1, 1]))
    expected = np.eye(5, dtype=bool)
    for i, j in ((0, 1), (2, 3), (2, 4)):  # picture, text, owner; nobody is not nobody's like
        expected[i, j] = expected[j, i] = True
    np.testing.assert_array_equal(pairs.alike(), expected)


# --- training -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(model: Path, pairs: ClipPairs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    result = tmp_path_factory.mktemp("run") / "clip.safetensors"
    train_clip(parts(model), pairs, pairs, RULE, result, seed=3)
    return result


def history(result: Path) -> list[dict[str, Any]]:
    return list(module.load_tensors(result)[1]["training"]["history"])


def test_the_loss_falls_and_retrieval_rises(trained: Path) -> None:
    lines = history(trained)
    assert [line["epoch"] for line in lines] == list(range(11)) and lines[0]["loss"] is None
    assert lines[-1]["loss"] < 0.5 * lines[1]["loss"]
    assert max(line["accuracy"] for line in lines) > lines[0]["accuracy"] + 0.4
    assert lines[-1]["temperature"] != lines[0]["temperature"] == pytest.approx(0.07, abs=1e-3)
    assert {(line["pairs"], line["among"]) for line in lines} == {(32, 8)}


def test_the_weights_are_those_of_the_best_epoch_and_encode(model: Path, trained: Path, pairs: ClipPairs) -> None:
    before = make_image_encoder("open-clip:trained-clip", model)
    after = make_image_encoder("open-clip:trained-clip", trained)
    assert before.id != after.id
    pictures = [Image.open(path).convert("RGB") for path in pairs.pictures]

    def right(encoder: object) -> float:
        scores = encoder.encode(pictures) @ encoder.encode_text(pairs.texts).T  # type: ignore[attr-defined]
        return float((pairs.owners[scores.argmax(1)] == pairs.owners).mean())

    assert right(after) > right(before) + 0.3
    state = module.load_tensors(trained)[1]["training"]
    assert state["best"] == max(line["accuracy"] for line in state["history"])


def test_a_killed_run_ends_in_the_same_bytes(
    model: Path, trained: Path, pairs: ClipPairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = tmp_path / "clip.safetensors"
    saved = module.save_checkpoint
    for stop in (1, 3):  # before the checkpoint of the first epoch, and in the middle
        calls = 0

        def killed(*arguments: object, stop: int = stop) -> None:
            nonlocal calls
            calls += 1
            if calls > stop:
                raise KeyboardInterrupt
            saved(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(module, "save_checkpoint", killed)
        with pytest.raises(KeyboardInterrupt):
            train_clip(parts(model), pairs, pairs, RULE, result, seed=3)
    monkeypatch.undo()
    assert (tmp_path / "clip-checkpoint.safetensors").is_file()
    train_clip(parts(model), pairs, pairs, RULE, result, seed=3)
    assert result.read_bytes() == trained.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["clip.safetensors"]
    assert train_clip(parts(model), pairs, pairs, RULE, result, seed=3)[0].history == history(trained)


def test_the_start_is_kept_where_training_brings_nothing(model: Path, pairs: ClipPairs, tmp_path: Path) -> None:
    result = tmp_path / "clip.safetensors"
    rule = RULE.model_copy(update={"epochs": 1, "learning_rate": 1e-12})
    state, _ = train_clip(parts(model), pairs, pairs, rule, result)
    assert state.best_epoch == 0 and len(history(result)) == 2
    for name, tensor in torch.load(model, weights_only=True).items():
        torch.testing.assert_close(load_file(result)[name], tensor)


def test_without_validation_the_last_epoch_is_kept(model: Path, pairs: ClipPairs, tmp_path: Path) -> None:
    rule = RULE.model_copy(update={"epochs": 2})
    state, _ = train_clip(parts(model), pairs, None, rule, tmp_path / "clip.safetensors")
    assert state.best_epoch == 2 and "accuracy" not in state.history[-1]


def test_random_draws_elsewhere_are_not_disturbed(model: Path, pairs: ClipPairs, tmp_path: Path) -> None:
    given = parts(model)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train_clip(given, pairs, None, RULE.model_copy(update={"epochs": 1}), tmp_path / "clip.safetensors")
    torch.testing.assert_close(torch.rand(3), expected)


def test_lost_pictures_are_counted_once_and_have_no_part(model: Path, pairs: ClipPairs, tmp_path: Path) -> None:
    (tmp_path / "torn.png").write_bytes(pairs.pictures[0].read_bytes()[:60])
    lost = (tmp_path / "torn.png", tmp_path / "gone.png")
    more = ClipPairs(
        (*pairs.pictures, *lost, lost[0]),
        (*pairs.texts, "torn", "gone", "torn again"),
        np.concatenate([pairs.owners, [-1, -1, -1]]),
    )
    rule = RULE.model_copy(update={"epochs": 2, "batch": 9})
    state, skips = train_clip(parts(model), more, more, rule, tmp_path / "clip.safetensors")
    assert sum(skips.counts.values()) == 2 and "gone.png" in skips.summary() and "torn.png" in skips.summary()
    assert state.history[-1]["pairs"] == 32
    everything = ClipPairs(lost, ("torn", "gone"), np.array([0, 1]))
    with pytest.raises(InputError, match="no batch has two pictures that can be read"):
        train_clip(parts(model), everything, None, rule, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="1 pairs of picture and text"):
        train_clip(parts(model), pairs.take(np.array([0])), None, rule, tmp_path / "other.safetensors")


def test_a_loss_that_is_no_number_stops(model: Path, pairs: ClipPairs, tmp_path: Path) -> None:
    given = parts(model)
    with torch.no_grad():
        given.model.logit_scale.fill_(torch.nan)
    with pytest.raises(MmelError, match=r"the loss is nan at step 0.*learning_rate"):
        train_clip(given, pairs, None, RULE, tmp_path / "clip.safetensors")


def test_the_preprocessing_goes_with_the_weights(model: Path, pairs: ClipPairs, tmp_path: Path) -> None:
    half = (0.5, 0.5, 0.5)
    given = open_clip.create_model_and_transforms("trained-clip", str(model), image_mean=half, image_std=half)
    tuned = ClipParts(given[0], given[2], given[1], open_clip.get_tokenizer("trained-clip"))
    train_clip(tuned, pairs, None, RULE.model_copy(update={"epochs": 1}), tmp_path / "clip.safetensors")
    again = open_parts("trained-clip", tmp_path / "clip.safetensors")
    assert str(again.prepare) == str(given[2]) != str(parts(model).prepare)


def test_tuned_weights_take_the_place_of_those_of_a_folder(model: Path, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": TINY, "preprocess_cfg": {"size": 32}}))
    (tmp_path / "open_clip_pytorch_model.bin").write_bytes(model.read_bytes())
    plain = make_image_encoder("open-clip:trained-clip", trained)
    picture = [Image.new("RGB", (40, 30), (9, 99, 199))]
    for name, weights in ((f"open-clip:local-dir:{tmp_path}", None), ("open-clip:trained-clip", model)):
        tuned = make_image_encoder(name, weights, tuned=trained)
        np.testing.assert_allclose(tuned.encode(picture), plain.encode(picture), atol=1e-6)


def test_views() -> None:
    assert augmentation(ClipTrainConfig()) == {"scale": (0.9, 1.0)}
    loud = augmentation(ClipTrainConfig(crop=0.5, colour=0.8, grey=0.2))
    assert loud["scale"] == (0.5, 1.0) and (loud["color_jitter_prob"], loud["gray_scale_prob"]) == (0.8, 0.2)
    assert open_clip.AugmentationCfg(**loud).color_jitter == (0.4, 0.4, 0.4, 0.1)
