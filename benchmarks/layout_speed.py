"""How long the largest published layouts take to read, and how much memory.

python -m benchmarks.layout_speed [--layouts m3el-mtmt mimic] [--scale 1] [--json]

The files are generated in their published form and size: M3EL of 2024 with 79,625 instances of three candidates each
(the sentences as long as plots of films), and MIMIC's knowledge base of 132,460 entities with 25,846 mentions. Each is
read whole in a process of its own through its dataset, every document of every split and every entity, with a report
of what is irregular, as `mmel data check` does; nothing is kept, so the peak of resident memory is that of reading.

Measured on two cores that eight other programs shared, so in seconds of the processor: M3EL of 2024, 167 MB, 21 s with
a peak of 135 MB; MIMIC's layout, 52 MB, 4.3 s with a peak of 91 MB.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.kb_speed import in_new_process, name_of, peak_mb
from mmel.datasets import open_dataset
from mmel.errors import SkipReport

SEED = 13
# Of the papers: instances by split, 8:1:1; entities of WIKIDiverse; mentions of WikiMEL by split.
M3EL = {"train": 63_700, "val": 7_962, "test": 7_963}
ENTITIES, MENTIONS = 132_460, {"train": 18_092, "dev": 2_585, "test": 5_169}
_WORDS = ("a", "actor", "and", "at", "born", "city", "directed", "film", "in", "is", "of", "river", "the", "to", "who")
_COLUMNS = ("layout", "mb", "documents", "entities", "seconds", "cpu_s", "peak_mb", "skipped", "noted")


def write_m3el(root: Path, scale: float) -> None:
    """Instances whose gold is the first of three candidates in 56 of 100, another in 29, and none in 15."""
    generator = random.Random(SEED)
    for split, count in M3EL.items():
        _write(root / f"{split}.json", (_instance(generator) for _ in range(int(count * scale))))


def _instance(generator: random.Random) -> dict[str, Any]:
    numbers = [generator.randrange(200_000) for _ in range(3)]
    place = generator.choices((0, 1, 2, None), (56, 15, 14, 15))[0]
    gold = generator.randrange(200_000) if place is None else numbers[place]
    folder = f"{name_of(gold)}-Q{gold}"
    words = generator.choices(_WORDS, k=generator.randint(40, 500))
    # A plot often does not name its film, and people write dashes and accents.
    words.insert(generator.randrange(40), name_of(gold) if generator.random() < 0.7 else "–")
    return _described(gold, folder) | {
        "sentence": " ".join(words) + ".\n",
        "candidates": [_described(number, folder) for number in numbers],
    }


def _described(number: int, folder: str) -> dict[str, Any]:
    file = f"Q{number}.jpg"
    return {
        "Qid": f"Q{number}",
        "name": name_of(number),
        "description": f"{1900 + number % 100} film by {name_of(number + 1)}",
        "image": [file, f"https://commons.example/{file}", f"/M3EL/movies_candidates_images/{folder}/{file}"],
    }


def write_mimic(root: Path, scale: float) -> None:
    """A knowledge base with attributes and pictures, and mentions of it, some of which are NIL or have no picture."""
    generator = random.Random(SEED)
    count = max(1, int(ENTITIES * scale))
    _write(root / "kb_entity.json", (_entity(generator, number) for number in range(count)))
    (root / "qid2id.json").write_text(json.dumps({f"Q{number}": number for number in range(count)}), encoding="utf-8")
    for split, mentions in MENTIONS.items():
        rows = (_mention(generator, number, count) for number in range(int(mentions * scale)))
        _write(root / f"WIKIMEL_{split}.json", rows)


def _entity(generator: random.Random, number: int) -> dict[str, Any]:
    city, other = (name_of(generator.randrange(10_000)) for _ in range(2))
    return {
        "id": number,
        "qid": f"Q{number}",
        "entity_name": name_of(number).replace(" ", "%20") if number % 50 == 0 else name_of(number),
        "attr": f"Sex: male. Birth: {1800 + number % 200}, {city}. Death: {1880 + number % 120}, {other}. Occupation: "
        f"politician, lawyer. Languages: English. Alma mater: University of {city}. Positions: member of {other}.",
        "type": "entity",
        "image_list": [f"Q{number}_{place}.jpg" for place in range(generator.randrange(4))],
    }


def _mention(generator: random.Random, number: int, entities: int) -> dict[str, Any]:
    gold = generator.randrange(entities)
    words = generator.choices(_WORDS, k=generator.randint(4, 30))
    words.insert(generator.randrange(len(words)), name_of(gold))
    return {
        "id": f"{number}-0",
        "sentence": " ".join(words),
        "imgPath": f"KVQAimgs/{number}.JPG" if number % 20 else "",
        "entities": name_of(gold),
        "mentions": name_of(gold),
        "answer": f"Q{gold}" if number % 100 else "nil",
    }


LAYOUTS: dict[str, tuple[str, Callable[[Path, float], None]]] = {
    "m3el-mtmt": ("m3el-mtmt", write_m3el),
    "mimic": ("wikimel", write_mimic),
}
"""The dataset that reads a layout, and what writes it."""


def measure(dataset: str, root: Path) -> dict[str, Any]:
    """Read all of a folder; seconds, of them the processor's, and MB of resident memory at most."""
    before, cpu, skips = time.perf_counter(), time.process_time(), SkipReport()
    opened = open_dataset(dataset, root)
    documents = sum(1 for split in opened.splits for _ in opened.documents(split, skips))
    entities = sum(1 for _ in opened.entities(skips))
    return {
        "mb": sum(path.stat().st_size for path in root.iterdir()) / 1e6,
        "documents": documents,
        "entities": entities,
        "seconds": time.perf_counter() - before,
        "cpu_s": time.process_time() - cpu,
        "peak_mb": peak_mb(),
        "skipped": sum(skips.counts.values()),
        "noted": sum(skips.noted.values()),
    }


def _write(path: Path, records: Iterable[dict[str, Any]]) -> None:
    with open(path, "w", encoding="utf-8") as stream:
        stream.write("[")
        stream.writelines(_parts(records))
        stream.write("]")


def _parts(records: Iterable[dict[str, Any]]) -> Iterator[str]:
    for number, record in enumerate(records):
        yield ", " * bool(number) + json.dumps(record, ensure_ascii=False)


def main(argv: list[str] | None = None) -> int:
    """Measure each layout and print a table, or JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layouts", nargs="+", choices=sorted(LAYOUTS), default=sorted(LAYOUTS), metavar="LAYOUT")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the published size (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="where to write the files (default: a temporary folder)")
    parser.add_argument("--json", action="store_true", help="one JSON object a layout")
    arguments = parser.parse_args(argv)
    if not arguments.json:
        print(" ".join(f"{column:>12}" for column in _COLUMNS))
    for layout in arguments.layouts:
        dataset, write = LAYOUTS[layout]
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            write(Path(folder), arguments.scale)
            row = {"layout": layout} | in_new_process(measure, dataset, Path(folder))
        if arguments.json:
            print(json.dumps(row), flush=True)
            continue
        cells = (row[column] for column in _COLUMNS)
        print(" ".join(f"{one:12,.1f}" if isinstance(one, float) else f"{one:>12}" for one in cells), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
