from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mmel.document import NIL, Alias, Document, Entity
from mmel.errors import InputError, SkipReport
from mmel.formats import mentions_in_text, mimic
from mmel.formats.melbench import NO_DESCRIPTION, NO_PICTURE
from mmel.formats.mimic import MimicFolder
from tests.datasets.test_richpediamel import entity, mention, write_list


def documents(root: Path, *records: Any, skips: SkipReport | None = None) -> list[Document]:
    write_list(root / "train.json", *records)
    return list(MimicFolder(root, "").documents("train", skips))


def entities(root: Path, *records: Any, ids: Any = None) -> tuple[list[Entity], SkipReport]:
    write_list(root / mimic.KB, *records)
    if ids is not None:
        (root / mimic.IDS).write_text(json.dumps(ids))
    skips = SkipReport()
    return list(MimicFolder(root, "").entities(skips)), skips


@pytest.mark.parametrize(
    ("answer", "gold"),
    [("Q1", "Q1"), (" Q1 ", "Q1"), ("nil", NIL), ("NIL", NIL), ("Nil", NIL), (" nil", NIL), ("", NIL), (None, NIL)],
)
def test_an_answer_is_an_entity_or_nil(tmp_path: Path, answer: Any, gold: str) -> None:
    (document,) = documents(tmp_path, mention(0, "Renn", answer))
    assert [each.entity for each in document.text_mentions] == [gold]


def test_no_answer_is_no_label(tmp_path: Path) -> None:
    bare = {key: value for key, value in mention(0, "Renn", "Q1").items() if key != "answer"}
    (document,) = documents(tmp_path, bare)
    assert document.text_mentions[0].entity is None


def test_documents_are_captions(tmp_path: Path) -> None:
    skips = SkipReport()
    found = documents(
        tmp_path,
        mention(3, "Renn", "Q2"),
        mention(3, "Tavara", "Q1"),
        mention(3, "Tavara", "Q1", image="other.jpg"),
        mention(4, "Renn", "Q2", sentence=""),
        mention(5, "Renn", "Q3", sentence=""),
        skips=skips,
    )
    assert [document.id for document in found] == ["3", "3#2", "4", "5"]
    assert [len(document.text_mentions) for document in found] == [2, 1, 1, 1]
    assert skips.noted[mimic.ID_TWICE] == 1


def test_names_are_decoded_where_the_sentence_is_not_encoded(tmp_path: Path) -> None:
    skips = SkipReport()
    found = documents(
        tmp_path,
        mention(0, "Ines%20Hollow", "Q1", "Ines Hollow plays.", "a.jpg"),
        mention(1, "40%20", "Q2", "It was 40%20 then.", "a.jpg"),
        mention(2, "100%", "Q2", "It was 100% then.", "a.jpg"),
        skips=skips,
    )
    assert [document.text_mentions[0].text for document in found] == ["Ines Hollow", "40%20", "100%"]
    assert skips.noted == {mentions_in_text.DECODED: 1}


@pytest.mark.parametrize(
    ("image", "there", "found"),
    [
        ("x.jpg", (), "mention_image/x.jpg"),
        ("KVQAimgs/x.png", (), "mention_image/x.jpg"),
        ("KVQAimgs\\x.y.JPEG", ("x.jpg",), "mention_image/x.jpg"),
        ("KVQAimgs/x.y.JPEG", ("x.y.JPEG", "x.jpg"), "mention_image/x.y.JPEG"),
        (" x.jpg ", (), "mention_image/x.jpg"),
        ("", (), None),
        (None, (), None),
    ],
)
def test_a_picture_is_looked_for_as_it_was_converted(
    tmp_path: Path, image: Any, there: tuple[str, ...], found: str | None
) -> None:
    (tmp_path / "mention_image").mkdir()
    for file in there:
        (tmp_path / "mention_image" / file).touch()
    skips = SkipReport()
    (document,) = documents(tmp_path, mention(0, "Renn", "Q1") | {"imgPath": image}, skips=skips)
    assert document.images == (() if found is None else (found,))
    assert skips.noted[NO_PICTURE] == (found is None)


def test_folders_of_pictures_are_found_in_other_spellings(tmp_path: Path) -> None:
    (tmp_path / "KB_image").mkdir()
    (tmp_path / "mention_images").mkdir()
    assert documents(tmp_path, mention(0, "Renn", "Q1"))[0].images == ("mention_images/a.jpg",)
    assert entities(tmp_path, entity(0, "Q1", "Renn", "q.jpg"))[0][0].images == ("KB_image/q.jpg",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mentions": None}, r"train.json\[1\]: field 'mentions': expected a string"),
        ({"mentions": ""}, "field 'mentions': is blank"),
        ({"answer": 7}, "field 'answer': expected a string"),
        ({"sentence": 7}, "field 'sentence': expected a string"),
        ({"imgPath": ["a"]}, "field 'imgPath': expected a string"),
        ({"id": 1.5}, "field 'id': expected a string"),
    ],
)
def test_a_broken_mention_is_named_or_counted(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    records = [mention(0, "Renn", "Q1"), mention(1, "Renn", "Q1") | change, mention(2, "Renn", "Q1", "Renn.")]
    with pytest.raises(InputError, match=message) as caught:
        documents(tmp_path, *records)
    assert "Remedy: a mention is " in str(caught.value)
    skips = SkipReport()
    assert [document.id for document in documents(tmp_path, *records, skips=skips)] == ["0", "2"]
    assert skips.counts == {"broken record": 1}


def test_entities(tmp_path: Path) -> None:
    found, skips = entities(
        tmp_path,
        entity(0, "Q1", "Otto%20Renn", "Q1.jpg", " "),
        {"id": 1, "qid": "Q2", "entity_name": "Tavara", "desc": "a river", "type": "entity", "image_list": None},
        ids={"Q1": 0, "Q2": 1},
    )
    assert found == [
        Entity("Q1", "Otto Renn", "", "Occupation: cellist.", (Alias("Otto Renn"),), ("kb_image/Q1.jpg",)),
        Entity("Q2", "Tavara", "", "a river", (Alias("Tavara"),)),
    ]
    assert skips.noted == {mimic.ENTITY_DECODED: 1} and not skips.counts


def test_files_that_are_not_aligned_are_counted(tmp_path: Path) -> None:
    found, skips = entities(
        tmp_path,
        entity(0, "Q1", "Renn"),
        entity(1, "Q2", "Renn"),
        entity(2, "Q3", "Renn"),
        entity(3, "Q1", "Renn"),
        entity(4, "Q4", "", attr=""),
        ids={"Q1": 0, "Q2": 5, "Q4": 4, "Q8": 8, "Q9": 9},
    )
    assert [each.id for each in found] == ["Q1", "Q2", "Q3", "Q4"]
    assert found[-1].title == "Q4"
    assert skips.counts == {mimic.ENTITY_TWICE: 1}
    assert skips.noted == {
        mimic.OTHER_NUMBER: 1,
        mimic.NOT_IN_IDS: 1,
        mimic.NOT_IN_KB: 2,
        mimic.NO_NAME: 1,
        NO_DESCRIPTION: 1,
    }


def test_without_numbers_there_is_nothing_to_align(tmp_path: Path) -> None:
    assert not entities(tmp_path, entity(0, "Q1", "Renn"))[1].noted


def test_an_entity_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    write_list(tmp_path / mimic.KB, entity(0, "Q1", "Renn"), entity(1, "Q1", "Renn"))
    with pytest.raises(InputError, match="kb_entity.json: field 'qid': entity 'Q1' is there twice"):
        list(MimicFolder(tmp_path, "").entities())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"qid": None}, r"kb_entity.json\[0\]: field 'qid'"),
        ({"qid": ""}, "field 'qid': is empty"),
        ({"qid": "  "}, "field 'qid': is empty"),
        ({"entity_name": 3}, "field 'entity_name'"),
        ({"attr": ["x"]}, "field 'attr'"),
        ({"image_list": "x.jpg"}, "field 'image_list': expected a list"),
        ({"image_list": [3]}, "field 'image_list': expected a string"),
    ],
)
def test_a_broken_entity_is_named_or_counted(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    found, skips = entities(tmp_path, entity(0, "Q1", "Renn") | change, entity(1, "Q2", "Renn"))
    assert [each.id for each in found] == ["Q2"]
    assert skips.counts == {"broken record": 1}
    with pytest.raises(InputError, match=message) as caught:
        list(MimicFolder(tmp_path, "").entities())
    assert "Remedy: an entity is " in str(caught.value)
