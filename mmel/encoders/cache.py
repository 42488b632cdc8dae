"""Encodings on disk, computed once: keyed by content hash, appended safely, read through a memory map."""

from __future__ import annotations

import fcntl
import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

_KEY = np.dtype([("digest", "S16"), ("start", "<i8"), ("rows", "<i8")])


class Encoding(NamedTuple):
    """Rows of one text: `vectors` `[rows, d]` float16 and `spans` `[rows, 2]` int32, the characters each covers."""

    vectors: np.ndarray
    spans: np.ndarray


def content_key(text: str) -> bytes:
    """16-byte digest of the text; NUL-free, because numpy's fixed strings drop trailing NULs."""
    digest = hashlib.sha256(text.encode("utf-8")).digest()[:16]
    return digest.replace(b"\0", b"\1")


class EncodingCache:
    """Append-only store of variable-length encodings of texts under one encoder.

    Rows are written before their key, and a key that points past the rows is ignored, so a kill at any moment
    loses at most the batch in flight. Writers take a file lock; readers see what is complete.

    Args:
        folder: where the three files live; made when absent.
        dim: d, the width of a row.
    """

    def __init__(self, folder: Path, dim: int) -> None:
        self.folder, self.dim = Path(folder), dim
        self.folder.mkdir(parents=True, exist_ok=True)
        self._index: dict[bytes, tuple[int, int]] = {}
        self._vectors: np.ndarray = np.empty((0, dim), np.float16)
        self._spans: np.ndarray = np.empty((0, 2), np.int32)
        self._keys = 0
        self._refresh()

    def __contains__(self, text: str) -> bool:
        return content_key(text) in self._index

    def __len__(self) -> int:
        return len(self._index)

    def get(self, text: str) -> Encoding:
        """The encoding of `text`; KeyError where it was never added."""
        start, rows = self._index[content_key(text)]
        return Encoding(self._vectors[start : start + rows], self._spans[start : start + rows])

    def first_rows(self, texts: Sequence[str]) -> np.ndarray:
        """`[len(texts), d]` float16: the first row of each (the only one of a sentence encoding)."""
        return self.at(self._first(map(content_key, texts)))

    def at(self, rows: np.ndarray) -> np.ndarray:
        """`[len(rows), d]` float16 of row numbers that `fetch` gave; they stay the same for good."""
        return np.asarray(self._vectors[rows]) if len(rows) else np.empty((0, self.dim), np.float16)

    def _first(self, keys: Iterable[bytes]) -> np.ndarray:
        return np.fromiter((self._index[key][0] for key in keys), np.int64)

    def missing(self, texts: Sequence[str]) -> list[str]:
        """The distinct texts that are not stored, in order of first appearance."""
        return [text for text in dict.fromkeys(texts) if text not in self]

    def fill(
        self,
        texts: Sequence[str],
        encode: Callable[[Sequence[str]], Sequence[Encoding]],
        batch: int = 2048,
        on_batch: Callable[[int], None] | None = None,
    ) -> int:
        """Encode and store what is missing, `batch` texts at a time; returns how many were encoded."""
        todo = self.missing(texts)
        for begin in range(0, len(todo), batch):
            part = todo[begin : begin + batch]
            self._append(part, encode(part))
            if on_batch:
                on_batch(len(part))
        return len(todo)

    def fetch(
        self,
        texts: Sequence[str],
        encode: Callable[[Sequence[str]], Sequence[Encoding]],
        on_batch: Callable[[int], None] | None = None,
    ) -> np.ndarray:
        """`[len(texts)]` number of the first row of each text; what is missing is encoded and stored first."""
        keys = list(map(content_key, texts))
        if not all(key in self._index for key in keys):
            self.fill(texts, encode, on_batch=on_batch)
        return self._first(keys)

    def _append(self, texts: Sequence[str], encodings: Sequence[Encoding]) -> None:
        with open(self.folder / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._refresh()
            # Another process may have stored some of them since they were found missing.
            new = [(t, e) for t, e in zip(texts, encodings, strict=True) if t not in self]
            if not new:
                return
            start = len(self._vectors)
            keys = np.empty(len(new), _KEY)
            for i, (text, encoding) in enumerate(new):
                keys[i] = (content_key(text), start, len(encoding.vectors))
                start += len(encoding.vectors)
            # Keys whose rows were lost go first: the rows to come would make them true.
            self._write("keys", keys[:0], self._keys)
            self._write("vectors", np.concatenate([e.vectors for _, e in new]).astype("<f2"), len(self._vectors))
            self._write("spans", np.concatenate([e.spans for _, e in new]).astype("<i4"), len(self._spans))
            self._write("keys", keys, self._keys)
            self._refresh()

    def _write(self, name: str, rows: np.ndarray, complete: int) -> None:
        """Write `rows` behind the `complete` first ones; a torn tail of a killed writer is overwritten, never read."""
        path = self.folder / name
        with open(path, "r+b" if path.exists() else "w+b") as stream:
            stream.seek(complete * rows.dtype.itemsize * math.prod(rows.shape[1:]))
            stream.write(rows.tobytes())
            stream.truncate()

    def _refresh(self) -> None:
        def rows(name: str, dtype: str, width: int) -> np.ndarray:
            path = self.folder / name
            count = path.stat().st_size // (np.dtype(dtype).itemsize * width) if path.exists() else 0
            if count == 0:
                return np.empty((0, width), dtype)
            return np.memmap(path, dtype, "r", shape=(count, width))

        vectors, spans = rows("vectors", "<f2", self.dim), rows("spans", "<i4", 2)
        complete = min(len(vectors), len(spans))
        path = self.folder / "keys"
        keys = np.fromfile(path, _KEY, path.stat().st_size // _KEY.itemsize) if path.exists() else np.empty(0, _KEY)
        lost = np.flatnonzero(keys["start"] + keys["rows"] > complete)
        keys = keys[: lost[0]] if len(lost) else keys
        self._keys = len(keys)
        used = int((keys["start"] + keys["rows"]).max()) if len(keys) else 0
        self._vectors, self._spans = vectors[:used], spans[:used]
        self._index = {
            digest: (start, count)
            for digest, start, count in zip(
                keys["digest"].tolist(), keys["start"].tolist(), keys["rows"].tolist(), strict=True
            )
        }
