"""Who is on a film poster: faces found, and the billed actors that face vectors alone name.

python -m benchmarks.posters --posters DIR --movies DIR --detector yunet.onnx --embedder face.onnx [--json]

DIR of the posters holds `labels.json`, a list of `{"imdb", "title", "billed_with_gallery": [name ...]}`, and a JPEG
called by each `imdb`. Every face is given the person of the `movies` knowledge base whose photograph is most similar
(all persons with one), and a poster's name its most similar face. The least cosine for a name to be given is the lowest
at which 95 in 100 names are right on one half of the posters; the other half is named with it, and the halves change
places. `billed` are names of the label. The labels do not name everyone on a poster, so `right` also counts whom the
knowledge base credits in a film of the poster's title, where it has one.

Measured on 149 posters of 182 x 268 pixels: 480 faces on 137 of them, 241 of at least 20 pixels; the nearest of 2,791
persons is a billed actor 35 times (of 183), right 43 times. The 8 surest names are right, but the next that count as
wrong are actors of the film whom neither label nor knowledge base lists, so that the halves' thresholds (0.676, 0.565)
leave 1 name.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mmel.detection import detect_mentions
from mmel.detection.yunet import YuNet
from mmel.document import Entity
from mmel.encoders.images.onnx_face import OnnxFaceEncoder
from mmel.formats.jsonl import read_entities
from mmel.vision.regions import Region, RegionEncoder

PRECISION = 0.95
LEAST = 20  # pixels of a face that is named: smaller ones are blurs, and a blur in the gallery is like all of them


class Name(NamedTuple):
    """A name given to a poster, the cosine behind it, and whether it is right."""

    poster: str
    name: str
    cosine: float
    billed: bool
    right: bool


def credited(entities: Sequence[Entity]) -> dict[str, set[str]]:
    """Names of the persons of each film title: those linked to the film, or to a character of it."""
    by_id = {entity.id: entity for entity in entities}
    # A title may carry a qualifier in brackets.
    titles = {entity.id: entity.title.split(" (")[0] for entity in entities if entity.type == "film"}
    cast: dict[str, set[str]] = defaultdict(set)
    for person in entities:
        if person.type == "person":
            near = {far for link in person.links if link not in titles for far in by_id[link].links}
            for film in titles.keys() & near.union(person.links):
                cast[titles[film]].add(person.title)
    return cast


def threshold_at(names: Sequence[Name], precision: float = PRECISION) -> float:
    """The lowest cosine from which on at least `precision` of the names are right; infinite where there is none."""
    ranked = sorted(names, key=lambda name: -name.cosine)
    share = np.cumsum([name.right for name in ranked]) / np.arange(1, len(ranked) + 1)
    enough = np.flatnonzero(share >= precision)
    return ranked[enough[-1]].cosine if len(enough) else float("inf")


def summary(names: Sequence[Name], posters: Sequence[str], labels: Mapping[str, set[str]]) -> dict[str, Any]:
    """Counts of names given at each half's threshold to the other half, and without any threshold."""
    halves = [set(posters[0::2]), set(posters[1::2])]
    given: list[Name] = []
    thresholds = []
    for half, other in (halves, halves[::-1]):
        thresholds.append(threshold_at([name for name in names if name.poster in half]))
        given += [name for name in names if name.poster in other and name.cosine >= thresholds[-1]]
    return {
        "billed_actors": sum(len(labels[poster]) for poster in posters),
        "billed_by_nearest": sum(name.billed for name in names),
        "right_by_nearest": sum(name.right for name in names),
        "thresholds": thresholds,
        "named": len(given),
        "named_right": sum(name.right for name in given),
        "named_billed": sum(name.billed for name in given),
    }


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Find the faces of every poster, name them, and count."""
    entries = json.loads((arguments.posters / "labels.json").read_text(encoding="utf-8"))
    labels = {entry["imdb"]: set(entry["billed_with_gallery"]) for entry in entries}
    films = {entry["imdb"]: entry["title"] for entry in entries}
    files = {path.stem: path for path in arguments.posters.rglob("*.jpg") if path.stem in labels}
    posters = sorted(files)
    detector, embedder = YuNet(arguments.detector), OnnxFaceEncoder(arguments.embedder)
    regions = RegionEncoder(embedder, detector, arguments.cache)
    found = list(detect_mentions([str(files[poster]) for poster in posters], detector))
    wanted = [
        (poster, Region(files[poster], mention.box))
        for poster, each in zip(posters, found, strict=True)
        for mention in each
    ]
    faces = regions.encode([region for _, region in wanted])
    entities = list(read_entities(arguments.movies / "kb.jsonl"))
    people = [entity for entity in entities if entity.type == "person" and entity.images]
    gallery = regions.encode([Region(arguments.movies / person.images[0]) for person in people])
    cosines = np.nan_to_num(faces.vectors @ gallery.vectors.T, nan=-1.0)
    cast, best = credited(entities), dict[tuple[str, str], float]()
    for (poster, _), row, size in zip(wanted, cosines, faces.size, strict=True):
        if size < LEAST:
            continue
        key = (poster, people[int(row.argmax())].title)
        best[key] = max(best.get(key, -1.0), float(row.max()))
    names = [
        Name(poster, name, cosine, name in labels[poster], name in labels[poster] | cast.get(films[poster], set()))
        for (poster, name), cosine in best.items()
    ]
    return {
        "posters": len(posters),
        "with_faces": sum(map(bool, found)),
        "faces": len(wanted),
        "encoded": int(faces.found.sum()),
        "large_enough": int((faces.size >= LEAST).sum()),
        "gallery": len(people),
        **summary(names, posters, labels),
    }


def main(argv: list[str] | None = None) -> int:
    """Measure and print a line a count, or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--posters", type=Path, required=True, metavar="DIR", help="labels.json and posters")
    parser.add_argument("--movies", type=Path, required=True, metavar="DIR", help="kb.jsonl and its photographs")
    parser.add_argument("--detector", type=Path, required=True, metavar="FILE", help="YuNet, ONNX")
    parser.add_argument("--embedder", type=Path, required=True, metavar="FILE", help="embedder of aligned faces, ONNX")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="of encodings (default: the user's cache)")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    arguments = parser.parse_args(argv)
    result = measure(arguments)
    if arguments.json:
        print(json.dumps(result))
        return 0
    for name, value in result.items():
        print(f"{name:20}{value if not isinstance(value, list) else ', '.join(f'{one:.3f}' for one in value)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
