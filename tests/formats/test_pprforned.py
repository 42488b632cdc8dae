from __future__ import annotations

import random
from itertools import islice, pairwise
from pathlib import Path

import pytest

from mmel.document import NIL, Candidate, Document
from mmel.errors import InputError, SkipReport
from mmel.formats import pprforned
from mmel.formats.conll import read_conll

CONLL = """-DOCSTART- -X- O O

TENNIS NN I-NP O
- : O O
Results NNS I-NP O
from IN I-PP O
Turin NNP I-NP I-LOC

Ada NNP I-NP I-PER

Moretti NNP I-NP I-PER
( ( O O
Turin NNP I-NP I-LOC
) ) O O
beat VBD I-VP O
Bo NNP I-NP I-PER

-DOCSTART- -X- O O

Turin NNP I-NP O
talks NNS I-NP O
in IN I-PP O
Turin NNP I-NP I-LOC
"""


def mention(surface: str, url: str, name: str | None = None) -> str:
    return (
        f"ENTITY\ttext:{name or surface}\tnormalName:x\tpredictedType:UNK\tq:true\tqid:Q1\tdocId:1\t"
        f"origText:{surface}\turl:{url}\n"
    )


def candidate(number: int, page: str, links: str = "", count: int = 10, kind: str = "UNK", name: str = "n") -> str:
    return (
        f"CANDIDATE\tid:{number}\tinCount:{count}\toutCount:5\tlinks:{links}\t"
        f"url:http://en.wikipedia.org/wiki/{page}\tname:{name}\tnormalName:x\tnormalWikiTitle:x\tpredictedType:{kind}\t\n"
    )


URL = "http://en.wikipedia.org/wiki/"
FIRST = (
    mention("Turin", URL + "Turin")
    + candidate(900, "Turin", "5;900;77", 800, "GPE", "Turin")
    + candidate(5, "Turin_F.C.", "900", name="Turin F.C.")
    + candidate(77, "Tur%C3%ADn", "", 0)
    + mention("Ada Moretti", URL + "Ada_Moretti")
    + candidate(31, "Ada_Moretti", "900")
    + mention("Turin", URL + "Turin_F.C.")
    + candidate(5, "Turin_F.C.", "900", name="Turin F.C.")
    + candidate(900, "Turin", "5;900;77", 800, "GPE", "Turin")
    + mention("Bo", "NIL", "Bo Moretti")
    + "\n"
)
SECOND = (
    mention("Turin", URL + "Turin") + candidate(900, "Turin", "31", 801, "GPE", "Turin") + candidate(40, "Elsewhere")
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    part = tmp_path / "PPRforNED" / "AIDA_candidates" / "PART_1_1000"
    part.mkdir(parents=True)
    (part / "1").write_text(FIRST, "utf-8")
    (part / "2").write_text(SECOND, "utf-8")
    (tmp_path / "eng.train").write_text(CONLL)
    return tmp_path


def read(folder: Path, skips: SkipReport | None = None) -> list[Document]:
    return list(pprforned.read_aida(folder / "eng.train", folder / "PPRforNED", 1, skips))


def test_join(folder: Path) -> None:
    first, second = read(folder)
    assert first.id == "1 TENNIS" and first.title == "TENNIS - Results from Turin"
    assert first.text == "TENNIS - Results from Turin\nAda Moretti (Turin) beat Bo"
    assert [(m.start, m.text, m.entity, m.name) for m in first.text_mentions] == [
        (22, "Turin", "Turin", None),
        (28, "Ada Moretti", "Ada Moretti", None),  # broken over two lines of the columns
        (41, "Turin", "Turin F.C.", None),
        (53, "Bo", NIL, "Bo Moretti"),
    ]
    assert first.text_mentions[0].candidates == (Candidate("Turin F.C."), Candidate("Turín"), Candidate("Turin"))
    assert first.text_mentions[3].candidates == ()
    # Both places of the second document fit; the one tagged as a named entity is meant.
    assert [(m.start, m.text) for m in second.text_mentions] == [(15, "Turin")]


def test_candidates_are_sorted_by_page_id_whatever_the_file_says(folder: Path) -> None:
    before = read(folder)
    part = folder / "PPRforNED" / "AIDA_candidates" / "PART_1_1000"
    shuffle_candidates(part / "1", part / "1", random.Random(3))
    assert (part / "1").read_text("utf-8") != FIRST
    assert read(folder) == before


def shuffle_candidates(source: Path, target: Path, generator: random.Random) -> None:
    blocks: list[list[str]] = []
    for line in source.read_text("utf-8").splitlines(keepends=True):
        if line.startswith("ENTITY"):
            blocks.append([line])
        elif line.strip():
            blocks[-1].append(line)
    for block in blocks:
        rest = block[1:]
        generator.shuffle(rest)
        block[1:] = rest
    target.write_text("".join(line for block in blocks for line in block), "utf-8")


def test_entities_are_merged_over_files(folder: Path) -> None:
    entities = pprforned.read_entities(folder / "PPRforNED")
    assert [(entity.id, entity.popularity, entity.type) for entity in entities] == [
        ("Turin F.C.", 10, ""),
        ("Ada Moretti", 10, ""),
        ("Elsewhere", 10, ""),
        ("Turín", 0, ""),
        ("Turin", 800, "GPE"),
    ]
    turin = entities[-1]
    assert turin.links == ("Turin F.C.", "Ada Moretti", "Turín")  # both files, without itself
    assert [alias.name for alias in turin.aliases] == ["Turin"]
    assert [entity.id for entity in pprforned.read_entities(folder / "PPRforNED", [2])] == ["Elsewhere", "Turin"]


def test_page_ids_that_share_a_title_become_one_record_with_a_warning(folder: Path) -> None:
    path = pprforned.candidate_file(folder / "PPRforNED", 2)
    path.write_text(SECOND + candidate(901, "Turin", "40", 5), "utf-8")
    with pytest.warns(UserWarning, match="page ids 900, 901 share the title 'Turin'"):
        entities = pprforned.read_entities(folder / "PPRforNED")
    (turin,) = [entity for entity in entities if entity.id == "Turin"]
    assert turin.popularity == 800 and "Elsewhere" in turin.links and "Turin" not in turin.links
    listed = read(folder)[1].text_mentions[0].candidates
    assert listed == (Candidate("Elsewhere"), Candidate("Turin"))


def test_a_mention_that_is_not_in_the_text(folder: Path) -> None:
    path = pprforned.candidate_file(folder / "PPRforNED", 1)
    path.write_text(FIRST.replace("origText:Ada Moretti", "origText:Ida Moretti"), "utf-8")
    with pytest.raises(InputError) as caught:
        read(folder)
    assert f"{path}:5: document '1 TENNIS': mention 'Ida Moretti'" in str(caught.value)
    skips = SkipReport()
    first, _ = read(folder, skips)
    assert [mention.start for mention in first.text_mentions] == [22, 41, 53]
    assert skips.counts == {"mention not found in the text": 1}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (FIRST[: FIRST.index("\tname:")], "1:2: field 'name' is missing"),
        (candidate(5, "X"), "1:1: a candidate before any mention"),
        (FIRST.replace("inCount:800", "inCount:many"), "1:2: field 'inCount' is 'many'"),
        (FIRST.replace("url:http://en.wikipedia.org/wiki/Turin\n", "url:Turin\n"), "1:1: 'Turin' is no Wikipedia url"),
        ("MENTION\tx\n", "1:1: the line starts with 'MENTION'"),
    ],
)
def test_broken_candidate_files(folder: Path, content: str, message: str) -> None:
    path = pprforned.candidate_file(folder / "PPRforNED", 1)
    path.write_text(content, "utf-8")
    with pytest.raises(InputError) as caught:
        read(folder)
    assert f"{path.parent}/{message}" in str(caught.value)


def test_unknown_fields_and_other_orders_are_read(folder: Path) -> None:
    path = folder / "file"
    fields = candidate(5, "X").strip().split("\t")[1:]
    lines = mention("Turin", "NIL") + "CANDIDATE\t" + "\t".join(["colour:red", *reversed(fields)])
    path.write_text(lines, "utf-8")
    (only,) = pprforned.read_candidates(path)
    assert (only.candidates[0].page_id, only.candidates[0].title, only.gold) == (5, "X", NIL)


def test_missing_files(folder: Path) -> None:
    with pytest.raises(InputError, match="neither PART_1_1000 nor PART_1001_1393"):
        pprforned.read_entities(folder)
    pprforned.candidate_file(folder / "PPRforNED", 2).unlink()
    with pytest.raises(InputError, match=r"PART_1_1000/2: cannot be read"):
        read(folder)
    skips = SkipReport()
    assert [document.id for document in read(folder, skips)] == ["1 TENNIS"]
    assert len(pprforned.read_entities(folder / "PPRforNED", [1, 2], skips)) == 4
    assert skips.counts == {"candidate file cannot be read": 2}
    assert pprforned.candidate_numbers(folder / "PPRforNED") == [1]
    assert pprforned.candidate_file(folder / "PPRforNED", 1001).parent.name == "PART_1001_1393"


def test_alignment_prefers_tagged_places_over_the_whole_document(tmp_path: Path) -> None:
    # Greedy from the left would take the untagged first "Bo" and leave "Al" the tagged one.
    rows = [("Bo", "O"), ("Al", "I-PER"), ("and", "O"), ("Bo", "I-PER"), ("Al", "O"), ("Al", "I-PER")]
    path = tmp_path / "c"
    path.write_text("".join(f"{word} {tag}\n" for word, tag in rows))
    (document,) = read_conll(path)
    spans = pprforned.align(document, ["Bo", "Al"])
    assert spans == [document.tokens[3], document.tokens[5]]
    assert pprforned.align(document, ["Al", "Al", "Al"]) == [document.tokens[at] for at in (1, 4, 5)]
    assert pprforned.align(document, ["Cy", "Al", "Bo", "Bo", ""]) == [
        None,
        document.tokens[1],
        document.tokens[3],
        None,
        None,
    ]
    assert pprforned.align(document, []) == []


def test_alignment_against_brute_force(tmp_path: Path) -> None:
    generator = random.Random(5)
    path = tmp_path / "c"
    for _ in range(150):
        rows = [(generator.choice(["a", "b", "ab"]), generator.choice(["O", "I-X", "B-X"])) for _ in range(7)]
        path.write_text("".join(f"{word} {tag}\n" for word, tag in rows))
        (document,) = read_conll(path)
        surfaces = [word for word, _ in rows if generator.random() < 0.4]
        spans = pprforned.align(document, surfaces)
        assert None not in spans
        found = [span for span in spans if span is not None]
        assert all(left[1] <= right[0] for left, right in pairwise(found))
        score = sum(tagged(document, span) for span in found)
        assert score == max(sum(tagged(document, span) for span in chain) for chain in chains(document, surfaces))


def tagged(document: pprforned.ConllDocument, span: tuple[int, int]) -> bool:
    spans = document.entity_spans()
    return any(span[0] == document.tokens[first][0] for first, _ in spans) and any(
        span[1] == document.tokens[last - 1][1] for _, last in spans
    )


def chains(document: pprforned.ConllDocument, surfaces: list[str], token: int = 0) -> list[list[tuple[int, int]]]:
    if not surfaces:
        return [[]]
    listed = []
    for first in range(token, len(document.tokens)):
        for last in range(first, len(document.tokens)):
            span = document.tokens[first][0], document.tokens[last][1]
            if document.text[slice(*span)].replace(" ", "") == surfaces[0]:
                listed += [[span, *rest] for rest in chains(document, surfaces[1:], last + 1)]
    return listed


def test_ten_thousand_mentions(tmp_path: Path) -> None:
    path = tmp_path / "c"
    path.write_text("".join(f"name{at % 3} I-PER\n\n" for at in range(10_000)))
    (document,) = read_conll(path)
    assert pprforned.align(document, [f"name{at % 3}" for at in range(10_000)]) == list(document.tokens)


@pytest.mark.data
def test_real_counts_and_recall_of_the_gold(data_root: Path) -> None:
    root = data_root / "aida"
    for name, number, expected in (("eng.train", 1, (946, 18540, 18538)), ("eng.testa", 947, (216, 4791, 4791))):
        documents = list(pprforned.read_aida(root / "conll2003" / name, root / "PPRforNED", number))
        mentions = [mention for document in documents for mention in document.text_mentions]
        linked = [mention for mention in mentions if mention.entity != NIL]
        held = sum(Candidate(str(mention.entity)) in (mention.candidates or ()) for mention in linked)
        assert (len(documents), len(linked), held) == expected
    assert documents[0].id == "947testa CRICKET"


@pytest.mark.data
def test_shuffling_real_candidate_files_changes_nothing(data_root: Path, tmp_path: Path) -> None:
    root, count = data_root / "aida", 40
    part = tmp_path / "AIDA_candidates" / "PART_1_1000"
    part.mkdir(parents=True)
    generator = random.Random(0)
    for number in range(1, count + 1):
        shuffle_candidates(pprforned.candidate_file(root / "PPRforNED", number), part / str(number), generator)
    conll = root / "conll2003" / "eng.train"
    original = list(islice(pprforned.read_aida(conll, root / "PPRforNED", 1), count))
    assert list(islice(pprforned.read_aida(conll, tmp_path, 1), count)) == original
    shuffled = pprforned.read_entities(tmp_path)
    assert shuffled == pprforned.read_entities(root / "PPRforNED", range(1, count + 1))


@pytest.mark.data
def test_real_entities(data_root: Path) -> None:
    entities = pprforned.read_entities(data_root / "aida" / "PPRforNED", range(947, 1163))
    ids = {entity.id for entity in entities}
    assert len(ids) == len(entities)
    assert all(link in ids and link != entity.id for entity in entities for link in entity.links)
