"""Masks and the gate: what a task hides has no part in its scores, and what is trusted is learned."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmel.config import TrainConfig
from mmel.errors import ConfigError
from mmel.text.modalities import (
    ALLOWED,
    FULL,
    GROUPS,
    SWAPS,
    TASKS,
    ModalColumns,
    PictureLikelihood,
    allowed,
    column_groups,
    draw,
    spread,
)


def test_a_task_may_read_the_groups_of_its_modalities() -> None:
    assert len(TASKS) == 9 and allowed(FULL).all()
    assert dict(zip(GROUPS, allowed("I->I+T"), strict=True)) == {"T-T": False, "T-I": False, "I-T": True, "I-I": True}
    assert [int(row.sum()) for row in ALLOWED] == [1, 1, 2, 1, 1, 2, 2, 2, 4]
    with pytest.raises(ConfigError, match="task is 'I->X'"):
        allowed("I->X")


def test_columns_belong_to_what_they_compare() -> None:
    names = ["surface.exact", "pictures.text_image", "pictures.image_text_above", "pictures.image_image_best"]
    assert column_groups(names) == [0, 1, 2, 3]


def test_tasks_are_drawn_as_often_as_asked() -> None:
    rule = TrainConfig(modality_dropout=0.9, swapped_pictures=0.25)
    drawn = draw(rule, 20_000, np.random.default_rng(0))
    assert set(drawn.swapped) == set(range(-1, SWAPS))
    assert drawn.allowed.all(1).mean() == pytest.approx(0.1 + 0.9 / 9, abs=0.01)
    assert (drawn.swapped >= 0).mean() == pytest.approx(0.25, abs=0.01)
    again = draw(rule, 20_000, np.random.default_rng(0))
    np.testing.assert_array_equal(again.allowed, drawn.allowed)
    off = draw(TrainConfig(), 50, np.random.default_rng(0))
    assert off.allowed.all() and (off.swapped == -1).all()


def test_evidence_of_a_column() -> None:
    columns = torch.tensor([[[0.5], [0.9], [0.1], [7.0]], [[2.0], [9.0], [9.0], [9.0]], [[3.0], [3.0], [3.0], [3.0]]])
    there = torch.tensor([[True, True, True, False], [True, False, False, False], [False] * 4])
    found = spread(columns, there)
    assert found[0].tolist() == pytest.approx([0.9, 0.4, np.std([0.5, 0.9, 0.1])], abs=1e-4)
    assert found[1].tolist() == pytest.approx([2.0, 0.0, 0.0], abs=1e-6)
    assert found[2].tolist() == pytest.approx([0.0, 0.0, 0.0], abs=1e-6)


GROUP_OF = [0, 0, 1, 2, 3, 3]


@settings(deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(TASKS), st.booleans())
def test_hidden_columns_change_nothing(seed: int, task: str, gated: bool) -> None:
    torch.manual_seed(seed)
    m, k = 5, 4
    layer = ModalColumns(GROUP_OF, gated, 3, len(GROUP_OF), 0.3).eval()
    mask = torch.rand(m, k) < 0.8
    available = (torch.rand(m, k, 4) < 0.7) & mask.unsqueeze(-1)
    available[..., 0] = mask
    permitted = torch.from_numpy(np.tile(allowed(task), (m, 1)))
    columns, evidence = torch.randn(m, k, len(GROUP_OF)), torch.randn(m, 3)
    if layer.likelihood is not None:
        layer.likelihood.start(torch.rand(3) * 3, torch.randn(3))
    first, told = layer(columns, available, permitted, evidence)
    is_open = available & permitted.unsqueeze(1)
    columns = torch.where(is_open[..., GROUP_OF], columns, torch.randn_like(columns) * 50)
    unread = ~permitted.unsqueeze(1).expand_as(available) & mask.unsqueeze(-1)
    unread[..., 0] = False  # which candidates there are is known to every task
    available = torch.where(unread, torch.rand(m, k, 4) < 0.5, available)
    if "I" not in task.split("->")[0]:
        evidence = torch.randn(m, 3)
    elif "T" not in task.split("->")[0]:
        evidence = torch.cat([evidence[:, :-1], torch.randn(m, 1)], 1)
    again, told_again = layer(columns, available, permitted, evidence)
    torch.testing.assert_close(again, first, rtol=0, atol=0)
    assert (told is None) == (not gated)
    if told is not None:
        torch.testing.assert_close(told_again, told, rtol=0, atol=0)
        assert torch.isfinite(told).all() and not told[~mask].any()
        assert allowed(task)[1:].any() or not told.any()
    assert torch.isfinite(first).all() and first.shape[-1] == layer.columns
    assert not first[~mask].any()


def test_pads_and_absent_columns_do_not_reach_the_rivals() -> None:
    layer = ModalColumns([3], False, 1, 1, 0.0)
    columns = torch.tensor([[[1.0], [3.0], [100.0], [100.0]]])
    available = torch.tensor([True, True, False, False])[None, :, None].expand(1, 4, 4)
    out, _ = layer(columns, available, torch.ones(1, 4, dtype=torch.bool), torch.zeros(1, 1))
    assert out[0, :, :2].tolist() == [[1.0, -2.0], [3.0, 0.0], [0.0, 0.0], [0.0, 0.0]]
    assert out[0, :, 2:].tolist() == [[1.0] * 4, [1.0] * 4, [0.0] * 4, [0.0] * 4]


def test_the_gate_learns_to_close() -> None:
    """A group of noise beside one that tells the gold: its weight falls where its evidence says that it is noise."""
    torch.manual_seed(0)
    layer = ModalColumns([0, 3], True, 1, 2, 0.0)
    out = torch.nn.Linear(layer.columns, 1)
    assert layer.gate is not None
    optimizer = torch.optim.Adam([*layer.parameters(), *out.parameters()], lr=0.005)
    ones = torch.ones(256, 3, 4, dtype=torch.bool)
    for step in range(150):
        gold = torch.randint(3, (256,))
        unrelated = torch.rand(256) < 0.5
        shown = torch.where(unrelated, torch.randint(3, (256,)), gold)
        text = torch.nn.functional.one_hot(gold, 3) * 0.6 + torch.randn(256, 3) * 0.5
        image = torch.nn.functional.one_hot(shown, 3) * torch.where(unrelated, 1.0, 2.0)[:, None]
        columns = torch.stack([text, image], -1)
        seen, told = layer(columns, ones, ones[:, 0], torch.zeros(256, 1))
        assert told is not None
        scores = out(seen).squeeze(-1) + told
        loss = torch.nn.functional.cross_entropy(scores, gold)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if step == 0:
            assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in layer.gate.layers[3].parameters())
        optimizer.step()
    with torch.no_grad():
        weights = layer.gate(columns, ones, ones[..., 0], ones[:, 0], torch.zeros(256, 1))
    assert ((weights >= 0) & (weights <= 1)).all()
    assert weights[unrelated, 3].mean() + 0.3 < weights[~unrelated, 3].mean()


def test_likelihood_of_pictures_that_may_be_unrelated() -> None:
    """log(w r + 1 - w), brute force; the best of many candidates counts only as far as it is likely itself."""
    layer = PictureLikelihood([0, 1, 3, 3, 0])
    assert layer.leading == [(1, 1), (3, 2)]
    layer.start(torch.tensor([2.0, 3.0]), torch.tensor([-1.0, 0.5]))
    columns, weights = torch.randn(4, 6, 5), torch.rand(4, 4)
    told = layer(columns, torch.ones(4, 6, 4, dtype=torch.bool), weights)
    for place, (group, column, slope, offset) in enumerate([(1, 1, 2.0, -1.0), (3, 2, 3.0, 0.5)]):
        ratio, w = torch.exp(slope * columns[..., column] + offset), weights[:, group, None]
        torch.testing.assert_close(told[..., place], torch.log(w * ratio + 1 - w))
    # Unrelated: every ratio is small, and the differences between candidates vanish, which alone would be large.
    low = torch.tensor([-4.0, -6.0, -8.0])[None, :, None].expand(1, 3, 5)
    told = layer(low, torch.ones(1, 3, 4, dtype=torch.bool), torch.full((1, 4), 0.9))
    assert float(told.detach()[0, :, 1].max() - told.detach()[0, :, 1].min()) < 1e-3
    # A gate that is shut or wide open leaves no infinities.
    for share in (0.0, 1.0):
        told = layer(low * 20, torch.ones(1, 3, 4, dtype=torch.bool), torch.full((1, 4), share, requires_grad=True))
        told.sum().backward()  # type: ignore[no-untyped-call]
        assert torch.isfinite(told).all() and torch.isfinite(layer.offset.grad).all()  # type: ignore[arg-type]


def test_likelihood_grows_with_the_cosine() -> None:
    layer = PictureLikelihood([0, 3])
    layer.start(torch.tensor([-2.0]), torch.tensor([0.0]))  # training pictures that say nothing
    columns = torch.linspace(-3, 3, 7)[None, :, None].expand(1, 7, 2)
    told = layer(columns, torch.ones(1, 7, 4, dtype=torch.bool), torch.full((1, 4), 0.5))[0, :, 0]
    assert (told.diff() > 0).all()


def test_gate_needs_pictures() -> None:
    from mmel.config import Config

    with pytest.raises(ConfigError, match=r"model\.gate.*needs 'pictures'"):
        Config().with_overrides(["model.gate=true"])
