"""How fast galleries answer, what approximate search misses, and how much memory it takes.

python -m benchmarks.gallery_speed [--kinds exact hnsw] [--rows 120000] [--queries 1000] [--k 100] [--json]
python -m benchmarks.gallery_speed --kinds ivf-pq --rows 1000000 --half

The vectors are generated, with the numbers of face embeddings (MobileFaceNet on nine thousand photographs: cosine of
two people 0.01 ± 0.10, of two pictures of one 0.64 ± 0.13, 99 effective dimensions, and of the nearest, tenth and
hundredth among 5,440 people 0.41, 0.31, 0.22; here 0.39, 0.31, 0.22): a hundred groups of look-alikes are drawn from a
normal distribution of such a spectrum, turned at random so that no axis is special, identities around them, and three
pictures around each identity at cosines of 0.8 ± 0.1. Queries are further pictures of identities in the gallery.

Each index is built in one process and searched in another that maps its files, so that the peak of resident memory is
that of searching, mapped pages included. `batch_ms` is the time of a query in batches, `one_ms` the median of single
queries, `cpu_ms` the processor time of a query in batches over all threads, which says more on a busy machine. `recall`
is the share of the exact first k that is found, `first` how often the first is right.

Measured with one thread on two cores that ten other programs shared, processor time of a query for k = 100:
exact, 120,000 rows: 2.7 ms. hnsw, 120,000 rows: 1.3 / 2.1 / 2.4 ms at a recall of 0.94 / 0.97 / 0.98 (`ef_search` 200,
300, 400; the first right in 99.9 of 100). ivf-pq, 1,000,000 rows in half precision: 1.1 / 1.9 / 3.8 / 7.5 ms at a
recall of 0.82 / 0.87 / 0.91 / 0.95, the first right in 0.97 / 0.98 / 0.99 / 1.00, with a peak of 1,180 MB.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.kb_speed import in_new_process, peak_mb
from mmel.vision.index import KINDS, ExactIndex, FaissIndex, build_index, open_index

DIM, PICTURES, GROUPS, SEED = 512, 3, 100, 13
SHARED, NEAR, SPREAD, SPECTRUM = 0.3, 0.8, 0.1, 80.0
SEARCHED: dict[str, list[dict[str, int]]] = {
    "exact": [{}],
    "hnsw": [{"ef_search": length, "refine": refine} for length in (200, 300, 400) for refine in (2, 3)],
    "ivf-pq": [{"probes": probes} for probes in (32, 64, 128, 256)],
}
"""The settings of searching that each kind is measured with."""

_BLOCK = 30_000
_COLUMNS = ("kind", "rows", "build_s", "mb", "search", "recall", "first", "batch_ms", "cpu_ms", "one_ms", "peak_mb")


class Faces:
    """Vectors of pictures, the same for every run; see the module."""

    def __init__(self, dim: int = DIM) -> None:
        random = np.random.default_rng(SEED)
        spread = np.exp(-0.5 * (np.arange(dim) / SPECTRUM) ** 2)
        turn = np.linalg.qr(random.standard_normal((dim, dim)))[0]
        self._map = (spread[:, None] * turn).astype(np.float32)
        self._groups = _unit(random.standard_normal((GROUPS, dim), np.float32) @ self._map)

    def rows(self, count: int, dtype: type = np.float32) -> np.ndarray:
        """`[count, dim]`: PICTURES of each identity, one identity after the other."""
        out = np.empty((count, self._map.shape[1]), dtype)
        for start in range(0, count, _BLOCK):
            identities = np.repeat(np.arange(start // PICTURES, -(-(start + _BLOCK) // PICTURES)), PICTURES)
            part = slice(start, min(start + _BLOCK, count))
            out[part] = self._pictures(identities[: part.stop - start], start)
        return out

    def queries(self, count: int, rows: int) -> np.ndarray:
        """`[count, dim]`: another picture of identities drawn from those of a gallery of that many rows."""
        identities = np.random.default_rng(SEED + 1).integers(0, -(-rows // PICTURES), count)
        return self._pictures(identities, -1)

    def _pictures(self, identities: np.ndarray, seed: int) -> np.ndarray:
        random = np.random.default_rng([SEED, 2, seed + 1])
        near = np.clip(random.normal(NEAR, SPREAD, (len(identities), 1)), 0.3, 0.98).astype(np.float32)
        noise = _unit(random.standard_normal((len(identities), len(self._map)), np.float32) @ self._map)
        return _unit(near * self._centres(identities) + np.sqrt(1 - near**2) * noise)

    def _centres(self, identities: np.ndarray) -> np.ndarray:
        size = _BLOCK // PICTURES
        centres = np.empty((len(identities), len(self._map)), np.float32)
        for block in np.unique(identities // size):
            chosen = identities // size == block
            random = np.random.default_rng([SEED, 1, block])
            own = _unit(random.standard_normal((size, len(self._map)), np.float32) @ self._map)
            group = self._groups[random.integers(0, GROUPS, size)]
            centres[chosen] = _unit(SHARED**0.5 * group + (1 - SHARED) ** 0.5 * own)[identities[chosen] % size]
        return centres


def _unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def measure_build(folder: Path, kind: str, rows: int, half: bool) -> dict[str, Any]:
    """Build into `folder`; seconds and bytes on disk."""
    # Mapped, as a gallery that is too large for memory is.
    np.save(folder / "rows.npy", Faces().rows(rows, np.float16 if half else np.float32))
    start = time.perf_counter()
    build_index(np.load(folder / "rows.npy", mmap_mode="r"), kind).save(folder / kind)
    seconds = time.perf_counter() - start
    (folder / "rows.npy").unlink()
    size = sum(path.stat().st_size for path in (folder / kind).iterdir())
    return {"kind": kind, "rows": rows, "build_s": seconds, "mb": size / 1e6}


def exact_rows(folder: Path, kind: str, queries: int, k: int) -> dict[str, Any]:
    """What exact search over the same rows finds."""
    rows = open_index(folder / kind).rows
    return {"found": ExactIndex(rows).search(Faces().queries(queries, len(rows)), k)[1]}


def measure_search(folder: Path, kind: str, setting: dict[str, int], queries: int, k: int) -> dict[str, Any]:
    """Milliseconds a query, peak of resident memory, and the rows that are found."""
    index = open_index(folder / kind)
    if isinstance(index, FaissIndex):
        index.parameters.update(setting)
    asked = Faces().queries(queries, len(index.rows))
    index.search(asked, k)  # reads what is mapped
    start, cpu = time.perf_counter(), time.process_time()
    found = index.search(asked, k)[1]
    batch, cpu = time.perf_counter() - start, time.process_time() - cpu
    single = []
    for query in asked[:200, None]:
        start = time.perf_counter()
        index.search(query, k)
        single.append(time.perf_counter() - start)
    return {
        "search": " ".join(f"{name}={value}" for name, value in setting.items()),
        "batch_ms": batch / queries * 1e3,
        "cpu_ms": cpu / queries * 1e3,
        "one_ms": statistics.median(single) * 1e3,
        "peak_mb": peak_mb(),
        "found": found,
    }


def recalled(found: np.ndarray, exact: np.ndarray) -> dict[str, float]:
    """Of rows found `[q, k]` against those of exact search: `recall`, and `first`."""
    shared = [len(np.intersect1d(one, other)) for one, other in zip(found, exact, strict=True)]
    return {"recall": float(np.mean(shared)) / exact.shape[1], "first": float((found[:, 0] == exact[:, 0]).mean())}


def main(argv: list[str] | None = None) -> int:
    """Measure every kind with all its settings and print a table, or JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=["exact", "hnsw"], metavar="KIND")
    parser.add_argument("--rows", type=int, default=120_000, help="pictures in the gallery (default: %(default)s)")
    parser.add_argument("--half", action="store_true", help="keep the rows in half precision")
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--k", type=int, default=100)
    parser.add_argument("--folder", type=Path, help="where to build (default: a temporary folder)")
    parser.add_argument("--json", action="store_true", help="one JSON object a setting")
    arguments = parser.parse_args(argv)
    if not arguments.json:
        print(" ".join(f"{column:>12}" for column in _COLUMNS))
    for kind in arguments.kinds:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
            folder = Path(name)
            built = in_new_process(measure_build, folder, kind, arguments.rows, arguments.half)
            exact = in_new_process(exact_rows, folder, kind, arguments.queries, arguments.k)["found"]
            for setting in SEARCHED[kind]:
                row = in_new_process(measure_search, folder, kind, setting, arguments.queries, arguments.k)
                row |= built | recalled(row.pop("found"), exact)
                _print(row, arguments.json)
    return 0


def _print(row: dict[str, Any], as_json: bool) -> None:
    cells = [row[column] for column in _COLUMNS]
    line = " ".join(f"{cell:12,.3f}" if isinstance(cell, float) else f"{cell:>12}" for cell in cells)
    print(json.dumps(row) if as_json else line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
