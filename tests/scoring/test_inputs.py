"""Raw input: what is a document in a file or folder, what pictures it has, and what is refused and counted."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmel.document import Document
from mmel.errors import InputError
from mmel.scoring.inputs import BAD, MISSING, REFUSED, TWICE, InputSettings, RawInput


def put(root: Path, *names: str, text: str = "Mira.") -> Path:
    for name in names:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text if file.suffix in (".txt", ".md") else "picture", encoding="utf-8")
    return root


def read(path: Path, **settings: object) -> tuple[RawInput, list[Document]]:
    raw = RawInput(path, InputSettings(**settings))  # type: ignore[arg-type]
    return raw, list(raw)


def shape(documents: list[Document]) -> dict[str, tuple[str, ...]]:
    return {one.id: one.images for one in documents}


@pytest.mark.parametrize("name", ["review.txt", "review.MD"])
def test_a_text_is_a_document(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("Mira and Otto.\n")
    put(tmp_path, "review.jpg")
    raw, (one,) = read(tmp_path / name)
    assert (one.id, one.text.strip(), one.images) == ("review", "Mira and Otto.", ())
    assert not raw.skips.counts and not raw.notes and raw.pictures == tmp_path and raw.count() == 1


def test_a_folder_with_one_text_is_a_document(tmp_path: Path) -> None:
    root = put(tmp_path / "gump", "review.txt", "b.png", "a.JPG", "c.webp")
    raw, documents = read(root)
    assert shape(documents) == {"gump": ("a.JPG", "b.png", "c.webp")}
    assert raw.count() == 1


def test_a_sub_folder_is_a_document(tmp_path: Path) -> None:
    put(tmp_path, "b/review.txt", "b/1.jpg", "a/notes.md", "a/2.jpg", "c/deep/x.txt")
    raw, documents = read(tmp_path)
    assert shape(documents) == {"a": ("a/2.jpg",), "b": ("b/1.jpg",), "c/deep": ()}
    assert not raw.skips.counts and not raw.notes and raw.count() == 3


def test_many_texts_of_a_folder_have_the_pictures_of_their_names(tmp_path: Path) -> None:
    put(tmp_path, "a.txt", "ab.txt", "c.md", "a.jpg", "a-1.jpg", "ab_2.jpg", "abc.jpg", "x.docx", ".hidden.txt")
    raw, documents = read(tmp_path)
    assert shape(documents) == {"a": ("a-1.jpg", "a.jpg"), "ab": ("ab_2.jpg",), "c": ()}
    assert set(raw.notes) == {
        "picture beside several texts has the name of none",
        "file is neither text nor picture ('.docx')",
    }
    assert any("abc.jpg" in line for line in raw.notes.lines())


def test_pictures_without_any_text_are_documents(tmp_path: Path) -> None:
    put(tmp_path, "a/1.jpg", "b/2.jpg", "b/3.jpg")
    raw, documents = read(tmp_path)
    assert shape(documents) == {"a": ("a/1.jpg",), "b": ("b/2.jpg", "b/3.jpg")} and not raw.notes
    assert [one.text for one in documents] == ["", ""]


def test_pictures_in_a_folder_beside_texts_are_not_another_document(tmp_path: Path) -> None:
    put(tmp_path, "review.txt", "stills/1.jpg")
    raw, documents = read(tmp_path)
    assert shape(documents) == {tmp_path.name: ()} and "stills" in raw.notes.lines()[0]


def test_markdown_names_its_pictures(tmp_path: Path) -> None:
    put(tmp_path, "all/one/beside.jpg", "all/stills/a b.png")
    (tmp_path / "all/one/review.md").write_text("# Salt\n![x](../stills/a%20b.png) **Mira** ![y](beside.jpg)")
    raw, (one,) = read(tmp_path / "all")
    assert (one.id, one.title, one.images) == ("one", "Salt", ("stills/a b.png", "one/beside.jpg"))
    assert "Mira" in one.text and "*" not in one.text
    raw, (one,) = read(tmp_path / "all/one/review.md")
    assert one.images == ("beside.jpg",) and raw.skips.counts == {REFUSED: 1}
    raw, (one,) = read(tmp_path / "all/one/review.md", pictures=tmp_path / "all")
    assert one.images == ("stills/a b.png", "one/beside.jpg") and not raw.skips.counts


@pytest.mark.parametrize(
    ("image", "reason", "message"),
    [
        ("gone.jpg", MISSING, "document 'd' .line 1.: there is no file .*gone.jpg"),
        ("../secret.jpg", REFUSED, "lies outside.*--pictures"),
        ("inside/../../secret.jpg", REFUSED, "lies outside"),
        ("link.jpg", REFUSED, "lies outside"),
        ("/etc/hostname", REFUSED, "lies outside"),
        ("https://example.org/a.jpg", REFUSED, "nothing is fetched.*--allow-download"),
        ("file:///etc/hostname", REFUSED, "is no file here"),
        ("data:image/png;base64,AAAA", REFUSED, "is no file here"),
        ("a\0b.jpg", REFUSED, "is no path"),
        ("x" * 5000, MISSING, "there is no file"),
        ("", MISSING, "there is no file"),
    ],
)
def test_a_picture_that_may_not_be_read_is_counted(tmp_path: Path, image: str, reason: str, message: str) -> None:
    put(tmp_path, "secret.jpg", "in/inside/ok.jpg")
    (tmp_path / "in/link.jpg").symlink_to(tmp_path / "secret.jpg")
    (tmp_path / "in/d.jsonl").write_text(json.dumps({"id": "d", "text": "Mira", "images": [image, "inside/ok.jpg"]}))
    raw, (one,) = read(tmp_path / "in/d.jsonl")
    assert one.images == ("inside/ok.jpg",)
    assert list(raw.skips.counts) == [reason] and raw.skips.exit_code == 1
    assert re.search(message, raw.skips.examples[reason][0])


def test_a_mention_whose_picture_is_missing_stays(tmp_path: Path) -> None:
    """Its link says that nothing was seen; one outside the folder is dropped."""
    regions = [{"image": "gone.jpg", "box": [0, 0, 5, 5], "entity": "E"}, {"image": "../x.jpg"}]
    (tmp_path / "d.jsonl").write_text(json.dumps({"id": "d", "text": "", "visual_mentions": regions}))
    raw, (one,) = read(tmp_path / "d.jsonl")
    assert [each.image for each in one.visual_mentions] == ["gone.jpg"]
    assert one.visual_mentions[0].entity == "E" and raw.skips.counts == {REFUSED: 1}


def test_downloads_are_asked_for(tmp_path: Path) -> None:
    (tmp_path / "r.md").write_text("Mira ![](https://example.org/a%20b.jpg) ![](http://example.org/gone.jpg)")
    asked = []

    def fetch(url: str) -> Path:
        asked.append(url)
        if "gone" in url:
            raise InputError("could not be fetched")
        return put(tmp_path / "cache", "f00") / "f00"

    raw, (one,) = read(tmp_path / "r.md", allow_download=True, fetch=fetch)
    assert asked == ["https://example.org/a%20b.jpg", "http://example.org/gone.jpg"]
    assert one.images == (str(tmp_path / "cache/f00"),) and raw.skips.counts == {REFUSED: 1}


def test_documents_keep_their_mentions_and_bad_ones_are_counted(tmp_path: Path) -> None:
    mention = {"start": 0, "end": 4, "text": "Mira", "entity": "C1"}
    lines = [
        json.dumps({"id": "a", "text": "Mira.", "text_mentions": [mention], "year": 1999}),
        "{broken",
        json.dumps({"id": "b", "text": "   "}),
        json.dumps({"id": "a", "text": "Otto."}),
        json.dumps({"id": "c", "text": "x" * 51}),
        json.dumps({"id": "e", "text": "Otto.", "text_mentions": [mention]}),
        json.dumps({"id": "d", "text": "Otto."}),
    ]
    (tmp_path / "d.jsonl").write_text("\n".join(lines))
    raw, documents = read(tmp_path / "d.jsonl", max_characters=50)
    assert [one.id for one in documents] == ["a", "d"] and raw.count() == 7
    assert documents[0].text_mentions[0].entity == "C1" and documents[0].extra == {"year": 1999}
    assert raw.skips.counts == {"broken record": 2, BAD: 2, TWICE: 1}
    assert "line 4: the id 'a' is that of line 1, too" in raw.skips.examples[TWICE][0]
    assert [one.id for one in raw] == ["a", "d"] and raw.skips.counts[TWICE] == 1  # again from the beginning


def test_equal_names_are_named_with_both_places(tmp_path: Path) -> None:
    put(tmp_path, "a.txt", "a.md", "b.txt", "b/only.txt")
    raw, documents = read(tmp_path)
    assert [one.id for one in documents] == ["a", "b"] and raw.skips.counts == {TWICE: 2}
    first, second = raw.skips.examples[TWICE]
    assert "a.txt" in first and "a.md" in first and "b.txt" in second and "only.txt" in second


def test_bad_files_of_a_folder_are_counted_and_the_others_read(tmp_path: Path) -> None:
    put(tmp_path, "good.txt", "empty.txt", "binary.txt", "long.txt", "old.txt")
    (tmp_path / "empty.txt").write_text(" \n")
    (tmp_path / "binary.txt").write_bytes(b"\x7fELF\0\0\1")
    (tmp_path / "long.txt").write_text("x" * 5_000_000)
    (tmp_path / "old.txt").write_bytes("Amélie über".encode("latin-1"))
    raw, documents = read(tmp_path)
    assert [one.id for one in documents] == ["good", "old"] and raw.skips.counts == {BAD: 3}
    assert documents[1].extra == {"encoding": "cp1252"} and documents[1].text == "Amélie über"
    assert raw.notes.lines() == [f"1 x text is not UTF-8 and was read as cp1252: {tmp_path / 'old.txt'}"]


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
def test_a_closed_folder_is_counted(tmp_path: Path) -> None:
    put(tmp_path, "a/x.txt", "b/y.txt")
    (tmp_path / "a").chmod(0)
    try:
        raw, documents = read(tmp_path)
    finally:
        (tmp_path / "a").chmod(0o755)
    assert [one.id for one in documents] == ["b"] and raw.skips.counts == {"folder cannot be read": 1}


def test_a_name_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "a/x.txt", "b/x.txt")
    os.rename(tmp_path / "b", os.fsencode(tmp_path) + b"/b\xff")
    (tmp_path / "a" / os.fsdecode(b"p\xff.jpg")).write_text("picture")
    raw, (one,) = read(tmp_path)
    assert (one.id, one.images) == ("a", ()) and raw.skips.counts == {BAD: 1, REFUSED: 1}
    assert "rename it" in raw.skips.summary()
    raw.skips.summary().encode("utf-8")


@pytest.mark.parametrize(
    ("name", "message"),
    [("nowhere", "is not there.*give a .txt"), ("x.pdf", "kind that is not read .'.pdf'.*give a .txt")],
)
def test_what_is_no_input_is_refused_at_once(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "x.pdf").write_text("x")
    with pytest.raises(InputError, match=message):
        RawInput(tmp_path / name)
    with pytest.raises(InputError, match="is no folder"):
        RawInput(tmp_path, InputSettings(pictures=tmp_path / "x.pdf"))


def test_documents_are_read_one_at_a_time(tmp_path: Path) -> None:
    put(tmp_path, *(f"{n}.txt" for n in range(5)))
    documents: Iterator[Document] = iter(RawInput(tmp_path))
    next(documents)
    (tmp_path / "4.txt").write_text("Later.")
    assert [one.text for one in documents][-1] == "Later."
