"""Progress on stderr, and only when a person is watching."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def progress(
    items: Iterable[T], description: str, total: int | None = None, unit: str = "it", done: int = 0
) -> Iterator[T]:
    """Yield `items` unchanged under a progress bar; silent where stderr is no terminal.

    done: of `total`, before the first of `items`.
    """
    if not sys.stderr.isatty():
        yield from items
        return
    from tqdm import tqdm

    yield from tqdm(items, desc=description, total=total, unit=unit, initial=done, file=sys.stderr, leave=False)
