"""How building and looking up scale with the size of a knowledge base.

python -m benchmarks.kb_speed [--surfaces 100000 1000000] [--entities kb.jsonl] [--mentions 50] [--json]

Generates bases of the given numbers of distinct surfaces (half as many entities, 3 links each; one alias of each entity
is shared with nine others on average), or builds from a file. Each size runs in a process of its own, so that the peak
of resident memory is that base's.
Lookups are of documents of 50 mentions, k = 30: `cold` is opening the base and the first document in a new process
with the files dropped from the system's cache (where it can be asked to), `warm` the median of 199 others seen before,
`fuzzy` the median for one misspelt name.

Measured on two shared cores: 100,000 / 1,000,000 / 10,000,000 surfaces build in 2.7 / 33 / 393 s to 35 / 310 / 3,075 MB
with a peak of 111 / 142 / 142 MB; cold 9 / 12 / 13 ms, warm 0.3 / 0.5 / 0.5 ms, fuzzy 12 / 59 / 206 ms.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import random
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mmel.document import Alias, Entity
from mmel.kb import KnowledgeBase
from mmel.kb.build import build

LINKS, SHARING, DOCUMENTS, SEED = 3, 10, 200, 13
_ONSETS, _VOWELS, _CODAS = (
    ["b", "c", "d", "f", "g", "h", "j", "k", "l", "m", "n", "p", "r", "s", "t", "v", "w", "y", "z", "ch"],
    ["a", "e", "i", "o", "u", "ai"],
    ["", "n", "r", "l", "s", "t"],
)
_SYLLABLES = ["".join(parts) for parts in itertools.product(_ONSETS, _VOWELS, _CODAS)]
_WORDS = ("actor", "born", "city", "river", "team", "founded", "north", "capital", "player", "film", "award", "album")


def name_of(number: int) -> str:
    """A pronounceable name of its own for each number below 2^32."""
    # A bijection that scatters neighbours, so that names do not come sorted.
    number = number * 2_654_435_761 % (1 << 32)
    parts = []
    for _ in range(4):
        number, syllable = divmod(number, len(_SYLLABLES))
        parts.append(_SYLLABLES[syllable])
    return f"{parts[0]}{parts[1]} {parts[2]}{parts[3]}".title()


def sizes(surfaces: int) -> tuple[int, int]:
    """Entities and shared names of a base of `surfaces` names: each entity has two names of its own."""
    shared = surfaces // (2 * SHARING + 1)
    return (surfaces - shared) // 2, shared


def generated_entities(surfaces: int) -> Iterator[Entity]:
    """Stream a base of `surfaces` distinct names, the same for every run."""
    draw = random.Random(SEED).random
    count, shared = sizes(surfaces)
    odd = surfaces - shared - 2 * count
    for index in range(count):
        title = name_of(index)
        aliases = [Alias(title, 1 + int(100 * draw())), Alias(name_of(count + index), 1 + int(10 * draw()))]
        if shared:
            aliases.append(Alias(name_of(2 * count + index % shared), 1 + int(20 * draw())))
        if odd and not index:
            aliases.append(Alias(name_of(2 * count + shared)))
        yield Entity(
            id=f"Q{index}",
            title=title,
            description=" ".join([_WORDS[int(len(_WORDS) * draw())] for _ in range(12)]),
            aliases=tuple(aliases),
            links=tuple([f"Q{int(count * draw())}" for _ in range(LINKS)]),
            popularity=int(1000 * draw()),
        )


def measure_build(folder: Path, surfaces: int, file: Path | None) -> dict[str, Any]:
    """Build into `folder`; seconds, bytes on disk, peak of resident memory."""
    from mmel.formats.jsonl import read_entities

    start = time.perf_counter()
    meta = build(read_entities(file) if file else generated_entities(surfaces), folder)
    seconds = time.perf_counter() - start
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return {
        "surfaces": meta.surfaces,
        "entities": meta.entities,
        "aliases": meta.aliases,
        "links": meta.links,
        "build_s": seconds,
        "mb": size / 1e6,
        "bytes_per_surface": size / meta.surfaces,
        "peak_mb": peak_mb(),
    }


def peak_mb() -> float:
    """Peak of resident memory of this process, in MB; the system counts in KiB, on macOS in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def measure_lookup(folder: Path, mentions: int) -> dict[str, Any]:
    """Milliseconds: cold and warm for a document of `mentions`, fuzzy for one misspelt name."""
    documents = _sample_documents(folder, mentions)
    dropped = _drop_from_cache(folder)
    start = time.perf_counter()
    kb = KnowledgeBase.open(folder)
    kb.lookup_many(documents[0])
    cold = time.perf_counter() - start
    for document in documents[1:]:
        kb.lookup_many(document)
    warm, matches = [], 0
    for document in documents[1:]:
        start = time.perf_counter()
        found = kb.lookup_many(document)
        warm.append(time.perf_counter() - start)
        matches += sum(map(len, found))
    fuzzy = []
    for document in documents[:20]:
        word = max(document, key=len)
        start = time.perf_counter()
        kb.lookup(f"{word[:3]}{word[4:]}")
        fuzzy.append(time.perf_counter() - start)
    return {
        "cold_ms": cold * 1e3,
        "cold_cache_dropped": dropped,
        "warm_ms": statistics.median(warm) * 1e3,
        "warm_p95_ms": statistics.quantiles(warm, n=20)[-1] * 1e3,
        "fuzzy_ms": statistics.median(fuzzy) * 1e3,
        "matches_per_document": matches / len(warm),
    }


def _sample_documents(folder: Path, mentions: int) -> list[list[str]]:
    """Documents of names drawn from random entities' aliases, so that shared names come as often as in texts."""
    generator = random.Random(SEED)
    with KnowledgeBase.open(folder) as kb:
        drawn = kb.entities([generator.randrange(len(kb)) for _ in range(DOCUMENTS * mentions)])
    names = [generator.choice(entity.aliases).name if entity.aliases else entity.title for entity in drawn]
    return [names[start : start + mentions] for start in range(0, len(names), mentions)]


def _drop_from_cache(folder: Path) -> bool:
    """Ask the system to forget the files' pages; whether it can be asked."""
    if not hasattr(os, "posix_fadvise"):
        return False
    for path in folder.rglob("*"):
        if path.is_file():
            with open(path, "rb") as stream:
                os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return True


def in_new_process(function: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """What `function` gives, run in a process of its own, so that the peak of memory is its own too."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def main(argv: list[str] | None = None) -> int:
    """Measure every size and print a table, or JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--surfaces", type=int, nargs="+", default=[100_000, 1_000_000], metavar="N")
    parser.add_argument("--entities", type=Path, metavar="FILE", help="build from this file instead")
    parser.add_argument("--mentions", type=int, default=50, help="mentions a document (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="where to build (default: a temporary folder)")
    parser.add_argument("--json", action="store_true", help="one JSON object a size")
    arguments = parser.parse_args(argv)
    columns = (
        "surfaces",
        "entities",
        "build_s",
        "mb",
        "bytes_per_surface",
        "peak_mb",
        "cold_ms",
        "warm_ms",
        "fuzzy_ms",
    )
    if not arguments.json:
        print(" ".join(f"{column:>17}" for column in columns))
    for surfaces in [0] if arguments.entities else arguments.surfaces:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            kb = Path(folder) / "kb"
            row = in_new_process(measure_build, kb, surfaces, arguments.entities)
            row |= in_new_process(measure_lookup, kb, arguments.mentions)
        if arguments.json:
            print(json.dumps(row), flush=True)
        else:
            cells = (row[column] for column in columns)
            print(
                " ".join(f"{cell:17,.2f}" if isinstance(cell, float) else f"{cell:17,}" for cell in cells), flush=True
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
