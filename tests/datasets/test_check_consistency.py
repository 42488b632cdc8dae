from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmel.data import main
from mmel.datasets.check import check
from mmel.datasets.check_consistency import CANDIDATE_UNKNOWN, GOLD_UNKNOWN, SHARED, UNREAD, SharedTexts, note_unread
from mmel.document import NIL, Candidate, Document, Entity, TextMention, VisualMention
from mmel.errors import InputError, SkipReport
from mmel.files import files_read, read_lines, read_text
from tests.datasets.cases import write_lines
from tests.datasets.test_check import Tiny, card
from tests.datasets.test_wikidiverse import RENN, caption, write_captions


def document(name: str, *golds: str | None, candidates: tuple[str, ...] | None = None, text: str = "x") -> Document:
    listed = None if candidates is None else tuple(map(Candidate, candidates))
    return Document(name, text, text_mentions=tuple(TextMention(0, 1, "x", gold, listed) for gold in golds))


BASE = [Entity("a", "A"), Entity("b", "B")]


def test_what_fits_is_not_told() -> None:
    found = check(Tiny([document("d", "a", NIL, None, candidates=("b", "a"))], BASE, card(), "listed"))
    # NIL and an unlabelled mention have no gold that could be missing.
    assert set(found.splits["test"]["consistency"].values()) == {0}
    assert found.ok
    assert not found.skips.noted


def test_golds_and_candidates_that_are_no_entities() -> None:
    faces = (VisualMention("a.jpg", entity="z"), VisualMention("a.jpg", entity="a"))
    documents = [document("d", "c", "a", candidates=("a", "c", "e", NIL)), Document("f", "", visual_mentions=faces)]
    found = check(Tiny(documents, BASE, card(), "listed"))
    seen = found.splits["test"]["consistency"]
    assert (seen["gold_unknown"], seen["candidates_unknown"], seen["gold_not_listed"]) == (2, 4, 0)
    assert found.skips.noted == {GOLD_UNKNOWN: 2, CANDIDATE_UNKNOWN: 4}
    assert found.skips.examples[GOLD_UNKNOWN] == ["test 'd': 'c'", "test 'f': 'z'"]
    # Told, and no failure.
    assert found.ok


def test_golds_that_are_not_among_their_candidates() -> None:
    found = check(Tiny([document("d", "a", "b", NIL, candidates=("b",))], BASE, card(), "listed"))
    assert found.splits["test"]["consistency"]["gold_not_listed"] == 1


def test_without_a_knowledge_base_nothing_is_known_of_golds() -> None:
    found = check(Tiny([document("d", "a", candidates=("b",))], [], card(), "listed"))
    seen = found.splits["test"]["consistency"]
    assert (seen["gold_unknown"], seen["candidates_unknown"], seen["gold_not_listed"]) == (None, None, 1)
    assert not found.skips.noted


def test_ids_that_stand_twice_are_wrong() -> None:
    found = check(Tiny([document("d"), document("e"), document("d")], [*BASE, *BASE], card()))
    assert found.mismatches == [
        "entities: 2 ids stand twice, the first is 'a'",
        "test: 1 ids stand twice, the first is 'd'",
    ]
    assert not found.ok


def test_texts_of_earlier_splits() -> None:
    texts = SharedTexts()
    assert texts.earlier("train", document("1", text="Otto")) is None
    assert texts.earlier("train", document("2", text="Otto")) is None
    assert texts.earlier("val", document("3", text="Otto")) == "'1' of train"
    assert texts.earlier("test", document("4", text="Otto")) == "'1' of train"
    assert texts.earlier("val", document("5", text="Otto.")) is None
    # Pictures without a text do not share one.
    assert texts.earlier("train", document("6", text=" ")) is None
    assert texts.earlier("val", document("7", text=" ")) is None


def test_the_command_tells_all_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shared = {"text": "Otto", "images": ["missing.jpg"], "text_mentions": [
        {"start": 0, "end": 4, "text": "Otto", "entity": "Q9"},
    ]}  # fmt: skip
    write_lines(tmp_path / "documents.train.jsonl", {"id": "1", **shared})
    write_lines(tmp_path / "documents.val.jsonl", {"id": "2", **shared})
    write_lines(tmp_path / "kb.jsonl", {"id": "Q1", "title": "Ulm"})
    assert main(["check", "movies", "--root", str(tmp_path), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["noted"] == {GOLD_UNKNOWN: 2, SHARED: 1}
    assert report["splits"]["val"]["consistency"] == {
        "gold_unknown": 1, "gold_not_listed": 0, "candidates_unknown": 0, "texts_shared": 1, "ids_twice": 0,
    }  # fmt: skip
    assert report["splits"]["train"]["pictures"]["pictures_missing"] == 1
    main(["check", "movies", "--root", str(tmp_path)])
    printed = capsys.readouterr()
    assert "texts of earlier splits" in printed.out
    assert "in gallery" in printed.out
    assert f"kept 1: {SHARED}" in printed.err
    assert "val '2' and '1' of train: 'Otto'" in printed.err


def test_a_dataset_that_fits_has_no_table_of_what_does_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_lines(tmp_path / "documents.val.jsonl", {"id": "1", "text": "Otto"})
    write_lines(tmp_path / "kb.jsonl", {"id": "Q1", "title": "Ulm"})
    main(["check", "movies", "--root", str(tmp_path)])
    assert "texts of earlier splits" not in capsys.readouterr().out


def test_a_broken_split_is_told_when_the_others_were_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_captions(tmp_path / "WikiDiverse.val.json", caption(1, "Renn", RENN))
    (tmp_path / "WikiDiverse.train.json").write_text('[{"id": 1')
    assert main(["check", "wikidiverse", "--root", str(tmp_path), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert (list(report["splits"]), list(report["broken"])) == (["val"], ["train"])
    assert "WikiDiverse.train.json:1: is no JSON" in report["broken"]["train"]
    assert report["splits"]["val"]["documents"] == report["entities"] == 1
    assert not any(line.startswith("train") for line in report["mismatches"])
    assert main(["check", "wikidiverse", "--root", str(tmp_path)]) == 1
    assert "train: broken, " in capsys.readouterr().out


def test_files_that_nothing_reads_are_named(tmp_path: Path) -> None:
    for name in (
        "a.json",
        "b.json",
        "c.tsv",
        "d.jpg",
        "e.train",
        "f.md",
        ".g.json",
        "in/a.json",
        "in/h.json",
        "no/i.json",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    skips = SkipReport(keep=9)
    note_unread(tmp_path, {tmp_path.resolve() / "a.json", tmp_path.resolve() / "in/a.json"}, skips)
    assert skips.examples == {UNREAD: ["b.json", "c.tsv", "in/h.json"]}
    assert skips.exit_code == 0


def test_files_that_were_read_are_known_whoever_read_them(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a", "b", "c")]
    for path in paths:
        path.write_text("x")
    with files_read() as read:
        list(read_lines(paths[0]))
        read_text(paths[1])
        with pytest.raises(InputError):
            read_text(tmp_path / "none")
    read_text(paths[2])
    assert read == {path.resolve() for path in paths[:2]}
