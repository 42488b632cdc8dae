"""WIKIPerson: regions of pictures with the person on each, and the people with name, description and first picture.

Sun, Fan, Guo, Zhang & Cheng, "Visual Named Entity Linking: A New Dataset and A Baseline", Findings of EMNLP 2022
(github.com/ict-bigdatalab/VNEL). Annotations are one JSON list of `{"id", "image", "boundingbox", "wikiid"}`, where the
box is a string such as `"[55.4, 15.3, 73.5, 42.0]"` in pixels; MTCNN drew it, so it may begin outside the picture. The
people are a JSON list of `{"id", "name", "description", ...}` or the same columns as CSV.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mmel.document import Alias, Box, Document, Entity, VisualMention
from mmel.errors import InputError, SkipReport
from mmel.files import read_lines
from mmel.formats.records import Place, is_finite, others, read_list

_REGION_FORM = 'a record is {"id", "image": "NAME.jpg", "boundingbox": "[x0, y0, x1, y1]", "wikiid": "Q..."}'
_PERSON_FORM = 'a person is {"id": "Q...", "name", "description", "image"}, in JSON or as the columns of a CSV file'
_REGION_KEYS = frozenset({"image", "boundingbox", "wikiid"})


def read_pictures(path: str | Path, folder: str = "", skips: SkipReport | None = None) -> Iterator[Document]:
    """One document a picture, without text, in the order in which the pictures first appear.

    A picture's id is its name without the ending. `folder` is put before the name. The regions keep the order of the
    file and their other keys (`id`) in `extra`; a box may lie outside the picture or be empty, and is kept as it is.

    Raises InputError at the first record that is not in the form; with `skips` it is counted and the rest goes on.
    """
    pictures: dict[str, list[VisualMention]] = {}
    for mention in read_list(path, _region, _REGION_FORM, skips):
        pictures.setdefault(mention.image, []).append(mention)
    for image, mentions in pictures.items():
        regions = tuple(VisualMention(folder + image, each.box, each.entity, each.extra) for each in mentions)
        yield Document(Path(image).stem, "", visual_mentions=regions)


def read_people(
    path: str | Path, picture: Callable[[str], str | None], skips: SkipReport | None = None
) -> Iterator[Entity]:
    """The people of a `.json` or `.csv` file; keys that are not used are passed over.

    `picture` gives the picture of an id, or None; a column `image` goes before it.
    """

    def parse(record: dict[str, Any], place: Place) -> Entity:
        return _person(record, place, picture)

    if Path(path).suffix == ".csv":
        yield from _read_table(path, parse, skips)
    else:
        yield from read_list(path, parse, _PERSON_FORM, skips)


def _read_table(
    path: str | Path, parse: Callable[[dict[str, Any], Place], Entity], skips: SkipReport | None
) -> Iterator[Entity]:
    rows = csv.DictReader(f"{line}\n" for _, line in read_lines(path, skips))
    if not {"id", "name"} <= set(rows.fieldnames or ()):
        raise Place(path, 1, _PERSON_FORM).error(f"expected the columns id and name, found {rows.fieldnames}")
    for row in rows:
        # An empty cell is an absent value; cells beyond the header have no name.
        record = {name: value for name, value in row.items() if name and value}
        try:
            yield parse(record, Place(path, rows.line_num, _PERSON_FORM))
        except InputError as error:
            if skips is None:
                raise
            skips.add("broken record", str(error))


def _region(record: dict[str, Any], place: Place) -> VisualMention:
    return VisualMention(
        image=place.identifier(record, "image"),
        box=_box(record.get("boundingbox"), place),
        entity=place.identifier(record, "wikiid", None),
        extra=others(record, _REGION_KEYS) or None,
    )


def _box(value: Any, place: Place) -> Box | None:
    """Four numbers from the string, or from a list; None, where there is no box, for all of the picture."""
    if value is None:
        return None
    try:
        numbers = json.loads(value) if isinstance(value, str) else value
    except ValueError:
        numbers = None
    if not isinstance(numbers, list) or len(numbers) != 4 or not all(map(is_finite, numbers)):
        raise place.error(f"{value!r} is no box of four finite numbers", "boundingbox")
    x0, y0, x1, y1 = map(float, numbers)
    return x0, y0, x1, y1


def _person(record: dict[str, Any], place: Place, picture: Callable[[str], str | None]) -> Entity:
    person = place.identifier(record, "id")
    name = place.text(record, "name", "") or person
    image = place.text(record, "image", None) or picture(person)
    return Entity(
        person,
        name,
        "person",
        place.text(record, "description", ""),
        (Alias(name),),
        () if image is None else (image,),
    )
