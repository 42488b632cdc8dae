from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from mmel.document import Candidate
from mmel.errors import InputError, SkipReport
from mmel.formats import mentions_in_text, wikidiverse
from mmel.formats.wikidiverse import Source, picture_name, read_entities, read_named, read_passages, read_rows

WIKI = "https://en.wikipedia.org/wiki/"
PICTURE = "https://pictures.example/commons/0/06/Otto_Renn%2C_2007.JPG"


def md5(name: str) -> str:
    return hashlib.md5(name.encode()).hexdigest()


def mention(caption: str, surface: str, entity: str, start: int | None = None, kind: str = "Person") -> list[Any]:
    start = caption.index(surface) if start is None else start
    return [surface, kind, start, start + len(surface), entity]


def write(path: Path, *rows: Any) -> Path:
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


def row(caption: str, surface: str, entity: str, candidates: list[str], picture: str = PICTURE) -> list[Any]:
    start = caption.index(surface)
    end = start + len(surface)
    return [caption, picture, surface, "Person", ["left"], ["right"], entity, candidates, "sports", start, end]


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("https://pictures.example/a/ab/Otto.jpg", md5("Otto.jpg") + ".jpg"),
        ("https://pictures.example/a/ab/Otto.JPG", md5("Otto.JPG") + ".JPG"),
        ("https://pictures.example/a/ab/Otto.jpeg", md5("Otto.jpeg") + ".jpeg"),
        ("https://pictures.example/a/ab/Otto.svg", md5("Otto.svg") + ".png"),
        ("https://pictures.example/a/ab/Otto.SVG", md5("Otto.SVG") + ".png"),
        ("https://pictures.example/a/ab/Caf%C3%A9.svg.png", md5("Caf%C3%A9.svg.png") + ".png"),
        # The authors' rule knows no other endings, and leaves the whole name.
        ("https://pictures.example/a/ab/Otto.gif", md5("Otto.gif") + "Otto.gif"),
    ],
)
def test_names_of_pictures(address: str, name: str) -> None:
    assert picture_name(address) == name


def test_captions(tmp_path: Path) -> None:
    text = "Otto versus Ines (2007)."
    path = write(
        tmp_path / "train.json",
        [text, PICTURE, "sports", [mention(text, "Ines", "nil"), mention(text, "Otto", WIKI + "Otto_Renn")]],
        [text, "", "", []],
    )
    skips = SkipReport()
    one, two = read_passages(path, "train", Source(), skips)
    assert (one.id, one.text, one.images) == ("train-0", text, (f"wikinewsImgs/{md5('Otto_Renn%2C_2007.JPG')}.JPG",))
    assert one.extra == {"topic": "sports", "img_url": PICTURE}
    assert [(each.start, each.text, each.entity, each.extra, each.candidates) for each in one.text_mentions] == [
        (0, "Otto", "Otto Renn", {"type": "Person"}, None),
        (12, "Ines", "NIL", {"type": "Person"}, None),
    ]
    assert (two.id, two.images, two.extra, two.text_mentions) == ("train-1", (), {}, ())
    assert skips.noted == {wikidiverse.NO_PICTURE: 1}
    assert not skips.counts


@pytest.mark.parametrize("spelling", ["nil", "NIL", "Nil", "", None])
def test_nil_is_spelled_in_several_ways(spelling: str, tmp_path: Path) -> None:
    path = write(tmp_path / "train.json", ["Otto", PICTURE, "sports", [mention("Otto", "Otto", spelling)]])
    (document,) = read_passages(path, "train", Source())
    assert document.text_mentions[0].entity == "NIL"


def test_spans_that_do_not_spell_their_mention(tmp_path: Path) -> None:
    text = "Renn and OTTO and Ines"
    path = write(
        tmp_path / "train.json",
        [text, PICTURE, "sports", [
            mention(text, "Otto", "nil", 9),
            mention(text, "Ines", "nil", 0),
            mention(text, "Ulm", "nil", 40),
            mention(text, "Rent", "nil", 0),
        ]],
    )  # fmt: skip
    skips = SkipReport()
    (document,) = read_passages(path, "train", Source(), skips)
    document.check_spans()
    assert document.text == f"{text}\nUlm"
    # A span is kept where nothing else spells its mention: the mention may be misspelled.
    assert [(each.text, each.name) for each in document.text_mentions] == [
        ("Renn", "Rent"), ("OTTO", "Otto"), ("Ines", None), ("Ulm", None),
    ]  # fmt: skip
    assert skips.noted == {wikidiverse.SPELLED: 2, wikidiverse.MISPLACED: 2, mentions_in_text.NOWHERE: 1}


def test_white_space_around_a_mention_is_no_part_of_it(tmp_path: Path) -> None:
    path = write(tmp_path / "train.json", ["In Ulm", PICTURE, "", [mention("In Ulm", " Ulm", "nil")]])
    skips = SkipReport()
    (document,) = read_passages(path, "train", Source(), skips)
    (found,) = document.text_mentions
    assert (found.start, found.end, found.text, found.name) == (3, 6, "Ulm", None)
    assert not skips.noted


def test_odd_addresses_and_redirects_are_noted(tmp_path: Path) -> None:
    text = "Otto and Ines and Ulm"
    mentions = [
        mention(text, "Otto", "nhttps://en.wikipedia.org/wiki/Caf%C3%A9"),
        mention(text, "Ines", WIKI + "Ines_T."),
        mention(text, "Ulm", "https://en.m.wikipedia.org/wiki/Ulm#History"),
    ]
    path = write(tmp_path / "train.json", [text, PICTURE, "sports", mentions])
    skips = SkipReport()
    (document,) = read_passages(path, "train", Source(redirects={"Ines T.": "Ines Tavara"}), skips)
    assert [each.entity for each in document.text_mentions] == ["Café", "Ines Tavara", "Ulm"]
    assert skips.noted == {wikidiverse.ODD_ADDRESS: 2, wikidiverse.DECODED: 1, wikidiverse.REDIRECTED: 1}
    assert skips.examples[wikidiverse.REDIRECTED] == ["Ines T. -> Ines Tavara"]


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ([["Otto", PICTURE]], "expected 4 fields .caption, picture, topic, mentions., found 2 fields"),
        ([["Otto", PICTURE, "", [["Otto", "Person", 0, 4]]]], "expected 5 fields .*, found 4 fields"),
        ([["Otto", PICTURE, "", ["Otto"]]], "expected 5 fields .*, found 'Otto'"),
        ([["Otto", PICTURE, "", [["Otto", "Person", "0", 4, "nil"]]]], "field 'start': expected an integer"),
        ([["Otto", PICTURE, "", [[" ", "Person", 0, 4, "nil"]]]], "field 'mention': is blank"),
        ([["Otto", PICTURE, "", [mention("Otto", "Otto", "https://renn.example/Otto")]]], "no address of a Wikipedia"),
        ([[None, PICTURE, "", []]], "field 'caption': expected a string"),
        ([{"caption": "Otto"}], "expected a list"),
    ],
)
def test_a_broken_caption_is_named_and_can_be_counted(broken: list[Any], message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "train.json", *broken, ["Otto", PICTURE, "sports", []])
    with pytest.raises(InputError, match=rf"train.json\[0\]: .*{message}.*Remedy: a caption is "):
        list(read_passages(path, "train", Source()))
    skips = SkipReport()
    assert len(list(read_passages(path, "train", Source(), skips))) == 1
    assert skips.counts == {"broken record": 1}


def test_rows_of_a_caption_make_one_document(tmp_path: Path) -> None:
    text = "Otto versus Ines"
    path = write(
        tmp_path / "train_w_10cands.json",
        row(text, "Ines", "nil", []),
        row("Ulm", "Ulm", WIKI + "Ulm", [WIKI + "Ulm_Minster", "Ulm"]),
        row(text, "Otto", WIKI + "Otto-Renn", ["Otto_Braun", "Otto Renn", "Otto_Braun"]),
        row(text, "Ines", "Nil", ["Ines"], picture="https://pictures.example/other.png"),
        row(text, "Ines", "nil", []),
    )
    skips = SkipReport()
    documents = list(read_rows(path, "train", Source(), skips))
    assert [(document.id, [each.text for each in document.text_mentions]) for document in documents] == [
        ("train-0", ["Otto", "Ines"]),
        ("train-1", ["Ulm"]),
        ("train-3", ["Ines"]),
        ("train-4", ["Ines"]),
    ]
    otto, ines = documents[0].text_mentions
    assert otto.candidates == (Candidate("Otto Braun"), Candidate("Otto-Renn"))
    assert (otto.entity, ines.entity, ines.candidates) == ("Otto-Renn", "NIL", ())
    assert documents[1].text_mentions[0].candidates == (Candidate("Ulm Minster"), Candidate("Ulm"))
    assert skips.noted == {wikidiverse.RESPELLED: 1, wikidiverse.TWICE: 1}


def test_a_broken_row_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "train_w_10cands.json", row("Ulm", "Ulm", "nil", [])[:-1])
    with pytest.raises(InputError, match=r"train_w_10cands.json\[0\]: expected 11 fields .*, found 10 fields.*Remedy"):
        list(read_rows(path, "train", Source()))


def test_entities_that_captions_and_candidate_lists_name(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", row("Ulm", "Ulm", WIKI + "Ulm", ["Ulm Minster"]), row("Ulm", "Ulm", "nil", []))
    images = tmp_path / "entity2imgs.tsv"
    images.write_text("entity@@@@images\nUlm@@@@https://a.example/1.svg[AND]https://a.example/2.jpg\n")
    skips = SkipReport()
    one, two = read_named([path], True, Source(), images, skips)
    assert (one.id, one.title, one.aliases[0].name) == ("Ulm", "Ulm", "Ulm")
    assert one.images == (f"images/{md5('1.svg')}.png", f"images/{md5('2.jpg')}.jpg")
    assert (two.id, two.images) == ("Ulm Minster", ())
    assert not skips.counts


def test_the_tables_of_entities(tmp_path: Path) -> None:
    descriptions, images = tmp_path / "entity2desc.tsv", tmp_path / "entity2imgs.tsv"
    descriptions.write_text(
        "Otto_Renn@@@@A baker @@@@ and more.\n\n"
        "https://en.wikipedia.org/wiki/Caf%C3%A9@@@@A house.\nOtto Renn@@@@Again.\n"
        "Ulm\nNIL@@@@Nothing.\n",
        encoding="utf-8",
    )
    images.write_text("Café@@@@https://a.example/1.png\nUlm@@@@https://a.example/2.png\n", encoding="utf-8")
    skips = SkipReport()
    otto, cafe = read_entities(descriptions, images, Source(), skips)
    assert (otto.id, otto.description, otto.images) == ("Otto Renn", "A baker @@@@ and more.", ())
    assert (cafe.id, cafe.description, cafe.images) == ("Café", "A house.", (f"images/{md5('1.png')}.png",))
    assert skips.noted == {wikidiverse.DESCRIBED_TWICE: 1, wikidiverse.NO_ENTITY: 1}
    assert skips.counts == {"broken record": 2}
    with pytest.raises(InputError, match="entity2desc.tsv:5: has no @@@@. Remedy: a line is TITLE@@@@TEXT"):
        list(read_entities(descriptions, None, Source()))
