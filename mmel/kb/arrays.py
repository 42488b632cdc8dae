"""Append-only writers of the array files, so that no array is ever whole in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mmel.kb import layout

_BLOCK = 1_000_000


class NpyWriter:
    """Append to a one-dimensional .npy file whose length is known at the end only.

    numpy pads the header of an array for lengths of up to 21 digits, so the final one fits over the first.
    """

    def __init__(self, path: Path, dtype: Any) -> None:
        self._stream = open(path, "wb")
        self._dtype = np.dtype(dtype)
        self.length = 0
        self._header()

    def _header(self) -> None:
        header = {"descr": np.lib.format.dtype_to_descr(self._dtype), "fortran_order": False, "shape": (self.length,)}
        np.lib.format.write_array_header_1_0(self._stream, header)

    def append(self, values: np.ndarray) -> None:
        """Write `values` `[any]` at the end, cast to the file's type."""
        self._stream.write(np.ascontiguousarray(values, dtype=self._dtype).tobytes())
        self.length += len(values)

    def __enter__(self) -> NpyWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.seek(0)
        self._header()
        self._stream.close()


class LinkWriter:
    """Write links as the three files of a CSR matrix of ones, from (row, column) pairs in sorted order.

    `most_links` bounds their number: scipy wants one type for both index arrays and copies them otherwise.
    """

    def __init__(self, data: Path, entities: int, most_links: int) -> None:
        dtype = np.int32 if max(most_links, entities) < np.iinfo(np.int32).max else np.int64
        indptr, indices, ones = (data / name for name in layout.LINKS)
        self._indptr, self._indices = NpyWriter(indptr, dtype), NpyWriter(indices, dtype)
        self._ones = NpyWriter(ones, np.float32)
        self._entities = entities
        self._indptr.append(np.zeros(1))

    @property
    def links(self) -> int:
        return self._indices.length

    def append(self, rows: np.ndarray, columns: np.ndarray) -> None:
        """Add links `rows[i] -> columns[i]`, all after those added before; a row may go on in the next call."""
        if not len(rows):
            return
        # Rows below the last one are complete: their end is final.
        done = np.arange(self._indptr.length - 1, rows[-1])
        self._indptr.append(self.links + np.searchsorted(rows, done, side="right"))
        self._indices.append(columns)
        self._ones.append(np.ones(len(columns), np.float32))

    def __enter__(self) -> LinkWriter:
        return self

    def __exit__(self, *error: object) -> None:
        while self._indptr.length <= self._entities:
            self._indptr.append(np.full(min(_BLOCK, self._entities + 1 - self._indptr.length), self.links))
        for file in (self._indptr, self._indices, self._ones):
            file.__exit__(*error)
