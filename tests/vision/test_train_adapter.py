"""The start is the linear map it says, training lifts people it never saw, and the same seed gives the same."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mmel.errors import InputError
from mmel.vision import train_adapter as module
from mmel.vision.adapter import Adapters, ResidualAdapter
from mmel.vision.train_adapter import (
    Epoch,
    Labelled,
    fit_pooling,
    normalising_map,
    ranks_of,
    set_linear,
    train_adapters,
)
from mmel.vision_settings import AdapterConfig
from tests.vision.test_index import unit

_DIM = 12


def faces(people: int, pictures: int, seed: int, first: int = 0) -> Labelled:
    """People differ in every direction; the pictures of one differ most in the first three."""
    random = np.random.default_rng(seed)
    identity = np.repeat(random.standard_normal((people, _DIM)), pictures, axis=0)
    noise = random.standard_normal((people * pictures, _DIM)) * np.where(np.arange(_DIM) < 3, 2.5, 0.25)
    vectors = identity + noise
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Labelled(vectors.astype(np.float32), np.repeat(np.arange(people) + first, pictures))


def split(all_faces: Labelled, pictures: int) -> tuple[Labelled, Labelled]:
    """One picture a person for the gallery, the others as mentions."""
    first = np.arange(len(all_faces.people)) % pictures == 0
    return tuple(Labelled(all_faces.vectors[m], all_faces.people[m]) for m in (first, ~first))  # type: ignore[return-value]


def recall(adapters: Adapters | None, gallery: Labelled, queries: Labelled) -> float:
    return float((ranks_of(adapters, gallery, queries) <= 1).mean())


def test_an_adapter_can_be_any_linear_map() -> None:
    generator, matrix = torch.Generator().manual_seed(0), np.random.default_rng(1).standard_normal((5, 5))
    vectors = unit(7, 5)
    for hidden in (10, 13):
        adapter = ResidualAdapter(5, hidden)
        set_linear(adapter, matrix, generator)
        expected = vectors @ matrix
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
        with torch.no_grad():
            np.testing.assert_allclose(adapter(torch.from_numpy(vectors)).numpy(), expected, atol=1e-5)


def test_under_the_map_a_persons_pictures_differ_alike_in_all_directions() -> None:
    given = faces(300, 3, seed=0)
    mapped = np.asarray(given.vectors, np.float64) @ normalising_map(given, 1e-9)
    residuals = (mapped.reshape(300, 3, -1) - mapped.reshape(300, 3, -1).mean(1, keepdims=True)).reshape(900, -1)
    spread = residuals.T @ residuals
    np.testing.assert_allclose(spread / np.trace(spread) * _DIM, np.eye(_DIM), atol=1e-6)
    np.testing.assert_allclose(normalising_map(given, 1.0), np.eye(_DIM), atol=1e-9)


def test_nobody_with_two_pictures_leaves_the_encoder_as_it_is() -> None:
    np.testing.assert_array_equal(normalising_map(faces(20, 1, seed=0), 0.5), np.eye(_DIM))


def test_it_lifts_people_it_never_saw() -> None:
    pictures, mentions = split(faces(120, 4, seed=0), 4)
    gallery, queries = split(faces(100, 4, seed=1, first=1000), 4)
    before = recall(None, gallery, queries)
    epochs: list[Epoch] = []
    config = AdapterConfig(epochs=4, learning_rate=1e-3, batch=64)
    adapters = train_adapters(pictures, mentions, (gallery, queries), config, on_epoch=epochs.append)
    assert [epoch.number for epoch in epochs] == list(range(len(epochs)))
    assert math.isnan(epochs[0].loss)
    assert before + 0.05 < epochs[0].recall
    assert recall(adapters, gallery, queries) == max(epochs, key=lambda epoch: epoch.mrr).recall
    from_identity = train_adapters(
        pictures, mentions, None, AdapterConfig(start="identity", epochs=4, learning_rate=1e-2, batch=64, shared=False)
    )
    assert recall(from_identity, gallery, queries) > before + 0.05


def test_one_seed_one_result() -> None:
    pictures, mentions = split(faces(40, 3, seed=0), 3)
    config = AdapterConfig(epochs=2, batch=32, negatives=5)
    one, same, other = (train_adapters(pictures, mentions, None, config, seed=seed).id for seed in (1, 1, 2))
    assert one == same != other


def test_it_stops_and_keeps_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures, mentions = split(faces(40, 3, seed=0), 3)
    found = iter([2.0, 1.0, 3.0, 3.0, 3.0])
    monkeypatch.setattr(module, "ranks_of", lambda *_: np.array([next(found)]))
    epochs: list[Epoch] = []
    kept = []

    def told(epoch: Epoch) -> None:
        epochs.append(epoch)
        kept.append(epoch.mrr)

    config = AdapterConfig(epochs=9, patience=2)
    best = train_adapters(pictures, mentions, (pictures, mentions), config, on_epoch=told)
    assert kept == [1 / 2, 1, 1 / 3, 1 / 3]
    one_epoch = train_adapters(pictures, mentions, None, AdapterConfig(epochs=3))
    assert best.id != one_epoch.id


def test_mined_pictures_are_the_most_similar_of_others() -> None:
    pictures = Labelled(unit(9, 4), np.array(list("aaabbbccd")))
    mentions = Labelled(unit(6, 4, 1), np.array(list("abcdde")))
    material = module._Material.of(pictures, mentions)
    found = module._mine(Adapters(4), material, 3)
    scores = mentions.vectors @ pictures.vectors.T
    scores[mentions.people[:, None] == pictures.people] = -9
    np.testing.assert_array_equal(found, np.argsort(-scores, axis=1)[:, :3])
    assert module._mine(Adapters(4), material, 20).shape[1] <= 6


def test_pooling_learns_which_pictures_to_trust() -> None:
    random, people = np.random.default_rng(2), np.repeat(np.arange(60), 4)
    clear = unit(60, _DIM, 3)[people] + 0.15 * random.standard_normal((240, _DIM))
    blurred = np.arange(240) % 4 == 0
    vectors = np.where(blurred[:, None], unit(240, _DIM, 5), clear / np.linalg.norm(clear, axis=1, keepdims=True))
    given = Labelled(vectors.astype(np.float32), people)
    confidence, size = np.where(blurred, 0.1, 0.9), random.uniform(60, 200, 240)
    one, other = Adapters(_DIM), Adapters(_DIM)
    for adapters in (one, other):
        fit_pooling(adapters, given, confidence, size, steps=30)
    assert one.pooling.weights[1].item() > 0.5
    torch.testing.assert_close(one.pooling.weights, other.pooling.weights, rtol=0, atol=0)
    with pytest.raises(InputError, match="a person has at most 2 pictures. Remedy"):
        fit_pooling(one, Labelled(*faces(5, 2, seed=0)), confidence[:10], size[:10])
    with pytest.raises(InputError, match="240 vectors, 240 confidences and 3 sizes"):
        fit_pooling(one, given, confidence, size[:3])


def test_ranks_by_the_best_picture_of_each_person() -> None:
    gallery = Labelled(np.eye(4, dtype=np.float32), np.array(["x", "y", "x", "z"]))
    queries = Labelled(
        np.array([[0, 0.6, 0.8, 0], [0, 0.6, 0.8, 0], [1, 0, 0, 0]], np.float32), np.array(["y", "x", "nobody"])
    )
    assert ranks_of(None, gallery, queries).tolist() == [2, 1, math.inf]


def test_what_does_not_serve() -> None:
    pictures, mentions = split(faces(10, 2, seed=0), 2)
    with pytest.raises(InputError, match="field 'mentions': 1 of 10 vectors are not finite. Remedy"):
        broken = mentions.vectors.copy()
        broken[3] = np.nan
        train_adapters(pictures, Labelled(broken, mentions.people))
    with pytest.raises(InputError, match=r"field 'mentions': vectors \[0, 12\]"):
        train_adapters(pictures, Labelled(mentions.vectors[:0], mentions.people[:0]))
    with pytest.raises(InputError, match=r"field 'gallery': vectors \[10, 5\]"):
        train_adapters(pictures, mentions, (Labelled(unit(10, 5), pictures.people), mentions))
    with pytest.raises(InputError, match="field 'hidden': 4 numbers hold no linear map of 12"):
        train_adapters(pictures, mentions, None, AdapterConfig(hidden=4))
