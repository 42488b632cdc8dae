"""The adapter starts as identity and is the paper's formula; pooling starts as the mean; both are kept whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from mmel.errors import InputError
from mmel.training.checkpoint import save_tensors
from mmel.vision.adapter import Adapters, AttentionPooling, ResidualAdapter
from tests.vision.test_index import unit


def _trained(adapters: Adapters, seed: int = 0) -> Adapters:
    generator = torch.Generator().manual_seed(seed)
    for weight in adapters.parameters():
        torch.nn.init.normal_(weight, std=0.3, generator=generator)
    return adapters


def test_identity_before_training() -> None:
    vectors = unit(20, 6)
    adapters = Adapters(6)
    np.testing.assert_allclose(adapters.adapt_mentions(vectors), vectors, atol=1e-6)
    np.testing.assert_allclose(adapters.adapt_entities(vectors), vectors, atol=1e-6)
    assert adapters.mention.first.weight.shape == (12, 6)


def test_the_formula() -> None:
    adapter = _trained(Adapters(5, hidden=7)).mention
    f = torch.from_numpy(unit(4, 5))
    w1, w2 = adapter.first.weight.T, adapter.second.weight.T
    moved = f + torch.relu(f @ w1) @ w2
    torch.testing.assert_close(adapter(f), moved / moved.norm(dim=1, keepdim=True))


def test_the_first_step_moves_it() -> None:
    adapter, f = ResidualAdapter(5), torch.from_numpy(unit(4, 5))
    (adapter(f) @ torch.ones(5)).sum().backward()
    assert adapter.second.weight.grad is not None
    assert adapter.second.weight.grad.abs().sum() > 0


def test_sides_are_separate_unless_shared() -> None:
    vectors = unit(3, 5)
    apart, shared = _trained(Adapters(5)), _trained(Adapters(5, shared=True))
    assert not np.allclose(apart.adapt_mentions(vectors), apart.adapt_entities(vectors))
    np.testing.assert_array_equal(shared.adapt_mentions(vectors), shared.adapt_entities(vectors))


def test_a_mention_without_a_vector_stays_without() -> None:
    vectors = unit(3, 5)
    vectors[1] = np.nan
    found = _trained(Adapters(5)).adapt_mentions(vectors)
    assert np.isfinite(found).all(axis=1).tolist() == [True, False, True]
    assert Adapters(5).adapt_mentions(vectors[:0]).shape == (0, 5)


def _pooled_twin(weights: Tensor, vectors: Tensor, owner: list[int], confidence: Tensor, size: Tensor) -> Tensor:
    """Entity by entity, picture by picture."""
    rows = []
    for entity in range(max(owner) + 1):
        mine = [i for i, one in enumerate(owner) if one == entity]
        logits = []
        for i in mine:
            others = sum((vectors[j] for j in mine if j != i), torch.zeros_like(vectors[0]))
            agreement = functional.cosine_similarity(vectors[i], others, dim=0) if len(mine) > 1 else torch.tensor(0.0)
            logits.append(torch.stack([agreement, confidence[i], (size[i] / 112).log2()]) @ weights)
        share = torch.stack(logits).softmax(0)
        rows.append(
            functional.normalize(sum((share[n] * vectors[i] for n, i in enumerate(mine)), start=Tensor([0])), dim=0)
        )
    return torch.stack(rows)


@settings(max_examples=30, deadline=None)
@given(counts=st.lists(st.integers(1, 4), min_size=1, max_size=5), seed=st.integers(0, 99))
def test_pooling_is_its_twin_and_pictures_may_come_in_any_order(counts: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    owner = [entity for entity, count in enumerate(counts) for _ in range(count)]
    vectors = torch.from_numpy(unit(len(owner), 6, seed))
    confidence, size = (
        torch.rand(len(owner), generator=generator),
        20 + 300 * torch.rand(len(owner), generator=generator),
    )
    pooling = AttentionPooling()
    torch.nn.init.normal_(pooling.weights, generator=generator)
    with torch.no_grad():
        found = pooling(vectors, torch.tensor(owner), confidence, size)
        expected = _pooled_twin(pooling.weights, vectors, owner, confidence, size)
        order = torch.randperm(len(owner), generator=generator)
        moved = pooling(vectors[order], torch.tensor(owner)[order], confidence[order], size[order])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found, moved, atol=1e-5, rtol=1e-5)


def test_pooling_starts_as_the_mean_and_learns_what_to_trust() -> None:
    vectors, owner = torch.from_numpy(unit(6, 4)), torch.tensor([0, 0, 0, 1, 1, 2])
    confidence, size = torch.tensor([0.9, 0.1, 0.1, 0.9, 0.1, 0.1]), torch.full((6,), 112.0)
    pooling = AttentionPooling()
    found = pooling(vectors, owner, confidence, size)
    torch.testing.assert_close(found[0], functional.normalize(vectors[:3].mean(0), dim=0))
    torch.testing.assert_close(found[2], vectors[5])
    target = vectors[[0, 3, 5]]
    optimizer = torch.optim.Adam(pooling.parameters(), 0.5)
    for _ in range(60):
        optimizer.zero_grad()
        (-(pooling(vectors, owner, confidence, size) * target).sum(1).mean()).backward()
        optimizer.step()
    assert float((pooling(vectors, owner, confidence, size) * target).sum(1).min().detach()) > 0.99


@pytest.mark.parametrize("shared", [False, True])
def test_kept_on_disk(shared: bool, tmp_path: Path) -> None:
    adapters, vectors = _trained(Adapters(5, 8, shared)), unit(4, 5)
    adapters.save(tmp_path / "adapters.safetensors")
    loaded = Adapters.load(tmp_path / "adapters.safetensors", dim=5)
    np.testing.assert_array_equal(loaded.adapt_mentions(vectors), adapters.adapt_mentions(vectors))
    np.testing.assert_array_equal(loaded.adapt_entities(vectors), adapters.adapt_entities(vectors))
    torch.testing.assert_close(loaded.pooling.weights, adapters.pooling.weights)
    assert (loaded.entity is loaded.mention) is shared
    assert loaded.id == adapters.id != _trained(Adapters(5, 8, shared), 1).id


def test_files_that_do_not_serve(tmp_path: Path) -> None:
    Adapters(5).save(tmp_path / "a.safetensors")
    with pytest.raises(InputError, match=r"a.safetensors.*adapts vectors of 5 numbers, the encoder gives 512. Remedy"):
        Adapters.load(tmp_path / "a.safetensors", dim=512)
    save_tensors(tmp_path / "b.safetensors", {"x": torch.ones(1)}, {"kind": "else"})
    with pytest.raises(InputError, match=r"b.safetensors: holds no adapters"):
        Adapters.load(tmp_path / "b.safetensors")
    with pytest.raises(InputError, match="is no whole checkpoint"):
        Adapters.load(tmp_path / "c.safetensors")
