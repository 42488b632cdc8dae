"""Scoring by threads: order, laziness, errors, thread counts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from mmel.errors import ConfigError
from mmel.parallel import score_batches


@pytest.mark.parametrize("workers", [None, 1, 3])
def test_results_come_in_order_without_gradients(workers: int | None) -> None:
    weight = torch.ones(2, requires_grad=True)
    results = list(score_batches(lambda x: weight * x, [torch.tensor(float(i)) for i in range(20)], workers))
    assert [result[0].item() for result in results] == list(range(20))
    assert not any(result.requires_grad for result in results)


def test_few_batches_are_held_at_a_time() -> None:
    taken: list[int] = []

    def source() -> Iterator[int]:
        for i in range(100):
            taken.append(i)
            yield i

    results = score_batches(lambda x: x, source(), workers=2)
    assert next(results) == 0
    assert len(taken) <= 5
    results.close()  # type: ignore[attr-defined]


def test_torch_threads_are_one_meanwhile_and_restored_even_after_errors() -> None:
    before = torch.get_num_threads()
    assert list(score_batches(lambda _: torch.get_num_threads(), [0, 1], workers=2)) == [1, 1]
    assert torch.get_num_threads() == before
    with pytest.raises(ZeroDivisionError):
        list(score_batches(lambda x: 1 / x, [1, 0], workers=2))
    assert torch.get_num_threads() == before
    assert list(score_batches(lambda x: x, [], workers=1)) == []


def test_no_worker_is_an_error() -> None:
    with pytest.raises(ConfigError, match="workers = 0"):
        list(score_batches(lambda x: x, [1], workers=0))
