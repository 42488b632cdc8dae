from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mmel.data import main
from mmel.datasets import open_dataset
from mmel.document import NIL, Alias, Candidate, Entity
from mmel.errors import InputError, SkipReport
from mmel.formats import m3el_mtmt, ten_candidates
from mmel.formats.melbench import NO_PICTURE
from mmel.formats.ten_candidates import DrinFolder, UniMelFolder
from tests.datasets.test_richpediamel import entity, write_mimic

MENTION: dict[str, Any] = {
    "name": "Renn",
    "context": "Renn plays in Tavara.",
    "category": "Person",
    "ids": "Q2",
    "cands": ["Q1", "Q2", "Q3"],
}
SUMMARIES = [
    {"ids": f"Q{number}", "name": f"Renn {number}", "des": "long text", "sum": f"Plays {number} cellos."}
    for number in (1, 2, 3)
]


def write(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def unimel(root: Path, *mentions: Any) -> UniMelFolder:
    write(root / "candidates" / "train_w_10cands_pos_source.json", list(mentions))
    write(root / "entities" / "entity2sum_train.json", SUMMARIES)
    return UniMelFolder(root)


def test_a_mention_lists_its_candidates(tmp_path: Path) -> None:
    folder, skips = unimel(tmp_path, MENTION), SkipReport()
    (document,) = folder.documents("train", skips)
    document.check_spans()
    assert (document.id, document.text) == ("train-0", MENTION["context"])
    assert document.images == ("mention_image/train_image/train_0.jpg",)
    (mention,) = document.text_mentions
    assert (mention.text, mention.entity, mention.extra) == ("Renn", "Q2", {"type": "Person"})
    assert mention.candidates == (Candidate("Q1"), Candidate("Q2"), Candidate("Q3"))
    assert not skips.noted and not skips.counts
    assert next(iter(folder.entities())) == Entity(
        "Q1", "Renn 1", description="Plays 1 cellos.", aliases=(Alias("Renn 1"),)
    )


@pytest.mark.parametrize(
    ("change", "reasons"),
    [
        ({"ids": "Q1"}, {}),
        ({"ids": "NIL"}, {}),
        ({"ids": "Q9"}, {m3el_mtmt.GOLD_MISSING: 1}),
        ({"ids": "Q3", "cands": ["Q1", "Q2"]}, {m3el_mtmt.GOLD_MISSING: 1}),
        ({"cands": ["Q2", "Q2", "Q3", "Q3"]}, {m3el_mtmt.TWICE: 1}),
        ({"cands": []}, {m3el_mtmt.NO_CANDIDATES: 1}),
        ({"cands": ["Q2", "", "nil", "Nil"]}, {}),
        ({"imgPath": ""}, {NO_PICTURE: 1}),
    ],
)
def test_what_is_irregular_is_noted(tmp_path: Path, change: dict[str, Any], reasons: dict[str, int]) -> None:
    skips = SkipReport()
    (document,) = unimel(tmp_path, MENTION | change).documents("train", skips)
    assert skips.noted == reasons
    assert NIL not in [candidate.entity for candidate in document.text_mentions[0].candidates or ()]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": " "}, r"train_w_10cands_pos_source.json\[1\]: field 'name': is blank"),
        ({"name": None}, "field 'name'"),
        ({"context": 3}, "field 'context'"),
        ({"ids": 3}, "field 'ids'"),
        ({"cands": "Q1"}, "field 'cands': expected a list"),
        ({"cands": [3]}, "field 'cands': expected a string"),
    ],
)
def test_a_broken_mention_is_named_or_counted(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    folder, skips = unimel(tmp_path, MENTION, MENTION | change, MENTION), SkipReport()
    assert [document.id for document in folder.documents("train", skips)] == ["train-0", "train-2"]
    assert skips.counts == {"broken record": 1}
    with pytest.raises(InputError, match=message):
        list(folder.documents("train"))


def test_entities_of_several_files_are_there_once(tmp_path: Path) -> None:
    folder, skips = unimel(tmp_path, MENTION), SkipReport()
    write(tmp_path / "entities" / "entity2sum_valid.json", [SUMMARIES[0], {"ids": "Q4"}, {"ids": "Q4"}])
    assert [each.id for each in folder.entities(skips)] == ["Q1", "Q2", "Q3", "Q4"]
    assert skips.noted == {ten_candidates.ENTITY_TWICE: 1}


def test_briefs_describe_where_there_are_no_summaries(tmp_path: Path) -> None:
    write(tmp_path / "train_w_10cands.json", [MENTION | {"ids": "Otto Renn", "cands": ["Otto Renn", "Renn River"]}])
    write(tmp_path / "entity2brief_train.json", {"Otto Renn": "A cellist.", "Renn River": None})
    folder, skips = UniMelFolder(tmp_path), SkipReport()
    assert [(each.title, each.description) for each in folder.entities()] == [
        ("Otto Renn", "A cellist."),
        ("Renn River", ""),
    ]
    assert len(list(folder.documents("train", skips))) == 1
    assert not skips.noted


def test_the_shortest_name_is_the_file_without_additions(tmp_path: Path) -> None:
    for name in ("train_w_10cands_pos_source", "train_w_10cands_pos_source_des_llava", "valid_w_100cands"):
        write(tmp_path / f"{name}.json", [MENTION])
    write(tmp_path / "test_w_10cands.json", [["a row", "of the authors'"]])
    assert {split: path.name for split, path in UniMelFolder(tmp_path).files.items()} == {
        "train": "train_w_10cands_pos_source.json",
        "val": "valid_w_100cands.json",
    }


@pytest.mark.parametrize(
    ("name", "file"), [("richpediamel", "RichpediaMEL"), ("wikimel", "WIKIMEL"), ("wikidiverse", "wiki_diverse")]
)
def test_lists_in_the_keys_of_mimic_go_before_its_mentions(tmp_path: Path, name: str, file: str) -> None:
    write_mimic(tmp_path, file)
    mention = {"id": 7, "sentence": "Renn plays.", "imgPath": "x/a.PNG", "mentions": "Renn", "answer": "Q2"}
    write(tmp_path / "train_w_10cands.json", [mention | {"candidates": ["Q1", "Q2", "Q5"]}])
    dataset, skips = open_dataset(name, tmp_path), SkipReport()
    assert (dataset.form, dataset.candidate_protocol, dataset.splits) == ("UniMEL", "listed", ("train",))
    (document,) = dataset.documents("train", skips)
    assert document.images == ("mention_image/a.jpg",)
    assert [each.entity for each in document.text_mentions[0].candidates or ()] == ["Q1", "Q2", "Q5"]
    assert not skips.noted
    assert [each.id for each in dataset.entities()] == [entity(0, "Q1", "")["qid"], "Q2"]


def drin(root: Path) -> DrinFolder:
    mentions = {
        "7": {
            "sentence": "Renn plays.",
            "mentions": "Renn",
            "imgPath": "KVQAimgs/7.jpg",
            "answer": "Q2",
            "entities": "O",
        },
        "8": {"sentence": "Renn plays.", "mentions": "Renn", "imgPath": "", "answer": "nil", "entities": ""},
    }
    write(root / "mentions" / "WIKIMEL_valid.json", mentions)
    write(root / "candidates" / "qid2ne.json", {"Q1": "Renn", "Q2": "Otto Renn"})
    write(root / "entities" / "qid2abs.json", {"Q1": "A river.", "Q2": "A cellist."})
    (root / "entities" / "cleaned-images").mkdir()
    (root / "entities" / "cleaned-images" / "Q2.jpg").touch()
    lists = root / "candidates" / "top100"
    lists.mkdir()
    (lists / "candidates.tsv").write_text("7\tQ77\n")
    (lists / "candidates-answer.tsv").write_text("7\tQ1\tQ2\tQ3\n")
    return DrinFolder(root)


def test_mentions_of_drin_have_the_lists_of_their_ids(tmp_path: Path) -> None:
    drin(tmp_path)
    dataset, skips = open_dataset("wikimel", tmp_path), SkipReport()
    assert (dataset.form, dataset.candidate_protocol, dataset.splits) == ("DRIN", "listed", ("val",))
    first, second = dataset.documents("val", skips)
    assert (first.id, first.images) == ("7", ("mentions/KVQAimgs/7.jpg",))
    assert [each.entity for each in first.text_mentions[0].candidates or ()] == ["Q1", "Q2", "Q3"]
    assert (second.text_mentions[0].entity, second.text_mentions[0].candidates) == (NIL, ())
    assert skips.noted == {
        m3el_mtmt.NO_CANDIDATES: 1,
        NO_PICTURE: 1,
    }
    assert [(each.title, each.description, each.images) for each in dataset.entities()] == [
        ("Renn", "A river.", ()),
        ("Otto Renn", "A cellist.", ("entities/cleaned-images/Q2.jpg",)),
    ]


def test_rows_of_the_authors_are_found_where_drin_has_them(tmp_path: Path) -> None:
    address = "https://en.wikipedia.org/wiki/Otto_Renn"
    row = ["Renn plays.", "https://x.example/a.jpg", "Renn", "Person", [], [], address, [address], "music", 0, 4]
    write(tmp_path / "candidates" / "test_w_10cands.json", [row])
    (tmp_path / "entities").mkdir()
    (tmp_path / "entities" / "wikipedia_entity2desc_filtered.tsv").write_text("Otto Renn@@@@A cellist.\n")
    dataset = open_dataset("wikidiverse", tmp_path)
    assert (dataset.form, dataset.splits) == ("10 candidates", ("test",))
    assert [each.description for each in dataset.entities()] == ["A cellist."]


def test_check_counts_what_the_knowledge_base_lacks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unimel(tmp_path, MENTION | {"ids": "Q9", "cands": ["Q1", "Q7", "Q8"]})
    main(["check", "richpediamel", "--root", str(tmp_path), "--json"])
    fit = json.loads(capsys.readouterr().out)["splits"]["train"]["consistency"]
    assert (fit["gold_unknown"], fit["gold_not_listed"], fit["candidates_unknown"]) == (1, 1, 2)
