from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mmel.document import Alias, Document, Entity, VisualMention
from mmel.errors import InputError, SkipReport
from mmel.formats.wikiperson import read_people, read_pictures

REGIONS: list[dict[str, Any]] = [
    {"id": 0, "image": "7.jpg", "boundingbox": "[1.5, 2, 30, 40]", "wikiid": "Q1"},
    {"id": 1, "image": "8.png", "boundingbox": "[-3.0, 5.0, 2.0, 5.0]", "wikiid": "Q2"},
    {"id": 2, "image": "7.jpg", "boundingbox": [50, 2, 80, 40], "wikiid": "Q3"},
    {"image": "9.jpg"},
]


def write(folder: Path, records: object) -> Path:
    path = folder / "regions.json"
    path.write_text(json.dumps(records), encoding="utf-8")
    return path


def test_one_document_a_picture(tmp_path: Path) -> None:
    assert list(read_pictures(write(tmp_path, REGIONS), "faces/")) == [
        Document(
            "7",
            "",
            visual_mentions=(
                VisualMention("faces/7.jpg", (1.5, 2, 30, 40), "Q1", {"id": 0}),
                VisualMention("faces/7.jpg", (50, 2, 80, 40), "Q3", {"id": 2}),
            ),
        ),
        Document("8", "", visual_mentions=(VisualMention("faces/8.png", (-3, 5, 2, 5), "Q2", {"id": 1}),)),
        Document("9", "", visual_mentions=(VisualMention("faces/9.jpg"),)),
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"boundingbox": "[1, 2, 3]"}, r"\[1\]: field 'boundingbox': '\[1, 2, 3\]' is no box of four finite numbers"),
        ({"boundingbox": "1 2 3 4"}, "is no box"),
        ({"boundingbox": "[1, 2, 3, NaN]"}, "is no box"),
        ({"boundingbox": "[1, 2, 3, true]"}, "is no box"),
        ({"boundingbox": 5}, "is no box"),
        ({"image": None}, r"\[1\]: field 'image': "),
        ({"image": ""}, "is empty"),
        ({"wikiid": ["Q1"]}, "field 'wikiid'"),
    ],
)
def test_a_broken_record_is_named_or_counted(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = write(tmp_path, [REGIONS[0], REGIONS[1] | change, REGIONS[2]])
    with pytest.raises(InputError, match=message) as caught:
        list(read_pictures(path))
    assert "Remedy: a record is " in str(caught.value)
    skips = SkipReport()
    (document,) = read_pictures(path, skips=skips)
    assert len(document.visual_mentions) == 2
    assert skips.counts == {"broken record": 1}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[{"image": "a.jpg"},\n{"image"}]', "regions.json:2: is no JSON: .* at column 9"),
        ('[{"boundingbox": NaN}]', "is no JSON that can be read: NaN is no JSON number"),
        ('{"image": "a.jpg"}', "regions.json: expected a list, found"),
        ('["a.jpg"]', r"regions.json\[0\]: expected an object, found 'a.jpg'"),
        ("", "regions.json:1: is no JSON"),
    ],
)
def test_a_file_that_is_no_list_of_records(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "regions.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        list(read_pictures(path))


PEOPLE = [
    Entity("Q1", "Ines Tavara", "person", "actor, from Kent", (Alias("Ines Tavara"),), ("Q1.jpg",)),
    Entity("Q2", "Otto\nRenn", "person", "", (Alias("Otto\nRenn"),), ("own.jpg",)),
    Entity("Q3", "Q3", "person", "", (Alias("Q3"),)),
]


def test_people_of_json_and_csv_are_the_same(tmp_path: Path) -> None:
    table, records = tmp_path / "people.csv", tmp_path / "people.json"
    table.write_text(
        "id,name,description,image,more\n"
        'Q1,Ines Tavara,"actor, from Kent",,x\n'
        'Q2,"Otto\nRenn",,own.jpg\n'
        "Q3,,,,,one cell too many\n",
        encoding="utf-8-sig",
    )
    records.write_text(
        json.dumps(
            [
                {"id": "Q1", "name": "Ines Tavara", "description": "actor, from Kent", "lastrevid": 5},
                {"id": "Q2", "name": "Otto\nRenn", "image": "own.jpg"},
                {"id": "Q3"},
            ]
        ),
        encoding="utf-8",
    )
    pictures = {"Q1": "Q1.jpg", "Q2": "Q2.jpg"}
    for path in (table, records):
        assert list(read_people(path, pictures.get)) == PEOPLE


def test_a_person_without_id_is_named_or_counted(tmp_path: Path) -> None:
    table = tmp_path / "people.csv"
    table.write_text("id,name\nQ1,A\n,B\nQ3,C\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"people.csv:3: field 'id': is missing"):
        list(read_people(table, lambda _: None))
    skips = SkipReport()
    assert [person.id for person in read_people(table, lambda _: None, skips)] == ["Q1", "Q3"]
    assert skips.counts == {"broken record": 1}


def test_columns_that_are_needed(tmp_path: Path) -> None:
    table = tmp_path / "people.csv"
    table.write_text("wikiid,name\nQ1,A\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"expected the columns id and name, found \['wikiid', 'name'\]"):
        list(read_people(table, lambda _: None))
