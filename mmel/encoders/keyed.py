"""Entity vectors that others trained: word2vec and GloVe files, and the arrays of deep-ed and mulrel-nel."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmel.errors import InputError, SkipReport
from mmel.files import atomic_folder, atomic_write, read_lines, read_text, sha256_file
from mmel.progress import progress

if TYPE_CHECKING:
    from mmel.kb import KnowledgeBase

CONVENTIONS: dict[str, Callable[[str, str], str]] = {
    "ENTITY/Title_with_underscores": lambda _, title: f"ENTITY/{_page(title)}",
    "Title_with_underscores": lambda _, title: _page(title),
    "en.wikipedia.org/wiki/Title_with_underscores": lambda _, title: (
        "en.wikipedia.org/wiki/" + _page(title).replace('"', "%22")
    ),
    "title": lambda _, title: title,
    "entity id": lambda id, _: id,
}
"""How a file may name the entity of an id and a title: wikipedia2vec, plain word2vec, mulrel-nel, our own."""

DICTIONARY, ARRAY = "dict.entity", "entity_embeddings.npy"
_UNKNOWN = "#UNK#"
_TEXT, _BINARY, _NATIVE = (".txt", ".vec"), (".bin",), (".kv",)
_PACKED = (".gz", ".bz2")
_CHUNK = 1 << 16
_BROKEN = (ValueError, EOFError, MemoryError, OSError, AssertionError, AttributeError, ImportError, pickle.PickleError)


class KeyedVectors:
    """Rows of a matrix under string keys, of which the entities of a knowledge base find theirs.

    Args:
        id: see EntityVectors. matrix: `[rows, d]` floats, may be memory-mapped. rows: row of each key.
        file: what errors and reports name.
        say: told, once a knowledge base, which keys were used and how many entities have no vector.
    """

    def __init__(
        self,
        id: str,
        matrix: np.ndarray,
        rows: Mapping[str, int],
        file: Path,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self.id, self.dim = id, int(matrix.shape[1])
        self._matrix, self._keys, self._file, self._say = matrix, rows, file, say
        self._rows: dict[str, np.ndarray] = {}

    def vectors(self, kb: KnowledgeBase, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """See EntityVectors. InputError where the file names no entity of the base, or a vector is not finite."""
        rows = self._rows_of(kb)[np.asarray(indices, np.int64)]
        found = np.asarray(self._matrix[np.maximum(rows, 0)], np.float32)
        norm = np.linalg.norm(found, axis=1, keepdims=True)
        wrong = (rows >= 0) & ~np.isfinite(norm[:, 0])
        if wrong.any():
            raise InputError(
                f"row {int(rows[wrong][0])} is not finite", file=self._file, remedy="fetch or make the file again"
            )
        out = np.zeros(found.shape, np.float16)
        np.divide(found, norm, out=found, where=norm > 0)
        out[rows >= 0] = found[rows >= 0]
        return out

    def _rows_of(self, kb: KnowledgeBase) -> np.ndarray:
        """`[n]` row of every entity, -1 for none, by the convention that finds most of them."""
        known = self._rows.get(kb.meta.content_hash)
        if known is not None:
            return known
        rows = np.full((len(CONVENTIONS), len(kb)), -1, np.int64)
        for begin in progress(range(0, len(kb), _CHUNK), "entity keys"):
            part = range(begin, min(begin + _CHUNK, len(kb)))
            for index, id, title in zip(part, kb.ids(part), kb.titles(part), strict=True):
                for column, key in enumerate(CONVENTIONS.values()):
                    rows[column, index] = self._keys.get(key(id, title), -1)
        counts = (rows >= 0).sum(1)
        best = int(counts.argmax())
        if len(kb) and not counts[best]:
            raise InputError(
                f"no key names an entity of '{kb.meta.name}'; its first keys are "
                f"{', '.join(map(repr, islice(self._keys, 3)))}",
                file=self._file,
                remedy=f"name entities by one of: {', '.join(CONVENTIONS)}",
            )
        if self._say:
            self._say(
                f"entity vectors of {self._file} (dimension {self.dim}, keys: {list(CONVENTIONS)[best]}): "
                f"entities without a vector: {len(kb) - counts[best]:,} of {len(kb):,}"
            )
        self._rows[kb.meta.content_hash] = rows[best]
        return self._rows[kb.meta.content_hash]


def is_vector_file(path: Path) -> bool:
    """Whether the name is one that `open_keyed` reads."""
    return _suffix(path) in (*_TEXT, *_BINARY, *_NATIVE)


def open_keyed(path: Path, cache: Path, say: Callable[[str], None] | None = None) -> KeyedVectors:
    """Vectors of a word2vec or GloVe file, memory-mapped.

    `.txt` and `.vec` hold one key and its numbers a line, with or without a first line `rows dimension`; `.bin` is
    binary word2vec; `.kv` was saved by gensim, and as it is a pickle must come from someone you trust. `.gz` and `.bz2`
    may follow. All but `.kv` are read once, whole, and kept in `cache` as a `.kv` under the hash of their content.

    Raises:
        InputError naming the file, for text also the line, and what was expected.
    """
    if not path.is_file():
        raise InputError("there is no such file", file=path, remedy="check encoder.entities, in a run its config.yaml")
    if not path.stat().st_size:
        raise InputError("is empty", file=path, remedy="fetch or make the file again")
    digest = _digest([path, *sorted(path.parent.glob(f"{path.name}.*.npy"))], cache)
    native = _suffix(path) in _NATIVE
    converted = path if native else cache / digest / "vectors.kv"
    if not converted.is_file():
        if say:
            say(f"{path}: converting to {converted}, once")
        found = _read(path)
        with atomic_folder(converted.parent) as folder:
            found.save(str(folder / converted.name), separately=["vectors"])
    from gensim.models import KeyedVectors as Gensim

    try:
        opened = Gensim.load(str(converted), mmap="r")
        matrix, rows = opened.vectors, opened.key_to_index
    except _BROKEN as error:
        raise InputError(
            f"are no vectors that gensim saved ({error})",
            file=converted,
            remedy="save them with KeyedVectors.save" if native else "remove this file; it is made again",
        ) from error
    return KeyedVectors(f"word2vec-{digest}", matrix, rows, path, say)


def open_arrays(path: Path, cache: Path, say: Callable[[str], None] | None = None) -> KeyedVectors:
    """The arrays of deep-ed and mulrel-nel: `entity_embeddings.npy` `[rows, d]` and `dict.entity`, one title a line.

    A tab and a number may follow a title. Where the numbers are those of the rows, from 0 or 1, they say which row is
    whose; else they are counts, as in the data of Le & Titov (2018), and the rows are in the order of the lines. The
    array may lack the row of a last line `#UNK#`.

    Raises:
        InputError naming the file and line, or the two counts that differ.
    """
    titles, array = path / DICTIONARY, path / ARRAY
    for file in (titles, array):
        if not file.is_file():
            raise InputError(
                "is missing", file=file, remedy=f"encoder.entities names a folder with {DICTIONARY} and {ARRAY}"
            )
    try:
        matrix = np.load(array, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise InputError(f"is no array ({error})", file=array, remedy="fetch or make the file again") from error
    if matrix.ndim != 2 or not np.issubdtype(matrix.dtype, np.floating):
        raise InputError(
            f"is {matrix.dtype} {list(matrix.shape)}", file=array, remedy="it must be floats [entities, d]"
        )
    rows, lines = _dictionary(titles, say)
    if len(matrix) != lines and not (len(matrix) == lines - 1 and rows.get(_UNKNOWN) == lines - 1):
        raise InputError(
            f"has {len(matrix):,} rows, {DICTIONARY} has {lines:,} lines",
            file=array,
            remedy="take both from one source",
        )
    rows.pop(_UNKNOWN, None)
    return KeyedVectors(f"arrays-{_digest([titles, array], cache)}", matrix, rows, path, say)


def _dictionary(path: Path, say: Callable[[str], None] | None) -> tuple[dict[str, int], int]:
    """Row of each title, and the number of lines."""
    skips = SkipReport()
    names: list[str] = []
    numbers: list[float] = []
    places: list[int] = []
    for line, text in read_lines(path, skips):
        name, *rest = text.strip().split("\t")
        try:
            numbers += [float(number) for number in rest]
            if len(rest) > 1:
                raise ValueError(f"{len(rest) + 1} columns")
        except ValueError as error:
            remedy = "a line is a title, or a title, a tab and a number"
            raise InputError(f"is no entity ({error})", file=path, line=line, remedy=remedy) from error
        names.append(name)
        places.append(line - 1)
    # A line that is not UTF-8 keeps its row: only its own entity goes without.
    unreadable = sum(skips.counts.values())
    if unreadable and say:
        say(f"{path}: {unreadable:,} titles are not UTF-8; their entities have no vector")
    first = min(numbers, default=0)
    if (
        first in (0, 1)
        and len(numbers) == len(names)
        and sorted(numbers) == list(range(int(first), int(first) + len(names)))
    ):
        places = [int(number - first) for number in numbers]
    return dict(zip(names, places, strict=True)), len(names) + unreadable


def _read(path: Path) -> Any:
    """gensim's KeyedVectors of a text or binary file."""
    from gensim.models import KeyedVectors as Gensim
    from gensim.utils import open as open_any

    binary = _suffix(path) in _BINARY
    header = False
    try:
        with open_any(str(path), "rb") as stream:
            first = stream.readline(4096)
        header = _is_header(first)
        if binary and not header:
            raise ValueError("its first line is not 'rows dimension'")
        if header:
            _check_size(path, first, 4 if binary else 2)
        # The C tool cuts keys within a character; such a key names no entity and is no reason to refuse the rest.
        found = Gensim.load_word2vec_format(str(path), binary=binary, no_header=not header, unicode_errors="replace")
    except _BROKEN as error:
        line = None if binary else _broken_line(path, header)
        raise InputError(
            f"is no {'binary' if binary else 'text'} file of word2vec or GloVe ({str(error) or type(error).__name__})",
            file=path,
            line=line,
            remedy="a .bin is what word2vec and gensim write, not fastText or wikipedia2vec: take their text form"
            if binary
            else "a line is a key without spaces and its numbers, all with one space between, in every line as many",
        ) from error
    if not len(found) or not found.vector_size:
        raise InputError("holds no vector", file=path, remedy="fetch or make the file again")
    return found


def _check_size(path: Path, header: bytes, least: int) -> None:
    """ValueError where the file is too short for numbers of at least `least` bytes; gensim would make room for all."""
    rows, dimension = map(int, header.split())
    if path.suffix not in _PACKED and rows * dimension * least > path.stat().st_size:
        raise ValueError(f"its first line promises {rows:,} rows of {dimension:,} numbers, it is shorter")


def _is_header(line: bytes) -> bool:
    words = line.split()
    return len(words) == 2 and all(word.isdigit() for word in words)


def _broken_line(path: Path, header: bool) -> int | None:
    """The first line without a key and as many numbers as the others; None where all have them."""
    from gensim.utils import open as open_any

    size = None
    with open_any(str(path), "rb") as stream:
        for number, line in enumerate(stream, start=1):
            words = line.rstrip().split(b" ")
            if number == 1 and header:
                size = int(line.split()[1])
                continue
            size = size or len(words) - 1
            try:
                numbers = [float(word) for word in words[1:]]
            except ValueError:
                return number
            if len(numbers) != size:
                return number
    return None


def _digest(files: Sequence[Path], cache: Path) -> str:
    """16 hex digits of the content of files; read again only when size or time of one changed."""
    states = [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    note = cache / "digests" / hashlib.sha256(repr(states).encode()).hexdigest()[:32]
    if note.is_file():
        return read_text(note)
    digest = hashlib.sha256("".join(map(sha256_file, files)).encode()).hexdigest()[:16]
    with atomic_write(note) as stream:
        stream.write(digest)
    return digest


def _suffix(path: Path) -> str:
    return Path(path.stem).suffix if path.suffix in _PACKED else path.suffix


def _page(title: str) -> str:
    return title.replace(" ", "_")
