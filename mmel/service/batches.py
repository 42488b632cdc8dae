"""Documents of many requests linked together by one thread: what a linker needs is shared, what it says is not."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

from mmel.errors import ConfigError, MmelError

Item = TypeVar("Item")
Result = TypeVar("Result")
_log = logging.getLogger(__name__)


class Closed(MmelError):
    """The worker takes nothing more."""


class BatchWorker(Generic[Item, Result]):
    """One thread that calls `work` on what came in meanwhile, in order, at most `most` at a time by weight.

    A linker serves one thread, and links several documents together in less time than one after the other. Where a
    batch fails, each of its items is tried alone, so that one cannot spoil another's answer.

    Args:
        work: gives one result an item.
        most: weight of a batch; what weighs more comes alone.
        wait: seconds in which a first item waits for company. 0: only what waits already is joined.
        close: called in the thread at its end.
        weigh: the weight of an item; each is 1 unless given.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Item]], Sequence[Result]],
        most: float,
        wait: float = 0.005,
        close: Callable[[], object] = lambda: None,
        weigh: Callable[[Item], float] = lambda _: 1,
    ) -> None:
        if most < 1 or wait < 0:
            raise ConfigError(f"most = {most}, wait = {wait}: allowed are most >= 1 and wait >= 0")
        self._work, self._most, self._wait, self._close, self._weigh = work, most, wait, close, weigh
        self._queue: queue.SimpleQueue[tuple[Item, Future[Result]] | None] = queue.SimpleQueue()
        self._kept: tuple[Item, Future[Result]] | None = None
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="linker", daemon=True)
        self._thread.start()

    def submit(self, item: Item) -> Future[Result]:
        """The future result; one that is cancelled before its turn is passed over. Raises Closed after `close`."""
        future: Future[Result] = Future()
        with self._lock:
            if self._closed:
                raise Closed("the service is shutting down. Remedy: try again later")
            self._queue.put((item, future))
        return future

    def close(self, seconds: float | None = None) -> bool:
        """Take nothing more, finish what waits, and tell whether that took at most so many seconds."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            more = True
            while more:
                batch, more = self._collect()
                # From here on a future cannot be cancelled any more.
                batch = [(item, future) for item, future in batch if future.set_running_or_notify_cancel()]
                if batch:
                    self._answer(batch)
        finally:
            self._close()

    def _collect(self) -> tuple[list[tuple[Item, Future[Result]]], bool]:
        """The next batch, and whether more may come."""
        first, self._kept = self._kept or self._queue.get(), None
        if first is None:
            return [], False
        batch, weight, end = [first], self._weigh(first[0]), time.monotonic() + self._wait
        while weight < self._most:
            try:
                following = self._queue.get(timeout=max(end - time.monotonic(), 0))
            except queue.Empty:
                break
            if following is None:
                return batch, False
            weight += self._weigh(following[0])
            if weight > self._most:
                self._kept = following  # the first of the next batch
                break
            batch.append(following)
        return batch, True

    def _answer(self, batch: Sequence[tuple[Item, Future[Result]]]) -> None:
        try:
            results = self._work([item for item, _ in batch])
            if len(results) != len(batch):
                raise RuntimeError(f"{len(batch)} documents were linked to {len(results)} results")
        except Exception as error:  # of whatever kind, it is the callers' to hear and not this thread's end
            if len(batch) == 1:
                batch[0][1].set_exception(error)
                return
            _log.warning("%d documents are linked one by one: together they gave %r", len(batch), error)
            for pair in batch:
                self._answer([pair])
            return
        for (_, future), result in zip(batch, results, strict=True):
            future.set_result(result)
