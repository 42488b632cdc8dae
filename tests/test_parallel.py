"""Scoring by threads: order, laziness, errors, thread counts."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from mmel.errors import ConfigError
from mmel.parallel import made_ahead, map_ahead, score_batches


@pytest.mark.parametrize("workers", [None, 1, 3])
def test_results_come_in_order_without_gradients(workers: int | None) -> None:
    weight = torch.ones(2, requires_grad=True)
    results = list(score_batches(lambda x: weight * x, [torch.tensor(float(i)) for i in range(20)], workers))
    assert [result[0].item() for result in results] == list(range(20))
    assert not any(result.requires_grad for result in results)


def test_map_ahead_raises_an_error_in_its_turn_and_drops_what_was_not_begun() -> None:
    begun: list[int] = []

    def invert(number: int) -> float:
        begun.append(number)
        return 1 / number

    results = map_ahead(invert, [2, 1, 0, *range(3, 100)], workers=2, ahead=3)
    assert [next(results), next(results)] == [0.5, 1.0]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert len(begun) <= 6


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


@pytest.mark.parametrize("threads", [1, 2])
def test_made_ahead_keeps_order_and_draws_one_ahead(threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    drawn: list[int] = []

    def source() -> Iterator[int]:
        for i in range(6):
            drawn.append(i)
            yield i

    closed: list[str] = []
    try:
        results = made_ahead(lambda i: (i * i, threading.current_thread().name), source(), lambda: closed.append("end"))
        assert next(results)[0] == 0
        assert drawn == [0, 1][:threads]
        rest = list(results)
    finally:
        torch.set_num_threads(before)
    assert [value for value, _ in rest] == [1, 4, 9, 16, 25]
    assert {name == threading.current_thread().name for _, name in rest} == {threads == 1}
    assert closed == ["end"] * (threads - 1)


def test_made_ahead_passes_errors_on_and_can_be_left() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(ZeroDivisionError):
            list(made_ahead(lambda i: 1 // i, [1, 0, 1]))
        closed: list[int] = []
        results = made_ahead(lambda i: i, range(10**9), lambda: closed.append(1))
        assert next(results) == 0
        results.close()
        assert closed == [1]
    finally:
        torch.set_num_threads(before)
