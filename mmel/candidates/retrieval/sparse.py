"""Search by inner product among sparse rows, of which an entity may have several."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mmel.candidates.retrieval.base import Retrieved, padded

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

_QUERIES = 64  # of one product: its result stays below some hundred megabytes
_PAIRS = 1 << 14  # of a query and a row, multiplied at a time


class SparseIndex:
    """Rows of features, each of one entity; the score of an entity is that of its best row.

    Args:
        rows: `[R, F]` float32. owners: `[R]` KB index of each row, never falling.
    """

    def __init__(self, rows: csr_matrix, owners: np.ndarray) -> None:
        self.rows, self.owners = rows, owners
        self._columns = rows.T.tocsr()  # both are kept: one for products with everything, one for single pairs

    def search(self, queries: csr_matrix, k: int) -> Retrieved:
        """The k best entities of each row of `queries` `[q, F]` that share a feature with it, equals by KB index."""
        found = []
        for start in range(0, queries.shape[0], _QUERIES):
            product = queries[start : start + _QUERIES] @ self._columns
            for begin, end in zip(product.indptr[:-1], product.indptr[1:], strict=True):
                found.append(self._best(product.indices[begin:end], product.data[begin:end], k))
        return padded(found, k)

    def _best(self, rows: np.ndarray, values: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Entities and scores of the k best of the found rows; the rows of one entity count once."""
        width = k
        while True:
            # All that reach the score of the last place stay, so that ties are cut by KB index.
            least = np.partition(values, len(values) - width)[len(values) - width] if width < len(values) else -np.inf
            near = np.flatnonzero(values >= max(least, np.finfo(np.float32).tiny))
            owners, scores = self.owners[rows[near]], values[near]
            order = np.lexsort((owners, -scores))
            first = np.sort(np.unique(owners[order], return_index=True)[1])
            if len(first) >= k or width >= len(values):
                chosen = order[first[:k]]
                return owners[chosen], scores[chosen]
            width *= 2

    def score(self, queries: csr_matrix, query: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """`[m, k]` float32 scores of entities `ids` `[m, k]` (-1 pads) for the rows `query` `[m]` of `queries`."""
        out = np.zeros(ids.shape, np.float32)
        begin, end = (np.searchsorted(self.owners, ids.ravel(), side) for side in ("left", "right"))
        cell = np.repeat(np.arange(ids.size), end - begin)
        # The number of a cell's row, counted on from its first one.
        row = np.arange(len(cell)) - np.repeat(np.cumsum(end - begin) - end, end - begin)
        flat = out.reshape(-1)
        for start in range(0, len(cell), _PAIRS):
            part = slice(start, start + _PAIRS)
            left = queries[query[cell[part] // ids.shape[1]]]
            values = np.asarray(left.multiply(self.rows[row[part]]).sum(1), np.float32)[:, 0]
            np.maximum.at(flat, cell[part], values)
        return out
