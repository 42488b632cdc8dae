from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mmel.document import NIL, Alias, Candidate, Entity, TextMention
from mmel.errors import InputError, SkipReport
from mmel.formats import m3el_mtmt
from mmel.formats.m3el_mtmt import read_documents, read_entities
from mmel.formats.melbench import NO_PICTURE


def picture(folder: str, qid: str) -> list[str]:
    """The three parts of a published `image`."""
    return [f"{qid}.jpg", f"https://commons.example/{qid}.jpg", f"/M3EL/films_candidates_images/{folder}/{qid}.jpg"]


def entry(qid: str, name: str, description: str = "", folder: str = "Tavara-Q1") -> dict[str, Any]:
    return {"Qid": qid, "name": name, "description": description, "image": picture(folder, qid)}


INSTANCE: dict[str, Any] = entry("Q1", "Tavara", "1921 film by Ines Hollow") | {
    "sentence": "Tavara is a silent film. It is set in Tavara.\n",
    "candidates": [
        entry("Q1", "Tavara", "film of 1921"),
        entry("Q2", "Tavara", "river of the south"),
        entry("Q3", "Tavara Renn", "cellist"),
    ],
}


def write(folder: Path, *instances: Any, name: str = "films.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(instances), encoding="utf-8")
    return path


def read_one(folder: Path, change: dict[str, Any]) -> tuple[TextMention, SkipReport]:
    skips = SkipReport()
    (document,) = read_documents(write(folder, INSTANCE | change), "films-", skips)
    document.check_spans()
    (mention,) = document.text_mentions
    assert not skips.counts
    return mention, skips


def test_an_instance_is_a_document(tmp_path: Path) -> None:
    (document,) = read_documents(write(tmp_path, INSTANCE | {"difficulty": 2}), "films-")
    assert (document.id, document.text, document.extra) == ("films-0", INSTANCE["sentence"], {"difficulty": 2})
    assert document.images == ("films_candidates_images/Tavara-Q1/Q1.jpg",)
    assert document.text_mentions == (
        TextMention(
            0,
            6,
            "Tavara",
            "Q1",
            (Candidate("Q1"), Candidate("Q2"), Candidate("Q3")),
            extra={"description": "1921 film by Ines Hollow"},
        ),
    )


def test_the_order_of_candidates_is_no_prior(tmp_path: Path) -> None:
    mention, _ = read_one(tmp_path, {})
    assert all(candidate.prior is None and candidate.rank is None for candidate in mention.candidates or ())


def test_candidates_are_the_entities(tmp_path: Path) -> None:
    second = entry("Q1", "Tavara", "silent film of 1921", "Hollow-Q9") | {"sentence": "Hollow", "name": "Hollow"}
    second |= {
        "candidates": [
            entry("Q1", "Tavara (film)", "silent film of 1921", "Hollow-Q9"),
            {"Qid": "Q9", "name": "Ines Hollow"},
        ]
    }
    paths = [write(tmp_path, INSTANCE), write(tmp_path, second, name="people.json")]
    skips = SkipReport()
    first, *others = read_entities(paths, skips)
    assert first == Entity(
        "Q1",
        "Tavara",
        description="silent film of 1921",
        aliases=(Alias("Tavara"), Alias("Tavara (film)")),
        images=("films_candidates_images/Tavara-Q1/Q1.jpg",),
    )
    assert [entity.id for entity in others] == ["Q2", "Q3", "Q9"]
    assert others[-1] == Entity("Q9", "Ines Hollow", aliases=(Alias("Ines Hollow"),))
    assert skips.noted == {m3el_mtmt.NAMES_DIFFER: 1, m3el_mtmt.DESCRIPTIONS_DIFFER: 1}
    # Whatever the order of the files, the description is the same.
    assert next(e for e in read_entities(paths[::-1]) if e.id == "Q1").description == "silent film of 1921"


def test_the_order_of_entities_tells_nothing_of_the_lists(tmp_path: Path) -> None:
    turned = INSTANCE | {"candidates": INSTANCE["candidates"][::-1]}
    ids = [[entity.id for entity in read_entities([write(tmp_path, each)])] for each in (INSTANCE, turned)]
    assert ids[0] == ids[1] == ["Q1", "Q2", "Q3"]


def test_a_picture_and_a_description_that_come_later_are_taken(tmp_path: Path) -> None:
    bare = {"candidates": [{"Qid": "Q2", "name": "Tavara", "image": []}]}
    entities = read_entities([write(tmp_path, INSTANCE | bare, INSTANCE)])
    found = next(entity for entity in entities if entity.id == "Q2")
    assert (found.description, found.images) == (
        "river of the south",
        ("films_candidates_images/Tavara-Q1/Q2.jpg",),
    )


@pytest.mark.parametrize(
    ("change", "gold", "reasons"),
    [
        ({"Qid": "Q7"}, "Q7", {m3el_mtmt.GOLD_MISSING}),
        ({"Qid": "Q2"}, "Q2", set()),
        ({"Qid": "nil"}, NIL, set()),
        ({"Qid": "Nil "}, NIL, set()),
        ({"Qid": ""}, NIL, set()),
        ({"Qid": None}, NIL, set()),
        ({"Qid": "Q2", "candidates": []}, "Q2", {m3el_mtmt.NO_CANDIDATES}),
        ({"Qid": "Q2", "candidates": None}, "Q2", {m3el_mtmt.NO_CANDIDATES}),
        ({"Qid": "Q2", "image": []}, "Q2", {NO_PICTURE}),
        ({"Qid": "Q2", "image": None}, "Q2", {NO_PICTURE}),
        ({"Qid": "Q2", "image": ["a.jpg", "https://commons.example/a.jpg", ""]}, "Q2", {NO_PICTURE}),
        ({}, "Q1", {m3el_mtmt.SAME_PICTURE}),
        ({"description": "film of 1921"}, "Q1", {m3el_mtmt.SAME_PICTURE, m3el_mtmt.SAME_DESCRIPTION}),
        ({"Qid": "Q3", "candidates": [entry("Q3", "T"), entry("Q3", "T")], "image": []}, "Q3",
         {m3el_mtmt.TWICE, NO_PICTURE}),
    ],
)  # fmt: skip
def test_what_is_irregular_is_kept_and_noted(
    tmp_path: Path, change: dict[str, Any], gold: str, reasons: set[str]
) -> None:
    mention, skips = read_one(tmp_path, change)
    assert mention.entity == gold
    own = {reason for name, reason in vars(m3el_mtmt).items() if name.isupper() and isinstance(reason, str)}
    assert set(skips.noted) & own == reasons
    assert all(count == 1 for count in skips.noted.values())


def test_an_instance_without_a_label_has_none(tmp_path: Path) -> None:
    bare = {key: value for key, value in INSTANCE.items() if key != "Qid"}
    (document,) = read_documents(write(tmp_path, bare), "")
    assert document.text_mentions[0].entity is None


@pytest.mark.parametrize("sentence", ["", None, "It is a silent film."])
def test_a_name_that_its_sentence_lacks_is_put_behind_it(tmp_path: Path, sentence: str | None) -> None:
    mention, skips = read_one(tmp_path, {"sentence": sentence})
    assert mention.text == "Tavara"
    assert skips.noted["mention stands nowhere in its sentence"] == 1


@pytest.mark.parametrize(
    ("image", "found"),
    [
        (["a", "b", "/M3EL/films/x y/é.jpg"], "films/x y/é.jpg"),
        (["a", "b", "films/x.jpg"], "films/x.jpg"),
        (["a", "b", "./films//x.jpg"], "films/x.jpg"),
        (["a", "b", "D:\\M3EL\\films\\x.jpg"], "M3EL/films/x.jpg"),
        ("films/x.jpg", "films/x.jpg"),
        ("https://commons.example/x.jpg", None),
        (["a", "b", "nan"], None),
        (["a", "b", "/"], None),
        (["a", "b", None], None),
    ],
)
def test_a_path_leads_from_the_root(tmp_path: Path, image: Any, found: str | None) -> None:
    (document,) = read_documents(write(tmp_path, INSTANCE | {"image": image}), "")
    assert document.images == (() if found is None else (found,))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": None}, r"films.json\[1\]: field 'name': expected a string"),
        ({"name": "  "}, "field 'name': is blank"),
        ({"Qid": 5}, "field 'Qid': expected a string"),
        ({"sentence": ["x"]}, "field 'sentence'"),
        ({"description": 5}, "field 'description'"),
        ({"sentence": "half a pair \ud800"}, "half of a surrogate pair"),
        ({"image": ["a", "b", 5]}, "field 'image': expected"),
        ({"image": {"path": "a"}}, "field 'image': expected"),
        ({"image": ["a", "b", "/M3EL/../../secret.jpg"]}, "leads out of the dataset's folder"),
        ({"candidates": {"Qid": "Q1"}}, "field 'candidates': expected a list"),
        ({"candidates": ["Q1"]}, r"field 'candidates\[0\]': expected an object"),
        ({"candidates": [entry("Q1", "x"), {"name": "x"}]}, r"field 'candidates\[1\].Qid': is missing"),
        ({"candidates": [entry("nil", "x")]}, r"field 'candidates\[0\].Qid': 'nil' is no id of a candidate"),
        ({"candidates": [entry("Q1", " ")]}, r"field 'candidates\[0\].name': is blank"),
    ],
)
def test_a_broken_instance_is_named_or_counted(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = write(tmp_path, INSTANCE, INSTANCE | change, INSTANCE)
    with pytest.raises(InputError, match=message) as caught:
        list(read_documents(path, ""))
    assert "Remedy: an instance is " in str(caught.value)
    skips = SkipReport()
    assert [document.id for document in read_documents(path, "films-", skips)] == ["films-0", "films-2"]
    assert skips.counts == {"broken record": 1}
    assert {entity.id for entity in read_entities([path], SkipReport())} >= {"Q1", "Q2", "Q3"}


def test_only_wanted_sentences_are_read(tmp_path: Path) -> None:
    path = write(tmp_path, INSTANCE, INSTANCE | {"sentence": "Renn plays in Tavara."}, 7)
    skips = SkipReport()
    found = read_documents(path, "films-", skips, keep=lambda sentence: sentence.startswith("Renn"))
    assert [document.id for document in found] == ["films-1"]
    assert skips.counts == {"broken record": 1}
