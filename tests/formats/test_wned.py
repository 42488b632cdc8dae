from __future__ import annotations

from pathlib import Path

import pytest

from mmel.document import NIL
from mmel.errors import InputError, SkipReport
from mmel.formats.wned import SEARCH_WINDOW, locate, read_wned


def annotation(mention: str, title: str | None, offset: object, length: int = 0) -> str:
    name = "<wikiName/>" if title is None else f"<wikiName>{title}</wikiName>"
    return (
        f"<annotation><mention>{mention}</mention>{name}<offset>{offset}</offset><length>{length}</length></annotation>"
    )


def make(folder: Path, texts: dict[str, bytes], *documents: tuple[str, str]) -> Path:
    (folder / "RawText").mkdir(parents=True, exist_ok=True)
    for name, content in texts.items():
        (folder / "RawText" / name).write_bytes(content)
    body = "".join(f'<document docName="{name}">{annotations}</document>' for name, annotations in documents)
    (folder / "set.xml").write_text(f'<?xml version="1.0" encoding="UTF-8"?><set>{body}</set>', "utf-8")
    return folder


def test_documents_in_the_order_of_the_annotations(tmp_path: Path) -> None:
    text = "Zoë of Lee & Sons, NEW\nYORK, saw Bo.\r\nBo &amp; Co won."
    first = (
        annotation("Zoë", "Zoë (singer)", 0)
        + annotation("Lee &amp; Sons", "Lee", 7, 14)
        + annotation("NEW YORK", " New York City ", 19)
        + annotation("Bo", None, 30)  # three characters early
        + annotation("Bo &amp; Co", "NIL", 38)
    )
    folder = make(tmp_path, {"b.txt": text.encode(), "a.txt": b"x", "unused": b"\xff"}, ("b.txt", first), ("a.txt", ""))
    document, empty = read_wned(folder)
    assert document.id == "b.txt" and document.text == text
    assert [(m.start, m.text, m.entity, m.name) for m in document.text_mentions] == [
        (0, "Zoë", "Zoë (singer)", None),
        (7, "Lee & Sons", "Lee", None),
        (19, "NEW\nYORK", "New York City", "NEW YORK"),
        (33, "Bo", NIL, None),
        (38, "Bo &amp; Co", NIL, "Bo & Co"),
    ]
    assert document.extra == {"corrected_offsets": 1}
    assert (empty.id, empty.text, empty.text_mentions, empty.extra) == ("a.txt", "x", (), {})


def test_the_nearest_place_wins() -> None:
    assert locate("Bo saw Bo and Bo", "Bo", 8) == (7, 9)
    assert locate("Bo saw Bo and Bo", "Bo", 13) == (14, 16)
    assert locate("Bo" + " " * (SEARCH_WINDOW + 1), "Bo", SEARCH_WINDOW + 2) is None
    assert locate("Bo", "Bo", 99) == (0, 2)
    assert locate("a.c abc", "a.c", 4) == (0, 3)


def test_a_mention_nowhere_near_its_offset(tmp_path: Path) -> None:
    folder = make(tmp_path, {"d": b"Bo won."}, ("d", annotation("Al", "Al", 3) + annotation("Bo", "Bo", 0)))
    with pytest.raises(InputError) as caught:
        list(read_wned(folder))
    assert "document 'd': span [3, 5) spells 'wo', the mention says 'Al'" in str(caught.value)
    skips = SkipReport()
    (document,) = read_wned(folder, skips)
    assert [mention.text for mention in document.text_mentions] == ["Bo"]
    assert skips.counts == {"mention not found near its offset": 1}


@pytest.mark.parametrize(
    ("raw", "message"), [({"d": b"caf\xe9"}, "RawText/d: is not UTF-8"), ({}, "RawText/d: cannot be read")]
)
def test_bad_raw_texts(tmp_path: Path, raw: dict[str, bytes], message: str) -> None:
    folder = make(tmp_path, {**raw, "e": b"x"}, ("d", ""), ("e", ""))
    with pytest.raises(InputError, match=message):
        list(read_wned(folder))
    skips = SkipReport()
    assert [document.id for document in read_wned(folder, skips)] == ["e"]
    assert skips.counts == {"raw text cannot be read": 1}


def test_a_document_name_cannot_leave_the_folder(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    folder = make(tmp_path / "set", {}, ("../../secret", ""))
    with pytest.raises(InputError, match="leaves the RawText folder"):
        list(read_wned(folder))


def test_xml_cut_short(tmp_path: Path) -> None:
    folder = make(tmp_path, {"d": b"Bo", "e": b"Al"}, ("d", annotation("Bo", "Bo", 0)), ("e", ""))
    (folder / "set.xml").write_text((folder / "set.xml").read_text("utf-8")[:-20], "utf-8")
    reader = read_wned(folder)
    assert next(reader).id == "d"
    with pytest.raises(InputError, match=r"set\.xml:1: is no well-formed XML"):
        list(reader)


@pytest.mark.parametrize("offset", ["", "-3", "x"])
def test_bad_offsets(tmp_path: Path, offset: str) -> None:
    folder = make(tmp_path, {"d": b"Bo"}, ("d", annotation("Bo", "Bo", offset)))
    with pytest.raises(InputError, match="field 'offset': document 'd'"):
        list(read_wned(folder))


def test_one_xml_file_is_expected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected one XML file, found none"):
        list(read_wned(tmp_path))
    (make(tmp_path, {}) / "other.xml").write_text("<set/>")
    with pytest.raises(InputError, match=r"found other\.xml, set\.xml"):
        list(read_wned(tmp_path))


@pytest.mark.data
def test_real_counts(data_root: Path) -> None:
    for name, expected in (("msnbc", (20, 656, 0)), ("ace2004", (36, 257, 0))):
        documents = list(read_wned(data_root / "wned" / name))
        linked = sum(mention.entity != NIL for document in documents for mention in document.text_mentions)
        corrected = sum(document.extra.get("corrected_offsets", 0) for document in documents)
        assert (len(documents), linked, corrected) == expected
