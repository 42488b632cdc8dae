"""A nine-task set (T, I, I+T -> T, I, I+T) in the form of M3EL 2024, made of the photographs of a folder of `movies`.

`python -m benchmarks.nine_tasks --root MOVIES --out DIR`, then `python -m mmel.train m3el-mtmt data.root=DIR ...`.

An instance is a labelled photograph of a person with a profile picture and a surname that another photographed person
has too. Its name is the surname alone. Its sentence is one that names the person, where a text around the photograph
has it, else the whole text. Candidates are all photographed and described people of that surname, filled up to three
with those of the most similar surnames. A photograph is one instance, of one split.
"""

from __future__ import annotations

import difflib
import json
import shutil
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmel.cli import Parser, run
from mmel.datasets.movies import Movies
from mmel.document import Document, Entity
from mmel.errors import InputError
from mmel.files import atomic_folder, atomic_write
from mmel.progress import progress
from mmel.sentences import sentence_starts

SPLITS = ("train", "val", "test")
_FORMS = ("", "-scenes", "-mixed")  # whole documents say most, scenes of one film more than of three
_SUFFIXES = frozenset(("Jr", "Sr", "II", "III", "IV"))
LEAST = 3
EXAMPLE = "python -m benchmarks.nine_tasks --root DATA/movies --out nine-tasks"


@dataclass(frozen=True)
class People:
    """Photographed and described people: by id, and by surname, each in the order of the base."""

    by_id: dict[str, Entity]
    by_surname: dict[str, list[Entity]]

    @classmethod
    def of(cls, entities: Iterable[Entity]) -> People:
        """Those of a base that have both."""
        people = [e for e in entities if e.type == "person" and e.images and e.description.strip()]
        named: dict[str, list[Entity]] = defaultdict(list)
        for person in people:
            named[surname(person)].append(person)
        return cls({person.id: person for person in people}, dict(named))

    def candidates(self, name: str, least: int = LEAST) -> list[Entity]:
        """All people of a surname, then those of the most similar ones, as many as make `least`."""
        found = list(self.by_surname[name])
        if len(found) < least:
            others = [other for other in self.by_surname if other != name]
            for other in difflib.get_close_matches(name, others, n=least, cutoff=0.0):
                found += self.by_surname[other][: least - len(found)]
        return found


def surname(person: Entity) -> str:
    """The last word of a name that is no suffix such as Jr."""
    words = person.title.split()
    return next((word for word in reversed(words) if word.rstrip(".") not in _SUFFIXES), words[-1])


def instances(people: People, documents: Iterable[Document]) -> Iterator[dict[str, Any]]:
    """The instances of a split, one a photograph, by the photograph's path; documents that say most come first."""
    texts: dict[str, list[str]] = defaultdict(list)
    shown: dict[str, Entity] = {}
    for document in documents:
        for mention in document.visual_mentions:
            person = people.by_id.get(mention.entity or "")
            if person is not None and len(people.by_surname[surname(person)]) > 1:
                texts[mention.image].append(document.text)
                shown[mention.image] = person
    for image in sorted(shown):
        person = shown[image]
        listed = sorted(people.candidates(surname(person)), key=lambda each: each.id)
        yield {
            "Qid": person.id,
            "name": surname(person),
            "description": "",
            "sentence": _sentence(person, texts[image]),
            "image": _image(image),
            "candidates": [
                {
                    "Qid": each.id,
                    "name": each.title,
                    "description": each.description,
                    "image": _image(each.images[0]),
                }
                for each in listed
            ],
        }


def _sentence(person: Entity, texts: Sequence[str]) -> str:
    """The sentence of `texts` that has a person's name, rather the whole one than the surname; else the first text."""
    for name in (person.title, surname(person)):
        for text in texts:
            starts = sentence_starts(text)
            for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
                if f" {name} " in f" {_words(text[start:end])} ":
                    return text[start:end].strip()
    return texts[0].strip()


def _words(text: str) -> str:
    return "".join(char if char.isalnum() or char in ".-'" else " " for char in text.replace("'s", " "))


def _image(path: str) -> list[str]:
    return [Path(path).name, "", path]


def write(root: Path, out: Path) -> dict[str, dict[str, int]]:
    """Write `out/SPLIT.json` and the pictures they name; returns counts by split.

    Raises InputError where a photograph is in two splits.
    """
    movies = Movies(root)
    people = People.of(movies.entities())
    counts: dict[str, dict[str, int]] = {}
    seen: dict[str, str] = {}
    for split in progress(SPLITS, "splits", unit="split"):
        forms = [split + form for form in _FORMS if split + form in movies.splits]
        made = list(instances(people, (d for form in forms for d in movies.documents(form))))
        pictures = {one["image"][2] for one in made}
        for image in sorted(pictures):
            if seen.setdefault(image, split) != split:
                raise InputError(f"'{image}' is in the splits {seen[image]} and {split}", file=root)
        for image in sorted(pictures | {each["image"][2] for one in made for each in one["candidates"]}):
            (out / image).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / image, out / image)
        with atomic_write(out / f"{split}.json") as stream:
            json.dump(made, stream, ensure_ascii=False, indent=1)
        counts[split] = _counts(made)
    return counts


def _counts(made: Sequence[dict[str, Any]]) -> dict[str, int]:
    golds = {one["Qid"] for one in made}
    filled = sum(any(one["name"] not in each["name"].split() for each in one["candidates"]) for one in made)
    named = sum(one["name"] in one["sentence"] for one in made)
    listed = sum(len(one["candidates"]) for one in made)
    return {"instances": len(made), "people": len(golds), "candidates": listed, "named": named, "filled": filled}


def main(argv: list[str]) -> int:
    """Write the set and say what it holds; returns the exit code."""
    parser = Parser(
        prog="python -m benchmarks.nine_tasks",
        description="Make a nine-task set in the form of M3EL 2024 of a folder of the dataset `movies`.",
        example=EXAMPLE,
    )
    parser.add_argument("--root", required=True, type=Path, metavar="MOVIES", help="folder of the dataset `movies`")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder of the set")
    values = parser.parse_args(argv)
    if values.out.is_dir() and any(values.out.iterdir()):
        raise InputError("is not empty", file=values.out, remedy="name a new folder with --out, or remove this one")
    with atomic_folder(values.out) as folder:
        counts = write(values.root, folder)
    for split, count in counts.items():
        print(
            f"{split}: {count['instances']:,} instances of {count['people']:,} people, "
            f"{count['candidates'] / max(count['instances'], 1):.1f} candidates each; the sentence names "
            f"{count['named']:,}; {count['filled']:,} lists are filled up with similar surnames",
            file=sys.stdout,
        )
    return 0


if __name__ == "__main__":
    run(main)
