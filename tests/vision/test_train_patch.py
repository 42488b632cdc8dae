"""Training of patch transformers: people are learned, runs resume to the same result, bad input, first weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from mmel.errors import ConfigError, InputError
from mmel.evaluation.metrics import realistic_ranks, recall_at
from mmel.vision.augment import NO_CHANGE
from mmel.vision.patch_init import gradient_filters, initialise
from mmel.vision.patch_transformer import PatchEncoder, PatchTransformer
from mmel.vision.train_patch import train_patch
from mmel.vision_settings import AugmentConfig, PatchConfig, PatchTrainConfig

TINY = PatchConfig(side=16, grid=4, dim=24, layers=2, heads=3, feed_forward=32)
SHIFT = AugmentConfig.model_validate(NO_CHANGE.model_dump() | {"shift": 0.05, "light": 0.2})
RULE = PatchTrainConfig(
    steps=6, people=4, photographs=2, every=3, memory=16, kept_patches=12, initial_crops=40, augment=SHIFT, warm_up=2
)


def people(n: int, each: int, seed: int = 0, side: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """n pictures of blobs, each seen `each` times with noise and other light."""
    rng = np.random.default_rng(seed)
    small = torch.from_numpy(rng.normal(size=(n, 3, 5, 5))).float()
    base = functional.interpolate(small, size=(side, side), mode="bicubic").permute(0, 2, 3, 1).numpy()
    seen = np.repeat(base, each, axis=0)
    seen = seen * rng.uniform(0.6, 1.4, (n * each, 1, 1, 1)) + rng.normal(0, 0.3, seen.shape)
    return (seen * 40 + 128).clip(0, 255).astype(np.uint8), np.repeat(np.arange(n), each)


def first_recall(encoder: PatchEncoder, crops: np.ndarray, labels: np.ndarray) -> float:
    """R@1 of the second and later pictures of each person among the first ones."""
    vectors = encoder.encode_crops(crops)
    first = np.unique(labels, return_index=True)[1]
    rest = np.setdiff1d(np.arange(len(labels)), first)
    return recall_at(realistic_ranks(vectors[rest] @ vectors[first].T, labels[rest]), 1)


@pytest.mark.parametrize("loss", ["triplet", "contrastive"])
def test_training_raises_recall_on_people_it_has_not_seen(loss: str) -> None:
    crops, labels = people(60, 3)
    other, names = people(30, 2, seed=1)
    settings = {"steps": 80, "people": 20, "every": 80, "initial_crops": 0, "learning_rate": 3e-3, "warm_up": 10}
    rule = PatchTrainConfig.model_validate({"loss": loss, "augment": SHIFT, **settings})
    torch.manual_seed(0)
    before = first_recall(PatchEncoder(PatchTransformer(TINY)), other, names)
    encoder, state = train_patch(crops, labels, TINY, rule)
    assert state.step == 80
    assert first_recall(encoder, other, names) > before + 0.1


def test_distillation_comes_nearer_to_the_teacher_without_labels() -> None:
    crops, _ = people(200, 1)
    teacher = crops.reshape(200, -1).astype(np.float32) @ np.random.default_rng(0).normal(size=(768, 8)) - 128
    teacher = teacher - teacher.mean(0)
    teacher /= np.linalg.norm(teacher, axis=1, keepdims=True)
    rule = PatchTrainConfig(loss="distil", steps=60, people=16, every=60, learning_rate=3e-3, augment=NO_CHANGE)

    def agreement(encoder: PatchEncoder) -> float:
        encoder = PatchEncoder(encoder.model, mirror=False)
        return float((encoder.encode_crops(crops)[:, :8] * teacher).sum(1).mean())

    nobody = np.full(200, -1)
    start, _ = train_patch(crops, nobody, TINY, rule.model_copy(update={"steps": 0}), targets=teacher)
    end, _ = train_patch(crops, nobody, TINY, rule, targets=teacher)
    assert 0.2 < agreement(start) < agreement(end)


def test_a_stopped_run_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    crops, labels = people(12, 3)
    whole, state = train_patch(crops, labels, TINY, RULE, seed=3)
    again, _ = train_patch(crops, labels, TINY, RULE, seed=3)
    assert again.id == whole.id

    class Stop(Exception):
        pass

    def stop(line: dict[str, object]) -> None:
        if line["step"] == 6:
            raise Stop

    checkpoint = tmp_path / "checkpoint.safetensors"
    with pytest.raises(Stop):
        train_patch(crops, labels, TINY, RULE, seed=3, checkpoint=checkpoint, log=stop)
    resumed, resumed_state = train_patch(crops, labels, TINY, RULE, seed=3, checkpoint=checkpoint)
    assert resumed.id == whole.id
    assert resumed_state == state
    finished, _ = train_patch(crops, labels, TINY, RULE, seed=3, checkpoint=checkpoint)
    assert finished.id == whole.id
    assert train_patch(crops, labels, TINY, RULE, seed=4)[0].id != whole.id


def test_the_best_validation_is_kept_and_every_one_logged() -> None:
    crops, labels = people(12, 3)
    scores = iter([0.1, 0.5, 0.7, 0.6])
    lines: list[dict[str, object]] = []
    seen: list[str] = []

    def validate(encoder: PatchEncoder) -> float:
        seen.append(encoder.id)
        return next(scores)

    rule = RULE.model_copy(update={"steps": 8})
    encoder, state = train_patch(crops, labels, TINY, rule, validate=validate, log=lines.append)
    assert [(line["step"], line["score"]) for line in lines] == [(0, 0.1), (3, 0.5), (6, 0.7), (8, 0.6)]
    assert lines == state.history
    assert (state.best, state.best_step) == (0.7, 6)
    assert encoder.id == seen[2]


def test_people_with_one_photograph_are_seen_twice_and_nobody_never() -> None:
    crops, labels = people(8, 1)
    labels[6:] = -1
    encoder, state = train_patch(crops, labels, TINY, RULE)
    assert state.history[-1]["loss"] > 0
    assert encoder.dim == 24


def tokens_of(model: PatchTransformer, crops: Tensor) -> Tensor:
    with torch.no_grad():
        return model.run(model.embed(crops), 0, 1)


def test_first_weights_make_each_head_look_at_one_place() -> None:
    crops = torch.from_numpy(people(64, 1, side=32)[0])
    config = PatchConfig(side=32, grid=4, dim=64, layers=3, heads=4, feed_forward=72)
    torch.manual_seed(0)
    model = PatchTransformer(config).eval()
    initialise(model, crops, torch.Generator().manual_seed(0))
    tokens = tokens_of(model, crops)
    layer = model.layers[1]
    assert isinstance(layer, torch.nn.TransformerEncoderLayer)
    with torch.no_grad():
        weights = layer.self_attn(tokens, tokens, tokens, average_attn_weights=False)[1]  # [n, heads, query, key]
    assert weights is not None
    centre = weights.mean((0, 2)).argmax(1)
    assert len(set(centre.tolist())) == 4
    # A centre may lie between four patches.
    assert float(weights.mean((0, 2)).topk(4).values.sum(1).min()) > 0.85
    torch.testing.assert_close(weights, weights[:, :, :1].expand_as(weights), atol=1e-4, rtol=0)


def test_first_weights_whiten_or_meet_the_targets() -> None:
    crops = torch.from_numpy(people(300, 1, side=32)[0])
    config = PatchConfig(side=32, grid=4, dim=48, layers=3, heads=4, feed_forward=72)
    model = PatchTransformer(config).eval()
    initialise(model, crops, torch.Generator().manual_seed(0))
    with torch.no_grad():
        spread = torch.cov(model.output(model.pool(torch.cat([crops, crops.flip(2)]))).T)
    assert float((spread - spread.diagonal().diag()).abs().max()) < 0.02
    both = (crops.float() + crops.flip(2).float())[..., 0] / 2  # a mirrored crop has the same target
    narrow = functional.normalize(functional.avg_pool2d(both, 8).flatten(1) - 128, dim=1)
    wide = functional.pad(narrow, (0, 24))  # more than a token has room for
    for targets in (narrow, wide):
        initialise(model, crops, torch.Generator().manual_seed(0), targets)
        with torch.no_grad():
            vectors = model(crops)
        assert float((vectors[:, :16] * narrow).sum(1).mean()) > 0.4
        assert float(vectors[:, 16:].abs().max()) < 1e-4


def test_first_weights_tell_the_labelled_people_apart() -> None:
    data, who = people(40, 6, side=32)
    crops, labels = torch.from_numpy(data), torch.from_numpy(who)
    model = PatchTransformer(PatchConfig(side=32, grid=4, dim=48, layers=3, heads=4, feed_forward=72)).eval()

    def within(known: Tensor | None) -> float:
        """Share of the variance that lies within people."""
        initialise(model, crops, torch.Generator().manual_seed(0), labels=known)
        with torch.no_grad():
            found = model.output(model.pool(crops))
        means = torch.stack([found[labels == person].mean(0) for person in range(40)])
        return float((found - means[labels]).square().sum() / (found - found.mean(0)).square().sum())

    told = within(labels)
    assert told < 0.7 * within(None)
    # Nobody known beside them: no people of their own, so they change little.
    assert within(torch.where(labels < 38, labels, -1)) < 0.75 * within(None)


def test_gradient_filters_answer_to_edges_of_their_direction() -> None:
    filters, sums = gradient_filters(12, 4)
    assert filters.shape == (128, 144)
    assert sums.shape == (128, 32)
    ramp = torch.arange(12.0).expand(12, 12).flatten()  # brighter to the right: direction 0
    found = (filters @ ramp).relu() @ sums
    assert found.reshape(4, 8).argmax(1).tolist() == [0, 0, 0, 0]
    torch.testing.assert_close(filters.norm(dim=1), torch.ones(128))


def test_what_cannot_be_learned_from_is_refused() -> None:
    crops, labels = people(12, 3)
    with pytest.raises(InputError, match=r"crops.*uint8 of shape \(36, 16, 16, 3\), expected uint8 \(n, 32, 32, 3\)"):
        train_patch(crops, labels, TINY.model_copy(update={"side": 32}), RULE)
    with pytest.raises(InputError, match="36 crops have 5 labels"):
        train_patch(crops, labels[:5], TINY, RULE)
    with pytest.raises(InputError, match="12 people, fewer than people = 40.*lower 'people'"):
        train_patch(crops, labels, TINY, RULE.model_copy(update={"people": 40}))
    with pytest.raises(ConfigError, match="loss = distil needs targets of at most dim = 24 numbers, found none"):
        train_patch(crops, labels, TINY, RULE.model_copy(update={"loss": "distil"}))
