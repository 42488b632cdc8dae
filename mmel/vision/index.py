"""Search among unit vectors by inner product: exact, or approximate by FAISS (HNSW, IVF-PQ), behind one protocol.

Whatever finds the candidates, their scores are computed again one by one in double precision. So a score depends on
the two vectors alone, not on the block or batch that a matrix product met them in; equal vectors tie exactly, and ties
come in the order of rows.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mmel.errors import ConfigError, InputError, MissingDependencyError, did_you_mean
from mmel.files import atomic_folder

KINDS = ("exact", "hnsw", "ivf-pq")
_FORMAT = 1
_META, _ROWS, _FAISS = "index.json", "rows.npy", "index.faiss"
_QUERIES, _BLOCK = 128, 16_384  # of one matrix product: its scores stay in the processor's cache
_PAIRS = 512  # scored again at a time: their vectors stay in the processor's cache
# Rounding of a float32 product of unit rows of some thousand numbers stays below; candidates so close are compared
# again. Some more than k are kept for it, and where that is not enough the rows are read once more.
_ROUNDING, _SLACK = 2e-5, 16
_AGAIN = "build the index again"


class VectorIndex(Protocol):
    """What the engine asks of an index of n unit rows.

    Attributes:
        kind: one of KINDS. rows: `[n, d]` float32 or float16, may be memory-mapped.
    """

    @property
    def kind(self) -> str: ...

    @property
    def rows(self) -> np.ndarray: ...

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """`(scores [q, k] float32, rows [q, k] int64)` of unit `queries` `[q, d]`, best first, equals by row.

        Where there are fewer than k, -1 with a score of minus infinity pads. InputError for queries of another width
        or with NaN, and for k below 1. May be called from several threads.
        """
        ...

    def save(self, folder: str | Path) -> None:
        """Write the index as a folder for `open_index`, whole or not at all."""
        ...


def build_index(rows: np.ndarray, kind: str = "exact", **parameters: int) -> VectorIndex:
    """An index of `rows` `[n, d]`, unit float32 or float16, which are kept as they are (memory-mapped ones too).

    Args:
        kind: one of KINDS; `exact` up to some hundred thousand rows.
        parameters: of `hnsw` and `ivf-pq`, see `hnsw_parameters` and `ivf_pq_parameters`.

    Raises:
        ConfigError for an unknown kind or parameter; InputError for rows that are none, not finite or not unit;
        MissingDependencyError without faiss.
    """
    _check_kind(kind)
    _check_rows(rows)
    if kind == "exact":
        _chosen({}, parameters, kind)
        return ExactIndex(rows)
    if kind == "hnsw":
        return _build_hnsw(rows, _chosen(hnsw_parameters(rows.shape[1]), parameters, kind, rows.shape[1]))
    return _build_ivf_pq(rows, _chosen(ivf_pq_parameters(*rows.shape), parameters, kind, rows.shape[1]))


def open_index(folder: str | Path) -> VectorIndex:
    """The index that `save` wrote, its rows memory-mapped; InputError where it is missing, damaged or of others."""
    folder = Path(folder)
    try:
        meta = json.loads((folder / _META).read_text(encoding="utf-8"))
        rows: np.ndarray = np.load(folder / _ROWS, mmap_mode="r")
        if meta["format"] != _FORMAT:
            raise InputError(
                f"is {meta['format']}, this version reads {_FORMAT}", file=folder, field="format", remedy=_AGAIN
            )
        _check_kind(meta["kind"])
        if list(rows.shape) != meta["shape"]:
            raise InputError(f"has rows {list(rows.shape)} instead of {meta['shape']}", file=folder, remedy=_AGAIN)
    except (OSError, EOFError, ValueError, KeyError, TypeError, ConfigError) as error:
        raise InputError(f"holds no whole index ({error!r})", file=folder, remedy=_AGAIN) from error
    if meta["kind"] == "exact":
        return ExactIndex(rows)
    return FaissIndex(meta["kind"], rows, _read_faiss(folder / _FAISS, rows.shape), meta["parameters"])


class ExactIndex:
    """All rows are compared, a block of them with many queries at a time."""

    kind = "exact"

    def __init__(self, rows: np.ndarray) -> None:
        self.rows = rows

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """See VectorIndex."""
        queries = _checked_queries(queries, k, self.rows)
        return _in_parts(queries, k, lambda part: best_of(self.rows, part, self._candidates(part, k), k))

    def save(self, folder: str | Path) -> None:
        """See VectorIndex."""
        with atomic_folder(folder) as temporary:
            _save_rows(temporary, self.kind, self.rows, {})

    def _candidates(self, queries: np.ndarray, k: int) -> np.ndarray:
        """`[q, c]` rows, -1 pads, among which the first k of each query are."""
        values, rows = self._first(queries, k + _SLACK)
        if values.shape[1] < k + _SLACK:
            return rows
        # What is not among them is no better than the last of them: enough, unless that one may still be a k-th.
        threshold = values[:, k - 1] - _ROUNDING
        short = np.flatnonzero(values[:, -1] >= threshold)
        return self._with_all(queries, rows, short, threshold) if len(short) else rows

    def _first(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k best by rounded scores, fewer where there are fewer rows: falling values and rows, each `[q, <= k]`."""
        import torch

        values: np.ndarray = np.empty((len(queries), 0), np.float32)
        rows: np.ndarray = np.empty((len(queries), 0), np.int64)
        for start, scores in self._scores(queries):
            top, at = torch.topk(torch.from_numpy(scores), min(k, scores.shape[1]))
            values = np.concatenate([values, top.numpy()], axis=1)
            rows = np.concatenate([rows, at.numpy() + start], axis=1)
            if values.shape[1] > 4 * k or start + scores.shape[1] == len(self.rows):
                top, at = torch.topk(torch.from_numpy(values), min(k, values.shape[1]))
                values, rows = top.numpy(), np.take_along_axis(rows, at.numpy(), 1)
        return values, rows

    def _with_all(self, queries: np.ndarray, rows: np.ndarray, short: np.ndarray, threshold: np.ndarray) -> np.ndarray:
        """`rows` with those of the queries `short` replaced by all that score `threshold` or more."""
        found: list[list[np.ndarray]] = [[] for _ in short]
        for start, scores in self._scores(queries[short]):
            for one, values, least in zip(found, scores, threshold[short], strict=True):
                one.append(start + np.flatnonzero(values >= least))
        every = {int(query): np.concatenate(one) for query, one in zip(short, found, strict=True)}
        width = max(rows.shape[1], *map(len, every.values()))
        out = np.full((len(rows), width), -1, np.int64)
        out[:, : rows.shape[1]] = rows
        for query, all_rows in every.items():
            out[query] = -1
            out[query, : len(all_rows)] = all_rows
        return out

    def _scores(self, queries: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the first row of each block and the scores `[q, block]` of its rows; the array is used again."""
        buffer = np.empty(len(queries) * min(_BLOCK, len(self.rows)), np.float32)
        for start in range(0, len(self.rows), _BLOCK):
            block = np.asarray(self.rows[start : start + _BLOCK], np.float32)
            scores = buffer[: len(queries) * len(block)].reshape(len(queries), len(block))
            yield start, np.matmul(queries, block.T, out=scores)


def best_of(matrix: np.ndarray, queries: np.ndarray, candidates: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k best of candidate rows `[q, c]` (-1 pads) of `matrix`, as `VectorIndex.search` gives them."""
    exact = pair_scores(matrix, queries, candidates)
    order = np.lexsort((candidates, -exact), axis=-1)[:, :k]
    scores = np.full((len(queries), k), -np.inf, np.float32)
    rows = np.full((len(queries), k), -1, np.int64)
    scores[:, : order.shape[1]] = np.take_along_axis(exact, order, 1)
    rows[:, : order.shape[1]] = np.take_along_axis(candidates, order, 1)
    return scores, rows


def pair_scores(matrix: np.ndarray, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """`[q, c]` float32 inner products of queries `[q, d]` with `matrix[rows]`, rows `[q, c]`; minus infinity for -1.

    Each is a sum in double precision over the two vectors, whatever stands beside them.
    """
    out = np.empty(rows.shape, np.float32)
    step = max(1, _PAIRS // max(rows.shape[1], 1))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        vectors = np.asarray(matrix[np.maximum(rows[part], 0)], np.float64)
        out[part] = np.einsum("qcd,qd->qc", vectors, np.asarray(queries[part], np.float64))
    out[rows < 0] = -np.inf
    return out


# --- FAISS ----------------------------------------------------------------------------------------------------------


def hnsw_parameters(dim: int) -> dict[str, int]:
    """Default parameters of `hnsw` (Malkov & Yashunin 2018).

    `dims`: width in which the graph is searched; `links`: of a row in the graph (M); `ef_construction`, `ef_search`:
    length of the lists while building and searching, the latter at least `refine` * k; `refine`: candidates a result,
    of which the exact scores are computed.
    """
    return {"dims": min(dim, 128), "links": 32, "ef_construction": 200, "ef_search": 300, "refine": 2}


def ivf_pq_parameters(rows: int, dim: int) -> dict[str, int]:
    """Default parameters of `ivf-pq` (Jégou et al. 2011) for that many rows.

    `dims`: width that is quantised; `lists`: cells of the inverted file; `bytes`: of a row's code, a divisor of `dims`;
    `probes`: cells that a query reads; `refine`: candidates a result, of which the exact scores are computed; `sample`:
    rows it is trained on.
    """
    dims = min(dim, 128)
    lists = max(1, 1 << round(math.log2(max(2 * math.sqrt(rows), 1))))
    size = next(count for count in range(max(1, dims // 2), 0, -1) if dims % count == 0)
    return {
        "dims": dims,
        "lists": lists,
        "bytes": size,
        "probes": max(1, lists // 16),
        "refine": 2,
        "sample": max(64 * lists, 20_000),
    }


class FaissIndex:
    """Candidates from an index of FAISS, exact scores from the rows.

    The index is of the rows' first principal directions, which hold nearly all of an embedding of faces or texts (of
    MobileFaceNet 96 per cent in 128 of 256): what is left out matters less than what can be compared in the same time.
    Its parameters of searching (`ef_search`, `probes`, `refine`) may be changed in `parameters`.
    """

    def __init__(self, kind: str, rows: np.ndarray, index: Any, parameters: Mapping[str, int]) -> None:
        self.kind, self.rows, self.parameters = kind, rows, dict(parameters)
        self._index = index

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """See VectorIndex; the approximate search may miss some of the best."""
        queries = _checked_queries(queries, k, self.rows)
        return _in_parts(queries, k, lambda part: best_of(self.rows, part, self._candidates(part, k), k))

    def save(self, folder: str | Path) -> None:
        """See VectorIndex."""
        with atomic_folder(folder) as temporary:
            _save_rows(temporary, self.kind, self.rows, self.parameters)
            _faiss().write_index(self._index, str(temporary / _FAISS))

    def _candidates(self, queries: np.ndarray, k: int) -> np.ndarray:
        faiss, width = _faiss(), min(k * self.parameters["refine"], len(self.rows))
        # Given with the call and not set on the index, which threads share.
        if self.kind == "hnsw":
            inner = faiss.SearchParametersHNSW(efSearch=max(self.parameters["ef_search"], width))
        else:
            inner = faiss.SearchParametersIVF(nprobe=self.parameters["probes"])
        outer = faiss.SearchParametersPreTransform(index_params=inner)
        return np.asarray(self._index.search(queries, width, params=outer)[1])


def _build_hnsw(rows: np.ndarray, parameters: dict[str, int]) -> FaissIndex:
    faiss = _faiss()
    graph = faiss.IndexHNSWFlat(parameters["dims"], parameters["links"], faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = parameters["ef_construction"]
    index = _projected(graph, _directions(rows, parameters["dims"]))
    _add(index, rows)
    return FaissIndex("hnsw", rows, index, parameters)


def _build_ivf_pq(rows: np.ndarray, parameters: dict[str, int]) -> FaissIndex:
    faiss, (lists, dims, size) = _faiss(), (parameters[name] for name in ("lists", "dims", "bytes"))
    if len(rows) < max(lists, 256):
        raise InputError(
            f"{len(rows):,} rows are too few for an 'ivf-pq' of {lists:,} lists: it needs as many, and 256",
            field="kind",
            remedy="use 'exact' or 'hnsw'",
        )
    if dims % size:
        raise ConfigError(f"bytes = {size}: must divide dims = {dims}")
    # Turned at random, so that no byte stands for more of the variance than another.
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((dims, dims)))[0]
    cells = faiss.IndexIVFPQ(faiss.IndexFlatIP(dims), dims, lists, size, 8, faiss.METRIC_INNER_PRODUCT)
    for clustering in (cells.cp, cells.pq.cp):
        clustering.min_points_per_centroid = 1  # below 39 it would write to stderr
    index = _projected(cells, turn @ _directions(rows, dims))
    index.train(_sample(rows, parameters["sample"]))
    _add(index, rows)
    return FaissIndex("ivf-pq", rows, index, parameters)


def _directions(rows: np.ndarray, dims: int) -> np.ndarray:
    """`[dims, d]`: the orthonormal directions that hold most of the rows, uncentred, so that inner products stay."""
    some = _sample(rows, 50_000)
    return np.asarray(np.linalg.eigh(some.T @ some)[1][:, ::-1][:, :dims].T)


def _projected(index: Any, directions: np.ndarray) -> Any:
    faiss = _faiss()
    map_ = faiss.LinearTransform(directions.shape[1], directions.shape[0], False)
    faiss.copy_array_to_vector(np.ascontiguousarray(directions, np.float32).ravel(), map_.A)
    map_.is_trained = True
    return faiss.IndexPreTransform(map_, index)


def _sample(rows: np.ndarray, count: int) -> np.ndarray:
    """Some of the rows as float32, the same each time, in their order."""
    chosen = np.sort(np.random.default_rng(0).permutation(len(rows))[:count])
    return np.ascontiguousarray(rows[chosen], np.float32)


def _add(index: Any, rows: np.ndarray) -> None:
    for start in range(0, len(rows), _BLOCK):
        index.add(np.ascontiguousarray(rows[start : start + _BLOCK], np.float32))


def _read_faiss(file: Path, shape: tuple[int, ...]) -> Any:
    faiss = _faiss()
    try:
        index = faiss.read_index(str(file), faiss.IO_FLAG_MMAP_IFC)
    except RuntimeError as error:
        raise InputError(f"cannot be read ({str(error).splitlines()[0]})", file=file, remedy=_AGAIN) from error
    if (index.ntotal, index.d) != shape:
        raise InputError(f"is of rows {[index.ntotal, index.d]} instead of {list(shape)}", file=file, remedy=_AGAIN)
    return index


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise MissingDependencyError("faiss-cpu", "index") from error
    return faiss


# --- checks ---------------------------------------------------------------------------------------------------------


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise ConfigError(f"index kind is '{kind}'.{did_you_mean(kind, KINDS)}")


def _chosen(defaults: Mapping[str, int], given: Mapping[str, int], kind: str, dim: int = 0) -> dict[str, int]:
    for name, value in given.items():
        if name not in defaults:
            known = did_you_mean(name, defaults) if defaults else " It has none."
            raise ConfigError(f"an index of kind '{kind}' has no parameter '{name}'.{known}")
        if value < 1:
            raise ConfigError(f"{name} = {value}: must be at least 1")
    if given.get("dims", 0) > dim:
        raise ConfigError(f"dims = {given['dims']}: must be at most the width of rows, {dim}")
    return {**defaults, **given}


def _check_rows(rows: np.ndarray) -> None:
    if rows.ndim != 2 or not rows.size or rows.dtype not in (np.float32, np.float16):
        raise InputError(
            f"rows are {rows.dtype} {list(rows.shape)}",
            field="rows",
            remedy="give float32 or float16 [n, d], n and d > 0",
        )
    for start in range(0, len(rows), _BLOCK):
        norms = np.linalg.norm(np.asarray(rows[start : start + _BLOCK], np.float32), axis=1)
        wrong = np.flatnonzero(~(np.abs(norms - 1) < 0.01))
        if len(wrong):
            raise InputError(
                f"row {start + wrong[0]} has the norm {norms[wrong[0]]:g}", field="rows", remedy="give unit rows"
            )


def _checked_queries(queries: np.ndarray, k: int, rows: np.ndarray) -> np.ndarray:
    if k < 1:
        raise InputError(f"{k}: must be at least 1", field="k")
    queries = np.ascontiguousarray(queries, np.float32)
    if queries.ndim != 2 or queries.shape[1] != rows.shape[1]:
        raise InputError(
            f"queries {list(queries.shape)} on an index of rows {list(rows.shape)}",
            field="queries",
            remedy="encode both with the same encoder",
        )
    if not np.isfinite(queries).all():
        number = int(np.flatnonzero(~np.isfinite(queries).all(1))[0])
        raise InputError(f"query {number} is not finite", field="queries", remedy="leave out what has no vector")
    return queries


def _in_parts(
    queries: np.ndarray, k: int, search: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
) -> tuple[np.ndarray, np.ndarray]:
    """What `search` gives of some queries at a time, in one piece."""
    scores = np.empty((len(queries), k), np.float32)
    rows = np.empty((len(queries), k), np.int64)
    for start in range(0, len(queries), _QUERIES):
        part = slice(start, start + _QUERIES)
        scores[part], rows[part] = search(queries[part])
    return scores, rows


def _save_rows(folder: Path, kind: str, rows: np.ndarray, parameters: Mapping[str, int]) -> None:
    np.save(folder / _ROWS, rows)
    meta = {"format": _FORMAT, "kind": kind, "shape": list(rows.shape), "parameters": dict(parameters)}
    (folder / _META).write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")
