"""Work on several cores: one batch a thread, instead of all threads on each small operation."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from mmel.errors import ConfigError, InputError

if TYPE_CHECKING:
    import torch

Batch = TypeVar("Batch")
Result = TypeVar("Result")


@contextmanager
def one_thread() -> Iterator[None]:
    """Operations of torch use one thread while the context is open, or the function so decorated runs.

    For operations so small that threads wait for each other longer than they work.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def map_ahead(
    function: Callable[[Batch], Result],
    items: Iterable[Batch],
    workers: int,
    ahead: int | None = None,
    initializer: Callable[[], Any] | None = None,
) -> Generator[Result, None, None]:
    """Yield `function(item)` in the order of `items`, computed by `workers` threads ahead of the consumer.

    Items are drawn in the consumer's thread, at most `ahead` (2 a worker) before the one whose result is given. An
    error is raised in its turn; what was not begun by then, or when the generator is closed, is dropped.
    """
    if workers < 1:
        raise ConfigError(f"workers = {workers}: must be at least 1")
    source = iter(items)
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(workers, initializer=initializer) as pool:
        try:
            waiting.extend(pool.submit(function, item) for item in islice(source, ahead or 2 * workers))
            while waiting:
                done = waiting.popleft().result()
                waiting.extend(pool.submit(function, item) for item in islice(source, 1))
                yield done
        finally:
            for future in waiting:
                future.cancel()


def tried_ahead(
    function: Callable[[Batch], Result], items: Iterable[Batch], workers: int, ahead: int | None = None
) -> Generator[Result | InputError, None, None]:
    """As `map_ahead`; an InputError is given in the place of what raised it, for the consumer to count or raise."""

    def tried(item: Batch) -> Result | InputError:
        try:
            return function(item)
        except InputError as error:
            return error

    return map_ahead(tried, items, workers, ahead)


def score_batches(
    score: Callable[[Batch], Result], batches: Iterable[Batch], workers: int | None = None
) -> Iterator[Result]:
    """Yield `score(batch)` in the order of `batches`, computed without gradients by `workers` threads.

    The operations of a linker are small, so that splitting each over the cores costs more than it brings, and very
    much more where other programs use the cores too; a batch a core has neither cost. While it runs, torch uses one
    thread an operation in the whole process. At most two batches a worker are held. workers: as many as torch has
    threads unless given; score must change no state, as a module in `eval()` mode does not.
    """
    import torch

    def run(batch: Batch) -> Result:
        with torch.inference_mode():
            return score(batch)

    workers = torch.get_num_threads() if workers is None else workers
    with one_thread():
        yield from map_ahead(run, batches, workers, initializer=lambda: torch.set_num_threads(1))


def made_ahead(
    make: Callable[[Batch], Result], batches: Iterable[Batch], close: Callable[[], object] = lambda: None
) -> Generator[Result, None, None]:
    """Yield `make(batch)` of each batch in order, while a thread makes the next one.

    Batches are drawn in the caller's thread, one before the result of the one before is given. `close` is called at the
    end in the thread that made them. Where torch has one thread, so does this.
    """
    import torch

    if torch.get_num_threads() == 1:
        yield from map(make, batches)
        return
    pool, waiting = ThreadPoolExecutor(1), deque[Future[Result]]()
    try:
        for batch in batches:
            waiting.append(pool.submit(make, batch))
            if len(waiting) == 2:
                yield waiting.popleft().result()
        for future in waiting:
            yield future.result()
    finally:
        for future in waiting:
            future.cancel()
        pool.submit(close)
        pool.shutdown()


def pick_device(name: str) -> torch.device:
    """`auto` is cuda where there is one."""
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device is 'cuda' and there is none here. Remedy: device=auto, or device=cpu")
    return torch.device(name)
