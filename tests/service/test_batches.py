"""The worker gives every item its own answer, whatever its company does."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future

import pytest

from mmel.errors import ConfigError
from mmel.service.batches import BatchWorker, Closed


class Squares:
    """Squares numbers; a negative one is an error. `go` lets it begin."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.threads: set[int] = set()
        self.go = threading.Event()
        self.closed = 0

    def __call__(self, numbers: Sequence[int]) -> list[int]:
        self.go.wait(10)
        self.batches.append(list(numbers))
        self.threads.add(threading.get_ident())
        if min(numbers) < 0:
            raise ValueError(f"{min(numbers)} is negative")
        return [number**2 for number in numbers]

    def close(self) -> None:
        self.closed += 1
        self.threads.add(threading.get_ident())


def test_what_waits_is_joined_in_order_and_by_one_thread() -> None:
    squares = Squares()
    worker = BatchWorker(squares, most=4, wait=0, close=squares.close)
    futures = [worker.submit(number) for number in range(10)]
    squares.go.set()
    assert [future.result(10) for future in futures] == [number**2 for number in range(10)]
    assert worker.close(10)
    assert [number for batch in squares.batches for number in batch] == list(range(10))
    assert max(map(len, squares.batches)) == 4
    assert len(squares.threads) == 1
    assert squares.closed == 1


def test_a_first_item_waits_for_company() -> None:
    squares = Squares()
    squares.go.set()
    worker = BatchWorker(squares, most=2, wait=10)
    futures = [worker.submit(2), worker.submit(3)]
    assert [future.result(10) for future in futures] == [4, 9]
    assert squares.batches == [[2, 3]]
    worker.close(10)


def test_what_weighs_much_comes_alone() -> None:
    squares = Squares()
    worker = BatchWorker(squares, most=5, wait=0, weigh=float)
    first = worker.submit(1)
    while not first.running():
        time.sleep(0.001)
    numbers = [2, 3, 1, 9, 4, 1, 1]
    futures = [worker.submit(number) for number in numbers]
    squares.go.set()
    assert [future.result(10) for future in futures] == [number**2 for number in numbers]
    assert worker.close(10)
    assert squares.batches == [[1], [2, 3], [1], [9], [4, 1], [1]]


def test_one_cannot_spoil_another() -> None:
    squares = Squares()
    worker = BatchWorker(squares, most=8, wait=0.01)
    futures = [worker.submit(number) for number in (1, -2, 3)]
    squares.go.set()
    assert futures[0].result(10) == 1
    with pytest.raises(ValueError, match="-2 is negative"):
        futures[1].result(10)
    assert futures[2].result(10) == 9
    worker.close(10)


def test_too_few_results_are_nobodys() -> None:
    worker: BatchWorker[int, int] = BatchWorker(lambda numbers: [], most=2)
    with pytest.raises(RuntimeError, match="1 documents were linked to 0 results"):
        worker.submit(1).result(10)
    worker.close(10)


def test_what_is_cancelled_is_passed_over() -> None:
    squares = Squares()
    worker = BatchWorker(squares, most=1, wait=0)
    first = worker.submit(1)
    while not first.running():
        time.sleep(0.001)
    second = worker.submit(2)
    assert second.cancel()
    assert not first.cancel()
    squares.go.set()
    assert worker.close(10)
    assert squares.batches == [[1]]


def test_what_waits_at_the_end_is_finished_and_nothing_more_is_taken() -> None:
    squares = Squares()
    worker = BatchWorker(squares, most=2, wait=0)
    futures = [worker.submit(number) for number in range(5)]
    assert not worker.close(0.01)
    with pytest.raises(Closed, match="shutting down"):
        worker.submit(6)
    squares.go.set()
    assert worker.close(10)
    assert [future.result(0) for future in futures] == [0, 1, 4, 9, 16]


def test_many_threads_ask() -> None:
    worker: BatchWorker[int, int] = BatchWorker(lambda numbers: [2 * number for number in numbers], most=5, wait=0.001)
    answers: dict[int, Future[int]] = {}

    def ask(first: int) -> None:
        for number in range(first, first + 100):
            answers[number] = worker.submit(number)

    threads = [threading.Thread(target=ask, args=(100 * i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {number: future.result(10) for number, future in answers.items()} == {n: 2 * n for n in range(800)}
    assert worker.close(10)


@pytest.mark.parametrize(("most", "wait"), [(0, 0.0), (1, -1.0)])
def test_settings_out_of_range(most: int, wait: float) -> None:
    with pytest.raises(ConfigError, match="allowed are most >= 1"):
        BatchWorker(lambda items: items, most, wait)
