"""Random choices that are the same on every machine and every Python."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Dice:
    """Uses nothing but `random()`, the one draw that Python promises never to change."""

    def __init__(self, seed: str) -> None:
        self.random = random.Random(seed).random

    def chance(self, probability: float) -> bool:
        return self.random() < probability

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * self.random()

    def around(self, spread: float) -> float:
        """From -spread to spread, the middle more often (the density is a triangle)."""
        return spread * (self.random() + self.random() - 1)

    def index(self, size: int) -> int:
        return int(self.random() * size)

    def pick(self, items: Sequence[T]) -> T:
        return items[self.index(len(items))]

    def pick_early(self, items: Sequence[T]) -> T:
        """One of `items`, the early ones more often: u^2 of the way, so the density falls as 1/sqrt."""
        u = self.random()
        return items[int(u * u * len(items))]

    def sample(self, items: Sequence[T], size: int) -> list[T]:
        """`size` different items in random order (a partial Fisher-Yates shuffle)."""
        pool = list(items)
        for i in range(min(size, len(pool))):
            j = i + self.index(len(pool) - i)
            pool[i], pool[j] = pool[j], pool[i]
        return pool[:size]

    def weighted(self, cumulative: Sequence[float]) -> int:
        """An index with the probability its weight has in the running totals `cumulative`."""
        return min(bisect_right(cumulative, self.random() * cumulative[-1]), len(cumulative) - 1)
